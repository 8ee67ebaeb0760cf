"""What searches find on RegMix's runs, judged by regressions of runs that the proposer never saw.

python benchmarks/search.py --data DIR [--sizes 64 256] [--subsets 3]

DIR holds regmix/{train,test}_{mixture_1m,pile_loss_1m}.csv as RegMix published them. From n of its 512 runs a mixture is proposed
for the mean of the 13 losses and for Pile-CC alone; the other runs and the 256 test runs judge it, by Gaussian processes and
by LightGBM. Printed, as means over subsets: the loss that the proposer predicts, what each judge says, the difference of the
first two (the winner's curse, and what the proposer does not know), the total variation from the token shares, CPU seconds of
the search.

- "notebook": LightGBM with RegMix's settings (all rounds: its notebook would stop on runs that judge here), 100,000 draws
  from Dirichlet(token shares), the mean of the best 128. "simulation": the same draws on what `proxymix fit` chooses.
- "wide", "gradient", "auto": the searches of `proxymix propose`, at its caution unless one is given.
- The token shares and the mixture of human choice (the Pile's own weights) are those that RegMix published.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder's regression.py is not the package

import numpy as np

from benchmarks.regression import read_regmix, rows_of
from mixture_config.geometry.limits import Limits
from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.propose import How, baselines_of, proposed
from regression.search.feasible_set import Region
from regression.selection.model_choice import fit_runs

PILE = {
    "arxiv": (113.3, 105.2),
    "freelaw": (79.6, 38.6),
    "nih_exporter": (3.9, 5.2),
    "pubmed_central": (185.4, 107.1),
    "wikipedia_en": (51.1, 91.9),
    "dm_mathematics": (16.0, 19.8),
    "github": (101.8, 42.7),
    "philpapers": (3.7, 2.7),
    "stackexchange": (66.5, 92.9),
    "enron_emails": (1.75, 3.0),
    "gutenberg_pg_19": (27.1, 19.9),
    "pile_cc": (236.9, 112.1),
    "ubuntu_irc": (11.8, 7.4),
    "europarl": (7.9, 4.3),
    "hackernews": (8.0, 7.5),
    "pubmed_abstracts": (38.8, 84.5),
    "uspto_backgrounds": (46.4, 42.0),
}
"""Domain -> share of the tokens, and weight in the mixture of human choice, in thousandths (the latter sum to 787)."""

PILE_CC = "metric/the_pile_pile_cc_val_loss"
SEARCHES = {
    "notebook": How("simulation", 100_000, 128, 0.0),
    "simulation": How("simulation", 100_000, 128, 0.0),
    "wide": How("wide", 20_000, 128, 0.5),
    "gradient": How("gradient", 20_000, 128, 0.5),
    "auto": How("auto", 20_000, 128, 0.5),
    "auto, caution 0": How("auto", 20_000, 128, 0.0),
    "auto, caution 1": How("auto", 20_000, 128, 1.0),
}


def main() -> None:
    """Print a table per objective and size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--subsets", type=int, default=3)
    options = parser.parse_args()
    train, test = read_regmix(options.data / "regmix")
    for size in options.sizes:
        for name in ("mean of 13", "Pile-CC"):
            print(
                f"\n| n = {size}, {name} | predicted | GP | LightGBM | curse | moved | CPU s |\n|---|---|---|---|---|---|---|"
            )
            results = []
            for subset in range(options.subsets):
                order = np.random.default_rng(1000 + subset).permutation(len(train.index))
                seen = rows_of(train, order[:size])
                unseen = joined(rows_of(train, order[size:]), test)
                if name == "Pile-CC":
                    seen, unseen = (one_target(runs, PILE_CC) for runs in (seen, unseen))
                results.append(compared(seen, unseen))
            for row in results[0]:
                cells = np.mean([result[row] for result in results], axis=0)
                shown = [*(f"{value:.3f}" for value in cells[:5]), f"{cells[5]:.0f}" if row in SEARCHES else ""]
                print(f"| {row} | {' | '.join(shown)} |", flush=True)


def joined(runs: Runs, more: Runs) -> Runs:
    """One table."""
    assert (runs.domains, runs.targets) == (more.domains, more.targets)
    index = [*runs.index, *(f"test {run}" for run in more.index)]
    weights, losses = np.vstack([runs.weights, more.weights]), np.vstack([runs.losses, more.losses])
    return Runs(index, runs.domains, runs.targets, weights, losses)


def one_target(runs: Runs, target: str) -> Runs:
    """The same runs with one loss."""
    column = runs.targets.index(target)
    return Runs(runs.index, runs.domains, [target], runs.weights, runs.losses[:, [column]])


def of_pile(column: int, domains: list[str]) -> np.ndarray:
    """A column of PILE as a mixture, in the order of the runs' domains."""
    weights = np.array([PILE[domain.removeprefix("the_pile_")][column] for domain in domains])
    return np.asarray(weights / weights.sum())


def compared(seen: Runs, unseen: Runs) -> dict[str, np.ndarray]:
    """Search or baseline -> predicted, judged by GP and by LightGBM, curse, distance from the token shares, CPU seconds."""
    prior = of_pile(0, seen.domains)
    region = Region(Limits(seen.domains, 0.0, np.ones(len(prior))), prior)
    trees, ours = fit_runs(seen, "lightgbm", "mean"), fit_runs(seen, "auto", "mean")
    judges = [fit_runs(unseen, model, "mean") for model in ("gp", "lightgbm")]
    baselines = baselines_of(ours, ours.objective, prior)
    rows = {
        "the token shares": (ours, prior, 0.0),
        "human": (ours, of_pile(1, seen.domains), 0.0),
        "uniform": (ours, baselines["uniform"], 0.0),
        "best seen": (ours, baselines["best_seen"], 0.0),
    }
    for name, how in SEARCHES.items():
        fitted, start = trees if name == "notebook" else ours, time.process_time()
        rows[name] = (fitted, found_by(fitted, region, prior, baselines, how), time.process_time() - start)
    return {name: assessed(*row, judges, prior) for name, row in rows.items()}


def found_by(
    fitted: FittedModel, region: Region, prior: np.ndarray, baselines: Mapping[str, np.ndarray], how: How
) -> np.ndarray:
    """The proposal of one search, as `proxymix propose` makes it."""
    return proposed(fitted, fitted.objective, region, prior, baselines, how, 0, 0, 0, 1).weights


def assessed(
    fitted: FittedModel, mixture: np.ndarray, seconds: float, judges: list[FittedModel], prior: np.ndarray
) -> Any:
    """A row of numbers."""
    own, *judged = (float(fit.mean_objective(mixture[None], fit.objective)[0]) for fit in (fitted, *judges))
    return np.array([own, *judged, judged[0] - own, 0.5 * np.abs(mixture - prior).sum(), seconds])


if __name__ == "__main__":
    main()
