"""Figures of a fit: predictions of runs that it has not seen, what more runs would bring, and what it has learnt."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from proxymix.plots.figures import Figure
from proxymix.plots.text import signed
from proxymix.schemas import loss_domain
from regression.reporting.charts import fit as charts
from regression.reporting.charts.heat_maps import effect_map, heat_map_size, wide_table
from regression.reporting.charts.shared import ROWS
from regression.reporting.figures.shared import pairs_table
from regression.reporting.predictions import predicted_at
from regression.reporting.study_results import StudyResults
from regression.selection.metrics import OBJECTIVE, spearman
from regression.selection.repeats import noise_floor

if TYPE_CHECKING:
    import pandas as pd


def predicted_figure(study: StudyResults) -> Figure | None:
    """Out-of-fold predictions of the objective against measurements."""
    import pandas as pd

    objective = out_of_fold_objective(study)
    if objective is None:
        return None
    confirmed = [
        {
            "kind": name,
            "index": "",
            "measured": mixture.measured.mean,
            "predicted": predicted_at(study, found, name).mean,
        }
        for found in ([study.confirmation] if study.confirmation else [])
        for name, mixture in found.mixtures.items()
    ]
    runs = objective.assign(kind="out of fold").to_dict("records")
    table = pd.DataFrame([*runs, *confirmed], columns=["kind", *objective.columns])
    table.attrs["spearman"] = rank_text(study, objective)
    table.attrs["noise"] = noise_floor(study.runs, study.objective).get(OBJECTIVE)
    alt = f"Predicted against measured objective of {len(runs)} runs out of fold, Spearman {table.attrs['spearman']}."
    return Figure("predicted", table, charts.predicted_against_measured, alt, height=500, narrow_height=400)


def out_of_fold_objective(study: StudyResults) -> "pd.DataFrame | None":
    """index, measured and predicted objective of every run (and std), predicted by fits that have not seen it.

    The objective is put together from the targets, since a fit's own need not be the one that the proposal was asked for.
    """
    import pandas as pd

    table = study.out_of_fold
    if table is None:
        return None
    kinds = {kind: table.pivot(index="index", columns="target", values=kind) for kind in ("measured", "predicted")}
    objective = {kind: study.objective_of(values) for kind, values in kinds.items()}
    sums = pd.DataFrame(objective, index=kinds["measured"].index).reset_index()
    if not study.fitted_for_objective:
        return sums  # the standard deviations in the file are those of another objective
    std = table[table["target"] == OBJECTIVE].set_index("index")["std"]
    return sums.assign(std=sums["index"].map(std))


def rank_text(study: StudyResults, objective: "pd.DataFrame") -> str:
    """Spearman of held-out predictions: over repeated splits as scores.csv has it, else of the predictions at hand."""
    scores = study.scores
    if scores is not None and study.fit is not None and study.fitted_for_objective:
        row = scores[(scores["model"] == study.fit.model) & (scores["target"] == OBJECTIVE)].iloc[0]
        return f"{row['spearman']:.3f}" + (f" ± {row['spearman_sd']:.3f}" if row["spearman_sd"] > 0 else "")
    return f"{spearman(objective['predicted'], objective['measured']):.3f}"


def sensitivity_figure(study: StudyResults) -> Figure | None:
    """What the regression says about moving each domain away from the optimum."""
    import pandas as pd

    if not study.optimum or study.fit is None:
        return None
    optimum = np.array([study.optimum.get(d, 0.0) for d in study.fit.domains])
    step = 0.5 / len(optimum)
    moved = [moved_weight(optimum, j, sign * step) for j in range(len(optimum)) for sign in (1, -1)]
    objective, _ = study.fit.predict_objective(np.stack([optimum, *moved]), study.objective)
    change = (objective[1:] - objective[0]).reshape(-1, 2)
    order = [study.fit.domains.index(d) for d in study.domains]
    table = pd.DataFrame({"domain": study.domains, "more": change[order, 0], "less": change[order, 1]})
    table.attrs["step"] = step
    steepest = study.domains[int(table["less"].argmax())]
    alt = f"Change of the predicted objective when a domain moves; less of {steepest} costs most."
    return Figure("sensitivity", table, charts.sensitivity, alt, ROWS.pixels(len(table)))


def moved_weight(weights: np.ndarray, position: int, step: float) -> np.ndarray:
    """A mixture with one weight moved by `step` (kept within 0 and 1), the others in their own proportions."""
    weight = float(np.clip(weights[position] + step, 0, 1))
    rest = 1 - weights[position]
    others = np.ones_like(weights) / (len(weights) - 1) if rest <= 0 else weights / rest
    moved = others * (1 - weight)
    moved[position] = weight
    return moved / moved.sum()


def effects_figure(study: StudyResults) -> Figure | None:
    """What each domain does to each loss, as the regression has learnt it."""
    if study.effects is None or study.effects["effect"].isna().all():
        return None
    wide = wide_table(study.effects, "effect").reindex(index=study.domains, columns=study.targets)
    values, targets = wide.to_numpy(dtype=float), [*study.targets]
    if len(targets) > 1 and not study.objective.worst:
        weights = dict(zip(study.runs.targets, study.objective.weights, strict=True))
        values = np.column_stack([values @ [weights[t] for t in targets], values])
        targets = [OBJECTIVE, *targets]
    table = pairs_table(values.T, targets, study.domains, "effect")
    table.attrs["unit"] = study.loss_unit
    largest = table.iloc[int(table["effect"].abs().argmax())]
    alt = f"Learnt effect of each domain on each loss. The largest is that of {largest['domain']} on "
    alt += f"{loss_domain(largest['target'])}, {signed(largest['effect'])}."
    return Figure("effects", table, effect_map, alt, *heat_map_size(table))


def rank_curve_figure(study: StudyResults) -> Figure | None:
    """How well fits to fewer runs rank the others."""
    return _curve_figure(study, "spearman", "Spearman on the runs left out", "learning_rank", charts.rank_against_runs)


def regret_curve_figure(study: StudyResults) -> Figure | None:
    """How much worse than the best run the picks of fits to fewer runs are."""
    return _curve_figure(study, "regret", "Regret of the run picked", "learning_regret", charts.regret_against_runs)


def _curve_figure(study: StudyResults, column: str, what: str, name: str, draw: Callable[..., Any]) -> Figure | None:
    if study.learning_curve is None:
        return None
    table = charts.with_extrapolation(study.learning_curve, len(study.runs.index)).dropna(subset=column)
    other = ({"spearman", "regret"} - {column}).pop()
    alt = f"{what} against the runs fitted, up to {study.learning_curve['num_runs'].max()}, and extrapolated."
    return Figure(name, table.drop(columns=other), draw, alt, 300)
