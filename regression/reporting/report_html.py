"""A study's results and its figures -> the report's page."""

from collections.abc import Callable, Mapping
from typing import Any

from proxymix.plots.figures import Figure
from regression.reporting.rendering import render
from regression.reporting.sections.answer import answer
from regression.reporting.sections.confidence import confidence
from regression.reporting.sections.fit import regression
from regression.reporting.sections.limits import limits
from regression.reporting.sections.made import made, use
from regression.reporting.sections.summary import header, headline, question
from regression.reporting.sections.sweep import domains, proxies
from regression.reporting.study_results import StudyResults

Section = Callable[[StudyResults, Mapping[str, Figure]], dict[str, Any] | None]
SECTIONS: dict[str, tuple[str, Section]] = {
    "limits": ("What this does not say", limits),
    "answer": ("The answer", answer),
    "confidence": ("How sure", confidence),
    "use": ("Use it", use),
    "question": ("What was asked", question),
    "regression": ("Does the regression hold", regression),
    "domains": ("Which domains matter", domains),
    "proxies": ("The proxies", proxies),
    "made": ("How it was made", made),
}
"""Template -> its title and the function that gathers its data, in the order of the page."""


def report_html(study: StudyResults, figures: Mapping[str, Figure]) -> str:
    """The whole page, which needs no other file; a section without data is left out."""
    gathered = {name: gather(study, figures) for name, (_, gather) in SECTIONS.items()}
    sections = {name: data for name, data in gathered.items() if data is not None}
    contents = [(name, SECTIONS[name][0]) for name in sections]
    parts = [render("header", figures=figures, contents=contents, **header(study, figures))]
    parts += [render(name, figures=figures, title=SECTIONS[name][0], **data) for name, data in sections.items()]
    return str(render("page", title=f"{study.name}: {headline(study)}", sections=parts))
