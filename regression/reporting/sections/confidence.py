"""How sure the answer is: what was measured afresh at the proposal and the baselines, and what the regression predicts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from proxymix.messages import listed
from proxymix.plots.figures import Figure
from proxymix.plots.text import signed
from proxymix.schemas import is_domain_loss, loss_domain
from regression.confirmation.compared import BASELINE_PHRASES, PROPOSAL
from regression.reporting.charts.shared import NAMES
from regression.reporting.rendering import Cell, Row, Table
from regression.reporting.sections.phrases import confidence as confidence_of
from regression.reporting.sections.phrases import span
from regression.reporting.study_results import StudyResults


def confidence(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any] | None:
    """The confirmation, and what was expected of it; nothing without a proposal."""
    if not study.optimum:
        return None
    is_confirmed = bool(study.confirmation)
    verdict = study.proposal.extra.get("verdict")
    predicted = f"By the regression, the proposal is {verdict}." if verdict else ""
    has_expected = not is_confirmed or "gains" in figures or "line" in figures
    return {
        "finding": _measured(study) if is_confirmed else predicted,
        "unit": study.objective.unit,
        "loss_unit": study.loss_unit,
        "confidence": confidence_of(study),
        "is_stale": study.is_stale,
        "confirmed": _confirmed(study, figures) if is_confirmed else None,
        "expected": _expected(study) if has_expected else None,
    }


def _measured(study: StudyResults) -> str:
    """The difference to the first baseline, and how many pairs of runs the proposal won."""
    differences = {name: entry["objective"] for name, entry in study.confirmation["differences"].items()}
    num_pairs = len(study.confirmation["seeds"]) * len(differences)
    first, difference = next(iter(differences.items()))
    return (
        f"Measured afresh, the objective is {signed(difference['mean'])} {study.objective.unit} against {BASELINE_PHRASES[first]} (95% interval "
        f"{span(difference)}), and lower at the proposal on {sum(d['wins'] for d in differences.values())} of {num_pairs} pairs of runs."
    )


def _confirmed(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any]:
    mixtures = study.confirmation["mixtures"]
    found = {
        "mixtures": _mixtures_table(study),
        "plain_mean": _plain_mean(study),
        "num_domains": sum(is_domain_loss(c) for c in study.confirmed.columns) if study.confirmed is not None else 0,
        "best_seen": mixtures.get("best_seen", {}).get("origin", ""),
        "same": [
            f"{BASELINE_PHRASES[n].capitalize()} is the same mixture as {BASELINE_PHRASES.get(e['same_as'], 'the proposal')}: trained once, and one comparison."
            for n, e in mixtures.items()
            if e.get("same_as")
        ],
        "max_increase": _max_increase_table(study),
    }
    if "domain_changes" in figures:
        changes = figures["domain_changes"].table
        found |= {"num_lower": int((changes["high"] < 0).sum()), "num_higher": int((changes["low"] > 0).sum())}
        found["num_changes"] = len(changes)
    return found


def _mixtures_table(study: StudyResults) -> Table:
    """What was measured and what had been predicted at each mixture, and against each baseline."""
    rows: list[Row] = []
    num_seeds = len(study.confirmation["seeds"])
    for name, entry in study.confirmation["mixtures"].items():
        named = Cell(NAMES[name], dot=name if name in (PROPOSAL, "prior") else "other")
        measured = f"{entry['measured']['mean']:.3f} ± {entry['measured']['sd']:.3f}"
        predicted = f"{entry['predicted']['mean']:.3f} ± {entry['predicted']['std']:.3f}"
        if name == PROPOSAL:
            rows.append([named, measured, "", "", "", "", predicted, ""])
            continue
        difference = study.confirmation["differences"][name]
        objective, expected = difference["objective"], difference["predicted"]
        rows.append(
            [
                named,
                measured,
                Cell(signed(objective["mean"]), "proposed" if name in study.confirmation["better_than"] else ""),
                span(objective),
                "< 0.001" if objective["p_holm"] < 0.001 else f"{objective['p_holm']:.3f}",
                f"{objective['wins']} of {num_seeds}",
                predicted,
                f"{signed(expected['mean'])} ± {expected['std']:.3f}",
            ]
        )
    header = ("mixture", "measured", "proposal − it", "95% interval", "p (Holm)", "seeds won", "predicted")
    return Table((*header, "predicted difference"), rows, chosen=0)


def _plain_mean(study: StudyResults) -> str:
    """Differences of the plain mean over all validation domains, where it is not what was asked for."""
    if study.confirmed is None or np.allclose(study.confirmed["objective"], study.confirmed["mean"]):
        return ""
    means = {name: entry["mean"] for name, entry in study.confirmation["differences"].items()}
    return listed([f"{BASELINE_PHRASES[name]} {signed(mean['mean'])} ({span(mean)})" for name, mean in means.items()])


def _max_increase_table(study: StudyResults) -> Table | None:
    """Whether the targets whose increase is limited kept their limit, measured."""
    entries = study.confirmation.get("ceilings", {})
    num_seeds = len(study.confirmation["seeds"])
    rows: list[Row] = [
        [
            loss_domain(target),
            f"{entry['proposal']:.3f}",
            f"{entry['prior']:.3f}",
            f"{signed(100 * entry['rise'], 2)}%",
            f"{100 * entry['allowed']:.4g}%",
            f"{signed(entry['excess']['mean'])} ({span(entry['excess'])})",
            Cell("kept" if entry["kept"] else "broken", "text"),
            f"{entry['seeds_kept']} of {num_seeds}",
        ]
        for target, entry in entries.items()
    ]
    header = ("loss on", "proposal", "prior", "change", "allowed", "above what is allowed", "", "seeds kept")
    return Table(header, rows) if rows else None


def _expected(study: StudyResults) -> dict[str, Any]:
    """What the regression says of the proposal before anything was trained at it."""
    own = study.proposal.extra.get("predicted", {})
    found: dict[str, Any] = {"mixtures": _predicted_table(study), "winners_curse": ""}
    if "halves" in own:
        found["winners_curse"] = signed(own["halves"]["winners_curse"])
        found["taken_off"] = f"{own['mean'] - own['own']:.4f}"
    return found


def _predicted_table(study: StudyResults) -> Table | None:
    """The predictions of the proposal and of the baselines, as `propose` wrote them."""
    settings = study.proposal.extra
    if "predicted" not in settings or "baselines" not in settings:
        return None
    rows: list[Row] = [[Cell("proposal", dot=PROPOSAL), _prediction(settings["predicted"]), "", ""]]
    for name, entry in settings["baselines"].items():
        gain = {key: -value for key, value in entry["gain"].items()}
        rows.append(
            [
                Cell(NAMES.get(name, name), dot="prior" if name == "prior" else "other"),
                _prediction(entry["predicted"]),
                f"{signed(gain['mean'])} ({span({'low': gain['high'], 'high': gain['low']})})",
                Cell("" if entry["feasible"] else "outside the limits", "text"),
            ]
        )
    return Table(("mixture", "predicted", "proposal − it", ""), rows, chosen=0)


def _prediction(entry: Mapping[str, float]) -> str:
    return f"{entry['mean']:.3f} ({entry['low']:.3f} to {entry['high']:.3f})"
