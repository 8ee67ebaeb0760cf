"""A study -> which of its stages are done, stale or missing.

proxymix status studies/quickstart
"""

from collections.abc import Sequence
from pathlib import Path

from proxymix.app.config import Config
from proxymix.app.estimate import num_trained
from proxymix.app.stages import Stage
from proxymix.app.study import Study
from proxymix.errors import InputError

USAGE = """usage: proxymix status STUDY

Says for every stage whether it is done, stale (made from other settings or inputs, or from a stage that is stale) or
missing."""


def status_command(arguments: Sequence[str]) -> None:
    """`proxymix status STUDY`."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return
    words = [argument.removeprefix("--study=") for argument in arguments if argument != "--study"]
    if len(words) != 1 or words[0].startswith("-"):
        raise InputError("proxymix status: one study folder is wanted: proxymix status STUDY")
    study = Study(Path(words[0]).expanduser())
    study.must_exist()
    config = Config(Config.defaults() | study.config())
    states = study.states(config)
    for stage in study.stages(config):
        state, behind = states[stage.name]
        absent = [f"not here: {path}" for path in study.absent_inputs(stage, study.call(stage, config)).values()]
        details = [_progress(study, stage, config), f"after {behind}" if behind else "", *absent]
        print(f"{stage.name:<11}{state:<9}{', '.join(filter(None, details))}".rstrip())


def _progress(study: Study, stage: Stage, config: Config) -> str:
    """How many of the proxies that a stage trains are trained."""
    training = stage.training
    if training is None:
        return ""
    if training.at_most:
        return f"{num_trained(study, training)} runs"
    planned = len(list(study.path.glob(training.mixtures))) if training.mixtures else training.planned(config)
    return f"{num_trained(study, training)} of {planned} runs"
