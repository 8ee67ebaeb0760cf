"""The study folder: which configuration it answers, which stages are done, and one process at a time in it.

A stage that ends writes STUDY/stages/<stage>.json: its settings, versions, and the digests of what it read and wrote.
Comparing these with the files at hand tells done, stale or missing. Nothing in a study holds a clock, apart from the
wandb folders and what begins with a dot, so that a study killed and continued ends with the same bytes.
"""

import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from proxymix import __version__
from proxymix.app.stages import (
    RENAMED,
    SHARED,
    SHARED_KEY,
    STAGES,
    Parameter,
    Stage,
    bound,
    old_keys,
    parameters,
    renamed,
)
from proxymix.errors import InputError, StageError
from proxymix.files import read_json, read_yaml, sha256, write_json, write_yaml
from proxymix.schemas import read_domains

State = Literal["done", "stale", "missing"]
EXECUTION = ("workers", "wandb", "launcher", "save")  # how the work is done; the results do not depend on it
VERSIONED = ("numpy", "scipy", "pandas", "scikit-learn", "lightgbm", "torch", "litgpt", "tokenizers")


def schema() -> dict[str, Parameter]:
    """Every setting of a study by its dotted key, from the signatures of the stages."""
    keys: dict[str, Parameter] = {
        "study": Parameter(
            "study", Path, Path("studies/study"), "The folder that holds the question and all that answers it."
        ),
        "corpus.path": Parameter(
            "path",
            Path | None,
            None,
            "Your corpus: train/<domain>_0.jsonl, valid/<domain>.jsonl. null harvests one from this machine.",
        ),
    }
    for stage in STAGES:
        if not stage.in_study:
            continue
        for name, parameter in parameters(stage.load()).items():
            if name in stage.files or name in stage.answers or name in stage.shares:
                continue
            if parameter.is_section:
                keys |= {f"{name}.{key}": value for key, value in parameters(parameter.type).items()}
            elif name in SHARED_KEY:
                if SHARED_KEY[name] not in keys or keys[SHARED_KEY[name]].default is None:
                    keys[SHARED_KEY[name]] = parameter
            else:
                keys[f"{stage.section}.{name}"] = parameter
    return {
        key: keys[key]
        for key in sorted(keys, key=lambda k: (k != "study", k not in SHARED, "." in k, _section_rank(k)))
    }


def _section_rank(key: str) -> int:
    order = [stage.section for stage in STAGES]
    section = key.partition(".")[0]
    return order.index("sweep") * 2 - 1 if section == "train" else 2 * order.index(section) if section in order else 0


def flatten(content: Mapping[str, Any], known: Mapping[str, Any], source: str) -> dict[str, Any]:
    """A study's YAML -> dotted key -> value; a mapping is opened only where it is a section.

    Raises:
        InputError: If a section is not a mapping.
    """
    sections = {key.partition(".")[0] for key in known if "." in key}
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
    return renamed(flat, old_keys(RENAMED), source)


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys -> a YAML's mapping of sections."""
    content: dict[str, Any] = {}
    for key, value in flat.items():
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


def stage_settings(stage: Stage, wanted: Mapping[str, Parameter], config: Mapping[str, Any]) -> dict[str, Any]:
    """What a study's configuration (dotted keys) says about a stage's parameters, under the stage's own flags."""
    values: dict[str, Any] = {}
    for name, parameter in wanted.items():
        if parameter.is_section:
            values |= {key: value for key, value in config.items() if key.startswith(f"{name}.")}
        elif name not in stage.files and name not in stage.answers:
            key = stage.shares.get(name) or SHARED_KEY.get(name, f"{stage.section}.{name}")
            if key in config:
                values[name] = config[key]
    return values


def stage_section(stage: Stage, path: Path, wanted: Mapping[str, Parameter]) -> dict[str, Any]:
    """What `path` (a study's YAML, or one of just this stage's settings) says about a stage's parameters.

    Raises:
        InputError: If a key is no setting.
    """
    content = read_yaml(path)
    known = schema()
    sections = {key.partition(".")[0] for key in known if "." in key} - {n for n, p in wanted.items() if p.is_section}
    if not ({"study", *sections} & set(content)):
        return flatten(content, {f"{n}.": None for n, p in wanted.items() if p.is_section}, str(path))
    flat = flatten(content, known, str(path))
    unknown = sorted(set(flat) - set(known))
    if unknown:
        from proxymix.messages import nearest

        shared = SHARED_KEY.get(unknown[0].rpartition(".")[2])
        hint = f"; {shared} stands at the top level, for all stages" if shared else nearest(unknown[0], known)
        raise InputError(f"{path}: {unknown[0]}: no such setting{hint} (value {flat[unknown[0]]!r:.60})")
    return stage_settings(stage, wanted, flat)


