"""Runs -> every regressor on held-out runs, the one to trust, and a fit of it whose uncertainty is calibrated there."""

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxymix.errors import InputError
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.models.registry import BASELINE, ENSEMBLE, REGRESSORS
from regression.models.regressor import Regressor
from regression.selection.validation import (
    SCREENED,
    CrossValidation,
    calibration,
    choose,
    cross_validate,
    ensembled,
    members,
    ranks,
    same_mixtures,
    score,
    screened,
    split,
)


@dataclass(frozen=True)
class Comparison:
    """Models on the same held-out runs, and the one to trust.

    Attributes:
        chosen: Its name, a key of `fitted`.
        fitted: Model -> its regressors of all runs, one per target.
        validation: Held-out predictions per model.
        scores: Rows of scores.csv of these models.
        dropped: Rows of models that were too far behind to be tried on all targets.
    """

    chosen: str
    fitted: dict[str, list[Regressor]]
    validation: CrossValidation
    scores: list[dict[str, Any]]
    dropped: list[dict[str, Any]]


def compare(runs: Runs, model: str, goal: Objective, folds: np.ndarray, workers: int | None = None) -> Comparison:
    """Cross-validate what `model` names (for `auto` every regressor, and the best few stacked), and choose."""
    names = _model_names(model)
    dropped: list[dict[str, Any]] = []
    if len(names) > 1 and len(runs.targets) > SCREENED:
        names, dropped = screened(runs, names, folds, goal, workers)
    validation, fitted = cross_validate(runs, [BASELINE, *names], folds, workers)
    if model in ("auto", ENSEMBLE) and (stack := ensembled(runs, validation, names, goal)):
        validation.mean[ENSEMBLE], validation.std[ENSEMBLE], shares = stack
        fitted[ENSEMBLE] = [*members(fitted, shares)]
    scores = score(runs, validation, goal)
    alone = [name for name in names if len(names) == 1 or not REGRESSORS[name].parametric]
    chosen = (
        ENSEMBLE if model == ENSEMBLE and ENSEMBLE in fitted else choose(scores, [*alone, ENSEMBLE], len(runs.index))
    )
    return Comparison(chosen, fitted, validation, scores, dropped)


def _model_names(model: str) -> list[str]:
    if model in ("auto", ENSEMBLE):
        return list(REGRESSORS)
    if model not in REGRESSORS:
        near = difflib.get_close_matches(model, ["auto", ENSEMBLE, *REGRESSORS], n=1, cutoff=0.0)[0]
        raise InputError(f"model: no {model!r}; nearest: {near} (there are auto, {', '.join(REGRESSORS)}, {ENSEMBLE})")
    return [model]


def num_repeats_for(runs: Runs) -> int:
    return 3 if len(runs.index) < 256 else 2


def calibrated_fit(
    runs: Runs,
    chosen: str,
    preset: str | None,
    goal: Objective,
    regressors: list[Regressor],
    validation: CrossValidation,
    inputs: dict[str, str],
) -> FittedModel:
    mean, std = validation.mean[chosen], validation.std[chosen]
    calibrated = calibration(runs, regressors, mean, std)
    shown = ranks(goal.value(runs.losses), goal.value(mean.mean(axis=0)))
    return FittedModel(chosen, preset, goal.spec, runs, regressors, *calibrated, inputs, shown)


def fit_runs(runs: Runs, model: str, spec: Any, seed: int = 0, workers: int | None = 1) -> FittedModel:
    """A calibrated fit in memory, of one model (split once) or of what `fit` would choose (`auto`). Files are `fit`'s."""
    goal = Objective.of(spec, runs.targets, runs.losses)
    num_repeats = 1 if model in REGRESSORS else num_repeats_for(runs)
    folds = split(same_mixtures(runs.weights), min(5, len(runs.index)), num_repeats, seed)
    tried = compare(runs, model, goal, folds, workers)
    return calibrated_fit(runs, tried.chosen, None, goal, tried.fitted[tried.chosen], tried.validation, {})
