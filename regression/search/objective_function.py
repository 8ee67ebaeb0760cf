"""What a search minimises (values, slopes, ceilings on other losses), and what it ends with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

CEILING_TOLERANCE = 1e-9
"""How far a loss may be over its ceiling."""


class ObjectiveFunction(Protocol):
    """A function of mixtures X, shape (num_rows, num_domains).

    Attributes:
        smooth: Whether the gradients are available.
        convex: Whether value and excess are convex functions of the weights.
        has_kinks: Whether the gradient jumps, as that of the worst of several losses does.
        ceilings: Names of the C losses that have a ceiling.
    """

    smooth: bool
    convex: bool
    has_kinks: bool
    ceilings: Sequence[str]

    def value(self, X: np.ndarray) -> np.ndarray:
        """The values to minimise, shape (num_rows,)."""

    def gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The values, and their slopes of shape (num_rows, num_domains)."""

    def excess(self, X: np.ndarray) -> np.ndarray:
        """How far each loss is over its ceiling, shape (num_rows, C); a value of at most 0 keeps the ceiling."""

    def excess_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The excess, and its slopes of shape (num_rows, C, num_domains)."""


@dataclass(frozen=True)
class SearchResult:
    """A mixture that a search ended with.

    Attributes:
        weights: Shape (num_domains,); allowed, and below every ceiling.
        value: Of the objective function, there.
        method: Which search found the mixture.
        gap: For a convex function, how much lower any allowed mixture may be at most; None where that is unknown.
    """

    weights: np.ndarray
    value: float
    method: str
    gap: float | None = None


def assess(function: ObjectiveFunction, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values of mixtures, and whether they keep every ceiling; each of shape (num_rows,)."""
    if not len(X):
        return np.empty(0), np.empty(0, dtype=bool)
    values = function.value(X)
    if not function.ceilings:
        return values, np.ones(len(X), dtype=bool)
    return values, np.all(function.excess(X) <= CEILING_TOLERANCE, axis=1)


def between(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Mixtures on the lines from each of `starts` to each of `ends`, most of them near `starts`."""
    steps = np.concatenate([np.geomspace(1e-6, 0.1, 6), np.linspace(0.2, 0.9, 8)])
    lines = [(1 - step) * start + step * end for start in starts for end in ends for step in steps]
    return np.reshape(lines, (-1, starts.shape[1]))