def stage_values(stage: Stage, study: "Study", wanted: Mapping[str, Parameter]) -> dict[str, Any]:
    """Where a stage's files lie in a study, and what study.yaml says about its settings."""
    config = study.with_budget(study.config())
    values = {name: str(path) for name, path in study.paths(stage, config).items() if name in wanted}
    return values | stage_settings(stage, wanted, config)


def settings_today(stage: Stage, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a record under their names of today, so that a rename makes no stage stale."""
    own = RENAMED.get(stage.settings_section, {})
    return {
        own.get(name, name): {RENAMED.get(name, {}).get(k, k): v for k, v in value.items()}
        if isinstance(value, dict)
        else value
        for name, value in settings.items()
    }


def further_rounds(config: Mapping[str, Any]) -> int:
    """How many rounds of proxies follow the sweep."""
    return max(int(config.get("rounds.num_rounds") or 1) - 1, 0)


class Study:
    """One folder: a question and all that answers it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def must_exist(self) -> None:
        """Raises InputError if there is no such folder."""
        if not self.path.is_dir():
            raise InputError(
                f"{self.path}: no such study; `proxymix run --config configs/quickstart.yaml --study {self.path}` makes one"
            )

    def config(self) -> dict[str, Any]:
        """study.yaml under dotted keys; empty when there is none."""
        path = self.path / "study.yaml"
        return flatten(read_yaml(path), schema(), str(path)) if path.exists() else {}

    def with_budget(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """`config` (dotted keys) with a budget where it has none: half of the training tokens, as a round number.

        So the epoch caps mean something for every corpus, and every corpus can meet them.
        """
        path = self.path / "domains.csv"
        if config.get("budget") is not None or not path.exists():
            return dict(config)
        half = max(sum(domain.tokens for domain in read_domains(path)) // 2, 1)
        unit = 10 ** (len(str(half)) - 1)
        return {**config, "budget": half // unit * unit}

    def adopt(self, config: Mapping[str, Any], update: bool) -> None:
        """Make this folder the one that answers `config` (dotted keys), written to study.yaml.

        Raises:
            InputError: If it answers another one and `update` is false, or holds something that is no study.
        """
        path = self.path / "study.yaml"
        content = nested({key: value for key, value in config.items() if key != "study"})
        if not path.exists():
            foreign = (
                sorted(p.name for p in self.path.iterdir() if not p.name.startswith(".")) if self.path.exists() else []
            )
            if foreign:
                raise InputError(
                    f"{self.path}: holds {', '.join(foreign[:3])} but no study.yaml; choose an empty or new folder with --study"
                )
        else:
            old, new = self.config(), flatten(content, schema(), str(path))
            changed = [
                k for k in sorted({*old, *new}) if old.get(k) != new.get(k) and k.rpartition(".")[2] not in EXECUTION
            ]
            if changed and not update:
                shown = "; ".join(f"{key}: {old.get(key)!r} there, {new.get(key)!r} now" for key in changed[:4])
                more = f" and {len(changed) - 4} more" if len(changed) > 4 else ""
                raise InputError(
                    f"{path}: this study has another configuration ({shown}{more}); give another folder with --study, "
                    "or --update to change this one and redo what the change touches"
                )
            if not changed:
                return
        write_yaml(path, content)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the study for this process alone.

        Raises:
            StageError: If another process holds it.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                holder = file.read().strip() or "?"
                raise StageError(
                    f"{self.path}: another proxymix command (process {holder}) works on this study; wait until it ends, or stop it"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def paths(self, stage: Stage, config: Mapping[str, Any]) -> dict[str, Path]:
        """Parameter -> path of a stage's files."""
        paths = {name: self.path / relative for name, relative in stage.files.items()}
        if stage.name == "tokenize" and config.get("corpus.path"):
            paths["input"] = Path(str(config["corpus.path"]))
        if stage.name == "fit" and further_rounds(config):  # they end with the tables of all runs
            paths |= {name: self.path / "rounds" / f"{name}.csv" for name in ("mixtures", "losses")}
        return paths

    def needed(self, stage: Stage, config: Mapping[str, Any]) -> bool:
        """Whether this study runs the stage: a corpus that is given is not harvested, a sweep may be the only round."""
        unneeded = {"harvest": bool(config.get("corpus.path")), "rounds": not further_rounds(config)}
        return stage.in_study and not unneeded.get(stage.name, False)

    def perform(self, stage: Stage, function: Callable[..., None], values: Mapping[str, Any]) -> None:
        """Call a stage, then record what it was made from: the record comes last, so it means done."""
        record_path = self.path / "stages" / f"{stage.name}.json"
        in_place = all(
            Path(values[n]) == self.path / stage.files[n]
            for n in stage.files
            if n in values and n in (*stage.writes, "out")
        )
        record = self._record(stage, values)
        if in_place:
            record_path.unlink(missing_ok=True)
        function(**bound(function, values))
        if in_place:
            record["outputs"] = {
                self._written(stage, name).name: self.digest(self._written(stage, name)) for name in stage.writes
            }
            record["versions"] = {"proxymix": __version__} | {
                name: importlib.metadata.version(name) for name in VERSIONED
            }
            write_json(record_path, record)

    def state(self, stage: Stage, values: Mapping[str, Any]) -> State:
        """Whether a stage's files are there and made from these settings and inputs."""
        path = self.path / "stages" / f"{stage.name}.json"
        if not path.exists():
            return "missing"
        recorded = read_json(path)
        now = self._record(stage, values)
        settings = settings_today(stage, recorded.get("settings") or {})
        outputs = {self._written(stage, name).name: self.digest(self._written(stage, name)) for name in stage.writes}
        same = settings == now["settings"] and recorded.get("inputs") == now["inputs"]
        return "done" if same and recorded.get("outputs") == outputs else "stale"

    def _record(self, stage: Stage, values: Mapping[str, Any]) -> dict[str, Any]:
        settings = {
            n: plain(v) for n, v in values.items() if n not in stage.files and n not in (*EXECUTION, *stage.answers)
        }
        inputs: dict[str, str | None] = {}
        for name, relative in stage.files.items():
            if name in stage.writes or name not in values or name == "out":
                continue
            if relative == ".":
                earlier = STAGES[: STAGES.index(stage)]
                inputs |= {
                    w.name: self.digest(w)
                    for s in earlier
                    if s.in_study
                    for w in (self._written(s, n) for n in s.writes)
                }
            elif values[name] is not None:
                path = Path(values[name])
                inside = path.is_relative_to(self.path)
                inputs[path.relative_to(self.path).as_posix() if inside else name] = self.digest(path)
        return {"stage": stage.name, "settings": settings, "inputs": inputs}

    def _written(self, stage: Stage, name: str) -> Path:
        return self.path / stage.files.get(name, name)

    def digest(self, path: Path) -> str | None:
        """What a file or folder holds, as a hash; None when it is not there.

        A folder with a manifest.json is what its manifest says (which holds the hashes of its files). Hashes of large
        files are kept by size and time of change, so that asking again costs nothing.
        """
        if path.is_dir():
            if (path / "manifest.json").exists():
                return self.digest(path / "manifest.json")
            files = sorted(p for p in path.rglob("*") if p.is_file() and not _volatile(p.relative_to(path)))
            lines = [f"{file.relative_to(path).as_posix()} {self.digest(file)}\n" for file in files]
            return hashlib.sha256("".join(lines).encode()).hexdigest()
        if not path.exists():
            return None
        status = path.stat()
        if status.st_size < 1 << 20:
            return sha256(path)
        key, stamp = str(path.resolve()), [status.st_size, status.st_mtime_ns]
        cache_path = self.path / ".digests.json"
        try:
            cache = json.loads(cache_path.read_text())
        except (OSError, ValueError):
            cache = {}
        if cache.get(key, [None])[0] != stamp:
            cache[key] = [stamp, sha256(path)]
            write_json(cache_path, cache)
        return str(cache[key][1])


def _volatile(relative: Path) -> bool:
    return any(part.startswith(".") or part in ("wandb", "checkpoint") for part in relative.parts)
