"""Measurements of two mixtures on the same seeds -> their difference with an interval, and a verdict over baselines."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds: proposal minus baseline, so below 0 the proposal is better.

    Attributes:
        mean: Mean over seeds.
        sd: Standard deviation over seeds.
        low: Lower end of the 95% t interval of the mean.
        high: Its upper end.
        p: Two-sided p-value of a paired t test.
        wins: Seeds on which the proposal is strictly better.
        num_seeds: Seeds in all.
        p_holm: The p-value corrected for the number of comparisons (`holm`), where that was done.
    """

    mean: float
    sd: float
    low: float
    high: float
    p: float
    wins: int
    num_seeds: int
    p_holm: float | None = None


def t_interval(values: np.ndarray) -> tuple[float, float]:
    """The 95% t interval of the mean of independent measurements, shape (num_seeds,)."""
    from scipy.stats import ttest_1samp

    with _nearly_equal_values():
        ends = ttest_1samp(values, 0.0).confidence_interval(CONFIDENCE)
    return float(ends.low), float(ends.high)


def paired_difference(proposal: np.ndarray, baseline: np.ndarray) -> Difference:
    """Compare losses of two mixtures measured on the same seeds.

    Args:
        proposal: Losses at the proposal, shape (num_seeds,), num_seeds >= 2.
        baseline: Losses at the baseline, on the same seeds in the same order.
    """
    from scipy.stats import ttest_rel

    differences = np.asarray(proposal, dtype=float) - np.asarray(baseline, dtype=float)
    with _nearly_equal_values():
        test = ttest_rel(proposal, baseline)
        ends = test.confidence_interval(CONFIDENCE)
    p = 1.0 if np.isnan(test.pvalue) else float(test.pvalue)  # not a number where the two are equal on every seed
    mean, sd = float(differences.mean()), float(differences.std(ddof=1))
    return Difference(mean, sd, float(ends.low), float(ends.high), p, int((differences < 0).sum()), len(differences))


@contextmanager
def _nearly_equal_values() -> Iterator[None]:
    """No warning where measurements are equal on all seeds: then a difference is certain, or there is none."""
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        yield


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Holm's adjusted p-values: comparing each with 5% keeps the chance of any false claim among all below 5%.

    The smallest of k is multiplied by k, the next by k - 1 and so on, never below the one before (Holm 1979).
    """
    adjusted: dict[str, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


@dataclass(frozen=True)
class Verdict:
    """Which baselines the proposal beats, which it does not, and which beat it."""

    better_than: list[str]
    no_better_than: list[str]
    worse_than: list[str]


def verdict(differences: Mapping[str, Difference], adjusted: Mapping[str, float]) -> Verdict:
    """Sort baselines by what their differences show at 5%.

    An adjusted p-value is never below the plain one, so a claim also has a 95% interval that excludes zero.

    Args:
        differences: Baseline -> proposal minus baseline.
        adjusted: Baseline -> p-value, corrected for the number of baselines (`holm`).
    """
    shown = [name for name in differences if adjusted[name] < 1 - CONFIDENCE]
    return Verdict(
        better_than=[name for name in shown if differences[name].mean < 0],
        no_better_than=[name for name in differences if name not in shown],
        worse_than=[name for name in shown if differences[name].mean > 0],
    )
