"""Laws of losses whose optimum is known, to hold a regression and its search to: what they promise, and how often.

python benchmarks/planted_laws.py [--seeds 3] [--laws power exponential interaction] [--domains 6 12 40] [--noise .02 .1 .3 1]

For every number of domains and noise (in standard deviations of the losses over the sweep), over laws and seeds, from 48
runs by what `proxymix fit` and `proxymix propose` do, all choices their own: the error of the regression on fresh mixtures in units of
that of predicting the mean; the part of the gain from the prior to the optimum that the proposal misses, in the median; how
often the 95% intervals hold the truth (the gain over the prior, with the mean and spread of its error in the interval's own
standard deviations; the weights of the optimum, over all domains); and how often the verdict is "better than the prior", on the
losses as they are and with the runs' losses permuted.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder's regression.py is not the package

import joblib
import numpy as np
from scipy.optimize import minimize

from benchmarks.candidates import scale_into
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import dirichlet
from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.search.compare import STDS_TO_ENDS, baselines_of
from regression.search.feasible_set import FeasibleSet
from regression.search.proposed_mixture import FitSearch, ProposedMixture, is_smooth, propose_mixture
from regression.search.settings import SearchSettings
from regression.search.uncertainty import sample_interval
from regression.selection.model_choice import fit_runs

NUM_RUNS = 48
NUM_FRESH = 500
CLOSE = 1e-3  # a weight that is off its interval by less is in it
Kind = Literal["power", "exponential", "interaction"]


@dataclass(frozen=True)
class PlantedLaw:
    """Losses of a few targets as a function of the mixture.

    Args:
        kind: power: floor + scale (reach + .02)**-exponent, where reach is the weighted sum of the domains that help;
            exponential: floor + scale exp(-4 reach); interaction: power, and pairs of domains that help only together.
        num_domains: How many.
        seed: Of the law.
        num_targets: Losses; at most num_domains.
    """

    kind: Kind
    num_domains: int
    seed: int
    num_targets: int = 4

    def __post_init__(self) -> None:
        rng = np.random.default_rng([11, self.seed, self.num_domains, len(self.kind)])
        k, t = self.num_domains, self.num_targets
        own = np.array([rng.permutation(k)[: max(1, k // t)] for _ in range(t)])
        reach = rng.uniform(0, 0.2, (t, k)) * (rng.random((t, k)) < 0.5)
        for row, domains in zip(reach, own, strict=True):
            row[domains] = rng.uniform(0.5, 1.0, len(domains))
        put = object.__setattr__
        put(self, "reach", reach)
        put(self, "floor", rng.uniform(1.5, 3.0, t))
        put(self, "scale", rng.uniform(0.4, 1.0, t))
        put(self, "power", rng.uniform(0.2, 0.5, t))
        put(self, "pairs", rng.integers(0, k, (t, 2)))
        sizes = rng.permutation(1.0 / np.arange(1, k + 1))
        put(self, "prior", sizes / sizes.sum())
        put(self, "upper", np.minimum(1.0, 8 * self.prior))

    def losses(self, weights: np.ndarray) -> np.ndarray:
        """Without noise, shape (num_rows, num_targets)."""
        reached = weights @ self.reach.T
        if self.kind == "exponential":
            return self.floor + self.scale * np.exp(-4 * reached)
        losses = self.floor + self.scale * (reached + 0.02) ** -self.power
        if self.kind == "interaction":
            one, other = weights[:, self.pairs[:, 0]], weights[:, self.pairs[:, 1]]
            losses = losses - 0.5 * self.scale * np.sqrt(one * other)
        return losses

    def objective(self, weights: np.ndarray) -> np.ndarray:
        """The mean loss, shape (num_rows,)."""
        return self.losses(np.atleast_2d(weights)).mean(axis=1)

    def feasible(self) -> FeasibleSet:
        """No weight over eight times the prior."""
        return FeasibleSet(Limits([f"d{i}" for i in range(self.num_domains)], 0.0, self.upper), self.prior)

    def optimum(self) -> np.ndarray:
        """The best mixture within the caps, from many starts."""
        feasible, rng = self.feasible(), np.random.default_rng(0)
        draws = feasible.nearest(dirichlet(rng, self.prior, np.full(400, 0.5 * self.num_domains)))
        best, least = draws[0], np.inf
        for start in draws[np.argsort(self.objective(draws))[:6]]:
            found = minimize(
                lambda w: float(self.objective(np.maximum(w, 0))[0]),
                start,
                method="SLSQP",
                bounds=[(0, cap) for cap in self.upper],
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                options={"maxiter": 300, "ftol": 1e-10},
            )
            weights = feasible.nearest(np.maximum(found.x, 0)[None])[0]
            if (value := float(self.objective(weights)[0])) < least:
                best, least = weights, value
        return best

    def mixtures(self, num: int, seed: int) -> np.ndarray:
        """Around the flattened prior, within the caps; shape (num, num_domains)."""
        rng = np.random.default_rng([12, seed])
        center = self.prior**0.3 / (self.prior**0.3).sum()
        strengths = np.exp(rng.uniform(np.log(2.0), np.log(4.0 * self.num_domains), num))
        draws = np.vstack([dirichlet(rng, center, s[None]) for s in strengths])
        return scale_into(draws, center, np.zeros(self.num_domains), self.upper)

    def runs(self, num_runs: int, noise: float, seed: int) -> Runs:
        """A sweep: such mixtures, and losses with noise in units of their spread."""
        weights = self.mixtures(num_runs, seed)
        losses = self.losses(weights)
        rng = np.random.default_rng([13, seed, self.num_domains, len(self.kind), int(100 * noise)])
        losses = losses + noise * losses.std(axis=0) * rng.standard_normal(losses.shape)
        names = [f"d{i}" for i in range(self.num_domains)]
        return Runs(list(range(num_runs)), names, [f"t{i}" for i in range(losses.shape[1])], weights, losses)


def main() -> None:
    """Print a row per number of domains and noise, over laws and seeds, and one of all; then of permuted losses."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3, help="of every law, number of domains and noise")
    parser.add_argument("--permuted", type=int, default=12, help="seeds of every law and number of domains")
    parser.add_argument("--laws", nargs="+", default=["power", "exponential", "interaction"])
    parser.add_argument("--domains", type=int, nargs="+", default=[6, 12, 40])
    parser.add_argument("--noise", type=float, nargs="+", default=[0.02, 0.1, 0.3, 1.0])
    parser.add_argument("--targets", type=int, default=2)
    parser.add_argument("--model", default="auto")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()

    def each(function: Callable[..., Any], num_domains: int, noise: float, seeds: int) -> list[Any]:
        laws = [PlantedLaw(kind, num_domains, seed, options.targets) for kind in options.laws for seed in range(seeds)]
        jobs = (joblib.delayed(function)(law, noise, law.seed, options.model) for law in laws)
        return joblib.Parallel(options.processes)(jobs)

    print(f"| domains | noise | sweeps | {' | '.join(COLUMNS)} | models |\n|{'---|' * (len(COLUMNS) + 4)}")
    every = []
    for num_domains in options.domains:
        for noise in options.noise:
            trials = each(trial, num_domains, noise, options.seeds)
            every += trials
            models = ", ".join(f"{m} {count}" for m, count in Counter(t.model for t in trials).most_common(3))
            cells = " | ".join(summary(trials))
            print(f"| {num_domains} | {noise:g} | {len(trials)} | {cells} | {models} |", flush=True)
    print(f"| all | | {len(every)} | {' | '.join(summary(every))} | |", flush=True)
    print("\n| permuted losses, domains | not better |\n|---|---|")
    for num_domains in options.domains:
        found = each(permuted_is_better, num_domains, 0.3, options.permuted)
        print(f"| {num_domains} | {1 - np.mean(found):.0%} of {len(found)} |", flush=True)


