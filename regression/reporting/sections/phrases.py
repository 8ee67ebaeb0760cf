"""Parts of sentences that several sections use."""

from proxymix.messages import listed
from proxymix.plots.text import signed
from proxymix.schemas import loss_domain
from regression.confirmation.paired import Difference
from regression.reporting.study_results import StudyResults
from regression.search.proposal import Estimate

MAX_LISTED = 4  # names in a sentence; more of them are counted


def objective_phrase(study: StudyResults) -> str:
    """The objective as a sentence uses it: 'validation loss averaged over 10 domains'."""
    weights, wanted = study.objective.weights, study.objective.minimise
    used = [(loss_domain(t), abs(float(w))) for t, w in zip(study.runs.targets, weights, strict=True) if w != 0]
    what = "validation loss" if study.of_domains else "metric"
    if isinstance(wanted, dict) and "maximise" in wanted:
        what, wanted = "score with its sign reversed", wanted["maximise"]
    if wanted in ("zscore", "worst"):
        kind = "worst" if study.objective.worst else "mean"
        over = "domains" if study.of_domains else "metrics"
        return f"{kind} z-score over {len(used)} {over} ({what} in standard deviations of the sweep)"
    if len(used) == 1:
        return f"{what} on {used[0][0]}"
    if len({weight for _, weight in used}) == 1:
        over = "domains" if study.of_domains else "targets"
        names = f"{len(used)} {over}" if len(used) > MAX_LISTED else listed([name for name, _ in used])
        return f"{what} averaged over {names}"
    largest = sorted(used, key=lambda item: -item[1])[:MAX_LISTED]
    more = f" and {len(used) - MAX_LISTED} more" if len(used) > MAX_LISTED else ""
    return f"weighted {what} ({', '.join(f'{weight:.3g} {name}' for name, weight in largest)}{more})"


def confidence(study: StudyResults) -> str:
    """The confidence of the proposal's intervals: '90%'."""
    return f"{100 * (study.proposal.confidence or 0.95):.3g}%"


def span(interval: Difference | Estimate) -> str:
    """The ends of an interval of differences: '−0.041 to −0.022'."""
    return f"{signed(interval.low)} to {signed(interval.high)}"
