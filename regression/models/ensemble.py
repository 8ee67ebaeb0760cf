"""A weighted mean of the best few regressors."""

import json
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from regression.models.registry import REGRESSORS
from regression.models.regressor import Chance, Regressor


class Ensemble(Regressor):
    """A weighted mean of fitted regressors; where they disagree, that is part of the uncertainty.

    Args:
        members: Regressors fitted to the same runs, by name.
        weights: Name -> share; together 1.
    """

    def __init__(self, members: Mapping[str, Regressor], weights: Mapping[str, float]) -> None:
        self.members_, self.weights = dict(members), dict(weights)
        self.noise_ = float(np.sqrt(sum(w * self.members_[name].noise_ ** 2 for name, w in self.weights.items())))
        self.knows_std = all(member.knows_std for member in self.members_.values())  # type: ignore[misc]
        self.smooth = all(member.smooth for member in self.members_.values())  # type: ignore[misc]
        self.smooth_std = all(member.smooth_std for member in self.members_.values())  # type: ignore[misc]
        self.draws = all(member.draws for member in self.members_.values())  # type: ignore[misc]
        self.convex = all(member.convex for member in self.members_.values())  # type: ignore[misc]

    def fit(self, X: np.ndarray, y: np.ndarray, like: Self | None = None) -> Self:
        """Fit every member to other runs; the weights stay."""
        return self._with({name: type(m)().fit(X, y, like=m) for name, m in self.members_.items()})

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Every member refitted."""
        return self._with({name: member.refit(X, y) for name, member in self.members_.items()})

    def anew(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Every member tuned on these runs alone; the weights stay."""
        return self._with({name: member.anew(X, y) for name, member in self.members_.items()})

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        """Weighted mean, and the standard deviation of the weighted mixture."""
        shares = np.array(list(self.weights.values()))
        members = [self.members_[name] for name in self.weights]
        if not return_std:
            return shares @ np.array([member.predict(X) for member in members])
        means, stds = np.moveaxis(np.array([member.predict(X, return_std=True) for member in members]), 1, 0)
        mean = shares @ means
        return mean, np.sqrt(shares @ (stds**2 + (means - mean) ** 2))

    def gradient(self, X: np.ndarray) -> np.ndarray:
        """Weighted mean of the members' slopes."""
        return np.asarray(sum(w * self.members_[name].gradient(X) for name, w in self.weights.items()))

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Weighted mean and its slopes, standard deviation of the mixture's curve and its slopes."""
        parts = [(share, *self.members_[name].with_std_slopes(X)) for name, share in self.weights.items()]
        mean = np.asarray(sum(share * m for share, m, _, _, _ in parts))
        slopes = np.asarray(sum(share * g for share, _, g, _, _ in parts))
        variance, along = np.zeros(len(X)), np.zeros(X.shape)
        for share, m, g, s, h in parts:
            variance += share * (s**2 + (m - mean) ** 2)
            along += share * (s[:, None] * h + (m - mean)[:, None] * (g - slopes))
        std = np.sqrt(np.maximum(variance, 1e-300))
        return mean, slopes, std, along / std[:, None]

    def drawn(self, chance: Chance, target: int, scale: float) -> Regressor:
        """A curve of one of the members, the same one for all targets."""
        point = chance.shared("member", lambda rng: rng.uniform(size=1))[0]
        names, ends = list(self.weights), np.cumsum(list(self.weights.values()))
        name = names[min(int(np.searchsorted(ends, point, side="right")), len(names) - 1)]
        return self.members_[name].drawn(chance, target, scale)

    def covariance(self, X: np.ndarray) -> np.ndarray:
        """Covariance of the weighted mixture."""
        mean = self.predict(X)
        parts = []
        for name, share in self.weights.items():
            away = self.members_[name].predict(X) - mean
            parts.append(share * (self.members_[name].covariance(X) + np.outer(away, away)))
        return np.asarray(sum(parts))

    def dumps(self) -> str:
        """Weights and texts of the members."""
        return json.dumps([[name, share, self.members_[name].dumps()] for name, share in self.weights.items()])

    @classmethod
    def loads(cls, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        """Every member again."""
        parts = json.loads(text)
        members = {name: REGRESSORS[name].loads(member, X, y) for name, _, member in parts}
        return cls(members, {name: share for name, share, _ in parts})

    def _with(self, members: Mapping[str, Regressor]) -> Self:
        return type(self)(members, self.weights)


def stacked(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Shares of the members whose weighted errors on held-out runs are least (Breiman 1996, Stacked regressions).

    Args:
        errors: Name -> predicted minus measured, any shape, in comparable units.

    Returns:
        Shares of at least .02, that sum to 1.
    """
    from scipy.optimize import nnls

    names = list(errors)
    columns = np.column_stack([errors[name].ravel() for name in names])
    size = float(np.sqrt(np.mean(columns**2))) or 1.0
    # sum 1 as an equation that weighs as much as all runs together
    together = np.vstack([columns / size, np.full(len(names), 1e3)])
    shares, _ = nnls(together, np.append(np.zeros(len(columns)), 1e3))
    shares = np.where(shares < 0.02 * shares.sum(), 0.0, shares)
    return {name: float(share / shares.sum()) for name, share in zip(names, shares, strict=True) if share > 0}
