"""Verdicts -> the sentence and the table that the terminal, the file and the report share."""

from collections.abc import Mapping, Sequence

from proxymix.messages import listed
from proxymix.schemas import loss_domain
from regression.confirmation.compared import BASELINE_PHRASES
from regression.confirmation.confirmation import Comparison, Confirmation
from regression.confirmation.paired import BETTER, MAX_MORE_SEEDS, NOT_BETTER, UNDECIDED, WORSE

METHOD = (
    "every mixture on the same fresh seeds and validation blocks; paired t test over seeds, two-sided, at 5% with Holm's "
    "correction for the number of distinct baselines; intervals are 95% t intervals of one difference, uncorrected; not "
    "better: the interval excludes a gain of min_gain; undecided: none of these"
)
WORDS = {
    BETTER: "better than",
    WORSE: "worse than",
    NOT_BETTER: "not better than",
    UNDECIDED: "undecided against",
}


def verdict_sentence(
    differences: Mapping[str, Comparison], infeasible: Sequence[str] = (), broken: Sequence[str] = ()
) -> str:
    """The verdict on every baseline, without numbers and without a full stop.

    Args:
        differences: Baseline -> its comparison.
        infeasible: Baselines that the data cannot supply at the budget.
        broken: Domains whose loss rose by more than is allowed.
    """
    parts = []
    for verdict, words in WORDS.items():
        names = [name for name, comparison in differences.items() if comparison.verdict == verdict]
        notes = {name: " (which the data cannot supply)" for name in infeasible if verdict != BETTER}
        phrases = listed([BASELINE_PHRASES[name] + notes.get(name, "") for name in names])
        every = "every baseline: " if verdict == BETTER and len(names) == len(differences) > 1 else ""
        if verdict == UNDECIDED and names:
            more = _more_seeds([differences[name].seeds_to_decide for name in names])
            phrases = f"{phrases[:-1]}; {more})" if phrases.endswith(")") else f"{phrases} ({more})"
        parts += [f"{words} {every}{phrases}"] if names else []
    rises = f"; it raises the loss on {listed(broken)} by more than is allowed" if broken else ""
    return f"The proposed mixture is {', '.join(parts)}{rises}"


def _more_seeds(more: Sequence[int | None]) -> str:
    """What would decide comparisons: the most that one of them takes, and whether there are some that it would not decide."""
    found = [number for number in more if number is not None]
    if not found:
        return f"{MAX_MORE_SEEDS} more seeds would hardly decide"
    seeds = f"about {max(found)} more seed{'s' if max(found) > 1 else ''} would decide"
    return seeds if len(found) == len(more) else f"{seeds} {len(found)} of {len(more)}"


def confirmation_lines(found: Confirmation) -> list[str]:
    """For the terminal: a row per baseline with its difference, interval, verdict and seeds, and per ceiling."""
    num_seeds, objective = len(found.seeds), found.objective
    lines = [f"Measured on {num_seeds} fresh seeds, proposal minus baseline ({objective.name}, {objective.unit}):"]
    for name, comparison in found.differences.items():
        of = comparison.objective
        interval = f"95% {of.low:+.3f} to {of.high:+.3f}"
        more = f"; {_more_seeds([comparison.seeds_to_decide])}" if comparison.verdict == UNDECIDED else ""
        seeds = f"(lower on {of.wins} of {of.num_seeds} seeds{more})"
        lines.append(f"  {name:<12}{of.mean:+.3f}   {interval:<24}{comparison.verdict:<11} {seeds}")
    undecided = [c.objective for c in found.differences.values() if c.verdict == UNDECIDED]
    if any(of.low > 0 or of.high < 0 for of in undecided):
        lines.append("  (undecided, though an interval leaves out 0: verdicts are corrected for the number of them)")
    for target, ceiling in (found.ceilings or {}).items():
        rise = f"{100 * ceiling.rise:+.2f}% against the prior, {100 * ceiling.allowed:.4g}% allowed"
        word = "kept" if ceiling.kept else "NOT kept"
        lines.append(f"  {loss_domain(target):<28}{rise}: {word} ({ceiling.seeds_kept} of {num_seeds} seeds)")
    return [*lines, f"{found.verdict}."]
