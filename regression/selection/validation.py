"""Regressors on held-out runs -> scores of every model, the one to trust, and how far its predictions may be off."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from proxymix.progress import progress
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.ensemble import Ensemble, stacked
from regression.models.fitted import FittedModel
from regression.models.registry import ENSEMBLE, REGRESSORS, make_regressor
from regression.models.regressor import Regressor, single_thread
from regression.selection.metrics import MEASURES, OBJECTIVE, measures

TIE = 0.001  # Spearman correlations closer than this are equal, so that a better ranking is never given up for a lucky pick
MANY_RUNS = 384  # from here on hyperparameters hardly depend on a fold: held-out predictions come in closed form
SCREENED = 3  # targets on which every model is tried first
BEHIND = (
    3.0  # over the root of the runs: the share by which a model may miss more (1 - Spearman) than the best and stay
)
SOUND, LEAST_SHARE = "gp", 0.25  # a law is never trusted alone: where its shape is wrong it does not know it
SAME = 1e-9  # mixtures closer than this in every weight are one, trained on several seeds
CHANCE = 0.05  # of saying that a regression ranks runs when it does not


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
    """Folds of nearly equal size, drawn anew for every repeat; a mixture trained on several seeds is in one fold.

    Args:
        mixtures: Which mixture a run is of, shape (num_runs,), as `same_mixtures` gives it.
        num_folds: Parts.
        num_repeats: How often to split.
        seed: Of the draws.

    Returns:
        Shape (num_repeats, num_runs).
    """
    rng, num = np.random.default_rng(seed), int(mixtures.max()) + 1
    return np.array([rng.permutation(np.arange(num) % num_folds)[mixtures] for _ in range(num_repeats)])


def same_mixtures(weights: np.ndarray) -> np.ndarray:
    """Number of the mixture that each row is, in the order in which they first come; shape (num_runs,)."""
    rounded = np.round(weights / SAME).astype(np.int64)
    _, first, number = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number.ravel()]


def best_runs(runs: Runs, goal: Objective) -> np.ndarray:
    """Rows by the objective, the lowest first, and of a mixture trained on several seeds its lowest; shape (num_mixtures,)."""
    order = np.argsort(goal.value(runs.losses), kind="stable")
    _, first = np.unique(same_mixtures(runs.weights)[order], return_index=True)
    return np.asarray(order[np.sort(first)])


def noise_floor(runs: Runs, goal: Objective) -> dict[str, float]:
    """Standard deviation of a target (and of the objective) over seeds of one mixture; empty if none was repeated.

    Pooled over mixtures that were trained more than once. No regression predicts a run on another seed better; runs of one
    seed it may, since the part of the noise that the seed does to all mixtures alike cancels among them.
    """
    mixtures = same_mixtures(runs.weights)
    groups = [np.flatnonzero(mixtures == m) for m in np.unique(mixtures) if (mixtures == m).sum() > 1]
    if not groups:
        return {}
    values = np.column_stack([goal.value(runs.losses), runs.losses])
    squares = sum(((values[g] - values[g].mean(axis=0)) ** 2).sum(axis=0) for g in groups)
    pooled = np.sqrt(squares / sum(len(g) - 1 for g in groups))
    return dict(zip([OBJECTIVE, *runs.targets], map(float, pooled), strict=True))


def cross_validate(
    runs: Runs, names: Sequence[str], folds: np.ndarray, workers: int | None = None, label: str = "fit"
) -> tuple[CrossValidation, dict[str, list[Regressor]]]:
    """Fit each model to each target, on all runs and without each fold.

    Returns:
        Predictions of held-out runs per model, and the regressors fitted to all runs: model -> one per target.
    """
    import joblib

    tasks = [(name, t) for t in range(len(runs.targets)) for name in names]
    jobs = (joblib.delayed(_fit_task)(name, runs.weights, runs.losses[:, t], folds) for name, t in tasks)
    results = {}
    num_processes = min(workers or joblib.cpu_count(), len(tasks))
    with progress(label, total=len(tasks), unit="regressions") as bar:
        for task, result in zip(tasks, joblib.Parallel(num_processes, return_as="generator")(jobs), strict=True):
            results[task] = result
            bar.advance()
    columns = range(len(runs.targets))
    mean = {name: np.stack([results[name, t][1] for t in columns], axis=-1) for name in names}
    std = {name: np.stack([results[name, t][2] for t in columns], axis=-1) for name in names}
    return CrossValidation(folds, mean, std), {name: [results[name, t][0] for t in columns] for name in names}


def _fit_task(name: str, X: np.ndarray, y: np.ndarray, folds: np.ndarray) -> tuple[Regressor, np.ndarray, np.ndarray]:
    """One model on one target: fitted to all runs, and predictions of held-out ones, shape (num_repeats, num_runs).

    A Gaussian process of few runs is tuned anew without each fold, since tuning sees noise: with hyperparameters of all
    runs, held-out Spearman at noise as large as the signal is .58 where it is .34 in truth (48 runs), .65 for .55 (128).
    """
    mean, std = np.empty(folds.shape), np.empty(folds.shape)
    with single_thread():
        full = make_regressor(name).fit(X, y)
        for repeat, fold_of in enumerate(folds):
            if hasattr(full, "held_out") and len(X) >= MANY_RUNS:
                mean[repeat], std[repeat] = full.held_out(fold_of)
                continue
            for fold in np.unique(fold_of):
                out = fold_of == fold
                without = make_regressor(name).fit(X[~out], y[~out])
                mean[repeat, out], std[repeat, out] = without.predict(X[out], return_std=True)
    return full, mean, std


def screened(
    runs: Runs, names: Sequence[str], folds: np.ndarray, goal: Objective, workers: int | None
) -> tuple[list[str], list[dict[str, Any]]]:
    """Models worth a whole cross-validation: those not far behind on a few targets and one repeat.

    Returns:
        The names that are left, and rows of scores of those that are out.
    """
    importance = np.abs(goal.slopes(runs.losses)).mean(axis=0) * runs.losses.std(axis=0)
    few = np.sort(np.argsort(-importance, kind="stable")[:SCREENED])
    part = Runs(runs.index, runs.domains, [runs.targets[t] for t in few], runs.weights, runs.losses[:, few])
    validation, _ = cross_validate(part, names, folds[:1], workers, "screen")
    rows = _scores(part, validation)
    rank = {name: np.mean([row["spearman"] for row in rows if row["model"] == name]) for name in names}
    most = (1 - max(rank.values())) * (1 + BEHIND / np.sqrt(len(runs.index)))
    left = [name for name in names if name == SOUND or 1 - rank[name] <= most + TIE]
    return left, [row for row in rows if row["model"] not in left]


def ensembled(
    runs: Runs, validation: CrossValidation, names: Sequence[str], goal: Objective
) -> tuple[np.ndarray, np.ndarray, dict[str, float]] | None:
    """Held-out predictions of the stacked models, and their shares; None if one model takes all.

    Stacked are models of which curves can be drawn, so that the ensemble's can be too. The shares of a fold come from the
    other folds, so the ensemble's own score has not seen the run either.
    """
    names = [name for name in names if REGRESSORS[name].draws]
    if len(names) < 2:
        return None
    size = np.maximum(runs.losses.std(axis=0), 1e-300)
    along = np.abs(goal.slopes(runs.losses)).mean(axis=0) * size
    size = size / np.sqrt(np.maximum(along / along.sum(), 1e-12))  # errors count by what they do to the objective
    errors = {name: (validation.mean[name] - runs.losses) / size for name in names}
    shares = _shares(errors)
    if len(shares) < 2:
        return None
    mean, std = np.zeros_like(validation.mean[names[0]]), np.zeros_like(validation.mean[names[0]])
    for repeat, fold_of in enumerate(validation.folds):
        for fold in np.unique(fold_of):
            out = fold_of == fold
            own = _shares({name: error[repeat, ~out] for name, error in errors.items()})
            means = np.array([validation.mean[name][repeat, out] for name in own])
            stds = np.array([validation.std[name][repeat, out] for name in own])
            weights = np.array(list(own.values()))
            mean[repeat, out] = np.tensordot(weights, means, 1)
            std[repeat, out] = np.sqrt(np.tensordot(weights, stds**2 + (means - mean[repeat, out]) ** 2, 1))
    return mean, std, shares


def _shares(errors: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Stacked shares, of which a Gaussian process has a quarter at least."""
    shares = stacked(errors)
    if SOUND not in errors or shares.get(SOUND, 0.0) >= LEAST_SHARE:
        return shares
    others = 1 - shares.pop(SOUND, 0.0)
    return {SOUND: LEAST_SHARE} | {name: share * (1 - LEAST_SHARE) / others for name, share in shares.items()}


