"""A fit and a proposal -> what else the runs allow: how large the gain is, which weights matter, which mixtures do as well.

Every answer comes from curves drawn as the fit is uncertain (`Fit.drawn`): the gain under each, and where each has its
own lowest mixture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixture_config.simplex import dirichlet
from proxymix.progress import progress
from regression.fitted import Fit, Surface
from regression.objective import Objective
from regression.region import Region
from regression.search import walk

CONFIDENCE = 0.9
NUM_STEPS = 40  # of a search on a drawn curve, from the proposal and the prior
SAME = 1e-4  # total variation within which a mixture is the proposal
NUM_DIRECTIONS = 64  # domains along which mixtures near the proposal are tried one by one


@dataclass(frozen=True)
class Allowed:
    """What D drawn curves say of a proposal, of B baselines, and of where their own lowest mixtures lie.

    Attributes:
        gains: How much lower the objective is at the proposal than at each baseline, shape (D, B).
        optima: The lowest mixture of each curve that was searched, shape (at most D, num_domains).
    """

    gains: np.ndarray
    optima: np.ndarray

    def gain_interval(self, baseline: int, gain: float) -> tuple[float, float]:
        """Around the fit's own gain over one baseline, at CONFIDENCE: as far as the curves lie from their median.

        Refitted curves did not choose the proposal, so all of them see less gain than the fit that did.
        """
        low, high = interval(self.gains[:, baseline] - np.median(self.gains[:, baseline]))
        return gain + float(low), gain + float(high)

    def weight_intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends for the weights of the best mixture, each of shape (num_domains,)."""
        return interval(self.optima)


def interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The central CONFIDENCE of values drawn, along the first axis."""
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high


def allowed_by(
    draws: Sequence[Fit],
    goal: Objective,
    region: Region,
    proposal: np.ndarray,
    baselines: np.ndarray,
    reference: np.ndarray,
    starts: np.ndarray,
) -> Allowed:
    """What drawn curves say.

    Args:
        draws: Fits of drawn curves.
        goal: What is minimised.
        region: Which mixtures are allowed.
        proposal: Shape (num_domains,).
        baselines: Shape (B, num_domains).
        reference: The mixture that ceilings refer to.
        starts: Where the search for a curve's lowest mixture begins, shape (S, num_domains).
    """
    X = np.vstack([proposal, baselines])
    gains, optima = [], []
    with progress("how sure", total=len(draws), unit="curves") as bar:
        for drawn in draws:
            values = drawn.mean_objective(X, goal)
            gains.append(values[1:] - values[0])
            optima.append(_lowest(Surface(drawn, goal, reference), region, starts))
            bar.advance()
    return Allowed(np.array(gains), np.array(optima))


def _lowest(surface: Surface, region: Region, starts: np.ndarray) -> np.ndarray:
    ends = walk(surface, region, starts, NUM_STEPS) if surface.smooth else region.nearest(starts)
    values = surface.value(ends)
    if surface.ceilings:
        kept = (surface.excess(ends) <= 1e-6).all(axis=1)
        values = np.where(kept, values, np.inf) if kept.any() else values
    return np.asarray(ends[np.argmin(values)])


def near_optimal(
    fitted: Fit,
    draws: Sequence[Fit],
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
        X = X[(Surface(fitted, goal, reference).excess(X) <= 1e-9).all(axis=1)]
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
