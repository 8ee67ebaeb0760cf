"""A verdict and what was measured -> sentences."""

from collections.abc import Mapping, Sequence

from proxymix.messages import listed
from proxymix.schemas import loss_domain
from regression.confirmation.compared import BASELINE_PHRASES
from regression.confirmation.confirmation import CeilingResult
from regression.confirmation.paired import Difference, Verdict
from regression.data.objective import Objective

METHOD = (
    "every mixture on the same fresh seeds and validation blocks; paired t test over seeds, two-sided, at 5% with Holm's "
    "correction for the number of distinct baselines; intervals are 95% t intervals of one difference, uncorrected"
)


def verdict_sentence(
    found: Verdict,
    differences: Mapping[str, Difference],
    objective: Objective,
    num_seeds: int,
    num_tests: int,
    infeasible: Sequence[str] = (),
) -> str:
    """The verdict with its numbers; baselines that the data cannot feed at the budget are said to be so."""

    def name(baseline: str) -> str:
        d = differences[baseline]
        note = "; the data cannot feed it" if baseline in infeasible else ""
        return f"{BASELINE_PHRASES[baseline]} ({d.mean:+.3f}, {d.low:+.3f} to {d.high:+.3f}{note})"

    groups = (
        ("better than", found.better_than),
        ("no better than", found.no_better_than),
        ("worse than", found.worse_than),
    )
    parts = "; ".join(f"{words} {listed([name(b) for b in baselines])}" for words, baselines in groups if baselines)
    return (
        f"By {objective.describe()}, the proposal is {parts}. In {objective.unit}, with 95% intervals, proposal minus "
        f"baseline, over {num_seeds} fresh seeds; better and worse hold at 5%, corrected for {num_tests} comparisons (Holm)."
    )


def ceilings_sentence(ceilings: Mapping[str, CeilingResult]) -> str:
    """Which ceilings were kept, beginning with a space; nothing where there are none."""
    if not ceilings:
        return ""
    broken = [
        f"{loss_domain(target)} ({100 * entry.rise:+.2f}% against the prior, {100 * entry.allowed:.4g}% allowed)"
        for target, entry in ceilings.items()
        if not entry.kept
    ]
    if not broken:
        return f" Kept: the ceilings on all {len(ceilings)} targets that have one."
    kept = len(ceilings) - len(broken)
    return f" Not kept: the ceilings on {listed(broken)}{f'; kept: those on {kept} others' if kept else ''}."
