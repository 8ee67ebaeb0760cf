"""A weighted mean of the best few regressors."""

import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from regression.models.registry import make_regressor
from regression.models.regressor import JointRandomness, Regressor


class Ensemble(Regressor):
    """A weighted mean of regressors. Where they disagree, the difference is a part of the uncertainty.

    Args:
        members: Regressors by their keys in the registry.
        weights: Key -> weight. The weights sum to 1.

    Attributes:
        members_: The fitted regressors by their keys.
    """

    members_: dict[str, Regressor]

    def __init__(self, members: Mapping[str, Regressor], weights: Mapping[str, float]) -> None:
        self.members, self.weights = members, weights
        kinds = list(members.values())
        self.knows_std = all(member.knows_std for member in kinds)
        self.smooth = all(member.smooth for member in kinds)
        self.smooth_std = all(member.smooth_std for member in kinds)
        self.has_posterior = all(member.has_posterior for member in kinds)
        self.convex = all(member.convex for member in kinds)

    @classmethod
    def of_fitted(cls, members: Mapping[str, Regressor], weights: Mapping[str, float]) -> Self:
        """An ensemble of regressors that were fitted to the same runs."""
        return cls(members, weights)._with(members)

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        starts: Mapping[str, Regressor] = {} if warm_start_from is None else warm_start_from.members_
        return self._with({key: m._unfitted().fit(X, y, starts.get(key)) for key, m in self.members.items()})

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Every member refitted; the weights stay."""
        return self._unfitted()._with({key: member.refit(X, y) for key, member in self.members_.items()})

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        weights = np.array(list(self.weights.values()))
        members = [self.members_[key] for key in self.weights]
        if not return_std:
            return weights @ np.array([member.predict(X) for member in members])
        means, stds = np.moveaxis(np.array([member.predict(X, return_std=True) for member in members]), 1, 0)
        mean = weights @ means
        return mean, np.sqrt(weights @ (stds**2 + (means - mean) ** 2))

    def gradient(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(sum(w * self.members_[key].gradient(X) for key, w in self.weights.items()))

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        parts = [(weight, *self.members_[key].with_std_slopes(X)) for key, weight in self.weights.items()]
        mean = np.asarray(sum(weight * m for weight, m, _, _, _ in parts))
        slopes = np.asarray(sum(weight * g for weight, _, g, _, _ in parts))
        variance, along = np.zeros(len(X)), np.zeros(X.shape)
        for weight, m, g, s, h in parts:
            variance += weight * (s**2 + (m - mean) ** 2)
            along += weight * (s[:, None] * h + (m - mean)[:, None] * (g - slopes))
        std = np.sqrt(np.maximum(variance, 1e-300))
        return mean, slopes, std, along / std[:, None]

    def posterior_sample(self, randomness: JointRandomness, target: int, scale: float) -> Regressor:
        """A curve of one of the members, the same one for all targets."""
        point = randomness.shared("member", lambda rng: rng.uniform(size=1))[0]
        keys, ends = list(self.weights), np.cumsum(list(self.weights.values()))
        key = keys[min(int(np.searchsorted(ends, point, side="right")), len(keys) - 1)]
        return self.members_[key].posterior_sample(randomness, target, scale)

    def covariance(self, X: np.ndarray) -> np.ndarray:
        mean = self.predict(X)
        parts = []
        for key, weight in self.weights.items():
            away = self.members_[key].predict(X) - mean
            parts.append(weight * (self.members_[key].covariance(X) + np.outer(away, away)))
        return np.asarray(sum(parts))

    def dumps(self) -> str:
        """Keys, weights and texts of the members."""
        return json.dumps([[key, weight, self.members_[key].dumps()] for key, weight in self.weights.items()])

    def loads(self, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        parts = json.loads(text)
        members = {key: make_regressor(key).loads(member, X, y) for key, _, member in parts}
        return self.of_fitted(members, {key: weight for key, weight, _ in parts})

    def _with(self, members: Mapping[str, Regressor]) -> Self:
        self.members_ = dict(members)
        self.noise_ = float(np.sqrt(sum(w * self.members_[key].noise_ ** 2 for key, w in self.weights.items())))
        return self
