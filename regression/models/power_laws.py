"""Mixing laws that are powers of what all domains bring together.

| class | predicted loss, weights w that sum to 1 |
|---|---|
| `PowerLaw` | c + k (sum_j t_j w_j)^-a, all t_j > 0 |
| `SaturatingLaw` | c + k (sum_j t_j (w_j + e)^p)^-a, all t_j > 0, 0 < p < 1 |

Both are convex in w, so the lowest point of a fit can be proven. An offset inside the power would add nothing: weights
that sum to 1 carry it in the t_j.
"""

from typing import Any, ClassVar

import numpy as np

from regression.models.law import MAX_EXPONENT, Law, bounded
from regression.models.least_squares import ridge_slopes, times


class PowerLaw(Law):
    """A power of what all domains bring together: c + k (sum_j t_j w_j)^-a, with t_j > 0.

    The law is written as c' + s (total^-a - 1) / a, whose limit at a = 0 is c' - s log(total). On some targets the best
    floor c is far below any loss, where c, k and a are hard to tell apart.

    Parameters: c', log s, log a, log t_j.
    """

    _shape: ClassVar = [(0.0, 1.5), (0.0, 1.0), (np.log(0.4), 1.0)]
    _width = 3.0

    def _starts(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """A flat start, and two of given floor and a, with which (loss - floor)^(-1/a) is a line in what domains bring."""
        bends = [mean for mean, _ in self._shape[3:]]
        amount = self._amounts(np.array([bends]), X)[0][0]
        starts = [[0.0, 0.0, np.log(0.5), *bends, *np.zeros(X.shape[1])]]
        for below, power in ((0.3, 1.0), (1.5, 0.3)):
            above = z - z.min() + below
            total, weights = above ** (-1 / power), above ** (2 + 2 / power)
            even = np.average(total, weights=weights) / amount.sum(axis=1).mean()
            brought = even + ridge_slopes(amount, total - even * amount.sum(axis=1), weights)
            brought = np.log(np.maximum(brought, 0.01 * np.abs(brought).max()))
            level = brought.mean()
            # at that level the loss is c', and k is s / a relative to it
            size = np.exp(np.clip(-power * level, -3, 3))
            domain = np.clip(brought - level, -4, 4)
            starts.append([z.min() - below + size, np.log(power * size), np.log(power), *bends, *domain])
        return np.array(starts)

    def _curve(self, theta: np.ndarray, X: np.ndarray, derivatives: bool = False) -> Any:
        num_shape = len(self._shape)
        power = np.exp(np.clip(theta[:, 2, None], -5, 5))
        brings = np.exp(bounded(theta[:, num_shape:]))
        amount, *bent = self._amounts(theta[:, 3:num_shape], X)
        total = np.maximum(times(amount, brings), np.exp(-MAX_EXPONENT))
        log_total = np.log(total)
        size = np.exp(bounded(theta[:, 1, None]))
        fall = bounded(-power * log_total)
        rise = size * np.expm1(fall) / power
        curve = theta[:, 0, None] + rise
        if not derivatives:
            return curve
        J = np.empty((*curve.shape, theta.shape[1]))
        per_log = -size * np.exp(fall)
        J[..., 0], J[..., 1], J[..., 2] = 1, rise, per_log * log_total - rise
        per_total = per_log / total
        for column, by_bend in enumerate(bent, start=3):
            J[..., column] = per_total * times(by_bend, brings)
        J[..., num_shape:] = (per_total[..., None] * amount) * brings[:, None, :]
        return curve, J

    def _slope(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        num_shape = len(self._shape)
        power, brings = np.exp(np.clip(theta[2], -5, 5)), np.exp(bounded(theta[num_shape:]))
        total = np.maximum(self._amounts(theta[None, 3:num_shape], X)[0][0] @ brings, np.exp(-MAX_EXPONENT))
        per_log = -np.exp(bounded(theta[1]) + bounded(-power * np.log(total)))
        return (per_log / total)[:, None] * brings * self._marginal(theta[3:num_shape], X)

    def _amounts(self, bends: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
        """What each weight counts for, shape (num_starts, num_rows, num_domains), and then its derivatives by `bends`."""
        return [np.broadcast_to(X, (len(bends), *X.shape))]

    def _marginal(self, bends: np.ndarray, X: np.ndarray) -> np.ndarray:
        """The derivative of what a weight counts for by that weight, shape (num_rows, num_domains)."""
        return np.ones_like(X)


class SaturatingLaw(PowerLaw):
    """The power law with returns that diminish in each domain too: c + k (sum_j t_j (w_j + e)^p)^-a, with 0 < p < 1.

    Economics calls the sum a CES production function (Arrow et al. 1961). t_j is what a domain brings, p says how soon
    more of the same domain helps less than another one, and e keeps the slope at weight 0 finite. Amounts are relative
    to those at even weights, 1 / num_domains.

    Parameters: those of the power law, with logit p and log(e num_domains) before the log t_j.
    """

    _shape: ClassVar = [*PowerLaw._shape, (0.0, 1.5), (np.log(0.03), 1.5)]

    def _amounts(self, bends: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
        exponent, offset = self._bends(bends[:, None, None, :], X.shape[1])
        shifted, even = X + offset, 1 / X.shape[1] + offset
        logs = np.log(shifted / even)
        amount = np.exp(exponent * logs) / X.shape[1]
        by_offset = exponent * offset * amount * (1 / shifted - 1 / even)
        return [amount, exponent * (1 - exponent) * logs * amount, by_offset]

    def _marginal(self, bends: np.ndarray, X: np.ndarray) -> np.ndarray:
        exponent, offset = self._bends(bends, X.shape[1])
        even = 1 / X.shape[1] + offset
        return exponent * ((X + offset) / even) ** (exponent - 1) / (even * X.shape[1])

    @staticmethod
    def _bends(bends: np.ndarray, num_domains: int) -> tuple[Any, Any]:
        """p and e."""
        exponent = 1 / (1 + np.exp(-np.clip(bends[..., 0], -9, 9)))
        return exponent, np.exp(np.clip(bends[..., 1], -10, 4)) / num_domains
