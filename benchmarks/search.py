"""What searches find on RegMix's runs, predicted by regressions of runs that the proposer never saw.

python benchmarks/search.py --data DIR [--sizes 64 256] [--subsets 3]
python benchmarks/search.py --data DIR --parts

DIR holds regmix/{train,test}_{mixture_1m,pile_loss_1m}.csv as RegMix published them. From n of its 512 runs a mixture is
proposed for the mean of the 13 losses and for Pile-CC alone. Gaussian processes and LightGBM, fitted to the other runs and
the 256 test runs, predict its loss. Printed, as means over subsets: the loss that the proposer predicts, what each held-out
regression predicts, the difference of the first two (the winner's curse, and what the proposer does not know), the total
variation from the token shares, CPU seconds of the search.

- "notebook": LightGBM with RegMix's settings (all rounds: its notebook would stop on the held-out runs), 100,000 draws
  from Dirichlet(token shares), the mean of the best 128. "simulation": the same draws on what `proxymix fit` chooses.
- "wide", "gradient", "auto": the searches of `proxymix propose`, at its risk aversion unless one is given.
- The token shares and the mixture of human choice (the Pile's own weights) are those that RegMix published.

With --parts: the gradient search with and without each of its parts, and scipy's SLSQP alone from the best 8 of the same 64
starts, on Gaussian processes of RegMix's runs and of planted laws, with and without constraints. Each cell: what is missed
of the lowest value that any variant found, in 1e-4 of the range of values at the starts, in the median and at most; median
CPU seconds.
"""

import argparse
import contextlib
import itertools
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder's regression.py is not the package

import numpy as np

from benchmarks.planted_laws import PlantedLaw
from benchmarks.regression import read_regmix, rows_of
from mixture_config.geometry.limits import Group, Limits
from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.models.threads import single_thread
from regression.search import gradient_search as module
from regression.search import refinement, sparse_search
from regression.search.compare import baselines_of
from regression.search.feasible_set import FeasibleSet
from regression.search.objective_function import ObjectiveFunction, assess
from regression.search.proposed_mixture import FitSearch
from regression.search.random_search import wide_draws
from regression.search.settings import SearchSettings
from regression.selection.model_choice import fit_runs
from regression.selection.repeats import best_runs

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
    "notebook": SearchSettings("simulation", 100_000, 128, 0.0),
    "simulation": SearchSettings("simulation", 100_000, 128, 0.0),
    "wide": SearchSettings("wide", 20_000, 128, 0.5),
    "gradient": SearchSettings("gradient", 20_000, 128, 0.5),
    "auto": SearchSettings("auto", 20_000, 128, 0.5),
    "auto, risk aversion 0": SearchSettings("auto", 20_000, 128, 0.0),
    "auto, risk aversion 1": SearchSettings("auto", 20_000, 128, 1.0),
}


