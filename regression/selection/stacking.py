"""Held-out predictions of several models -> the weights with which they are best added up, and the sum's own predictions."""

from collections.abc import Mapping, Sequence

import numpy as np

from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.ensemble import Ensemble
from regression.models.registry import TRUSTED_MODEL, make_regressor
from regression.models.regressor import Regressor
from regression.selection.cross_validation import CrossValidation

MIN_TRUSTED_WEIGHT = 0.25
"""The least weight of TRUSTED_MODEL in an ensemble."""
MIN_WEIGHT = 0.02
"""Members of less weight are left out."""


def stacked_predictions(
    runs: Runs, validation: CrossValidation, names: Sequence[str], objective: Objective
) -> tuple[np.ndarray, np.ndarray, dict[str, float]] | None:
    """Held-out predictions of an ensemble, their standard deviations, and its weights; None if one model has them all.

    Only models with a posterior are stacked, so that the ensemble has one too. The weights that predict a fold come from
    the other folds, so the ensemble's own score has not seen the run either.
    """
    names = [name for name in names if make_regressor(name).has_posterior]
    if len(names) < 2:
        return None
    size = np.maximum(runs.losses.std(axis=0), 1e-300)
    along = np.abs(objective.slopes(runs.losses)).mean(axis=0) * size
    size = size / np.sqrt(np.maximum(along / along.sum(), 1e-12))  # errors count by what they do to the objective
    errors = {name: (validation.mean[name] - runs.losses) / size for name in names}
    weights = _trusting_weights(errors)
    if len(weights) < 2:
        return None
    mean, std = np.zeros_like(validation.mean[names[0]]), np.zeros_like(validation.mean[names[0]])
    for repeat, fold_of in enumerate(validation.folds):
        for fold in np.unique(fold_of):
            out = fold_of == fold
            own = _trusting_weights({name: error[repeat, ~out] for name, error in errors.items()})
            means = np.array([validation.mean[name][repeat, out] for name in own])
            stds = np.array([validation.std[name][repeat, out] for name in own])
            each = np.array(list(own.values()))
            mean[repeat, out] = np.tensordot(each, means, 1)
            std[repeat, out] = np.sqrt(np.tensordot(each, stds**2 + (means - mean[repeat, out]) ** 2, 1))
    return mean, std, weights


def stacking_weights(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Weights with which the sum of errors on held-out runs is smallest (Breiman 1996, Stacked regressions).

    Args:
        errors: Name -> predicted minus measured, any shape, in comparable units.

    Returns:
        Weights of at least MIN_WEIGHT, which sum to 1.
    """
    from scipy.optimize import nnls

    names = list(errors)
    columns = np.column_stack([errors[name].ravel() for name in names])
    size = float(np.sqrt(np.mean(columns**2))) or 1.0
    # that the weights sum to 1 is one more row, which counts as much as all runs together
    rows = np.vstack([columns / size, np.full(len(names), 1e3)])
    weights, _ = nnls(rows, np.append(np.zeros(len(columns)), 1e3))
    weights = np.where(weights < MIN_WEIGHT * weights.sum(), 0.0, weights)
    return {name: float(weight / weights.sum()) for name, weight in zip(names, weights, strict=True) if weight > 0}


def _trusting_weights(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Stacking weights, of which TRUSTED_MODEL has MIN_TRUSTED_WEIGHT at least."""
    weights = stacking_weights(errors)
    if TRUSTED_MODEL not in errors or weights.get(TRUSTED_MODEL, 0.0) >= MIN_TRUSTED_WEIGHT:
        return weights
    others = 1 - weights.pop(TRUSTED_MODEL, 0.0)
    rest = {name: weight * (1 - MIN_TRUSTED_WEIGHT) / others for name, weight in weights.items()}
    return {TRUSTED_MODEL: MIN_TRUSTED_WEIGHT} | rest


def ensembles_of(fitted: Mapping[str, Sequence[Regressor]], weights: Mapping[str, float]) -> list[Regressor]:
    """One ensemble per target, of regressors that were fitted to all runs."""
    num_targets = len(next(iter(fitted.values())))
    return [Ensemble.of_fitted({name: fitted[name][t] for name in weights}, weights) for t in range(num_targets)]
