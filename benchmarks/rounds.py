"""Rounds of proxies, each decided by the runs before it, against as many mixtures drawn at once.

python benchmarks/rounds.py [--data DIR] [--domains 6 12] [--noise .1] [--seeds 5] [--runs 72] [--rounds 3]

Planted laws (benchmarks/planted_laws.py): what the proposal misses of the gain from the prior to the optimum (0: it is the
optimum; 1: no better than the prior), from 72 mixtures of the space-filling default, and from 24 of them and two further
rounds of 24. Noise is in standard deviations of the losses over a sweep. Printed are means over laws and seeds, and the mean
of the differences from one-shot with its standard error.

With --data (RegMix's train_mixture_1m.csv, train_pile_loss_1m.csv and their test_ kin): a replay on its runs. All begin with
the same 24 of the 512 training runs. Rounds take, of those not yet used, what is worth training next; one-shot takes 48
more at random, or spread out (space-filling). A Gaussian process of the test runs and of the training runs that no method
used predicts all proposals: missed is the part of the gain from the mean mixture to the optimum of that process.
"""

import argparse
import os
import sys
import warnings
from dataclasses import replace
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder's regression.py is not the package

import joblib
import numpy as np
from planted_laws import PlantedLaw

from benchmarks.candidates import swept
from mixture_config.design.space_filling import space_filling
from mixture_config.geometry.limits import Limits
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.models.registry import make_regressor
from regression.models.threads import single_thread
from regression.search.feasible_set import FeasibleSet
from regression.search.next_runs import NextRuns
from regression.search.search import search
from regression.selection.model_choice import fit_runs

KINDS = ("power", "exponential", "interaction")
METHODS = ("improvement", "climb")
MODEL = "gp"
RISK_AVERSION = 0.5  # as in `propose`


def proposal(fitted: FittedModel, objective: Objective, feasible: FeasibleSet) -> np.ndarray:
    """What `propose` would write, shape (num_domains,)."""
    best = fitted.runs.weights[np.argsort(objective.value(fitted.runs.losses), kind="stable")[:4]]
    function = PredictedObjective(fitted, objective, feasible.prior, RISK_AVERSION)
    return search(function, feasible, feasible.prior, best, "gradient", 0, 2, np.random.default_rng(0))[0].weights


def measured(law: PlantedLaw, weights: np.ndarray, noise: np.ndarray, rng: np.random.Generator) -> Runs:
    """Runs of these mixtures; `noise` is the standard deviation for each target."""
    losses = law.losses(weights)
    losses = losses + noise * rng.standard_normal(losses.shape)
    names, targets = [f"d{i}" for i in range(weights.shape[1])], [f"t{i}" for i in range(losses.shape[1])]
    return Runs(list(range(1, len(weights) + 1)), names, targets, weights, losses)


def joined(runs: Runs, more: Runs) -> Runs:
    """All runs of both."""
    weights, losses = np.vstack([runs.weights, more.weights]), np.vstack([runs.losses, more.losses])
    return replace(runs, index=list(range(1, len(weights) + 1)), weights=weights, losses=losses)


def planted(kind: str, num_domains: int, seed: int, noise: float, num_runs: int, num_rounds: int) -> list[float]:
    """What is missed by the proposal of the first round, of one-shot, and of every method's rounds."""
    warnings.simplefilter("ignore")
    law = PlantedLaw(kind, num_domains, seed)
    feasible, each = law.feasible(), num_runs // num_rounds
    best, prior = (float(law.objective(w)[0]) for w in (law.optimum(), law.prior))
    at_once = swept(law.prior, law.upper, num_runs, seed)
    sd = noise * law.losses(at_once).std(axis=0)

    def missed(runs: Runs) -> float:
        fitted = fit_runs(runs, MODEL, "mean")
        return (float(law.objective(proposal(fitted, fitted.objective, feasible))[0]) - best) / (prior - best)

    first = measured(law, swept(law.prior, law.upper, each, seed), sd, np.random.default_rng([2, seed]))
    found = [missed(first), missed(measured(law, at_once, sd, np.random.default_rng([2, seed])))]
    for method in METHODS:
        runs = first
        for number in range(2, num_rounds + 1):
            fitted = fit_runs(runs, MODEL, "mean")
            choice = NextRuns(fitted, fitted.objective, feasible)
            X = choice.mixtures(each, np.random.default_rng([seed, number]), method)
            runs = joined(runs, measured(law, X, sd, np.random.default_rng([3, seed, number])))
        found.append(missed(runs))
    return found


