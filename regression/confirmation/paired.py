"""Measurements of two mixtures on the same seeds -> their difference with an interval, and a verdict over baselines."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

CONFIDENCE = 0.95
BETTER, WORSE, UNDECIDED, NOT_BETTER = VERDICTS = ("better", "worse", "undecided", "not better")
MAX_MORE_SEEDS = 50
"""A difference that would take more seeds than these is too small for proxies to tell."""


@dataclass(frozen=True)
class Difference:
    """A paired difference over seeds: proposal minus baseline, so below 0 the proposal is better.

    Attributes:
        mean: Over seeds; low and high are the ends of its 95% t interval.
        sd: Standard deviation over seeds.
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


def corrected(differences: Mapping[str, Difference], same_as: Mapping[str, str] | None = None) -> dict[str, Difference]:
    """The differences with p-values corrected for their number.

    Args:
        differences: Baseline -> proposal minus baseline.
        same_as: Mixtures that equal another -> its name: one comparison, or none where the proposal is that other.
    """
    same_as = same_as or {}
    adjusted = holm({name: d.p for name, d in differences.items() if name not in same_as})
    return {name: replace(d, p_holm=adjusted.get(same_as.get(name, name), 1.0)) for name, d in differences.items()}


def verdict(difference: Difference, min_gain: float) -> str:
    """What a difference shows: better, worse, undecided or not better.

    Better and worse hold at 5%, corrected for the number of baselines. An adjusted p-value is never below the plain one, so
    the 95% interval then excludes 0. If it excludes every gain worth having instead, the proposal is not better. An interval
    that includes both 0 and such a gain decides nothing.

    Args:
        difference: With its corrected p-value.
        min_gain: The smallest gain worth having, at least 0.
    """
    assert difference.p_holm is not None
    if difference.p_holm < 1 - CONFIDENCE:
        return BETTER if difference.mean < 0 else WORSE
    return NOT_BETTER if difference.low >= -min_gain else UNDECIDED


def seeds_to_decide(difference: Difference, min_gain: float, num_open: int = 1) -> int | None:
    """How many more seeds would decide if the mean and the spread stayed as they are; None if MAX_MORE_SEEDS would not.

    Args:
        difference: Of an undecided comparison.
        min_gain: The smallest gain worth having.
        num_open: Comparisons that are neither better nor worse: Holm's correction divides the 5% by their number.
    """
    from scipy.stats import t

    num_seeds = difference.num_seeds + np.arange(1, MAX_MORE_SEEDS + 1)
    error, tail = difference.sd / np.sqrt(num_seeds), (1 - CONFIDENCE) / 2
    differs = abs(difference.mean) > t.isf(tail / num_open, num_seeds - 1) * error
    excludes_gain = difference.mean - t.isf(tail, num_seeds - 1) * error >= -min_gain
    enough = np.flatnonzero(differs | excludes_gain)
    return int(enough[0]) + 1 if len(enough) else None
