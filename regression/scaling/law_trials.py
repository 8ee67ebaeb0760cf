"""Matched scales -> laws tried on the largest scale, the one to use, and what it predicts for another size."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from proxymix.errors import InputError
from proxymix.schemas import loss_domain
from regression.confirmation.paired import CONFIDENCE
from regression.models.threads import in_parallel, single_thread
from regression.scaling.agreement import ENDS
from regression.scaling.matching import MatchedScales
from regression.scaling.size_laws import LAWS, Points, SizeLaw
from regression.selection.metrics import regret, spearman

AS_GOOD = 1.1
"""A law whose error is at most this many times the least error counts as equally good."""


@dataclass(frozen=True)
class Predicted:
    """Losses that a law predicts for every mixture.

    Attributes:
        mean: Shape (num_mixtures,).
        low: Lower ends of 95% intervals, shape (num_mixtures,).
        rmse: Of the law on the runs that it was fitted to.
        parameters: The law's parameters by name.
    """

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    rmse: float
    num_runs: int
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A law for one target, fitted to the smaller scales and tried on the largest.

    Attributes:
        predicted: Losses at the largest scale.
        measured: Losses there, shape (num_mixtures,); nan where the largest scale has no run.
    """

    law: str
    target: int
    predicted: Predicted
    measured: np.ndarray


def try_laws(
    matched: MatchedScales,
    targets: Sequence[int],
    laws: Sequence[str],
    num_bootstrap: int,
    seed: int,
    workers: int | None,
) -> list[Trial]:
    """Laws on targets, fitted without the largest scale. A law that does not apply to a target is left out."""
    last = len(matched.scales) - 1
    rows = np.flatnonzero(matched.scale < last)
    size = matched.scales[last].params, matched.scales[last].tokens
    pairs = [(name, t) for name in laws for t in targets if name != "bimix" or _own(matched, t) is not None]
    predicted = _predict_all(matched, pairs, rows, size, num_bootstrap, seed, workers, "try laws on the largest scale")
    measured = matched.at(last)
    return [Trial(name, t, p, measured[:, t]) for (name, t), p in zip(pairs, predicted, strict=True)]


def predict_target(
    matched: MatchedScales,
    targets: Sequence[int],
    law: str,
    size: tuple[float, float],
    widened: float,
    num_bootstrap: int,
    seed: int,
    workers: int | None,
) -> list[Predicted]:
    """A law fitted to all runs, at the target size, per target; intervals are stretched by `widened`."""
    pairs = [(law, t) for t in targets]
    found = _predict_all(
        matched, pairs, np.arange(len(matched.losses)), size, num_bootstrap, seed, workers, "predict the target size"
    )
    return [
        replace(p, low=p.mean - widened * (p.mean - p.low), high=p.mean + widened * (p.high - p.mean)) for p in found
    ]


def _own(matched: MatchedScales, target: int) -> int | None:
    """The position of the domain whose loss a target is."""
    name = loss_domain(matched.targets[target])
    return matched.domains.index(name) if name in matched.domains else None


def _predict_all(
    matched: MatchedScales,
    pairs: Sequence[tuple[str, int]],
    rows: np.ndarray,
    size: tuple[float, float],
    num_bootstrap: int,
    seed: int,
    workers: int | None,
    description: str,
) -> list[Predicted]:
    points, at = matched.points(rows), np.full(len(matched.keys), 1.0)
    wanted = Points(matched.weights, at * size[0], at * size[1])
    tasks = [
        (
            SizeLaw(name, _own(matched, t)),
            points,
            matched.losses[rows, t],
            matched.mixture[rows],
            wanted,
            matched.domains,
            num_bootstrap,
            np.random.default_rng([seed, 1, LAWS.index(name), t]),
        )
        for name, t in pairs
    ]
    return in_parallel(predict_law, tasks, workers, description, "laws")


