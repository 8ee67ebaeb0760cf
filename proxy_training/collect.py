"""Run folders (or their offline wandb files) -> losses.csv and mixtures.csv in RegMix's format.

python proxy_training/collect.py --study STUDY
"""

import csv
import io
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from proxy_training.tracking.wandb_files import read_wandb_file
from proxymix.errors import InputError
from proxymix.files import read_text, read_yaml
from proxymix.progress import say
from proxymix.schemas import loss_column, run_id, run_index
from proxymix.tables import write_table


@dataclass(frozen=True)
class Measured:
    """A finished run: its mixture, and its final validation loss per domain, in nats per token."""

    weights: dict[str, float]
    losses: dict[str, float]


def collect(
    proxies: Path,
    out: Path,
    source: Literal["folders", "wandb"] = "folders",
    mixtures: Path | None = None,
) -> None:
    """Gather the final losses of all runs into losses.csv, one row a run.

    Args:
        proxies: Folder of run folders (n00001, ...).
        out: Folder for losses.csv, and for mixtures.csv where there is none.
        source: Read losses.csv of each run folder, or the offline wandb files beside it; both give the same numbers.
        mixtures: The mixtures.csv that the runs were made from (default out/mixtures.csv); runs must agree with it.

    Raises:
        InputError: If runs are missing, have other domains than the rest, or were trained on other mixtures.
    """
    reader: dict[str, Callable[[Path], Measured | None]] = {"folders": read_run, "wandb": read_wandb_run}
    folders = {path.name: path for path in sorted(Path(proxies).glob("n*")) if path.is_dir()}
    if not folders:
        raise InputError(f"{proxies}: no run folders (n00001, ...); run `proxymix sweep`")
    table = Path(mixtures) if mixtures is not None else Path(out) / "mixtures.csv"
    expected = read_weights(table) if mixtures is not None or table.exists() else None
    wanted = list(expected or folders)
    if extra := sorted(set(folders) - set(wanted)):
        say(f"{proxies}: {len(extra)} runs are not in {table} and are left out ({', '.join(extra[:5])})")
    runs = {name: reader[source](folders[name]) for name in wanted if name in folders}
    missing = [name for name in wanted if runs.get(name) is None]
    if missing:
        raise InputError(
            f"{proxies}: {len(missing)} of {len(wanted)} runs have no losses ({', '.join(missing[:8])}"
            f"{', ...' if len(missing) > 8 else ''}) in {source}; run `proxymix sweep` again, which trains only these"
        )
    done = {name: run for name, run in runs.items() if run is not None}
    domains = list(next(iter(done.values())).losses)
    names = list(next(iter(done.values())).weights)
    for name, run in done.items():
        if set(run.losses) != set(domains) or set(run.weights) != set(names):
            raise InputError(
                f"{proxies}: {name} has other domains than {next(iter(done))}; train the runs on the same tokens"
            )
        if expected is not None:
            _must_agree(name, run.weights, expected[name], table)
    if diverged := [name for name, run in done.items() if any(map(math.isnan, run.losses.values()))]:
        say(
            f"{len(diverged)} of {len(done)} runs diverged and have no losses ({', '.join(diverged[:8])}); `proxymix fit` "
            "leaves them out with --allow_missing"
        )
    write_table(
        Path(out) / "losses.csv",
        ("index", *map(loss_column, domains)),
        [(run_index(name), *(run.losses[d] for d in domains)) for name, run in done.items()],
    )
    if expected is None:
        write_table(
            table,
            ("index", *(f"train_{name}" for name in names)),
            [(run_index(name), *(run.weights[d] for d in names)) for name, run in done.items()],
        )


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


def _must_agree(name: str, trained: Mapping[str, float], expected: Mapping[str, float], table: Path) -> None:
    for domain in dict.fromkeys([*expected, *trained]):
        weights = expected.get(domain, 0.0), trained.get(domain, 0.0)
        if abs(weights[0] - weights[1]) > 1e-9:
            raise InputError(
                f"{table}: {name} has {weights[0]:.6g} of {domain}, but was trained with {weights[1]:.6g}; "
                "run `proxymix sweep` again, which retrains what changed"
            )


def _number(text: str | None, path: Path) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}: {text!r} where a number is wanted")
    return value


if __name__ == "__main__":
    from proxymix.app.cli import run as run_stage

    run_stage(collect)
