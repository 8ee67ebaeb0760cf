"""A proposal and its baselines -> what is predicted of each, what the proposal gains, and whether the gain is shown."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mixture_config.files.mixture import Mixture
from mixture_config.geometry.tolerances import FILE_ROUNDING
from proxymix.messages import listed
from regression.confirmation.compared import BASELINE_PHRASES
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.search.feasible_set import FeasibleSet
from regression.search.proposal import BaselinePrediction, Estimate, Halves, Prediction
from regression.selection.cross_fitting import CrossFitting

STDS_TO_ENDS = 1.959964
"""Standard deviations to either side that hold 95% of a normal distribution, which is CONFIDENCE."""
BETTER, WORSE, SAME = "predicted better", "predicted worse", "not distinguishable"
PHRASES = {**BASELINE_PHRASES, "sweep_mean": "the mean of the sweep"}


def baselines_of(
    fitted: FittedModel,
    objective: Objective,
    prior: np.ndarray,
    heuristic: Path | None = None,
    has_prior: bool = True,
) -> dict[str, np.ndarray]:
    """What the proposal is compared with: name -> weights, shape (num_domains,).

    Args:
        prior: The prior, or the mean of the sweep where token counts are unknown.
        has_prior: Whether `prior` is the prior.

    Raises:
        InputError: If the heuristic mixture has other domains.
    """
    baselines = {"prior" if has_prior else "sweep_mean": prior}
    if heuristic is not None:
        baselines["heuristic"] = Mixture.read(heuristic).aligned(fitted.domains, heuristic)
    baselines["uniform"] = np.full(len(prior), 1 / len(prior))
    best = fitted.runs.weights[np.argmin(objective.value(fitted.runs.losses))]
    baselines["best_seen"] = best / best.sum()
    return baselines


def compared(
    fitted: FittedModel,
    objective: Objective,
    proposal: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    cross_fitting: CrossFitting | None,
    feasible: FeasibleSet,
) -> dict[str, BaselinePrediction]:
    """Per baseline: a run there as predicted, and the expected gain with its interval.

    Half of the winner's curse that cross-fitting finds is taken off the predicted gain, and what is uncertain about the
    curse is added to the interval.
    """
    X = np.array(list(baselines.values()))
    mean, std = fitted.predict_objective(X, objective)
    gain, gain_std = fitted.gains(X, proposal, objective)
    curse, curse_std = cross_fitting.expected_curse(gain_std) if cross_fitting else (0.0, 0.0)
    measured = objective.value(fitted.runs.losses)
    best = int(np.argmin(measured))
    entries = {}
    for i, name in enumerate(baselines):
        held_out = float(cross_fitting.held_out_gains[:, i].mean()) if cross_fitting else None
        entry = BaselinePrediction(
            _estimate(mean[i], std[i]),
            _estimate(gain[i] - curse, float(np.hypot(gain_std[i], curse_std))),
            bool(feasible.holds(X[i : i + 1], FILE_ROUNDING)[0]),
            held_out,
        )
        entry = replace(entry, verdict=_verdict_on(entry, fitted.ranks))
        if name == "best_seen":
            value, ends = float(measured[best]), entry.predicted
            missed = not ends.low <= value <= ends.high
            entry = replace(entry, run=fitted.runs.index[best], measured=value, missed=missed)
        entries[name] = entry
    return entries


def predicted(
    fitted: FittedModel,
    objective: Objective,
    proposal: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    cross_fitting: CrossFitting | None,
) -> Prediction:
    """A run at the proposal as predicted, half of the winner's curse added."""
    mean, std = fitted.predict_objective(proposal[None], objective)
    if cross_fitting is None:
        return Prediction(*_ends(mean[0], std[0]))
    stds = fitted.gains(np.array(list(baselines.values())), proposal, objective)[1]
    curse, _ = cross_fitting.expected_curse(stds)
    own, held_out = float(cross_fitting.own.mean()), float(cross_fitting.held_out.mean())
    halves = Halves(own, held_out, cross_fitting.winners_curse)
    return Prediction(*_ends(mean[0] + curse, std[0]), halves, float(mean[0]))


def _verdict_on(baseline: BaselinePrediction, ranks: bool) -> str:
    """Better or worse where the regression ranks runs, the interval is on one side of 0, and so is the held-out gain."""
    held_out = baseline.held_out_gain
    if ranks and baseline.gain.low > 0 and (held_out is None or held_out > 0):
        return BETTER
    return WORSE if ranks and baseline.gain.high < 0 and (held_out is None or held_out < 0) else SAME


def verdict(baselines: Mapping[str, BaselinePrediction], ranks: bool) -> str:
    """What is predicted against each baseline, in words that follow "The proposal is"."""
    if not ranks:
        return "not better than any baseline: the regression does not rank runs better than chance"
    words = {
        BETTER: "predicted to be better than",
        WORSE: "predicted to be worse than",
        SAME: "not distinguishable from",
    }
    parts = []
    for kind, text in words.items():
        if names := [PHRASES[name] for name, entry in baselines.items() if entry.verdict == kind]:
            parts.append(f"{text} {listed(names)}")
    return "; ".join(parts)


def _ends(mean: float, std: float) -> tuple[float, float, float]:
    return float(mean), float(mean - STDS_TO_ENDS * std), float(mean + STDS_TO_ENDS * std)


def _estimate(mean: float, std: float) -> Estimate:
    return Estimate(*_ends(mean, std))
