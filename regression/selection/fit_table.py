"""mixtures.csv + losses.csv -> a fit, in memory: the model chosen by cross-validation, and what is known of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from proxymix.errors import InputError
from proxymix.files import sha256
from regression.data.objective import Objective, Spec
from regression.data.realised_mixtures import check_realised
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.models.effects import effects
from regression.models.fit_files import save_fit
from regression.models.fitted import FittedModel
from regression.models.regressor import Regressor
from regression.models.threads import single_thread
from regression.models.trees import LightGBM
from regression.selection.calibration import held_out_rows
from regression.selection.cross_validation import split
from regression.selection.learning_curve import Point, learning_curve
from regression.selection.model_choice import calibrated_fit, compare, leading_model, num_repeats_for
from regression.selection.repeats import noise_floor, same_mixtures
from regression.selection.scores import noise_rows, test_scores

MIN_RUNS = 8
"""Runs that a fit needs at least."""


@dataclass(frozen=True)
class FitResult:
    """What a fit found.

    Attributes:
        fitted: The chosen model, fitted to all runs.
        tables: Rows of scores (every model on every target), learning_curve, effects and test_scores, by name.
        predictions: Rows of predictions.csv.
        curve: The learning curve.
        noise: Target -> noise over seeds; empty where no mixture was repeated.
        settings: What the fit was asked for.
    """

    fitted: FittedModel
    tables: Mapping[str, Sequence[dict[str, Any]]]
    predictions: Sequence[tuple[object, ...]]
    curve: Sequence[Point]
    noise: Mapping[str, float]
    settings: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the fit's folder, fit.json last."""
        save_fit(folder, self.fitted, self.tables, self.predictions, self.settings)


def fit_table(
    mixtures: Path,
    losses: Path,
    targets: list[str] | None,
    model: str,
    preset: str | None,
    objective: Spec,
    num_folds: int,
    num_repeats: int | None,
    allow_missing: bool,
    proxies: Sequence[Path],
    test_mixtures: Path | None,
    test_losses: Path | None,
    seed: int,
    workers: int | None,
) -> FitResult:
    """What `proxymix fit` finds, whose help explains the parameters; nothing is written.

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
    if proxies:
        check_realised(runs, proxies)
    test = _read_test(test_mixtures, test_losses, runs, as_published)
    same = same_mixtures(runs.weights)
    _check_splits(num_folds, num_repeats, int(same.max()) + 1)
    wanted = Objective.of(objective, runs.targets, runs.losses)

    # ---- 2. Models on held-out runs, and the one to trust
    folds = split(same, num_folds, num_repeats or num_repeats_for(runs), seed)
    tried = compare(runs, model, wanted, folds, workers)
    if preset == "regmix" and test is not None:
        tried.fitted[tried.chosen] = [_stopped_early(runs, test, t) for t in range(len(runs.targets))]
    fitted = calibrated_fit(runs, tried, wanted, preset, {"mixtures": sha256(mixtures), "losses": sha256(losses)})

    # ---- 3. What is known of it
    noise = noise_floor(runs, wanted)
    curve = learning_curve(runs, leading_model(fitted), wanted, seed, workers)
    tables: dict[str, list[dict[str, Any]]] = {
        "scores": [*tried.scores, *tried.dropped, *noise_rows(noise)],
        "learning_curve": [{**vars(point), "model": leading_model(fitted)} for point in curve],
        "effects": effects(fitted),
        "test_scores": [] if test is None else test_scores(test, tried.fitted, wanted),
    }
    predictions = held_out_rows(fitted, tried.validation.mean[tried.chosen], tried.validation.std[tried.chosen])
    settings = {"model": model, "targets": targets, "num_folds": num_folds, "num_repeats": num_repeats, "seed": seed}
    return FitResult(fitted, tables, predictions, curve, noise, settings)


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
