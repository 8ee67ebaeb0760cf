"""Runs of one mixture on several seeds: which they are, how noisy they show the losses to be, and the best of them."""

import numpy as np

from mixture_config.geometry.tolerances import SAME_WEIGHT
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.selection.metrics import OBJECTIVE


def same_mixtures(weights: np.ndarray) -> np.ndarray:
    """Which mixture each row is, numbered in the order in which mixtures first come; shape (num_rows,)."""
    rounded = np.round(weights / SAME_WEIGHT).astype(np.int64)
    _, first, number = np.unique(rounded, axis=0, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[number.ravel()]


def best_runs(runs: Runs, objective: Objective) -> np.ndarray:
    """Rows by the objective, the lowest first; of a mixture with several runs its lowest. Shape (num_mixtures,)."""
    order = np.argsort(objective.value(runs.losses), kind="stable")
    _, first = np.unique(same_mixtures(runs.weights)[order], return_index=True)
    return np.asarray(order[np.sort(first)])


def noise_floor(runs: Runs, objective: Objective) -> dict[str, float]:
    """Standard deviation over seeds of one mixture, for the objective and each target; empty if no mixture was repeated.

    Pooled over mixtures that were trained more than once. No regression predicts a run on another seed better. It may
    predict runs of one seed better, because what the seed does to all mixtures alike cancels among them.
    """
    mixtures = same_mixtures(runs.weights)
    groups = [np.flatnonzero(mixtures == m) for m in np.unique(mixtures) if (mixtures == m).sum() > 1]
    if not groups:
        return {}
    values = np.column_stack([objective.value(runs.losses), runs.losses])
    squares = sum(((values[g] - values[g].mean(axis=0)) ** 2).sum(axis=0) for g in groups)
    pooled = np.sqrt(squares / sum(len(g) - 1 for g in groups))
    return dict(zip([OBJECTIVE, *runs.targets], map(float, pooled), strict=True))
