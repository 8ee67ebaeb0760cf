"""A study -> every file of it that is damaged, by hashes taken anew, and the command that mends it.

proxymix check studies/mine
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from data_preparation.tokens.verification import shard_faults, tokenizer_faults
from proxy_training.runs.run_folder import RunFolder
from proxymix.app.config import Config
from proxymix.app.digests import Digests, tokens_manifest
from proxymix.app.stages import Stage
from proxymix.app.study import Study
from proxymix.errors import InputError, StageError
from proxymix.files import read_json, sha256
from proxymix.progress import progress


@dataclass(frozen=True)
class Fault:
    """A file that is not as it was left.

    Attributes:
        file: Its path.
        fault: What is wrong with it.
        cure: What mends it.
    """

    file: str
    fault: str
    cure: str


def is_study(folder: Path) -> bool:
    """Whether `proxymix check` takes a folder for a study, and not for token shards."""
    return (folder / "study.yaml").exists() or (folder / "stages").is_dir()


def check_command(folder: Path, as_json: bool) -> None:
    """`proxymix check STUDY`.

    Raises:
        StageError: If something is damaged; every fault is listed.
    """
    study, config = Study(folder), Config.defaults()
    with contextlib.suppress(InputError):  # one that cannot be read is among the faults
        config = Config(config | study.config())
    faults, stages = list(_of_study(study)), study.stages(config)
    with progress("check", len(stages), "stages") as bar:
        for stage in stages:
            faults += _of_stage(study, stage, study.call(stage, config))
            bar.advance()
    faults = list({fault.file: fault for fault in reversed(faults)}.values())[::-1]  # the first of each file
    if as_json:
        print(json.dumps([asdict(fault) for fault in faults], indent=2, ensure_ascii=False))
    if faults:
        lines = [f"{fault.file}: {fault.fault}; {fault.cure}" for fault in faults]
        count = f"{folder}: {len(faults)} damaged file{'s' * (len(faults) != 1)}"
        raise StageError("\n".join([*([] if as_json else lines), count]))
    if not as_json:
        missing = [name for name, (state, _) in study.states(config).items() if state == "missing"]
        print(f"{folder}: every file is as it was left" + (f"; not done yet: {', '.join(missing)}" if missing else ""))


def _of_study(study: Study) -> Iterator[Fault]:
    cure = f"`proxymix run --study {study.path}` writes it again; to change the study, give the setting as a flag"
    for path, fault in study.saved.faults():
        yield Fault(str(path), fault, cure)


def _of_stage(study: Study, stage: Stage, call: dict[str, Any]) -> list[Fault]:
    again = f"`proxymix run --study {study.path}` makes it again ({stage.name})"
    faults = [Fault(str(path), what, again) for path, what in _damaged_runs(study, stage)]
    path, record = study.record_path(stage), study.record(stage)
    if not path.exists():
        return faults
    if not record.outputs:
        return [*faults, Fault(str(path), "no record of a stage that can be read", again)]
    digests = Digests(None)
    now = {place.name: digests.digest(place) for place in study.written(stage)}
    for place in study.written(stage):
        if record.outputs.get(place.name) != now[place.name]:
            found = _in_tokens(place) or _in_files(study, place, record.files, digests)
            faults += [Fault(str(file), what, again) for file, what in found]
    return faults + list(_of_sources(study, stage, call))


def _damaged_runs(study: Study, stage: Stage) -> Iterator[tuple[Path, str]]:
    """Files of finished runs that are not those whose hashes the runs' manifests hold."""
    if stage.training is None:
        return
    folder, _, names = stage.training.runs.rpartition("/")
    for run in RunFolder.finished_in(study.path / folder, names):
        if (damaged := run.damaged_file()) is not None:
            yield damaged, "missing, or not as the run left it"


def _in_tokens(folder: Path) -> list[tuple[Path, str]]:
    """What is wrong in a folder of token shards, by its manifest; nothing where it is no such folder."""
    manifest = tokens_manifest(folder) if folder.is_dir() else None
    if manifest is None:
        return []
    shards = [shard for domains in manifest.splits.values() for found in domains.values() for shard in found]
    faults = [*tokenizer_faults(folder, manifest)]
    faults += [fault for shard in shards for fault in shard_faults(folder, shard, manifest)]
    named = [fault.partition(": ")[::2] for fault in faults]
    return [(Path(file), what) for file, what in named] or [(folder / "manifest.json", "not as it was written")]


def _in_files(study: Study, place: Path, recorded: dict[str, Any], digests: Digests) -> Sequence[tuple[Path, str]]:
    """Files of a result that are missing, changed, or not its own."""
    inside = {name for name in recorded if study.path / name == place or (study.path / name).is_relative_to(place)}
    now = {(place / name).relative_to(study.path).as_posix(): found for name, found in digests.files(place).items()}
    faults = [
        (study.path / name, "missing" if name not in now else "not as it was written (its sha256 differs)")
        for name in sorted(inside)
        if now.get(name) != recorded[name]
    ]
    if inside:
        faults += [(study.path / name, "not of this study; move it away") for name in sorted({*now} - inside)]
    return faults or [(place, "not as it was written" if place.exists() else "missing")]


def _of_sources(study: Study, stage: Stage, call: dict[str, Any]) -> Iterator[Fault]:
    """Files of the user's that are others than those that a stage read."""
    cure = f"bring it back as it was; `proxymix run --study {study.path} --update` begins from it as it is now"
    for path in filter(None, study.changed_sources(stage, call).values()):
        for file in _changed_documents(study, path) or [path]:
            yield Fault(str(file), f"changed since `{stage.name}` read it", cure)


def _changed_documents(study: Study, corpus: Path) -> list[Path]:
    """The files of a corpus whose hashes are not those that the token shards' manifest holds."""
    try:
        read = read_json(study.path / "tokens" / "manifest.json").get("inputs")
    except InputError:
        return []
    files = {corpus / name: digest for name, digest in read.items()} if isinstance(read, dict) else {}
    return [file for file, digest in files.items() if not file.is_file() or sha256(file) != digest]
