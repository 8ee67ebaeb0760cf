"""Runs -> every regressor on held-out runs, the one to trust, and a fit of it whose uncertainty is calibrated there."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxymix.errors import InputError
from regression.data.objective import Objective, Spec
from regression.data.runs import Runs
from regression.models.ensemble import Ensemble
from regression.models.fitted import FittedModel
from regression.models.registry import BASELINE, ENSEMBLE, REGRESSORS, TRUSTED_MODEL, make_regressor
from regression.models.regressor import Regressor
from regression.selection.calibration import calibration, ranks
from regression.selection.cross_validation import CrossValidation, cross_validate, split
from regression.selection.metrics import OBJECTIVE
from regression.selection.repeats import same_mixtures
from regression.selection.scores import score, target_scores
from regression.selection.stacking import ensembles_of, stacked_predictions

SCREENING_TARGETS = 3
"""Targets on which every model is tried before all targets are."""
MAX_MISSED = 3.0
"""Over the root of the runs: the share by which a model may miss more (1 - Spearman) than the best and stay."""
TIE = 0.001
"""Spearman correlations that are closer than this count as equal, so that a lucky pick does not decide."""


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


def compare(runs: Runs, model: str, objective: Objective, folds: np.ndarray, workers: int | None = None) -> Comparison:
    """Cross-validate what `model` names (for `auto` every regressor, and the best few stacked), and choose.

    Raises:
        InputError: If there is no such model.
    """
    names = _model_names(model)
    dropped: list[dict[str, Any]] = []
    if len(names) > 1 and len(runs.targets) > SCREENING_TARGETS:
        names, dropped = _screened(runs, names, folds, objective, workers)
    validation, fitted = cross_validate(runs, [BASELINE, *names], folds, workers)
    if model in ("auto", ENSEMBLE) and (stacked := stacked_predictions(runs, validation, names, objective)):
        validation.mean[ENSEMBLE], validation.std[ENSEMBLE], weights = stacked
        fitted[ENSEMBLE] = ensembles_of(fitted, weights)
    scores = score(runs, validation, objective)
    if model == ENSEMBLE and ENSEMBLE in fitted:
        return Comparison(ENSEMBLE, fitted, validation, scores, dropped)
    alone = [name for name in names if len(names) == 1 or not make_regressor(name).parametric]
    return Comparison(choose(scores, [*alone, ENSEMBLE], len(runs.index)), fitted, validation, scores, dropped)


def choose(scores: Sequence[Mapping[str, Any]], names: Sequence[str], num_runs: int) -> str:
    """The model with the highest Spearman on the objective; among those that rank alike, the one of least regret.

    Two models rank alike if their correlations are within TIE. A model without a posterior (trees, lines) must be better
    by half the standard error of a correlation, because little that is said of its optimum can be trusted.
    """
    rows = {row["model"]: row for row in scores if row["target"] == OBJECTIVE and row["model"] in names}
    sampled = [name for name in rows if name == ENSEMBLE or make_regressor(name).has_posterior]
    best = max(row["spearman"] for row in rows.values())
    error = (1 - best**2) / np.sqrt(num_runs)
    if sampled and max(rows[name]["spearman"] for name in sampled) >= best - 0.5 * error:
        rows = {name: rows[name] for name in sampled}
        best = max(row["spearman"] for row in rows.values())
    tied = [name for name in rows if rows[name]["spearman"] >= best - TIE]
    return min(tied, key=lambda name: float(rows[name]["regret"]))


def fit_runs(runs: Runs, model: str, spec: Spec, seed: int = 0, workers: int | None = 1) -> FittedModel:
    """A calibrated fit in memory, of one model (split once) or of what `fit` would choose (`auto`); no file is written."""
    objective = Objective.of(spec, runs.targets, runs.losses)
    num_repeats = 1 if model in REGRESSORS else num_repeats_for(runs)
    folds = split(same_mixtures(runs.weights), min(5, len(runs.index)), num_repeats, seed)
    tried = compare(runs, model, objective, folds, workers)
    return calibrated_fit(runs, tried, objective)


def calibrated_fit(
    runs: Runs, tried: Comparison, objective: Objective, preset: str | None = None, inputs: dict[str, str] | None = None
) -> FittedModel:
    """The chosen model, with its uncertainty scaled to the errors on held-out runs."""
    chosen = tried.chosen
    mean, std = tried.validation.mean[chosen], tried.validation.std[chosen]
    calibrated = calibration(runs, tried.fitted[chosen], mean, std)
    better_than_chance = ranks(objective.value(runs.losses), objective.value(mean.mean(axis=0)))
    regressors = tried.fitted[chosen]
    return FittedModel(chosen, preset, objective.spec, runs, regressors, *calibrated, inputs or {}, better_than_chance)


def num_repeats_for(runs: Runs) -> int:
    """How often runs are split anew when nobody says."""
    return 3 if len(runs.index) < 256 else 2


def leading_model(fitted: FittedModel) -> str:
    """The model, or the member of an ensemble that has the largest weight."""
    first = fitted.regressors[0]
    return max(first.weights, key=lambda name: first.weights[name]) if isinstance(first, Ensemble) else fitted.model


def _model_names(model: str) -> list[str]:
    if model in ("auto", ENSEMBLE):
        return [entry.key for entry in REGRESSORS.values() if entry.in_auto]
    if model not in REGRESSORS:
        near = difflib.get_close_matches(model, ["auto", ENSEMBLE, *REGRESSORS], n=1, cutoff=0.0)[0]
        known = {"auto": "the best of the models below on held-out runs", ENSEMBLE: "the best few of them, stacked"}
        known |= {entry.key: entry.help for entry in REGRESSORS.values()}
        lines = [f"  {key:<16}{text}" for key, text in known.items()]
        raise InputError("\n".join([f"model: no {model!r}; nearest: {near}. There are:", *lines]))
    return [model]


def _screened(
    runs: Runs, names: Sequence[str], folds: np.ndarray, objective: Objective, workers: int | None
) -> tuple[list[str], list[dict[str, Any]]]:
    """Models worth a whole cross-validation: those not far behind on a few targets and one repeat.

    Returns:
        The names that are left, and rows of scores of those that are out.
    """
    importance = np.abs(objective.slopes(runs.losses)).mean(axis=0) * runs.losses.std(axis=0)
    few = np.sort(np.argsort(-importance, kind="stable")[:SCREENING_TARGETS])
    part = Runs(runs.index, runs.domains, [runs.targets[t] for t in few], runs.weights, runs.losses[:, few])
    validation, _ = cross_validate(part, names, folds[:1], workers, "screen")
    rows = target_scores(part, validation)
    rank = {name: np.mean([row["spearman"] for row in rows if row["model"] == name]) for name in names}
    most = (1 - max(rank.values())) * (1 + MAX_MISSED / np.sqrt(len(runs.index)))
    left = [name for name in names if name == TRUSTED_MODEL or 1 - rank[name] <= most + TIE]
    return left, [row for row in rows if row["model"] not in left]
