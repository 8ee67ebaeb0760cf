"""Search along slopes: descents from many starts at once, then the best few refined and rid of needless domains."""

from dataclasses import replace

import numpy as np

from mixture_config.geometry.tolerances import SAME_OPTIMUM
from regression.search.feasible_set import FeasibleSet
from regression.search.objective_function import ObjectiveFunction, SearchResult, assess, between
from regression.search.projected_gradient import descend, descend_to_ceilings
from regression.search.refinement import (
    MAX_SLSQP_DOMAINS,
    descend_along_kinks,
    polish,
    prune_small_weights,
    tangent_bound,
)
from regression.search.sparse_search import sparse_descents

NUM_REFINED = 4
NEGLIGIBLE = 1e-4
"""Of the range of values at the starts: how much dropping a domain may cost."""
STATIONARY = 1e-6
"""Of the range of values at the starts: where a refinement could gain less, there is none."""


def gradient_search(function: ObjectiveFunction, feasible: FeasibleSet, starts: np.ndarray) -> list[SearchResult]:
    """The lowest mixtures that descents from several starts lead to.

    Args:
        starts: Allowed or not, shape (num_starts, num_domains); at least one.

    Returns:
        Distinct mixtures that keep every ceiling, best first, none worse than the best start that does; nothing if no
        mixture was found that does.
    """
    # ---- 1. Descend from all starts at once
    starts = np.asarray(starts, dtype=float)
    allowed = feasible.nearest(starts)
    values = function.value(allowed)
    scale = float(np.ptp(values)) or float(np.abs(values).max()) or 1.0
    ends = descend(function, feasible, feasible.project(starts), None, scale)
    if feasible.max_domains is not None:
        ends = sparse_descents(function, feasible, ends, scale)

    # ---- 2. Keep what is below every ceiling; from what is not, go back towards what is
    pool = _Pool(function, feasible, ends)
    start_values, start_kept = assess(function, allowed)
    limit = float(start_values[start_kept].min()) if start_kept.any() else np.inf
    if not pool.any_kept or pool.kept()[1][0] > limit:
        pool.add(allowed[start_kept])
    if not pool.any_kept:
        pool.add(descend_to_ceilings(function, feasible, allowed))
    if not pool.any_kept:
        return []
    pool.add(between(pool.lowest_over_ceilings(), pool.best()))

    # ---- 3. Refine the best few, and drop the domains that they do not need
    lowest, _ = pool.kept()
    found: list[SearchResult] = []
    bounds: list[float] = []
    for weights in lowest[_distinct(lowest, NUM_REFINED)]:
        refined, bound = _refined(function, feasible, weights, scale)
        bounds.append(bound)
        pruned = prune_small_weights(function, feasible, refined, NEGLIGIBLE * scale, limit)
        found.append(SearchResult(pruned, float(function.value(pruned[None])[0]), "gradient"))
    if function.convex:
        found = [replace(result, gap=max(result.value - max(bounds), 0.0)) for result in found]
    found.sort(key=lambda result: result.value)
    return [found[i] for i in _distinct(np.array([result.weights for result in found]), len(found))]


def _refined(
    function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray, scale: float
) -> tuple[np.ndarray, float]:
    """A mixture, no higher than `weights`, and a value that no allowed mixture of a convex function is below."""
    gain, bound = tangent_bound(function, feasible, weights)
    if gain > STATIONARY * scale and len(weights) <= MAX_SLSQP_DOMAINS:
        weights = polish(function, feasible, weights)
        gain, bound = tangent_bound(function, feasible, weights)
    if function.has_kinks and gain > NEGLIGIBLE / 10 * scale:
        weights, bound = descend_along_kinks(function, feasible, weights, scale)
    if function.convex and feasible.max_domains is not None:
        _, bound = tangent_bound(function, feasible, weights, everywhere=True)
    return weights, bound


class _Pool:
    """Allowed mixtures with their values, and whether they keep every ceiling; mixtures that are not allowed are left out."""

    def __init__(self, function: ObjectiveFunction, feasible: FeasibleSet, X: np.ndarray) -> None:
        self._function, self._feasible = function, feasible
        self._X, self._values, self._kept = np.empty((0, X.shape[1])), np.empty(0), np.empty(0, dtype=bool)
        self.add(X)

    def add(self, X: np.ndarray) -> None:
        """Assess more mixtures, shape (num_rows, num_domains)."""
        X = X[self._feasible.holds(X)]
        values, kept = assess(self._function, X)
        self._X, self._values = np.vstack([self._X, X]), np.append(self._values, values)
        self._kept = np.append(self._kept, kept)

    @property
    def any_kept(self) -> bool:
        """Whether any keeps every ceiling."""
        return bool(self._kept.any())

    def kept(self) -> tuple[np.ndarray, np.ndarray]:
        """Those that keep every ceiling, and their values, lowest first."""
        order = np.argsort(self._values[self._kept], kind="stable")
        return self._X[self._kept][order], self._values[self._kept][order]

    def best(self) -> np.ndarray:
        """The best few that keep every ceiling."""
        return self.kept()[0][:4]

    def lowest_over_ceilings(self) -> np.ndarray:
        """The lowest few that do not keep every ceiling."""
        order = np.argsort(self._values[~self._kept], kind="stable")
        return self._X[~self._kept][order][:8]


def _distinct(X: np.ndarray, num: int) -> list[int]:
    """Positions of the first few rows that are not the same optimum as an earlier one."""
    chosen: list[int] = []
    for i in range(len(X)):
        if all(0.5 * np.abs(X[i] - X[j]).sum() > SAME_OPTIMUM for j in chosen):
            chosen.append(i)
        if len(chosen) == num:
            break
    return chosen
