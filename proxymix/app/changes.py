"""A study and a configuration for it -> what of its results would be made again, and which runs trained again."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxymix.app.config import Config, setting_of
from proxymix.app.stage_record import StageRecord
from proxymix.app.stages import Stage
from proxymix.app.study import Study
from proxymix.errors import InputError
from proxymix.messages import listed

if TYPE_CHECKING:
    from proxy_training.runs.run_folder import RunFolder

GROWING = ("synthesize.num_mixtures", "rounds.num_rounds", "confirm.num_seeds")
"""Settings whose increase adds runs and leaves those that are there."""
OF_PROXIES = ("tokenize", "harvest")
"""Stages that make the data which every proxy reads."""


@dataclass(frozen=True)
class Changes:
    """What a configuration changes in a study.

    Attributes:
        settings: Setting -> its value so far and its new value; of the stages that have run, without those that only add.
        added: The same for settings whose increase only adds runs.
        sources: Files of the user's that changed since they were read, or that are others now: stage -> which.
        retrained: Stage -> how many of its finished runs would be trained again.
    """

    settings: Mapping[str, tuple[Any, Any]]
    added: Mapping[str, tuple[Any, Any]]
    sources: Mapping[str, list[str]]
    retrained: Mapping[str, int]

    @property
    def need_leave(self) -> bool:
        """Whether results would be replaced, so that the user has to say so."""
        return bool(self.settings or self.sources or self.num_retrained)

    @property
    def num_retrained(self) -> int:
        """Finished runs that would be trained again."""
        return sum(self.retrained.values())

    def describe_added(self) -> str:
        """What is only added, in words."""
        return "; ".join(f"{key}: {then:,} so far, {now:,} now" for key, (then, now) in self.added.items())

    def describe(self) -> str:
        """The changes in words, and how many finished runs they cost."""
        parts = [f"{key}: {then!r:.60} there, {now!r:.60} now" for key, (then, now) in self.settings.items()]
        more = f" and {len(parts) - 4} more" if len(parts) > 4 else ""
        parts = [
            *["; ".join(parts[:4]) + more] * bool(parts),
            *[source for found in self.sources.values() for source in found],
        ]
        if self.num_retrained:
            where = listed([f"{num} of {name}" for name, num in self.retrained.items() if num])
            runs = "finished run" if self.num_retrained == 1 else "finished runs"
            parts.append(f"{self.num_retrained} {runs} would be trained again ({where})")
        return "; ".join(parts)


def changes(study: Study, config: Config) -> Changes:
    """What would happen to a study's results if it answered `config`."""
    settings: dict[str, tuple[Any, Any]] = {}
    added: dict[str, tuple[Any, Any]] = {}
    sources: dict[str, list[str]] = {}
    touched: list[str] = []  # stages that have run and whose settings or sources are others now
    for stage in study.stages(config):
        if StageRecord.read(study.record_path(stage)) == StageRecord():
            continue  # it has not run, or its record is damaged, so that nothing is known of its settings
        call, own = study.call(stage, config), dict[str, tuple[Any, Any]]()
        for name, (then, now) in study.changed_settings(stage, call).items():
            key = setting_of(stage, name) or name
            if key == "budget_assumed" or (key == "budget" and config.get("budget") is None):
                continue  # assumed from domains.csv, whose change counts
            (added if _grows(key, then, now) else own)[key] = (then, now)
        if outside := study.changed_sources(stage, call):
            said = {
                name: f"{path}: not what it read" if path else "read before, and not now"
                for name, path in outside.items()
            }
            sources[stage.name] = [
                f"{setting_of(stage, name) or f'{stage.name} {name}'}: {what}" for name, what in said.items()
            ]
        settings |= own
        touched += [stage.name] * bool(own or outside)
    retrained = {
        stage.name: num
        for stage in study.stages(config)
        if stage.training is not None
        and (
            num := _num_retrained(study, config, stage, touched, "seed" in settings, "synthesize.num_mixtures" in added)
        )
    }
    return Changes(settings, added, sources, retrained)


def require_leave(study: Study, found: Changes, update: bool) -> None:
    """Raise InputError if results would be replaced and the user has not said `--update`."""
    if found.need_leave and not update:
        raise InputError(
            f"{study.saved.path}: this study was made with another configuration ({found.describe()}); give --update to "
            "change it and redo what the change touches, or another folder with --study"
        )


def _grows(key: str, then: Any, now: Any) -> bool:
    return key in GROWING and isinstance(then, int) and isinstance(now, int) and now > then


def _num_retrained(study: Study, config: Config, stage: Stage, touched: list[str], reseeded: bool, grows: bool) -> int:
    """How many finished runs of a stage are not those that it would have."""
    from proxy_training.runs.run_folder import RunFolder
    from proxy_training.runs.settings import TrainSettings

    assert stage.training is not None
    folder, _, names = stage.training.runs.rpartition("/")
    finished = RunFolder.finished_in(study.path / folder, names)
    drawn_from = {"sweep": ("count", "synthesize"), "rounds": ("count", "synthesize", "rounds"), "confirm": ()}[
        stage.name
    ]
    if {*OF_PROXIES, *drawn_from}.intersection(touched) or reseeded or (stage.name == "rounds" and grows):
        return len(finished)
    wanted = TrainSettings(**config.section("train")).identity
    return sum(not _was_trained_so(run, wanted) for run in finished)


def _was_trained_so(run: "RunFolder", settings: Mapping[str, Any]) -> bool:
    try:
        return bool(run.manifest().get("settings", settings) == settings)
    except InputError:  # damaged, so that it is trained again whatever is wanted
        return True
