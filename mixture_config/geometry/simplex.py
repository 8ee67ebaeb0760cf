"""Shares, candidates, bounds -> weights that sum to 1 and respect every bound. Pure numpy, no files.

Everything that must hold of a mixture is held here, once: floors and caps (`water_fill`, `project`), the grid on which
mixtures are written (`round_to_grid`), what the data can feed (`epoch_bounds`), and draws that satisfy all of it
(`draw_candidates`). Bounds on groups of domains are in limits.py.
"""

import math
from collections.abc import Callable

import numpy as np

from mixture_config.geometry.tolerances import STEP_ROUNDOFF, WEIGHT_ROUNDOFF
from proxymix.errors import InputError


def epoch_bounds(token_counts: np.ndarray, budget: int, max_epochs: float) -> np.ndarray:
    """Largest weight each domain can take before its tokens repeat too often.

    A weight w spends w * budget tokens of a domain, that is w * budget / token_counts epochs.

    Args:
        token_counts: Unique training tokens per domain, shape (num_domains,).
        budget: Tokens of the final run.
        max_epochs: Passes allowed over a domain; 4 costs little (Muennighoff et al. 2023, arXiv:2305.16264).

    Returns:
        Upper bounds in [0, 1], shape (num_domains,).

    Raises:
        InputError: If no mixture within the bounds fills the budget.
    """
    if not budget > 0 or not max_epochs > 0:
        raise InputError(f"a budget of {budget:,} tokens at {max_epochs:g} epochs: both must be above 0")
    bounds = np.minimum(max_epochs * np.asarray(token_counts, dtype=float) / budget, 1.0)
    if bounds.sum() < 1 - WEIGHT_ROUNDOFF:
        total = int(np.sum(token_counts))
        raise InputError(
            f"{total:,} tokens at {max_epochs:g} epochs cannot fill {budget:,}; "
            f"raise max_epochs to {math.ceil(100 * budget / total - STEP_ROUNDOFF) / 100:.2f} "
            f"or lower the budget to {math.floor(max_epochs * total):,}"
        )
    return bounds


