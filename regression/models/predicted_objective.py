"""A fitted model and an objective -> the function that a search minimises, with its slopes and the ceilings on losses."""

from collections.abc import Sequence

import numpy as np

from proxymix.schemas import loss_domain
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.models.threads import single_thread


class PredictedObjective:
    """The predicted objective as a search sees it.

    Args:
        reference: The mixture that ceilings refer to, shape (num_domains,). No loss may rise further above its loss there
            than `objective.max_increase` says.
        risk_aversion: Standard deviations of the curve that are added to the prediction.
    """

    def __init__(
        self, fitted: FittedModel, objective: Objective, reference: np.ndarray, risk_aversion: float = 0.0
    ) -> None:
        used = [fitted.regressors[t] for t in objective.used]
        self.smooth = all(r.smooth and (risk_aversion == 0 or r.smooth_std) for r in used)
        self.convex = risk_aversion == 0 and all(r.convex for r in used)
        self.has_kinks = bool(objective.worst and np.count_nonzero(objective.weights) > 1)
        self.ceilings: Sequence[str] = [loss_domain(fitted.targets[t]) for t in objective.capped]
        self._fit, self._objective, self._risk_aversion = fitted, objective, risk_aversion
        self._reference = fitted.losses(reference[None], objective.used)[0]

    def value(self, X: np.ndarray) -> np.ndarray:
        """The objective plus `risk_aversion` standard deviations, shape (num_rows,)."""
        if self._risk_aversion == 0:
            return self._fit.mean_objective(X, self._objective)
        mean, std = self._fit.predict_objective(X, self._objective, noise=False)
        return mean + self._risk_aversion * std

    def gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, and their slopes along each weight, shape (num_rows, num_domains)."""
        objective, fitted = self._objective, self._fit
        used = objective.used
        losses = np.full((len(X), len(fitted.targets)), np.nan)
        along, std, std_along = (np.zeros((len(used), *shape)) for shape in (X.shape, (len(X),), X.shape))
        with single_thread():
            for i, t in enumerate(used):
                if self._risk_aversion:
                    losses[:, t], along[i], std[i], std_along[i] = fitted.regressors[t].with_std_slopes(X)
                else:
                    losses[:, t], along[i] = fitted.regressors[t].with_slopes(X)
        weights = objective.slopes(losses)[:, used]
        value, slopes = objective.value(losses), np.einsum("nt,tnk->nk", weights, along)
        if self._risk_aversion:
            # the targets' errors are correlated, so the slope of the sum's deviation mixes those of the targets
            size = fitted.curve_scale[used] * weights
            scaled = size * std.T
            total = fitted.aggregated_std(scaled, used)
            pull = (scaled @ fitted.correlation[np.ix_(used, used)]) * size / np.maximum(total, 1e-300)[:, None]
            value = value + self._risk_aversion * total
            slopes = slopes + self._risk_aversion * np.einsum("nt,tnk->nk", pull, std_along)
        return value, slopes

    def excess(self, X: np.ndarray) -> np.ndarray:
        """How far each capped loss is above its ceiling, shape (num_rows, C); a value of at most 0 is allowed."""
        if not self.ceilings:
            return np.zeros((len(X), 0))
        return self._objective.excess(self._fit.losses(X, self._objective.capped), self._reference)

    def excess_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """`excess`, and its slopes, shape (num_rows, C, num_domains)."""
        with single_thread():
            slopes = [self._fit.regressors[t].gradient(X) for t in self._objective.capped]
        return self.excess(X), np.array(slopes).reshape(-1, *X.shape).swapaxes(0, 1)
