"""What every regressor does, scikit-learn style, and the two simplest: the mean and a line.

`fit(X, y)` and `predict(X, return_std=False)`, X of shape (num_runs, num_domains) with rows that sum to 1. A regressor
is saved as text (`dumps`) and rebuilt from it and its training data (`loads`), never pickled. Every fit runs in one
thread: parallelism belongs to the caller, over targets and folds.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np


class Regressor(ABC):
    """What every entry of REGRESSORS does.

    Attributes:
        knows_std: Whether `return_std` gives a standard deviation of the regressor's own that grows away from the data
            (and `covariance` one between points); where not, it is zero and the caller takes the cross-validated error.
        smooth: Whether `gradient` is there, so that a search can follow it.
        smooth_std: Whether `with_std_slopes` is there too.
        draws: Whether `drawn` is there.
        convex: Whether the predicted loss is a convex function of the weights, so that its lowest point can be proven.
        parametric: Whether the curve has a given shape, so that its uncertainty does not know where the shape is wrong.
        noise_: Standard deviation that a repeated run would have, part of `return_std`; 0 where it is not estimated.
    """

    knows_std: ClassVar[bool] = False
    smooth: ClassVar[bool] = False
    smooth_std: ClassVar[bool] = False
    draws: ClassVar[bool] = False
    parametric: ClassVar[bool] = False
    convex: ClassVar[bool] = False
    noise_: float = 0.0

    @abstractmethod
    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Fit to losses `y`, shape (num_runs,). A fit on overlapping data may be given to begin from (`like`)."""

    @abstractmethod
    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Predicted losses, shape (num_rows,), and with `return_std` the standard deviations of single runs."""

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """A regressor for other runs of the same law (a bootstrap's), with what was tuned here taken as it is."""
        return type(self)().fit(X, y, like=self)

    def anew(self, X: np.ndarray, y: np.ndarray) -> Self:
        """The same kind of regressor, tuned on these runs alone."""
        return type(self)().fit(X, y)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Slope of the predicted loss along each weight (as if the others stayed), shape (num_rows, num_domains).

        Finite everywhere, weights of 0 included.
        """
        raise NotImplementedError(f"{type(self).__name__} is not smooth")

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and gradient together."""
        return self.predict(X), self.gradient(X)

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Prediction and gradient, standard deviation of the curve (without run noise) and its gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no slopes of its uncertainty")

    def drawn(self, chance: "Chance", target: int, scale: float) -> "Regressor":
        """Another curve that the runs allow, drawn from the posterior; where `draws` says so.

        Args:
            chance: Random numbers that the targets of one draw share.
            target: Which target this regressor is of.
            scale: What deviations from the prediction are multiplied by.
        """
        raise NotImplementedError(f"{type(self).__name__} has no posterior; refit it to bootstrap samples")

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

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """No settings: scikit-learn's `clone` and `cross_val_score` ask for them."""
        return {}

    def set_params(self) -> Self:
        """Nothing to set."""
        return self

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        """R2, as scikit-learn's regressors score."""
        return float(1 - np.mean((np.asarray(y) - self.predict(X)) ** 2) / np.var(y))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags, Tags, TargetTags

        return Tags("regressor", TargetTags(required=True), regressor_tags=RegressorTags())


class Chance:
    """The random numbers of one draw of curves, one curve a target: common to all targets, or correlated among them.

    Args:
        rng: Where they come from.
        correlation: Of the targets' errors, shape (num_targets, num_targets).
    """

    def __init__(self, rng: np.random.Generator, correlation: np.ndarray) -> None:
        values, vectors = np.linalg.eigh(correlation)
        self._root = vectors * np.sqrt(np.maximum(values, 0.0))
        self._rng = rng
        self._known: dict[tuple[str, int], np.ndarray] = {}

    def shared(self, name: str, draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
        """Numbers that are the same for every target."""
        return self._once((name, 0), draw)

    def correlated(self, name: str, size: int) -> np.ndarray:
        """Standard normal numbers, correlated over targets; shape (num_targets, size)."""
        return self._once((name, size), lambda rng: self._root @ rng.standard_normal((len(self._root), size)))

    def _once(self, key: tuple[str, int], draw: Callable[[np.random.Generator], np.ndarray]) -> np.ndarray:
        if key not in self._known:
            self._known[key] = draw(self._rng)
        return self._known[key]


class Mean(Regressor):
    """Predicts the mean of its training losses for every mixture: what a regressor must beat."""

    smooth = True
    convex = True

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Remember the mean."""
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """The mean, for every row."""
        mean = np.full(len(X), self.mean_)
        return (mean, np.zeros(len(X))) if return_std else mean

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Flat."""
        return np.zeros_like(X)


class Linear(Regressor):
    """Bayesian ridge regression on the weights: the loss falls by as much for the first percent as for the last."""

    knows_std = True
    smooth = True
    convex = True
    parametric = True

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

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """The coefficients, for every row."""
        return np.tile(self.scale_ * self.ridge_.coef_, (len(X), 1))

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """That of the coefficients, carried to the predictions."""
        centered = X - self.center_
        return self.scale_**2 * centered @ self.ridge_.sigma_ @ centered.T


@contextmanager
def single_thread() -> Iterator[None]:
    """One thread for linear algebra: small matrices gain nothing from more, and results depend on how many there are."""
    with _thread_pools().limit(limits=1):
        yield


@cache
def _thread_pools() -> Any:
    """The thread pools of this process; finding them takes milliseconds, so once."""
    import scipy.linalg  # noqa: F401  # its own BLAS must be loaded for the limit to reach it
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
