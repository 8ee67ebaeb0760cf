"""A fit and a proposal -> what else the runs allow: which weights matter, which mixtures do as well.

Every answer comes from curves drawn as the fit is uncertain (`FittedModel.posterior_samples`): where each has its own lowest mixture, and which
mixtures all of them place as low.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixture_config.geometry.simplex import dirichlet
from proxymix.progress import progress
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.search.feasible_set import Region
from regression.search.search import walk

CONFIDENCE = 0.9
NUM_STEPS = 40  # of a search on a drawn curve, from the proposal and the prior
NUM_TRIED, BEST = 4000, 32  # mixtures tried where a curve has no slopes, and how many of the best are averaged
SAME = 1e-4  # total variation within which a mixture is the proposal
NUM_DIRECTIONS = 64  # domains along which mixtures near the proposal are tried one by one


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The central CONFIDENCE of values drawn, along the first axis."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def lowest_of(
    draws: Sequence[FittedModel],
    goal: Objective,
    region: Region,
    reference: np.ndarray,
    starts: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Where drawn curves have their own lowest allowed mixture, shape (len(draws), num_domains).

    Args:
        draws: Fits of drawn curves.
        goal: What is minimised.
        region: Which mixtures are allowed.
        reference: The mixture that ceilings refer to.
        starts: Where the search begins, shape (S, num_domains).
        rng: Of the mixtures that are tried where a curve has no slopes, around the starts.
    """
    strengths = np.exp(rng.uniform(np.log(5), np.log(500), NUM_TRIED))
    centers = 0.9 * starts[rng.integers(len(starts), size=NUM_TRIED)] + 0.1 / starts.shape[1]
    around = np.vstack([starts, region.admit(dirichlet(rng, centers, strengths))])
    optima = []
    with progress("how sure", total=len(draws), unit="curves") as bar:
        for drawn in draws:
            surface = PredictedObjective(drawn, goal, reference)
            found = walk(surface, region, starts, NUM_STEPS) if surface.smooth else around
            optima.append(_lowest(surface, region, found))
            bar.advance()
    return np.array(optima)


def _lowest(surface: PredictedObjective, region: Region, X: np.ndarray) -> np.ndarray:
    """The lowest of X that keeps the ceilings; of a surface with steps the mean of the best, since one is the luckiest."""
    values = surface.value(X)
    if surface.ceilings:
        kept = (surface.excess(X) <= 1e-6).all(axis=1)
        values = np.where(kept, values, np.inf) if kept.any() else values
    if surface.smooth or not np.isfinite(values).all():
        return np.asarray(X[np.argmin(values)])
    return np.asarray(region.nearest(X[np.argsort(values, kind="stable")[:BEST]].mean(axis=0)[None])[0])


def near_optimal(
    fitted: FittedModel,
    draws: Sequence[FittedModel],
    goal: Objective,
    region: Region,
    reference: np.ndarray,
    proposal: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
    most: int = 200,
) -> np.ndarray:
    """Allowed mixtures that the runs do not show to be worse than the proposal, nearest first; shape (rows, num_domains).

    Tried are steps from the proposal in every direction: one domain up or down, towards other good mixtures, towards
    draws around it. As good is what the drawn curves do not place above the proposal at CONFIDENCE (one-sided).

    Args:
        fitted: The fit.
        draws: Fits of drawn curves.
        goal: What is minimised.
        region: Which mixtures are allowed.
        reference: The mixture that ceilings refer to.
        proposal: Shape (num_domains,).
        others: Mixtures worth a look: baselines, lowest mixtures of drawn curves; shape (rows, num_domains).
        rng: Of the draws.
        most: How many are kept.
    """
    num_domains = len(proposal)
    steps = np.array([0.1, 0.25, 0.5, 1.0])
    largest = np.argsort(-proposal, kind="stable")[:NUM_DIRECTIONS]
    up = np.eye(num_domains)[largest]
    down = np.where(up > 0, 0.0, proposal)
    totals = down.sum(axis=1, keepdims=True)
    down = down[totals[:, 0] > 0] / totals[totals[:, 0] > 0]
    around = dirichlet(rng, 0.8 * proposal + 0.2 / num_domains, np.full(100, 2.0 * num_domains))
    towards = [proposal + s * (X - proposal) for X in (down, others, around) for s in steps]
    towards += [proposal + s * (up - proposal) for s in (0.02, 0.05, 0.1, 0.2, 0.4)]
    X = region.admit(np.vstack(towards))
    X = X[region.holds(X)]
    if goal.capped.size:
        X = X[(PredictedObjective(fitted, goal, reference).excess(X) <= 1e-9).all(axis=1)]
    worse = np.array([drawn.mean_objective(np.vstack([proposal, X]), goal) for drawn in draws])
    as_good = np.quantile(worse[:, 1:] - worse[:, :1], 1 - CONFIDENCE, axis=0) <= 0
    X = np.unique(X[as_good], axis=0)
    distance = 0.5 * np.abs(X - proposal).sum(axis=1)
    X, distance = X[distance > SAME], distance[distance > SAME]
    X = X[np.argsort(distance, kind="stable")]
    return X if len(X) <= most else X[np.linspace(0, len(X) - 1, most).round().astype(int)]


@dataclass(frozen=True)
class Support:
    """How far a mixture is from what was trained.

    Attributes:
        nearest: Position of the nearest run.
        distance: Total variation to it (half the sum of differences).
        typical: The same of a run to its nearest other one, in the median.
        farthest: And at most.
    """

    nearest: int
    distance: float
    typical: float
    farthest: float

    @property
    def outside(self) -> bool:
        """Farther from every run than any run from the others."""
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
