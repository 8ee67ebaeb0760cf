"""Runs -> predictions of held-out runs by every model, and the models fitted to all runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regression.data.runs import Runs
from regression.models.registry import make_regressor
from regression.models.regressor import Regressor
from regression.models.threads import in_parallel, single_thread

MIN_CLOSED_FORM_RUNS = 384
"""Runs from which on hyperparameters hardly depend on a fold, so that held-out predictions come in closed form."""


@dataclass(frozen=True)
class CrossValidation:
    """Predictions of held-out runs, each by a model that was fitted without it.

    Attributes:
        folds: The fold of every run, per repeat; shape (num_repeats, num_runs).
        mean: model -> predictions, shape (num_repeats, num_runs, num_targets).
        std: model -> standard deviations as the regressors give them, same shape.
    """

    folds: np.ndarray
    mean: dict[str, np.ndarray]
    std: dict[str, np.ndarray]


def split(mixtures: np.ndarray, num_folds: int, num_repeats: int, seed: int) -> np.ndarray:
    """Folds of nearly equal size, drawn again for every repeat. Runs of one mixture are in one fold.

    Returns:
        Shape (num_repeats, num_runs).
    """
    rng, num = np.random.default_rng(seed), int(mixtures.max()) + 1
    return np.array([rng.permutation(np.arange(num) % num_folds)[mixtures] for _ in range(num_repeats)])


def cross_validate(
    runs: Runs, names: Sequence[str], folds: np.ndarray, workers: int | None = None, label: str = "fit"
) -> tuple[CrossValidation, dict[str, list[Regressor]]]:
    """Fit each model to each target, on all runs and without each fold.

    Args:
        folds: Shape (num_repeats, num_runs).

    Returns:
        Predictions of held-out runs per model, and the regressors fitted to all runs: model -> one per target.
    """
    pairs = [(name, t) for t in range(len(runs.targets)) for name in names]
    tasks = [(make_regressor(name), runs.weights, runs.losses[:, t], folds) for name, t in pairs]
    results = dict(zip(pairs, in_parallel(_fit, tasks, workers, label, "regressions"), strict=True))
    columns = range(len(runs.targets))
    mean = {name: np.stack([results[name, t][1] for t in columns], axis=-1) for name in names}
    std = {name: np.stack([results[name, t][2] for t in columns], axis=-1) for name in names}
    return CrossValidation(folds, mean, std), {name: [results[name, t][0] for t in columns] for name in names}


def _fit(
    unfitted: Regressor, X: np.ndarray, y: np.ndarray, folds: np.ndarray
) -> tuple[Regressor, np.ndarray, np.ndarray]:
    """One model on one target: fitted to all runs, and predictions of held-out ones, shape (num_repeats, num_runs).

    A Gaussian process of few runs is tuned again without each fold, because tuning sees noise. With hyperparameters of all
    runs and noise as large as the signal, held-out Spearman is .58 where the truth is .34 (48 runs), and .65 where it is
    .55 (128 runs).
    """
    mean, std = np.empty(folds.shape), np.empty(folds.shape)
    with single_thread():
        full = unfitted.fit(X, y)
        for repeat, fold_of in enumerate(folds):
            if full.has_held_out and len(X) >= MIN_CLOSED_FORM_RUNS:
                mean[repeat], std[repeat] = full.held_out(fold_of)
                continue
            for fold in np.unique(fold_of):
                out = fold_of == fold
                without = full.refit_from_scratch(X[~out], y[~out])
                mean[repeat, out], std[repeat, out] = without.predict(X[out], return_std=True)
    return full, mean, std
