"""Whether the regression holds: its predictions of runs that it has not seen, and every model compared."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from proxymix.plots.figures import Figure
from proxymix.plots.text import minus
from proxymix.schemas import loss_domain
from regression.models.registry import label
from regression.reporting.rendering import Table
from regression.reporting.study_results import StudyResults
from regression.selection.learning_curve import Point, sentence
from regression.selection.metrics import NOISE, OBJECTIVE


def regression(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """How well the regression predicts, or that there is none."""
    if study.scores is None or "predicted" not in figures:
        return {"is_fitted": False}
    predictions = figures["predicted"].table
    rank, unseen = predictions.attrs["spearman"], predictions[predictions["kind"] == "out of fold"]
    error = float(np.sqrt(((unseen["predicted"] - unseen["measured"]) ** 2).mean()))
    finding = (
        f"On runs it had not seen, its predictions rank with Spearman {rank} and are off by {error:.3f} (root mean square), "
        f"where the runs differ by {float(unseen['measured'].std(ddof=1)):.3f}."
    )
    noise = study.scores[study.scores["model"] == NOISE].set_index("target")["rmse"]
    return {
        "is_fitted": True,
        "finding": finding,
        "is_confirmed": study.confirmation is not None,
        "models": models_table(study),
        "noise": f"{noise[OBJECTIVE]:.4f}" if OBJECTIVE in noise else "",
        "losses": losses_table(study),
        "learning": _learning(study, figures),
    }


def models_table(study: StudyResults) -> Table:
    """How every model ranked held-out runs on the objective; the chosen one is stressed."""
    assert study.scores is not None
    scores = study.scores[(study.scores["target"] == OBJECTIVE) & (study.scores["model"] != NOISE)]
    models = scores.sort_values("spearman", ascending=False, kind="stable").to_dict("records")
    is_chosen = [study.fit is not None and entry["model"] == study.fit.model for entry in models]
    names = [
        label(str(entry["model"])) + (", chosen" if yes else "") for entry, yes in zip(models, is_chosen, strict=True)
    ]
    rows = [[name, *_measures(entry)] for name, entry in zip(names, models, strict=True)]
    return Table(("model", *_header(study.objective.unit)), rows, is_chosen.index(True) if any(is_chosen) else None)


def losses_table(study: StudyResults) -> Table:
    """How the chosen model ranked held-out runs on every loss, beside the noise over seeds where it is known."""
    assert study.scores is not None
    chosen = study.fit.model if study.fit else ""
    by_model = {model: rows.set_index("target") for model, rows in study.scores.groupby("model")}
    own, noise = by_model.get(chosen), by_model.get(NOISE)
    targets = [t for t in study.targets if own is not None and t in own.index]
    header = ["loss on", *_header(study.loss_unit)]
    rows = [[loss_domain(t), *_measures(own.loc[t].to_dict())] for t in targets] if own is not None else []
    if noise is not None:
        header.append(f"noise over seeds ({study.loss_unit})")
        rows = [[*row, f"{noise['rmse'][t]:.4f}"] for row, t in zip(rows, targets, strict=True)]
    return Table(header, rows)


def _header(unit: str) -> tuple[str, ...]:
    return "Spearman", f"error ({unit})", "R²", f"regret ({unit})"


def _measures(entry: Mapping[Any, Any]) -> list[str]:
    spread = f" ± {entry['spearman_sd']:.3f}" if entry["spearman_sd"] > 0 else ""
    numbers = (
        f"{entry['spearman']:.3f}{spread}",
        f"{entry['rmse']:.4f}",
        f"{entry['r2']:.3f}",
        f"{entry['regret']:.4f}",
    )
    return [minus(number) for number in numbers]


def _learning(study: StudyResults, figures: Mapping[str, Figure]) -> str:
    """What more runs would bring, in words."""
    if study.learning_curve is None or "learning_rank" not in figures:
        return ""
    rows = study.learning_curve[["num_runs", "repeat", "spearman", "regret"]].itertuples(index=False)
    return sentence([Point(*row) for row in rows], len(study.runs.index), study.objective.unit)
