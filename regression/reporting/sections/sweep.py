"""Which domains matter, and whether the proxies tell mixtures apart."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from proxymix.messages import listed
from proxymix.plots.figures import Figure
from regression.reporting.figures.sweep import MAX_CURVES
from regression.reporting.study_results import StudyResults

MAX_NAMED = 3  # domains in a sentence
SMALL_CHANGE = 0.05  # of the largest change: a smaller one is not worth a sentence


def domains(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """What each domain does to the losses, by the regression and over the sweep."""
    found: dict[str, Any] = {"finding": "", "gains": "", "num_runs": len(study.runs.index)}
    if "sensitivity" not in figures:
        return found
    table = figures["sensitivity"].table
    small = SMALL_CHANGE * float(np.abs(table[["more", "less"]].to_numpy()).max())
    worst = table[table["less"] > small].sort_values("less", ascending=False)["domain"].tolist()[:MAX_NAMED]
    if worst:
        found["finding"] = f"By the regression, the objective leans most on {listed(worst)}: less of it costs most."
    found["gains"] = listed(table[table["more"] < -small].sort_values("more")["domain"].tolist()[:MAX_NAMED])
    return found


def proxies(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any] | None:
    """Whether the mixture matters beyond the seed, and how training went; nothing where neither is known."""
    if "noise" not in figures and "curves" not in figures:
        return None
    found = {"finding": "", "num_runs": len(study.run_folders), "max_curves": MAX_CURVES, "halfway": ""}
    if "noise" in figures:
        table = figures["noise"].table
        lowest = int(table["ratio"].iloc[1:].argmin()) + 1
        found["finding"] = (
            f"The mixture moves the objective {table['ratio'].iloc[0]:.3g} times as much as the seed does; per domain, at least "
            f"{table['ratio'].iloc[lowest]:.3g} times ({table['target'].iloc[lowest]})."
        )
    if "curves" in figures:
        halfway = figures["curves"].table.attrs["halfway"]
        found["halfway"] = f"{halfway:.2f}" if halfway == halfway else ""
    return found
