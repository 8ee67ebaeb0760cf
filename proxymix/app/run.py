"""A study's YAML -> every stage that it needs, in order; what is done is skipped.

proxymix run --config configs/quickstart.yaml
"""

import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from proxymix.app.answer import answer
from proxymix.app.checks import check_counted, check_given
from proxymix.app.config import Config, study_settings
from proxymix.app.estimate import say_cost, say_duration
from proxymix.app.old_names import old_keys
from proxymix.app.parameters import build_arguments
from proxymix.app.parser import Parser, given_value
from proxymix.app.stages import RENAMED, Stage
from proxymix.app.study import Study
from proxymix.progress import say

RUN_HELP = """Everything a study needs, from text to a confirmed optimal_mixture.yaml.

Stages that are done are skipped. So the same command continues after a stop, a kill or a full disk, and ends with the
same bytes. Every setting below can stand in the YAML (sections as mappings) and be overridden by its flag."""


def run_command(arguments: Sequence[str]) -> None:
    """`proxymix run`."""
    parser = Parser("proxymix run", RUN_HELP, old_keys(RENAMED))
    parser.add_file_flags(study=False)
    parser.add_switch("dry_run", "Say what would be done and how long it would take, and do nothing.")
    parser.add_switch("update", "Let this configuration replace the study's own; what the change touches is redone.")
    parser.add(study_settings())
    if path := given_value(arguments, "config"):
        parser.fill(Config.read(Path(path)), path)
    values = parser.parse(arguments)
    dry_run, update = values.pop("dry_run"), values.pop("update")
    run_study(Config(values), update, dry_run)


def run_study(config: Config, update: bool = False, dry_run: bool = False) -> None:
    """Bring a study to its end: each stage that is missing or stale, in order.

    Args:
        config: Every setting of a study.
        update: Whether `config` may replace the study's own.
        dry_run: Only say what would be done.

    Raises:
        InputError: If the folder answers another configuration, or a setting breaks a rule.
        StageError: If a stage fails, or another process works on the study.
    """
    config = config.located()
    study = Study(config["study"])
    stages = study.stages(config)
    for stage in stages:  # a rule that is broken is said before any stage runs
        build_arguments(stage.load(), study.call(stage, config))
    check_given(study, config)
    if dry_run:
        for stage in stages:
            state = study.state(stage, study.call(stage, config)) if study.path.exists() else "missing"
            say(f"{stage.name:<11}{state:<9}{stage.help}")
        say_cost(study, config)
        say_duration(study, config)
        return
    with study.locked():
        study.adopt(config, update)
        say_duration(study, config)
        for number, stage in enumerate(stages, start=1):
            _bring_about(study, stage, config, f"[{number}/{len(stages)}] {stage.name}")
            if study.path / "domains.csv" in study.written(stage):
                check_counted(study, config)  # before hours of training
    print(answer(study.path))


def _bring_about(study: Study, stage: Stage, config: Config, title: str) -> None:
    call = study.call(stage, config)
    if study.state(stage, call) == "done":
        say(f"{title}: done already")
        return
    say(f"{title}: {stage.help}")
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the answer
        study.perform(stage, stage.load(), call)