def main() -> None:
    """Print a table per objective and size, or those of the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--subsets", type=int, default=3)
    parser.add_argument("--parts", action="store_true", help="what each part of the gradient search adds, instead")
    options = parser.parse_args()
    train, test = read_regmix(options.data / "regmix")
    if options.parts:
        show_parts(train, options.sizes)
        return
    for size in options.sizes:
        for name in ("mean of 13", "Pile-CC"):
            columns = ("predicted", "GP", "LightGBM", "curse", "moved", "CPU s")
            print(f"\n| n = {size}, {name} | {' | '.join(columns)} |\n|{'---|' * 7}")
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
    """Search or baseline -> predicted, by held-out GP and LightGBM, curse, distance from the token shares, CPU seconds."""
    prior = of_pile(0, seen.domains)
    feasible = FeasibleSet(Limits(seen.domains, 0.0, np.ones(len(prior))), prior)
    trees, ours = fit_runs(seen, "lightgbm", "mean"), fit_runs(seen, "auto", "mean")
    held_out = [fit_runs(unseen, model, "mean") for model in ("gp", "lightgbm")]
    baselines = baselines_of(ours, ours.objective, prior)
    rows = {
        "the token shares": (ours, prior, 0.0),
        "human": (ours, of_pile(1, seen.domains), 0.0),
        "uniform": (ours, baselines["uniform"], 0.0),
        "best seen": (ours, baselines["best_seen"], 0.0),
    }
    for name, settings in SEARCHES.items():
        fitted, start = trees if name == "notebook" else ours, time.process_time()
        found = FitSearch(fitted.objective, feasible, prior, settings).search(fitted, np.random.default_rng(0))
        rows[name] = (fitted, found[0].weights, time.process_time() - start)
    return {name: assessed(*row, held_out, prior) for name, row in rows.items()}


def assessed(
    fitted: FittedModel, mixture: np.ndarray, seconds: float, held_out: list[FittedModel], prior: np.ndarray
) -> Any:
    """A row of numbers."""
    own, *others = (float(fit.mean_objective(mixture[None], fit.objective)[0]) for fit in (fitted, *held_out))
    return np.array([own, *others, others[0] - own, 0.5 * np.abs(mixture - prior).sum(), seconds])


# ---- What each part of the gradient search adds


WITHOUT: dict[str, list[tuple[Any, str, Any]]] = {
    "all parts": [],
    "without SLSQP at the end": [(module, "polish", lambda function, feasible, weights: weights)],
    "without the bundle along kinks": [
        (module, "descend_along_kinks", lambda function, feasible, weights, scale: (weights, -np.inf))
    ],
    "without the way back from ceilings": [(module, "between", lambda starts, ends: ends[:0])],
    "without pruning": [
        (module, "prune_small_weights", lambda function, feasible, weights, negligible, limit: weights)
    ],
    "without exchanges of domains": [(sparse_search, "MAX_EXCHANGES", 0)],
}
"""Name -> what is patched, to leave a part out."""
NUM_SLSQP = 8


def show_parts(train: Runs, sizes: list[int]) -> None:
    """Print what is missed, in the median and at most, and the median seconds, per constraint and part."""
    missed: dict[tuple[str, str], list[float]] = {}
    seconds: dict[tuple[str, str], list[float]] = {}
    names = [*WITHOUT, f"SLSQP alone, from {NUM_SLSQP} starts"]
    for constraint, function, feasible, starts in cases(train, sizes):
        found: dict[str, float] = {}
        for name in names:
            start = time.process_time()
            with contextlib.ExitStack() as stack, single_thread():
                for place, attribute, value in WITHOUT.get(name, []):
                    stack.enter_context(mock.patch.object(place, attribute, value))
                if name in WITHOUT:
                    results = module.gradient_search(function, feasible, starts)
                    found[name] = results[0].value if results else np.inf
                else:
                    found[name] = slsqp(function, feasible, starts)
            seconds.setdefault((constraint, name), []).append(time.process_time() - start)
        span = float(np.ptp(function.value(feasible.nearest(starts))))
        for name, value in found.items():
            missed.setdefault((constraint, name), []).append((value - min(found.values())) / span)
    constraints = list(dict.fromkeys(constraint for constraint, _ in missed))
    print(f"\n| | {' | '.join(constraints)} |\n|{'---|' * (len(constraints) + 1)}")
    for name in names:
        keys = [(constraint, name) for constraint in constraints]
        cells = [
            f"{1e4 * np.median(missed[key]):.1f}, {1e4 * max(missed[key]):.1f}; {np.median(seconds[key]):.2f} s"
            for key in keys
        ]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def cases(train: Runs, sizes: list[int]) -> Iterator[tuple[str, PredictedObjective, FeasibleSet, np.ndarray]]:
    """Constraint, what is minimised, what is allowed, and 64 starts: on RegMix's runs and on planted laws."""
    fits: list[tuple[FittedModel, np.ndarray, list[str]]] = []
    for size in sizes:
        seen = rows_of(train, np.random.default_rng(1000).permutation(len(train.index))[:size])
        fits.append((fit_runs(seen, "gp", "mean"), of_pile(0, seen.domains), ["mean", PILE_CC]))
    for kind, num_domains in itertools.product(("power", "interaction"), (6, 12, 40)):
        law = PlantedLaw(kind, num_domains, 0, 2)
        fits.append((fit_runs(law.runs(48, 0.1, 0), "gp", "mean"), law.prior, ["mean"]))
    for fitted, prior, objectives in fits:
        num = len(prior)
        free = Limits(fitted.domains, 0.0, np.ones(num))
        caps = np.maximum(np.minimum(1.0, 4 * prior), 0.02)
        limited = Limits(fitted.domains, 0.0, caps, [Group("third", tuple(range(num // 3)), 0.1, 0.4)])
        few = max(num // 3, 2)
        for objective in objectives:
            asked = {
                "none": (objective, FeasibleSet(free, prior)),
                "limits": (objective, FeasibleSet(limited, prior)),
                "max_distance": (objective, FeasibleSet(free, prior, 0.3)),
                "max_increase": ({"minimise": objective, "max_increase": 0.01}, FeasibleSet(free, prior)),
                "max_domains": (objective, FeasibleSet(free, prior, None, few)),
                "none, worst case": ("worst", FeasibleSet(free, prior)),
                "max_increase, worst case": ({"minimise": "worst", "max_increase": 0.03}, FeasibleSet(free, prior)),
            }
            for constraint, (spec, feasible) in asked.items():
                if "worst" in constraint and objective != "mean":
                    continue
                minimised = fitted.objective_of(spec)
                best = fitted.runs.weights[best_runs(fitted.runs, minimised)[: max(3, len(fitted.runs.index) // 10)]]
                first = np.vstack([prior, np.full(num, 1 / num), best[:16]])
                more = wide_draws(feasible, prior, best, 64 - len(first), np.random.default_rng(0))
                yield constraint, PredictedObjective(fitted, minimised, prior, 0.5), feasible, np.vstack([first, more])


def slsqp(function: ObjectiveFunction, feasible: FeasibleSet, starts: np.ndarray) -> float:
    """The lowest that scipy's SLSQP comes to from the best few starts; with `max_domains` over the largest weights then."""
    allowed = feasible.nearest(starts)
    best = allowed[np.argsort(function.value(allowed))[:NUM_SLSQP]]
    ends = np.array([refinement.polish(function, free_of_domains(feasible), start) for start in best])
    if feasible.max_domains is not None:
        ends = np.array([refinement.polish(function, feasible, start) for start in feasible.nearest(ends)])
    X = np.vstack([feasible.nearest(ends), allowed])
    values, kept = assess(function, X)
    return float(np.where(kept & feasible.holds(X), values, np.inf).min())


def free_of_domains(feasible: FeasibleSet) -> FeasibleSet:
    """The same set without `max_domains`."""
    return FeasibleSet(feasible.limits, feasible.prior, feasible.max_distance)


if __name__ == "__main__":
    main()
