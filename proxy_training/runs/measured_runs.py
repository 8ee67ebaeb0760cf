"""Run folders, or their offline wandb files -> each run's mixture and final losses."""

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from proxy_training.tracking.wandb_files import read_wandb_file
from proxymix.errors import InputError
from proxymix.files import read_text, read_yaml
from proxymix.schemas import loss_column, run_id, run_index


@dataclass(frozen=True)
class Measured:
    """A finished run: its mixture, and its final validation loss per domain, in nats per token."""

    weights: dict[str, float]
    losses: dict[str, float]


def read_run(folder: Path) -> Measured | None:
    """A run's folder; None where the run is not done. The losses of a diverged run are not numbers.

    Raises:
        InputError: If a loss of another is none either.
    """
    if not (folder / "manifest.yaml").exists():
        return None
    path, manifest = folder / "losses.csv", read_yaml(folder / "manifest.yaml")
    rows = csv.DictReader(io.StringIO(read_text(path)))
    gone = "diverged" in manifest
    losses = {row["domain"]: math.nan if gone else _number(row["loss_nats"], path) for row in rows}
    return Measured(manifest["weights"], losses)


def read_wandb_run(folder: Path) -> Measured | None:
    """The same from the run's wandb file; None where there is none of a run that ended well."""
    for path in sorted(folder.glob("wandb/*run-*/run-*.wandb")):
        run = read_wandb_file(path)
        last = run.history[-1] if run.history else {}
        if run.exit_code == 0 and last:
            return Measured(
                {domain: run.config["mixture"][domain] for domain in run.config["train_domains"]},
                {domain: float(last.get(loss_column(domain), math.nan)) for domain in run.config["valid_domains"]},
            )
    return None


def read_weights(path: Path) -> dict[str, dict[str, float]]:
    """mixtures.csv -> run id -> domain -> weight.

    Raises:
        InputError: If it has no `index`, or a cell is not a number.
    """
    weights: dict[str, dict[str, float]] = {}
    for row in csv.DictReader(io.StringIO(read_text(path))):
        if "index" not in row:
            raise InputError(f"{path}: no column 'index'; found {', '.join(map(str, row))}")
        name = run_id(int(_number(row.pop("index"), path)))
        if name in weights:
            raise InputError(f"{path}: the index {run_index(name)} is there twice")
        weights[name] = {column.removeprefix("train_"): _number(value, path) for column, value in row.items()}
    if not weights:
        raise InputError(f"{path}: the table has no rows")
    return weights


def _number(text: str | None, path: Path) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: {text!r} where a number is wanted")
    return value
