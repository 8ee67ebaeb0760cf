"""A center and limits -> mixtures drawn around it, by RegMix's law (arXiv 2407.01492, section 3.1). No files.

The law: draw Dirichlet(concentration * center) at one of a ladder of concentrations, reject draws outside the bounds, set
weights below a minimum to zero, round to a grid, draw many more than were asked for, and pick at random among the
distinct mixtures. (Or scale draws outside the bounds into them, and keep every draw.)

This differs from RegMix's script in five ways. Rounding keeps the bounds and a sum of exactly 1. It is faster. Only what is
picked is rounded and kept in memory. Domains may have floors. And it never gives fewer mixtures than were asked for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixture_config.design.dirichlet_ladder import BLOCK, DirichletLadder, Rows
from mixture_config.design.distinct_rows import DistinctRows, hash_coefficients, row_hashes
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import grid_steps
from mixture_config.geometry.tolerances import GRID_STEP
from proxymix.errors import InputError

DRAWS_PER_ROUND = 1 << 16  # draws between two looks at how many mixtures are still missing
COARSE_STEPS = 1000  # on a grid of fewer steps many draws round to one mixture, so draws are rounded before the choice
MAX_PASSES = 10  # times the planned draws to make before giving up on draws inside the bounds
USUAL_DRAWS = 100  # draws per mixture in RegMix; a smaller sample_multiplier may make as many before giving up


@dataclass(frozen=True)
class Draw:
    """Mixtures as whole steps of a grid, and what drawing them took.

    Attributes:
        steps: Shape (num_mixtures, num_domains). Every row sums to num_steps.
        num_steps: Steps that make a weight of 1.
        num_drawn: Dirichlet draws made.
        num_fitting: Draws within the bounds.
        num_scaled: Mixtures from the draws of which those outside the bounds were scaled into them: all of them with a
            sample_multiplier of 1, else those for which too few draws were inside.
    """

    steps: np.ndarray
    num_steps: int
    num_drawn: int
    num_fitting: int
    num_scaled: int

    @property
    def weights(self) -> np.ndarray:
        """Weights, each the double nearest to its grid point. Rows sum to 1 within 1e-12."""
        return self.steps / self.num_steps


def draw_mixtures(
    center: np.ndarray,
    num_mixtures: int,
    rng: np.random.Generator,
    *,
    limits: Limits,
    min_concentration: float = 0.1,
    max_concentration: float = 5.0,
    min_weight: float = GRID_STEP,
    sample_multiplier: int = 100,
    exclude: np.ndarray | None = None,
    fewest: int | None = None,
    on_drawn: Callable[[int], object] = lambda count: None,
) -> Draw:
    """Distinct mixtures around a center.

    Args:
        center: Mean of the draws, sum 1, shape (num_domains,). A domain with 0 stays at its smallest weight.
        num_mixtures: How many.
        rng: Where the draws come from.
        limits: Bounds of the weights.
        min_concentration: Smallest Dirichlet concentration.
        max_concentration: Largest Dirichlet concentration.
        min_weight: Weights below it become 0 (or their floor), and it is the grid of the others.
        sample_multiplier: Draws made per mixture kept. Those outside the bounds are rejected, or scaled into the bounds
            where too few are inside. With 1 every draw is kept, and scaled into the bounds if it is outside: this keeps
            the law's spread where the bounds would reject most draws but those near the center.
        exclude: Steps of mixtures that exist already, shape (any, num_domains). They are not drawn again.
        fewest: How many are enough where the bounds or the grid hold no more; num_mixtures unless given.
        on_drawn: Called with the number of draws just made; num_mixtures * sample_multiplier are planned.

    Raises:
        InputError: If the bounds hold no mixture on the grid, or the law gives too few distinct ones.
    """
    center = np.asarray(center, dtype=float)
    num_steps = grid_steps(min_weight)
    live = center > 0
    limits = Limits(limits.names, limits.lower, np.where(live, limits.upper, limits.lower), limits.groups)
    grid = limits.on_grid(num_steps)
    ladder = DirichletLadder(center, limits, min_concentration, max_concentration, min_weight)
    coefficients = hash_coefficients(rng, len(center))
    passes = max(MAX_PASSES * sample_multiplier, USUAL_DRAWS)
    sampler = _Sampler(rng, ladder, grid, num_steps, passes, on_drawn)

    # ---- 1. Draws inside the bounds, two percent more than needed since two rows may round to the same mixture
    steps = np.zeros((0, len(center)), dtype=np.int32)
    if sample_multiplier > 1:
        found = DistinctRows(
            num_mixtures + num_mixtures // 50 + 1, num_steps, coefficients, row_hashes(exclude, coefficients)
        )
        sampler.fill(found, num_mixtures, sample_multiplier, scale=False)
        steps = _distinct(found, grid, num_steps, coefficients, on_grid=sampler.coarse)[:num_mixtures]

    # ---- 2. Where these are too few, further draws, of which those outside the bounds are scaled into them
    missing = num_mixtures - len(steps)
    if missing:
        taken = np.concatenate([row_hashes(exclude, coefficients), row_hashes(steps, coefficients)])
        found = DistinctRows(missing, num_steps, coefficients, taken)
        sampler.fill(found, missing, min(sample_multiplier, 4), scale=True)
        scaled = _distinct(found, grid, num_steps, coefficients, on_grid=True)
        steps = np.concatenate([steps, scaled])
    if len(steps) < (fewest := num_mixtures if fewest is None else fewest):
        raise InputError(_too_few(len(steps), fewest, sampler.num_drawn, num_steps, live, grid))

    # ---- 3. An order that says nothing of how a mixture was found
    order = np.argsort(row_hashes(steps, coefficients), kind="stable")
    return Draw(steps[order], num_steps, sampler.num_drawn, sampler.num_fitting, len(scaled) if missing else 0)


class _Sampler:
    """Draws rows until enough distinct ones are found, and counts the draws."""

    def __init__(
        self,
        rng: np.random.Generator,
        ladder: DirichletLadder,
        grid: Limits,
        num_steps: int,
        passes: int,
        on_drawn: Callable[[int], object],
    ) -> None:
        self._rng, self._ladder, self._grid, self._num_steps = rng, ladder, grid, num_steps
        self._passes, self._on_drawn = passes, on_drawn
        self.coarse = num_steps <= COARSE_STEPS
        self.num_drawn = self.num_fitting = 0

    def fill(self, found: DistinctRows, wanted: int, multiplier: int, scale: bool) -> None:
        """Draw `wanted` * `multiplier` rows, and again as many until `wanted` distinct ones are found or never will be."""
        planned = wanted * multiplier
        most = planned * (self._passes // multiplier)
        done = 0
        while done < most:
            num_rows = min(DRAWS_PER_ROUND, planned - done % planned)
            for rows in self._ladder.blocks(self._rng, num_rows, dense=scale):
                inside = self._ladder.inside(rows)
                self.num_fitting += int(inside.sum())
                rows = self._ladder.without_small_weights(rows if scale else rows[inside])
                if scale or self.coarse:
                    weights = rows.dense(len(self._grid.names))
                    rows = Rows(_rounded(weights, self._grid, self._num_steps) / self._num_steps)
                found.add(rows)
            done, self.num_drawn = done + num_rows, self.num_drawn + num_rows
            self._on_drawn(num_rows)
            missing = wanted - len(found)
            if missing > 0 and len(found) / done * (most - done) < missing:  # at this rate there will not be enough
                return
            if missing <= 0 and done % planned == 0:
                return


def _distinct(found: DistinctRows, grid: Limits, num_steps: int, coefficients: np.ndarray, on_grid: bool) -> np.ndarray:
    """The rows found, as distinct steps of the grid that are not taken; `on_grid` if the rows were rounded already."""
    weights = found.weights
    steps = np.rint(weights * num_steps).astype(np.int32) if on_grid else _rounded(weights, grid, num_steps)
    hashes = row_hashes(steps, coefficients)
    first = np.sort(np.unique(hashes, return_index=True)[1])
    return steps[first[~np.isin(hashes[first], found.taken)]]


def _rounded(weights: np.ndarray, grid: Limits, num_steps: int) -> np.ndarray:
    """Rows on the grid and within its limits, int32, a block at a time."""
    steps = np.empty(weights.shape, dtype=np.int32)  # half the memory of int64, and 1e6 steps still fit
    size = max(BLOCK // weights.shape[1], 1)
    for start in range(0, len(weights), size):
        block = weights[start : start + size].astype(float)
        block /= block.sum(axis=1, keepdims=True)
        outside = ~grid.hold(block)
        if outside.any():
            block[outside] = grid.fill(block[outside])
        steps[start : start + size] = grid.round(block, num_steps)
    return steps


def _too_few(found: int, asked: int, drawn: int, num_steps: int, live: np.ndarray, grid: Limits) -> str:
    """The message where the law gives too few distinct mixtures, with the caps that leave least room."""
    high = np.rint(grid.upper * num_steps)
    movable = int((grid.upper > grid.lower).sum())
    tight = np.flatnonzero((high > 0) & (high < num_steps) | live & (high == 0))
    tight = tight[np.argsort(high[tight], kind="stable")][:3].tolist()
    caps = ", ".join(f"{grid.names[i]} at {high[i] / num_steps:.4g}" for i in tight)
    return (
        f"only {found:,} distinct mixtures came of {drawn:,} draws, and {asked:,} were asked for: {movable} of {len(live)} "
        f"domains can move, on a grid of {1 / num_steps:.4g}" + (f", within caps such as {caps}" if caps else "") + "; "
        f"ask for at most {found:,}, lower `min_weight` for a finer grid, raise `maximum_usage` or `max_epochs`, "
        "or widen the range from `min_concentration` to `max_concentration`"
    )
