"""Search by drawing mixtures: RegMix's simulation around the prior, and wider draws, closer and closer around the best.

The best single draw is never the result, because it is the luckiest one: the mean of the best draws is.
"""

from collections.abc import Callable

import numpy as np

from mixture_config.geometry.simplex import dirichlet
from proxymix.progress import progress
from regression.search.feasible_set import FeasibleSet
from regression.search.objective_function import ObjectiveFunction, SearchResult, assess, between

MAX_CELLS = 1_000_000
"""Draws times domains that are in memory at a time."""
MAX_ROWS = 8192
NUM_CLOSER, CLOSER_DRAWS, CLOSER_KEPT = 30, 256, 32
"""Rounds of drawing closer around the best, draws in each, and how many of the best are kept."""


def simulation(
    function: ObjectiveFunction,
    feasible: FeasibleSet,
    center: np.ndarray,
    num_candidates: int,
    num_averaged: int,
    rng: np.random.Generator,
) -> list[SearchResult]:
    """RegMix's simulation: Dirichlet(center) draws, and the mean of those of lowest value; nothing if none keeps the ceilings.

    Args:
        center: The Dirichlet's parameters, summing to 1: the prior. Shape (num_domains,).
    """
    center = np.maximum(center, 1e-9)
    center = center / center.sum()

    def draw(count: int) -> np.ndarray:
        return feasible.admit(dirichlet(rng, center, np.ones(count)))

    pool, _ = _best_draws(function, draw, len(center), num_candidates, num_averaged)
    return _mean(function, feasible, pool, "simulation")


def wide_search(
    function: ObjectiveFunction,
    feasible: FeasibleSet,
    prior: np.ndarray,
    best_runs: np.ndarray,
    num_candidates: int,
    num_averaged: int,
    rng: np.random.Generator,
) -> list[SearchResult]:
    """The mean of the best of `wide_draws`; nothing if no draw keeps the ceilings.

    RegMix's simulation cannot reach an optimum far from the prior: on its own runs that search gains nothing on the mean
    of 13 losses over the human mixture, 4.674 against 4.675, where a wide one reaches 4.62. On a smooth function closer
    and closer draws around the best follow. Trees are flat between thresholds, so closer draws would only find edges.
    """

    def draw(count: int) -> np.ndarray:
        return wide_draws(feasible, prior, best_runs, count, rng)

    pool, values = _best_draws(function, draw, len(prior), num_candidates, num_averaged)
    if function.smooth and len(pool):
        pool = _drawn_closer(function, feasible, pool, values, rng)
    return _mean(function, feasible, pool, "wide")


def wide_draws(
    feasible: FeasibleSet, prior: np.ndarray, best_runs: np.ndarray, num: int, rng: np.random.Generator
) -> np.ndarray:
    """Half around the prior (RegMix's law), a quarter over the whole simplex, a quarter around the best runs."""
    num_domains = len(prior)
    over, near = max(num, 0) // 4, max(num, 0) // 4 if len(best_runs) else 0
    uniform = np.full(num_domains, 1 / num_domains)
    center = np.maximum(prior, 1e-9)
    centers = 0.95 * best_runs[rng.integers(max(len(best_runs), 1), size=near)] + 0.05 * uniform

    def concentrations(low: float, high: float, count: int) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), count))

    draws = [
        dirichlet(rng, center / center.sum(), concentrations(0.1, 5, max(num, 0) - over - near)),
        dirichlet(rng, uniform, concentrations(0.2 * num_domains, 5.0 * num_domains, over)),
        dirichlet(rng, centers, concentrations(5, 500, near)),
    ]
    return feasible.admit(np.vstack(draws))


def _best_draws(
    function: ObjectiveFunction, draw: Callable[[int], np.ndarray], num_domains: int, num: int, num_best: int
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest of many draws that keep every ceiling, and their values; a few draws are in memory at a time."""
    at_once = max(1, min(MAX_ROWS, MAX_CELLS // num_domains))
    pool, values = np.empty((0, num_domains)), np.empty(0)
    with progress("search", total=num, unit="mixtures") as bar:
        for done in range(0, num, at_once):
            X = draw(min(at_once, num - done))
            pool, values = _lowest(function, pool, values, X, num_best)
            bar.advance(len(X))
    return pool, values


def _drawn_closer(
    function: ObjectiveFunction, feasible: FeasibleSet, pool: np.ndarray, values: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw ever closer around the mean of the pool and keep the best: the cross-entropy method on the simplex."""
    uniform = np.full(pool.shape[1], 1 / pool.shape[1])
    for concentration in np.geomspace(20, 20_000, NUM_CLOSER):
        center = pool.mean(axis=0)
        draws = dirichlet(rng, 0.99 * center + 0.01 * uniform, np.full(CLOSER_DRAWS, concentration))
        draws = np.vstack([feasible.nearest(center[None]), feasible.admit(draws)])
        pool, values = _lowest(function, pool, values, draws, CLOSER_KEPT)
    return pool


def _lowest(
    function: ObjectiveFunction, pool: np.ndarray, values: np.ndarray, X: np.ndarray, num_best: int
) -> tuple[np.ndarray, np.ndarray]:
    """The pool with further mixtures: the lowest few that keep every ceiling."""
    found, kept = assess(function, X)
    pool, values = np.vstack([pool, X[kept]]), np.append(values, found[kept])
    order = np.argsort(values, kind="stable")[:num_best]
    return pool[order], values[order]


def _mean(function: ObjectiveFunction, feasible: FeasibleSet, pool: np.ndarray, method: str) -> list[SearchResult]:
    """The mean of the pool (lowest first).

    A mean may break a ceiling that its members keep. Then fewer of the pool are averaged, and in the end a mixture
    between such a mean and the others is taken.
    """
    if not len(pool):
        return []
    counts = [max(len(pool) >> halvings, min(2, len(pool))) for halvings in range(len(pool).bit_length())]
    means = feasible.nearest(np.array([pool[:count].mean(axis=0) for count in counts]))
    values, kept = assess(function, means)
    if not kept.any():
        means = feasible.nearest(between(means[:2], pool[:32]))
        values, kept = assess(function, means)
        if not kept.any():
            return []
        kept &= values == values[kept].min()
    first = int(np.argmax(kept))
    return [SearchResult(means[first], float(values[first]), method)]
