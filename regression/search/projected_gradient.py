"""Descent along slopes, from many mixtures at once, within the feasible set: spectral projected gradient.

Birgin, Martinez and Raydan (2000), with steps scaled by the weights, so that small weights move by small amounts, and
with exact projections, so that every iterate is allowed and a weight can reach 0 and leave it. Losses with ceilings
enter by an augmented Lagrangian. A function made of kernels costs as much for one mixture as for 64, which is why all
starts step together.
"""

from collections.abc import Callable

import numpy as np

from regression.search.feasible_set import FeasibleSet
from regression.search.objective_function import ObjectiveFunction

NUM_BATCHES = 150
"""Evaluations of a descent, each of all mixtures that still move."""
NUM_MULTIPLIER_UPDATES = 8
"""Into how many parts a descent with ceilings is cut; the multipliers are updated after each."""
MEMORY = 6
"""A step may rise above the last value, but not above the highest of this many."""
ValueAndSlopes = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Mixtures, and which rows of the search they are -> values and slopes."""


def descend(
    function: ObjectiveFunction,
    feasible: FeasibleSet,
    W: np.ndarray,
    high: np.ndarray | None,
    scale: float,
    num_batches: int = NUM_BATCHES,
) -> np.ndarray:
    """Where descents from the rows of W end; they approach the ceilings from both sides and may end a little above.

    Args:
        function: What is minimised; smooth, except for kinks.
        feasible: The limits and the distance hold for W, and then for every iterate.
        W: Shape (num_rows, num_domains).
        high: Caps per row, where they are below those of the feasible set.
        scale: What counts as a difference in value.

    Returns:
        Shape (num_rows, num_domains).
    """
    if not function.ceilings:
        return projected_gradient(lambda X, rows: function.gradient(X), feasible, W, high, scale, num_batches)
    excess = function.excess(W)
    multipliers = np.zeros(excess.shape)
    spread = np.ptp(excess, axis=0)
    penalty = np.tile(scale / np.where(spread > 0, spread, 1.0) ** 2, (len(W), 1))

    def lagrangian(X: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slopes = function.gradient(X)
        over, over_slopes = function.excess_gradient(X)
        force = np.maximum(multipliers[rows] + penalty[rows] * over, 0.0)
        value = value + ((force**2 - multipliers[rows] ** 2) / (2 * penalty[rows])).sum(axis=1)
        return value, slopes + np.einsum("rc,rck->rk", force, over_slopes)

    for _ in range(NUM_MULTIPLIER_UPDATES):
        W = projected_gradient(lagrangian, feasible, W, high, scale, num_batches // NUM_MULTIPLIER_UPDATES)
        before, excess = np.maximum(excess, 0.0), function.excess(W)
        multipliers = np.maximum(multipliers + penalty * excess, 0.0)
        penalty = np.where(excess > 0.25 * before, 4 * penalty, penalty)
    return W


def descend_briefly(
    function: ObjectiveFunction, feasible: FeasibleSet, starts: np.ndarray, num_batches: int
) -> np.ndarray:
    """Where a few steps lead from each start, shape (num_starts, num_domains).

    The ends are allowed and, where there are no ceilings, no higher than the starts.
    """
    allowed = feasible.nearest(starts)
    scale = float(np.ptp(function.value(allowed))) or 1.0
    return feasible.nearest(descend(function, feasible, allowed, None, scale, num_batches))


def descend_to_ceilings(function: ObjectiveFunction, feasible: FeasibleSet, W: np.ndarray) -> np.ndarray:
    """Descents that lower only the losses above their ceilings, until these are a little below."""
    excess = function.excess(W)
    spread = np.ptp(excess, axis=0)
    unit = np.where(spread > 0, spread, 1.0)

    def violation(X: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        over, slopes = function.excess_gradient(X)
        force = np.maximum(over / unit + 1e-3, 0.0)
        return 0.5 * (force**2).sum(axis=1), np.einsum("rc,rck->rk", force / unit, slopes)

    high = None if feasible.max_domains is None else np.where(W > 0, feasible.high, 0.0)
    return projected_gradient(violation, feasible, W, high, 1e-6, NUM_BATCHES)


def projected_gradient(
    function: ValueAndSlopes,
    feasible: FeasibleSet,
    W: np.ndarray,
    high: np.ndarray | None,
    scale: float,
    num_batches: int,
) -> np.ndarray:
    """The lowest mixture that each row of W came to; each batch of evaluations is one trial step of every row."""
    num_rows, num_domains = W.shape
    everyone = np.arange(num_rows)
    W = W.copy()
    F, G = function(W, everyone)
    lowest, lowest_value = W.copy(), F.copy()
    recent = np.full((num_rows, MEMORY), -np.inf)
    recent[:, 0] = F
    floor = 0.01 / num_domains  # added to the weights as the scale of steps, so that a weight can leave 0
    turn = np.abs(G - (G * W).sum(axis=1, keepdims=True)).max(axis=1)
    step = 0.5 / np.where(turn > 0, turn, 1.0)
    aims, slopes, lengths = W.copy(), np.zeros(num_rows), np.ones(num_rows)
    marks = F.copy()
    active = everyone

    def take_aim(rows: np.ndarray) -> None:
        """Project a gradient step. The line to its end is then searched, beginning with the whole of it."""
        metric = W[rows] + floor
        centered = metric * (G[rows] - (G[rows] * W[rows]).sum(axis=1, keepdims=True))
        far = np.abs(centered).max(axis=1)
        step[rows] = np.clip(step[rows], 1e-9, 1e2 / np.where(far > 0, far, 1.0))
        caps = None if high is None else high[rows]
        aims[rows] = feasible.project(W[rows] - step[rows, None] * centered, metric, caps)
        slopes[rows] = (G[rows] * (aims[rows] - W[rows])).sum(axis=1)
        lengths[rows] = 1.0

    take_aim(everyone)
    for count in range(1, num_batches):
        # ---- 1. Rows that have arrived rest: their step falls no further, or they have not moved for 20 batches
        active = active[-slopes[active] > 1e-11 * scale]
        if count % 20 == 0:
            moving = marks - lowest_value > 1e-8 * scale
            marks = lowest_value.copy()
            active = active[moving[active]]
        if not active.size:
            break

        # ---- 2. Try the step of every other row
        length = lengths[active, None]
        trial = np.where(length == 1, aims[active], W[active] + length * (aims[active] - W[active]))
        value, gradient = function(trial, active)
        length = length[:, 0]
        good = value <= recent[active].max(axis=1) + 1e-4 * length * slopes[active]
        rows, old = active[good], active[~good]

        # ---- 3. Take good steps; the curvature along each sets the length of the next (Barzilai and Borwein)
        moved, turned = trial[good] - W[rows], gradient[good] - G[rows]
        metric = W[rows] + floor
        bend, size = (moved * turned).sum(axis=1), (moved**2 / metric).sum(axis=1)
        step[rows] = np.where(bend > 1e-300, size / np.where(bend > 1e-300, bend, 1.0), 10 * step[rows])
        W[rows], F[rows], G[rows] = trial[good], value[good], gradient[good]
        recent[rows, count % MEMORY] = F[rows]
        better = rows[F[rows] < lowest_value[rows]]
        lowest[better], lowest_value[better] = W[better], F[better]
        if rows.size:
            take_aim(rows)

        # ---- 4. Shorten the others along the same line, to the lowest point of a parabola through what is known
        if old.size:
            rise = value[~good] - F[old] - length[~good] * slopes[old]
            shorter = -0.5 * slopes[old] * length[~good] ** 2 / np.where(rise > 0, rise, 1.0)
            lengths[old] = np.clip(shorter, 0.05 * length[~good], 0.5 * length[~good])
            active = active[lengths[active] > 1e-10]
    return lowest
