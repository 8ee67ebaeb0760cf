"""An objective function and a feasible set -> allowed mixtures of low value, by the searches that fit the function."""

import numpy as np

from proxymix.errors import InputError
from regression.search.feasible_set import FeasibleSet
from regression.search.gradient_search import gradient_search
from regression.search.objective_function import ObjectiveFunction, SearchResult
from regression.search.projected_gradient import descend_to_ceilings
from regression.search.random_search import MAX_CELLS, MAX_ROWS, simulation, wide_draws, wide_search
from regression.search.settings import SearchMethod

NUM_STARTS = 64
"""Starts of a gradient search: a function made of kernels costs as much for one mixture as for this many."""


def search(
    function: ObjectiveFunction,
    feasible: FeasibleSet,
    prior: np.ndarray,
    best_runs: np.ndarray,
    method: SearchMethod,
    num_candidates: int,
    num_averaged: int,
    rng: np.random.Generator,
) -> list[SearchResult]:
    """Mixtures of low value, best first.

    Args:
        prior: Around which the draws are made, shape (num_domains,).
        best_runs: Mixtures of the best runs, shape (num_runs, num_domains).
        method: `simulation` and `wide` draw mixtures, `gradient` follows slopes. `auto` takes what fits the function:
            draws for trees, draws and slopes where it is smooth, slopes alone where it is convex.

    Raises:
        InputError: If no mixture that was found keeps every ceiling, or slopes are asked of a function that has none.
    """
    if method == "gradient" and not function.smooth:
        raise InputError("search: gradient needs a smooth regressor, and this one is not (trees have steps); use wide")
    found: list[SearchResult] = []
    follow_slopes = function.smooth and method in ("auto", "gradient")
    draw = method == "auto" and not (follow_slopes and function.convex)
    if draw or method == "simulation":
        found += simulation(function, feasible, prior, num_candidates, num_averaged, rng)
    if draw or method == "wide":
        found += wide_search(function, feasible, prior, best_runs, num_candidates, num_averaged, rng)
    uniform = np.full(len(prior), 1 / len(prior))
    num_starts = max(NUM_STARTS // 4, min(NUM_STARTS, MAX_CELLS // 80 // len(prior)))
    starts = np.vstack([*(result.weights for result in found), prior, uniform, best_runs[: num_starts // 4]])
    if follow_slopes:
        further = wide_draws(feasible, prior, best_runs, num_starts - len(starts), rng)
        starts = np.vstack([starts, further])
        found += gradient_search(function, feasible, starts)
    if not found:
        near = np.vstack([feasible.nearest(starts), wide_draws(feasible, prior, best_runs, MAX_ROWS, rng)])
        if function.smooth:
            near = np.vstack([near, descend_to_ceilings(function, feasible, near[: len(starts)])])
        raise _over_ceilings(function, near)
    return sorted(found, key=lambda result: result.value)


def _over_ceilings(function: ObjectiveFunction, X: np.ndarray) -> InputError:
    """Which ceiling is still broken by the mixture that comes closest to keeping all, and by how much."""
    excess = function.excess(X)
    best = excess[np.argmin(excess.max(axis=1))]
    worst = int(np.argmax(best))
    return InputError(
        f"search: no allowed mixture that was found keeps every ceiling: the closest is {best[worst]:.4g} over that of "
        f"{function.ceilings[worst]}; allow a larger max_increase, or loosen the limits"
    )
