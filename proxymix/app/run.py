"""A study's YAML -> every stage that it needs, in order; what is done is skipped.

proxymix run --config configs/quickstart.yaml
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from proxymix.app.answer import answer
from proxymix.app.budget import budget_line
from proxymix.app.changes import Changes, changes, require_leave
from proxymix.app.checks import check_counted, check_given
from proxymix.app.config import Config, study_settings
from proxymix.app.estimate import say_cost, say_duration
from proxymix.app.help import examples, grouped_study
from proxymix.app.old_names import old_keys
from proxymix.app.parameters import build_arguments
from proxymix.app.parser import Parser, given_value
from proxymix.app.stages import ALIASES, RENAMED, Stage
from proxymix.app.study import Study
from proxymix.errors import InputError
from proxymix.progress import message_stream, say, without

RUN_HELP = """Everything a study needs, from text to a confirmed optimal_mixture.yaml.

Stages that are done are skipped. So the same command continues after a stop, a kill or a full disk, and ends with the
same bytes; `--study DIR` alone continues a study with its own settings. Every setting below can stand in the YAML
(sections as mappings) and be overridden by its flag."""


def run_command(arguments: Sequence[str]) -> None:
    """`proxymix run`."""
    parser = Parser("proxymix run", RUN_HELP, old_keys(RENAMED), examples("run"), ALIASES["run"])
    parser.add_file_flags(study=False)
    parser.add_switch("dry_run", "Say what would be done and how long it would take, and do nothing.")
    parser.add_switch(
        "calibrate", "Train for some seconds to say how long it will take; otherwise that is a rough figure."
    )
    parser.add_switch("update", "Let this configuration replace the study's own; what the change touches is redone.")
    parser.add(study_settings(), groups=grouped_study(study_settings()))
    config, source = _given_config(arguments)
    parser.fill(config, source)
    values = parser.parse(arguments)
    dry_run, update, calibrate = (values.pop(name) for name in ("dry_run", "update", "calibrate"))
    run_study(Config(values), update, dry_run, calibrate)


def _given_config(arguments: Sequence[str]) -> tuple[Config, str]:
    """What the YAML says, and where it lies: --config, else the study's own. A study's own YAML means that study.

    Raises:
        InputError: If the YAML cannot be read, or only a study is given, and it is not there.
    """
    given, folder = (given_value(arguments, name) for name in ("config", "study"))
    path = Path(given) if given else None
    if path is not None and folder is None and path.name == "study.yaml" and (path.parent / "stages").is_dir():
        folder = str(path.parent)
    study = Study(Path(folder)) if folder else None
    if study is not None and study.saved.exists and (path is None or path.resolve() == study.saved.path.resolve()):
        return Config(study.config() | {"study": str(study.path)}), str(study.saved.path)
    if path is None and study is not None and not _settings_given(arguments):
        study.must_exist()
        raise InputError(f"{study.path}: holds no study.yaml, so nothing says what to do; give --config")
    return (Config.read(path), str(path)) if path is not None else (Config({}), "")


def _settings_given(arguments: Sequence[str]) -> bool:
    flags = {argument.partition("=")[0] for argument in arguments if argument.startswith("--")}
    return bool(flags - {"--study", "--config", "--dry_run", "--update", "--calibrate", "--workers", "--wandb"})


def run_study(config: Config, update: bool = False, dry_run: bool = False, calibrate: bool = False) -> None:
    """Bring a study to its end: each stage that is missing or stale, in order.

    Args:
        config: Every setting of a study.
        update: Whether results that `config` changes may be made again.
        dry_run: Only say what would be done.
        calibrate: Train for some seconds to say how long it will take.

    Raises:
        InputError: If results would be replaced and `update` is false, or a setting breaks a rule.
        StageError: If a stage fails, or another process works on the study.
    """
    config = config.located()
    study = Study(config["study"])
    stages = study.stages(config)
    for stage in stages:  # a rule that is broken is said before any stage runs
        build_arguments(stage.load(), study.call(stage, config))
    check_given(study, config)
    found = changes(study, config)
    if dry_run:
        _say_plan(study, config, found, calibrate)
        return
    require_leave(study, found, update)
    with study.locked():
        study.adopt(config)
        if found.need_leave:
            say(f"The study is changed: {found.describe()}")
        if found.added:
            say(f"The study grows: {found.describe_added()}. Runs that are done are kept.")
        say(budget_line(study.path, config))
        say_duration(study, config, found, calibrate)
        for number, stage in enumerate(stages, start=1):
            _bring_about(study, stage, config, f"[{number}/{len(stages)}] {stage.name}")
            if study.path / "domains.csv" in study.written(stage):
                check_counted(study, config)  # before hours of training
    print(answer(study.path))


def _say_plan(study: Study, config: Config, found: Changes, calibrate: bool) -> None:
    """What a dry run says."""
    states = study.states(config)
    for stage in study.stages(config):
        state, behind = states[stage.name]
        say(f"{stage.name:<11}{state:<9}{stage.help}{f' (after {behind})' if behind else ''}")
    if found.need_leave:
        say(f"Needs --update: {found.describe()}")
    if found.added:
        say(f"Grows: {found.describe_added()}. Runs that are done are kept.")
    say(budget_line(study.path, config))
    say_cost(study, config)
    say_duration(study, config, found, calibrate)


def _bring_about(study: Study, stage: Stage, config: Config, title: str) -> None:
    call = study.call(stage, config)
    if study.state(stage, call) == "done":
        say(f"{title}: done already")
        return
    say(f"{title}: {stage.help}")
    # stdout is for the answer, and the next stage follows by itself
    with contextlib.redirect_stdout(message_stream()), without("Next: "):
        study.perform(stage, stage.load(), call)