def water_fill(
    shares: np.ndarray,
    lower: np.ndarray | float = 0.0,
    upper: np.ndarray | float = 1.0,
    total: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Weights in proportion to `shares`, except where a floor or a cap binds.

    The weights are clip(scale * shares, lower, upper) with the one scale at which they sum to `total`, found exactly.
    A share of 0 stays at its floor.

    Args:
        shares: Non-negative, at any scale, shape (num_domains,) or (num_rows, num_domains).
        lower: Floors, for all or per domain (and row).
        upper: Caps, for all or per domain (and row).
        total: What the weights sum to, for all or per row.

    Raises:
        InputError: If no weights within the bounds sum to `total`.
    """

    def scaled(values: np.ndarray, free: np.ndarray, rest: np.ndarray) -> np.ndarray:
        total = np.where(free, values, 0.0).sum(axis=1)
        return values / np.where(total > 0, total, 1.0)[:, None] * rest[:, None]

    reachable = np.where(np.asarray(shares) > 0, upper, lower)
    if not np.any(lower):
        return _capped(np.asarray(shares, dtype=float), reachable, total)
    return _settle(shares, lower, reachable, scaled, total)


def project(weights: np.ndarray, lower: np.ndarray | float = 0.0, upper: np.ndarray | float = 1.0) -> np.ndarray:
    """The nearest (Euclidean) weights that sum to 1 within the bounds: clip(weights - shift, lower, upper).

    Args:
        weights: Any finite numbers, shape (num_domains,) or (num_rows, num_domains).
        lower: Lower bounds, for all or per domain (and row).
        upper: Upper bounds, for all or per domain (and row).

    Raises:
        InputError: If no weights within the bounds sum to 1.
    """

    def shifted(values: np.ndarray, free: np.ndarray, rest: np.ndarray) -> np.ndarray:
        for _ in range(2):  # the second pass removes what rounding left of large values
            total = np.where(free, values, 0.0).sum(axis=1)
            values = values + ((rest - total) / np.maximum(free.sum(axis=1), 1))[:, None]
        return values

    return _settle(weights, lower, upper, shifted, 1.0)


def check_bounds(lower: np.ndarray, upper: np.ndarray, total: np.ndarray | float = 1.0) -> None:
    """Raise an InputError if no weights with lower <= weights <= upper sum to `total` (per row), saying what would do."""
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        raise InputError("a bound is not a finite number")
    if (lower < 0).any():
        raise InputError(f"a lower bound is {lower.min():g}; weights are at least 0")
    if (lower > upper + WEIGHT_ROUNDOFF).any():
        row, domain = np.argwhere(np.atleast_2d(lower > upper + WEIGHT_ROUNDOFF))[0]
        found = np.atleast_2d(lower)[row, domain], np.atleast_2d(upper)[row, domain]
        raise InputError(
            f"domain {domain + 1} must take at least {found[0]:g} and at most {found[1]:g}; lower the first"
        )
    floors = (lower.sum(axis=-1) - (np.asarray(total) - 1)).max()  # as if the total were 1, which it is for a mixture
    caps = (upper.sum(axis=-1) - (np.asarray(total) - 1)).min()
    if floors > 1 + WEIGHT_ROUNDOFF:
        raise InputError(f"the lower bounds sum to {floors:.6g}, over 1; divided by {enough(floors)} they could be met")
    if caps < 1 - WEIGHT_ROUNDOFF:
        what = f"; multiplied by {enough(1 / caps)} they could be met" if caps > 0 else ""
        raise InputError(f"the upper bounds sum to {caps:.6g}, under 1{what}")


def enough(factor: float) -> str:
    """A factor rounded up to six digits, so that what an error suggests is never a little too little."""
    text = f"{factor:.6g}"
    return text if float(text) >= factor else f"{factor * (1 + 1e-5):.6g}"


def round_to_grid(
    weights: np.ndarray, num_steps: int, low: np.ndarray, high: np.ndarray, totals: np.ndarray | None = None
) -> np.ndarray:
    """Weights -> whole steps of 1 / num_steps that sum to num_steps exactly (largest remainder, within bounds).

    Every weight is rounded down; the steps left over go one each to the largest remainders that are below their cap,
    and to a weight of 0 only when no other can take them.

    Args:
        weights: Sum 1 and within the bounds (nearly), shape (num_rows, num_domains).
        num_steps: Steps that make a weight of 1.
        low: Smallest steps, per domain (and row); sums to at most num_steps.
        high: Largest steps, per domain (and row); sums to at least num_steps.
        totals: Steps that each row sums to, shape (num_rows,), where that is not num_steps: the parts of a group.

    Returns:
        Steps, int64, shape (num_rows, num_domains).
    """
    wanted = np.full(len(weights), num_steps) if totals is None else totals
    exact = weights * num_steps
    steps = np.floor(exact + STEP_ROUNDOFF)
    np.clip(steps, low, high, out=steps)
    low, high = np.broadcast_to(low, exact.shape), np.broadcast_to(high, exact.shape)
    rows: np.ndarray | slice = slice(
        None
    )  # all of them, without copies; then those that one more step does not suffice
    while True:
        missing = wanted[rows] - steps[rows].sum(axis=1)
        sign = np.sign(missing)[:, None]
        gain = exact[rows] - steps[rows]
        gain *= sign
        gain[exact[rows] == 0] = -num_steps - 1.0
        gain[np.where(sign > 0, steps[rows] >= high[rows], steps[rows] <= low[rows])] = -np.inf
        movable = np.count_nonzero(gain > -np.inf, axis=1)
        assert ((movable > 0) | (missing == 0)).all(), "the bounds cannot hold the total"
        count = np.minimum(np.abs(missing), movable).astype(np.int64)[:, None]
        np.negative(gain, out=gain)
        least = np.take_along_axis(np.sort(gain, axis=1), np.maximum(count - 1, 0), axis=1)
        moves, tied = gain < least, gain == least  # (sorting positions would take thrice as long)
        moves |= tied & (np.cumsum(tied, axis=1) <= count - moves.sum(axis=1, keepdims=True))
        steps[rows] += moves * sign
        rows = np.flatnonzero(steps.sum(axis=1) != wanted)
        if not rows.size:
            return steps.astype(np.int64)


def dirichlet(rng: np.random.Generator, center: np.ndarray, strengths: np.ndarray) -> np.ndarray:
    """One Dirichlet(strength * center) draw per strength, shape (num_rows, num_domains).

    Gamma variates of the shapes that matter here (0.1 * 0.002) underflow a double; their logarithms do not:
    log Gamma(a) is distributed as log Gamma(a + 1) - Exponential / a.

    Args:
        rng: Where the draws come from.
        center: Mean of the draws: positive, sums to 1, shape (num_domains,).
        strengths: Concentration of each draw, shape (num_rows,); the smaller, the nearer to a single domain.
    """
    shape = strengths[:, None] * center
    logs = np.log(rng.standard_gamma(shape + 1.0))
    logs -= rng.standard_exponential(shape.shape) / shape
    logs -= logs.max(axis=1, keepdims=True)
    draws = np.exp(logs, out=logs)
    draws /= draws.sum(axis=1, keepdims=True)
    return draws


def scale_into(draws: np.ndarray, center: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Draws with those outside the bounds scaled into them (`water_fill`); the others untouched.

    A capped domain's excess goes to the draw's other domains in proportion; where these cannot hold it, the rest is
    shared like `center`.
    """
    outside = ((draws < lower) | (draws > upper)).any(axis=1)
    result = draws.copy()
    if outside.any():
        result[outside] = water_fill(draws[outside] + 1e-9 * center, lower, upper)
    return result


def draw_candidates(
    rng: np.random.Generator,
    num_candidates: int,
    center: np.ndarray,
    lower: np.ndarray | float = 0.0,
    upper: np.ndarray | float = 1.0,
    min_strength: float = 0.1,
    max_strength: float = 5.0,
) -> np.ndarray:
    """Mixtures spread over everything the bounds allow, from nearly one domain to nearly `center`.

    Dirichlet draws around `center` with log-uniform strengths; those outside the bounds are scaled into them, so that
    no draw is lost however tight the bounds are. Not on a grid.

    Args:
        rng: Where the draws come from.
        num_candidates: How many.
        center: Shares around which to draw, at any scale; 0 keeps a domain at its lower bound. Shape (num_domains,).
        lower: Lower bounds, for all or per domain.
        upper: Upper bounds, for all or per domain.
        min_strength: Smallest Dirichlet concentration.
        max_strength: Largest Dirichlet concentration.

    Returns:
        Weights, shape (num_candidates, num_domains): sum 1 and bounds hold to 1e-12.

    Raises:
        InputError: If no weights within the bounds sum to 1.
    """
    drawn = np.flatnonzero(center > 0)
    low = np.broadcast_to(np.asarray(lower, dtype=float), center.shape)
    high = np.where(center > 0, upper, low)
    check_bounds(low, high)
    strengths = np.exp(rng.uniform(np.log(min_strength), np.log(max_strength), num_candidates))
    draws = np.zeros((num_candidates, len(center)))
    draws[:, drawn] = dirichlet(rng, center[drawn] / center[drawn].sum(), strengths)
    return scale_into(draws, center / center.sum(), low, high)


def _capped(shares: np.ndarray, upper: np.ndarray, total: np.ndarray | float) -> np.ndarray:
    """`water_fill` without floors: what passes its cap stays there, and the others share the rest, until none does."""
    rows = np.atleast_2d(shares)
    caps = np.broadcast_to(upper, rows.shape)
    check_bounds(np.zeros(rows.shape[1]), caps, total)
    result = np.empty_like(rows)
    left, over = np.arange(len(rows)), np.zeros(rows.shape, dtype=bool)
    totals = np.broadcast_to(np.asarray(total, dtype=float), len(rows))
    while left.size:
        free = np.where(over, 0.0, rows).sum(axis=1)
        rest = totals - np.where(over, caps, 0.0).sum(axis=1)
        filled = rows * (rest / np.where(free > 0, free, 1.0))[:, None]
        np.copyto(filled, caps, where=over)
        broken = filled > caps
        done = ~broken.any(axis=1)
        result[left[done]] = filled[done]
        over |= broken
        on = ~done
        left, rows, caps, over, totals = left[on], rows[on], caps[on], over[on], totals[on]
    return result.reshape(shares.shape)


def _settle(
    values: np.ndarray,
    lower: np.ndarray | float,
    upper: np.ndarray | float,
    solve: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray],
    total: np.ndarray | float,
) -> np.ndarray:
    """Find clip(f(values), lower, upper) with sum `total`, where `solve` fits the increasing f to the entries still free.

    Solve without bounds, then freeze the entries that break one: those below their floor when the clipped entries sum
    to too much, those above their cap when to too little, since these stay broken whatever the others do. Repeat
    until none is broken: exact, in at most num_domains rounds, nearly always in a few.
    """
    values = np.asarray(values, dtype=float)
    rows = np.atleast_2d(values)
    low, high = (np.broadcast_to(np.asarray(bound, dtype=float), rows.shape) for bound in (lower, upper))
    check_bounds(low, high, total)
    result = np.empty_like(rows)
    total = np.broadcast_to(np.asarray(total, dtype=float), len(rows))
    left = np.arange(len(rows))
    rows, free, frozen = rows.copy(), np.ones(rows.shape, dtype=bool), np.zeros(rows.shape)
    while left.size:
        trial = np.where(free, solve(rows, free, total - frozen.sum(axis=1)), frozen)
        clipped = np.clip(trial, low, high)
        excess = (clipped - trial).sum(axis=1, keepdims=True)
        broken = free & np.where(excess > 0, clipped > trial, np.where(excess < 0, clipped < trial, clipped != trial))
        done = ~broken.any(axis=1)
        result[left[done]] = clipped[done]
        frozen[broken] = clipped[broken]
        free &= ~broken
        on = ~done
        if done.any():
            left, rows, free, frozen, low, high = left[on], rows[on], free[on], frozen[on], low[on], high[on]
            total = total[on]
    return result.reshape(values.shape)
