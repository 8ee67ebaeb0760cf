"""A fit -> the mixtures worth training next: those that may be better than the best that is known, far from each other.

`improvement` ranks candidates near and far by expected improvement (Jones, Schonlau, Welch 1998) over the lowest
prediction, and spreads the batch over the best fifth. On 30 planted laws (6 and 12 domains, 24 runs and two batches of 24)
that misses .016 of the gain from the prior to the optimum, a batch by knowledge gradient .018, and 72 mixtures drawn at
once .036; benchmarks/rounds.py. `climb` draws ever closer around the best runs, as CLIMB does (arXiv 2504.13161).
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from mixture_config.design.space_filling import distant, space_filling
from mixture_config.geometry.simplex import dirichlet
from mixture_config.geometry.tolerances import DISTINCT, GRID_STEP
from proxymix.errors import InputError
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.search.feasible_set import FeasibleSet
from regression.search.gradient_search import gradient_search
from regression.search.random_search import wide_search
from regression.selection.repeats import best_runs

Acquisition = Literal["improvement", "climb"]
NUM_CANDIDATES, NUM_SPREAD = 120, 24
"""Candidates drawn for each mixture that is chosen, and how many of them, the best, a batch is spread over."""
MIN_CANDIDATES = 3000
NUM_BEST_RUNS = 4
MAX_HALVINGS = 13
"""How often `climb` halves the reach of its draws at most."""
NUM_BOOTSTRAPS = 12
"""Bootstrap samples where a regression does not know how unsure it is."""


@dataclass(frozen=True)
class Expectation:
    """What the fit expects of mixtures, each of shape (num,).

    Attributes:
        predicted: The objective.
        std: Its standard deviation, without the noise of a run.
        improvement: Expected improvement: the mean, over what the objective may be, of how far it is below the lowest
            prediction, where being above counts as 0.
    """

    predicted: np.ndarray
    std: np.ndarray
    improvement: np.ndarray


@dataclass(frozen=True, eq=False)
class NextRuns:
    """The choice of the next mixtures worth training.

    Args:
        objective: What is minimised; mixtures predicted to be over one of its ceilings come last.
    """

    fitted: FittedModel
    objective: Objective
    feasible: FeasibleSet

    def mixtures(self, num: int, rng: np.random.Generator, acquisition: Acquisition = "improvement") -> np.ndarray:
        """The next mixtures, shape (num, num_domains): allowed, no two alike, none like one that was trained.

        Raises:
            InputError: If fewer than one is asked for, or the feasible set does not hold as many different mixtures.
        """
        if num < 1:
            raise InputError(f"num_next is {num}; at least 1 is wanted")
        draws = self._near_and_far(num, rng) if acquisition == "improvement" else self._around_best_runs(num, rng)
        return self.choose_among(_allowed(self.feasible, draws, rng), num, acquisition)

    def choose_among(self, candidates: np.ndarray, num: int, acquisition: Acquisition) -> np.ndarray:
        """Those of some candidates, shape (num_candidates, num_domains), that are worth training next, as `mixtures`.

        A batch is spread over the best fifth of the candidates.
        """
        function = PredictedObjective(self.fitted, self.objective, self.feasible.prior)
        over_ceilings = function.excess(candidates).max(axis=1, initial=0.0)
        if acquisition == "improvement":
            merit = self.expectation(candidates).improvement
        else:
            merit = -self.fitted.mean_objective(candidates, self.objective)
        candidates, trained = candidates[np.lexsort((-merit, over_ceilings))], self.fitted.runs.weights
        least = DISTINCT
        while least >= GRID_STEP:  # a narrow set holds few mixtures that are far apart
            new = candidates[distant(candidates, trained, least)]
            best = new[: max(num, min(NUM_SPREAD * num, len(new) * NUM_SPREAD // NUM_CANDIDATES))]
            if len(best) >= num:
                chosen = best[space_filling(best, num, trained)]
                if all(distant(chosen[i : i + 1], chosen[:i], least)[0] for i in range(1, num)):
                    return chosen
            least /= 2
        raise InputError(
            f"num_next is {num}, and the limits do not hold as many mixtures that differ by {GRID_STEP:g} or more from "
            "each other and from those that were trained; ask for fewer, or loosen the limits"
        )

    def expectation(self, X: np.ndarray) -> Expectation:
        """What the fit expects of mixtures X, shape (num, num_domains)."""
        from scipy.stats import norm

        mean, std = self._curve(np.vstack([self.lowest, X]))
        std = np.maximum(std, 1e-12)
        gain = mean[0] - mean
        improvement = np.maximum(gain * norm.cdf(gain / std) + std * norm.pdf(gain / std), 0.0)
        return Expectation(mean[1:], std[1:], improvement[1:])

    @cached_property
    def lowest(self) -> np.ndarray:
        """The allowed mixture of lowest predicted objective, from a few starts, shape (num_domains,)."""
        feasible, prior, best = self.feasible, self.feasible.prior, self._best_runs
        function = PredictedObjective(self.fitted, self.objective, prior)
        if function.smooth:
            found = gradient_search(function, feasible, np.vstack([prior, np.full(len(prior), 1 / len(prior)), best]))
        else:
            found = wide_search(function, feasible, prior, best, MIN_CANDIDATES, 32, np.random.default_rng(0))
        return found[0].weights if found else feasible.nearest(best[:1])[0]

    @cached_property
    def _best_runs(self) -> np.ndarray:
        return self.fitted.runs.weights[best_runs(self.fitted.runs, self.objective)[:NUM_BEST_RUNS]]

    def _curve(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The objective and its standard deviation, without the noise of runs."""
        fitted, objective = self.fitted, self.objective
        if all(fitted.regressors[t].knows_std for t in objective.used):
            return fitted.predict_objective(X, objective, noise=False)
        samples = fitted.posterior_samples(NUM_BOOTSTRAPS, np.random.default_rng(0))
        std = np.std([sample.mean_objective(X, objective) for sample in samples], axis=0)
        return fitted.mean_objective(X, objective), std

    def _near_and_far(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Draws around the mixture of lowest prediction, around the best runs, and as a sweep draws them."""
        num_domains, count = len(self.lowest), max(MIN_CANDIDATES, NUM_CANDIDATES * num)
        flat = self.feasible.prior**0.3 / (self.feasible.prior**0.3).sum()
        centers = np.vstack([np.tile(self.lowest, (2, 1)), self._best_runs, np.tile(flat, (4, 1))])
        centers = 0.95 * centers + 0.05 / num_domains
        concentrations = np.exp(rng.uniform(np.log(2.0), np.log(20.0 * num_domains), count))
        draws = dirichlet(rng, centers[rng.integers(len(centers), size=count)], concentrations)
        return np.vstack([self.lowest, draws])

    def _around_best_runs(self, num: int, rng: np.random.Generator) -> np.ndarray:
        """Draws around the best runs, twice as close with every batch."""
        num_domains, count = len(self.feasible.prior), max(MIN_CANDIDATES, NUM_CANDIDATES * num)
        centers = 0.95 * self._best_runs + 0.05 / num_domains
        concentration = 2.0 ** min(1 + len(self.fitted.runs.index) / num, MAX_HALVINGS) * num_domains
        return dirichlet(rng, centers[rng.integers(len(centers), size=count)], np.full(count, concentration))


def _allowed(feasible: FeasibleSet, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws made allowed, and mixtures between them, because of a narrow set draws reach little but its corners."""
    smallest = min(GRID_STEP, 0.5 / draws.shape[1])

    def admitted(weights: np.ndarray) -> np.ndarray:
        return feasible.nearest(feasible.admit(np.where(weights < smallest, 0.0, weights)))

    X = admitted(draws)
    one, other = X[rng.integers(len(X), size=(2, len(X) // 4))]
    X = np.vstack([X, admitted(other + rng.random((len(one), 1)) * (one - other))])
    X = X[feasible.holds(X)]
    tiny = ((X > 0) & (smallest > X)).any(axis=1)
    X = X if tiny.all() else X[~tiny]
    return X[np.unique(np.round(X, 6), axis=0, return_index=True)[1]]
