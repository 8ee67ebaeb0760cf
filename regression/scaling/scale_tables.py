"""Laws and what they predict -> the rows and files of `proxymix scales`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture_table import MixtureTable
from proxymix.tables import write_table
from regression.data.runs import write_losses
from regression.scaling.law_trials import Predicted, Trial, error_measures
from regression.scaling.matching import MIN_SHARED_MIXTURES, MatchedScales

MEASURES = ("rmse", "bias", "centred_rmse", "spearman", "regret", "covered")


def law_rows(matched: MatchedScales, trials: Sequence[Trial], chosen: str) -> list[dict[str, Any]]:
    """Rows of scaling_laws.csv: laws and naive guesses on the largest scale, which none of them saw.

    The guess `shifted` takes the losses of the next smaller scale and moves them to the right mean. Nobody knows that
    mean beforehand, so its bias is 0. The guess `same_drop` moves them by as much as the step before moved losses.
    """
    last = len(matched.scales) - 1
    name, smaller = matched.scales[last].name, matched.at(last - 1)
    rows: list[dict[str, Any]] = []
    for trial in trials:
        there = np.isfinite(trial.measured)
        p, y = trial.predicted, trial.measured[there]
        held: object = float(np.mean((p.low[there] <= y) & (y <= p.high[there]))) if trial.law == chosen else ""
        found: dict[str, Any] = {**error_measures(p.mean[there], y), "covered": held}
        rows.append(_law_row(trial.law, matched.targets[trial.target], name, p.num_runs, p.rmse, len(y), found, chosen))
    for t in sorted({trial.target for trial in trials}):
        measured = matched.at(last)[:, t]
        there = np.isfinite(measured) & np.isfinite(smaller[:, t])
        if there.sum() < MIN_SHARED_MIXTURES:
            continue
        y, own = measured[there], smaller[there, t]
        guesses = {"shifted": own + (y.mean() - own.mean())}
        if last > 1:
            before = matched.at(last - 2)[:, t]
            step = np.nanmean((smaller[:, t] - before)[np.isfinite(smaller[:, t] - before)])
            guesses["same_drop"] = own + step
        for guess, values in guesses.items():
            found = {**error_measures(values, y), "covered": ""}
            rows.append(_law_row(guess, matched.targets[t], name, 0, "", len(y), found, chosen))
    return rows


def _law_row(
    law: str, target: str, scale: str, num_runs: int, rmse: object, num: int, found: Mapping[str, Any], chosen: str
) -> dict[str, Any]:
    return {
        "law": law,
        "target": target,
        "fitted_runs": num_runs,
        "fitted_rmse": rmse,
        "held_out_scale": scale,
        "held_out_runs": num,
        **{key: found[key] for key in MEASURES},
        "chosen": "yes" if law == chosen else "no",
    }


def write_target(out: Path, matched: MatchedScales, targets: Sequence[str], predicted: Sequence[Predicted]) -> None:
    """predictions.csv, target_mixtures.csv and target_losses.csv."""
    largest = matched.at(len(matched.scales) - 1)
    rows: list[list[object]] = []
    for target, p in zip(targets, predicted, strict=True):
        measured = largest[:, matched.targets.index(target)]
        for i, key in enumerate(matched.keys):
            seen = float(measured[i]) if np.isfinite(measured[i]) else ""
            rows.append([key, target, seen, *(float(v[i]) for v in (p.mean, p.low, p.high))])
    write_table(out / "predictions.csv", ["index", "target", "largest_scale", "predicted", "low", "high"], rows)
    MixtureTable(matched.keys, matched.domains, matched.weights).write(out / "target_mixtures.csv")
    write_losses(out / "target_losses.csv", matched.keys, targets, np.column_stack([p.mean for p in predicted]))
