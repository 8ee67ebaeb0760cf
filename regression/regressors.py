"""Mixture weights -> one loss: the table of regressors, scikit-learn style, each with its text form.

`fit(X, y)` and `predict(X, return_std=False)`, X of shape (num_runs, num_domains) with rows that sum to 1. A regressor
is saved as text (`dumps`) and rebuilt from it and its training data (`loads`), never pickled. Every fit runs in one
thread: parallelism belongs to the caller, over targets and folds.
"""

import json
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

import numpy as np


class Regressor(ABC):
    """What every entry of REGRESSORS does.

    Attributes:
        knows_std: Whether `return_std` gives a standard deviation of the regressor's own that grows away from the data
            (and `covariance` one between points); where not, it is zero and the caller takes the cross-validated error.
        noise_: Standard deviation that a repeated run would have, part of `return_std`; 0 where it is not estimated.
    """

    knows_std: ClassVar[bool] = False
    noise_: float = 0.0

    @abstractmethod
    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Fit to losses `y`, shape (num_runs,). A fit on overlapping data may be given to begin from (`like`)."""

    @abstractmethod
    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Predicted losses, shape (num_rows,), and with `return_std` the standard deviations of single runs."""

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """Covariance of the predicted curve (without run noise) between the rows of X."""
        return np.zeros((len(X), len(X)))

    def dumps(self) -> str:
        """What `loads` needs beside the training data."""
        return ""

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """The same regressor again; `X` and `y` are those it was fitted to."""
        return cls().fit(X, y)


class Mean(Regressor):
    """Predicts the mean of its training losses for every mixture: what a regressor must beat."""

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Remember the mean."""
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """The mean, for every row."""
        mean = np.full(len(X), self.mean_)
        return (mean, np.zeros(len(X))) if return_std else mean


class Linear(Regressor):
    """Bayesian ridge regression on the weights: the loss falls by as much for the first percent as for the last."""

    knows_std = True

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Ridge, its strength by marginal likelihood."""
        from sklearn.linear_model import BayesianRidge

        self.scale_ = float(np.std(y)) or 1.0  # BayesianRidge's priors are not free of units
        self.center_ = X.mean(axis=0)
        self.ridge_ = BayesianRidge().fit(X - self.center_, y / self.scale_)
        self.noise_ = self.scale_ * float(self.ridge_.alpha_) ** -0.5
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Mean, and the standard deviation of coefficients and noise together."""
        if not return_std:
            return self.scale_ * self.ridge_.predict(X - self.center_)
        mean, std = self.ridge_.predict(X - self.center_, return_std=True)
        return self.scale_ * mean, self.scale_ * std

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """That of the coefficients, carried to the predictions."""
        centered = X - self.center_
        return self.scale_**2 * centered @ self.ridge_.sigma_ @ centered.T


class LightGBM(Regressor):
    """Boosted trees with RegMix's settings: 1000 rounds of 31 leaves at learning rate 0.01, squared error.

    A leaf takes at least 20 runs (LightGBM's default, which RegMix keeps), so it needs hundreds of runs: on fewer than
    40 it predicts the mean.
    """

    settings: ClassVar[dict[str, Any]] = {"num_iterations": 1000, "learning_rate": 0.01}
    early_stopping_rounds = 3  # as in RegMix's notebook

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        like: Self | None = None,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> Self:
        """All the rounds; with `validation` (weights, losses) until its error has not fallen for 3 of them."""
        import lightgbm

        settings = {
            "objective": "regression",
            "seed": 42,
            "num_threads": 1,
            "deterministic": True,
            "force_col_wise": True,
            "verbosity": -1,
            **self.settings,
        }
        rounds = settings.pop("num_iterations")
        data = lightgbm.Dataset(X, y, params=settings)
        valid: list[Any] = []
        callbacks: list[Any] = []
        if validation is not None:
            valid = [lightgbm.Dataset(*validation, reference=data)]
            callbacks = [lightgbm.early_stopping(self.early_stopping_rounds, verbose=False)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no split was possible, which cross-validation shows
            self.booster_ = lightgbm.train(settings, data, rounds, valid_sets=valid, callbacks=callbacks)
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """The trees' sum."""
        mean = np.asarray(self.booster_.predict(X, num_threads=1), dtype=float)
        return (mean, np.zeros(len(X))) if return_std else mean

    def dumps(self) -> str:
        """LightGBM's own text model."""
        return str(self.booster_.model_to_string())

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """From the text model alone."""
        import lightgbm

        regressor = cls()
        regressor.booster_ = lightgbm.Booster(model_str=text)
        return regressor


class SmallLightGBM(LightGBM):
    """Boosted trees for 32 to 128 runs: four leaves of three runs or more, thresholds drawn at random (smoother).

    From 64 of RegMix's runs the median Spearman over 13 targets is .977, against .909 with RegMix's own settings.
    """

    settings: ClassVar[dict[str, Any]] = {
        "num_iterations": 300,
        "learning_rate": 0.05,
        "num_leaves": 4,
        "min_data_in_leaf": 3,
        "min_data_in_bin": 1,
        "max_bin": 63,
        "extra_trees": True,
    }


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


REGRESSORS: dict[str, type[Regressor]] = {
    "gp": GP,
    "linear": Linear,
    "lightgbm": LightGBM,
    "lightgbm_small": SmallLightGBM,
}
"""What `model` may name; `auto` tries each. A new regressor is a class and a line here."""

BASELINE = "mean"


def make_regressor(name: str) -> Regressor:
    """A fresh regressor of REGRESSORS, or the mean predictor."""
    return Mean() if name == BASELINE else REGRESSORS[name]()


def _squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    squares = np.einsum("ij,ij->i", A, A)[:, None] + np.einsum("ij,ij->i", B, B)[None, :] - 2 * (A @ B.T)
    return np.maximum(squares, 0.0)


def _matern(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matern 5/2 of squared distances, and its derivative in log length per squared scaled distance along a domain."""
    root = np.sqrt(5 * squared)
    decay = np.exp(-root)
    return (1 + root + root * root / 3) * decay, 5 / 3 * (1 + root) * decay


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread for linear algebra: small matrices gain nothing from more, and results depend on how many there are."""
    import scipy.linalg  # noqa: F401  # its own BLAS must be loaded for the limit to reach it
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1):
        yield
