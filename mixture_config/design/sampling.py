"""A center and limits -> mixtures drawn around it, by RegMix's law (arXiv 2407.01492, section 3.1). No files.

The law: draw Dirichlet(strength * center) with one of a ladder of strengths, reject what breaks a bound, set weights
below a minimum to zero, round to a grid, and pick at random among the distinct mixtures that many more draws than
asked for gave. (Or scale what breaks a bound into the bounds, and keep every draw.) Ours differs in the rounding
alone (within the bounds, to a sum of exactly 1), in time and memory (only what is picked is rounded and kept), in
floors (draws share out what the floors leave), and in never giving fewer than asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import dirichlet
from proxymix.errors import InputError

NUM_STRENGTHS = 15
BLOCK = 1 << 17  # numbers per array of a block of draws: 1 MB, which stays in a processor's cache
ROWS = 1 << 16  # draws between two looks at what is still missing
COARSE = 1000  # on a coarser grid many draws round to the same mixture, so all are rounded before the choice
PASSES = 10  # times the planned draws to spend before those outside the bounds are scaled into them, or it is given up
USUAL_DRAWS = 100  # RegMix's number per mixture: a smaller sample_multiplier may spend as many before that


@dataclass(frozen=True)
class Draw:
    """Mixtures as whole steps of a grid, and what drawing them took.

    steps: Shape (num_mixtures, num_domains); every row sums to num_steps.
    num_steps: Steps that make a weight of 1.
    num_drawn: Dirichlet draws made.
    num_fitting: Draws within the bounds.
    num_scaled: Mixtures from draws of which those outside the bounds were scaled into them: all with a sample_multiplier of
        1, else those for which too few draws were inside.
    """

    steps: np.ndarray
    num_steps: int
    num_drawn: int
    num_fitting: int
    num_scaled: int

    @property
    def weights(self) -> np.ndarray:
        """Weights, each the double nearest to its grid point: rows sum to 1 within 1e-12."""
        return self.steps / self.num_steps


def grid_steps(minimum: float) -> int:
    """Steps that make a weight of 1 on the grid of `minimum`; 0.0002 -> 5000, and 0.3 -> 3 (steps of 1/3).

    Where `minimum` does not divide 1 the step is the next larger that does, since only such a grid holds sums of 1.
    """
    return int(1 / minimum + 1e-9)


def draw_mixtures(
    center: np.ndarray,
    num_mixtures: int,
    rng: np.random.Generator,
    *,
    limits: Limits,
    min_strength: float = 0.1,
    max_strength: float = 5.0,
    minimum: float = 2e-4,
    sample_multiplier: int = 100,
    exclude: np.ndarray | None = None,
    fewest: int | None = None,
    on_drawn: Callable[[int], object] = lambda count: None,
) -> Draw:
    """Distinct mixtures around a center.

    Args:
        center: Mean of the draws, sum 1, shape (num_domains,); a domain with 0 stays at its smallest weight.
        num_mixtures: How many.
        rng: Where the draws come from.
        limits: Bounds of the weights.
        min_strength: Smallest Dirichlet concentration.
        max_strength: Largest; NUM_STRENGTHS are spaced evenly in the logarithm.
        minimum: Weights below it become 0 (or their floor), and it is the grid of the others.
        sample_multiplier: Draws made per mixture kept; those outside the bounds are rejected, and scaled into the
            bounds where too few are inside. With 1 every draw is kept, and scaled into the bounds where it is
            outside: that keeps the law's spread where the bounds would reject most draws but those near the center.
        exclude: Steps of mixtures that exist already, shape (any, num_domains); not drawn again.
        fewest: How many will do where the bounds or the grid hold no more; num_mixtures unless given.
        on_drawn: Called with the number of draws just made; num_mixtures * sample_multiplier are planned.

    Raises:
        InputError: If the bounds hold no mixture on the grid, or the law does not give as many distinct ones.
    """
    center = np.asarray(center, dtype=float)
    num_steps = grid_steps(minimum)
    live = center > 0
    limits = Limits(limits.names, limits.lower, np.where(live, limits.upper, limits.lower), limits.groups)
    grid = limits.on_grid(num_steps)
    law = _Law(center, limits, np.geomspace(min_strength, max_strength, NUM_STRENGTHS), minimum)
    coefficients = rng.integers(0, np.iinfo(np.uint64).max, size=len(center), dtype=np.uint64, endpoint=True)
    coarse = num_steps <= COARSE
    drawn = fitting = 0

    def fill(pool: _Pool, wanted: int, multiplier: int, scale: bool) -> None:
        nonlocal drawn, fitting
        planned = wanted * multiplier
        most = planned * (max(PASSES * sample_multiplier, USUAL_DRAWS) // multiplier)
        done = 0
        while done < most:
            num_rows = min(ROWS, planned - done % planned)
            for rows in law.blocks(rng, num_rows, dense=scale):
                inside = law.inside(rows)
                fitting += int(inside.sum())
                rows = law.kept(rows if scale else rows[inside])
                if scale or coarse:
                    rows = _Rows(_rounded(rows.dense(len(center)), grid, num_steps) / num_steps)
                pool.add(rows)
            done, drawn = done + num_rows, drawn + num_rows
            on_drawn(num_rows)
            missing = wanted - len(pool)
            if missing > 0 and len(pool) / done * (most - done) < missing:  # it will not be full at this rate
                return
            if missing <= 0 and done % planned == 0:
                return

    def distinct(pool: _Pool, on_grid: bool) -> np.ndarray:
        weights = pool.weights
        steps = np.rint(weights * num_steps).astype(np.int32) if on_grid else _rounded(weights, grid, num_steps)
        keys = _hashed(steps, coefficients)
        first = np.sort(np.unique(keys, return_index=True)[1])
        return steps[first[~np.isin(keys[first], pool.taken)]]

    def keys_of(rows: np.ndarray | None) -> np.ndarray:
        return np.zeros(0, dtype=np.uint64) if rows is None else _hashed(rows, coefficients)

    spare = num_mixtures // 50 + 1  # two rows may round to the same mixture
    steps = np.zeros((0, len(center)), dtype=np.int32)
    if sample_multiplier > 1:
        pool = _Pool(num_mixtures + spare, num_steps, coefficients, keys_of(exclude))
        fill(pool, num_mixtures, sample_multiplier, scale=False)
        steps = distinct(pool, coarse)[:num_mixtures]
    missing = num_mixtures - len(steps)
    if missing:
        pool = _Pool(missing, num_steps, coefficients, np.concatenate([keys_of(exclude), keys_of(steps)]))
        fill(pool, missing, min(sample_multiplier, 4), scale=True)
        scaled = distinct(pool, True)
        steps = np.concatenate([steps, scaled])
    if len(steps) < (fewest := num_mixtures if fewest is None else fewest):
        raise InputError(_too_few(len(steps), fewest, drawn, num_steps, live, grid))
    order = np.argsort(_hashed(steps, coefficients), kind="stable")
    return Draw(steps[order], num_steps, drawn, fitting, len(scaled) if missing else 0)


@dataclass(frozen=True)
class _Rows:
    """Draws: the value in slot j of row i is that of domain columns[i, j], or of domain j where there are no columns."""

    values: np.ndarray
    columns: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: np.ndarray) -> "_Rows":
        return _Rows(self.values[which], None if self.columns is None else self.columns[which])

    def at(self, per_domain: np.ndarray) -> np.ndarray:
        """A number per domain, laid out like the values."""
        return per_domain if self.columns is None else per_domain[self.columns]

    def dense(self, num_domains: int) -> np.ndarray:
        """The rows with a column per domain, float32."""
        if self.columns is None:
            return self.values.astype(np.float32)
        result = np.zeros((len(self), num_domains), dtype=np.float32)
        row, slot = np.nonzero(self.values)  # empty slots name domain 0
        result[row, self.columns[row, slot]] = self.values[row, slot]
        return result


class _Law:
    """Dirichlet draws of what the floors leave, at a ladder of strengths."""

    def __init__(self, center: np.ndarray, limits: Limits, strengths: np.ndarray, minimum: float) -> None:
        self.lower, self.limits = limits.lower, limits
        self.free = 1.0 - float(limits.lower.sum())
        moving = (center > 0) & (limits.upper > limits.lower)
        self.columns = np.flatnonzero(moving)
        above = np.maximum(center - limits.lower, 1e-3 * center)[moving]  # so that the mean stays near the center
        self.center = above / above.sum() if len(above) else above
        self.strengths, self.minimum = strengths, minimum
        room = (limits.upper - limits.lower)[moving]
        self.tail = min(minimum, float(room.min())) if len(room) else 1.0
        self.plain = not limits.lower.any() and moving.all() and not limits.groups

    def blocks(self, rng: np.random.Generator, num_rows: int, dense: bool) -> Iterator[_Rows]:
        """`num_rows` draws in blocks that fit the cache, in whichever way is faster at their strength."""
        if len(self.center) < 2:
            yield _Rows(self._whole(np.full((num_rows, len(self.center)), 1.0)))
            return
        counts = rng.multinomial(num_rows, np.full(len(self.strengths), 1 / len(self.strengths)))
        picks = 1 + self.strengths * np.log(1 / self.tail)
        broken = (2 * picks < len(self.center)) & self.plain & (not dense)
        for strength, count in zip(self.strengths[broken], counts[broken], strict=True):
            for size in _sizes(count, BLOCK * 32 // len(self.center)):
                yield stick_breaking(rng, self.center, strength, size, self.tail, self.limits.upper)
        strengths = np.repeat(self.strengths[~broken], counts[~broken])
        for start in range(0, len(strengths), max(BLOCK // len(self.center), 1)):
            block = strengths[start : start + max(BLOCK // len(self.center), 1)]
            yield _Rows(self._whole(dirichlet(rng, self.center, block)))

    def inside(self, rows: _Rows) -> np.ndarray:
        """Which draws keep the bounds."""
        if not self.plain:
            return self.limits.hold(rows.values)
        return np.all(rows.values <= rows.at(self.limits.upper), axis=1)

    def kept(self, rows: _Rows) -> _Rows:
        """The draws without what is below the minimum, at sum 1 (nearly, where there are floors)."""
        least = self.minimum if self.plain else self.lower + self.minimum
        kept = np.where(rows.values >= least, rows.values, 0.0 if self.plain else self.lower)
        nothing = kept.sum(axis=1) == 0  # on a grid coarser than every weight of the draw
        kept[nothing] = rows.values[nothing]
        return _Rows(kept / kept.sum(axis=1, keepdims=True), rows.columns)

    def _whole(self, draws: np.ndarray) -> np.ndarray:
        if self.plain:
            return draws
        rows = np.repeat(self.lower[None], len(draws), axis=0)
        rows[:, self.columns] += self.free * draws
        return rows


def stick_breaking(
    rng: np.random.Generator, center: np.ndarray, strength: float, num_rows: int, tail: float, upper: np.ndarray | float
) -> _Rows:
    """Dirichlet(strength * center) draws, largest weights first in tendency, until less than `tail` is left of each.

    A weight picked with a probability equal to itself is domain i with probability center[i], and is then
    Beta(strength * center[i] + 1, the rest); what is left is shared by the other domains by the same law (size-biased
    permutation). At low strengths a few picks hold nearly everything, whatever the number of domains. A draw is left
    unfinished as soon as a weight passes its bound in `upper`, shape (num_domains,), since it will be rejected.
    """
    upper = np.broadcast_to(upper, len(center))
    cumulative = np.cumsum(center)
    rest, concentration = np.ones(num_rows), np.full(num_rows, float(strength))
    used = np.zeros((num_rows, len(center)), dtype=bool)
    columns, values = [], []
    active = np.arange(num_rows)
    while len(active):
        pick = np.searchsorted(cumulative, rng.random(len(active)) * cumulative[-1], side="right")
        pick = np.minimum(pick, len(center) - 1)
        fresh = ~used[active, pick]
        rows, pick = active[fresh], pick[fresh]
        used[rows, pick] = True
        shape = strength * center[pick]
        others = concentration[rows] - shape
        part = np.where(others > 1e-9 * strength, rng.beta(shape + 1, np.maximum(others, 1e-12)), 1.0)
        weight = rest[rows] * part
        slot, value = np.zeros(num_rows, dtype=np.intp), np.zeros(num_rows)
        slot[rows], value[rows] = pick, weight
        columns.append(slot)
        values.append(value)
        rest[rows] = np.where(weight > upper[pick], 0.0, rest[rows] - weight)
        concentration[rows] = others
        active = active[rest[active] >= tail]
    return _Rows(np.stack(values, axis=1), np.stack(columns, axis=1))


class _Pool:
    """A random choice of at most `size` distinct rows among all that were added, without keeping them all.

    A row's key is a hash of the row rounded to the grid, so equal rows have equal keys, and the smallest keys are an even
    choice among the distinct rows however often each came. Rows with a key in `taken` are passed over.
    """

    def __init__(self, size: int, num_steps: int, coefficients: np.ndarray, taken: np.ndarray) -> None:
        self.size, self.taken = size, taken
        self._num_steps, self._coefficients = num_steps, coefficients
        self._keys: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._most = np.iinfo(np.uint64).max  # no larger key will be chosen

    def __len__(self) -> int:
        self._settle()
        return sum(map(len, self._keys))

    def add(self, rows: _Rows) -> None:
        steps = np.rint(rows.values * self._num_steps).astype(np.uint64)
        keys, first = np.unique(_mixed((steps * rows.at(self._coefficients)).sum(axis=1)), return_index=True)
        fresh = (keys <= self._most) & ~np.isin(keys, self.taken)
        keys, first = keys[fresh][: self.size], first[fresh][: self.size]
        self._keys.append(keys)
        self._rows.append(rows[first].dense(len(self._coefficients)))
        if sum(map(len, self._keys)) > 2 * self.size:
            self._settle()

    @property
    def weights(self) -> np.ndarray:
        """The rows chosen, float32, by their keys."""
        self._settle()
        return self._rows[0]

    def _settle(self) -> None:
        if len(self._keys) < 2:
            return
        keys, first = np.unique(np.concatenate(self._keys), return_index=True)
        self._keys, first = [keys[: self.size]], first[: self.size]
        self._rows = [np.concatenate(self._rows)[first]]
        if len(keys) >= self.size:
            self._most = int(self._keys[0][-1])


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


def _hashed(steps: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """A 64-bit hash per row: a random linear form, mixed."""
    keys = np.zeros(len(steps), dtype=np.uint64)
    size = max(BLOCK // steps.shape[1], 1)
    for start in range(0, len(steps), size):
        keys[start : start + size] = (steps[start : start + size].astype(np.uint64) * coefficients).sum(axis=1)
    return _mixed(keys)


def _mixed(keys: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (arithmetic modulo 2**64)."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _sizes(total: int, most: int) -> list[int]:
    """`total` in parts of at most `most`."""
    return [min(most, total - start) for start in range(0, total, most)]


def _too_few(found: int, asked: int, drawn: int, num_steps: int, live: np.ndarray, grid: Limits) -> str:
    """What to say when the law gives too few distinct mixtures, and where there is no room."""
    high = np.rint(grid.upper * num_steps)
    movable = int((grid.upper > grid.lower).sum())
    tight = np.flatnonzero((high > 0) & (high < num_steps) | live & (high == 0))
    tight = tight[np.argsort(high[tight], kind="stable")][:3].tolist()
    caps = ", ".join(f"{grid.names[i]} at {high[i] / num_steps:.4g}" for i in tight)
    return (
        f"only {found:,} distinct mixtures came of {drawn:,} draws, and {asked:,} were asked for: {movable} of {len(live)} "
        f"domains can move, on a grid of {1 / num_steps:.4g}" + (f", within caps such as {caps}" if caps else "") + "; "
        f"ask for at most {found:,}, lower `minimum` for a finer grid, raise `maximum_usage` or `max_epochs`, "
        "or widen the range from `min_strength` to `max_strength`"
    )
