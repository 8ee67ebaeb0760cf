"""mixtures.csv + losses.csv -> a regression of every target on the mixture, the model chosen by cross-validation.

python regression/fit.py --mixtures mixtures.csv --losses losses.csv --out regression

The folder holds scores.csv (every model on every target), predictions.csv (of held-out runs, by the chosen model),
runs.csv (the training table, cleaned), models.json (the fitted models as text) and last fit.json.
"""

import csv
import difflib
import importlib.metadata
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from proxymix.cli import run
from proxymix.errors import InputError
from proxymix.files import read_json, read_text, remove, sha256, write_json
from proxymix.progress import progress, say
from proxymix.schemas import write_table
from regression.objective import Objective, describe_objective, objective_weights, resolved_objective
from regression.regressor import Regressor, single_thread
from regression.regressors import BASELINE, REGRESSORS, make_regressor
from regression.table import Runs, read_runs

OBJECTIVE = "objective"
"""The name of the objective among the targets of scores.csv and predictions.csv."""

FEWEST_RUNS = 8
TIE = 0.001  # Spearman correlations closer than this are equal, so that a better ranking is never given up for a lucky pick
POOR = 0.6  # proxies of too few tokens rank like this, and their optimum is not one
MANY_RUNS = 256  # from here on two repeats say as much as three
ROWS_AT_ONCE = 8192  # rows predicted at a time, so that memory does not grow with the number of candidates
MEASURES = ("spearman", "rmse", "r2", "regret")


