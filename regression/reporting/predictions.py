"""A study's results -> the one prediction that the page shows of a mixture, and of a difference."""

from regression.confirmation.compared import PROPOSAL
from regression.confirmation.confirmation import Confirmation, PredictedValue
from regression.reporting.study_results import StudyResults
from regression.search.compare import STDS_TO_ENDS
from regression.search.proposal import Estimate


def predicted_at(study: StudyResults, found: Confirmation, mixture: str) -> Estimate:
    """The objective of a run at a confirmed mixture: as `propose` predicted it, else as the confirmation did."""
    proposal, baselines = study.proposal, study.proposal.baselines or {}
    if mixture == PROPOSAL and proposal.predicted:
        return proposal.predicted
    return baselines[mixture].predicted if mixture in baselines else _estimate(found.mixtures[mixture].predicted)


def predicted_difference(study: StudyResults, found: Confirmation, baseline: str) -> Estimate:
    """The proposal minus a baseline, predicted by the same."""
    baselines = study.proposal.baselines or {}
    if baseline not in baselines:
        return _estimate(found.differences[baseline].predicted)
    gain = baselines[baseline].gain
    return Estimate(-gain.mean, -gain.high, -gain.low)


def _estimate(predicted: PredictedValue) -> Estimate:
    low, high = (predicted.mean + sign * STDS_TO_ENDS * predicted.std for sign in (-1, 1))
    return Estimate(predicted.mean, low, high)
