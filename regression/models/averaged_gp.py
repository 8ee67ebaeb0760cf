"""The mean of two Gaussian processes, which ranks runs better than either."""

import json
from typing import Any, Self

import numpy as np

from regression.models.gaussian_process import RootGP, RootLogGP, TransformedGP
from regression.models.regressor import JointRandomness, Regressor


class GP(Regressor):
    """The mean of two Gaussian processes, on sqrt(w) and on sqrt(w) with log(1 + w / 0.001).

    It ranks better than either (`python benchmarks/regression.py`). The two count as one distribution: where they
    disagree, half of their difference is added to the uncertainty.
    """

    knows_std = True
    smooth = True
    smooth_std = True
    has_posterior = True
    has_held_out = True
    parts_: list[TransformedGP]

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Self | None = None) -> Self:
        starts = [None, None] if warm_start_from is None else warm_start_from.parts_
        kinds: tuple[TransformedGP, TransformedGP] = RootGP(), RootLogGP()
        return self._of([part.fit(X, y, start) for part, start in zip(kinds, starts, strict=True)])

    def refit(self, X: np.ndarray, y: np.ndarray) -> Self:
        return self._unfitted()._of([part.refit(X, y) for part in self.parts_])

    def predict(self, X: np.ndarray, return_std: bool = False) -> Any:
        if not return_std:
            return np.mean([part.predict(X) for part in self.parts_], axis=0)
        return _even_mixture([part.predict(X, return_std=True) for part in self.parts_])

    def with_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        means, slopes = zip(*(part.with_slopes(X) for part in self.parts_), strict=True)
        return np.mean(means, axis=0), np.mean(slopes, axis=0)

    def with_std_slopes(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        means, slopes, stds, std_slopes = zip(*(part.with_std_slopes(X) for part in self.parts_), strict=True)
        half, half_slopes = (means[0] - means[1]) / 2, (slopes[0] - slopes[1]) / 2
        std = np.sqrt(np.mean(np.square(stds), axis=0) + half**2)
        both = np.mean([s[:, None] * g for s, g in zip(stds, std_slopes, strict=True)], axis=0)
        along = (both + half[:, None] * half_slopes) / np.maximum(std, 1e-300)[:, None]
        return np.mean(means, axis=0), np.mean(slopes, axis=0), std, along

    def covariance(self, X: np.ndarray) -> np.ndarray:
        half = (self.parts_[0].predict(X) - self.parts_[1].predict(X)) / 2
        return np.mean([part.covariance(X) for part in self.parts_], axis=0) + np.outer(half, half)

    def held_out(self, folds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return _even_mixture([part.held_out(folds) for part in self.parts_])

    def posterior_sample(self, randomness: JointRandomness, target: int, scale: float) -> Regressor:
        """A curve of one of the two, the same one for all targets."""
        part = randomness.shared("part", lambda rng: rng.integers(len(self.parts_), size=1))[0]
        return self.parts_[part].posterior_sample(randomness, target, scale)

    def dumps(self) -> str:
        return json.dumps([part.dumps() for part in self.parts_])

    def loads(self, text: str, X: np.ndarray, y: np.ndarray) -> Self:
        root, root_log = json.loads(text)
        return self._of([RootGP().loads(root, X, y), RootLogGP().loads(root_log, X, y)])

    def _of(self, parts: list[TransformedGP]) -> Self:
        self.parts_ = parts
        self.noise_ = float(np.sqrt(np.mean([part.noise_**2 for part in parts])))
        return self


def _even_mixture(predictions: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of an even mixture of distributions."""
    means, stds = np.moveaxis(np.array(predictions), 1, 0)
    return means.mean(axis=0), np.sqrt((stds**2).mean(axis=0) + means.var(axis=0))
