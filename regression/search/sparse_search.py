"""Descents over all domains -> descents over at most `max_domains`: drop the least useful domains, then exchange single ones.

Dropping the smallest weights is not enough: exchanges gained up to 5% of the range of values, at a third of the time
(benchmarks/README.md, "What each part of the search adds").
"""

import numpy as np

from regression.search.feasible_set import FeasibleSet
from regression.search.objective_function import ObjectiveFunction, assess
from regression.search.projected_gradient import descend
from regression.search.refinement import without_domains

NUM_DESCENTS = 16
"""The lowest descents that are made sparse, and the candidates of an exchange that are followed to their ends."""
MAX_EXCHANGES = 4
NUM_EXCHANGED = 16
"""Domains of least weight that may go, and domains of steepest slope that may come."""


def sparse_descents(function: ObjectiveFunction, feasible: FeasibleSet, W: np.ndarray, scale: float) -> np.ndarray:
    """Mixtures of at most `max_domains`, of low value.

    Returns:
        Shape (any, num_domains).
    """
    assert feasible.max_domains is not None
    # ---- 1. Keep the domains whose loss would cost most
    W = W[np.argsort(function.value(W), kind="stable")[:NUM_DESCENTS]]
    useful = W.copy()
    for row, weights in enumerate(W):
        present = np.flatnonzero(weights > 0)
        if len(present) > feasible.max_domains:
            _, costs = without_domains(function, feasible, weights, list(present[:, None]))
            useful[row, present] = 1 + np.argsort(np.argsort(costs))
            useful[row] /= useful[row].sum()
    W = _descend_among(function, feasible, W, feasible.supports(useful), scale, 40)

    # ---- 2. Exchange single domains of the best, as long as that gains something
    for _ in range(MAX_EXCHANGES):
        values, kept = assess(function, W)
        best = int(np.argmin(np.where(kept, values, values + 1e3 * scale)))
        members = _exchanges(function, feasible, W[best])
        if not len(members):
            break
        trials = _descend_among(function, feasible, np.tile(W[best], (len(members), 1)), members, scale, 6)
        order = np.argsort(function.value(trials), kind="stable")[:NUM_DESCENTS]
        trials = _descend_among(function, feasible, trials[order], members[order], scale, 60)
        W = np.vstack([W, trials])
        after, kept = assess(function, trials)
        if not (kept & (after < values[best] - 1e-9 * scale)).any():
            break
    return W


def _exchanges(function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray) -> np.ndarray:
    """Sets of domains that differ from those of a mixture by one, as rows of booleans."""
    inside, outside = np.flatnonzero(weights > 0), np.flatnonzero(weights == 0)
    _, slopes = function.gradient(weights[None])
    inside = inside[np.argsort(weights[inside], kind="stable")][:NUM_EXCHANGED]
    outside = outside[np.argsort(slopes[0, outside], kind="stable")][:NUM_EXCHANGED]
    members = np.tile(weights > 0, (len(inside) * len(outside), 1))
    members[np.arange(len(members)), np.repeat(inside, len(outside))] = False
    members[np.arange(len(members)), np.tile(outside, len(inside))] = True
    return members[feasible.suffices(members)] if len(members) else members


def _descend_among(
    function: ObjectiveFunction,
    feasible: FeasibleSet,
    W: np.ndarray,
    members: np.ndarray,
    scale: float,
    num_batches: int,
) -> np.ndarray:
    """Descents of each row over its member domains alone."""
    high = np.where(members, feasible.high, 0.0)
    start = np.where(members, W, 0.0) + 1e-3 * members
    start /= start.sum(axis=1, keepdims=True)
    return descend(function, feasible, feasible.project(start, start + 1e-9, high), high, scale, num_batches)
