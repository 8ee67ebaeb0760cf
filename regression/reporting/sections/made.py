"""How to use the mixture, and how the study was made."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mixture_config.files.mixture import train_column
from proxymix.plots.figures import Figure
from regression.reporting.rendering import Cell, Row, Table, Term
from regression.reporting.study_results import StudyResults


def use(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any] | None:
    """The mixture as trainers take it; nothing without one."""
    if not study.optimum:
        return None
    return {
        "name": study.name,
        "weights": "\n".join(f"  {train_column(d)}: {weight!r}" for d, weight in study.optimum.items()),
        "blend": " ".join(f"{weight:.6g} {d}" for d, weight in study.optimum.items() if weight > 0),
    }


def made(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Versions, the tokenizer, the hashes of the files that the page is made from, and settings."""
    terms = []
    if study.versions:
        terms.append(Term("Versions", ", ".join(f"{name} {version}" for name, version in study.versions.items())))
    if tokenizer := study.tokenizer:
        name = f"{tokenizer['name']}, {tokenizer['vocabulary']:,} ids"
        terms.append(Term("Tokenizer", name, f"sha256 {tokenizer['sha256'][:16]}"))
    hashes: list[Row] = [[name, Cell(digest, "text")] for name, digest in study.hashes.items()]
    settings = yaml.safe_dump(_without_paths(study.settings), sort_keys=False, width=100) if study.settings else ""
    return {"terms": terms, "hashes": Table(("file", "sha256"), hashes), "settings": settings.rstrip()}


def _without_paths(value: Any) -> Any:
    """Settings without the folders of this machine: they are nobody's business, and would change the page's bytes."""
    if isinstance(value, Mapping):
        return {key: _without_paths(inner) for key, inner in value.items()}
    return f".../{Path(value).name}" if isinstance(value, str) and Path(value).is_absolute() else value
