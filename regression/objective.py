"""What to minimise -> a weight for every target: the mean of all, one of them, or a weighted few.

Targets are predicted one by one and aggregated after, since a model of the aggregate ranks worse (on RegMix's 512 runs
LightGBM's Spearman on the mean of 13 losses is .974 fitted on the mean, .994 fitted per target).
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from proxymix.errors import InputError
from proxymix.files import read_yaml
from proxymix.schemas import loss_domain
from regression.table import resolve_targets

Objective = str | dict[str, float]


def objective_weights(objective: Objective, targets: Sequence[str]) -> np.ndarray:
    """Weights over `targets` that sum to 1; the objective of a run is `losses @ weights`, less is better.

    Args:
        objective: "mean" (all targets alike), a loss column or its domain's name, {column or domain: weight}, or the
            path of a YAML file of such weights.
        targets: Loss columns, in the order wanted.

    Raises:
        InputError: If a name is no target (the nearest is suggested) or a weight is not a number above 0.
    """
    targets = list(targets)
    where = "objective"
    if isinstance(objective, str):
        if objective == "mean":
            return np.full(len(targets), 1 / len(targets))
        if not objective.endswith((".yaml", ".yml")):
            objective = {objective: 1.0}
        else:
            where = objective
            objective = read_yaml(Path(objective))
    return _weights(objective, targets, where)


def resolved_objective(objective: Objective, targets: Sequence[str]) -> Objective:
    """The same objective without a file behind it: "mean", or {loss column: weight} with weights that sum to 1."""
    weights = objective_weights(objective, targets)
    if objective == "mean":
        return "mean"
    return {target: float(weight) for target, weight in zip(targets, weights, strict=True) if weight > 0}


def describe_objective(objective: Objective, targets: Sequence[str]) -> str:
    """The objective in words, for a report: 'mean of 13 targets', 'pile_cc', 'weighted mean: 0.7 code, 0.3 prose'."""
    weights = objective_weights(objective, targets)
    used = [(loss_domain(target), weight) for target, weight in zip(targets, weights, strict=True) if weight > 0]
    if len(used) == 1:
        return used[0][0]
    if len({weight for _, weight in used}) == 1:
        return (
            f"mean of {len(used)} targets" if len(used) == len(targets) else "mean of " + ", ".join(n for n, _ in used)
        )
    return "weighted mean: " + ", ".join(f"{weight:.3g} {name}" for name, weight in used)


def _weights(weights: Mapping[str, float], targets: list[str], where: str) -> np.ndarray:
    if not weights:
        raise InputError(f"{where}: no targets in it; write <domain or loss column>: <weight>")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight <= 0:
            raise InputError(f"{where}: the weight of {name} is {weight!r}; a number above 0 is wanted")
    columns = resolve_targets([str(name) for name in weights], targets, where)
    values = np.zeros(len(targets))
    values[[targets.index(column) for column in columns]] = list(weights.values())
    return values / values.sum()
