"""Run folders (or their offline wandb files) -> losses.csv and mixtures.csv in RegMix's format.

python proxy_training/collect.py --study STUDY
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from proxy_training.runs.measured_runs import Measured, read_run, read_wandb_run, read_weights
from proxymix.errors import InputError
from proxymix.progress import say
from proxymix.schemas import loss_column, run_index
from proxymix.tables import write_table


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


def _must_agree(name: str, trained: Mapping[str, float], expected: Mapping[str, float], table: Path) -> None:
    for domain in dict.fromkeys([*expected, *trained]):
        weights = expected.get(domain, 0.0), trained.get(domain, 0.0)
        if abs(weights[0] - weights[1]) > 1e-9:
            raise InputError(
                f"{table}: {name} has {weights[0]:.6g} of {domain}, but was trained with {weights[1]:.6g}; "
                "run `proxymix sweep` again, which retrains what changed"
            )


if __name__ == "__main__":
    from proxymix.app.cli import run as run_stage

    run_stage(collect)
