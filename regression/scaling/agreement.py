"""Losses of the same mixtures at two scales -> how alike the scales rank them."""

from typing import Any

import numpy as np

from proxymix.progress import say
from regression.data.objective import Objective, Spec
from regression.scaling.matching import MIN_SHARED_MIXTURES, MatchedScales
from regression.selection.metrics import OBJECTIVE, spearman_of_rows

LOW_SPEARMAN = 0.8
"""Below this rank correlation two mixtures drawn at random swap places in a fifth of all cases or more: it is called low."""
ENDS = (0.025, 0.975)
"""Quantiles at the ends of an interval of 95%, the level of every interval here."""
NUM_DRAWS = 2000
"""Bootstrap draws of the mixtures behind the intervals."""


def agreement(matched: MatchedScales, objective: Spec, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Rows of agreement.csv: how alike every two scales rank their common mixtures, by the objective and by each target.

    `regret` is what it costs to pick a mixture by the smaller scale: its loss at the larger scale minus the lowest loss
    there. `top_tenth` is the part of the larger scale's best tenth that is also the smaller's, and `top_tenth_by_chance`
    its value when nothing agrees. Intervals hold 95% of what bootstrap draws of the mixtures give.
    """
    rows = []
    for large in range(1, len(matched.scales)):
        for small in range(large):
            pair = [matched.at(small), matched.at(large)]
            both = np.isfinite(pair[0]).all(axis=1) & np.isfinite(pair[1]).all(axis=1)
            names = matched.scales[small].name, matched.scales[large].name
            if both.sum() < MIN_SHARED_MIXTURES:
                say(f"{names[0]} and {names[1]} share {both.sum()} mixtures: too few to compare")
                continue
            x, y = pair[0][both], pair[1][both]
            values = [Objective.of(objective, matched.targets, losses).value(losses) for losses in (x, y)]
            columns = {OBJECTIVE: values} if len(matched.targets) > 1 else {}
            columns |= {name: [x[:, t], y[:, t]] for t, name in enumerate(matched.targets)}
            draws = rng.integers(0, len(x), (NUM_DRAWS, len(x)))
            for name, (a, b) in columns.items():
                rows.append({"target": name, "smaller": names[0], "larger": names[1], **rank_agreement(a, b, draws)})
    return rows


def rank_agreement(small: np.ndarray, large: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    """How alike two scales rank mixtures.

    Args:
        small: Losses at the smaller scale, shape (num_mixtures,).
        large: Those of the same mixtures at the larger.
        draws: Mixtures of each bootstrap draw, shape (num_draws, num_mixtures).
    """
    from scipy.stats import kendalltau

    ends = np.quantile(spearman_of_rows(small[draws], large[draws]), ENDS)
    costs = np.quantile(_regret_of_rows(small[draws], large[draws]), ENDS)
    tenth = max(1, len(small) // 10)
    best = [set(np.argsort(values, kind="stable")[:tenth].tolist()) for values in (small, large)]
    between = float(spearman_of_rows(small[None], large[None])[0])
    return {
        "num_mixtures": len(small),
        "spearman": between,
        "spearman_low": float(ends[0]),
        "spearman_high": float(ends[1]),
        "kendall": float(np.nan_to_num(kendalltau(small, large).statistic)),
        "top_tenth": len(best[0] & best[1]) / tenth,
        "top_tenth_by_chance": tenth / len(small),
        "regret": float(_regret_of_rows(small[None], large[None])[0]),
        "regret_low": float(costs[0]),
        "regret_high": float(costs[1]),
        "verdict": "low" if between < LOW_SPEARMAN else "uncertain" if ends[0] < LOW_SPEARMAN else "good",
    }


def _regret_of_rows(small: np.ndarray, large: np.ndarray) -> np.ndarray:
    """What picking by the smaller scale costs, for each row; shape (num_rows,)."""
    picked = np.take_along_axis(large, small.argmin(axis=-1, keepdims=True), axis=-1)[..., 0]
    return np.asarray(picked - large.min(axis=-1))
