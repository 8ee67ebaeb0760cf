"""Proportions and bounds -> weights that sum to 1 and keep every bound. Pure numpy, no files.

This module knows what the data can feed (`epoch_bounds`), floors and caps of domains (`water_fill`), the grid on which
mixtures are written (`round_to_grid`), and the Dirichlet distribution. Bounds on groups of domains are in limits.py.
"""

import math

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
            f"or lower the budget to {math.floor(max_epochs * total):,}, or, if these are the tokens of a sample, give the true "
            "ones (available_tokens in domains.csv; in a study --corpus.counts or --corpus.multiplier)"
        )
    return bounds


def percent_hint(weight: object) -> str:
    """What a message adds where a weight may be meant in percent, '30%' or 30: how to write it. Else the empty string."""
    text = str(weight).strip().removesuffix("%")
    try:
        share = float(text) / 100
    except ValueError:
        return ""
    return (
        f"; write shares from 0 to 1 in the place of percent, here {share:g}"
        if 0.02 <= share <= 1 or "%" in str(weight)
        else ""
    )


def water_fill(
    proportions: np.ndarray,
    lower: np.ndarray | float = 0.0,
    upper: np.ndarray | float = 1.0,
    total: np.ndarray | float = 1.0,
) -> np.ndarray:
    """Weights in the given proportions, except where a floor or a cap binds.

    The weights are clip(scale * proportions, lower, upper) at the one scale where they sum to `total`, which is found
    exactly. A proportion of 0 stays at its floor.

    Args:
        proportions: Non-negative, at any scale, shape (num_domains,) or (num_rows, num_domains).
        lower: Floors, for all or per domain (and row).
        upper: Caps, for all or per domain (and row).
        total: What the weights sum to, for all or per row.

    Returns:
        Weights of the shape of `proportions`. The bounds must hold some (`Limits` checks this for what a user wrote).
    """
    values = np.asarray(proportions, dtype=float)
    rows = np.atleast_2d(values)
    reachable = np.where(values > 0, upper, lower)
    floors, caps = (np.broadcast_to(np.asarray(bound, dtype=float), rows.shape) for bound in (lower, reachable))
    totals = np.broadcast_to(np.asarray(total, dtype=float), len(rows))
    low, high, least, most = floors.sum(axis=1), caps.sum(axis=1), totals - WEIGHT_ROUNDOFF, totals + WEIGHT_ROUNDOFF
    assert (floors <= caps + WEIGHT_ROUNDOFF).all() and (low <= most).all() and (high >= least).all(), "no such weights"
    solve = _fill_between if np.any(lower) else _fill_under
    return solve(rows, floors, caps, totals).reshape(values.shape)


def grid_steps(min_weight: float) -> int:
    """Steps that make a weight of 1 on the grid of `min_weight`: 5000 for 0.0002, and 3 (steps of 1/3) for 0.3.

    Where `min_weight` does not divide 1, the step is the next larger number that does, since only such a grid holds sums
    of 1.
    """
    return int(1 / min_weight + STEP_ROUNDOFF)


