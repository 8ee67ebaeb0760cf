"""A study's results -> the report's figures, in the order in which they are made."""

from collections.abc import Callable

from proxymix.plots.figures import Figure
from regression.reporting.figures import confirmation, fit, proposal, sweep
from regression.reporting.study_results import StudyResults

FIGURES: tuple[Callable[[StudyResults], Figure | None], ...] = (
    proposal.mixtures_figure,
    proposal.near_optimal_figure,
    proposal.epochs_figure,
    proposal.gains_figure,
    proposal.line_figure,
    confirmation.differences_figure,
    confirmation.seeds_figure,
    confirmation.domain_changes_figure,
    fit.predicted_figure,
    fit.rank_curve_figure,
    fit.regret_curve_figure,
    fit.sensitivity_figure,
    fit.effects_figure,
    sweep.correlation_figure,
    sweep.curves_figure,
    confirmation.noise_figure,
)

FIGURE_NAMES = (
    *("mixtures", "near_optimal", "epochs", "gains", "line", "differences", "seeds", "domain_changes", "predicted"),
    *("learning_rank", "learning_regret", "sensitivity", "effects", "correlation", "curves", "noise"),
)
"""The names that these figures have."""


def report_figures(study: StudyResults) -> dict[str, Figure]:
    """The figures that the study has the files for, by their names."""
    made = [make(study) for make in FIGURES]
    return {figure.name: figure for figure in made if figure is not None}
