"""Runs -> those with a loss that no mixture explains."""

import numpy as np

from proxymix.schemas import loss_domain
from regression.data.runs import LeftOut, Runs

MIN_RUNS = 8
"""Runs. Fewer than this do not say what a usual loss is."""

MAX_DOMAIN_SPREADS, MAX_METRIC_SPREADS = 6.0, 20.0
"""How far a loss of a domain, or another metric, may lie above the median, in spreads of its logarithm."""

MIN_SPREAD = 0.05
"""The least spread of a logarithm of losses: 6 of these spreads are 35% above the median."""


def diverged(runs: Runs) -> list[LeftOut]:
    """Runs with a loss far above all others that their mixture does not explain.

    How far a loss is above the median is measured on logarithms, in distances from the target's median to its 90th
    percentile. A tenth of diverged runs does not stretch that spread, and runs without a domain, where they are many, are
    within it. The limits are 6 spreads for the loss of a domain and 20 for another metric. The loss of a domain says
    nothing of a run that has none of the domain, or less than nine tenths of the sweep: its mixture explains the loss.

    RegMix's 512 and 256 runs reach 2.2 spreads, the 110 metrics of Olmix's 127 runs 3.7, and subsets of 8 to 64 of them
    4.0 and 10. A model that learnt nothing would stand at 7 or more on RegMix's losses, and at 60 on Olmix's metrics.
    """
    found: list[LeftOut] = []
    if len(runs.index) < MIN_RUNS:
        return found
    for target, losses in zip(runs.targets, runs.losses.T, strict=True):
        if (losses <= 0).any():  # not a loss in nats or bits, so it has no logarithm
            continue
        domain, median = loss_domain(target), float(np.median(losses))
        spread = np.log(
            np.quantile(losses, 0.9, method="lower") / median
        )  # "lower", or the largest of 8 losses would move it
        far = MAX_METRIC_SPREADS
        counts = np.ones(len(losses), dtype=bool)
        if domain in runs.domains:
            far, weights = MAX_DOMAIN_SPREADS, runs.weights[:, runs.domains.index(domain)]
            counts = (weights > 0) & (weights >= np.quantile(weights, 0.1))
        outside = counts & (np.log(losses / median) > far * max(spread, MIN_SPREAD))
        found += [
            LeftOut(runs.index[i], target, f"{losses[i]:g}", f"diverged; the median of all runs is {median:.4g}")
            for i in np.flatnonzero(outside)
        ]
    return found
