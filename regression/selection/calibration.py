"""Held-out predictions -> how far a model's predictions may be off, and whether they rank runs at all."""

from collections.abc import Sequence

import numpy as np

from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.models.regressor import Regressor
from regression.selection.metrics import OBJECTIVE

MAX_FALSE_ALARM = 0.05
"""Share of sweeps without any signal in which a regression is said to rank runs."""


def ranks(y: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether held-out predictions rank the runs better than chance.

    Kendall's tau of the predictions averaged over repeats, one-sided. Held-out predictions of noise correlate with the
    noise negatively if at all (the high losses of a fold lower the mean of the others), so the test errs on the cautious
    side.
    """
    from scipy.stats import kendalltau

    if np.ptp(predicted) == 0 or np.ptp(y) == 0:
        return False
    return bool(kendalltau(y, predicted, alternative="greater").pvalue < MAX_FALSE_ALARM)


def calibration(
    runs: Runs, regressors: Sequence[Regressor], mean: np.ndarray, std: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales of standard deviations that match the errors on held-out runs: the mean of (error / std)^2 is 1.

    Args:
        mean: Held-out predictions, shape (num_repeats, num_runs, num_targets).
        std: Their standard deviations, same shape.

    Returns:
        std_scale, std_constant and correlation of a `FittedModel`.
    """
    error = mean - runs.losses
    rmse = np.sqrt((error**2).mean(axis=(0, 1)))
    knows = np.array([regressor.knows_std for regressor in regressors])
    own = np.where(knows, std, 1.0)
    scale = np.where(knows, np.sqrt(((error / own) ** 2).mean(axis=(0, 1))), 1.0)
    standard = error / np.where(knows, own * scale, np.maximum(rmse, 1e-300))
    correlation = np.einsum("rni,rnj->ij", standard, standard)
    size = np.sqrt(np.maximum(np.diag(correlation), 1e-300))
    return scale, np.where(knows, 0.0, rmse), correlation / np.outer(size, size)


def held_out_rows(fitted: FittedModel, mean: np.ndarray, std: np.ndarray) -> list[tuple[object, ...]]:
    """Rows of predictions.csv: held-out predictions of the chosen model, averaged over repeats, the objective first."""
    objective, runs = fitted.objective, fitted.runs
    predicted = mean.mean(axis=0)
    spread = np.hypot(fitted.std_scale * np.sqrt((std**2).mean(axis=0)), fitted.std_constant)
    used = objective.used
    of_objective = fitted.aggregated_std((spread * objective.slopes(predicted))[:, used], used)
    columns = [(OBJECTIVE, objective.value(runs.losses), objective.value(predicted), of_objective)]
    columns += [(target, runs.losses[:, i], predicted[:, i], spread[:, i]) for i, target in enumerate(runs.targets)]
    return [
        (run, target, float(y), float(p), float(s))
        for target, *values in columns
        for run, y, p, s in zip(runs.index, *values, strict=True)
    ]
