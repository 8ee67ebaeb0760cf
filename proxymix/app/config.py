"""The configuration of a study: each setting under its dotted key (`train.model`); in YAML they stand in sections."""

import dataclasses
from collections.abc import Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Self

from proxymix.app.old_names import old_keys, renamed
from proxymix.app.parameters import Parameter, parameters
from proxymix.app.stages import RENAMED, SHARED_SETTINGS, STAGES, Stage, shared_key, stage_named
from proxymix.app.value_types import as_written, options
from proxymix.errors import InputError
from proxymix.files import read_yaml
from proxymix.messages import nearest

EXECUTION_SETTINGS = ("workers", "wandb", "launcher", "save")
"""Settings of how the work is done. Results do not depend on them, so a change makes no stage stale."""


@cache
def study_settings() -> dict[str, Parameter]:
    """Every setting of a study by its dotted key, from the signatures of the stages."""
    path_help = "Your corpus: train/<domain>_0.jsonl, valid/<domain>.jsonl. null harvests one from this machine."
    study_help = "The folder that holds the question and all that answers it."
    found = {
        "study": Parameter("study", Path, Path("studies/study"), study_help),
        "corpus.path": Parameter("path", Path | None, None, path_help),
    }
    for stage in STAGES:
        if not stage.in_study:
            continue
        for name, parameter in parameters(stage.load()).items():
            key = setting_of(stage, name)
            if key is None or name in stage.taken_from:
                continue
            if key not in SHARED_SETTINGS or key not in found or found[key].default is None:
                found[key] = parameter
    full_help = parameters(stage_named("fit").load())["objective"].help
    found["objective"] = dataclasses.replace(found["objective"], help=full_help)
    sections = _sections_in_order()
    rank = {key: sections.index(key.partition(".")[0]) if "." in key else -1 for key in found}
    order = sorted(found, key=lambda key: (key != "study", key not in SHARED_SETTINGS, rank[key]))
    return {key: found[key] for key in order}


def _sections_in_order() -> list[str]:
    """Sections in the order of the stages; one that stages share stands before that of the first of them."""
    names: list[str] = []
    for stage in STAGES:
        if stage.in_study:
            names += [name.partition(".")[0] for name in parameters(stage.load()) if "." in name]
            names.append(stage.section)
    return list(dict.fromkeys(names))


def setting_of(stage: Stage, name: str) -> str | None:
    """The dotted key that fills a parameter of a stage in a study; None where it is no setting but a file, or display only."""
    if "." in name:  # a field of a dataclass that stages share as a section of its own
        return name
    if name in stage.files or name in stage.display_only:
        return None
    return stage.taken_from.get(name) or shared_key(name) or f"{stage.section}.{name}"


class Config(dict[str, Any]):
    """Dotted key -> value; a setting that is not given is absent."""

    @classmethod
    def defaults(cls) -> Self:
        """Every setting of a study at its default."""
        return cls({key: parameter.default for key, parameter in study_settings().items()})

    @classmethod
    def read(cls, path: Path) -> Self:
        """The settings in a study's YAML, under their names of today. Unknown keys are kept.

        A relative path counts from the working directory, as on the command line; where nothing is there, it is looked
        for beside the file.

        Raises:
            InputError: If the file cannot be read, or a section is not a mapping.
        """
        old = old_keys(RENAMED)
        config = cls(renamed(_read(path, study_sections(), study_settings(), old), old, str(path)))
        for key in path_settings():
            if isinstance(config.get(key), str):
                config[key] = _found(config[key], path)
        return config

    def located(self) -> Self:
        """The same with absolute paths, so that the study can be continued from any folder."""
        paths = {key: self[key] for key in path_settings() if self.get(key) is not None}
        return type(self)(self | {key: Path(path).absolute() for key, path in paths.items()})

    @classmethod
    def from_sections(cls, content: Mapping[str, Any], source: str) -> Self:
        """A YAML's mapping of sections -> settings. A mapping is opened only where it is a section.

        Raises:
            InputError: If a section is not a mapping.
        """
        return cls(renamed(_flat(content, study_sections(), source), old_keys(RENAMED), source))

    def sections(self) -> dict[str, Any]:
        """The settings as a study's YAML holds them."""
        return nested(self)

    def section(self, name: str) -> dict[str, Any]:
        """The settings of one section, without its name."""
        return {key.removeprefix(f"{name}."): value for key, value in self.items() if key.startswith(f"{name}.")}

    def for_stage(self, stage: Stage) -> dict[str, Any]:
        """What the configuration says about the parameters of a stage, under the stage's own keys."""
        keys = {name: setting_of(stage, name) for name in parameters(stage.load())}
        return {name: self[key] for name, key in keys.items() if key is not None and key in self}


