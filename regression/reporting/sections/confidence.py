"""How sure the answer is: what was measured afresh at the proposal and the baselines, and what the regression predicts."""

from collections.abc import Mapping
from typing import Any

from proxymix.plots.figures import Figure
from proxymix.plots.text import minus, signed
from proxymix.schemas import loss_domain
from regression.confirmation.compared import BASELINE_PHRASES, PROPOSAL
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.paired import BETTER
from regression.reporting.charts.shared import NAMES
from regression.reporting.predictions import predicted_at, predicted_difference
from regression.reporting.rendering import Cell, Row, Table
from regression.reporting.sections.phrases import confidence as confidence_of
from regression.reporting.sections.phrases import span
from regression.reporting.study_results import StudyResults
from regression.search.proposal import Estimate, Proposal


def confidence(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any] | None:
    """The confirmation, and what was expected of it; nothing without a proposal."""
    if not study.optimum:
        return None
    found, verdict = study.confirmation, study.proposal.verdict
    predicted = f"By the regression, the proposal is {verdict}." if verdict else ""
    has_expected = found is None or "gains" in figures or "line" in figures
    return {
        "finding": _measured(study, found) if found else predicted,
        "unit": study.objective.unit,
        "loss_unit": study.loss_unit,
        "confidence": confidence_of(study),
        "is_stale": study.is_stale,
        "confirmed": _confirmed(study, found, figures) if found else None,
        "expected": _expected(study) if has_expected else None,
    }


def _measured(study: StudyResults, found: Confirmation) -> str:
    """The difference to the first baseline, and how many pairs of runs the proposal won."""
    differences = {name: compared.objective for name, compared in found.differences.items()}
    num_pairs, won = len(found.seeds) * len(differences), sum(d.wins for d in differences.values())
    first, difference = next(iter(differences.items()))
    return (
        f"Measured on fresh seeds, the objective is {abs(difference.mean):.3f} {study.objective.unit} "
        f"{'lower' if difference.mean < 0 else 'higher'} at the proposal than at {BASELINE_PHRASES[first]} (95% interval of the "
        f"difference {span(difference)}), and lower at the proposal on {won} of {num_pairs} pairs of runs."
    )


def _confirmed(study: StudyResults, found: Confirmation, figures: Mapping[str, Figure]) -> dict[str, Any]:
    best_seen = found.mixtures.get("best_seen")
    data = {
        "mixtures": _mixtures_table(study, found),
        "min_gain": f"{found.min_gain:.3g}",
        "best_seen": best_seen.origin if best_seen else "",
        "same": [
            f"{BASELINE_PHRASES[name].capitalize()} is the same mixture as {BASELINE_PHRASES.get(mixture.same_as, 'the proposal')}: "
            "trained once, and one comparison."
            for name, mixture in found.mixtures.items()
            if mixture.same_as
        ],
        "max_increase": _max_increase_table(found),
    }
    if "domain_changes" in figures:
        changes = figures["domain_changes"].table
        data |= {"num_lower": int((changes["high"] < 0).sum()), "num_higher": int((changes["low"] > 0).sum())}
        data["num_changes"] = len(changes)
    return data


def _mixtures_table(study: StudyResults, found: Confirmation) -> Table:
    """What was measured and what had been predicted at each mixture, and against each baseline."""
    rows: list[Row] = []
    for name, mixture in found.mixtures.items():
        named = Cell(NAMES[name], dot=name if name in (PROPOSAL, "prior") else "other")
        values = [minus(f"{value.mean:.3f}") for value in (mixture.measured, predicted_at(study, found, name))]
        if name == PROPOSAL:
            rows.append([named, *values, "", "", "", "", ""])
            continue
        comparison = found.differences[name]
        difference, expected = comparison.objective, predicted_difference(study, found, name)
        p = difference.p if difference.p_holm is None else difference.p_holm
        rows.append(
            [
                named,
                *values,
                Cell(
                    f"{signed(difference.mean)} ({span(difference)})",
                    "proposed" if comparison.verdict == BETTER else "",
                ),
                f"{signed(expected.mean)} ({span(expected)})",
                Cell(comparison.verdict, "text"),
                "< 0.001" if p < 0.001 else f"{p:.3f}",
                f"{difference.wins} of {len(found.seeds)}",
            ]
        )
    header = ("mixture", "measured", "predicted", "proposal − it", "as predicted", "verdict", "p (Holm)", "seeds won")
    return Table(header, rows, chosen=0)


def _max_increase_table(found: Confirmation) -> Table | None:
    """Whether the targets whose increase is limited kept their limit, measured."""
    rows: list[Row] = [
        [
            loss_domain(target),
            f"{result.proposal:.3f}",
            f"{result.prior:.3f}",
            f"{signed(100 * result.rise, 2)}%",
            f"{100 * result.allowed:.4g}%",
            f"{signed(result.excess.mean)} ({span(result.excess)})",
            Cell("kept" if result.kept else "broken", "text"),
            f"{result.seeds_kept} of {len(found.seeds)}",
        ]
        for target, result in (found.ceilings or {}).items()
    ]
    header = ("loss on", "proposal", "prior", "change", "allowed", "above what is allowed", "", "seeds kept")
    return Table(header, rows) if rows else None


def _expected(study: StudyResults) -> dict[str, Any]:
    """What the regression says of the proposal before anything was trained at it."""
    predicted = study.proposal.predicted
    mixtures = None if study.confirmation else _predicted_table(study.proposal)
    data: dict[str, Any] = {"mixtures": mixtures, "winners_curse": ""}
    if predicted and predicted.halves and predicted.own is not None:
        data["winners_curse"] = f"{predicted.halves.winners_curse:.3f}"
        data["taken_off"] = f"{predicted.mean - predicted.own:.4f}"
    return data


def _predicted_table(proposal: Proposal) -> Table | None:
    """The predictions of the proposal and of the baselines, as `propose` wrote them."""
    if proposal.predicted is None or proposal.baselines is None:
        return None
    rows: list[Row] = [[Cell("proposal", dot=PROPOSAL), _with_ends(proposal.predicted), "", ""]]
    for name, baseline in proposal.baselines.items():
        gain = baseline.gain
        rows.append(
            [
                Cell(NAMES.get(name, name), dot="prior" if name == "prior" else "other"),
                _with_ends(baseline.predicted),
                f"{signed(-gain.mean)} ({signed(-gain.high)} to {signed(-gain.low)})",
                Cell("" if baseline.feasible else "outside the limits", "text"),
            ]
        )
    return Table(("mixture", "predicted", "proposal − it", ""), rows, chosen=0)


def _with_ends(estimate: Estimate) -> str:
    return minus(f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})")
