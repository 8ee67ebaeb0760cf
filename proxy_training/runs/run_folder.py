"""The folder of a run: what it holds, and whether it holds the results of exactly this run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxymix.files import read_yaml
from proxymix.progress import say

CHECKPOINT = "checkpoint"
"""A run's folder of final weights, in its own."""


def is_done(folder: Path, run: Run, settings: TrainSettings, tokens_sha256: str, save: bool = False) -> bool:
    """Whether a run's folder holds the results of exactly this run, its checkpoint among them where one is to be saved."""
    if not (folder / "manifest.yaml").exists():
        return False
    manifest = read_yaml(folder / "manifest.yaml")
    wanted = identity(run, settings, tokens_sha256)
    if any(manifest.get(key) != value for key, value in wanted.items()):
        return False
    return not save or "diverged" in manifest or (folder / CHECKPOINT).exists()


def left_to_train(
    runs: Sequence[Run], data: TokenData, out: Path, settings: TrainSettings, save: bool = False
) -> list[Run]:
    """The runs that are not done; says which of them are trained again for their checkpoints only."""
    todo = [run for run in runs if not is_done(out / run.id, run, settings, data.sha256, save)]
    again = [run.id for run in todo if save and is_done(out / run.id, run, settings, data.sha256)]
    if again:
        names = ", ".join(again[:8]) + (", ..." if len(again) > 8 else "")
        say(f"{names}: done, but without the checkpoint that is asked for now; training again")
    return todo


def identity(run: Run, settings: TrainSettings, tokens_sha256: str) -> dict[str, Any]:
    return {
        "run": run.id,
        "seed": run.seed,
        "settings": settings.identity,
        "weights": run.weights,
        "tokens_manifest_sha256": tokens_sha256,
    }
