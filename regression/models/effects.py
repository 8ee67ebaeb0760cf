"""A fitted model -> what each domain does to each target."""

from typing import Any

import numpy as np

from regression.models.fitted import FittedModel


def effects(fitted: FittedModel) -> list[dict[str, Any]]:
    """Rows of effects.csv: how each target goes with each weight, in the runs and as learnt.

    The effect is the predicted change when a domain goes from nothing to its mean share in the sweep, the others
    shrinking in proportion.
    """
    from scipy.stats import spearmanr

    weights, losses = fitted.runs.weights, fitted.runs.losses
    center = weights.mean(axis=0)
    without = np.array([np.where(np.arange(len(center)) == j, 0.0, center) for j in range(len(center))])
    totals = without.sum(axis=1, keepdims=True)
    without = np.where(totals > 0, without / np.maximum(totals, 1e-300), center)
    used = range(len(fitted.targets))
    effect = fitted.losses(center[None], used) - fitted.losses(without, used)
    rows = []
    for t, target in enumerate(fitted.targets):
        for j, domain in enumerate(fitted.domains):
            varies = np.ptp(weights[:, j]) > 0
            correlation = float(spearmanr(weights[:, j], losses[:, t]).statistic) if varies else 0.0
            rows.append({"target": target, "domain": domain, "correlation": correlation, "effect": float(effect[j, t])})
    return rows
