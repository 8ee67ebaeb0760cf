"""A fit and a proposal -> what else the runs allow: which weights matter, which mixtures do as well.

Every answer comes from posterior samples of the fit (`FittedModel.posterior_samples`): where each sample has its own
optimum, and which mixtures all of them place as low.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixture_config.geometry.simplex import dirichlet
from mixture_config.geometry.tolerances import SAME_PROPOSAL
from proxymix.progress import progress
from regression.confirmation.paired import CONFIDENCE
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.search.feasible_set import FeasibleSet
from regression.search.objective_function import CEILING_TOLERANCE
from regression.search.projected_gradient import descend_briefly

NUM_STEPS = 40
"""Steps of a search on a posterior sample, from the proposal and the prior."""
NUM_TRIED, NUM_AVERAGED = 4000, 32
"""Mixtures tried where a posterior sample has no slopes, and how many of the best are averaged."""
LOOSE_CEILING_TOLERANCE = 1e-6
"""How far a loss of a posterior sample may be over its ceiling: the brief search there ends near it, and not on it."""
MAX_AS_GOOD = 200
"""Mixtures that are kept of those that are as good as the proposal."""
MAX_DIRECTIONS = 64
"""Domains along which mixtures near the proposal are tried one by one."""


def sample_interval(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The central CONFIDENCE of posterior samples, along the first axis."""
    low, high = np.quantile(samples, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def optima_of(
    samples: Sequence[FittedModel],
    objective: Objective,
    feasible: FeasibleSet,
    reference_mixture: np.ndarray,
    starts: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Where posterior samples have their own lowest allowed mixture, shape (len(samples), num_domains).

    Args:
        reference_mixture: The mixture that ceilings refer to.
        starts: Where the search begins, shape (S, num_domains).
        rng: Of the mixtures that are tried where a sample has no slopes, around the starts.
    """
    concentrations = np.exp(rng.uniform(np.log(5), np.log(500), NUM_TRIED))
    centers = 0.9 * starts[rng.integers(len(starts), size=NUM_TRIED)] + 0.1 / starts.shape[1]
    around = np.vstack([starts, feasible.admit(dirichlet(rng, centers, concentrations))])
    optima = []
    with progress("how sure", total=len(samples), unit="curves") as bar:
        for sample in samples:
            function = PredictedObjective(sample, objective, reference_mixture)
            tried = descend_briefly(function, feasible, starts, NUM_STEPS) if function.smooth else around
            optima.append(_lowest(function, feasible, tried))
            bar.advance()
    return np.array(optima)


def _lowest(function: PredictedObjective, feasible: FeasibleSet, X: np.ndarray) -> np.ndarray:
    """The lowest of X that keeps the ceilings; of a function with steps the mean of the best, since one is the luckiest."""
    values = function.value(X)
    if function.ceilings:
        kept = (function.excess(X) <= LOOSE_CEILING_TOLERANCE).all(axis=1)
        values = np.where(kept, values, np.inf) if kept.any() else values
    if function.smooth or not np.isfinite(values).all():
        return np.asarray(X[np.argmin(values)])
    best = np.argsort(values, kind="stable")[:NUM_AVERAGED]
    return np.asarray(feasible.nearest(X[best].mean(axis=0)[None])[0])


def near_optimal(
    fitted: FittedModel,
    samples: Sequence[FittedModel],
    objective: Objective,
    feasible: FeasibleSet,
    reference_mixture: np.ndarray,
    proposal: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Allowed mixtures that the runs do not show to be worse than the proposal, nearest first; shape (rows, num_domains).

    Tried are steps from the proposal in every direction: one domain up or down, towards other good mixtures, towards
    draws around it. A mixture is as good if the posterior samples do not place it above the proposal at CONFIDENCE
    (one-sided).

    Args:
        reference_mixture: The mixture that ceilings refer to.
        others: Mixtures worth a look: baselines, optima of posterior samples; shape (rows, num_domains).
    """
    X = feasible.admit(_around(proposal, others, rng))
    X = X[feasible.holds(X)]
    if objective.capped.size:
        function = PredictedObjective(fitted, objective, reference_mixture)
        X = X[(function.excess(X) <= CEILING_TOLERANCE).all(axis=1)]
    values = np.array([sample.mean_objective(np.vstack([proposal, X]), objective) for sample in samples])
    as_good = np.quantile(values[:, 1:] - values[:, :1], 1 - CONFIDENCE, axis=0) <= 0
    X = np.unique(X[as_good], axis=0)
    distance = 0.5 * np.abs(X - proposal).sum(axis=1)
    X, distance = X[distance > SAME_PROPOSAL], distance[distance > SAME_PROPOSAL]
    X = X[np.argsort(distance, kind="stable")]
    return X if len(X) <= MAX_AS_GOOD else X[np.linspace(0, len(X) - 1, MAX_AS_GOOD).round().astype(int)]


def _around(proposal: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Steps from the proposal in every direction, shape (rows, num_domains)."""
    num_domains = len(proposal)
    steps = np.array([0.1, 0.25, 0.5, 1.0])
    largest = np.argsort(-proposal, kind="stable")[:MAX_DIRECTIONS]
    up = np.eye(num_domains)[largest]
    down = np.where(up > 0, 0.0, proposal)
    totals = down.sum(axis=1, keepdims=True)
    down = down[totals[:, 0] > 0] / totals[totals[:, 0] > 0]
    near = dirichlet(rng, 0.8 * proposal + 0.2 / num_domains, np.full(100, 2.0 * num_domains))
    tried = [proposal + step * (X - proposal) for X in (down, others, near) for step in steps]
    tried += [proposal + step * (up - proposal) for step in (0.02, 0.05, 0.1, 0.2, 0.4)]
    return np.vstack(tried)


@dataclass(frozen=True)
class Support:
    """How far a mixture is from what was trained.

    Attributes:
        nearest: Position of the nearest run.
        distance: Total variation to it (half the sum of differences).
        typical: The total variation of a run to its nearest other run, in the median.
        farthest: The same at most.
    """

    nearest: int
    distance: float
    typical: float
    farthest: float

    @property
    def outside(self) -> bool:
        """Whether the mixture is farther from every run than any run is from the others."""
        return self.distance > self.farthest


def support(weights: np.ndarray, mixture: np.ndarray) -> Support:
    """Where a mixture lies among the runs' weights, shape (num_runs, num_domains)."""
    distances = 0.5 * np.abs(weights - mixture).sum(axis=1)
    unique = np.unique(weights, axis=0)
    apart = (
        np.array([np.partition(0.5 * np.abs(unique - w).sum(axis=1), 1)[1] for w in unique])
        if len(unique) > 1
        else np.zeros(1)
    )
    nearest = int(np.argmin(distances))
    return Support(nearest, float(distances[nearest]), float(np.median(apart)), float(apart.max()))
