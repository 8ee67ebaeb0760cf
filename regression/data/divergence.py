"""Runs -> those with a loss that cannot be, or that no mixture explains."""

import numpy as np

from proxymix.schemas import loss_domain
from regression.data.columns import kind_of
from regression.data.runs import LeftOut, Runs

MIN_RUNS = 8
"""Runs. Fewer than this do not say what a usual loss is."""
MAX_DOMAIN_SPREADS, MAX_METRIC_SPREADS = 6.0, 20.0
"""How far a loss of a domain, or another metric, may lie above the median, in spreads of its logarithm."""
MAX_SPREADS_BELOW, MAX_EXPLAINED_SPREADS_BELOW = 6.0, 40.0
"""How far a loss of a domain may lie below the median; and where the mixture explains it, or of another metric."""
MIN_SPREAD = 0.05
"""The least spread of a logarithm of losses: 6 of these spreads are 35% above the median."""
SMALLEST, LARGEST = 1e-100, 1e100
"""Magnitudes of a loss that can be computed with; sums of squares of larger ones overflow."""


def impossible(runs: Runs) -> list[LeftOut]:
    """Runs with a loss that no run can have: 0 or below where all are above, or a magnitude that overflows.

    Nats, bits and perplexities of text are above 0. A column that is 0 or below in half of the runs is of another kind.
    """
    found: list[LeftOut] = []
    for target, losses in zip(runs.targets, runs.losses.T, strict=True):
        size = np.abs(losses)
        problems = {"not a number that can be computed with": (size > LARGEST) | ((size > 0) & (size < SMALLEST))}
        if loss_domain(target) != target or (kind_of(target) == "loss" and 2 * (losses <= 0).sum() < len(losses)):
            problems["a loss is above 0"] = losses <= 0
        found += [
            LeftOut(runs.index[i], target, f"{losses[i]:g}", problem)
            for problem, rows in problems.items()
            for i in np.flatnonzero(rows)
        ]
    return found


def diverged(runs: Runs) -> list[LeftOut]:
    """Runs with a loss far above or below all others that their mixture does not explain.

    How far a loss is above the median is measured on logarithms, in distances from the target's median to its 90th
    percentile. A tenth of diverged runs does not stretch that spread, and runs without a domain, where they are many, are
    within it. The limits are 6 spreads for the loss of a domain and 20 for another metric. The loss of a domain says
    nothing of a run that has none of the domain, or less than nine tenths of the sweep: its mixture explains the loss.

    RegMix's 512 and 256 runs reach 2.2 spreads, the 110 metrics of Olmix's 127 runs 3.7, and subsets of 8 to 64 of them
    4.0 and 10. A model that learnt nothing would stand at 7 or more on RegMix's losses, and at 60 on Olmix's metrics.

    Below the median it is the same with the 10th percentile, and a mixture with more of the domain than nine tenths of the
    sweep explains a low loss. Subsets of 8 of RegMix's runs reach 2.6 spreads and 13 where the mixture explains them, of
    Olmix's 22.
    """
    found: list[LeftOut] = []
    if len(runs.index) < MIN_RUNS:
        return found
    for target, losses in zip(runs.targets, runs.losses.T, strict=True):
        if (losses <= 0).any():  # not a loss in nats or bits, so it has no logarithm
            continue
        domain, median = loss_domain(target), float(np.median(losses))
        # "lower" and "higher", or the most extreme of 8 losses would move the quantile
        above = max(np.log(np.quantile(losses, 0.9, method="lower") / median), MIN_SPREAD)
        below = max(np.log(median / np.quantile(losses, 0.1, method="higher")), MIN_SPREAD)
        far, near = MAX_METRIC_SPREADS, MAX_EXPLAINED_SPREADS_BELOW
        counts, little = np.ones(len(losses), dtype=bool), np.zeros(len(losses), dtype=bool)
        if domain in runs.domains:
            far, weights = MAX_DOMAIN_SPREADS, runs.weights[:, runs.domains.index(domain)]
            counts = (weights > 0) & (weights >= np.quantile(weights, 0.1))
            little = weights <= np.quantile(weights, 0.9)
        deviation = np.log(losses / median)
        low = -deviation > np.where(little, MAX_SPREADS_BELOW, near) * below
        for rows, problem in ((counts & (deviation > far * above), "diverged"), (low, "far below the other runs")):
            found += [
                LeftOut(runs.index[i], target, f"{losses[i]:g}", f"{problem}; the median of all runs is {median:.4g}")
                for i in np.flatnonzero(rows)
            ]
    return found
