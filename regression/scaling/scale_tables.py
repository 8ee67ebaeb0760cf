"""Laws and what they predict -> the rows and files of `proxymix scales`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture_table import MixtureTable
from proxymix.tables import write_table
from regression.data.runs import write_losses
from regression.scaling.law_trials import Predicted, Trial, error_measures
from regression.scaling.matching import MIN_SHARED_MIXTURES, MatchedScales


def law_rows(matched: MatchedScales, trials: Sequence[Trial], chosen: str) -> list[dict[str, Any]]:
    """Rows of scaling_laws.csv: laws and naive guesses on the largest scale, which none of them saw.

    The guess `shifted` takes the losses of the next smaller scale and moves them to the right mean. Nobody knows that
    mean beforehand, so its bias is 0. The guess `same_drop` moves them by as much as the step before moved losses.
    """
    last = len(matched.scales) - 1
    smaller = matched.at(last - 1)

    def row(
        law: str, t: int, predicted: np.ndarray, y: np.ndarray, own: Predicted | None, covered: object
    ) -> dict[str, Any]:
        return {
            "law": law,
            "target": matched.targets[t],
            "fitted_runs": own.num_runs if own else 0,
            "fitted_rmse": own.rmse if own else "",
            "held_out_scale": matched.scales[last].name,
            "held_out_runs": len(y),
            **error_measures(predicted, y),
            "covered": covered,
            "chosen": "yes" if law == chosen else "no",
        }

    rows: list[dict[str, Any]] = []
    for trial in trials:
        there = np.isfinite(trial.measured)
        p, y = trial.predicted, trial.measured[there]
        held: object = float(np.mean((p.low[there] <= y) & (y <= p.high[there]))) if trial.law == chosen else ""
        rows.append(row(trial.law, trial.target, p.mean[there], y, p, held))
    for t in sorted({trial.target for trial in trials}):
        measured = matched.at(last)[:, t]
        there = np.isfinite(measured) & np.isfinite(smaller[:, t])
        if there.sum() < MIN_SHARED_MIXTURES:
            continue
        y, own = measured[there], smaller[there, t]
        rows.append(row("shifted", t, own + (y.mean() - own.mean()), y, None, ""))
        if last > 1:
            step = smaller[:, t] - matched.at(last - 2)[:, t]
            rows.append(row("same_drop", t, own + np.nanmean(step[np.isfinite(step)]), y, None, ""))
    return rows


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
