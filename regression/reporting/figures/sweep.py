"""Figures of a sweep as it was measured: which weights go with which losses, and the loss curves."""

import math
from typing import TYPE_CHECKING

import numpy as np

from proxymix.plots.figures import Figure
from proxymix.plots.text import signed
from proxymix.schemas import loss_domain
from regression.confirmation.compared import PROPOSAL
from regression.reporting.charts.confirmation import loss_curves
from regression.reporting.charts.heat_maps import correlation_map, heat_map_size
from regression.reporting.figures.shared import pairs_table
from regression.reporting.study_results import StudyResults
from regression.selection.metrics import OBJECTIVE, spearman, spearman_of_columns

if TYPE_CHECKING:
    import pandas as pd

MAX_CURVES = 100  # lines of a figure; more of them hide each other


def correlation_figure(study: StudyResults) -> Figure:
    """Rank correlations between weights and losses over the sweep."""
    import pandas as pd

    runs = study.runs
    losses = pd.DataFrame(runs.losses, columns=runs.targets)[study.targets]
    if len(study.targets) > 1:
        losses.insert(0, OBJECTIVE, study.objective.value(runs.losses), allow_duplicates=True)
    weights = pd.DataFrame(runs.weights, columns=runs.domains)[study.domains]
    values = spearman_of_columns(weights.to_numpy(), losses.to_numpy())
    table = pairs_table(values.T, list(losses.columns), study.domains, "correlation")
    alt = f"Rank correlation between the weight of each domain and each loss over {len(runs.index)} runs."
    if np.isfinite(values).any():
        strongest = table.iloc[int(table["correlation"].abs().argmax())]
        alt += f" The strongest is {strongest['domain']} on {loss_domain(strongest['target'])}, {signed(strongest['correlation'], 2)}."
    return Figure("correlation", table, correlation_map, alt, *heat_map_size(table))


def curves_figure(study: StudyResults) -> Figure | None:
    """The objective over training, for the sweep, the prior and the proposal."""
    import pandas as pd

    runs = study.run_folders
    evenly = sorted({round(i) for i in np.linspace(0, len(runs) - 1, min(len(runs), MAX_CURVES))}) if runs else []
    chosen = [("sweep", runs[i]) for i in evenly]
    chosen += [(name, run) for name in ("prior", PROPOSAL) for run in study.confirmation_runs(name)]
    parts = []
    for group, folder in chosen:
        if not folder.metrics_path.exists():
            continue
        table = folder.metrics()
        if not set(study.runs.targets) <= set(table.columns):
            return None
        table = table.dropna(subset=study.runs.targets)
        values = {"tokens": table["tokens"], "objective": study.objective_of(table)}
        parts.append(pd.DataFrame({"run": folder.path.name, "group": group, **values}))
    if not parts or max(len(part) for part in parts) < 2:
        return None
    table = pd.concat(parts, ignore_index=True)
    table.attrs["halfway"] = halfway_rank(table[table["group"] == "sweep"])
    alt = f"The objective over training tokens for {len(evenly)} runs of the sweep, the prior and the proposal."
    return Figure("curves", table, loss_curves, alt, height=360)


def halfway_rank(table: "pd.DataFrame") -> float:
    """Rank correlation over runs between the objective halfway through training and at its end."""
    at = table.pivot_table(index="run", columns="tokens", values="objective").dropna(axis="columns")
    tokens = at.columns.to_numpy(dtype=float)
    if not len(tokens):
        return math.nan
    halfway = at.iloc[:, np.abs(tokens - tokens.max() / 2).argmin()]
    return spearman(halfway.to_numpy(), at.iloc[:, -1].to_numpy())
