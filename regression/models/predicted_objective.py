"""A fitted model and an objective -> the function that a search minimises, with its slopes and what the ceilings leave."""

from collections.abc import Sequence

import numpy as np

from proxymix.schemas import loss_domain
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.models.threads import single_thread


class PredictedObjective:
    """The predicted objective as a search sees it: values, slopes, and how far ceilings are passed.

    Args:
        fitted: The regressions.
        goal: The objective.
        reference: The mixture above whose losses targets may not rise far, shape (num_domains,).
        caution: Standard deviations of the curve that are added to the prediction.
    """

    def __init__(self, fitted: FittedModel, goal: Objective, reference: np.ndarray, caution: float = 0.0) -> None:
        used = [fitted.regressors[t] for t in goal.used]
        self.smooth = all(r.smooth and (caution == 0 or r.smooth_std) for r in used)
        self.convex = caution == 0 and all(r.convex for r in used)
        self.ceilings: Sequence[str] = [loss_domain(fitted.targets[t]) for t in goal.capped]
        self._fit, self._goal, self._caution = fitted, goal, caution
        self._reference = fitted.losses(reference[None], goal.used)[0]

    def value(self, X: np.ndarray) -> np.ndarray:
        """The objective, and `caution` standard deviations, shape (num_rows,)."""
        if self._caution == 0:
            return self._fit.mean_objective(X, self._goal)
        mean, std = self._fit.predict_objective(X, self._goal, noise=False)
        return mean + self._caution * std

    def gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, and their slopes along each weight, shape (num_rows, num_domains)."""
        used, fitted = self._goal.used, self._fit
        losses = np.full((len(X), len(fitted.targets)), np.nan)
        along, std, std_along = (np.zeros((len(used), *shape)) for shape in (X.shape, (len(X),), X.shape))
        with single_thread():
            for i, t in enumerate(used):
                if self._caution:
                    losses[:, t], along[i], std[i], std_along[i] = fitted.regressors[t].with_std_slopes(X)
                else:
                    losses[:, t], along[i] = fitted.regressors[t].with_slopes(X)
        weights = self._goal.slopes(losses)[:, used]
        value, slopes = self._goal.value(losses), np.einsum("nt,tnk->nk", weights, along)
        if self._caution:
            size = fitted.curve_scale[used] * weights
            scaled = size * std.T
            total = fitted.aggregated_std(scaled, used)
            pull = (scaled @ fitted.correlation[np.ix_(used, used)]) * size / np.maximum(total, 1e-300)[:, None]
            value = value + self._caution * total
            slopes = slopes + self._caution * np.einsum("nt,tnk->nk", pull, std_along)
        return value, slopes

    def excess(self, X: np.ndarray) -> np.ndarray:
        """How far each capped target is above its ceiling, shape (num_rows, C); at most 0 is allowed."""
        if not self.ceilings:
            return np.zeros((len(X), 0))
        return self._goal.excess(self._fit.losses(X, self._goal.capped), self._reference)

    def excess_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same, and slopes, shape (num_rows, C, num_domains)."""
        with single_thread():
            slopes = [self._fit.regressors[t].gradient(X) for t in self._goal.capped]
        return self.excess(X), np.array(slopes).reshape(-1, *X.shape).swapaxes(0, 1)
