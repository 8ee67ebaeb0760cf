"""What every regressor does, in scikit-learn's way.

`fit(X, y)` and `predict(X, return_std=False)`, X of shape (num_runs, num_domains) with rows that sum to 1. The constructor
stores its parameters, and what is fitted ends in `_`, so scikit-learn's `clone` and `cross_val_score` work. A regressor
is saved as text (`dumps`) and rebuilt from the text and its training data (`loads`); it is never pickled to disk. Every
fit runs in one thread: the caller works on targets and folds in parallel.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Self

import numpy as np


class Regressor(ABC):
    """What every entry of REGRESSORS does.

    Attributes:
        knows_std: Whether `return_std` gives a standard deviation of the regressor's own that grows away from the data
            (and `covariance` one between points). If not, both are zero and the caller takes the cross-validated error.
        smooth: Whether the regressor has a `gradient`, so that a search can follow it.
        smooth_std: Whether it has `with_std_slopes` too.
        has_posterior: Whether it has `posterior_sample`.
        has_held_out: Whether it has `held_out`.
        convex: Whether the predicted loss is a convex function of the weights, so that its lowest point can be proven.
        parametric: Whether the curve has a given shape, so that its uncertainty does not know where the shape is wrong.
        noise_: Standard deviation that a repeated run would have. It is part of `return_std`, and 0 where it is not
            estimated.
    """

    knows_std: bool = False
    smooth: bool = False
    smooth_std: bool = False
    has_posterior: bool = False
    has_held_out: bool = False
    parametric: bool = False
    convex: bool = False
    noise_: float = 0.0

    @abstractmethod
    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        """Fit to losses `y`, shape (num_runs,).

        Args:
            X: Weights, shape (num_runs, num_domains).
            y: Losses, shape (num_runs,).
            warm_start_from: The same kind of regressor, fitted to overlapping data, whose parameters are where to begin.
        """

    @abstractmethod
    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Predicted losses, shape (num_rows,), and with `return_std` the standard deviations of single runs."""

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """A regressor for other runs of the same law (such as a bootstrap sample), which keeps what was tuned here."""
        return self._unfitted().fit(X, y, warm_start_from=self)

    def refit_from_scratch(self, X: np.ndarray, y: np.ndarray) -> Self:
        """The same kind of regressor, tuned on these runs alone."""
        return self._unfitted().fit(X, y)

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Slope of the predicted loss along each weight (as if the others stayed), shape (num_rows, num_domains).

        Finite everywhere, weights of 0 included.
        """
        if type(self).with_slopes is Regressor.with_slopes:
            raise NotImplementedError(f"{type(self).__name__} is not smooth")
        return self.with_slopes(X)[1]

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Prediction and gradient together."""
        return self.predict(X), self.gradient(X)

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Prediction and gradient, standard deviation of the curve (without run noise) and its gradient."""
        raise NotImplementedError(f"{type(self).__name__} has no slopes of its uncertainty")

    def posterior_sample(self, randomness: "JointRandomness", target: int, scale: float) -> "Regressor":
        """Another curve that the runs allow, drawn from the posterior.

        Args:
            randomness: Random numbers that the targets of one sample share.
            target: Which target this regressor is of.
            scale: What deviations from the prediction are multiplied by.
        """
        raise NotImplementedError(f"{type(self).__name__} has no posterior; refit it to bootstrap samples")

    def held_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Predictions of its own runs, each without the runs of its fold, and standard deviations (noise included)."""
        raise NotImplementedError(f"{type(self).__name__} must be fitted again without each fold")

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """Covariance of the predicted curve (without run noise) between the rows of X."""
        return np.zeros((len(X), len(X)))

    def dumps(self) -> str:
        """What `loads` needs beside the training data."""
        return ""

    def loads(self, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """The regressor that wrote `text`, with the parameters of this one; `X` and `y` are those it was fitted to."""
        return self.fit(X, y)

    # ---- What scikit-learn asks of an estimator

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's parameters by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **parameters: Any) -> Self:
        """Set parameters of the constructor.

        Raises:
            ValueError: If there is no such parameter.
        """
        for name, value in parameters.items():
            if name not in self._parameters():
                raise ValueError(f"{type(self).__name__} has no parameter {name!r}; there are {self._parameters()}")
            setattr(self, name, value)
        return self

    def score(self, X: np.ndarray, y: np.ndarray) -> float:
        """R2, as scikit-learn's regressors score."""
        return float(1 - np.mean((np.asarray(y) - self.predict(X)) ** 2) / np.var(y))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import RegressorTags, Tags, TargetTags

        return Tags("regressor", TargetTags(required=True), regressor_tags=RegressorTags())

    @classmethod
    def _parameters(cls) -> list[str]:
        return list(inspect.signature(cls).parameters)

    def _unfitted(self) -> Self:
        return type(self)(**self.get_params())


class PosteriorSample(Regressor):
    """A curve of a regressor's posterior."""

    smooth = True

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        """A sample is drawn, not fitted."""
        raise NotImplementedError("a posterior sample is drawn, not fitted")


class JointRandomness:
    """The random numbers of one posterior sample: one curve per target, from numbers that targets share or correlate in."""

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
