"""The study folder: which configuration it answers, which stages are done, and one process at a time in it.

A stage that ends writes STUDY/stages/<stage>.json: its settings, versions, and the hashes of what it read and wrote.
Comparing these with the files at hand tells done, stale or missing. Nothing in a study holds a clock, except for the
wandb folders and what begins with a dot. So a study that was killed and continued ends with the same bytes.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from proxymix import __version__
from proxymix.app.budget import with_budget
from proxymix.app.config import EXECUTION_SETTINGS, Config, nested, path_settings, plain, setting_of
from proxymix.app.digests import Digests
from proxymix.app.old_names import renamed_record
from proxymix.app.parameters import build_arguments, parameters
from proxymix.app.saved_config import SavedConfig
from proxymix.app.stage_record import StageRecord, record_hash
from proxymix.app.stages import STAGES, Stage
from proxymix.errors import InputError, StageError
from proxymix.files import remove, write_json
from proxymix.locks import locked
from proxymix.messages import some
from proxymix.progress import say

State = Literal["done", "stale", "missing"]
RECORDED_PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "lightgbm", "torch", "litgpt", "tokenizers")
"""Packages whose versions a stage's record holds, because results may depend on them."""


class Study:
    """One folder: a question and all that answers it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.saved = SavedConfig(path)
        self._digests = Digests(path / ".digests.json")

    def must_exist(self) -> None:
        """Raises InputError if there is no such folder."""
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such study; `proxymix run --config configs/quickstart.yaml --study {self.path}` makes one"
            )

    def config(self) -> Config:
        """What study.yaml says; empty when there is none."""
        return self.saved.read()

    def adopt(self, config: Config) -> None:
        """Make this folder the one that answers `config`, written to study.yaml.

        Raises:
            InputError: If the folder holds something that is no study.
        """
        foreign = _visible_names(self.path)
        if foreign and not self.saved.exists:
            raise InputError(
                f"{self.path}: holds {some(foreign, 3)} but no study.yaml; choose an empty or new folder with --study"
            )
        self.saved.write(config)

    def locked(self) -> AbstractContextManager[None]:
        """Hold the study for this process alone.

        Raises:
            StageError: If another process holds it.
        """
        return locked(self.path)

    def stages(self, config: Config) -> list[Stage]:
        """The stages that this study needs, in order."""
        return [stage for stage in STAGES if stage.in_study and stage.needed(config)]

    def call(self, stage: Stage, config: Config) -> dict[str, Any]:
        """The parameters with which the study calls a stage: where its files lie, and what `config` says of its settings.

        A file that the stage can do without is left out where it is not there, such as the run folders of a study whose
        losses were collected from wandb.

        Returns:
            Key of the stage's parameter -> value.
        """
        paths = {}
        for name, parameter in parameters(stage.load()).items():
            path = self.paths(stage, config).get(name)
            if path is not None and (parameter.required or name in stage.writes or path.exists()):
                paths[name] = path
        return paths | with_budget(self.path, config).for_stage(stage)

    def paths(self, stage: Stage, config: Mapping[str, Any]) -> dict[str, Path]:
        """Parameter -> path of a stage's files."""
        listed = {name: self.path / relative for name, relative in stage.files.items()}
        paths = listed | dict(stage.other_files(self.path, config))
        return {name: path for name, path in paths.items() if path is not None}

    def written(self, stage: Stage) -> list[Path]:
        """The files and folders that a stage writes in the study."""
        return [self.path / stage.files.get(name, name) for name in stage.writes]

    def perform(self, stage: Stage, function: Callable[..., None], values: Mapping[str, Any]) -> None:
        """Call a stage, then record what it was made from. The record is written last, so its presence means done.

        Args:
            stage: The stage.
            function: Its function.
            values: Key of a parameter -> value. There is no record where these send a result elsewhere than to the study.
        """
        if not self.is_written_by(stage, values):
            function(**build_arguments(function, values))
            return
        settings = nested(self._recorded_settings(stage, values))
        record: dict[str, Any] = {"stage": stage.name, "settings": settings, "inputs": self._inputs(stage, values)}
        record_path = self.record_path(stage)
        before = record_path.with_name(f".{record_path.name}.before")
        if record_path.exists():
            remove(before)
            record_path.replace(before)
        try:
            function(**build_arguments(function, values))
            record["outputs"] = self._checked_outputs(stage, values)
        except BaseException:
            self._restore_record(stage, before)
            raise
        record["files"] = self.files(stage)
        versions = {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES}
        record["versions"] = {"proxymix": __version__} | versions
        write_json(record_path, record | {"sha256": record_hash(record)})
        remove(before)

    def require_whole(self, stage: Stage, values: Mapping[str, Any]) -> None:
        """Check that the results of earlier stages, which a stage reads, are as those left them.

        What is missing is named on stderr.

        Raises:
            InputError: If one is changed or damaged.
        """
        inputs = {name: file for name, file in stage.files.items() if name not in (*stage.writes, "out")}
        read = {self.path / file for name, file in inputs.items() if values.get(name) in (None, self.path / file)}
        read |= {*self.reads(stage, values).values()}
        cure = f"`proxymix run --study {self.path}` makes it again, `proxymix check {self.path}` lists every fault"
        for earlier in STAGES[: STAGES.index(stage)]:
            for path in read.intersection(self.written(earlier)):
                if (changed := self._changed_result(earlier, path)) is None:
                    continue
                if not changed.exists():
                    say(f"{changed}: missing, though `{earlier.name}` left it; {cure}")
                else:
                    raise InputError(
                        f"{changed}: not as `{earlier.name}` left it (its sha256 differs), so it is not used; {cure}; a file "
                        "of your own is used from outside of the study"
                    )

    def _changed_result(self, stage: Stage, path: Path) -> Path | None:
        """A result of a stage, or the first file of its runs, that is not as the stage left it; None if it is whole."""
        record = self.record(stage)
        if stage.training is None or not path.is_dir():
            return path if record.outputs.get(path.name) not in (None, self.digest(path)) else None
        from proxy_training.runs.run_folder import RunFolder

        # Further runs may have been trained since, so that the folder as a whole may be another.
        folder, _, names = stage.training.runs.rpartition("/")
        damaged = [run.damaged_file() for run in RunFolder.finished_in(self.path / folder, names)]
        left = [self.path / name for name in record.files if (self.path / name).is_relative_to(path)]
        return next(filter(None, [*damaged, *(file for file in left if not file.exists())]), None)

    def is_written_by(self, stage: Stage, values: Mapping[str, Any]) -> bool:
        """Whether a stage that is called so writes its results to the study, and not elsewhere."""
        return all(Path(values[name]) == self.path / stage.files[name] for name in _outputs_among(stage, values))

    def is_touched_by(self, stage: Stage, values: Mapping[str, Any]) -> bool:
        """Whether a stage that is called so writes anything into the study."""
        places = [Path(values[name]).resolve() for name in _outputs_among(stage, values)]
        return any(place.is_relative_to(self.path.resolve()) for place in places)

    def beside(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
        """A stage's values; where its result is sent elsewhere, what else it writes goes there too, not to the study."""
        if self.is_written_by(stage, values):
            return dict(values)
        optional = [name for name in _outputs_among(stage, values) if not parameters(stage.load())[name].required]
        stay = [name for name in optional if Path(values[name]) == self.path / stage.files[name]]
        return {**values, **dict.fromkeys(stay)}

    def _restore_record(self, stage: Stage, before: Path) -> None:
        """After a failure: what was recorded before holds still if the results are still those."""
        if before.exists() and StageRecord.read(before).outputs == self._outputs(stage):
            before.replace(self.record_path(stage))
        remove(before)

    def _checked_outputs(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, str | None]:
        """The digests of what a stage wrote.

        Raises:
            InputError: If the result of a run is damaged.
            StageError: If a result that the stage is for is not there.
        """
        outputs = self._outputs(stage)
        missing = [name for name, digest in outputs.items() if digest is None and name not in stage.may_write]
        if stage.training is not None and stage.training.mixtures:
            from proxy_training.runs.run_folder import RunFolder

            planned = sorted(path.stem for path in Path(values["mixtures"]).glob(Path(stage.training.mixtures).name))
            folder = (self.path / stage.training.runs).parent
            missing += [name for name in planned if RunFolder(folder / name).result() is None]
        if missing:
            raise StageError(
                f"{self.path}: {stage.name} ended without {some(missing, 8)}; run `proxymix {stage.name}` again"
            )
        return outputs

    def states(self, config: Config) -> dict[str, tuple[State, str]]:
        """Stage -> its state, and the earlier stage that makes it stale where it is not stale by itself.

        What is made from stale or missing results is stale: whether it holds is known only once these are made again.
        """
        found: dict[str, tuple[State, str]] = {}
        doubtful: dict[Path, str] = {}  # result -> the stage that has to make it again
        for stage in self.stages(config):
            call = self.call(stage, config)
            state, read = self.state(stage, call), [*self.reads(stage, call).values()]
            behind = next((name for path, name in doubtful.items() if path in read), "") if state == "done" else ""
            found[stage.name] = ("stale", behind) if behind else (state, "")
            if found[stage.name][0] != "done":
                doubtful |= dict.fromkeys(self.written(stage), stage.name)
        return found

    def state(self, stage: Stage, values: Mapping[str, Any]) -> State:
        """Whether a stage's files are there and made from these settings and inputs."""
        if not self.record_path(stage).exists():
            return "missing"
        if self.changed_settings(stage, values) or self.changed_inputs(stage, values):
            return "stale"
        return "done" if self.record(stage).outputs == self._outputs(stage) else "stale"

    def changed_settings(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
        """Settings of a stage that are others than in its record: key -> what it was, and what it is.

        A setting that the record does not know, because it is newer, was at its default. A record that cannot be read says
        nothing of settings.
        """
        record = self.record(stage)
        if not record.outputs:
            return {}
        recorded = renamed_record(record.settings, stage.settings_section)
        defaults = {key: plain(parameter.default) for key, parameter in parameters(stage.load()).items()}
        now = {key: plain(value) for key, value in self._recorded_settings(stage, values).items()}
        then = {key: _recorded_value(recorded, key, defaults[key]) for key in now}
        return {key: (then[key], now[key]) for key in now if then[key] != now[key]}

    def changed_inputs(self, stage: Stage, values: Mapping[str, Any]) -> list[str]:
        """Inputs of a stage that are others than in its record.

        One from outside of the study that is no longer there, as in a study that was copied elsewhere, does not count.
        """
        then, now = self.record(stage).inputs, self._inputs(stage, values)
        absent = self.absent_inputs(stage, values)
        return [name for name in {**then, **now} if then.get(name) != now.get(name) and name not in absent]

    def changed_sources(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, Path | None]:
        """Files of the user's that are others than those that a stage read: parameter -> path, None for one not read now."""
        record, known, read = self.record(stage), parameters(stage.load()), self.reads(stage, values)
        outside = {name: path for name, path in read.items() if not path.is_relative_to(self.path)}
        changed: dict[str, Path | None] = {
            name: path
            for name, path in outside.items()
            if record.outputs and path.exists() and self.digest(path) != record.inputs.get(name)
            if record.settings.get(name) != path.as_posix()  # older versions recorded the path alone
        }
        return changed | {name: None for name in record.inputs if name in known and name not in read}

    def absent_inputs(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, Path]:
        """Inputs from outside of the study that a stage's record names, and that are not there: name -> path."""
        recorded = self.record(stage).inputs
        return {
            name: path
            for name, path in self.reads(stage, values).items()
            if recorded.get(name) is not None and not path.is_relative_to(self.path) and not path.exists()
        }

    def digest(self, path: Path) -> str | None:
        """What a file or folder holds, as a hash; None when it is not there."""
        return self._digests.digest(path)

    def files(self, stage: Stage, digests: Digests | None = None) -> dict[str, str]:
        """Every file that a stage has written: path in the study -> hash. Token shards are what their manifest says."""
        found: dict[str, str] = {}
        for place in self.written(stage):
            listed = (digests or self._digests).files(place)
            found |= {(place / name).relative_to(self.path).as_posix(): digest for name, digest in listed.items()}
        return found

    def record(self, stage: Stage) -> StageRecord:
        """A stage's record; empty where there is none that can be read."""
        return StageRecord.read(self.record_path(stage))

    def record_path(self, stage: Stage) -> Path:
        """Where a stage's record lies."""
        return self.path / "stages" / f"{stage.name}.json"

    def _recorded_settings(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
        not_recorded = {*stage.files, *EXECUTION_SETTINGS, *stage.display_only, *_given_files(stage, values)}
        return {key: value for key, value in values.items() if key not in not_recorded}

    def reads(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, Path]:
        """What a stage reads: path in the study, or the parameter that names a file elsewhere -> path."""
        read: dict[str, Path] = {}
        for name, relative in stage.files.items():
            if name in stage.writes or name == "out" or values.get(name) is None:
                continue
            if relative == ".":  # a stage that reads the study reads what the stages before it wrote
                earlier = [other for other in STAGES[: STAGES.index(stage)] if other.in_study]
                read |= {path.name: path for other in earlier for path in self.written(other)}
            else:
                path = Path(values[name])
                inside = path.is_relative_to(self.path)
                read[path.relative_to(self.path).as_posix() if inside else name] = path
        return read | {key: Path(values[key]) for key in _given_files(stage, values)}

    def _inputs(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, str | None]:
        return {name: self.digest(path) for name, path in self.reads(stage, values).items()}

    def _outputs(self, stage: Stage) -> dict[str, str | None]:
        return {path.name: self.digest(path) for path in self.written(stage)}


def _given_files(stage: Stage, values: Mapping[str, Any]) -> list[str]:
    """The settings of a stage that are files of the user's."""
    return [key for key, value in values.items() if value and setting_of(stage, key) in path_settings()]


def _recorded_value(settings: Mapping[str, Any], key: str, default: Any) -> Any:
    section, _, name = key.rpartition(".")
    part = settings.get(section) if section else settings
    return part.get(name, default) if isinstance(part, dict) else default


def _outputs_among(stage: Stage, values: Mapping[str, Any]) -> list[str]:
    written = (*stage.writes, "out")
    return [name for name in stage.files if name in written and values.get(name) is not None]


def _visible_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.exists() else []
