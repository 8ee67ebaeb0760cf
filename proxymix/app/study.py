"""The study folder: which configuration it answers, which stages are done, and one process at a time in it.

A stage that ends writes STUDY/stages/<stage>.json: its settings, versions, and the digests of what it read and wrote.
Comparing these with the files at hand tells done, stale or missing. Nothing in a study holds a clock, except for the
wandb folders and what begins with a dot. So a study that was killed and continued ends with the same bytes.
"""

import importlib.metadata
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from proxymix import __version__
from proxymix.app.config import Config, nested, path_settings, setting_of
from proxymix.app.digests import Digests
from proxymix.app.old_names import renamed_record
from proxymix.app.parameters import build_arguments, parameters
from proxymix.app.stages import STAGES, Stage
from proxymix.errors import InputError, StageError
from proxymix.files import read_json, write_json, write_yaml
from proxymix.locks import locked
from proxymix.messages import some
from proxymix.schemas import Domains

State = Literal["done", "stale", "missing"]
EXECUTION_SETTINGS = ("workers", "wandb", "launcher", "save")
"""Settings of how the work is done. Results do not depend on them, so a change makes no stage stale."""
RECORDED_PACKAGES = ("numpy", "scipy", "pandas", "scikit-learn", "lightgbm", "torch", "litgpt", "tokenizers")
"""Packages whose versions a stage's record holds, because results may depend on them."""


class Study:
    """One folder: a question and all that answers it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._digests = Digests(path / ".digests.json")

    def must_exist(self) -> None:
        """Raises InputError if there is no such folder."""
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such study; `proxymix run --config configs/quickstart.yaml --study {self.path}` makes one"
            )

    def config(self) -> Config:
        """What study.yaml says; empty when there is none."""
        path = self.path / "study.yaml"
        return Config.read(path) if path.exists() else Config({})

    def with_budget(self, config: Config) -> Config:
        """`config` with a budget where it has none: half of the training tokens, as a round number.

        So the epoch caps mean something for every corpus, and every corpus can meet them.
        """
        path = self.path / "domains.csv"
        if config.get("budget") is not None or not path.exists():
            return config
        try:
            domains = Domains.read(path)
        except InputError:  # whichever stage reads it says so, and `count` makes it again
            return config
        half = max(sum(domains.tokens.tolist()) // 2, 1)
        unit = 10 ** (len(str(half)) - 1)
        return Config(config | {"budget": half // unit * unit})

    def adopt(self, config: Config, update: bool) -> None:
        """Make this folder the one that answers `config`, written to study.yaml.

        Raises:
            InputError: If it answers another one and `update` is false, or holds something that is no study.
        """
        path = self.path / "study.yaml"
        content = Config({key: value for key, value in config.items() if key != "study"}).sections()
        if path.exists():
            old, new = (Config.from_sections(c.sections(), str(path)) for c in (self.config(), Config(content)))
            changed = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key) and not _is_execution(key)]
            if not changed:
                return
            if not update:
                shown = "; ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in changed[:4])
                more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
                raise InputError(
                    f"{path}: this study has another configuration ({shown}{more}); give another folder with --study, "
                    "or --update to change this one and redo what the change touches"
                )
        elif foreign := _visible_names(self.path):
            raise InputError(
                f"{self.path}: holds {some(foreign, 3)} but no study.yaml; choose an empty or new folder with --study"
            )
        write_yaml(path, content)

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
        return paths | self.with_budget(config).for_stage(stage)

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
        record, record_path = self._record(stage, values), self._record_path(stage)
        before = record_path.with_name(f".{record_path.name}.before")
        if record_path.exists():
            record_path.replace(before)
        try:
            function(**build_arguments(function, values))
            record["outputs"] = self._checked_outputs(stage, values)
        except BaseException:
            self._restore_record(stage, before)
            raise
        versions = {name: importlib.metadata.version(name) for name in RECORDED_PACKAGES}
        record["versions"] = {"proxymix": __version__} | versions
        write_json(record_path, record)
        before.unlink(missing_ok=True)

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
        if not before.exists():
            return
        if self._read_record(before)["outputs"] == self._outputs(stage):
            before.replace(self._record_path(stage))
        else:
            before.unlink()

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

    def state(self, stage: Stage, values: Mapping[str, Any]) -> State:
        """Whether a stage's files are there and made from these settings and inputs."""
        path = self._record_path(stage)
        if not path.exists():
            return "missing"
        recorded, now = self._read_record(path), self._record(stage, values)
        settings = renamed_record(recorded["settings"], stage.settings_section)
        same = settings == now["settings"] and recorded["inputs"] == now["inputs"]
        return "done" if same and recorded["outputs"] == self._outputs(stage) else "stale"

    def digest(self, path: Path) -> str | None:
        """What a file or folder holds, as a hash; None when it is not there."""
        return self._digests.digest(path)

    def _record_path(self, stage: Stage) -> Path:
        return self.path / "stages" / f"{stage.name}.json"

    def _read_record(self, path: Path) -> dict[str, dict[str, Any]]:
        """A stage's record. One that cannot be read, or has another shape, says nothing, so that its stage is stale."""
        try:
            content = read_json(path)
        except InputError:
            content = {}
        parts = {name: content.get(name) for name in ("settings", "inputs", "outputs")}
        return {name: part if isinstance(part, dict) else {} for name, part in parts.items()}

    def _record(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
        given = [key for key, value in values.items() if value and setting_of(stage, key) in path_settings()]
        not_recorded = {*stage.files, *EXECUTION_SETTINGS, *stage.display_only, *given}
        settings = nested({key: value for key, value in values.items() if key not in not_recorded})
        inputs = self._inputs(stage, values) | {key: self.digest(Path(values[key])) for key in given}
        return {"stage": stage.name, "settings": settings, "inputs": inputs}

    def _inputs(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, str | None]:
        inputs: dict[str, str | None] = {}
        for name, relative in stage.files.items():
            if name in stage.writes or name == "out" or values.get(name) is None:
                continue
            if relative == ".":  # a stage that reads the study reads what the stages before it wrote
                earlier = [other for other in STAGES[: STAGES.index(stage)] if other.in_study]
                inputs |= {path.name: self.digest(path) for other in earlier for path in self.written(other)}
            else:
                path = Path(values[name])
                inside = path.is_relative_to(self.path)
                inputs[path.relative_to(self.path).as_posix() if inside else name] = self.digest(path)
        return inputs

    def _outputs(self, stage: Stage) -> dict[str, str | None]:
        return {path.name: self.digest(path) for path in self.written(stage)}


def _outputs_among(stage: Stage, values: Mapping[str, Any]) -> list[str]:
    written = (*stage.writes, "out")
    return [name for name in stage.files if name in written and values.get(name) is not None]


def _is_execution(key: str) -> bool:
    return key.rpartition(".")[2] in EXECUTION_SETTINGS


def _visible_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(".")) if folder.exists() else []
