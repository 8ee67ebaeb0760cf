"""A center and limits -> Dirichlet draws at a ladder of concentrations, in whichever way is faster at each of them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import dirichlet

NUM_CONCENTRATIONS = 15
BLOCK = 1 << 17  # numbers per array of a block of draws: 1 MB, which stays in a processor's cache


@dataclass(frozen=True)
class Rows:
    """Draws, with a column per domain or with the nonzero weights alone.

    Args:
        values: Weights, shape (num_rows, num_slots).
        columns: The domain of every value, of the same shape. None if slot j is domain j in every row.
    """

    values: np.ndarray
    columns: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: np.ndarray) -> "Rows":
        return Rows(self.values[which], None if self.columns is None else self.columns[which])

    def at(self, per_domain: np.ndarray) -> np.ndarray:
        """A number per domain, laid out like the values."""
        return per_domain if self.columns is None else per_domain[self.columns]

    def dense(self, num_domains: int) -> np.ndarray:
        """The rows with a column per domain, float32, shape (num_rows, num_domains)."""
        if self.columns is None:
            return self.values.astype(np.float32)
        result = np.zeros((len(self), num_domains), dtype=np.float32)
        row, slot = np.nonzero(self.values)  # empty slots name domain 0
        result[row, self.columns[row, slot]] = self.values[row, slot]
        return result


class DirichletLadder:
    """Dirichlet draws around a center, at concentrations spaced evenly in the logarithm.

    Where domains have floors, a draw divides what the floors leave.

    Args:
        center: Mean of the draws, sum 1, shape (num_domains,).
        limits: Bounds of the weights. Draws may break the caps.
        min_concentration: Smallest Dirichlet concentration.
        max_concentration: Largest Dirichlet concentration.
        min_weight: Smaller weights become zero.
    """

    def __init__(
        self,
        center: np.ndarray,
        limits: Limits,
        min_concentration: float,
        max_concentration: float,
        min_weight: float,
    ) -> None:
        self._concentrations = np.geomspace(min_concentration, max_concentration, NUM_CONCENTRATIONS)
        self._limits, self._lower, self._min_weight = limits, limits.lower, min_weight
        self._left = 1.0 - float(limits.lower.sum())
        moving = (center > 0) & (limits.upper > limits.lower)
        self._columns = np.flatnonzero(moving)
        above = np.maximum(center - limits.lower, 1e-3 * center)[
            moving
        ]  # keeps the mean of the weights near the center
        self._center = above / above.sum() if len(above) else above
        room = (limits.upper - limits.lower)[moving]
        self._tail = min(min_weight, float(room.min())) if len(room) else 1.0
        self._plain = not limits.lower.any() and moving.all() and not limits.groups

    def blocks(self, rng: np.random.Generator, num_rows: int, dense: bool) -> Iterator[Rows]:
        """`num_rows` draws, in blocks that fit the cache; with a column per domain if `dense`."""
        num_domains = len(self._center)
        if num_domains < 2:
            yield Rows(self._above_floors(np.full((num_rows, num_domains), 1.0)))
            return
        counts = rng.multinomial(num_rows, np.full(NUM_CONCENTRATIONS, 1 / NUM_CONCENTRATIONS))
        # Stick breaking takes time in proportion to the picks it needs, which are few at low concentrations.
        picks = 1 + self._concentrations * np.log(1 / self._tail)
        by_sticks = (2 * picks < num_domains) & self._plain & (not dense)
        for concentration, count in zip(self._concentrations[by_sticks], counts[by_sticks], strict=True):
            size = BLOCK * 32 // num_domains
            for start in range(0, count, size):
                rows = min(size, count - start)
                yield stick_breaking(rng, self._center, concentration, rows, self._tail, self._limits.upper)
        concentrations = np.repeat(self._concentrations[~by_sticks], counts[~by_sticks])
        size = max(BLOCK // num_domains, 1)
        for start in range(0, len(concentrations), size):
            yield Rows(self._above_floors(dirichlet(rng, self._center, concentrations[start : start + size])))

    def inside(self, rows: Rows) -> np.ndarray:
        """Which draws keep the bounds, shape (num_rows,)."""
        if not self._plain:
            return self._limits.hold(rows.values)
        return np.all(rows.values <= rows.at(self._limits.upper), axis=1)

    def without_small_weights(self, rows: Rows) -> Rows:
        """The draws with weights below `min_weight` at zero (or at their floor), and the others rescaled to sum 1.

        Where there are floors the sum is 1 only nearly.
        """
        least = self._min_weight if self._plain else self._lower + self._min_weight
        kept = np.where(rows.values >= least, rows.values, 0.0 if self._plain else self._lower)
        nothing = kept.sum(axis=1) == 0  # every weight of the draw is below min_weight
        kept[nothing] = rows.values[nothing]
        return Rows(kept / kept.sum(axis=1, keepdims=True), rows.columns)

    def _above_floors(self, draws: np.ndarray) -> np.ndarray:
        if self._plain:
            return draws
        rows = np.repeat(self._lower[None], len(draws), axis=0)
        rows[:, self._columns] += self._left * draws
        return rows


def stick_breaking(
    rng: np.random.Generator,
    center: np.ndarray,
    concentration: float,
    num_rows: int,
    tail: float,
    upper: np.ndarray | float,
) -> Rows:
    """Dirichlet(concentration * center) draws, the largest weights first in tendency, until little is left of each.

    A weight that is picked with a probability equal to itself belongs to domain i with probability center[i], and is then
    Beta(concentration * center[i] + 1, the rest). The other domains divide what is left by the same law (size-biased
    permutation). At low concentrations a few picks hold nearly everything, whatever the number of domains.

    Args:
        rng: Where the draws come from.
        center: Mean of the draws, sum 1, shape (num_domains,).
        concentration: Of the Dirichlet distribution.
        num_rows: How many draws.
        tail: A draw ends when less than this is left of it.
        upper: Largest weights, for all or per domain. A draw also ends when a weight passes it, since the draw will be
            rejected.
    """
    upper = np.broadcast_to(upper, len(center))
    cumulative = np.cumsum(center)
    rest, left = np.ones(num_rows), np.full(num_rows, float(concentration))  # what is left of the weight, of the law
    used = np.zeros((num_rows, len(center)), dtype=bool)
    columns, values = [], []
    active = np.arange(num_rows)
    while len(active):
        # ---- Pick a domain for every unfinished draw. A domain that was picked before is drawn again in the next turn.
        pick = np.searchsorted(cumulative, rng.random(len(active)) * cumulative[-1], side="right")
        pick = np.minimum(pick, len(center) - 1)
        fresh = ~used[active, pick]
        rows, pick = active[fresh], pick[fresh]
        used[rows, pick] = True
        # ---- Break its weight off what is left. The last domain takes all of it.
        shape = concentration * center[pick]
        others = left[rows] - shape
        part = np.where(others > 1e-9 * concentration, rng.beta(shape + 1, np.maximum(others, 1e-12)), 1.0)
        weight = rest[rows] * part
        slot, value = np.zeros(num_rows, dtype=np.intp), np.zeros(num_rows)
        slot[rows], value[rows] = pick, weight
        columns.append(slot)
        values.append(value)
        rest[rows] = np.where(weight > upper[pick], 0.0, rest[rows] - weight)
        left[rows] = others
        active = active[rest[active] >= tail]
    return Rows(np.stack(values, axis=1), np.stack(columns, axis=1))
