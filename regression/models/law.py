"""A mixing law: a curve of a known shape, whose few parameters are fitted to the runs.

Losses are standardised. Parameters have normal priors, wide in these units, which keep a fit to fewer runs than
domains sane. The posterior mode is found by Levenberg-Marquardt with exact derivatives, from a few starts at once, and
the noise is the residual variance over the runs that the parameters leave free. Standard deviations are Laplace's.
"""

import json
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Self

import numpy as np

from regression.models.least_squares import solve_normal, times
from regression.models.regressor import JointRandomness, PosteriorSample, Regressor

MAX_EXPONENT = 100.0
"""Largest exponent. In standardised losses it is far beyond any loss, and nothing overflows."""


class Law(Regressor):
    """What the laws share: the fit, its uncertainty, and coming back from text.

    A law says what its parameters are, where to begin (`_starts`) and what it predicts (`_curve`, `_slope`). A few
    parameters shape the whole curve; `_shape` has mean and width of their normal priors. The others, one a domain, have
    priors of mean 0 and width `_width`.

    Attributes:
        theta_: The parameters, for standardised losses.
        spread_: Their covariance, from Laplace's approximation.
    """

    knows_std = True
    smooth = True
    smooth_std = True
    has_posterior = True
    parametric = True
    convex = True
    theta_: np.ndarray
    spread_: np.ndarray
    _variance: float
    _shape: ClassVar[list[tuple[float, float]]]
    _width: ClassVar[float]
    _first_noise = 0.1  # where the noise begins, in standard deviations of the losses
    _block = 2**21  # numbers in a block of predictions with derivatives, so that memory does not grow with the rows

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        """Find the parameters, beginning at those of `warm_start_from` or from a few starts."""
        X, y = np.asarray(X, dtype=float), np.asarray(y, dtype=float)
        self._standardise(y)
        z = (y - self._shift) / self._scale
        # ---- 1. Where to begin
        if warm_start_from is None:
            variance = self._first_noise**2
            theta, value, _ = self._descend(self._starts(X, z), X, z, variance, 10)
            theta = theta[[np.argmin(value)]]
        else:
            theta, variance = warm_start_from.theta_[None], warm_start_from._variance
        # ---- 2. Parameters and noise in turn, because each depends on the other
        for _ in range(8):
            theta, _, settled = self._descend(theta, X, z, variance, 10)
            before = variance
            variance, noise = self._residual_variance(theta[0], X, z, variance)
            if settled and abs(np.log(variance / before)) < 0.02:
                break
        self.theta_, self._variance = theta[0], variance
        self.noise_ = self._scale * float(np.sqrt(noise))
        self._condition(X)
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """The curve, and the standard deviation of a run there, from the parameters and the noise."""
        mean = np.concatenate([self._curve(self.theta_[None], rows)[0] for rows in self._blocks(X)])
        mean = self._shift + self._scale * mean
        if not return_std:
            return mean
        variance = np.concatenate([np.einsum("ij,ij->i", J @ self.spread_, J) for J in self._jacobians(X)])
        return mean, np.hypot(self._scale * np.sqrt(np.maximum(variance, 0.0)), self.noise_)

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """The covariance of the parameters, carried to the curve by its derivatives."""
        J = np.concatenate(list(self._jacobians(X)))
        return self._scale**2 * (J @ self.spread_ @ J.T)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        return np.concatenate([self._scale * self._slope(self.theta_, rows) for rows in self._blocks(X)])

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The curve and its slopes, its standard deviation (without run noise) and the slopes of that.

        The variance is J C J', with C the covariance of the parameters. Half of its slope is the slope of J along C J',
        which is a difference of the curve's slopes at two parameters.
        """
        X = np.asarray(X, dtype=float)
        J = np.concatenate(list(self._jacobians(X)))
        towards = J @ self.spread_
        std = np.sqrt(np.maximum(np.einsum("ij,ij->i", towards, J), 1e-24))
        step = 1e-4 / np.maximum(np.abs(towards).max(axis=1), 1e-12)
        along = np.empty_like(X)
        for i, (row, way) in enumerate(zip(X, towards, strict=True)):
            up, down = (self._slope(self.theta_ + sign * step[i] * way, row[None])[0] for sign in (1, -1))
            along[i] = (up - down) / (2 * step[i] * std[i])
        return self.predict(X), self.gradient(X), self._scale * std, self._scale * along

    def posterior_sample(self, randomness: JointRandomness, target: int, scale: float) -> "Regressor":
        """The law plus its tangent along a step of the parameters that is drawn from Laplace's approximation.

        The law at the drawn parameters would bend away: from 64 of RegMix's runs such curves spread three times as far.
        """
        values, vectors = np.linalg.eigh(self.spread_)
        normal = randomness.correlated(type(self).__name__, len(self.theta_))[target]
        return LawSample(self, scale * (vectors @ (np.sqrt(np.maximum(values, 0.0)) * normal)))

    def dumps(self) -> str:
        """The parameters in standardised losses, the noise variance there, and the standardisation."""
        numbers = {"theta": self.theta_.tolist(), "variance": self._variance}
        return json.dumps(numbers | {"noise": self.noise_, "shift": self._shift, "scale": self._scale})

    def loads(self, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """The same curve; its uncertainty follows from where the runs lie."""
        numbers = json.loads(text)
        self.theta_ = np.array(numbers["theta"])
        self._variance, self.noise_ = numbers["variance"], numbers["noise"]
        self._shift, self._scale = numbers["shift"], numbers["scale"]
        self._condition(np.asarray(X, dtype=float))
        return self

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
        self._shift, self._scale = float(np.mean(y)), spread_of(y)

    def _misfit(self, residual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The cost of residuals, summed over runs, and the weight of each run in the least squares of the same gradient."""
        return 0.5 * (residual * residual).sum(axis=-1), np.ones_like(residual)

    def _descend(
        self, theta: np.ndarray, X: np.ndarray, z: np.ndarray, variance: float, steps: int
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Levenberg-Marquardt on the negative log posterior, from every row of `theta` at once.

        Returns:
            The parameters, their values, and whether no value moves any more.
        """
        mean, width = self._prior(X.shape[1])
        precision = width**-2
        damping = np.full(len(theta), 1e-2)

        def look(theta: np.ndarray) -> tuple[np.ndarray, ...]:
            curve, J = self._curve(theta, X, derivatives=True)
            cost, weights = self._misfit(z - curve)
            away = theta - mean
            value = cost / variance + 0.5 * (away * away) @ precision
            downhill = times(J.transpose(0, 2, 1), (weights / variance) * (z - curve)) - precision * away
            return value, downhill, weights / variance, J

        value, downhill, weights, J = look(theta)
        settled = False
        for _ in range(steps):
            curvature = precision + times((J * J).transpose(0, 2, 1), weights)
            step = solve_normal(J, weights, precision + damping[:, None] * curvature, downhill)
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

    def _residual_variance(
        self, theta: np.ndarray, X: np.ndarray, z: np.ndarray, variance: float
    ) -> tuple[float, float]:
        """Residual variance over the runs that the parameters leave free, with the fit's weights of runs and without.

        A parameter that its prior holds counts for less than one (MacKay 1992, "Bayesian interpolation"). Two more runs
        of residual .1 are assumed, which keep the variance above 0.
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
        self.spread_ = np.linalg.inv(scaled) / np.outer(unit, unit)

    def _jacobians(self, X: np.ndarray) -> Iterator[np.ndarray]:
        """Derivatives by parameter, in blocks of rows."""
        return (self._curve(self.theta_[None], rows, derivatives=True)[1][0] for rows in self._blocks(X))

    def _blocks(self, X: np.ndarray) -> list[np.ndarray]:
        """The rows, in blocks whose derivatives fit into memory."""
        X = np.asarray(X, dtype=float)
        size = max(1, self._block // X.shape[1])
        return [X[first : first + size] for first in range(0, max(len(X), 1), size)]


class LawSample(PosteriorSample):
    """A law and its tangent along a step of its parameters: one of the curves that the runs allow."""

    def __init__(self, law: Law, step: np.ndarray) -> None:
        self._law, self._step = law, step
        self._size = 1e-4 / max(float(np.abs(step).max()), 1e-12)

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        J = np.concatenate(list(self._law._jacobians(X)))
        mean = self._law.predict(X) + self._law._scale * (J @ self._step)
        return (mean, np.zeros(len(X))) if return_std else mean

    def gradient(self, X: np.ndarray) -> np.ndarray:
        law, step = self._law, self._size * self._step
        up, down = (law._slope(law.theta_ + sign * step, X) for sign in (1, -1))
        return law.gradient(X) + law._scale * (up - down) / (2 * self._size)


def bounded(exponent: np.ndarray) -> np.ndarray:
    """An exponent that does not overflow."""
    return np.clip(exponent, -MAX_EXPONENT, MAX_EXPONENT)


def spread_of(y: np.ndarray) -> float:
    """Standard deviation of the losses, kept above 0 where all losses are equal up to rounding."""
    return max(float(np.std(y)), 1e-9 * float(np.abs(y).max()), 1e-12)
