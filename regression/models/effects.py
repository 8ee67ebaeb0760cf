"""A fitted model -> what each domain does to each target."""

from typing import Any

import numpy as np

from regression.models.fitted import FittedModel
from regression.selection.metrics import spearman


def effects(fitted: FittedModel) -> list[dict[str, Any]]:
    """Rows of effects.csv: how each target depends on each weight, in the runs (correlation) and as learnt (effect).

    The effect is the predicted change of the loss when a domain's weight goes from 0 to its mean in the sweep, while the
    others shrink in proportion.
    """
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
            correlation = spearman(weights[:, j], losses[:, t])
            rows.append({"target": target, "domain": domain, "correlation": correlation, "effect": float(effect[j, t])})
    return rows
