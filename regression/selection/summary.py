"""A fit -> what the terminal says of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import loss_domain
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.models.registry import BASELINE
from regression.selection.learning_curve import Point, sentence
from regression.selection.metrics import NOISE, OBJECTIVE

MIN_TRUSTED_SPEARMAN = 0.6
"""Below this rank correlation the proxies are probably under-trained; do not trust the optimum."""


def say_fit(
    fitted: FittedModel,
    objective: Objective,
    tables: Mapping[str, Sequence[Mapping[str, Any]]],
    curve: Sequence[Point],
    floor: Mapping[str, float],
    num_repeats: int,
) -> None:
    """Say how well every model ranks held-out runs, what noise is in them, and whether more runs would help."""
    _say_scores(tables["scores"], fitted.model, objective)
    _say_noise(floor, fitted.runs, num_repeats)
    _say_test(tables["test_scores"], fitted)
    say(sentence(curve, len(fitted.runs.index), objective.unit))
    if not fitted.ranks:
        say("No regression ranks these runs better than chance would: there is nothing yet to choose a mixture by.")


def _say_scores(scores: Sequence[Mapping[str, Any]], chosen: str, objective: Objective) -> None:
    """A line per model, the best first. A model that was dropped after screening has no row for the objective."""
    rows = [row for row in scores if row["target"] == OBJECTIVE and row["model"] != NOISE]
    say(f"{objective.describe()}, on held-out runs:   Spearman             error    regret   best tenth found")
    for row in sorted(rows, key=lambda row: -row["spearman"]):
        mark = "  <- chosen" if row["model"] == chosen else ""
        name = "predict the mean" if row["model"] == BASELINE else row["model"]
        spread = f"{row['spearman']:.3f} +- {row['spearman_sd']:.3f}"
        say(f"  {name:<28}{spread:>18}{_digits(row['rmse'])}{_digits(row['regret'])}{row['recall']:>8.0%}{mark}")
    for row in scores:
        if row["target"] == OBJECTIVE and row["model"] == NOISE:
            say(f"  {'noise over seeds':<28}{'':>18}{_digits(row['rmse'])}")
    tried = {row["model"] for row in rows} | {NOISE}
    for name in dict.fromkeys(row["model"] for row in scores if row["model"] not in tried):
        values = [row["spearman"] for row in scores if row["model"] == name]
        say(f"  {name:<28}{np.mean(values):>9.3f} on {len(values)} targets: out")
    best = next(row for row in rows if row["model"] == chosen)
    if best["spearman"] < MIN_TRUSTED_SPEARMAN:
        say("No model ranks held-out runs well: train more proxies, or longer ones, before trusting an optimum.")


def _say_noise(floor: Mapping[str, float], runs: Runs, num_repeats: int) -> None:
    """The noise floor per target; the target whose spread it is the largest part of comes first."""
    if not floor:
        return
    parts = {t: floor[t] / column.std(ddof=1) for t, column in zip(runs.targets, runs.losses.T, strict=True)}
    noisy = [f"{loss_domain(t)} {floor[t]:.4g} ({part:.0%})" for t, part in sorted(parts.items(), key=lambda x: -x[1])]
    say(f"Noise over seeds from {num_repeats} repeats, and its part of the spread of the runs: {some(noisy)}")


def _say_test(rows: Sequence[Mapping[str, Any]], fitted: FittedModel) -> None:
    seen = " (seen: the preset stopped training on them, so this flatters it)" if fitted.preset == "regmix" else ""
    for row in rows:
        if row["target"] == OBJECTIVE and row["model"] == fitted.model:
            say(
                f"On the test runs{seen}: Spearman {row['spearman']:.4f}, error {row['rmse']:.4f}, regret {row['regret']:.4f}, "
                f"{row['recall']:.0%} of the best tenth found"
            )


def _digits(value: float) -> str:
    """A number in ten characters, with a space before it."""
    return f"{value:>10.4f}" if abs(value) < 1e4 else f"{value:>10.3g}"