@dataclass(frozen=True)
class Trial:
    """What one proposal is worth, and whether what is said of it is true.

    Attributes:
        model: The regression's.
        error: Of the regression on fresh mixtures, in standard deviations of the objective.
        missed: Part of the gain from the prior to the optimum.
        gain_held: Whether the interval of the gain over the prior holds the true gain.
        z: The true gain minus the stated, in standard deviations by the interval.
        weights_held: Part of the domains whose interval holds the optimum's weight.
        weights_width: Mean width of these intervals.
        better: Whether the proposal is called better than the prior.
        truly_better: Whether it is.
    """

    model: str
    error: float
    missed: float
    gain_held: bool
    z: float
    weights_held: float
    weights_width: float
    better: bool
    truly_better: bool


COLUMNS = ("error", "missed", "gain held", "z", "weights held", "their width", "called better", "is better")


def summary(trials: Sequence[Trial]) -> list[str]:
    """The columns of a row."""
    z = [each.z for each in trials]
    return [
        f"{np.mean([each.error for each in trials]):.2f}",
        f"{np.median([each.missed for each in trials]):.2f}",
        f"{np.mean([each.gain_held for each in trials]):.0%}",
        f"{np.mean(z):+.1f} +- {np.std(z):.1f}",
        f"{np.mean([each.weights_held for each in trials]):.0%}",
        f"{np.mean([each.weights_width for each in trials]):.2f}",
        f"{np.mean([each.better for each in trials]):.0%}",
        f"{np.mean([each.truly_better for each in trials]):.0%}",
    ]


