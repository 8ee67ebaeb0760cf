"""Mixing laws: curves of a known shape, whose few parameters are fitted to the runs.

| class | predicted loss, weights w that sum to 1 |
|---|---|
| `ExponentialLaw` | c + exp(sum_j t_j w_j) |
| `LogLinear` | the same with c > 0, fitted as Olmix does |
| `PowerLaw` | c + k (sum_j t_j w_j)^-a, all t_j > 0 |
| `SaturatingLaw` | c + k (sum_j t_j (w_j + e)^p)^-a, all t_j > 0, 0 < p < 1 |

All are convex in w, so the lowest point of a fit can be proven. A factor before the exponential, or an offset inside the
power, would add nothing: weights that sum to 1 carry it in the t_j.

Losses are standardised. Parameters have normal priors, wide in these units, which keep a fit to fewer runs than
domains sane; the posterior mode is found by Levenberg-Marquardt with exact derivatives, from a few starts at once, and
the noise is the residual variance over the runs that the parameters leave free. Standard deviations are Laplace's.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from regression.models.regressor import Chance, Regressor

_MOST = 100.0  # largest exponent, in the losses' own standard deviations far beyond any loss: nothing overflows


class Law(Regressor):
    """What the laws share: the fit, its uncertainty, and coming back from text.

    A law says what its parameters are, where to begin (`_starts`) and what it predicts (`_curve`, `_slope`). A few
    parameters shape the whole curve, `_shape` giving mean and width of their normal priors; the others are one a
    domain, about 0 with width `_width`.
    """

    knows_std = True
    smooth = True
    smooth_std = True
    draws = True
    parametric = True
    convex = True
    theta_: np.ndarray
    _variance: float
    _shape: ClassVar[list[tuple[float, float]]]
    _width: ClassVar[float]
    _first_noise = 0.1  # in standard deviations of the losses
    _block = 2**21  # numbers in a block of predictions with derivatives

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Find the parameters, beginning at those of `like` or from a few starts."""
        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        self._standardise(y)
        z = (y - self._shift) / self._scale
        if like is None:
            variance = self._first_noise**2
            theta, value, _ = self._descend(self._starts(X, z), X, z, variance, 10)
            theta = theta[[np.argmin(value)]]
        else:
            theta, variance = like.theta_[None], like._variance
        for _ in range(8):
            theta, _, settled = self._descend(theta, X, z, variance, 10)
            before = variance
            variance, noise = self._left_over(theta[0], X, z, variance)
            if settled and abs(np.log(variance / before)) < 0.02:
                break
        self.theta_, self._variance = theta[0], variance
        self.noise_ = self._scale * float(np.sqrt(noise))
        self._condition(X)
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """The curve, and the standard deviation of a run there: the parameters' and the noise."""
        mean = np.concatenate([self._curve(self.theta_[None], rows)[0] for rows in self._blocks(X)])
        mean = self._shift + self._scale * mean
        if not return_std:
            return mean
        variance = np.concatenate([np.einsum("ij,ij->i", J @ self._spread, J) for J in self._jacobians(X)])
        return mean, np.hypot(self._scale * np.sqrt(np.maximum(variance, 0.0)), self.noise_)

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """That of the parameters, carried to the curve by its derivatives."""
        J = np.concatenate(list(self._jacobians(X)))
        return self._scale**2 * (J @ self._spread @ J.T)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Slopes of the curve."""
        return np.concatenate([self._scale * self._slope(self.theta_, rows) for rows in self._blocks(X)])

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The curve and its slopes, its standard deviation (without run noise) and that one's slopes.

        The variance is J C J'; half its slope is that of J along C J', a difference of slopes between two parameters.
        """
        X = np.asarray(X, dtype=float)
        J = np.concatenate(list(self._jacobians(X)))
        towards = J @ self._spread
        std = np.sqrt(np.maximum(np.einsum("ij,ij->i", towards, J), 1e-24))
        step = 1e-4 / np.maximum(np.abs(towards).max(axis=1), 1e-12)
        along = np.empty_like(X)
        for i, (row, way) in enumerate(zip(X, towards, strict=True)):
            up, down = (self._slope(self.theta_ + sign * step[i] * way, row[None])[0] for sign in (1, -1))
            along[i] = (up - down) / (2 * step[i] * std[i])
        return self.predict(X), self.gradient(X), self._scale * std, self._scale * along

    def drawn(self, chance: Chance, target: int, scale: float) -> "Regressor":
        """The law and a tangent to it, by parameters drawn from Laplace's approximation.

        The law at the drawn parameters itself bends away: from 64 of RegMix's runs it spreads three times as far.
        """
        values, vectors = np.linalg.eigh(self._spread)
        normal = chance.correlated(type(self).__name__, len(self.theta_))[target]
        return DrawnLaw(self, scale * (vectors @ (np.sqrt(np.maximum(values, 0.0)) * normal)))

    def dumps(self) -> str:
        """The parameters in standardised losses, the noise variance there, and the standardisation."""
        numbers = {"theta": self.theta_.tolist(), "variance": self._variance}
        return json.dumps(numbers | {"noise": self.noise_, "shift": self._shift, "scale": self._scale})

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """The same curve; its uncertainty follows from where the runs lie."""
        law, numbers = cls(), json.loads(text)
        law.theta_ = np.array(numbers["theta"])
        law._variance, law.noise_ = numbers["variance"], numbers["noise"]
        law._shift, law._scale = numbers["shift"], numbers["scale"]
        law._condition(np.asarray(X, dtype=float))
        return law

    @abstractmethod
    def _starts(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Parameters to begin from, shape (num_starts, num_parameters)."""

    @abstractmethod
    def _curve(self, theta: np.ndarray, X: np.ndarray, derivatives: bool = False) -> Any:
        """Standardised losses for several parameters at once, shape (num_starts, num_rows).

        With `derivatives` also those with respect to the parameters, shape (num_starts, num_rows, num_parameters).
        """

    @abstractmethod
    def _slope(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        """Slopes along the weights, shape (num_rows, num_domains), for one set of parameters."""

    def _prior(self, num_domains: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and widths of the normal priors, shape (num_parameters,)."""
        shape, domain = np.array(self._shape).T, np.zeros(num_domains)
        return np.append(shape[0], domain), np.append(shape[1], domain + self._width)

    def _standardise(self, y: np.ndarray) -> None:
        self._shift, self._scale = float(np.mean(y)), _spread_of(y)

    def _misfit(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What residuals cost, summed over runs, and the weight of each run in the least squares of the same slope."""
        return 0.5 * (residual * residual).sum(axis=-1), np.ones_like(residual)

    def _descend(
        self, theta: np.ndarray, X: np.ndarray, z: np.ndarray, variance: float, steps: int
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Levenberg-Marquardt from every row of `theta`, down the negative log posterior; its values, and if settled."""
        mean, width = self._prior(X.shape[1])
        precision = width**-2
        damping = np.full(len(theta), 1e-2)

        def look(theta: np.ndarray) -> tuple[np.ndarray, ...]:
            curve, J = self._curve(theta, X, derivatives=True)
            cost, weights = self._misfit(z - curve)
            away = theta - mean
            value = cost / variance + 0.5 * (away * away) @ precision
            downhill = _times(J.transpose(0, 2, 1), (weights / variance) * (z - curve)) - precision * away
            return value, downhill, weights / variance, J

        value, downhill, weights, J = look(theta)
        settled = False
        for _ in range(steps):
            curvature = precision + _times((J * J).transpose(0, 2, 1), weights)
            step = _solve(J, weights, precision + damping[:, None] * curvature, downhill)
            tried = theta + np.clip(step, -width, width)
            there = look(tried)
            better = there[0] < value
            settled = bool(np.all(np.abs(there[0] - value) < 1e-6 * (1 + np.abs(value))))
            damping = np.where(better, np.maximum(damping / 5, 1e-9), damping * 6)
            theta = np.where(better[:, None], tried, theta)
            value, downhill, weights, J = (
                np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                for new, old in zip(there, (value, downhill, weights, J), strict=True)
            )
            if settled:
                break
        return theta, value, settled

    def _left_over(self, theta: np.ndarray, X: np.ndarray, z: np.ndarray, variance: float) -> tuple[float, float]:
        """Residual variance over the runs that the parameters leave free: as the fit weighs runs, and as it is.

        A parameter that its prior holds counts for less than one (MacKay 1992, "Bayesian interpolation"). Two runs
        worth of a residual of .1 keep the variance above 0.
        """
        curve, derivatives = self._curve(theta[None], X, derivatives=True)
        residual, J = z - curve[0], derivatives[0]
        weights = self._misfit(residual)[1]
        rooted = np.sqrt(weights / variance)[:, None] * J * self._prior(X.shape[1])[1]
        gram = rooted @ rooted.T if len(J) < len(theta) else rooted.T @ rooted
        known = np.maximum(np.linalg.eigvalsh(gram), 0.0)
        free = max(len(J) - float((known / (1 + known)).sum()), 0.0) + 2
        weighed, plain = (
            (w * (residual**2)).sum() + 2 * w.mean() * self._first_noise**2 for w in (weights, np.ones_like(weights))
        )
        return float(weighed / free), float(plain / free)

    def _condition(self, X: np.ndarray) -> None:
        """Covariance of the parameters, from the curvature at the mode (Laplace's approximation)."""
        J = self._curve(self.theta_[None], X, derivatives=True)[1][0]
        curvature = (self._scale / self.noise_) ** 2 * (J.T @ J) + np.diag(self._prior(X.shape[1])[1] ** -2)
        unit = np.sqrt(np.diag(curvature))
        scaled = curvature / np.outer(unit, unit) + 1e-12 * np.eye(len(unit))
        self._spread = np.linalg.inv(scaled) / np.outer(unit, unit)

    def _jacobians(self, X: np.ndarray) -> Iterator[np.ndarray]:
        """Derivatives by parameter, in blocks of rows."""
        return (self._curve(self.theta_[None], rows, derivatives=True)[1][0] for rows in self._blocks(X))

    def _blocks(self, X: np.ndarray) -> list[np.ndarray]:
        """The rows, as many at a time as memory likes."""
        X = np.asarray(X, dtype=float)
        size = max(1, self._block // X.shape[1])
        return [X[first : first + size] for first in range(0, max(len(X), 1), size)]


class DrawnLaw(Regressor):
    """A law and its tangent along a step of its parameters: one of the curves that the runs allow."""

    smooth = True

    def __init__(self, law: Law, step: np.ndarray) -> None:
        self._law, self._step = law, step
        self._size = 1e-4 / max(float(np.abs(step).max()), 1e-12)

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Nothing to fit."""
        raise NotImplementedError("a curve is drawn, not fitted")

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """The curve."""
        J = np.concatenate(list(self._law._jacobians(X)))
        mean = self._law.predict(X) + self._law._scale * (J @ self._step)
        return (mean, np.zeros(len(X))) if return_std else mean

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Its slopes."""
        law, step = self._law, self._size * self._step
        up, down = (law._slope(law.theta_ + sign * step, X) for sign in (1, -1))
        return law.gradient(X) + law._scale * (up - down) / (2 * self._size)


class ExponentialLaw(Law):
    """The mixing law c + k exp(sum_j t_j w_j) (Ye et al. 2024, arXiv 2403.16952).

    Parameters: c, log k, t_j. Where a loss falls within the first percents of a domain t_j is -100 and beyond, so the
    prior is wide (20): a narrower one (5) ranks the mean of RegMix's losses .88 rather than .94 from 128 runs.
    """

    _shape: ClassVar = [(-1.5, 3.0), (0.0, 2.0)]
    _width = 20.0

    def _starts(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """With c given, the logarithm of the losses above it is a line in the weights."""
        return np.array([self._start(X, z, float(z.min()) - below) for below in (0.1, 0.5, 2.0, 6.0)])

    def _start(self, X: np.ndarray, z: np.ndarray, floor: float) -> np.ndarray:
        above = z - floor
        level = np.average(np.log(above), weights=above**2)
        return np.append([floor, level], _ridge(X, np.log(above) - level, above**2))

    def _curve(self, theta: np.ndarray, X: np.ndarray, derivatives: bool = False) -> Any:
        floor, floor_slope = self._floor(theta[:, :1])
        rise = np.exp(np.clip(theta[:, 1:2] + theta[:, 2:] @ X.T, -_MOST, _MOST))
        if not derivatives:
            return floor + rise
        J = np.empty((*rise.shape, theta.shape[1]))
        J[..., 0], J[..., 1] = floor_slope, rise
        J[..., 2:] = rise[..., None] * X
        return floor + rise, J

    def _slope(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        rise = np.exp(np.clip(theta[1] + X @ theta[2:], -_MOST, _MOST))
        return rise[:, None] * theta[2:]

    @staticmethod
    def _floor(first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """c and its derivative by the first parameter."""
        return first, np.ones_like(first)


class LogLinear(ExponentialLaw):
    """Olmix's law exp(a) + exp(sum_j t_j w_j): Huber's loss with delta .02, in the losses' own unit, no regularisation.

    Olmix takes the best of 300 random starts of L-BFGS; a few good starts reach as low (within .5% on RegMix's and
    Olmix's runs). The priors are so wide (300 for t_j, of which -600 is the lowest seen) that they decide only what the
    runs leave open: with fewer runs than domains, the least t_j among those that fit. The law itself knows no restraint:
    from 32 of RegMix's runs a few predictions are off by ten times what losses differ by. Losses of 0 or less, which it
    cannot have, are lifted first.
    """

    delta = 0.02
    _shape: ClassVar = [(0.0, 10.0), (0.0, 10.0)]
    _width = 300.0

    def _starts(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """With the floor at shares of the least loss."""
        starts = np.array([self._start(X, z, share * float(z.min())) for share in (0.1, 0.5, 0.8, 0.95)])
        starts[:, 0] = np.log(starts[:, 0])
        return starts

    def _standardise(self, y: np.ndarray) -> None:
        self._scale = _spread_of(y)
        self._shift = 0.0 if y.min() > 0 else float(y.min()) - self._scale

    def _misfit(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        size, delta = np.abs(residual), self.delta / self._scale
        weights = delta / np.maximum(size, delta)
        cost = np.where(size < delta, 0.5 * size * size, delta * (size - 0.5 * delta))
        return cost.sum(axis=-1), weights

    @staticmethod
    def _floor(first: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        floor = np.exp(np.clip(first, -_MOST, _MOST))
        return floor, floor


class PowerLaw(Law):
    """A power of what all domains bring together: c + k (sum_j t_j w_j)^-a, with t_j > 0.

    Written as c' + s (total^-a - 1) / a, whose limit at a = 0 is c' - s log(total): on some targets the best floor c is
    far below any loss, and c, k and a alone are hard to tell apart. An offset inside the power is a part of all t_j.

    Parameters: c', log s, log a, log t_j.
    """

    _shape: ClassVar = [(0.0, 1.5), (0.0, 1.0), (np.log(0.4), 1.0)]
    _width = 3.0

    def _starts(self, X: np.ndarray, z: np.ndarray) -> np.ndarray:
        """With the floor and a given, (loss - floor)^(-1/a) is a line in what domains bring; one start is flat."""
        bends = [mean for mean, _ in self._shape[3:]]
        amount = self._amounts(np.array([bends]), X)[0][0]
        starts = [[0.0, 0.0, np.log(0.5), *bends, *np.zeros(X.shape[1])]]
        for below, power in ((0.3, 1.0), (1.5, 0.3)):
            above = z - z.min() + below
            total, weights = above ** (-1 / power), above ** (2 + 2 / power)
            even = np.average(total, weights=weights) / amount.sum(axis=1).mean()
            brought = even + _ridge(amount, total - even * amount.sum(axis=1), weights)
            brought = np.log(np.maximum(brought, 0.01 * np.abs(brought).max()))
            level = brought.mean()
            # relative to that level k is s / a, and the loss at it c'
            size = np.exp(np.clip(-power * level, -3, 3))
            domain = np.clip(brought - level, -4, 4)
            starts.append([z.min() - below + size, np.log(power * size), np.log(power), *bends, *domain])
        return np.array(starts)

    def _curve(self, theta: np.ndarray, X: np.ndarray, derivatives: bool = False) -> Any:
        num_shape = len(self._shape)
        power, brings = np.exp(np.clip(theta[:, 2, None], -5, 5)), np.exp(np.clip(theta[:, num_shape:], -_MOST, _MOST))
        amount, *bent = self._amounts(theta[:, 3:num_shape], X)
        total = np.maximum(_times(amount, brings), np.exp(-_MOST))
        log_total = np.log(total)
        size = np.exp(np.clip(theta[:, 1, None], -_MOST, _MOST))
        fall = np.clip(-power * log_total, -_MOST, _MOST)
        rise = size * np.expm1(fall) / power
        curve = theta[:, 0, None] + rise
        if not derivatives:
            return curve
        J = np.empty((*curve.shape, theta.shape[1]))
        per_log = -size * np.exp(fall)
        J[..., 0], J[..., 1], J[..., 2] = 1, rise, per_log * log_total - rise
        per_total = per_log / total
        for column, by_bend in enumerate(bent, start=3):
            J[..., column] = per_total * _times(by_bend, brings)
        J[..., num_shape:] = (per_total[..., None] * amount) * brings[:, None, :]
        return curve, J

    def _slope(self, theta: np.ndarray, X: np.ndarray) -> np.ndarray:
        num_shape = len(self._shape)
        power, brings = np.exp(np.clip(theta[2], -5, 5)), np.exp(np.clip(theta[num_shape:], -_MOST, _MOST))
        total = np.maximum(self._amounts(theta[None, 3:num_shape], X)[0][0] @ brings, np.exp(-_MOST))
        per_log = -np.exp(np.clip(theta[1], -_MOST, _MOST) + np.clip(-power * np.log(total), -_MOST, _MOST))
        return (per_log / total)[:, None] * brings * self._marginal(theta[3:num_shape], X)

    def _amounts(self, bends: np.ndarray, X: np.ndarray) -> list[np.ndarray]:
        """What each weight counts for, shape (num_starts, num_rows, num_domains); its derivatives by `bends` follow."""
        return [np.broadcast_to(X, (len(bends), *X.shape))]

    def _marginal(self, bends: np.ndarray, X: np.ndarray) -> np.ndarray:
        """What a little more weight counts for, shape (num_rows, num_domains)."""
        return np.ones_like(X)


class SaturatingLaw(PowerLaw):
    """The power law with returns that diminish in each domain too: c + k (sum_j t_j (w_j + e)^p)^-a, with 0 < p < 1.

    The sum is what economics calls a CES production function (Arrow et al. 1961): t_j is what a domain brings, p how
    soon more of it stops helping and another is wanted, e keeps the slope at weight 0 finite. Amounts are relative to
    those at even weights, 1 / num_domains.

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


def _spread_of(y: np.ndarray) -> float:
    """Standard deviation of the losses; something tiny where they are all equal but for rounding."""
    return max(float(np.std(y)), 1e-9 * float(np.abs(y).max()), 1e-12)


def _ridge(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slopes of a ridge regression without level, runs counting by `weights`."""
    weights = weights / weights.max()
    ridge = 1e-3 * float((weights[:, None] * X * X).sum()) / X.shape[1]
    return _solve(X[None], weights[None] + 1e-12, np.full((1, X.shape[1]), ridge), ((weights * y) @ X)[None])[0]


def _solve(J: np.ndarray, weights: np.ndarray, diagonal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """x of (J' W J + D) x = right for a batch: by its normal equations, or by runs where they are fewer (Woodbury)."""
    num_runs, size = J.shape[1:]
    if num_runs >= size:
        normal = np.matmul((J * weights[..., None]).transpose(0, 2, 1), J)
        normal[:, range(size), range(size)] += diagonal
        return np.linalg.solve(normal, right[..., None])[..., 0]
    scaled = J / diagonal[:, None, :]
    gram = np.matmul(scaled, J.transpose(0, 2, 1))
    gram[:, range(num_runs), range(num_runs)] += 1 / weights
    first = right / diagonal
    runs = np.linalg.solve(gram, _times(J, first)[..., None])[..., 0]
    return first - _times(scaled.transpose(0, 2, 1), runs)


def _times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """A matrix by a vector, for every pair of the batch."""
    return np.matmul(matrices, vectors[..., None])[..., 0]
