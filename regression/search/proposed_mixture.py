"""A regression and a feasible set -> the mixture to propose, and what the runs show of it. In memory; no files."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.search.compare import BETTER, compared
from regression.search.feasible_set import FeasibleSet
from regression.search.gradient_search import gradient_search
from regression.search.objective_function import SearchResult
from regression.search.proposal import BaselinePrediction
from regression.search.search import search
from regression.search.settings import SearchSettings
from regression.search.uncertainty import optima_of
from regression.selection.cross_fitting import CrossFitting, cross_fitted
from regression.selection.repeats import best_runs

STARTS_PER_RUN, MIN_BEST_RUNS = 10, 3
"""Start from the best 10% of the runs, at least three."""
NUM_CURVES, NUM_BOOTSTRAPS = 40, 12
"""Posterior samples unless told otherwise; fewer where each of them refits the regression to a bootstrap sample."""


@dataclass(frozen=True)
class ProposedMixture:
    """A proposed mixture, and what the runs show of it.

    Attributes:
        weights: Shape (num_domains,).
        found: What the searches ended with, best first; the weights are the first's.
        baselines: Baseline -> its prediction, and the gain over it.
        cross_fitting: What halves of the runs say; None where there are too few runs.
        samples: Posterior samples of the fit.
        optima: Their own lowest mixtures, shape (len(samples), num_domains).
    """

    weights: np.ndarray
    found: list[SearchResult]
    baselines: dict[str, BaselinePrediction]
    cross_fitting: CrossFitting | None
    samples: list[FittedModel]
    optima: np.ndarray

    @property
    def better(self) -> list[str]:
        """Baselines than which the mixture is predicted to be better."""
        return [name for name, entry in self.baselines.items() if entry.verdict == BETTER]


@dataclass(frozen=True)
class FitSearch:
    """How fits are searched: that of all runs, and those of halves of them.

    Args:
        prior: Around which draws are made, and above whose losses targets may not rise far; shape (num_domains,).
        settings: How to search, with a number of candidates (`resolved`).
    """

    objective: Objective
    feasible: FeasibleSet
    prior: np.ndarray
    settings: SearchSettings

    def best_runs(self, fitted: FittedModel) -> np.ndarray:
        """Mixtures of the best runs, best first, shape (any, num_domains)."""
        order = best_runs(fitted.runs, self.objective)
        return fitted.runs.weights[order[: max(MIN_BEST_RUNS, len(order) // STARTS_PER_RUN)]]

    def search(self, fitted: FittedModel, rng: np.random.Generator) -> list[SearchResult]:
        """The searches that were asked for, best first."""
        settings, best = self.settings, self.best_runs(fitted)
        assert settings.num_candidates is not None, "the settings are not resolved"
        counts = settings.num_candidates, settings.num_averaged
        return search(self._function(fitted), self.feasible, self.prior, best, settings.method, *counts, rng)

    def search_quickly(self, fitted: FittedModel, rng: np.random.Generator) -> np.ndarray:
        """The best mixture for a half of the runs: from a few starts, or with a tenth of the candidates."""
        function, settings, prior = self._function(fitted), self.settings, self.prior
        if settings.method in ("auto", "gradient") and function.smooth:
            starts = np.vstack([prior, np.full(len(prior), 1 / len(prior)), self.best_runs(fitted)[:4]])
            if found := gradient_search(function, self.feasible, starts):
                return found[0].weights
        num = max(1000, (settings.num_candidates or 0) // 10)
        quick = replace(settings, num_candidates=num, num_averaged=min(settings.num_averaged, num))
        return replace(self, settings=quick).search(fitted, rng)[0].weights

    def _function(self, fitted: FittedModel) -> PredictedObjective:
        """The predicted objective plus `risk_aversion` standard deviations, where the regression knows them.

        On six subsets of 32 and of 64 of RegMix's runs, by the predictions of 384 others, half a standard deviation
        against none costs .010 on Pile-CC, of a gain of .34 over the mean mixture, and adds .003 on the mean of 13 losses,
        to a gain of .02; a whole one costs .022 and adds .003. The default is not 0, because those predictions
        extrapolate too.
        """
        knows = all(fitted.regressors[t].knows_std for t in self.objective.used)  # a constant changes no order
        return PredictedObjective(fitted, self.objective, self.prior, self.settings.risk_aversion if knows else 0.0)


def propose_mixture(
    fitted: FittedModel,
    how: FitSearch,
    baselines: Mapping[str, np.ndarray],
    num_curves: int | None,
    num_splits: int,
    seed: int,
    workers: int | None = None,
) -> ProposedMixture:
    """Search the regression, and hold what is found against halves of the runs, posterior samples and baselines."""
    objective, feasible, prior = how.objective, how.feasible, how.prior
    found = how.search(fitted, np.random.default_rng(seed))
    weights, B = found[0].weights, np.array(list(baselines.values()))
    cross_fitting = cross_fitted(fitted, objective, how.search_quickly, B, num_splits, seed, workers)
    if num_curves is None:
        num_curves = NUM_CURVES if fitted.has_posterior else NUM_BOOTSTRAPS
    rng = np.random.default_rng([seed, 1])
    samples = fitted.posterior_samples(num_curves, rng, workers) if num_curves else []
    starts = np.vstack([weights, feasible.nearest(prior[None]), feasible.nearest(how.best_runs(fitted)[:1])])
    optima = optima_of(samples, objective, feasible, prior, starts, rng)
    entries = compared(fitted, objective, weights, baselines, cross_fitting, feasible)
    return ProposedMixture(weights, found, entries, cross_fitting, samples, optima)


def is_smooth(fitted: FittedModel, objective: Objective) -> bool:
    """Whether all regressors that the objective needs are smooth."""
    return all(fitted.regressors[t].smooth for t in objective.used)