def trial(law: PlantedLaw, noise: float, seed: int, model: str = "auto") -> Trial:
    """One sweep, fitted and searched as a user's is."""
    fitted, made = proposal_from(law.runs(NUM_RUNS, noise, seed), law, seed, model)
    optimum = law.optimum()
    at_prior, at_optimum, at_proposal = law.objective(np.array([law.prior, optimum, made.weights]))
    gain, stated = float(at_prior - at_proposal), made.baselines["prior"].gain
    low, high = sample_interval(made.optima)
    fresh = law.mixtures(NUM_FRESH, seed + 1_000_000)
    truth = law.objective(fresh)
    error = fitted.mean_objective(fresh, fitted.objective) - truth
    return Trial(
        fitted.model,
        float(np.sqrt(np.mean(error**2)) / truth.std()),
        float((at_proposal - at_optimum) / (at_prior - at_optimum)),
        stated.low <= gain <= stated.high,
        (gain - stated.mean) * 2 * STDS_TO_ENDS / max(stated.high - stated.low, 1e-12),
        float(np.mean((low - CLOSE <= optimum) & (optimum <= high + CLOSE))),
        float(np.mean(high - low)),
        "prior" in made.better,
        gain > 0,
    )


def permuted_is_better(law: PlantedLaw, noise: float, seed: int, model: str = "auto") -> bool:
    """Whether a proposal is called better than the prior when every run has the losses of another."""
    runs = law.runs(NUM_RUNS, noise, seed)
    order = np.random.default_rng([14, seed, law.num_domains, len(law.kind)]).permutation(NUM_RUNS)
    _, made = proposal_from(replace(runs, losses=runs.losses[order]), law, seed, model)
    return "prior" in made.better


def proposal_from(runs: Runs, law: PlantedLaw, seed: int, model: str) -> tuple[FittedModel, ProposedMixture]:
    """What `proxymix fit` and `proxymix propose` make of a sweep."""
    fitted = fit_runs(runs, model, "mean", seed)
    objective, prior = fitted.objective, law.prior
    baselines = baselines_of(fitted, objective, prior)
    how = FitSearch(objective, law.feasible(), prior, SearchSettings().resolved(is_smooth(fitted, objective)))
    return fitted, propose_mixture(fitted, how, baselines, None, 2, seed, 1)


if __name__ == "__main__":
    main()