def replayed(pool: Runs, others: Runs, objective: str, seed: int, num_runs: int, num_rounds: int) -> list[float]:
    """What is missed, as an independent regression has it, by the first round, random and spread one-shots, and rounds."""
    warnings.simplefilter("ignore")
    each, prior = num_runs // num_rounds, pool.weights.mean(axis=0)
    feasible = FeasibleSet(Limits(pool.domains, 0.0, np.ones(len(prior))), prior)
    order = np.random.default_rng([4, seed]).permutation(len(pool.index))
    first = order[:1]
    first = np.append(first, order[1:][space_filling(pool.weights[order[1:]], each - 1, pool.weights[first])])
    rest = np.setdiff1d(order, first)

    def of(rows: np.ndarray) -> Runs:
        index = list(range(1, len(rows) + 1))
        return replace(pool, index=index, weights=pool.weights[rows], losses=pool.losses[rows])

    spread = rest[space_filling(pool.weights[rest], num_runs - each, pool.weights[first])]
    drawn = np.random.default_rng([5, seed]).permutation(rest)[: num_runs - each]
    used = [first, np.append(first, drawn), np.append(first, spread)]
    for method in METHODS:
        rows = first
        for _ in range(2, num_rounds + 1):
            fitted, left = fit_runs(of(rows), MODEL, objective), np.setdiff1d(rest, rows)
            X = NextRuns(fitted, fitted.objective, feasible).choose_among(pool.weights[left], each, method)
            same = (pool.weights[left][None] == X[:, None]).all(axis=2)
            rows = np.append(rows, left[same.argmax(axis=1)])
        used.append(rows)
    unseen = np.setdiff1d(order, np.concatenate(used))
    independent = model_of_all(joined(of(unseen), others), objective)
    fits = [fit_runs(of(rows), MODEL, objective) for rows in used]
    proposals = [proposal(fitted, fitted.objective, feasible) for fitted in fits]
    rng = np.random.default_rng(0)
    lowest = search(
        PredictedObjective(independent, independent.objective, prior),
        feasible,
        prior,
        np.array(proposals),
        "gradient",
        0,
        2,
        rng,
    )
    values = independent.mean_objective(np.vstack([prior, lowest[0].weights, *proposals]), independent.objective)
    return list((values[2:] - values[1]) / (values[0] - values[1]))


def model_of_all(runs: Runs, objective: str) -> FittedModel:
    """A fit whose standard deviations are of no concern."""
    spec, ones = Objective.of(objective, runs.targets, runs.losses).spec, np.ones(len(runs.targets))
    with single_thread():
        regressors = [make_regressor(MODEL).fit(runs.weights, losses) for losses in runs.losses.T]
    return FittedModel(MODEL, None, spec, runs, regressors, ones, 0 * ones, np.diag(ones), {})


def shown(name: str, names: tuple[str, ...], against: int, results: np.ndarray) -> None:
    """Rows of a table: what is missed, and how much less than by the method at position `against`."""
    less = results[:, [against]] - results
    for i, method in enumerate(names):
        error = less[:, i].std(ddof=1) / np.sqrt(len(less)) if len(less) > 1 else np.nan
        differs = "" if i == against else f"{less[:, i].mean():+.4f} ± {error:.4f} | {(less[:, i] > 0).mean():.0%}"
        cells = f"{results[:, i].mean():.4f} | {np.median(results[:, i]):.4f} | {differs or '|'}"
        print(f"| {name} | {method} | {cells} |", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--objectives", nargs="+", default=["the_pile_pile_cc", "mean"])
    parser.add_argument("--domains", type=int, nargs="*", default=[6, 12])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.1])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=72)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    sizes, each = (options.runs, options.rounds), options.runs // options.rounds
    print("| | runs | missed, mean | median | less than one-shot | better in |\n|---|---|---|---|---|---|", flush=True)
    rounds = [f"{options.rounds} rounds of {each}, {method}" for method in METHODS]
    for num_domains in options.domains:
        for noise in options.noise:
            tasks = [(kind, num_domains, seed, noise, *sizes) for seed in range(options.seeds) for kind in KINDS]
            results = joblib.Parallel(options.processes)(joblib.delayed(planted)(*task) for task in tasks)
            names = (f"{each} alone", f"{options.runs} at once", *rounds)
            shown(f"planted, {num_domains} domains, noise {noise:g}", names, 1, np.array(results))
    if options.data is None:
        return
    pool, others = (
        read_runs(options.data / f"{part}_mixture_1m.csv", options.data / f"{part}_pile_loss_1m.csv")
        for part in ("train", "test")
    )
    for objective in options.objectives:
        targets = pool.targets if objective == "mean" else [t for t in pool.targets if objective in t]
        columns = [pool.targets.index(target) for target in targets]
        few, test = (replace(runs, targets=targets, losses=runs.losses[:, columns]) for runs in (pool, others))
        tasks = [(few, test, "mean", seed, *sizes) for seed in range(options.seeds)]
        results = joblib.Parallel(options.processes)(joblib.delayed(replayed)(*task) for task in tasks)
        names = (f"{each} alone", f"{options.runs} at random", f"{options.runs} spread out", *rounds)
        shown(f"RegMix's runs, {objective}", names, 2, np.array(results))


if __name__ == "__main__":
    main()