@cache
def path_settings() -> tuple[str, ...]:
    """The settings that are paths of files or folders which a study reads."""
    return tuple(key for key, value in study_settings().items() if Path in options(value.type) and key != "study")


def _found(text: str, file: Path) -> Path:
    """The place of a path that stands in a YAML."""
    given = Path(text).expanduser()
    here, beside = given.absolute(), (file.parent / given).absolute()
    return beside if beside.exists() and not here.exists() else here


def is_execution(key: str) -> bool:
    """Whether a setting says only how the work is done."""
    return key.rpartition(".")[2] in EXECUTION_SETTINGS


def study_sections() -> set[str]:
    """The names of the sections of a study's YAML."""
    return {key.partition(".")[0] for key in study_settings() if "." in key}


def read_stage_settings(path: Path, stage: Stage) -> dict[str, Any]:
    """What a YAML says about the parameters of a stage, under the stage's own keys.

    Args:
        path: A study's YAML, or one of just this stage's settings.
        stage: The stage.

    Raises:
        InputError: If a section is not a mapping, or a study's YAML has a key that is no setting.
    """
    wanted = parameters(stage.load())
    own = {name.partition(".")[0] for name in wanted if "." in name}
    if not ({"study", *study_sections()} - own) & set(read_yaml(path)):
        return _read(path, own, wanted, old_keys({*own, stage.settings_section}, stage.settings_section))
    config = Config.read(path)
    for key in sorted(set(config) - set(study_settings())):
        shared = shared_key(key.rpartition(".")[2])
        hint = f"; {shared} stands at the top level, for all stages" if shared else nearest(key, study_settings())
        raise InputError(f"{path}: {key}: no such setting{hint} (value {config[key]!r:.60})")
    return config.for_stage(stage)


def _read(
    path: Path, sections: Collection[str], settings: Mapping[str, Parameter], old: Mapping[str, str]
) -> dict[str, Any]:
    """Dotted key -> value of a YAML; where a setting is a name, the text as written, whatever YAML would make of it.

    Args:
        path: The YAML.
        sections: Keys whose mappings are opened.
        settings: The settings that there are.
        old: Old key of a setting -> its key of today.
    """
    values, texts = (_flat(read_yaml(path, as_text), sections, str(path)) for as_text in (False, True))
    for key in values:
        if parameter := settings.get(old.get(key, key)):
            values[key] = as_written(parameter.type, values[key], texts[key])
    return values


def _flat(content: Mapping[str, Any], sections: Collection[str], source: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if key not in sections:
            flat[str(key)] = value
        elif isinstance(value, Mapping):
            flat |= {f"{key}.{name}": inner for name, inner in value.items()}
        elif value is not None:
            raise InputError(
                f"{source}: {key}: {value!r:.60} where a section of settings is wanted ({key}: {{name: value}})"
            )
    return flat


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys -> sections, the values as YAML and JSON hold them."""
    content: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (content.setdefault(section, {}) if section else content)[name] = plain(value)
    return content


def plain(value: Any) -> Any:
    """A value as YAML and JSON hold it: paths as text, dataclasses as mappings."""
    if isinstance(value, Path):
        return value.as_posix()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return {str(k): plain(v) for k, v in value.items()} if isinstance(value, Mapping) else value
