"""A run's folder <-> what it holds: manifest, loss curve, final losses, wandb files, checkpoint."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError
from proxymix.files import read_text, read_yaml, remove, write_yaml
from proxymix.tables import read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

LOSSES_HEADER = ("domain", "loss_nats", "bpb", "tokens")


@dataclass(frozen=True)
class FinishedRun:
    """A run that is over.

    Attributes:
        weights: Its mixture: domain -> weight.
        losses: Validation domain -> final loss, in nats per token; NaN where the run diverged.
    """

    weights: dict[str, float]
    losses: dict[str, float]


class RunFolder:
    """The folder of one run. Its manifest is written last, so a folder that has one holds a whole result.

    Args:
        path: The folder, named after the run.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.manifest_path = self.path / "manifest.yaml"  # What the run was made from and with.
        self.metrics_path = self.path / "metrics.csv"  # A row per training step.
        self.losses_path = self.path / "losses.csv"  # A row per validation domain: its loss at the end.
        self.wandb_path = self.path / "wandb"  # The files of the run's wandb log.
        self.checkpoint_path = self.path / "checkpoint"  # The final weights, as litgpt has them.
        # The state of training in progress, of the run batch that begins with this run.
        self.state_path = self.path.parent / f".{self.path.name}.state"

    @classmethod
    def finished_in(cls, folder: Path, names: str = "n*") -> "list[RunFolder]":
        """The finished runs of a folder of run folders, in the order of their names.

        Args:
            folder: A study's proxies/, rounds/proxies/ or confirmation/.
            names: A pattern of the runs' names.
        """
        return [cls(path.parent) for path in sorted(Path(folder).glob(f"{names}/manifest.yaml"))]

    @property
    def is_finished(self) -> bool:
        """Whether the run is over."""
        return self.manifest_path.exists()

    def manifest(self) -> dict[str, Any]:
        """What manifest.yaml holds.

        Raises:
            InputError: If there is none.
        """
        return read_yaml(self.manifest_path)

    def metrics(self) -> "pd.DataFrame":
        """What metrics.csv holds: step, tokens, learning_rate, train_loss, and the loss columns where it was evaluated."""
        return read_table(self.metrics_path)

    def result(self) -> FinishedRun | None:
        """The mixture and the final losses; None where the run is not finished.

        Raises:
            InputError: If a loss is no finite number, although the run did not diverge.
        """
        if not self.is_finished:
            return None
        manifest = self.manifest()
        rows = csv.DictReader(io.StringIO(read_text(self.losses_path)))
        losses = {row["domain"]: math.nan if "diverged" in manifest else self._loss(row["loss_nats"]) for row in rows}
        return FinishedRun(manifest["weights"], losses)

    def _loss(self, text: str | None) -> float:
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{self.losses_path}: {text!r} where a number is wanted")
        return value

    def holds(self, run: Run, settings: TrainSettings, tokens_sha256: str, checkpoint: bool = False) -> bool:
        """Whether the folder holds the result of exactly this run.

        Args:
            run: The run.
            settings: How it is trained. How the work is laid out on a device does not count.
            tokens_sha256: The hash of the shards' manifest.
            checkpoint: Whether the final weights must be there too, unless the run diverged.
        """
        if not self.is_finished:
            return False
        manifest = self.manifest()
        if any(manifest.get(key) != value for key, value in identity(run, settings, tokens_sha256).items()):
            return False
        return not checkpoint or "diverged" in manifest or self.checkpoint_path.exists()

    def clear(self) -> None:
        """Make the folder, and remove what an earlier attempt left: the manifest first, since it says "finished"."""
        for path in (self.manifest_path, self.losses_path, self.metrics_path, self.wandb_path, self.checkpoint_path):
            remove(path)
        self.path.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        metrics: Sequence[Mapping[str, float]],
        columns: Sequence[str],
        losses: Sequence[tuple[str, float, float, int]],
        manifest: Mapping[str, Any],
    ) -> None:
        """Write a result: metrics.csv, losses.csv, and manifest.yaml last.

        Args:
            metrics: A row per step.
            columns: The names of its values, in the order of the file.
            losses: Per validation domain its name, its loss in nats per token and in bits per byte, and the tokens scored.
            manifest: What the run was made from and with.
        """
        write_table(self.metrics_path, columns, [[row.get(name, "") for name in columns] for row in metrics])
        write_table(self.losses_path, LOSSES_HEADER, losses)
        write_yaml(self.manifest_path, dict(manifest))


def identity(run: Run, settings: TrainSettings, tokens_sha256: str) -> dict[str, Any]:
    """What decides the result of a run, as its manifest records it."""
    return {
        "run": run.id,
        "seed": run.seed,
        "settings": settings.identity,
        "weights": run.weights,
        "tokens_manifest_sha256": tokens_sha256,
    }
