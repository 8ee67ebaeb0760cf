"""Held-out predictions -> rows of scores.csv."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.regressor import Regressor
from regression.models.threads import single_thread
from regression.selection.cross_validation import CrossValidation
from regression.selection.metrics import MEASURES, NOISE, OBJECTIVE, measures


def score(runs: Runs, validation: CrossValidation, objective: Objective) -> list[dict[str, Any]]:
    """Rows per model and target, the objective first: each measure's mean and spread over repeats."""
    value = objective.value(runs.losses)
    of_objective = {name: objective.value(mean) for name, mean in validation.mean.items()}
    first = [_row(name, OBJECTIVE, value, of_objective[name], validation.folds) for name in validation.mean]
    return [*first, *target_scores(runs, validation)]


def target_scores(runs: Runs, validation: CrossValidation) -> list[dict[str, Any]]:
    """Rows per model and target, without the objective."""
    return [
        _row(name, target, runs.losses[:, t], predicted[..., t], validation.folds)
        for name, predicted in validation.mean.items()
        for t, target in enumerate(runs.targets)
    ]


def test_scores(test: Runs, fitted: Mapping[str, Sequence[Regressor]], objective: Objective) -> list[dict[str, Any]]:
    """Rows of test_scores.csv: every model that was fitted to all targets, on test runs, without spreads."""
    with single_thread():
        mean = {
            name: np.column_stack([regressor.predict(test.weights) for regressor in regressors])[None]
            for name, regressors in fitted.items()
        }
    one_fold = np.zeros((1, len(test.index)))
    rows = score(test, CrossValidation(one_fold, mean, {}), objective)
    return [{key: value for key, value in row.items() if not key.endswith("_sd")} for row in rows]


def noise_rows(floor: Mapping[str, float]) -> list[dict[str, Any]]:
    """Rows of the noise over seeds, which have an error and no other measure."""
    blank: dict[str, Any] = {key: "" for measure in MEASURES for key in (measure, f"{measure}_sd")}
    return [{"model": NOISE, "target": target, **blank, "rmse": sd, "rmse_sd": 0.0} for target, sd in floor.items()]


def _row(name: str, target: str, y: np.ndarray, predicted: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    repeats = [measures(y, p, f) for p, f in zip(predicted, folds, strict=True)]
    row: dict[str, Any] = {"model": name, "target": target}
    for measure, values in zip(MEASURES, np.array(repeats).T, strict=True):
        row[measure] = float(values.mean())
        row[f"{measure}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return row
