"""A study's results and its figures -> the report's page."""

from collections.abc import Callable, Mapping
from typing import Any

from proxymix.plots.figures import Figure
from regression.reporting.rendering import render
from regression.reporting.sections.answer import answer
from regression.reporting.sections.confidence import confidence
from regression.reporting.sections.fit import regression
from regression.reporting.sections.made import made, use
from regression.reporting.sections.summary import header, headline, question
from regression.reporting.sections.sweep import domains, proxies
from regression.reporting.study_results import StudyResults

Section = Callable[[StudyResults, Mapping[str, Figure]], dict[str, Any] | None]
SECTIONS: dict[str, Section] = {
    "header": header,
    "question": question,
    "answer": answer,
    "confidence": confidence,
    "regression": regression,
    "domains": domains,
    "proxies": proxies,
    "use": use,
    "made": made,
}
"""Template -> the function that gathers its data, in the order of the page."""


def report_html(study: StudyResults, figures: Mapping[str, Figure]) -> str:
    """The whole page, which needs no other file; a section without data is left out."""
    gathered = {template: gather(study, figures) for template, gather in SECTIONS.items()}
    sections = [render(name, figures=figures, **data) for name, data in gathered.items() if data is not None]
    return str(render("page", title=headline(study), sections=sections))
