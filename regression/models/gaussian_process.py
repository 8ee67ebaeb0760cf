"""Gaussian processes of log losses on transformed weights: on sqrt(w), or on sqrt(w) and log(1 + w / 0.001) together.

Most of a loss's fall comes with the first percents of a domain's own weight, so the transformations stretch weights near
0. A loss far above the rest (of a domain that was not trained on) is an order of magnitude rather than a distance, so
losses enter as logarithms above a floor.
"""

import json
from dataclasses import astuple, dataclass
from typing import Any, Self

import numpy as np

from regression.models.hyperparameters import JITTER, kernel_of, posterior_mode
from regression.models.kernel import LEVEL_VARIANCE, Kernel
from regression.models.regressor import JointRandomness, PosteriorSample, Regressor

FLOOR_RANGES = 0.3
"""How far the floor of the logarithm lies below the lowest loss, in ranges of the losses."""
MAX_TUNING_RUNS = 192
"""Runs that the hyperparameters are tuned on. More cost the cube, and rank no better: Spearman on RegMix's 512 runs is .0002 lower."""
MIN_SLOPE_WEIGHT = 1e-9
"""Weights are clipped to this value when differentiating, because the slope is infinite at 0."""
LOG_KNEE = 0.001
"""The weight from which on log(1 + w / LOG_KNEE) bends."""