def round_to_grid(
    weights: np.ndarray, num_steps: int, low: np.ndarray, high: np.ndarray, totals: np.ndarray | None = None
) -> np.ndarray:
    """Weights -> whole steps of 1 / num_steps that sum to num_steps exactly, by the largest remainder within bounds.

    Every weight is rounded down. The steps that are left go one each to the largest remainders below their cap, and to a
    weight of 0 only if no other can take them.

    Args:
        weights: Sum 1 and within the bounds up to rounding, shape (num_rows, num_domains).
        num_steps: Steps that make a weight of 1.
        low: Smallest steps, per domain (and row), which sum to at most num_steps.
        high: Largest steps, per domain (and row), which sum to at least num_steps.
        totals: Steps that each row sums to, shape (num_rows,), where that is not num_steps: the parts of a group.

    Returns:
        Steps, int64, shape (num_rows, num_domains).
    """
    wanted = np.full(len(weights), num_steps) if totals is None else totals
    exact = weights * num_steps
    steps = np.floor(exact + STEP_ROUNDOFF)
    np.clip(steps, low, high, out=steps)
    low, high = np.broadcast_to(low, exact.shape), np.broadcast_to(high, exact.shape)
    rows: np.ndarray | slice = slice(None)  # all rows, which a slice takes without a copy
    while True:
        # ---- How many steps each row lacks, and which of its domains gain most from one
        missing = wanted[rows] - steps[rows].sum(axis=1)
        sign = np.sign(missing)[:, None]
        gain = exact[rows] - steps[rows]
        gain *= sign
        gain[exact[rows] == 0] = -num_steps - 1.0  # after all others
        gain[np.where(sign > 0, steps[rows] >= high[rows], steps[rows] <= low[rows])] = -np.inf
        movable = np.count_nonzero(gain > -np.inf, axis=1)
        assert ((movable > 0) | (missing == 0)).all(), "the bounds cannot hold the total"
        # ---- One step each for as many of them as steps are missing, the first of equals first
        count = np.minimum(np.abs(missing), movable).astype(np.int64)[:, None]
        np.negative(gain, out=gain)
        least = np.take_along_axis(np.sort(gain, axis=1), np.maximum(count - 1, 0), axis=1)
        moves, tied = gain < least, gain == least  # sorting the positions would take three times as long
        moves |= tied & (np.cumsum(tied, axis=1) <= count - moves.sum(axis=1, keepdims=True))
        steps[rows] += moves * sign
        # ---- Again for the rows that lack more steps than they have domains to move
        rows = np.flatnonzero(steps.sum(axis=1) != wanted)
        if not rows.size:
            return steps.astype(np.int64)


def dirichlet(rng: np.random.Generator, center: np.ndarray, concentrations: np.ndarray) -> np.ndarray:
    """One Dirichlet(concentration * center) draw per concentration, shape (num_rows, num_domains).

    Gamma variates of the shapes that matter here (0.1 * 0.002) underflow a double. Their logarithms do not, and
    log Gamma(a) is distributed as log Gamma(a + 1) - Exponential / a.

    Args:
        rng: Where the draws come from.
        center: Mean of the draws: positive, sums to 1, shape (num_domains,).
        concentrations: Concentration of each draw, shape (num_rows,). The smaller, the nearer to a single domain.
    """
    shape = concentrations[:, None] * center
    logs = np.log(rng.standard_gamma(shape + 1.0))
    logs -= rng.standard_exponential(shape.shape) / shape
    logs -= logs.max(axis=1, keepdims=True)
    draws = np.exp(logs, out=logs)
    draws /= draws.sum(axis=1, keepdims=True)
    return draws


def _fill_under(rows: np.ndarray, floors: np.ndarray, caps: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """`water_fill` without floors: a weight that passes its cap stays there, and the others share the rest, repeatedly."""
    result = np.empty_like(rows)
    left, over = np.arange(len(rows)), np.zeros(rows.shape, dtype=bool)
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
    return result


def _fill_between(rows: np.ndarray, floors: np.ndarray, caps: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """`water_fill` with floors and caps, exactly, in at most num_domains rounds and usually in a few.

    Each round scales the free weights to the total that is left, and clips them. If the clipped weights sum to too much,
    those below their floor are frozen there, since a smaller scale leaves them below it. If they sum to too little,
    those above their cap are frozen. The row is done when none is frozen.
    """
    result = np.empty_like(rows)
    left, free, frozen = np.arange(len(rows)), np.ones(rows.shape, dtype=bool), np.zeros(rows.shape)
    while left.size:
        sums = np.where(free, rows, 0.0).sum(axis=1)
        scaled = rows / np.where(sums > 0, sums, 1.0)[:, None] * (totals - frozen.sum(axis=1))[:, None]
        trial = np.where(free, scaled, frozen)
        clipped = np.clip(trial, floors, caps)
        excess = (clipped - trial).sum(axis=1, keepdims=True)
        broken = free & np.where(excess > 0, clipped > trial, np.where(excess < 0, clipped < trial, clipped != trial))
        done = ~broken.any(axis=1)
        result[left[done]] = clipped[done]
        frozen[broken] = clipped[broken]
        free &= ~broken
        on = ~done
        left, rows, free, frozen = left[on], rows[on], free[on], frozen[on]
        floors, caps, totals = floors[on], caps[on], totals[on]
    return result