@dataclass(frozen=True)
class Fit:
    """A fitted regressor per target, with standard deviations scaled to the errors on held-out runs.

    Attributes:
        model: Name of the regressors, a key of REGRESSORS.
        preset: The preset asked for, if any.
        objective: The objective by which the model was chosen: "mean" or {loss column: weight}.
        runs: The training data; `domains` and `targets` are its columns.
        regressors: One per target.
        std_scale: Per target, what a regressor's own standard deviation is multiplied by.
        std_constant: Per target, the standard deviation of a regressor that knows none of its own, else 0.
        correlation: Correlation of the targets' errors on held-out runs, for the uncertainty of an objective.
        inputs: SHA-256 of the files that were fitted.
    """

    model: str
    preset: str | None
    objective: Objective
    runs: Runs
    regressors: list[Regressor]
    std_scale: np.ndarray
    std_constant: np.ndarray
    correlation: np.ndarray
    inputs: dict[str, str]

    @property
    def domains(self) -> list[str]:
        """The order of weights in a row of X."""
        return self.runs.domains

    @property
    def targets(self) -> list[str]:
        """The order of losses in a row of predictions."""
        return self.runs.targets

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses and their standard deviations for mixtures in rows of X, each of shape (num_rows, num_targets).

        The standard deviation is that of one run's measured loss: of the curve and of the run around it.
        """
        mean, curve, noise = self._predict(X, np.arange(len(self.targets)))
        return mean, np.hypot(curve, noise)

    def predict_objective(
        self, X: np.ndarray, weights: np.ndarray, noise: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The objective and its standard deviation per row of X, each of shape (num_rows,).

        Args:
            X: Mixtures, shape (num_rows, num_domains).
            weights: Weights over targets, as `objective_weights` gives them.
            noise: Whether the standard deviation is that of a run's measured objective, or of the curve alone.
        """
        used = np.flatnonzero(weights)
        mean, curve, run_noise = self._predict(X, used)
        std = np.hypot(curve, run_noise) if noise else curve
        return mean @ weights[used], self._aggregate(std, weights)

    def mean_objective(self, X: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """The objective alone, shape (num_rows,): several times as fast as with its standard deviation."""
        with single_thread():
            return sum(
                (w * self.regressors[t].predict(X) for t, w in enumerate(weights) if w > 0), start=np.zeros(len(X))
            )

    def gains(self, baselines: np.ndarray, proposal: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How much lower the objective is at the proposal than at each baseline, and the standard deviation of that.

        What is uncertain about both mixtures alike (the level of the losses) cancels. Run noise is left out. For a
        regressor without covariances the two errors count as independent, which is cautious.
        """
        X, used = np.vstack([proposal, baselines]), np.flatnonzero(weights)
        std = np.empty((len(baselines), len(used)))
        with single_thread():
            means = np.column_stack([self.regressors[t].predict(X) for t in used])
            for position, t in enumerate(used):
                covariance = self.regressors[t].covariance(X)
                own = np.diag(covariance)[1:] + covariance[0, 0] - 2 * covariance[0, 1:]
                variance = self.std_scale[t] ** 2 * np.maximum(own, 0.0)
                same = (X[1:] == X[0]).all(axis=1)
                std[:, position] = np.sqrt(variance + np.where(same, 0.0, 2 * self.std_constant[t] ** 2))
        return (means[1:] - means[0]) @ weights[used], self._aggregate(std, weights)

    def _predict(self, X: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means, standard deviations of the curves, and those of the runs around them, for the targets in `used`."""
        X = np.asarray(X, dtype=float)
        means, stds = np.empty((len(X), len(used))), np.empty((len(X), len(used)))
        with single_thread():
            for start in range(0, len(X), ROWS_AT_ONCE):
                rows = slice(start, start + ROWS_AT_ONCE)
                for position, t in enumerate(used):
                    means[rows, position], stds[rows, position] = self.regressors[t].predict(X[rows], return_std=True)
        noise = np.array([self.regressors[t].noise_ for t in used])
        curve = self.std_scale[used] * np.sqrt(np.maximum(stds**2 - noise**2, 0.0))
        return (
            means,
            np.hypot(curve, self.std_constant[used]),
            np.broadcast_to(self.std_scale[used] * noise, stds.shape),
        )

    def _aggregate(self, std: np.ndarray, weights: np.ndarray) -> np.ndarray:
        used = np.flatnonzero(weights)
        scaled = std * weights[used]
        return np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", scaled, self.correlation[np.ix_(used, used)], scaled), 0.0))


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


def fit(
    mixtures: Path,
    losses: Path,
    out: Path,
    targets: list[str] | None = None,
    model: str = "auto",
    preset: Literal["regmix"] | None = None,
    objective: str | dict[str, float] = "mean",
    num_folds: int = 5,
    num_repeats: int | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Fit every target's loss as a function of the mixture.

    The model is the one that ranks held-out runs best on the objective, over repeated cross-validation; where two rank
    alike, the one whose pick loses least against the best run. Predicting the mean is scored beside them.

    Args:
        mixtures: Table of the runs' mixtures: index, train_<domain>, ...
        losses: Table of the runs' losses: index, metric/<domain>_val_loss, ... or any columns of numbers to be low.
        out: Folder for the fit.
        targets: Loss columns or their domains to fit; all that the table holds when left out.
        model: auto, or one of gp, linear, lightgbm, lightgbm_small.
        preset: regmix fits as RegMix's notebook does: LightGBM, 1000 rounds at 0.01, one model per target.
        objective: What is to be low, by which the model is chosen: mean, a loss column or its domain, {domain: weight},
            or a YAML of such weights.
        num_folds: Parts into which the runs are split for cross-validation.
        num_repeats: How often they are split anew; 3 when left out, and 2 from 256 runs on.
        seed: Seed of the splits.
        workers: Processes that fit at a time; one per core when left out.

    Raises:
        InputError: If the tables do not match, or hold too few runs or losses that never vary.
    """
    if preset == "regmix":
        if model not in ("auto", "lightgbm"):
            raise InputError(f"preset regmix is LightGBM, and model is {model!r}; leave one of them out")
        model = "lightgbm"
    names = _model_names(model)
    runs = read_runs(mixtures, losses, targets)
    _check_runs(runs, losses)
    if not 2 <= num_folds <= len(runs.index):
        raise InputError(f"num_folds is {num_folds}; with {len(runs.index)} runs it can be 2 to {len(runs.index)}")
    if num_repeats is not None and num_repeats < 1:
        raise InputError(f"num_repeats is {num_repeats}; at least 1 is needed")
    weights = objective_weights(objective, runs.targets)
    num_repeats = num_repeats or (3 if len(runs.index) < MANY_RUNS else 2)
    folds = split(len(runs.index), num_folds, num_repeats, seed)
    validation, fitted = cross_validate(runs, [BASELINE, *names], folds, workers)
    scores = score(runs, validation, weights)
    chosen = choose(scores, names)
    inputs = {"mixtures": sha256(mixtures), "losses": sha256(losses)}
    asked = resolved_objective(objective, runs.targets)
    result = calibrated(runs, chosen, fitted[chosen], validation, preset, asked, inputs)
    settings = {"model": model, "targets": targets, "num_folds": num_folds, "num_repeats": num_repeats, "seed": seed}
    save_fit(out, result, scores, held_out(result, validation, weights), settings)
    _say_scores(scores, chosen, describe_objective(objective, runs.targets))


def load_fit(folder: Path) -> Fit:
    """The fit in a folder, rebuilt from its tables and texts.

    Raises:
        InputError: If the folder holds no finished fit, or one whose files were changed.
    """
    folder = Path(folder)
    if not (folder / "fit.json").exists():
        raise InputError(f"{folder / 'fit.json'}: no such file, so {folder} holds no finished fit; run `proxymix fit`")
    content = read_json(folder / "fit.json")
    for name, digest in content["files"].items():
        if sha256(folder / name) != digest:
            raise InputError(f"{folder / name}: not as `proxymix fit` wrote it; run `proxymix fit` again")
    runs = _read_runs_table(folder / "runs.csv", content["domains"], content["targets"])
    texts = json.loads(read_text(folder / "models.json"))
    kind = REGRESSORS[content["model"]]
    with single_thread():
        regressors = [kind.loads(texts[t], runs.weights, runs.losses[:, i]) for i, t in enumerate(runs.targets)]
    return Fit(
        content["model"],
        content["preset"],
        content["objective"],
        runs,
        regressors,
        np.array(content["std_scale"]),
        np.array(content["std_constant"]),
        np.array(content["correlation"]),
        content["inputs"],
    )


def save_fit(
    folder: Path,
    fitted: Fit,
    scores: Sequence[dict[str, Any]],
    predictions: Sequence[tuple[object, ...]],
    settings: dict[str, Any],
) -> None:
    """Write a fit's folder, fit.json last; other files in the folder are left alone."""
    runs = fitted.runs
    remove(folder / "fit.json")
    write_table(folder / "scores.csv", list(scores[0]), [tuple(row.values()) for row in scores])
    write_table(folder / "predictions.csv", ("index", "target", "measured", "predicted", "std"), predictions)
    header = ["index", *(f"train_{domain}" for domain in runs.domains), *runs.targets]
    rows = [
        [run, *map(float, w), *map(float, y)] for run, w, y in zip(runs.index, runs.weights, runs.losses, strict=True)
    ]
    write_table(folder / "runs.csv", header, rows)
    models = {target: regressor.dumps() for target, regressor in zip(runs.targets, fitted.regressors, strict=True)}
    write_json(folder / "models.json", models)
    content = {
        "model": fitted.model,
        "preset": fitted.preset,
        "objective": fitted.objective,
        "num_runs": len(runs.index),
        "domains": runs.domains,
        "targets": runs.targets,
        "settings": settings,
        "inputs": fitted.inputs,
        "files": {name: sha256(folder / name) for name in ("runs.csv", "models.json")},
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn", "lightgbm")},
        "std_scale": fitted.std_scale.tolist(),
        "std_constant": fitted.std_constant.tolist(),
        "correlation": fitted.correlation.tolist(),
    }
    write_json(folder / "fit.json", content)


def split(num_runs: int, num_folds: int, num_repeats: int, seed: int) -> np.ndarray:
    """Folds of equal size (within one), drawn anew for every repeat; shape (num_repeats, num_runs)."""
    rng = np.random.default_rng(seed)
    return np.array([rng.permutation(np.arange(num_runs) % num_folds) for _ in range(num_repeats)])


def cross_validate(
    runs: Runs, names: Sequence[str], folds: np.ndarray, workers: int | None = None
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
    with progress("fit", total=len(tasks), unit="regressions") as bar:
        for task, result in zip(tasks, joblib.Parallel(num_processes, return_as="generator")(jobs), strict=True):
            results[task] = result
            bar.advance()
    columns = range(len(runs.targets))
    mean = {name: np.stack([results[name, t][1] for t in columns], axis=-1) for name in names}
    std = {name: np.stack([results[name, t][2] for t in columns], axis=-1) for name in names}
    return CrossValidation(folds, mean, std), {name: [results[name, t][0] for t in columns] for name in names}


def _fit_task(name: str, X: np.ndarray, y: np.ndarray, folds: np.ndarray) -> tuple[Regressor, np.ndarray, np.ndarray]:
    """One model on one target: fitted to all runs, and predictions of held-out ones, shape (num_repeats, num_runs).

    The fits without a fold begin at the hyperparameters of the fit to all runs, and climb their own likelihood from
    there: a third of the time, and the same scores.
    """
    mean, std = np.empty(folds.shape), np.empty(folds.shape)
    with single_thread():
        full = make_regressor(name).fit(X, y)
        for repeat, fold_of in enumerate(folds):
            for fold in np.unique(fold_of):
                out = fold_of == fold
                without = make_regressor(name).fit(X[~out], y[~out], like=full)
                mean[repeat, out], std[repeat, out] = without.predict(X[out], return_std=True)
    return full, mean, std


def score(runs: Runs, validation: CrossValidation, weights: np.ndarray) -> list[dict[str, Any]]:
    """Rows of scores.csv: per model and target (the objective first), each measure's mean and spread over repeats."""
    measured = {OBJECTIVE: runs.losses @ weights} | {t: runs.losses[:, i] for i, t in enumerate(runs.targets)}
    rows = []
    for name, predicted in validation.mean.items():
        columns = {OBJECTIVE: predicted @ weights} | {t: predicted[..., i] for i, t in enumerate(runs.targets)}
        for target, y in measured.items():
            repeats = [_measures(y, p, f) for p, f in zip(columns[target], validation.folds, strict=True)]
            row: dict[str, Any] = {"model": name, "target": target}
            for measure, values in zip(MEASURES, np.array(repeats).T, strict=True):
                row[measure] = float(values.mean())
                row[f"{measure}_sd"] = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            rows.append(row)
    return rows


def _measures(y: np.ndarray, predicted: np.ndarray, folds: np.ndarray) -> tuple[float, float, float, float]:
    """Spearman, root mean squared error, R2 and regret of one repeat's predictions of held-out runs.

    Spearman is 0 for a model whose predictions never vary within a fold, since it ranks nothing (pooled over folds it
    would be negative: leaving out high losses lowers the mean). Regret is how much higher the loss of the run that the
    model would pick from a fold is than the fold's lowest, averaged over folds; tied picks count by their mean.
    """
    from scipy.stats import spearmanr

    groups = [folds == fold for fold in np.unique(folds)]
    ranks = any(np.ptp(predicted[group]) > 0 for group in groups)
    error = predicted - y
    regret = [y[g][predicted[g] == predicted[g].min()].mean() - y[g].min() for g in groups]
    return (
        float(spearmanr(y, predicted).statistic) if ranks and np.ptp(y) > 0 else 0.0,
        float(np.sqrt(np.mean(error**2))),
        float(1 - np.mean(error**2) / np.var(y)) if np.ptp(y) > 0 else 0.0,
        float(np.mean(regret)),
    )


def choose(scores: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """The model with the highest Spearman on the objective; among those within TIE of it, the one of least regret."""
    rows = {row["model"]: row for row in scores if row["target"] == OBJECTIVE and row["model"] in names}
    best = max(row["spearman"] for row in rows.values())
    tied = [name for name in names if rows[name]["spearman"] >= best - TIE]
    return min(tied, key=lambda name: float(rows[name]["regret"]))


def calibrated(
    runs: Runs,
    model: str,
    regressors: list[Regressor],
    validation: CrossValidation,
    preset: str | None,
    objective: Objective,
    inputs: dict[str, str],
) -> Fit:
    """A Fit whose standard deviations match the errors on held-out runs: on average over runs, (error / std)^2 is 1."""
    error, std = validation.mean[model] - runs.losses, validation.std[model]
    rmse = np.sqrt((error**2).mean(axis=(0, 1)))
    knows = np.array([regressor.knows_std for regressor in regressors])
    own = np.where(knows, std, 1.0)
    scale = np.where(knows, np.sqrt(((error / own) ** 2).mean(axis=(0, 1))), 1.0)
    standard = error / np.where(knows, own * scale, np.maximum(rmse, 1e-300))
    correlation = np.einsum("rni,rnj->ij", standard, standard)
    size = np.sqrt(np.maximum(np.diag(correlation), 1e-300))
    return Fit(
        model,
        preset,
        objective,
        runs,
        regressors,
        scale,
        np.where(knows, 0.0, rmse),
        correlation / np.outer(size, size),
        inputs,
    )


def held_out(fitted: Fit, validation: CrossValidation, weights: np.ndarray) -> list[tuple[object, ...]]:
    """Rows of predictions.csv: held-out predictions of the chosen model, averaged over repeats, the objective first."""
    mean = validation.mean[fitted.model].mean(axis=0)
    std = np.hypot(fitted.std_scale * np.sqrt((validation.std[fitted.model] ** 2).mean(axis=0)), fitted.std_constant)
    runs, used = fitted.runs, np.flatnonzero(weights)
    columns = [(OBJECTIVE, runs.losses @ weights, mean @ weights, fitted._aggregate(std[:, used], weights))]
    columns += [(target, runs.losses[:, i], mean[:, i], std[:, i]) for i, target in enumerate(runs.targets)]
    return [
        (run, target, float(y), float(p), float(s))
        for target, *values in columns
        for run, y, p, s in zip(runs.index, *values, strict=True)
    ]


def _model_names(model: str) -> list[str]:
    if model == "auto":
        return list(REGRESSORS)
    if model not in REGRESSORS:
        near = difflib.get_close_matches(model, ["auto", *REGRESSORS], n=1, cutoff=0.0)[0]
        raise InputError(f"model: no {model!r}; nearest: {near} (there are auto, {', '.join(REGRESSORS)})")
    return [model]


def _check_runs(runs: Runs, losses: Path) -> None:
    if len(runs.index) < FEWEST_RUNS:
        raise InputError(f"{losses}: {len(runs.index)} runs; a fit needs at least {FEWEST_RUNS}, and 32 to be of use")
    if len(runs.domains) < 2:
        raise InputError(f"{losses}: one domain ({runs.domains[0]}) leaves no mixture to choose")
    for target, column in zip(runs.targets, runs.losses.T, strict=True):
        if np.ptp(column) == 0:
            raise InputError(
                f"{losses}: {target} is {column[0]:g} for all {len(column)} runs, so nothing can be learnt; "
                "leave it out with --targets"
            )
    if (np.ptp(runs.weights, axis=0) == 0).all():
        raise InputError(f"{losses}: all {len(runs.index)} runs have one and the same mixture; vary it")


def _read_runs_table(path: Path, domains: list[str], targets: list[str]) -> Runs:
    """runs.csv, to the last bit (a CSV reader's fast path is one bit off at times)."""
    header, *rows = csv.reader(io.StringIO(read_text(path)))
    assert header == ["index", *(f"train_{domain}" for domain in domains), *targets]
    values = np.array([[float(v) for v in row[1:]] for row in rows])
    index = [int(row[0]) if row[0].lstrip("-").isdigit() else row[0] for row in rows]
    return Runs(index, domains, targets, values[:, : len(domains)], values[:, len(domains) :])


def _say_scores(scores: Sequence[dict[str, Any]], chosen: str, objective: str) -> None:
    rows = [row for row in scores if row["target"] == OBJECTIVE]
    say(f"{objective}, on held-out runs:   Spearman             error    regret")
    for row in sorted(rows, key=lambda r: -r["spearman"]):
        mark = "  <- chosen" if row["model"] == chosen else ""
        name = "predict the mean" if row["model"] == BASELINE else row["model"]
        spread = f"{row['spearman']:.3f} +- {row['spearman_sd']:.3f}"
        say(f"  {name:<28}{spread:>18}{row['rmse']:>10.4f}{row['regret']:>10.4f}{mark}")
    best = next(row for row in rows if row["model"] == chosen)
    if best["spearman"] < POOR:
        say("No model ranks held-out runs well: train more proxies, or longer ones, before trusting an optimum.")


if __name__ == "__main__":
    run(fit)
