"""mixtures.csv + losses.csv -> a regression of every target on the mixture, the model chosen by cross-validation.

python regression/fit.py --mixtures mixtures.csv --losses losses.csv --out regression

The folder holds scores.csv (every model on every target), predictions.csv (of held-out runs, by the chosen model),
learning_curve.csv, effects.csv (what each domain does to each target), test_scores.csv (where test runs were given),
runs.csv (the training table, cleaned), models.json (the fitted models as text) and last fit.json.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import loss_domain
from regression.data.objective import Objective
from regression.data.realised_mixtures import check_realised
from regression.data.runs import Runs, align_domains
from regression.data.runs_table import read_runs
from regression.models.effects import effects
from regression.models.ensemble import Ensemble
from regression.models.fit_files import save_fit
from regression.models.fitted import FittedModel
from regression.models.registry import BASELINE
from regression.models.regressor import Regressor, single_thread
from regression.models.trees import LightGBM
from regression.selection.learning_curve import learning_curve, sentence
from regression.selection.metrics import NOISE, OBJECTIVE
from regression.selection.model_choice import calibrated_fit, compare, num_repeats_for
from regression.selection.validation import (
    CrossValidation,
    held_out,
    noise_floor,
    same_mixtures,
    score,
    split,
)

FEWEST_RUNS = 8
POOR = 0.6  # proxies of too few tokens rank like this, and their optimum is not one


def fit(
    mixtures: Path,
    losses: Path,
    out: Path,
    targets: list[str] | None = None,
    model: str = "auto",
    preset: Literal["regmix"] | None = None,
    objective: str | dict[str, Any] = "mean",
    num_folds: int = 5,
    num_repeats: int | None = None,
    allow_missing: bool = False,
    proxies: Path | None = None,
    further_proxies: Path | None = None,
    test_mixtures: Path | None = None,
    test_losses: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> None:
    """Fit every target's loss as a function of the mixture.

    The model is the one that ranks held-out runs best on the objective, over repeated cross-validation; where two rank
    alike, the one whose pick loses least against the best run. Models that are far behind on a few targets are not tried
    on the others; the best few are stacked into an ensemble. Curves of a given shape (laws, lines) are not chosen alone,
    since they do not know where the shape is wrong: a Gaussian process has a quarter of the ensemble at least. Predicting the mean is scored beside them, and the
    noise floor of every target where mixtures were trained on several seeds (`synthesize --repeat_seeds`).

    Args:
        mixtures: Table of the runs' mixtures: index, train_<domain>, ...
        losses: Table of the runs' losses: index, metric/<domain>_val_loss, ... or any columns of numbers to be low.
        out: Folder for the fit.
        targets: Loss columns or their domains to fit; all that the table holds when left out.
        model: auto, or one of gp, power, saturating, exponential, log_linear, linear, lightgbm,
            lightgbm_small, ensemble.
        preset: regmix fits as RegMix's notebook does: LightGBM, 1000 rounds at 0.01, one model per target, stopped early
            on the test runs where those are given.
        objective: What is to be low, by which the model is chosen: mean, zscore, worst, a loss column or its domain,
            {domain: weight}, or a YAML of weights, or of minimise and ceilings.
        num_folds: Parts into which the runs are split for cross-validation.
        num_repeats: How often they are split anew; 3 when left out, and 2 from 256 runs on.
        allow_missing: Leave out runs without a loss or a mixture, and diverged ones, instead of stopping; they are listed.
        proxies: Folder of the run folders. Every run must have been fed the mixture that the table declares.
        further_proxies: Folder of the run folders of further rounds (`proxymix rounds`), if there were any.
        test_mixtures: Mixtures of test runs, which are scored and never fitted or chosen by (the preset stops on them).
        test_losses: Losses of the test runs.
        seed: Seed of the splits.
        workers: Processes that fit at a time; one per core when left out.

    Raises:
        InputError: If the tables do not match, or hold too few runs or losses that never vary.
    """
    if preset == "regmix":
        if model not in ("auto", "lightgbm"):
            raise InputError(f"preset regmix is LightGBM, and model is {model!r}; leave one of them out")
        model = "lightgbm"
    as_published = preset == "regmix"  # its notebook takes the weights as they are rounded, and trees do not mind
    runs = read_runs(mixtures, losses, targets, allow_missing, renormalise=not as_published)
    _check_runs(runs, losses)
    if proxies is not None:
        check_realised(runs, [proxies, *([further_proxies] if further_proxies is not None else [])])
    test = _read_test(test_mixtures, test_losses, runs, as_published)
    same = same_mixtures(runs.weights)
    num_mixtures = int(same.max()) + 1
    if not 2 <= num_folds <= num_mixtures:
        raise InputError(
            f"num_folds is {num_folds}; with {num_mixtures} different mixtures it can be 2 to {num_mixtures}"
        )
    if num_repeats is not None and num_repeats < 1:
        raise InputError(f"num_repeats is {num_repeats}; at least 1 is needed")
    goal = Objective.of(objective, runs.targets, runs.losses)
    folds = split(same, num_folds, num_repeats or num_repeats_for(runs), seed)
    tried = compare(runs, model, goal, folds, workers)
    chosen, validation, fitted = tried.chosen, tried.validation, tried.fitted
    floor = noise_floor(runs, goal)
    scores = [*tried.scores, *tried.dropped, *_noise_rows(floor)]
    if preset == "regmix" and test is not None:
        fitted[chosen] = [_stopped_early(runs, test, t) for t in range(len(runs.targets))]
    result = calibrated_fit(runs, chosen, preset, goal, fitted[chosen], validation, _inputs(mixtures, losses))
    curve = learning_curve(runs, leading_model(result), goal, seed, workers)
    settings = {"model": model, "targets": targets, "num_folds": num_folds, "num_repeats": num_repeats, "seed": seed}
    tables = {
        "scores": scores,
        "learning_curve": [{**vars(p), "model": leading_model(result)} for p in curve],
        "effects": effects(result),
        "test_scores": [] if test is None else _test_scores(runs, test, fitted, goal, folds),
    }
    predictions = held_out(result, validation.mean[chosen], validation.std[chosen])
    save_fit(out, result, tables, predictions, settings)
    _say_scores(scores, chosen, goal, tried.dropped)
    _say_noise(floor, runs, len(same) - num_mixtures)
    _say_test(tables["test_scores"], chosen, preset)
    say(sentence(curve, len(runs.index), goal.unit))
    if not result.ranks:
        say("No regression ranks these runs better than chance would: there is nothing yet to choose a mixture by.")


def _read_test(mixtures: Path | None, losses: Path | None, runs: Runs, as_published: bool) -> Runs | None:
    if mixtures is None and losses is None:
        return None
    if mixtures is None or losses is None:
        raise InputError("test_mixtures and test_losses belong together; give both, or neither")
    test = read_runs(mixtures, losses, runs.targets, renormalise=not as_published)
    return replace(
        test, domains=runs.domains, weights=align_domains(test.weights, test.domains, runs.domains, str(mixtures))
    )


def _stopped_early(runs: Runs, test: Runs, t: int) -> Regressor:
    with single_thread():
        return LightGBM().fit(runs.weights, runs.losses[:, t], validation=(test.weights, test.losses[:, t]))


def _test_scores(
    runs: Runs, test: Runs, fitted: Mapping[str, list[Regressor]], goal: Objective, folds: np.ndarray
) -> list[dict[str, Any]]:
    """Scores on the test runs, of every model that was fitted to all targets."""
    with single_thread():
        mean = {
            name: np.column_stack([regressor.predict(test.weights) for regressor in regressors])[None]
            for name, regressors in fitted.items()
        }
    one_fold = np.zeros((1, len(test.index)))
    return [
        {key: value for key, value in row.items() if not key.endswith("_sd")}
        for row in score(test, CrossValidation(one_fold, mean, {}), goal)
    ]


def _noise_rows(floor: Mapping[str, float]) -> list[dict[str, Any]]:
    blank = dict.fromkeys(("spearman", "spearman_sd"), "") | {"rmse": 0.0, "rmse_sd": 0.0}
    rest = dict.fromkeys(("r2", "r2_sd", "regret", "regret_sd", "recall", "recall_sd"), "")
    return [{"model": NOISE, "target": target, **blank, **rest, "rmse": sd} for target, sd in floor.items()]


def _inputs(mixtures: Path, losses: Path) -> dict[str, str]:
    return {"mixtures": sha256(mixtures), "losses": sha256(losses)}


def leading_model(fitted: FittedModel) -> str:
    """The model, or the largest member of an ensemble."""
    first = fitted.regressors[0]
    return max(first.weights, key=lambda name: first.weights[name]) if isinstance(first, Ensemble) else fitted.model


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


def _say_scores(
    scores: Sequence[dict[str, Any]], chosen: str, goal: Objective, dropped: Sequence[dict[str, Any]]
) -> None:
    rows = [row for row in scores if row["target"] == OBJECTIVE]
    floor = [row for row in rows if row["model"] == NOISE]
    rows = [row for row in rows if row["model"] != NOISE]
    say(f"{goal.describe()}, on held-out runs:   Spearman             error    regret   best tenth found")
    for row in sorted(rows, key=lambda r: -r["spearman"]):
        mark = "  <- chosen" if row["model"] == chosen else ""
        name = "predict the mean" if row["model"] == BASELINE else row["model"]
        spread = f"{row['spearman']:.3f} +- {row['spearman_sd']:.3f}"
        say(f"  {name:<28}{spread:>18}{_digits(row['rmse'])}{_digits(row['regret'])}{row['recall']:>8.0%}{mark}")
    for row in floor:
        say(f"  {'noise over seeds':<28}{'':>18}{_digits(row['rmse'])}")
    for name in dict.fromkeys(row["model"] for row in dropped):
        values = [row["spearman"] for row in dropped if row["model"] == name]
        say(f"  {name:<28}{np.mean(values):>9.3f} on {len(values)} targets: out")
    best = next(row for row in rows if row["model"] == chosen)
    if best["spearman"] < POOR:
        say("No model ranks held-out runs well: train more proxies, or longer ones, before trusting an optimum.")


def _say_noise(floor: Mapping[str, float], runs: Runs, num_repeats: int) -> None:
    """The noise floor per target, the largest part of a target's spread first."""
    if not floor:
        return
    parts = {t: floor[t] / column.std(ddof=1) for t, column in zip(runs.targets, runs.losses.T, strict=True)}
    noisy = [f"{loss_domain(t)} {floor[t]:.4g} ({part:.0%})" for t, part in sorted(parts.items(), key=lambda x: -x[1])]
    say(f"Noise over seeds from {num_repeats} repeats, and its part of the spread of the runs: {some(noisy)}")


def _digits(value: float) -> str:
    """In ten characters, a space before it."""
    return f"{value:>10.4f}" if abs(value) < 1e4 else f"{value:>10.3g}"


def _say_test(rows: Sequence[dict[str, Any]], chosen: str, preset: str | None) -> None:
    seen = " (seen: the preset stopped training on them, so this flatters it)" if preset == "regmix" else ""
    for row in rows:
        if row["target"] == OBJECTIVE and row["model"] == chosen:
            say(
                f"On the test runs{seen}: Spearman {row['spearman']:.4f}, error {row['rmse']:.4f}, regret {row['regret']:.4f}, "
                f"{row['recall']:.0%} of the best tenth found"
            )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(fit)
