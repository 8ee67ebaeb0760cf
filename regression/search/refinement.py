"""A mixture near an optimum -> the optimum: with few needless domains, and with a proof of how low any mixture can be.

Which refinement pays where was measured: benchmarks/README.md, "What each part of the search adds".
"""

import contextlib
from collections.abc import Sequence

import numpy as np

from regression.search.feasible_set import FeasibleSet
from regression.search.linear_program import LinearProgram
from regression.search.objective_function import CEILING_TOLERANCE, ObjectiveFunction, assess

MAX_SLSQP_DOMAINS = 100
"""SLSQP works with dense matrices, which take minutes beyond this many domains."""
MAX_SLSQP_EVALUATIONS = 100
SLSQP_MARGIN = 2e-10
"""SLSQP is asked to keep this far below a ceiling, because it keeps constraints only to rounding."""
MAX_PRUNED_WEIGHT = 0.02
"""A weight below this may be dropped when that costs next to nothing."""
MAX_TRIALS = 64
"""Mixtures that are tried in one batch."""


def tangent_bound(
    function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray, everywhere: bool = False
) -> tuple[float, float]:
    """How much lower the tangent at a mixture is at its lowest allowed point, and its value there (Frank, Wolfe 1956).

    A convex function lies above its tangent, so no allowed mixture is lower than that value. On any function a tangent
    that is no lower elsewhere means that no small step gains anything.

    Args:
        everywhere: Whether the bound holds for mixtures of any domains; else, with `max_domains`, for those that have a
            weight here.
    """
    value, slopes = function.gradient(weights[None])
    lowest = _program(function, feasible, weights, everywhere).lower_bound(slopes[0])
    gain = float(slopes[0] @ weights) - lowest
    return gain, float(value[0]) - gain


def _program(
    function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray, everywhere: bool = False
) -> LinearProgram:
    """The demands on a mixture, with the ceilings' tangents; with `max_domains` over the domains that have weight."""
    program = feasible.linear_program()
    if feasible.max_domains is not None and not everywhere:
        program.high[: len(weights)][weights == 0] = 0.0
    if not function.ceilings:
        return program
    excess, slopes = function.excess_gradient(weights[None])
    return program.with_rows(slopes[0], slopes[0] @ weights - excess[0] + CEILING_TOLERANCE)


def polish(function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray) -> np.ndarray:
    """The mixture moved by scipy's SLSQP, if that ends lower; the mixture itself otherwise.

    It pays where ceilings bind: the augmented Lagrangian ends near them and not on them.
    """
    from scipy.optimize import minimize

    num_domains, program = len(weights), feasible.linear_program()
    num_slacks = len(program.low) - num_domains
    high = program.high.copy()
    if feasible.max_domains is not None:
        high[:num_domains][weights == 0] = 0.0
    before = float(function.value(weights[None])[0])
    unit = float(np.abs(function.gradient(weights[None])[1]).max()) or 1.0
    seen = [weights]

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        if len(seen) > MAX_SLSQP_EVALUATIONS or not np.isfinite(x).all():
            raise StopIteration
        seen.append(x[:num_domains].copy())
        values, slopes = function.gradient(x[None, :num_domains])
        return float(values[0]) / unit, np.append(slopes[0] / unit, np.zeros(num_slacks))

    def excess_slopes(x: np.ndarray) -> np.ndarray:
        slopes = function.excess_gradient(x[None, :num_domains])[1][0]
        return np.hstack([-slopes, np.zeros((len(slopes), num_slacks))])

    def room(x: np.ndarray) -> np.ndarray:
        return -function.excess(x[None, :num_domains])[0] - SLSQP_MARGIN

    constraints = [{"type": "eq", "fun": lambda x: program.whole @ x - 1, "jac": lambda x: program.whole}]
    if len(program.above):
        within = {"type": "ineq", "fun": lambda x: program.bounds - program.above @ x, "jac": lambda x: -program.above}
        constraints.append(within)
    if function.ceilings:
        constraints.append({"type": "ineq", "fun": room, "jac": excess_slopes})
    start = np.append(weights, np.abs(weights - feasible.prior)[:num_slacks])
    box = list(zip(program.low, high, strict=True))
    options = {"maxiter": MAX_SLSQP_EVALUATIONS, "ftol": 1e-12}
    with contextlib.suppress(StopIteration):
        minimize(value, start, jac=True, bounds=box, constraints=constraints, method="SLSQP", options=options)
    # SLSQP may end outside the set or above where it has been, so the best of all that it saw is taken.
    trials = feasible.project(np.array(seen), high=np.tile(high[:num_domains], (len(seen), 1)))
    values, kept = assess(function, trials)
    values = np.where(kept & feasible.holds(trials), values, np.inf)
    best = int(np.argmin(values))
    return trials[best] if values[best] < before else weights


