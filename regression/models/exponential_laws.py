"""Mixing laws that are exponentials of a line in the weights.

| class | predicted loss, weights w that sum to 1 |
|---|---|
| `ExponentialLaw` | c + exp(sum_j t_j w_j) |
| `LogLinear` | the same with c > 0, fitted as Olmix does |

Both are convex in w, so the lowest point of a fit can be proven. A factor before the exponential would add nothing:
weights that sum to 1 carry it in the t_j.
"""

from typing import Any, ClassVar

import numpy as np

from regression.models.law import Law, bounded, spread_of
from regression.models.least_squares import ridge_slopes


class ExponentialLaw(Law):
    """The mixing law c + k exp(sum_j t_j w_j) (Ye et al. 2024, arXiv 2403.16952).

    Parameters: c, log k, t_j. Where a loss falls within the first percents of a domain, t_j is below -100, so the prior
    is wide (20). A narrower prior (5) ranks the mean of RegMix's losses at .88 rather than .94 from 128 runs.
    """

    _shape: ClassVar = [(-1.5, 3.0), (0.0, 2.0)]
    _width = 20.0

    def _starts(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Starts for several c: with c given, the logarithm of the losses above c is a line in the weights."""
        return np.array([self._start(X, z, float(z.min()) - below) for below in (0.1, 0.5, 2.0, 6.0)])

    def _start(self, X: np.ndarray, z: np.ndarray, floor: float) -> np.ndarray:
        above = z - floor
        level = np.average(np.log(above), weights=above**2)
        return np.append([floor, level], ridge_slopes(X, np.log(above) - level, above**2))

    def _curve(self, theta: np.ndarray, X: np.ndarray, derivatives: bool = False) -> Any:
        floor, floor_slope = self._floor(theta[:, :1])
        rise = np.exp(bounded(theta[:, 1:2] + theta[:, 2:] @ X.T))
        if not derivatives:
            return floor + rise
        J = np.empty((*rise.shape, theta.shape[1]))
        J[..., 0], J[..., 1] = floor_slope, rise
        J[..., 2:] = rise[..., None] * X
        return floor + rise, J

    def _slope(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        rise = np.exp(bounded(theta[1] + X @ theta[2:]))
        return rise[:, None] * theta[2:]

    @staticmethod
    def _floor(first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """c and its derivative by the first parameter."""
        return first, np.ones_like(first)


class LogLinear(ExponentialLaw):
    """Olmix's law exp(a) + exp(sum_j t_j w_j), fitted with Huber's loss and no regularisation.

    Olmix takes the best of 300 random starts of L-BFGS. A few good starts reach as low (within .5% on RegMix's and Olmix's
    runs). The priors are so wide (300 for t_j, whose lowest value seen is -600) that they decide only what the runs leave
    open: with fewer runs than domains they choose the smallest t_j among those that fit. The law extrapolates without
    restraint: from 32 of RegMix's runs a few predictions are off by ten times the spread of the losses. Losses of 0 or
    less are lifted first, because the law is above 0.

    Args:
        delta: The residual, in the unit of the losses, from which on Huber's loss grows linearly.
    """

    _shape: ClassVar = [(0.0, 10.0), (0.0, 10.0)]
    _width = 300.0

    def __init__(self, delta: float = 0.02) -> None:
        self.delta = delta

    def _starts(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Starts with the floor at several shares of the lowest loss."""
        starts = np.array([self._start(X, z, share * float(z.min())) for share in (0.1, 0.5, 0.8, 0.95)])
        starts[:, 0] = np.log(starts[:, 0])
        return starts

    def _standardise(self, y: np.ndarray) -> None:
        self._scale = spread_of(y)
        self._shift = 0.0 if y.min() > 0 else float(y.min()) - self._scale

    def _misfit(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size, delta = np.abs(residual), self.delta / self._scale
        weights = delta / np.maximum(size, delta)
        cost = np.where(size < delta, 0.5 * size * size, delta * (size - 0.5 * delta))
        return cost.sum(axis=-1), weights

    @staticmethod
    def _floor(first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        floor = np.exp(bounded(first))
        return floor, floor
