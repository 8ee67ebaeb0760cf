"""A run's folder <-> what it holds: manifest, loss curve, final losses, wandb files, checkpoint."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_training.runs.sealed import read_sealed, write_sealed
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError
from proxymix.files import remove, sha256
from proxymix.tables import Cells, read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

LOSSES_HEADER = ("domain", "loss_nats", "bpb", "tokens")


@dataclass(frozen=True)
class FinishedRun:
    """The mixture of a run that is over, and the final loss of each validation domain."""

    weights: dict[str, float]
    losses: dict[str, float]  # In nats per token; NaN where the run diverged.


class RunFolder:
    """The folder of one run, named after it. Its manifest is written last, so one that has it holds a whole result."""

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
        """The finished runs of a folder such as STUDY/proxies, in the order of their names, which follow a pattern."""
        return [cls(path.parent) for path in sorted(Path(folder).glob(f"{names}/manifest.yaml"))]

    @property
    def is_finished(self) -> bool:
        """Whether the run is over."""
        return self.manifest_path.exists()

    def manifest(self) -> dict[str, Any]:
        """What manifest.yaml holds.

        Raises:
            InputError: If there is none, or it is damaged.
        """
        return read_sealed(self.manifest_path)

    def metrics(self) -> "pd.DataFrame":
        """What metrics.csv holds: step, tokens, learning_rate, train_loss, and the loss columns where it was evaluated."""
        return read_table(self.metrics_path)

    def result(self) -> FinishedRun | None:
        """The mixture and the final losses; None where the run is not finished.

        Raises:
            InputError: If a file is not as the run left it, or a loss is no finite number although the run did not diverge.
        """
        if not self.is_finished:
            return None
        again = "run `proxymix sweep` again, which trains only what is damaged"
        try:
            manifest = self.manifest()
        except InputError as error:
            raise InputError(f"{error}; {again}") from None
        if damaged := self._damaged(manifest):
            raise InputError(f"{damaged}: missing, or not as the run left it (its sha256 differs); {again}")
        weights = manifest.get("weights")
        if not isinstance(weights, dict) or not all(
            isinstance(weight, int | float) and 0 <= weight <= 1 for weight in weights.values()
        ):
            raise InputError(f"{self.manifest_path}: weights is {weights!r:.60}, and a mixture is wanted; {again}")
        table = Cells.read(self.losses_path)
        if tuple(table.header) != LOSSES_HEADER:
            raise InputError(f"{self.losses_path}: the columns are not {', '.join(LOSSES_HEADER)}; {again}")
        diverged = "diverged" in manifest
        losses = {domain: math.nan if diverged else self._loss(nats) for domain, nats, *_ in table.rows}
        return FinishedRun(weights, losses)

    def damaged_file(self) -> Path | None:
        """The first file of a finished run that is not as the run left it; None if all are whole."""
        try:
            return self._damaged(self.manifest())
        except InputError:
            return self.manifest_path

    def _damaged(self, manifest: Mapping[str, Any]) -> Path | None:
        """A result that is missing, or is not the one whose hash the manifest holds; None if all are whole.

        Manifests of older versions hold no hashes.
        """
        if "settings" not in manifest:
            return self.manifest_path
        recorded = manifest.get("files")
        for path in (self.losses_path, self.metrics_path):
            if not path.is_file() or (isinstance(recorded, dict) and recorded.get(path.name) != sha256(path)):
                return path
        return None

    def _loss(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{self.losses_path}: {text!r} where a number is wanted")
        return value

    def holds(self, run: Run, settings: TrainSettings, tokens_sha256: str, checkpoint: bool = False) -> bool:
        """Whether the folder holds the result of exactly this run, and all of it is as the run left it.

        How the work is laid out on a device does not count. With `checkpoint` the final weights must be there too, unless
        the run diverged.
        """
        if not self.is_finished:
            return False
        try:
            manifest = self.manifest()
        except InputError:  # What cannot be read is trained again.
            return False
        if any(manifest.get(key) != value for key, value in identity(run, settings, tokens_sha256).items()):
            return False
        if self._damaged(manifest):
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
        """Write a result: metrics.csv, losses.csv, and manifest.yaml with their hashes last.

        Args:
            metrics: A row per step.
            columns: The names of its values, in the order of the file.
            losses: Per validation domain its name, its loss in nats per token and in bits per byte, and the tokens scored.
            manifest: What the run was made from and with.
        """
        write_table(self.metrics_path, columns, [[row.get(name, "") for name in columns] for row in metrics])
        write_table(self.losses_path, LOSSES_HEADER, losses)
        files = {path.name: sha256(path) for path in (self.losses_path, self.metrics_path)}
        write_sealed(self.manifest_path, {**manifest, "files": files})


def identity(run: Run, settings: TrainSettings, tokens_sha256: str) -> dict[str, Any]:
    """What decides the result of a run, as its manifest records it."""
    return {
        "run": run.id,
        "seed": run.seed,
        "settings": settings.identity,
        "weights": run.weights,
        "tokens_manifest_sha256": tokens_sha256,
    }
