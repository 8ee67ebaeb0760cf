"""Token shares + bounds -> mixtures, by RegMix's law (arXiv 2407.01492, section 3.1). Numbers in, numbers out.

The law: around a center (the prior flattened by a temperature) draw Dirichlet(strength * center) with one of a ladder
of strengths, reject what breaks a bound, set weights below a minimum to zero, round to a grid, drop duplicates, and
pick at random among what many more draws than asked for left. Ours differs in the rounding alone (within the bounds, to a sum of exactly
1), in memory (draws come in chunks, and only what may be picked is kept), and in never giving fewer than asked for.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mixture_config.simplex import dirichlet, grid_bounds, round_to_grid, scale_into, water_fill
from proxymix.errors import InputError

NUM_STRENGTHS = 15
CHUNK = 1 << 20  # numbers per chunk of draws: 8 MB an array
PASSES = 10  # times the planned draws to spend before those outside the bounds are scaled into them, or it is given up
USUAL_DRAWS = 100  # RegMix's number per mixture: a smaller sample_multiplier may spend as many before that


@dataclass(frozen=True)
class Draw:
    """Mixtures as whole steps of a grid, and what drawing them took.

    steps: Shape (num_mixtures, num_domains); every row sums to num_steps.
    num_steps: Steps that make a weight of 1.
    num_drawn: Dirichlet draws made.
    num_fitting: Draws within the bounds.
    num_scaled: Mixtures from draws outside the bounds, scaled into them because too few were inside.
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
    lower: np.ndarray | float = 0.0,
    upper: np.ndarray | float = 1.0,
    min_strength: float = 0.1,
    max_strength: float = 5.0,
    minimum: float = 2e-4,
    sample_multiplier: int = 100,
    exclude: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    on_drawn: Callable[[int], object] = lambda count: None,
) -> Draw:
    """Distinct mixtures around a center.

    Args:
        center: Mean of the draws, sum 1, shape (num_domains,); a domain with 0 stays at its smallest weight.
        num_mixtures: How many.
        rng: Where the draws come from.
        lower: Smallest weights, for all or per domain.
        upper: Largest weights, for all or per domain.
        min_strength: Smallest Dirichlet concentration.
        max_strength: Largest; NUM_STRENGTHS are spaced evenly in the logarithm.
        minimum: Weights below it become 0, and it is the grid of the others.
        sample_multiplier: Draws made per mixture kept.
        exclude: Steps of mixtures that exist already, shape (any, num_domains); not drawn again.
        names: Domain names for error messages.
        on_drawn: Called with the number of draws just made; num_mixtures * sample_multiplier are planned.

    Raises:
        InputError: If the bounds hold no mixture on the grid, or the law does not give as many distinct ones.
    """
    center = np.asarray(center, dtype=float)
    live = center > 0
    num_steps = grid_steps(minimum)
    lower = np.broadcast_to(np.asarray(lower, dtype=float), center.shape)
    upper = np.where(live, upper, lower)
    low, high = grid_bounds(lower, upper, num_steps)
    strengths = np.geomspace(min_strength, max_strength, NUM_STRENGTHS)
    coefficients = rng.integers(0, np.iinfo(np.uint64).max, size=len(center), dtype=np.uint64, endpoint=True)

    def draws(count: int) -> np.ndarray:
        result = np.zeros((count, len(center)))
        result[:, live] = dirichlet(rng, center[live], rng.choice(strengths, size=count))
        return result

    def on_grid(rows: np.ndarray) -> np.ndarray:
        kept = np.where((rows >= minimum) | (low > 0), rows, 0.0)
        caps = np.where(kept > 0, high, 0)
        thin = caps.sum(axis=1) < num_steps  # what is left cannot hold a weight of 1: then nothing is set to zero
        kept[thin], caps[thin] = rows[thin], high
        kept /= kept.sum(axis=1, keepdims=True)
        over = ((kept * num_steps > caps) | (kept * num_steps < low)).any(axis=1) & ~thin
        if over.any():
            kept[over] = water_fill(kept[over], low / num_steps, caps[over] / num_steps)
        return round_to_grid(kept, num_steps, low, caps)

    chunk = max(CHUNK // len(center), 1)
    num_drawn = num_fitting = 0

    def fill(pool: _Pool, multiplier: int, scale: bool) -> None:
        nonlocal num_drawn, num_fitting
        planned = pool.size * multiplier
        passes = max(PASSES * sample_multiplier, USUAL_DRAWS) // multiplier
        for passes_left in reversed(range(passes)):
            before = len(pool)
            for start in range(0, planned, chunk):
                rows = draws(num_rows := min(chunk, planned - start))
                fitting = ((rows >= lower) & (rows <= upper)).all(axis=1)
                num_drawn, num_fitting = num_drawn + num_rows, num_fitting + int(fitting.sum())
                rows = scale_into(rows, center, low / num_steps, high / num_steps) if scale else rows[fitting]
                pool.add(on_grid(rows))
                on_drawn(num_rows)
            missing = pool.size - len(pool)
            if missing == 0 or (len(pool) - before) * passes_left < missing:  # full, or never to be at this rate
                return

    pool = _Pool(num_mixtures, coefficients, exclude)
    fill(pool, sample_multiplier, scale=False)
    steps = pool.steps
    num_scaled = num_mixtures - len(steps)
    if num_scaled:
        pool = _Pool(num_scaled, coefficients, steps if exclude is None else np.concatenate([exclude, steps]))
        fill(pool, min(sample_multiplier, 4), scale=True)  # scaling costs ten times what drawing does
        steps = np.concatenate([steps, pool.steps])
    if len(steps) < num_mixtures:
        raise InputError(_too_few(len(steps), num_mixtures, num_drawn, num_steps, live, high, names))
    order = np.argsort(_keys(steps, coefficients), kind="stable")
    return Draw(steps[order], num_steps, num_drawn, num_fitting, num_scaled)


class _Pool:
    """A random choice of at most `size` distinct rows among all that were added, without keeping them all.

    A row's key is a random hash of the row, so equal rows have equal keys, and the smallest keys are an even choice
    among the distinct rows however often each came.
    """

    def __init__(self, size: int, coefficients: np.ndarray, taken: np.ndarray | None) -> None:
        self.steps = np.empty((0, len(coefficients)), dtype=np.int32)  # half the memory of int64, and 1e-6 still fits
        self._keys = np.empty(0, dtype=np.uint64)
        self.size, self._coefficients = size, coefficients
        self._taken = None if taken is None else _keys(taken, coefficients)

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, steps: np.ndarray) -> None:
        keys = _keys(steps, self._coefficients)
        if self._taken is not None:
            fresh = ~np.isin(keys, self._taken)
            steps, keys = steps[fresh], keys[fresh]
        self._keys, first = np.unique(np.concatenate([self._keys, keys]), return_index=True)
        self._keys, first = self._keys[: self.size], first[: self.size]
        self.steps = np.concatenate([self.steps, steps.astype(np.int32)])[first]


def _keys(steps: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    """A 64-bit hash per row: a random linear form, then splitmix64's finaliser (arithmetic modulo 2**64)."""
    keys = (steps.astype(np.uint64) * coefficients).sum(axis=1)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _too_few(
    found: int, asked: int, drawn: int, num_steps: int, live: np.ndarray, high: np.ndarray, names: Sequence[str] | None
) -> str:
    """What to say when the law gives too few distinct mixtures, and where there is no room."""
    movable = int((high > 0).sum())
    tight = np.flatnonzero((high > 0) & (high < num_steps) | live & (high == 0))
    tight = tight[np.argsort(high[tight], kind="stable")][:3].tolist()
    caps = ", ".join(f"{names[i] if names else f'domain {i + 1}'} at {high[i] / num_steps:.4g}" for i in tight)
    return (
        f"only {found:,} distinct mixtures came of {drawn:,} draws, and {asked:,} were asked for: {movable} of {len(live)} "
        f"domains can move, on a grid of {1 / num_steps:.4g}" + (f", within caps such as {caps}" if caps else "") + "; "
        f"ask for at most {found:,}, lower `minimum` for a finer grid, raise `maximum_usage` or `max_epochs`, "
        "or widen the range from `min_strength` to `max_strength`"
    )
