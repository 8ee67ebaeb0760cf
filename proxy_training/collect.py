"""Run folders (or their offline wandb files) -> losses.csv and mixtures.csv in RegMix's format.

python proxy_training/collect.py --study STUDY
"""

import math
import shlex
import statistics
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np

from mixture_config.files.mixture_table import MixtureTable
from mixture_config.geometry.tolerances import SAME_WEIGHT
from proxy_training.runs.run_folder import FinishedRun, RunFolder
from proxy_training.tracking.wandb_files import finished_run
from proxymix.errors import InputError
from proxymix.messages import aligned, next_command, some
from proxymix.progress import say
from proxymix.schemas import loss_column, run_id, run_index
from proxymix.tables import write_table

READERS: dict[str, Callable[[RunFolder], FinishedRun | None]] = {
    "folders": RunFolder.result,
    "wandb": lambda folder: finished_run(folder.wandb_path),
}


def collect(
    proxies: Path,
    out: Path,
    source: Literal["folders", "wandb"] = "folders",
    mixtures: Path | None = None,
) -> None:
    """Gather the final losses of all runs into losses.csv, one row a run.

    Args:
        proxies: Folder of run folders (n00001, ...).
        out: Folder for losses.csv, and for mixtures.csv if it has none.
        source: Read losses.csv of each run folder, or the offline wandb files beside it. Both give the same numbers.
        mixtures: The mixtures.csv that the runs were made from (default out/mixtures.csv); runs must agree with it.

    Raises:
        InputError: If runs are missing, have other domains than the rest, or were trained on other mixtures.
    """
    folders = {path.name: RunFolder(path) for path in sorted(Path(proxies).glob("n*")) if path.is_dir()}
    if not folders:
        raise InputError(f"{proxies}: no run folders (n00001, ...); run `proxymix sweep`")
    table = Path(mixtures) if mixtures is not None else Path(out) / "mixtures.csv"
    planned = _read_planned(table) if mixtures is not None or table.exists() else None
    wanted = list(planned or folders)
    if extra := sorted(set(folders) - set(wanted)):
        say(f"{proxies}: {len(extra)} runs are not in {table} and are left out ({some(extra)})")
    results = {name: READERS[source](folders[name]) for name in wanted if name in folders}
    runs = {name: run for name, run in results.items() if run is not None}
    if missing := [name for name in wanted if name not in runs]:
        raise InputError(
            f"{proxies}: {len(missing)} of {len(wanted)} runs have no losses ({some(missing, 8)}) in {source}; run "
            "`proxymix sweep` again, which trains only these"
        )
    first, *others = runs
    domains, targets = list(runs[first].weights), list(runs[first].losses)
    for name in others:
        if set(runs[name].losses) != set(targets) or set(runs[name].weights) != set(domains):
            raise InputError(f"{proxies}: {name} has other domains than {first}; train the runs on the same tokens")
    for name, weights in (planned or {}).items():
        _check_mixture(name, runs[name].weights, weights, table)
    if diverged := [name for name, run in runs.items() if any(map(math.isnan, run.losses.values()))]:
        say(
            f"{len(diverged)} of {len(runs)} runs diverged and have no losses ({some(diverged, 8)}); `proxymix fit` leaves "
            "them out with --allow_missing"
        )
    rows = [(run_index(name), *(run.losses[target] for target in targets)) for name, run in runs.items()]
    write_table(Path(out) / "losses.csv", ("index", *map(loss_column, targets)), rows)
    if planned is None:
        trained = np.array([[run.weights[domain] for domain in domains] for run in runs.values()])
        MixtureTable(list(map(run_index, runs)), domains, trained).write(table)
    losses = Path(out) / "losses.csv"
    say(f"{losses}: {len(runs)} runs; validation loss (nats/token) of the best, the median and the worst of them:")
    say(aligned([("domain", "best", "median", "worst", ""), *(_spread(target, runs.values()) for target in targets)]))
    elsewhere = f"--mixtures {shlex.quote(str(table))} --losses {shlex.quote(str(losses))} --out fit"
    say(f"Next: {next_command(losses, 'fit', elsewhere)}")


def _spread(target: str, runs: Iterable[FinishedRun]) -> tuple[str, ...]:
    """A domain's row of the table that is said: its smallest, median and largest loss."""
    losses = [loss for run in runs if math.isfinite(loss := run.losses[target])]
    found = (min(losses), statistics.median(losses), max(losses)) if losses else (math.nan,) * 3
    return (target, *(f"{loss:.4f}" for loss in found), "")


def _read_planned(path: Path) -> dict[str, dict[str, float]]:
    """mixtures.csv -> run -> domain -> weight.

    Raises:
        InputError: If it is no table of mixtures, or the key of a row is not the number of a run.
    """
    table = MixtureTable.read(path)
    planned = {}
    for key, weights in zip(table.index, table.weights.tolist(), strict=True):
        if not isinstance(key, int):
            raise InputError(f"{path}: {key!r} is not the number of a run; the column index holds 1 for n00001")
        planned[run_id(key)] = dict(zip(table.domains, weights, strict=True))
    return planned


def _check_mixture(name: str, trained: Mapping[str, float], planned: Mapping[str, float], table: Path) -> None:
    """Raise InputError if a run was trained on another mixture than planned."""
    for domain in dict.fromkeys([*planned, *trained]):
        wanted, found = planned.get(domain, 0.0), trained.get(domain, 0.0)
        if abs(wanted - found) > SAME_WEIGHT:
            raise InputError(
                f"{table}: {name} has {wanted:.6g} of {domain}, but was trained with {found:.6g}; run `proxymix sweep` "
                "again, which retrains what changed"
            )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(collect)