@dataclass(frozen=True)
class Frame:
    """The units in which features and log losses are of size 1.

    Attributes:
        center: Mean of each feature, shape (num_features,).
        unit: Unit of each feature, shape (num_features,).
        floor: What is taken off a loss before its logarithm.
        shift: Mean of the logarithms.
        scale: Standard deviation of the logarithms.
    """

    center: np.ndarray
    unit: np.ndarray
    floor: float
    shift: float
    scale: float

    @classmethod
    def of(cls, features: np.ndarray, y: np.ndarray, num_domains: int) -> Self:
        """The frame of runs. Each transformation of the weights (there is one for every `num_domains` features) has a unit."""
        kinds = np.split(features.var(axis=0), features.shape[1] // num_domains)
        unit = np.repeat([float(np.sqrt(kind.mean())) or 1.0 for kind in kinds], num_domains)
        floor = float(np.min(y) - FLOOR_RANGES * np.ptp(y)) if np.ptp(y) > 0 else float(np.min(y)) - 1.0
        logs = np.log(y - floor)
        return cls(features.mean(axis=0), unit, floor, float(logs.mean()), float(logs.std()) or 1.0)

    def standardised(self, features: np.ndarray) -> np.ndarray:
        """Features in the frame's units."""
        return (features - self.center) / self.unit

    def logs(self, y: np.ndarray) -> np.ndarray:
        """Standardised logarithms of losses; losses of other runs than the frame's may lie below its floor."""
        lowest = np.exp(self.shift - 20 * self.scale)
        return np.asarray((np.log(np.maximum(y - self.floor, lowest)) - self.shift) / self.scale)

    def above_floor(self, logs: np.ndarray) -> np.ndarray:
        """Losses above the floor, from standardised logarithms."""
        return np.asarray(np.exp(self.shift + self.scale * np.clip(logs, -40, 40)))


class TransformedGP(Regressor):
    """A Gaussian process of log losses on transformed weights.

    Attributes:
        theta_: The hyperparameters (regression/models/hyperparameters.py).
        frame_: Units of features and losses.
        kernel_: The covariance at these hyperparameters.
        Z_: Standardised features of the runs, shape (num_runs, num_features).
        y_: Standardised logarithms of their losses, shape (num_runs,).
        alpha_: The inverse covariance of the runs times `y_`, shape (num_runs,).
    """

    knows_std = True
    smooth = True
    smooth_std = True
    has_posterior = True
    has_held_out = True
    theta_: np.ndarray
    frame_: Frame
    kernel_: Kernel
    Z_: np.ndarray
    y_: np.ndarray
    alpha_: np.ndarray

    def transformed(self, X: np.ndarray) -> np.ndarray:
        """Features of mixtures, shape (num_rows, num_features)."""
        raise NotImplementedError

    def slopes_of_weights(self, X: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Slopes along the weights from slopes along the features, by the chain rule; shape of X."""
        raise NotImplementedError

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        """Find the hyperparameters, beginning at those of `warm_start_from` or at the middle of the priors."""
        self.frame_ = Frame.of(self.transformed(X), y, X.shape[1])
        few = np.linspace(0, len(X) - 1, min(MAX_TUNING_RUNS, len(X))).round().astype(int)
        Z, logs = self.features(X[few]), self.frame_.logs(y[few])
        if warm_start_from is None:
            self.theta_ = posterior_mode(Z, logs, None, 60)
        else:
            self.theta_ = posterior_mode(Z, logs, warm_start_from.theta_, 15)
        return self._condition(X, y)

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """The same hyperparameters, units and floor, conditioned on other runs."""
        other = self._unfitted()
        other.theta_, other.frame_ = self.theta_, self.frame_
        return other._condition(X, y)

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        Z, frame = self.features(X), self.frame_
        cross = self.kernel_(Z, self.Z_)
        level = frame.above_floor(cross @ self.alpha_)
        mean = frame.floor + level
        if not return_std:
            return mean
        explained = self._explained(cross)
        variance = np.maximum(self.kernel_.variance(Z) - np.einsum("ij,ij->j", explained, explained), 0.0)
        return mean, np.hypot(frame.scale * level * np.sqrt(variance), self.noise_)

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        Z, frame = self.features(X), self.frame_
        cross, derivative = self.kernel_.with_derivative(Z, self.Z_)
        level = frame.above_floor(cross @ self.alpha_)
        along = self.kernel_.slopes(Z, self.Z_, derivative, np.broadcast_to(self.alpha_, cross.shape))
        return frame.floor + level, self.slopes_of_weights(X, (frame.scale * level)[:, None] * along / frame.unit)

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        from scipy.linalg import cho_solve

        Z, frame, kernel = self.features(X), self.frame_, self.kernel_
        cross, derivative = kernel.with_derivative(Z, self.Z_)
        level = frame.above_floor(cross @ self.alpha_)
        solved = cho_solve((self._cholesky, True), cross.T, check_finite=False).T
        variance = kernel.variance(Z) - np.einsum("ij,ij->i", cross, solved)
        std = np.sqrt(np.maximum(variance, 1e-12))
        of_variance = kernel.slope / Z.shape[1] * Z - kernel.slopes(Z, self.Z_, derivative, solved)
        of_mean = frame.scale * kernel.slopes(Z, self.Z_, derivative, np.broadcast_to(self.alpha_, cross.shape))
        along = (frame.scale * level)[:, None] * (of_variance / std[:, None] + std[:, None] * of_mean)
        return (
            frame.floor + level,
            self.slopes_of_weights(X, level[:, None] * of_mean / frame.unit),
            frame.scale * level * std,
            self.slopes_of_weights(X, along / frame.unit),
        )

    def covariance(self, X: np.ndarray) -> np.ndarray:
        Z = self.features(X)
        cross = self.kernel_(Z, self.Z_)
        level = self.frame_.scale * self.frame_.above_floor(cross @ self.alpha_)
        explained = self._explained(cross)
        return np.outer(level, level) * (self.kernel_(Z, Z) - explained.T @ explained)

    def held_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of its own runs, each without the runs of its fold, and standard deviations (noise included).

        In closed form, from the inverse covariance (Rasmussen and Williams 2006, section 5.4.2). The hyperparameters have
        seen all runs, so this is for many runs, where no fold moves the hyperparameters.
        """
        from scipy.linalg import cho_solve

        frame = self.frame_
        inverse = cho_solve((self._cholesky, True), np.eye(len(self.y_)))
        mean, std = np.empty(len(folds)), np.empty(len(folds))
        for fold in np.unique(folds):
            out = folds == fold
            block = np.linalg.inv(inverse[np.ix_(out, out)])
            level = frame.above_floor(self.y_[out] - block @ self.alpha_[out])
            variance = np.maximum(np.diag(block) - self._log_noise**2 / frame.scale**2, 0.0)
            mean[out], std[out] = frame.floor + level, np.hypot(frame.scale * level * np.sqrt(variance), self.noise_)
        return mean, std

    def posterior_sample(self, randomness: JointRandomness, target: int, scale: float) -> Regressor:
        """A curve of the posterior, by its path: a curve of the prior, corrected at the runs (Wilson et al. 2020,
        arXiv 2002.09309)."""
        return GPSample(self, randomness, target, scale)

    def dumps(self) -> str:
        """theta, and the frame."""
        center, unit, *losses = astuple(self.frame_)
        return json.dumps([[float(v) for v in part] for part in (self.theta_, center, unit, losses)])

    def loads(self, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """The same process: hyperparameters and units from the text, conditioned on the data again."""
        theta, center, unit, losses = json.loads(text)
        self.theta_ = np.array(theta)
        self.frame_ = Frame(np.array(center), np.array(unit), *losses)
        return self._condition(X, y)

    def features(self, X: np.ndarray) -> np.ndarray:
        """Standardised features of mixtures, shape (num_rows, num_features)."""
        return self.frame_.standardised(self.transformed(X))

    def _condition(self, X: np.ndarray, y: np.ndarray) -> Self:
        from scipy.linalg import cho_solve

        self.Z_, self.y_ = self.features(X), self.frame_.logs(y)
        self.kernel_, noise = kernel_of(self.theta_)
        covariance = self.kernel_(self.Z_, self.Z_)
        covariance.flat[:: len(covariance) + 1] += noise + JITTER
        self._cholesky = np.linalg.cholesky(covariance)
        self.alpha_ = cho_solve((self._cholesky, True), self.y_)
        self._log_noise = self.frame_.scale * float(np.sqrt(noise))
        self.noise_ = self._log_noise * float(np.exp(self.frame_.shift))  # of a loss in the middle, and taken for all
        return self

    def _explained(self, cross: np.ndarray) -> np.ndarray:
        from scipy.linalg import solve_triangular

        return np.asarray(solve_triangular(self._cholesky, cross.T, lower=True))


class RootGP(TransformedGP):
    """A Gaussian process on sqrt(w)."""

    def transformed(self, X: np.ndarray) -> np.ndarray:
        """sqrt(w)."""
        return np.sqrt(X)

    def slopes_of_weights(self, X: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Slopes along the weights."""
        return np.asarray(slopes * 0.5 / np.sqrt(np.maximum(X, MIN_SLOPE_WEIGHT)))


class RootLogGP(TransformedGP):
    """A Gaussian process on sqrt(w) and log(1 + w / 0.001), two features a domain: their lengths choose between them."""

    def transformed(self, X: np.ndarray) -> np.ndarray:
        """All sqrt(w), then all log(1 + w / 0.001)."""
        return np.hstack([np.sqrt(X), np.log1p(X / LOG_KNEE)])

    def slopes_of_weights(self, X: np.ndarray, slopes: np.ndarray) -> np.ndarray:
        """Slopes along the weights, each from two features."""
        by_root, by_log = np.hsplit(slopes, 2)
        return np.asarray(by_root * 0.5 / np.sqrt(np.maximum(X, MIN_SLOPE_WEIGHT)) + by_log / (X + LOG_KNEE))


class GPSample(PosteriorSample):
    """One curve of a Gaussian process' posterior. The prior's part is a sum of random waves (Rahimi and Recht 2007).

    Args:
        scale: What deviations from the posterior mean are multiplied by.
    """

    _num_waves = 512

    def __init__(self, process: TransformedGP, randomness: JointRandomness, target: int, scale: float) -> None:
        from scipy.linalg import cho_solve

        kernel, frame = process.kernel_, process.frame_
        num_features, num_runs = process.Z_.shape[1], len(process.y_)
        normal = randomness.shared("waves", lambda rng: rng.standard_normal((self._num_waves, num_features)))
        # the spectrum of Matern 5/2 is a t distribution: normal numbers over the root of chi-square ones
        heavy = randomness.shared("tails", lambda rng: rng.chisquare(5, self._num_waves) / 5)
        self._waves = (normal / np.sqrt(heavy)[:, None] / kernel.lengths).T
        self._phases = randomness.shared("phases", lambda rng: rng.uniform(0, 2 * np.pi, self._num_waves))
        size = scale * np.sqrt(2 * kernel.amplitude / self._num_waves)
        self._heights = size * randomness.correlated("heights", self._num_waves)[target]
        line = randomness.correlated("line", num_features)[target]
        self._line = scale * np.sqrt(kernel.slope / num_features) * line
        self._level = scale * np.sqrt(LEVEL_VARIANCE) * float(randomness.correlated("level", 1)[target, 0])
        noise = scale * np.sqrt(process._log_noise**2 / frame.scale**2 + JITTER)
        at_runs = self._prior(process.Z_) + noise * randomness.correlated("noise", num_runs)[target]
        self._pull = process.alpha_ - cho_solve((process._cholesky, True), at_runs)
        self._process = process

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        process = self._process
        Z = process.features(X)
        standard = process.kernel_(Z, process.Z_) @ self._pull + self._prior(Z)
        mean = process.frame_.floor + process.frame_.above_floor(standard)
        return (mean, np.zeros(len(X))) if return_std else mean

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        process, kernel, frame = self._process, self._process.kernel_, self._process.frame_
        Z = process.features(X)
        cross, derivative = kernel.with_derivative(Z, process.Z_)
        angle = Z @ self._waves + self._phases
        prior = np.cos(angle) @ self._heights + Z @ self._line + self._level
        level = frame.above_floor(cross @ self._pull + prior)
        waves = (-np.sin(angle) * self._heights) @ self._waves.T + self._line
        along = kernel.slopes(Z, process.Z_, derivative, np.broadcast_to(self._pull, cross.shape)) + waves
        return frame.floor + level, process.slopes_of_weights(X, (frame.scale * level)[:, None] * along / frame.unit)

    def _prior(self, Z: np.ndarray) -> np.ndarray:
        return np.cos(Z @ self._waves + self._phases) @ self._heights + Z @ self._line + self._level