def descend_along_kinks(
    function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray, scale: float
) -> tuple[np.ndarray, float]:
    """Descent where slopes jump (the worst of several losses): a bundle of tangents within a trust region.

    There a gradient points across the kink and a step along it gains nothing, while the largest of several tangents has
    the kink's shape. The tangents of a convex function are planes below it, so the lowest point of the largest of them is
    a bound.

    Returns:
        A mixture, no higher than `weights`, and the bound that the tangents there and around it prove.
    """
    center = weights
    value, slopes = function.gradient(center[None])
    values, planes, lowest = value - slopes @ center, slopes, float(value[0])
    radius = 0.3
    for _ in range(60 if len(center) <= MAX_SLSQP_DOMAINS else 6):
        # ---- 1. The lowest points of the largest tangent, within three radii
        program = _program(function, feasible, center)
        if not function.convex:  # a plane above the value at the center is the tangent of another part of the function
            values = values - np.maximum(values + planes @ center - lowest, 0.0)
        low, high = program.low[: len(center)], program.high[: len(center)]
        reaches = [r * (center + 1 / len(center)) for r in (2 * radius, radius, radius / 4)]
        models = [
            program.lowest_of_largest(values, planes, np.maximum(low, center - r), np.minimum(high, center + r))
            for r in reaches
        ]
        caps = None if feasible.max_domains is None else np.where(center > 0, feasible.high, 0.0)[None]
        aims = [feasible.project(model[0][None], high=caps) for model in models if model is not None]
        if not aims:
            break
        trials = np.vstack(aims)
        promised = lowest - (values + trials @ planes.T).max(axis=1)
        if promised.max() < 1e-9 * scale and radius > 0.01:
            break

        # ---- 2. The function there: further tangents, and perhaps a lower mixture
        value, slopes = function.gradient(trials)
        values, planes = np.append(values, value - (slopes * trials).sum(axis=1)), np.vstack([planes, slopes])
        _, kept = assess(function, trials)
        value = np.where(kept & feasible.holds(trials), value, np.inf)
        best = int(np.argmin(value))
        if value[best] < lowest:
            radius *= (2.0, 1.0, 0.5)[best] if len(value) == 3 else 1.0
            center, lowest = trials[best], float(value[best])
        else:
            radius /= 4
        if radius < 1e-7:
            break

    # ---- 3. The bound: by the last tangent alone, or by all of them
    program = _program(function, feasible, center, everywhere=True)
    _, bound = tangent_bound(function, feasible, center, everywhere=True)
    model = program.lowest_of_largest(values, planes, program.low[: len(center)], program.high[: len(center)])
    if model is not None:
        bound = max(bound, float(model[1] @ values) + program.lower_bound(model[1] @ planes))
    return center, bound


def prune_small_weights(
    function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray, negligible: float, limit: float
) -> np.ndarray:
    """The mixture without the domains that are of next to no use.

    More and more of the least useful domains are dropped, while that costs at most `negligible`.

    Args:
        negligible: How much the value may rise.
        limit: What the value may not rise above, unless it is there already.
    """
    value = float(function.value(weights[None])[0])
    most = max(value, min(value + negligible, limit))
    for _ in range(2):
        small = np.flatnonzero((weights > 0) & (feasible.low <= 0) & (weights < MAX_PRUNED_WEIGHT))
        order = small[np.argsort(weights[small], kind="stable")]
        if 0 < len(order) <= MAX_TRIALS:
            _, costs = without_domains(function, feasible, weights, list(order[:, None]))
            order = order[np.argsort(costs, kind="stable")]
        counts = np.unique(np.linspace(0, len(order), MAX_TRIALS + 1).astype(int))[1:]
        trials, values = without_domains(function, feasible, weights, [order[:count] for count in counts])
        fine = np.flatnonzero(values <= most)
        if not fine.size:
            break
        weights = trials[fine[-1]]
    return feasible.nearest(weights[None])[0]


def without_domains(
    function: ObjectiveFunction, feasible: FeasibleSet, weights: np.ndarray, dropped: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The mixture without each of these sets of domains, and the values: infinite where that is not allowed."""
    members = np.tile(weights > 0, (len(dropped), 1))
    if not len(dropped):
        return np.empty((0, len(weights))), np.empty(0)
    for row, domains in zip(members, dropped, strict=True):
        row[domains] = False
    fine = feasible.suffices(members)
    trials, values = np.tile(weights, (len(dropped), 1)), np.full(len(dropped), np.inf)
    if fine.any():
        start = trials[fine] * members[fine]
        start /= np.maximum(start.sum(axis=1, keepdims=True), 1e-300)
        trials[fine] = feasible.project(start, start + 1e-9, np.where(members[fine], feasible.high, 0.0))
        found, kept = assess(function, trials[fine])
        values[fine] = np.where(kept, found, np.inf)
    return trials, values
