"""Runs -> bundles that share a process: decided once for a folder of runs, written down, and kept to.

So that a run is the same arithmetic whenever it is trained: which runs are its neighbours is not left to who happens to
be free, and a sweep that is interrupted, continued, or grown ends with the same bytes.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxy_training.device.layout import Layout, device_here
from proxy_training.runs.settings import LAYOUT, Run, TrainSettings
from proxymix.files import read_yaml, write_yaml

NAME = "bundles.yaml"


def bundled(
    out: Path,
    runs: Sequence[Run],
    todo: Sequence[Run],
    settings: TrainSettings,
    tokens_sha256: str,
    workers: int,
    choose: Callable[[], Layout],
) -> tuple[Layout, list[list[Run]]]:
    """The bundles that hold the runs to train, those recorded in OUT/bundles.yaml first; what is new is recorded.

    Args:
        out: The folder of the runs.
        runs: All that may share a bundle.
        todo: Those to train.
        settings: How.
        tokens_sha256: Of the shards' manifest.
        workers: Processes; new bundles are small enough to give each one something.
        choose: The layout, asked only where none is recorded.
    """
    path, by_id = out / NAME, {run.id: run for run in runs}
    identity = {"settings": settings.identity, "tokens_manifest_sha256": tokens_sha256, "device": device_here()}
    recorded = read_yaml(path) if path.exists() else {}
    asked = {key: getattr(settings, key) for key in LAYOUT if getattr(settings, key) != "auto"}
    same = all(recorded.get(key) == value for key, value in identity.items())
    if same and all({**recorded["layout"], **recorded.get("asked", {})}[key] == value for key, value in asked.items()):
        layout = Layout(**recorded["layout"])
        known: list[list[str]] = recorded["bundles"]
    else:
        layout, known = choose(), []
    wanted = {run.id for run in todo}
    old = [names for names in known if wanted & set(names) and set(names) <= set(by_id)]
    left = [run.id for run in todo if not any(run.id in names for names in old)]
    number = -(-len(left) // (workers * layout.stack)) * workers  # as many for each process, and as even as can be
    size = max(1, -(-len(left) // max(1, number)))
    new = [left[start : start + size] for start in range(0, len(left), size)]
    if new:
        gone = {name for names in new for name in names}
        kept = [names for names in known if not gone & set(names)]
        content: dict[str, Any] = {**identity, "asked": asked, "layout": asdict(layout), "bundles": [*kept, *new]}
        write_yaml(path, content)
    return layout, [[by_id[name] for name in names] for names in [*old, *new]]
