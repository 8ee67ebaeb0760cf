"""The answer: the mixture, which of its weights matter, what it asks of the data, and what else was close."""

from collections.abc import Mapping
from typing import Any

from mixture_config.files.mixture import train_domain
from proxymix.messages import listed
from proxymix.plots.figures import Figure
from proxymix.plots.text import large_number, percent
from regression.confirmation.compared import BASELINE_PHRASES
from regression.reporting.charts.shared import PRESENT
from regression.reporting.rendering import Cell, Row, Table
from regression.reporting.study_results import StudyResults

MAX_CANDIDATES = 10  # in a table
MAX_NAMED = 3  # domains in a sentence
WORTH_NAMING = 0.01  # a smaller weight, or change of one, is not worth a sentence


def answer(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """The proposed mixture, or that there is none."""
    if not study.optimum:
        return {"is_proposed": False}
    candidates = study.proposed("candidates")
    return {
        "is_proposed": True,
        "finding": changes(study),
        "near_optimal": _near_optimal(figures),
        "mixture": mixture_table(study),
        "over_the_cap": _over_the_cap(study),
        "candidates": None if candidates is None else _candidates(candidates.head(MAX_CANDIDATES).to_dict("records")),
        "num_candidates": 0 if candidates is None else len(candidates),
    }


def changes(study: StudyResults) -> str:
    """The largest moves from the prior, in words; without a prior, the largest weights."""
    if not study.prior:
        top = sorted(study.optimum, key=lambda d: -study.optimum[d])[:MAX_NAMED]
        shown = [f"{d} ({percent(study.optimum[d])})" for d in top if study.optimum[d] >= WORTH_NAMING]
        return f"Most weight goes to {listed(shown)}."
    change = {d: study.optimum.get(d, 0.0) - study.prior.get(d, 0.0) for d in study.domains}

    def moves(sign: int) -> list[str]:
        order = sorted(change, key=lambda d: -sign * change[d])[:MAX_NAMED]
        return [
            f"{d} ({percent(study.prior.get(d, 0.0))} → {percent(study.optimum.get(d, 0.0))})"
            for d in order
            if sign * change[d] >= WORTH_NAMING
        ]

    parts = [f"{word} of {listed(found)}" for word, sign in (("more", 1), ("less", -1)) if (found := moves(sign))]
    if not parts:
        return "The optimum is within a percent of the prior on every domain."
    return f"Against the prior, the optimum takes {'; '.join(parts)}."


def mixture_table(study: StudyResults) -> Table:
    """Every weight, beside whatever is known of its domain."""
    domains, prior, optimum = study.domains, study.prior, study.optimum
    epochs, capped = study.epochs, study.capped
    weights = [optimum.get(d, 0.0) for d in domains]
    priors = [prior.get(d, 0.0) for d in domains]
    columns: dict[str, list[str] | list[Cell]] = {"domain": domains}
    if prior:
        columns["prior"] = [percent(share) for share in priors]
    columns["optimum"] = [Cell(percent(weight), "proposed") for weight in weights]
    if prior:
        columns["optimum / prior"] = [_times(*pair) for pair in zip(weights, priors, strict=True)]
    if study.heuristic:
        columns["heuristic"] = [percent(study.heuristic.get(d, 0.0)) for d in domains]
    if epochs and study.budget:
        texts = [f"{epochs[d]:.2f}{' (cap)' if d in capped else ''}" for d in domains]
        columns[f"epochs at {large_number(study.budget)}"] = texts
    if prior:
        columns["tokens"] = [f"{study.tokens.get(d, 0):,}" for d in domains]
    return Table(list(columns), list(zip(*columns.values(), strict=True)))


def _times(weight: float, prior: float) -> str:
    if prior == 0:
        return "new" if weight > 0 else "–"
    return f"× {weight / prior:.2f}" if weight else "dropped"


def _near_optimal(figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Which weights are free among the mixtures that are as good as the proposal."""
    if "near_optimal" not in figures:
        return {}
    table = figures["near_optimal"].table
    free = table[table["least"] < PRESENT].sort_values("most", ascending=False)["domain"]
    return {
        "num_mixtures": table.attrs["num_mixtures"],
        "num_domains": len(table),
        "num_free": len(free),
        "free": listed([str(name) for name in free.head(MAX_NAMED)]),
    }


def _over_the_cap(study: StudyResults) -> str:
    """The baselines that the data cannot feed, with what they would take."""
    if study.confirmation is None:
        return ""
    over = {name: mixture.over_the_cap for name, mixture in study.confirmation.mixtures.items()}
    return listed([f"{phrase} ({over[name]})" for name, phrase in BASELINE_PHRASES.items() if over.get(name)])


def _candidates(rows: list[dict[Any, Any]]) -> Table:
    """The mixtures that came closest, with their largest weights."""
    found: list[Row] = []
    for entry in rows:
        weights = {domain: float(w) for name, w in entry.items() if (domain := train_domain(str(name))) is not None}
        largest = ", ".join(f"{d} {percent(weights[d])}" for d in sorted(weights, key=lambda d: -weights[d])[:4])
        values = [entry[name] for name in ("objective", "std", "judged", "distance")]
        numbers = ["" if value != value else f"{value:.4f}" for value in values]
        found.append([f"{entry['index']}", Cell(str(entry["method"]), "text"), *numbers, Cell(largest, "wrap text")])
    header = (
        "candidate",
        "found by",
        "objective",
        "std",
        "by the other half",
        "distance from the prior",
        "largest weights",
    )
    return Table(header, found)
