"""Runs -> run batches, the runs that one process trains together: planned once for a folder, written down, kept to.

Which runs share a process must not depend on which worker is free. A sweep that is interrupted, continued or extended
therefore trains the same batches and ends with the same bytes.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy_training.device.layout import Layout, device_here
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.sealed import read_sealed, write_sealed
from proxy_training.runs.settings import LAYOUT, Run, TrainSettings
from proxymix.errors import InputError
from proxymix.messages import listed
from proxymix.progress import say
from proxymix.records import from_mapping

NAME = "bundles.yaml"
FILE_KEYS = {"models_per_process": "stack"}  # the name that this setting has in the file, older sweeps' among them


def planned_batches(
    out: Path,
    runs: Sequence[Run],
    todo: Sequence[Run],
    settings: TrainSettings,
    tokens_sha256: str,
    workers: int,
    choose_layout: Callable[[], Layout],
) -> tuple[Layout, list[list[Run]]]:
    """The layout, and the batches that hold the runs to train: those that OUT/bundles.yaml records, then new ones.

    New batches are added to the file before anything is trained, and are small enough to give each worker one. Where the
    file is lost or damaged, it is written anew. `choose_layout` is called only where none is recorded for these settings.

    Args:
        out: The folder of the runs.
        runs: All runs that may share a batch.
        todo: The runs to train.
        settings, tokens_sha256: How they are trained, and the hash of the shards' manifest.
        workers: Processes.
    """
    path, by_id = out / NAME, {run.id: run for run in runs}
    identity = {"settings": settings.identity, "tokens_manifest_sha256": tokens_sha256, "device": device_here()}
    asked = _in_file({key: getattr(settings, key) for key in LAYOUT if getattr(settings, key) != "auto"})
    layout: Layout | None = None
    known: list[list[str]] = []
    is_whole = path.exists()
    if is_whole:
        try:
            layout, known = _recorded(path, identity, asked)
        except (InputError, KeyError, TypeError, ValueError) as error:
            say(f"{path} cannot be read ({error}); it is written anew, from the manifests of the runs that are done")
            is_whole = False
    if not is_whole:
        known = _batches_of_manifests(out, runs, identity)
    layout = layout or choose_layout()
    wanted = {run.id for run in todo}
    old = [names for names in known if wanted & set(names) and set(names) <= set(by_id)]
    new = _even([run.id for run in todo if not any(run.id in names for names in old)], workers, layout)
    if new or not is_whole:
        regrouped = {name for names in new for name in names}
        kept = [names for names in known if not regrouped & set(names)]
        content = {**identity, "asked": asked, "layout": _in_file(layout.record()), "bundles": [*kept, *new]}
        write_sealed(path, content)
    return layout, [[by_id[name] for name in names] for names in [*old, *new]]


def are_recorded(out: Path) -> bool:
    """Whether the batches of a folder are written down, in a file that can be read."""
    try:
        return bool(_read(out / NAME))
    except InputError:
        return False


def _read(path: Path) -> dict[str, Any]:
    recorded = read_sealed(path)
    if lacking := [key for key in ("layout", "bundles") if key not in recorded]:
        raise InputError(f"{path}: lacks {listed(lacking)}")
    return recorded


def _recorded(
    path: Path, identity: Mapping[str, Any], asked: Mapping[str, Any]
) -> tuple[Layout | None, list[list[str]]]:
    """A file's layout and batches; None and no batches if they are of other settings, or something else was asked for.

    Raises:
        InputError, KeyError, TypeError, ValueError: If the file is damaged, or of another shape.
    """
    recorded = _read(path)
    if any(recorded.get(key) != value for key, value in identity.items()):
        return None, []
    had = {**recorded["layout"], **recorded.get("asked", {})}  # A layout may have less than what was asked for.
    if any(had[key] != value for key, value in asked.items()):
        return None, []
    in_code = {file_key: key for key, file_key in FILE_KEYS.items()}
    content = {in_code.get(key, key): value for key, value in recorded["layout"].items()}
    batches = from_mapping(list[list[str]], recorded["bundles"], f"{path}: bundles")
    names = [name for batch in batches for name in batch]
    if len(set(names)) < len(names):
        raise InputError("a run is in two batches")
    return Layout.of_record(content, f"{path}: layout"), batches


def _batches_of_manifests(out: Path, runs: Sequence[Run], identity: Mapping[str, Any]) -> list[list[str]]:
    """The batches that are named by the manifests of the runs that are done with these settings."""
    found: list[list[str]] = []
    for run in runs:
        with contextlib.suppress(InputError):  # There is none, or it is damaged.
            manifest = RunFolder(out / run.id).manifest()
            if manifest.get("settings") == identity["settings"]:
                together = from_mapping(list[str], manifest.get("stack"), "stack")
                if not any(set(together) & set(batch) for batch in found):
                    found.append(together)
    return found


def _even(names: Sequence[str], workers: int, layout: Layout) -> list[list[str]]:
    """Batches that are as even as possible, as many for each process."""
    if not names:
        return []
    count = -(-len(names) // (workers * layout.models_per_process)) * workers
    size = max(1, -(-len(names) // max(1, count)))
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def _in_file(values: Mapping[str, Any]) -> dict[str, Any]:
    return {FILE_KEYS.get(key, key): value for key, value in values.items()}
