"""mixtures.csv + losses.csv -> a regression of every target on the mixture, the model chosen by cross-validation.

python regression/fit.py --mixtures mixtures.csv --losses losses.csv --out regression

The folder holds scores.csv (every model on every target), predictions.csv (of held-out runs, by the chosen model),
learning_curve.csv, effects.csv (what each domain does to each target), test_scores.csv (where test runs were given),
runs.csv (the training table, cleaned), models.json (the fitted models as text) and last fit.json.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from proxymix.errors import InputError
from proxymix.files import sha256
from regression.data.objective import Objective
from regression.data.realised_mixtures import check_realised
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.models.effects import effects
from regression.models.fit_files import save_fit
from regression.models.regressor import Regressor
from regression.models.threads import single_thread
from regression.models.trees import LightGBM
from regression.selection.calibration import held_out_rows
from regression.selection.cross_validation import split
from regression.selection.learning_curve import learning_curve
from regression.selection.model_choice import calibrated_fit, compare, leading_model, num_repeats_for
from regression.selection.repeats import noise_floor, same_mixtures
from regression.selection.scores import noise_rows, test_scores
from regression.selection.summary import say_fit

MIN_RUNS = 8
"""Runs that a fit needs at least."""


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

    Models are compared on held-out runs, by repeated cross-validation. The model that ranks them best on the objective is
    taken; of two that rank alike, the one whose pick is closer to the best run. Models that are far behind on a few
    targets are not tried on the others, and the best few are stacked into an ensemble. Curves of a given shape (laws,
    lines) are not taken alone, because they do not know where their shape is wrong: a Gaussian process has at least a
    quarter of the ensemble. The scores of predicting the mean stand beside the others, and so does the noise floor of
    every target where mixtures were trained on several seeds (`synthesize --repeat_seeds`).

    Args:
        mixtures: Table of the runs' mixtures: index, train_<domain>, ...
        losses: Table of the runs' losses: index, metric/<domain>_val_loss, ... or columns that are losses by their names
            (bpb, loss, perplexity); other columns are named in targets. wandb's exports of runs or of a chart are read too.
        out: Folder for the fit.
        targets: Loss columns or their domains to fit; all losses that the table holds when left out.
        model: auto tries every regressor and takes the best, ensemble stacks the best few, and a name such as gp, power
            or lightgbm takes that one (a name that does not exist is answered with a list of all).
        preset: regmix fits as RegMix's notebook does: LightGBM, 1000 rounds at 0.01, one model per target, stopped early
            on the test runs where those are given.
        objective: What is to be low, by which the model is chosen: mean, zscore, worst, a loss column or its domain,
            {domain: weight}, or a YAML of weights, or of minimise and max_increase; {maximise: any of these} for scores.
        num_folds: Parts into which the runs are split for cross-validation.
        num_repeats: How often the runs are split anew; 3 when left out, and 2 from 256 runs on.
        allow_missing: Leave out runs without a loss or a mixture, and diverged ones, instead of stopping; they are listed.
        proxies: Folder of the run folders. Every run must have been fed the mixture that the table declares.
        further_proxies: Folder of the run folders of further rounds (`proxymix rounds`), if there were any.
        test_mixtures: Mixtures of test runs, which are scored and never fitted or chosen by (the preset stops on them).
        test_losses: Losses of the test runs.
        seed: Seed of the splits.
        workers: Processes that fit at a time; one per core when left out.

    Raises:
        InputError: If the tables do not match, hold too few runs or losses that never vary, or a run was fed another
            mixture than its table declares.
    """
    # ---- 1. What was measured
    if preset == "regmix":
        if model not in ("auto", "lightgbm"):
            raise InputError(f"preset regmix is LightGBM, and model is {model!r}; leave one of them out")
        model = "lightgbm"
    as_published = preset == "regmix"  # its notebook takes rounded weights as they are, and trees do not mind
    runs = read_runs(mixtures, losses, targets, allow_missing, renormalise=not as_published)
    _check_runs(runs, losses)
    if proxies is not None:
        check_realised(runs, [folder for folder in (proxies, further_proxies) if folder is not None])
    test = _read_test(test_mixtures, test_losses, runs, as_published)
    same = same_mixtures(runs.weights)
    num_mixtures = int(same.max()) + 1
    _check_splits(num_folds, num_repeats, num_mixtures)
    wanted = Objective.of(objective, runs.targets, runs.losses)

    # ---- 2. Models on held-out runs, and the one to trust
    folds = split(same, num_folds, num_repeats or num_repeats_for(runs), seed)
    tried = compare(runs, model, wanted, folds, workers)
    if preset == "regmix" and test is not None:
        tried.fitted[tried.chosen] = [_stopped_early(runs, test, t) for t in range(len(runs.targets))]
    fitted = calibrated_fit(runs, tried, wanted, preset, {"mixtures": sha256(mixtures), "losses": sha256(losses)})

    # ---- 3. What is known of it
    floor = noise_floor(runs, wanted)
    curve = learning_curve(runs, leading_model(fitted), wanted, seed, workers)
    tables: dict[str, list[dict[str, Any]]] = {
        "scores": [*tried.scores, *tried.dropped, *noise_rows(floor)],
        "learning_curve": [{**vars(point), "model": leading_model(fitted)} for point in curve],
        "effects": effects(fitted),
        "test_scores": [] if test is None else test_scores(test, tried.fitted, wanted),
    }
    predictions = held_out_rows(fitted, tried.validation.mean[tried.chosen], tried.validation.std[tried.chosen])
    settings = {"model": model, "targets": targets, "num_folds": num_folds, "num_repeats": num_repeats, "seed": seed}
    save_fit(out, fitted, tables, predictions, settings)
    say_fit(fitted, wanted, tables, curve, floor, num_repeats=len(same) - num_mixtures)


def _check_runs(runs: Runs, losses: Path) -> None:
    if len(runs.index) < MIN_RUNS:
        raise InputError(f"{losses}: {len(runs.index)} runs; a fit needs at least {MIN_RUNS}, and 32 to be of use")
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


def _check_splits(num_folds: int, num_repeats: int | None, num_mixtures: int) -> None:
    if not 2 <= num_folds <= num_mixtures:
        raise InputError(
            f"num_folds is {num_folds}; with {num_mixtures} different mixtures it can be 2 to {num_mixtures}"
        )
    if num_repeats is not None and num_repeats < 1:
        raise InputError(f"num_repeats is {num_repeats}; at least 1 is needed")


def _read_test(mixtures: Path | None, losses: Path | None, runs: Runs, as_published: bool) -> Runs | None:
    if mixtures is None and losses is None:
        return None
    if mixtures is None or losses is None:
        raise InputError("test_mixtures and test_losses belong together; give both, or neither")
    test = read_runs(mixtures, losses, runs.targets, renormalise=not as_published)
    return replace(test, domains=runs.domains, weights=test.mixtures.aligned(runs.domains, str(mixtures)))


def _stopped_early(runs: Runs, test: Runs, t: int) -> Regressor:
    with single_thread():
        return LightGBM().fit(runs.weights, runs.losses[:, t], validation=(test.weights, test.losses[:, t]))


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(fit)
