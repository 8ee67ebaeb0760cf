"""Gaussian processes on stretched weights: sqrt(w), log(1 + w / 0.001), and the mean of the two."""

import json
from typing import Any, ClassVar, Self

import numpy as np

from regression.regressor import Regressor


class TransformedGP(Regressor):
    """A Gaussian process on transformed weights: Matern 5/2 with a length per domain, a linear part, a constant, noise.

    Hyperparameters are the posterior mode under wide priors, found with L-BFGS and exact gradients. Matern 5/2 rather
    than the squared exponential: on subsets of 64 of RegMix's runs it ranks better (median Spearman .981 against .975)
    and its intervals hold (90% intervals cover .89 against .87).

    Losses saturate in a domain's own weight, most of the fall coming with the first percents, so the weights are
    stretched near 0: `root` is sqrt(w), `log` is log(1 + w / 0.001).
    """

    knows_std = True
    transform: ClassVar[str]
    theta_: np.ndarray
    _few_runs = 192  # enough for nearly the same hyperparameters at a fraction of the cost, which is cubic in the runs
    _constant = 1.0  # prior variance of the level, in units of the losses' variance
    _jitter = 1e-8

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Find the hyperparameters, beginning at those of `like` or at the middle of the priors."""
        prior, width = self._prior(X.shape[1])
        start, steps = (prior, 60) if like is None else (like.theta_, 15)
        if like is None and len(X) > self._few_runs:
            few = np.linspace(0, len(X) - 1, self._few_runs).round().astype(int)
            start, steps = type(self)().fit(X[few], y[few]).theta_, 15
        self._prepare(X, y)
        self.theta_ = self._mode(prior, width, start, steps)
        self._condition()
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Posterior mean, and the standard deviation of a run there (noise included)."""
        from scipy.linalg import solve_triangular

        Z = self._features(X)
        cross = self._kernel(Z, self._Z)
        mean = self._shift + self._scale * (cross @ self._alpha)
        if not return_std:
            return mean
        explained = solve_triangular(self._cholesky, cross.T, lower=True)
        variance = self._variance(Z) - np.einsum("ij,ij->j", explained, explained)
        return mean, np.hypot(self._scale * np.sqrt(np.maximum(variance, 0.0)), self.noise_)

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """Posterior covariance of the curve."""
        from scipy.linalg import solve_triangular

        Z = self._features(X)
        explained = solve_triangular(self._cholesky, self._kernel(Z, self._Z).T, lower=True)
        return self._scale**2 * (self._kernel(Z, Z) - explained.T @ explained)

    def dumps(self) -> str:
        """The hyperparameters (logarithms): lengths, then amplitude, slope and noise."""
        return json.dumps([float(v) for v in self.theta_])

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """The same process: hyperparameters from the text, conditioned on the data again."""
        regressor = cls()
        regressor._prepare(X, y)
        regressor.theta_ = np.array(json.loads(text))
        regressor._condition()
        return regressor

    @staticmethod
    def _prior(num_domains: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and widths of the normal priors on theta.

        A length of 1.5 sqrt(num_domains) is about the distance between two runs, features having unit variance on
        average; the priors are wide, and halving or doubling any of them moves Spearman on RegMix's subsets by .003.
        """
        lengths = np.full(num_domains, np.log(1.5 * np.sqrt(num_domains)))
        return np.append(lengths, np.log([1.0, 0.3, 0.05])), np.append(np.ones(num_domains), [1.0, 1.0, 1.5])

    def _prepare(self, X: np.ndarray, y: np.ndarray) -> None:
        features = self._transformed(X)
        self._center = features.mean(axis=0)
        self._unit = float(np.sqrt(features.var(axis=0).mean())) or 1.0
        self._Z = (features - self._center) / self._unit
        self._shift, self._scale = float(np.mean(y)), float(np.std(y)) or 1.0
        self._y = (y - self._shift) / self._scale

    def _features(self, X: np.ndarray) -> np.ndarray:
        return (self._transformed(X) - self._center) / self._unit

    def _transformed(self, X: np.ndarray) -> np.ndarray:
        return np.sqrt(X) if self.transform == "root" else np.log1p(X / 0.001)

    def _condition(self) -> None:
        from scipy.linalg import cho_solve

        num_domains = self._Z.shape[1]
        self._lengths = np.exp(self.theta_[:num_domains])
        self._amplitude, self._slope, noise = np.exp(2 * self.theta_[num_domains:])
        covariance = self._kernel(self._Z, self._Z)
        covariance.flat[:: len(covariance) + 1] += noise + self._jitter
        self._cholesky = np.linalg.cholesky(covariance)
        self._alpha = cho_solve((self._cholesky, True), self._y)
        self.noise_ = self._scale * float(np.sqrt(noise))

    def _kernel(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        smooth, _ = _matern(_squared_distances(A / self._lengths, B / self._lengths))
        return self._amplitude * smooth + self._slope / A.shape[1] * (A @ B.T) + self._constant

    def _variance(self, Z: np.ndarray) -> np.ndarray:
        return self._amplitude + self._slope / Z.shape[1] * np.einsum("ij,ij->i", Z, Z) + self._constant

    def _mode(self, prior: np.ndarray, width: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
        from scipy.optimize import minimize

        reach = 4 * np.maximum(width, 1)
        bounds = list(zip(prior - reach, prior + reach, strict=True))
        options = {"maxiter": steps, "ftol": 1e-6}
        arguments = (prior, width)
        found = minimize(self._loss, start, arguments, "L-BFGS-B", jac=True, bounds=bounds, options=options)
        return np.asarray(found.x)

    def _loss(self, theta: np.ndarray, prior: np.ndarray, width: np.ndarray) -> tuple[float, np.ndarray]:
        """Negative log posterior of the hyperparameters (up to a constant), and its gradient."""
        from scipy.linalg.lapack import dpotri

        Z, y, num_domains = self._Z, self._y, self._Z.shape[1]
        A = Z / np.exp(theta[:num_domains])
        amplitude, slope, noise = np.exp(2 * theta[num_domains:])
        smooth, derivative = _matern(_squared_distances(A, A))
        linear = Z @ Z.T / num_domains
        covariance = amplitude * smooth + slope * linear + self._constant
        covariance.flat[:: len(y) + 1] += noise + self._jitter
        try:
            cholesky = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:  # the line search stepped where rounding wins; it steps back from a high value
            return 1e10, np.zeros_like(theta)
        lower, _ = dpotri(cholesky, lower=1)
        inverse = np.tril(lower) + np.tril(lower, -1).T
        alpha = inverse @ y
        outer = inverse - np.outer(alpha, alpha)
        weighted = amplitude * outer * derivative
        # for every domain j at once: half of sum_ab weighted_ab (A_aj - A_bj)^2
        lengths = weighted.sum(axis=1) @ (A * A) - np.einsum("ij,ij->j", weighted @ A, A)
        others = [amplitude * np.vdot(outer, smooth), slope * np.vdot(outer, linear), noise * np.trace(outer)]
        away = (theta - prior) / width
        value = 0.5 * (y @ alpha) + np.log(np.diag(cholesky)).sum() + 0.5 * (away @ away)
        return float(value), np.append(lengths, others) + away / width


class RootGP(TransformedGP):
    """A Gaussian process on sqrt(w)."""

    transform = "root"


class LogGP(TransformedGP):
    """A Gaussian process on log(1 + w / 0.001)."""

    transform = "log"


class GP(Regressor):
    """The mean of two Gaussian processes, on sqrt(w) and on log(1 + w / 0.001); it ranks better than either.

    As one distribution: where the two disagree, half their difference is added to the uncertainty.
    """

    knows_std = True
    _parts = (RootGP, LogGP)

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Fit both."""
        likes = like.parts_ if like is not None else [None] * len(self._parts)
        return self._of([part().fit(X, y, part_like) for part, part_like in zip(self._parts, likes, strict=True)])

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Mean of the two, and the standard deviation of their even mixture."""
        if not return_std:
            return np.mean([part.predict(X) for part in self.parts_], axis=0)
        means, stds = np.moveaxis(np.array([part.predict(X, return_std=True) for part in self.parts_]), 1, 0)
        return means.mean(axis=0), np.sqrt((stds**2).mean(axis=0) + means.var(axis=0))

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """Covariance of the even mixture."""
        half = (self.parts_[0].predict(X) - self.parts_[1].predict(X)) / 2
        return np.mean([part.covariance(X) for part in self.parts_], axis=0) + np.outer(half, half)

    def dumps(self) -> str:
        """Both texts."""
        return json.dumps([part.dumps() for part in self.parts_])

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """Both again."""
        return cls()._of([part.loads(t, X, y) for part, t in zip(cls._parts, json.loads(text), strict=True)])

    def _of(self, parts: list[TransformedGP]) -> Self:
        self.parts_ = parts
        self.noise_ = float(np.sqrt(np.mean([part.noise_**2 for part in parts])))
        return self


def _squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    squares = np.einsum("ij,ij->i", A, A)[:, None] + np.einsum("ij,ij->i", B, B)[None, :] - 2 * (A @ B.T)
    return np.maximum(squares, 0.0)


def _matern(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matern 5/2 of squared distances, and its derivative in log length per squared scaled distance along a domain."""
    root = np.sqrt(5 * squared)
    decay = np.exp(-root)
    return (1 + root + root * root / 3) * decay, 5 / 3 * (1 + root) * decay
