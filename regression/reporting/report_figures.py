"""A study's results -> the report's figures, in the order in which they are made."""

from collections.abc import Callable

from proxymix.plots.figures import Figure
from regression.reporting.figures import confirmation, fit, proposal, sweep
from regression.reporting.study_results import StudyResults

FIGURES: dict[str, Callable[[StudyResults], Figure | None]] = {
    "mixtures": proposal.mixtures_figure,
    "near_optimal": proposal.near_optimal_figure,
    "epochs": proposal.epochs_figure,
    "gains": proposal.gains_figure,
    "line": proposal.line_figure,
    "differences": confirmation.differences_figure,
    "seeds": confirmation.seeds_figure,
    "domain_changes": confirmation.domain_changes_figure,
    "predicted": fit.predicted_figure,
    "learning_rank": fit.rank_curve_figure,
    "learning_regret": fit.regret_curve_figure,
    "sensitivity": fit.sensitivity_figure,
    "effects": fit.effects_figure,
    "correlation": sweep.correlation_figure,
    "curves": sweep.curves_figure,
    "noise": confirmation.noise_figure,
}


def report_figures(study: StudyResults) -> dict[str, Figure]:
    """The figures that the study has the files for, by their names."""
    made = {name: make(study) for name, make in FIGURES.items()}
    found = {name: figure for name, figure in made.items() if figure is not None}
    for figure in found.values():
        figure.table.attrs.setdefault("unit", study.objective.unit)
    return found
