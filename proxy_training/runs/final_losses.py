"""Finished runs -> their losses, as a command ends with them."""

import math
import statistics
from collections.abc import Sequence
from pathlib import Path

from proxy_training.runs.run_folder import FinishedRun, RunFolder
from proxymix.messages import aligned, some
from proxymix.progress import say

MAX_COLUMNS = 4
"""Runs whose losses are said domain by domain; of more runs only the best and the worst are named."""


def say_losses(names: Sequence[str], out: Path) -> None:
    """Say the losses of finished runs in a folder, in nats per token."""
    found = {name: run for name in names if (run := RunFolder(out / name).result()) is not None}
    means = {name: mean for name, run in found.items() if math.isfinite(mean := statistics.fmean(run.losses.values()))}
    if 0 < len(found) <= MAX_COLUMNS:
        say(f"Validation loss (nats/token):\n{aligned(_table(found))}")
        folders = some(str(out / name) for name in found)
        say(f"{folders}: losses.csv (bits per byte too), metrics.csv (the curve), manifest.yaml")
    elif means:
        best, worst = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        say(
            f"{out}: {len(found)} runs; mean validation loss from {means[best]:.4f} ({best}) to {means[worst]:.4f} ({worst}) "
            "nats/token"
        )
    if diverged := [name for name in found if name not in means]:
        say(
            f"{len(diverged)} of {len(found)} runs diverged ({some(diverged)}); lower train.learning_rate if these are many"
        )


def _table(found: dict[str, FinishedRun]) -> list[tuple[str, ...]]:
    domains = list(next(iter(found.values())).losses)
    rows = [(name, *(f"{run.losses.get(name, math.nan):.4f}" for run in found.values()), "") for name in domains]
    mean = ("mean", *(f"{statistics.fmean(run.losses.values()):.4f}" for run in found.values()), "")
    return [("domain", *found, ""), *rows, mean]
