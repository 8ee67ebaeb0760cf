"""The two simplest regressors: the mean of the losses, and a line."""

from typing import Any, Self

import numpy as np

from regression.models.regressor import Regressor


class Mean(Regressor):
    """Predicts the mean of its training losses for every mixture: what a regressor must beat."""

    smooth = True
    convex = True

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        self.mean_ = float(np.mean(y))
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        mean = np.full(len(X), self.mean_)
        return (mean, np.zeros(len(X))) if return_std else mean

    def gradient(self, X: np.ndarray) -> np.ndarray:
        return np.zeros_like(X)


class Linear(Regressor):
    """Bayesian ridge regression on the weights: the loss falls by as much for the first percent as for the last."""

    knows_std = True
    smooth = True
    convex = True
    parametric = True

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        """Ridge regression, whose penalty maximises the marginal likelihood."""
        from sklearn.linear_model import BayesianRidge

        self.scale_ = float(np.std(y)) or 1.0  # BayesianRidge's priors have a unit, so losses are brought to size 1
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
        return np.tile(self.scale_ * self.ridge_.coef_, (len(X), 1))

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """The covariance of the coefficients, carried to the predictions."""
        centered = X - self.center_
        return self.scale_**2 * centered @ self.ridge_.sigma_ @ centered.T
