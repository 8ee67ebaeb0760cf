"""Many drawn rows -> a random choice among the distinct ones, without keeping all of them.

Rows are compared on a grid, by a 64-bit hash: a random linear form of the row's steps, mixed. Equal rows have equal
hashes. The rows with the smallest hashes are therefore an even choice among the distinct rows, however often each of them
was drawn.
"""

import numpy as np

from mixture_config.design.dirichlet_ladder import BLOCK, Rows


class DistinctRows:
    """A random choice of at most `size` distinct rows among all that were added.

    Args:
        size: How many rows are kept.
        num_steps: Steps of the grid that make a weight of 1.
        coefficients: Of the hash, uint64, shape (num_domains,).
        taken: Hashes of rows to leave out, uint64, shape (any,).
    """

    def __init__(self, size: int, num_steps: int, coefficients: np.ndarray, taken: np.ndarray) -> None:
        self.size, self.taken = size, taken
        self._num_steps, self._coefficients = num_steps, coefficients
        self._hashes: list[np.ndarray] = []
        self._rows: list[np.ndarray] = []
        self._largest = np.iinfo(np.uint64).max  # rows with larger hashes cannot be chosen any more

    def __len__(self) -> int:
        self._settle()
        return sum(map(len, self._hashes))

    def add(self, rows: Rows) -> None:
        """Let rows take part in the choice."""
        steps = np.rint(rows.values * self._num_steps).astype(np.uint64)
        hashes, first = np.unique(_mixed((steps * rows.at(self._coefficients)).sum(axis=1)), return_index=True)
        fresh = (hashes <= self._largest) & ~np.isin(hashes, self.taken)
        hashes, first = hashes[fresh][: self.size], first[fresh][: self.size]
        self._hashes.append(hashes)
        self._rows.append(rows[first].dense(len(self._coefficients)))
        if sum(map(len, self._hashes)) > 2 * self.size:
            self._settle()

    @property
    def weights(self) -> np.ndarray:
        """The rows chosen, float32, shape (at most size, num_domains), in the order of their hashes."""
        self._settle()
        return self._rows[0]

    def _settle(self) -> None:
        if len(self._hashes) < 2:
            return
        hashes, first = np.unique(np.concatenate(self._hashes), return_index=True)
        self._hashes, first = [hashes[: self.size]], first[: self.size]
        self._rows = [np.concatenate(self._rows)[first]]
        if len(hashes) >= self.size:
            self._largest = int(self._hashes[0][-1])


def hash_coefficients(rng: np.random.Generator, num_domains: int) -> np.ndarray:
    """Random coefficients of the hash, uint64, shape (num_domains,)."""
    return rng.integers(0, np.iinfo(np.uint64).max, size=num_domains, dtype=np.uint64, endpoint=True)


def row_hashes(steps: np.ndarray | None, coefficients: np.ndarray) -> np.ndarray:
    """The hash of every row of steps, uint64, shape (num_rows,); none without rows."""
    if steps is None:
        return np.zeros(0, dtype=np.uint64)
    hashes = np.zeros(len(steps), dtype=np.uint64)
    size = max(BLOCK // steps.shape[1], 1)
    for start in range(0, len(steps), size):
        hashes[start : start + size] = (steps[start : start + size].astype(np.uint64) * coefficients).sum(axis=1)
    return _mixed(hashes)


def _mixed(hashes: np.ndarray) -> np.ndarray:
    """splitmix64's finaliser (arithmetic modulo 2**64)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return hashes ^ (hashes >> np.uint64(31))
