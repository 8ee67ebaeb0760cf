"""Runs -> run batches, the runs that one process trains together: planned once for a folder, written down, kept to.

Which runs share a process must not depend on which worker is free. A sweep that is interrupted, continued or extended
therefore trains the same batches and ends with the same bytes.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxy_training.device.layout import Layout, device_here
from proxy_training.runs.settings import LAYOUT, Run, TrainSettings
from proxymix.files import read_yaml, write_yaml

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

    New batches are added to the file before anything is trained.

    Args:
        out: The folder of the runs.
        runs: All runs that may share a batch.
        todo: The runs to train.
        settings: How they are trained.
        tokens_sha256: The hash of the shards' manifest.
        workers: Processes. New batches are small enough to give each process one.
        choose_layout: Called only where no layout is recorded for these settings.
    """
    path, by_id = out / NAME, {run.id: run for run in runs}
    identity = {"settings": settings.identity, "tokens_manifest_sha256": tokens_sha256, "device": device_here()}
    asked = _in_file({key: getattr(settings, key) for key in LAYOUT if getattr(settings, key) != "auto"})
    recorded = read_yaml(path) if path.exists() else {}
    known: list[list[str]] = []
    if _is_of(recorded, identity, asked):
        in_code = {file_key: key for key, file_key in FILE_KEYS.items()}
        layout = Layout(**{in_code.get(key, key): value for key, value in recorded["layout"].items()})
        known = recorded["bundles"]
    else:
        layout = choose_layout()
    wanted = {run.id for run in todo}
    old = [names for names in known if wanted & set(names) and set(names) <= set(by_id)]
    new = _even([run.id for run in todo if not any(run.id in names for names in old)], workers, layout)
    if new:
        regrouped = {name for names in new for name in names}
        kept = [names for names in known if not regrouped & set(names)]
        content = {**identity, "asked": asked, "layout": _in_file(layout.record()), "bundles": [*kept, *new]}
        write_yaml(path, content)
    return layout, [[by_id[name] for name in names] for names in [*old, *new]]


def _even(names: Sequence[str], workers: int, layout: Layout) -> list[list[str]]:
    """Batches that are as even as possible, as many for each process."""
    count = -(-len(names) // (workers * layout.models_per_process)) * workers
    size = max(1, -(-len(names) // max(1, count)))
    return [list(names[start : start + size]) for start in range(0, len(names), size)]


def _is_of(recorded: Mapping[str, Any], identity: Mapping[str, Any], asked: Mapping[str, Any]) -> bool:
    """Whether a file's layout is of these settings, and has what is asked for now or had it asked for then."""
    if any(recorded.get(key) != value for key, value in identity.items()):
        return False
    had = {**recorded["layout"], **recorded.get("asked", {})}
    return all(had[key] == value for key, value in asked.items())


def _in_file(values: Mapping[str, Any]) -> dict[str, Any]:
    return {FILE_KEYS.get(key, key): value for key, value in values.items()}