def score(runs: Runs, validation: CrossValidation, goal: Objective) -> list[dict[str, Any]]:
    """Rows of scores.csv: per model and target (the objective first), each measure's mean and spread over repeats."""
    value = goal.value(runs.losses)
    of_objective = {name: goal.value(mean) for name, mean in validation.mean.items()}
    rows = _scores(runs, validation)
    first = [_row(name, OBJECTIVE, value, of_objective[name], validation.folds) for name in validation.mean]
    return [*first, *rows]


def _scores(runs: Runs, validation: CrossValidation) -> list[dict[str, Any]]:
    return [
        _row(name, target, runs.losses[:, t], predicted[..., t], validation.folds)
        for name, predicted in validation.mean.items()
        for t, target in enumerate(runs.targets)
    ]


def _row(name: str, target: str, y: np.ndarray, predicted: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    repeats = [measures(y, p, f) for p, f in zip(predicted, folds, strict=True)]
    row: dict[str, Any] = {"model": name, "target": target}
    for measure, values in zip(MEASURES, np.array(repeats).T, strict=True):
        row[measure] = float(values.mean())
        row[f"{measure}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return row


def choose(scores: Sequence[dict[str, Any]], names: Sequence[str], num_runs: int) -> str:
    """The model with the highest Spearman on the objective; among those that rank alike, the one of least regret.

    Two rank alike if their correlations are within TIE. A model of which no curves can be drawn (trees, lines) must be
    better by half the standard error of a correlation, since little that is said of its optimum can be trusted.
    """
    rows = {row["model"]: row for row in scores if row["target"] == OBJECTIVE and row["model"] in names}
    drawn = [name for name in rows if name == ENSEMBLE or REGRESSORS[name].draws]
    best = max(row["spearman"] for row in rows.values())
    error = (1 - best**2) / np.sqrt(num_runs)
    if drawn and max(rows[name]["spearman"] for name in drawn) >= best - 0.5 * error:
        rows = {name: rows[name] for name in drawn}
        best = max(row["spearman"] for row in rows.values())
    tied = [name for name in rows if rows[name]["spearman"] >= best - TIE]
    return min(tied, key=lambda name: float(rows[name]["regret"]))


def ranks(y: np.ndarray, predicted: np.ndarray) -> bool:
    """Whether held-out predictions rank the runs better than chance would in CHANCE of all sweeps.

    Kendall's tau of the predictions averaged over repeats, one-sided. Held-out predictions of noise correlate with it
    negatively if at all (a fold's high losses lower the mean of the others), so the test errs on the cautious side.
    """
    from scipy.stats import kendalltau

    if np.ptp(predicted) == 0 or np.ptp(y) == 0:
        return False
    return bool(kendalltau(y, predicted, alternative="greater").pvalue < CHANCE)


def calibration(
    runs: Runs, regressors: Sequence[Regressor], mean: np.ndarray, std: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scales of standard deviations that match the errors on held-out runs: on average (error / std)^2 is 1.

    Args:
        runs: What was measured.
        regressors: One per target.
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


def held_out(fitted: FittedModel, mean: np.ndarray, std: np.ndarray) -> list[tuple[object, ...]]:
    """Rows of predictions.csv: held-out predictions of the chosen model, averaged over repeats, the objective first."""
    goal, runs = fitted.objective, fitted.runs
    predicted = mean.mean(axis=0)
    spread = np.hypot(fitted.std_scale * np.sqrt((std**2).mean(axis=0)), fitted.std_constant)
    used = goal.used
    of_objective = fitted._aggregate((spread * goal.slopes(predicted))[:, used], used)
    columns = [(OBJECTIVE, goal.value(runs.losses), goal.value(predicted), of_objective)]
    columns += [(target, runs.losses[:, i], predicted[:, i], spread[:, i]) for i, target in enumerate(runs.targets)]
    return [
        (run, target, float(y), float(p), float(s))
        for target, *values in columns
        for run, y, p, s in zip(runs.index, *values, strict=True)
    ]


def members(fitted: Mapping[str, list[Regressor]], shares: Mapping[str, float]) -> list[Regressor]:
    """An ensemble per target."""
    num_targets = len(next(iter(fitted.values())))
    return [Ensemble({name: fitted[name][t] for name in shares}, shares) for t in range(num_targets)]