def predict_law(
    law: SizeLaw,
    points: Points,
    losses: np.ndarray,
    mixture: np.ndarray,
    wanted: Points,
    domains: Sequence[str],
    num_bootstrap: int,
    rng: np.random.Generator,
) -> Predicted:
    """Fit a law to runs and predict every mixture elsewhere, with 95% intervals.

    What the law misses of a mixture at every scale alike is added to its value. The intervals are of the loss without the
    noise of a run, and they hold if the law does.

    Args:
        losses: Shape (num_runs,).
        mixture: Which row of `wanted` each run has, shape (num_runs,).
        wanted: A row for every mixture, at the size to predict for.
        domains: Names of the weights.
        num_bootstrap: Draws of mixtures; 0 for no intervals.
    """
    with single_thread():
        law.fit(points, losses, rng)
        residuals = losses - law.predict(points)
        num_mixtures = len(wanted.weights)
        rest = lasting_residuals(residuals, mixture, num_mixtures)
        present = np.unique(mixture)
        draws = np.empty((num_bootstrap, num_mixtures))
        for draw in draws:
            counts = np.bincount(rng.choice(present, len(present)), minlength=num_mixtures)[mixture]
            theta = law.refit(points, losses, counts.astype(float), rng)
            drawn = lasting_residuals(losses - law.predict(points, theta), mixture, num_mixtures)
            draw[:] = law.predict(wanted, theta) + drawn.mean + drawn.std * rng.normal(size=num_mixtures)
        mean = law.predict(wanted) + rest.mean
        low, high = np.quantile(draws, ENDS, axis=0) if num_bootstrap else (mean, mean)
    parameters = law.parameters(domains)
    return Predicted(
        mean,
        np.minimum(low, mean),
        np.maximum(high, mean),
        float(np.sqrt(np.mean(residuals**2))),
        len(losses),
        parameters,
    )


@dataclass(frozen=True)
class LastingResiduals:
    """What a law misses of a mixture at every scale alike.

    Attributes:
        mean: The mean of the mixture's residuals, shrunk towards 0; shape (num_mixtures,). It is 0 for mixtures without a run.
        std: Standard deviation of that, shape (num_mixtures,).
    """

    mean: np.ndarray
    std: np.ndarray


def lasting_residuals(residuals: np.ndarray, mixture: np.ndarray, num_mixtures: int) -> LastingResiduals:
    """The best linear guess of the residuals at another scale.

    The covariance between residuals of one mixture at different scales is the variance of the part that lasts. The rest
    is noise. Where no mixture has two runs, nothing is known to last.

    Args:
        residuals: Of the runs, shape (num_rows,).
        mixture: Which mixture each run has, shape (num_rows,).
    """
    counts = np.bincount(mixture, minlength=num_mixtures)
    sums = np.bincount(mixture, residuals, minlength=num_mixtures)
    squares = np.bincount(mixture, residuals**2, minlength=num_mixtures)
    pairs = (counts * (counts - 1)).sum()
    lasting = max(float((sums**2 - squares).sum() / pairs), 0.0) if pairs else 0.0
    noise = max(float(np.mean(residuals**2)) - lasting, 1e-18)
    return LastingResiduals(
        lasting * sums / (counts * lasting + noise), np.sqrt(lasting * noise / (counts * lasting + noise))
    )


def error_measures(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Root mean squared error, bias (the mean error), the rmse without it, Spearman and regret of predicted losses."""
    error = predicted - measured
    return {
        "rmse": float(np.sqrt(np.mean(error**2))),
        "bias": float(error.mean()),
        "centred_rmse": float(error.std()),
        "spearman": spearman(predicted, measured),
        "regret": regret(predicted, measured),
    }


def choose_law(trials: Sequence[Trial], law: str, num_targets: int, num_scales: int) -> str:
    """The law that was asked for, or for `auto` the one of least error on the largest scale.

    Errors count in standard deviations of the losses there. Of laws that are as good, the one with fewer parameters is
    taken, which comes earlier in LAWS.

    Raises:
        InputError: If the law does not apply to every target.
    """
    complete = [name for name in LAWS if sum(trial.law == name for trial in trials) == num_targets]
    if law != "auto":
        if law not in complete:
            raise InputError(
                f"law: {law} is of a target's own domain, and a target is no domain's loss; take another law"
            )
        return law
    if num_scales < 3:
        return "additive"

    def error(name: str) -> float:
        parts = []
        for trial in trials:
            if trial.law == name:
                there = np.isfinite(trial.measured)
                scale = max(float(np.std(trial.measured[there])), 1e-12)
                parts.append(error_measures(trial.predicted.mean[there], trial.measured[there])["rmse"] / scale)
        return float(np.mean(parts))

    errors = {name: error(name) for name in complete}
    return next(name for name in complete if errors[name] <= AS_GOOD * min(errors.values()))


def widening(trials: Sequence[Trial], law: str) -> float:
    """The factor by which intervals must be stretched to hold 95% of the losses of the largest scale."""
    ratios = []
    for trial in trials:
        if trial.law == law:
            p, there = trial.predicted, np.isfinite(trial.measured)
            error = (trial.measured - p.mean)[there]
            half = np.where(error < 0, (p.mean - p.low)[there], (p.high - p.mean)[there])
            ratios.append(np.abs(error) / np.maximum(half, 1e-12))
    return max(1.0, float(np.quantile(np.concatenate(ratios), CONFIDENCE)))
