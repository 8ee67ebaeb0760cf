"""Gaussian processes on stretched weights: on sqrt(w), on sqrt(w) and log(1 + w / 0.001) together, and their mean.

Losses saturate in a domain's own weight, most of the fall coming with the first percents, so weights are stretched near
0; and a loss far above the rest (of a domain that was not trained on) is an order of magnitude rather than a distance,
so losses enter as logarithms above a floor.
"""

import json
from typing import Any, ClassVar, Self

import numpy as np

from regression.models.regressor import Chance, Regressor

FLOOR = 0.3  # how far the floor of the logarithm lies below the lowest loss, in ranges of the losses
FEW_RUNS = (
    192  # enough for the hyperparameters (Spearman on RegMix's 512 runs .0002 lower), at a fraction of a cubic cost
)
TINY = 1e-9  # slopes of stretched weights are those at this weight for all below it
_JITTER = 1e-8
_LEVEL = 1.0  # prior variance of the level, in units of the variance of the logarithms


class StretchedGP(Regressor):
    """A Gaussian process of log losses on stretched weights: Matern 5/2 with a length per feature, a linear part, noise.

    Hyperparameters are the posterior mode under wide priors, found with L-BFGS and exact gradients. Matern 5/2 rather
    than the squared exponential: on subsets of 64 of RegMix's runs it ranks better (median Spearman .981 against .975)
    and its intervals hold (90% intervals cover .89 against .87).
    """

    knows_std = True
    smooth = True
    smooth_std = True
    draws = True
    theta_: np.ndarray

    def _stretched(self, X: np.ndarray) -> np.ndarray:
        """Features of mixtures, shape (num_rows, num_features)."""
        raise NotImplementedError

    def _slopes(self, X: np.ndarray, by_feature: np.ndarray) -> np.ndarray:
        """Slopes along weights from slopes along features, each row by the chain rule."""
        raise NotImplementedError

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Find the hyperparameters, beginning at those of `like` or at the middle of the priors."""
        self._set_frame(X, y)
        few = np.linspace(0, len(X) - 1, min(FEW_RUNS, len(X))).round().astype(int)
        self._prepare(X[few], y[few])
        prior, width = self._prior(self._Z.shape[1])
        self.theta_ = self._mode(prior, width, prior if like is None else like.theta_, 60 if like is None else 15)
        self._prepare(X, y)
        self._condition()
        return self

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """The same hyperparameters, units and floor, conditioned on other runs."""
        other = type(self)()
        other.theta_, other._frame = self.theta_, self._frame
        other._prepare(X, y)
        other._condition()
        return other

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Posterior mean, and the standard deviation of a run there (noise included)."""
        Z = self._features(X)
        cross = self._kernel(Z, self._Z)
        level = self._level(cross @ self._alpha)
        mean = self._floor + level
        if not return_std:
            return mean
        explained = self._explained(cross)
        variance = np.maximum(self._variance(Z) - np.einsum("ij,ij->j", explained, explained), 0.0)
        return mean, np.hypot(self._scale * level * np.sqrt(variance), self.noise_)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Slopes of the posterior mean."""
        return self.with_slopes(X)[1]

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Posterior mean, and its slopes."""
        Z = self._features(X)
        cross, derivative = self._kernel_and_derivative(Z)
        level = self._level(cross @ self._alpha)
        along = self._push(Z, derivative, np.broadcast_to(self._alpha, cross.shape))
        return self._floor + level, self._slopes(X, (self._scale * level)[:, None] * along / self._units)

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Posterior mean and its slopes, standard deviation of the curve (without run noise) and its slopes."""
        from scipy.linalg import cho_solve

        Z = self._features(X)
        cross, derivative = self._kernel_and_derivative(Z)
        level = self._level(cross @ self._alpha)
        solved = cho_solve((self._cholesky, True), cross.T, check_finite=False).T
        variance = self._variance(Z) - np.einsum("ij,ij->i", cross, solved)
        std = np.sqrt(np.maximum(variance, 1e-12))
        of_variance = self._slope / Z.shape[1] * Z - self._push(Z, derivative, solved)
        of_mean = self._scale * self._push(Z, derivative, np.broadcast_to(self._alpha, cross.shape))
        along = (self._scale * level)[:, None] * (of_variance / std[:, None] + std[:, None] * of_mean)
        return (
            self._floor + level,
            self._slopes(X, level[:, None] * of_mean / self._units),
            self._scale * level * std,
            self._slopes(X, along / self._units),
        )

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """Posterior covariance of the curve."""
        Z = self._features(X)
        cross = self._kernel(Z, self._Z)
        level = self._scale * self._level(cross @ self._alpha)
        explained = self._explained(cross)
        return np.outer(level, level) * (self._kernel(Z, Z) - explained.T @ explained)

    def held_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of its own runs, each without the runs of its fold, and standard deviations (noise included).

        In closed form, from the inverse covariance, so the hyperparameters have seen all runs (Rasmussen and Williams
        2006, section 5.4.2): for many runs, of which they depend on no fold.

        Args:
            folds: Shape (num_runs,).
        """
        from scipy.linalg import cho_solve

        inverse = cho_solve((self._cholesky, True), np.eye(len(self._y)))
        mean, std = np.empty(len(folds)), np.empty(len(folds))
        for fold in np.unique(folds):
            out = folds == fold
            block = np.linalg.inv(inverse[np.ix_(out, out)])
            level = self._level(self._y[out] - block @ self._alpha[out])
            variance = np.maximum(np.diag(block) - self._noise**2 / self._scale**2, 0.0)
            mean[out], std[out] = self._floor + level, np.hypot(self._scale * level * np.sqrt(variance), self.noise_)
        return mean, std

    def drawn(self, chance: Chance, target: int, scale: float) -> "Regressor":
        """A curve of the posterior, by its path: a curve of the prior, corrected at the runs (Wilson et al. 2020,
        arXiv 2002.09309)."""
        return DrawnGP(self, chance, target, scale)

    def dumps(self) -> str:
        """Logarithms of the lengths, then of amplitude, slope and noise, and the units in which they are."""
        center, units, frame = self._frame[0], self._frame[1], self._frame[2:]
        return json.dumps([[float(v) for v in part] for part in (self.theta_, center, units, frame)])

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """The same process: hyperparameters and units from the text, conditioned on the data again."""
        regressor = cls()
        theta, center, units, (floor, shift, scale) = json.loads(text)
        regressor.theta_ = np.array(theta)
        regressor._frame = (np.array(center), np.array(units), floor, shift, scale)
        regressor._prepare(X, y)
        regressor._condition()
        return regressor

    @staticmethod
    def _prior(num_features: int) -> tuple[np.ndarray, np.ndarray]:
        """Means and widths of the normal priors on theta.

        Lengths of 6 sqrt(num_features) are some four times the distance between two runs, features having unit variance:
        a curve is smooth until the runs say otherwise. From 48 planted runs with noise as large as the signal, mean
        Spearman is .80, against .61 with a prior of 1.5; from 32 of RegMix's runs .986 against .984.
        """
        lengths = np.full(num_features, np.log(6 * np.sqrt(num_features)))
        return np.append(lengths, np.log([1.0, 0.3, 0.2])), np.append(np.ones(num_features), [1.0, 1.0, 1.5])

    def _set_frame(self, X: np.ndarray, y: np.ndarray) -> None:
        """The units of features and log losses: center and unit of the features; floor, mean and deviation of the losses."""
        features = self._stretched(X)
        num_kinds = features.shape[1] // X.shape[1]  # each kind of stretching has a unit of its own
        kinds = np.split(features.var(axis=0), num_kinds)
        units = np.repeat([float(np.sqrt(kind.mean())) or 1.0 for kind in kinds], X.shape[1])
        floor = float(np.min(y) - FLOOR * np.ptp(y)) if np.ptp(y) > 0 else float(np.min(y)) - 1.0
        logs = np.log(y - floor)
        self._frame = (features.mean(axis=0), units, floor, float(logs.mean()), float(logs.std()) or 1.0)

    def _prepare(self, X: np.ndarray, y: np.ndarray) -> None:
        self._center, self._units, self._floor, self._shift, self._scale = self._frame
        self._Z = self._features(X)
        lowest = np.exp(self._shift - 20 * self._scale)  # other runs than the frame's may lie below its floor
        self._y = (np.log(np.maximum(y - self._floor, lowest)) - self._shift) / self._scale

    def _features(self, X: np.ndarray) -> np.ndarray:
        return (self._stretched(X) - self._center) / self._units

    def _level(self, standard: np.ndarray) -> np.ndarray:
        """Losses above the floor, from standardised logarithms."""
        return np.exp(self._shift + self._scale * np.clip(standard, -40, 40))

    def _condition(self) -> None:
        from scipy.linalg import cho_solve

        num_features = self._Z.shape[1]
        self._lengths = np.exp(self.theta_[:num_features])
        self._amplitude, self._slope, noise = np.exp(2 * self.theta_[num_features:])
        covariance = self._kernel(self._Z, self._Z)
        covariance.flat[:: len(covariance) + 1] += noise + _JITTER
        self._cholesky = np.linalg.cholesky(covariance)
        self._alpha = cho_solve((self._cholesky, True), self._y)
        self._noise = self._scale * float(np.sqrt(noise))  # of logarithms
        self.noise_ = self._noise * float(np.exp(self._shift))  # of a loss in the middle; taken for all

    def _explained(self, cross: np.ndarray) -> np.ndarray:
        from scipy.linalg import solve_triangular

        return np.asarray(solve_triangular(self._cholesky, cross.T, lower=True))

    def _kernel(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        smooth, _ = _matern(_squared_distances(A / self._lengths, B / self._lengths))
        return self._amplitude * smooth + self._slope / A.shape[1] * (A @ B.T) + _LEVEL

    def _kernel_and_derivative(self, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        smooth, derivative = _matern(_squared_distances(Z / self._lengths, self._Z / self._lengths))
        return self._amplitude * smooth + self._slope / Z.shape[1] * (Z @ self._Z.T) + _LEVEL, derivative

    def _push(self, Z: np.ndarray, derivative: np.ndarray, weighted: np.ndarray) -> np.ndarray:
        """Slopes along features of sum_n weighted_n kernel(z, Z_n), for every row z of Z."""
        pull = self._amplitude * derivative * weighted
        smooth = (pull @ self._Z - pull.sum(axis=1, keepdims=True) * Z) / self._lengths**2
        return np.asarray(smooth + self._slope / Z.shape[1] * (weighted @ self._Z))

    def _variance(self, Z: np.ndarray) -> np.ndarray:
        return self._amplitude + self._slope / Z.shape[1] * np.einsum("ij,ij->i", Z, Z) + _LEVEL

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

        Z, y, num_features = self._Z, self._y, self._Z.shape[1]
        A = Z / np.exp(theta[:num_features])
        amplitude, slope, noise = np.exp(2 * theta[num_features:])
        smooth, derivative = _matern(_squared_distances(A, A))
        linear = Z @ Z.T / num_features
        covariance = amplitude * smooth + slope * linear + _LEVEL
        covariance.flat[:: len(y) + 1] += noise + _JITTER
        try:
            cholesky = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:  # the line search stepped where rounding wins; it steps back from a high value
            return 1e10, np.zeros_like(theta)
        lower, _ = dpotri(cholesky, lower=1)
        inverse = np.tril(lower) + np.tril(lower, -1).T
        alpha = inverse @ y
        outer = inverse - np.outer(alpha, alpha)
        weighted = amplitude * outer * derivative
        # for every feature j at once: half of sum_ab weighted_ab (A_aj - A_bj)^2
        lengths = weighted.sum(axis=1) @ (A * A) - np.einsum("ij,ij->j", weighted @ A, A)
        others = [amplitude * np.vdot(outer, smooth), slope * np.vdot(outer, linear), noise * np.trace(outer)]
        away = (theta - prior) / width
        value = 0.5 * (y @ alpha) + np.log(np.diag(cholesky)).sum() + 0.5 * (away @ away)
        return float(value), np.append(lengths, others) + away / width


class RootGP(StretchedGP):
    """A Gaussian process on sqrt(w)."""

    def _stretched(self, X: np.ndarray) -> np.ndarray:
        return np.sqrt(X)

    def _slopes(self, X: np.ndarray, by_feature: np.ndarray) -> np.ndarray:
        return np.asarray(by_feature * 0.5 / np.sqrt(np.maximum(X, TINY)))


class RootLogGP(StretchedGP):
    """A Gaussian process on sqrt(w) and log(1 + w / 0.001), two features a domain: lengths choose between them."""

    _knee: ClassVar[float] = 0.001

    def _stretched(self, X: np.ndarray) -> np.ndarray:
        return np.hstack([np.sqrt(X), np.log1p(X / self._knee)])

    def _slopes(self, X: np.ndarray, by_feature: np.ndarray) -> np.ndarray:
        by_root, by_log = np.hsplit(by_feature, 2)
        return np.asarray(by_root * 0.5 / np.sqrt(np.maximum(X, TINY)) + by_log / (X + self._knee))


class DrawnGP(Regressor):
    """One curve of a Gaussian process' posterior; the prior's part is made of random waves (Rahimi and Recht 2007).

    Args:
        process: The fitted process.
        chance: The random numbers of this draw.
        target: Which target the process is of.
        scale: What deviations from the posterior mean are multiplied by.
    """

    smooth = True
    _num_waves = 512

    def __init__(self, process: StretchedGP, chance: Chance, target: int, scale: float) -> None:
        from scipy.linalg import cho_solve

        num_features, num_runs = process._Z.shape[1], len(process._y)
        normal = chance.shared("waves", lambda rng: rng.standard_normal((self._num_waves, num_features)))
        heavy = chance.shared("tails", lambda rng: rng.chisquare(5, self._num_waves) / 5)  # of Matern 5/2
        self._waves = (normal / np.sqrt(heavy)[:, None] / process._lengths).T
        self._phases = chance.shared("phases", lambda rng: rng.uniform(0, 2 * np.pi, self._num_waves))
        size = scale * np.sqrt(2 * process._amplitude / self._num_waves)
        self._heights = size * chance.correlated("heights", self._num_waves)[target]
        line = chance.correlated("line", num_features)[target]
        self._line = scale * np.sqrt(process._slope / num_features) * line
        self._level = scale * np.sqrt(_LEVEL) * float(chance.correlated("level", 1)[target, 0])
        noise = scale * np.sqrt(process._noise**2 / process._scale**2 + _JITTER)
        at_runs = self._prior(process._Z) + noise * chance.correlated("noise", num_runs)[target]
        self._pull = process._alpha - cho_solve((process._cholesky, True), at_runs)
        self._process = process

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Nothing to fit."""
        raise NotImplementedError("a curve is drawn, not fitted")

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """The curve."""
        Z = self._process._features(X)
        standard = self._process._kernel(Z, self._process._Z) @ self._pull + self._prior(Z)
        mean = self._process._floor + self._process._level(standard)
        return (mean, np.zeros(len(X))) if return_std else mean

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Its slopes."""
        return self.with_slopes(X)[1]

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The curve, and its slopes."""
        process = self._process
        Z = process._features(X)
        cross, derivative = process._kernel_and_derivative(Z)
        angle = Z @ self._waves + self._phases
        prior = np.cos(angle) @ self._heights + Z @ self._line + self._level
        level = process._level(cross @ self._pull + prior)
        waves = (-np.sin(angle) * self._heights) @ self._waves.T + self._line
        along = process._push(Z, derivative, np.broadcast_to(self._pull, cross.shape)) + waves
        return process._floor + level, process._slopes(X, (process._scale * level)[:, None] * along / process._units)

    def _prior(self, Z: np.ndarray) -> np.ndarray:
        return np.cos(Z @ self._waves + self._phases) @ self._heights + Z @ self._line + self._level


class GP(Regressor):
    """The mean of two Gaussian processes, on sqrt(w) and on sqrt(w) with log(1 + w / 0.001).

    It ranks better than either (`python benchmarks/regression.py`). As one distribution: where the two
    disagree, half their difference is added to the uncertainty.
    """

    knows_std = True
    smooth = True
    smooth_std = True
    draws = True
    _parts = (RootGP, RootLogGP)

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Fit both."""
        likes = like.parts_ if like is not None else [None] * len(self._parts)
        return self._of([part().fit(X, y, part_like) for part, part_like in zip(self._parts, likes, strict=True)])

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Both conditioned on other runs."""
        return type(self)()._of([part.refit(X, y) for part in self.parts_])

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Mean of the two, and the standard deviation of their even mixture."""
        if not return_std:
            return np.mean([part.predict(X) for part in self.parts_], axis=0)
        return _even([part.predict(X, return_std=True) for part in self.parts_])

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Slopes of the mean of the two."""
        return self.with_slopes(X)[1]

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean of the two, and its slopes."""
        means, slopes = zip(*(part.with_slopes(X) for part in self.parts_), strict=True)
        return np.mean(means, axis=0), np.mean(slopes, axis=0)

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Mean of the two and its slopes, standard deviation of the curve (without run noise) and its slopes."""
        means, slopes, stds, std_slopes = zip(*(part.with_std_slopes(X) for part in self.parts_), strict=True)
        half, half_slopes = (means[0] - means[1]) / 2, (slopes[0] - slopes[1]) / 2
        std = np.sqrt(np.mean(np.square(stds), axis=0) + half**2)
        both = np.mean([s[:, None] * g for s, g in zip(stds, std_slopes, strict=True)], axis=0)
        along = (both + half[:, None] * half_slopes) / np.maximum(std, 1e-300)[:, None]
        return np.mean(means, axis=0), np.mean(slopes, axis=0), std, along

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """Covariance of the even mixture."""
        half = (self.parts_[0].predict(X) - self.parts_[1].predict(X)) / 2
        return np.mean([part.covariance(X) for part in self.parts_], axis=0) + np.outer(half, half)

    def held_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As of a part: predictions of its own runs, each without the runs of its fold."""
        return _even([part.held_out(folds) for part in self.parts_])

    def drawn(self, chance: Chance, target: int, scale: float) -> Regressor:
        """A curve of one of the two, the same one for all targets."""
        part = chance.shared("part", lambda rng: rng.integers(len(self.parts_), size=1))[0]
        return self.parts_[part].drawn(chance, target, scale)

    def dumps(self) -> str:
        """Both texts."""
        return json.dumps([part.dumps() for part in self.parts_])

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """Both again."""
        return cls()._of([part.loads(t, X, y) for part, t in zip(cls._parts, json.loads(text), strict=True)])

    def _of(self, parts: list[StretchedGP]) -> Self:
        self.parts_ = parts
        self.noise_ = float(np.sqrt(np.mean([part.noise_**2 for part in parts])))
        return self


def _even(predictions: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of an even mixture of distributions."""
    means, stds = np.moveaxis(np.array(predictions), 1, 0)
    return means.mean(axis=0), np.sqrt((stds**2).mean(axis=0) + means.var(axis=0))


def _squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    squares = np.einsum("ij,ij->i", A, A)[:, None] + np.einsum("ij,ij->i", B, B)[None, :] - 2 * (A @ B.T)
    return np.maximum(squares, 0.0)


def _matern(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matern 5/2 of squared distances, and its derivative in log length per squared scaled distance along a feature."""
    root = np.sqrt(5 * squared)
    decay = np.exp(-root)
    return (1 + root + root * root / 3) * decay, 5 / 3 * (1 + root) * decay
