"""How sure the answer is: what was measured afresh at the proposal and the baselines, and what the regression predicts."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from proxymix.messages import listed
from proxymix.plots.figures import Figure
from proxymix.plots.text import signed
from proxymix.schemas import is_domain_loss, loss_domain
from regression.confirmation.compared import BASELINE_PHRASES, PROPOSAL
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.paired import BETTER
from regression.reporting.charts.shared import NAMES
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
    num_pairs = len(found.seeds) * len(differences)
    first, difference = next(iter(differences.items()))
    return (
        f"Measured afresh, the objective is {signed(difference.mean)} {study.objective.unit} against {BASELINE_PHRASES[first]} (95% interval "
        f"{span(difference)}), and lower at the proposal on {sum(d.wins for d in differences.values())} of {num_pairs} pairs of runs."
    )


def _confirmed(study: StudyResults, found: Confirmation, figures: Mapping[str, Figure]) -> dict[str, Any]:
    best_seen = found.mixtures.get("best_seen")
    columns = [] if study.confirmed is None else [str(column) for column in study.confirmed.columns]
    data = {
        "mixtures": _mixtures_table(found),
        "min_gain": f"{found.min_gain:.3g}",
        "plain_mean": _plain_mean(study, found),
        "num_domains": sum(is_domain_loss(column) for column in columns),
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


def _mixtures_table(found: Confirmation) -> Table:
    """What was measured and what had been predicted at each mixture, and against each baseline."""
    rows: list[Row] = []
    for name, mixture in found.mixtures.items():
        named = Cell(NAMES[name], dot=name if name in (PROPOSAL, "prior") else "other")
        measured = f"{mixture.measured.mean:.3f} ± {mixture.measured.sd:.3f}"
        predicted = f"{mixture.predicted.mean:.3f} ± {mixture.predicted.std:.3f}"
        if name == PROPOSAL:
            rows.append([named, measured, "", "", "", "", predicted, ""])
            continue
        difference, expected = found.differences[name].objective, found.differences[name].predicted
        p = difference.p if difference.p_holm is None else difference.p_holm
        rows.append(
            [
                named,
                measured,
                Cell(signed(difference.mean), "proposed" if found.differences[name].verdict == BETTER else ""),
                span(difference),
                "< 0.001" if p < 0.001 else f"{p:.3f}",
                f"{difference.wins} of {len(found.seeds)}",
                predicted,
                f"{signed(expected.mean)} ± {expected.std:.3f}",
            ]
        )
    header = ("mixture", "measured", "proposal − it", "95% interval", "p (Holm)", "seeds won", "predicted")
    return Table((*header, "predicted difference"), rows, chosen=0)


def _plain_mean(study: StudyResults, found: Confirmation) -> str:
    """Differences of the plain mean over all validation domains, where it is not what was asked for."""
    if study.confirmed is None or np.allclose(study.confirmed["objective"], study.confirmed["mean"]):
        return ""
    means = {name: compared.mean for name, compared in found.differences.items()}
    return listed([f"{BASELINE_PHRASES[name]} {signed(mean.mean)} ({span(mean)})" for name, mean in means.items()])


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
    data: dict[str, Any] = {"mixtures": _predicted_table(study.proposal), "winners_curse": ""}
    if predicted and predicted.halves and predicted.own is not None:
        data["winners_curse"] = signed(predicted.halves.winners_curse)
        data["taken_off"] = f"{predicted.mean - predicted.own:.4f}"
    return data


def _predicted_table(proposal: Proposal) -> Table | None:
    """The predictions of the proposal and of the baselines, as `propose` wrote them."""
    if proposal.predicted is None or proposal.baselines is None:
        return None
    rows: list[Row] = [[Cell("proposal", dot=PROPOSAL), _prediction(proposal.predicted), "", ""]]
    for name, baseline in proposal.baselines.items():
        gain = baseline.gain
        rows.append(
            [
                Cell(NAMES.get(name, name), dot="prior" if name == "prior" else "other"),
                _prediction(baseline.predicted),
                f"{signed(-gain.mean)} ({signed(-gain.high)} to {signed(-gain.low)})",
                Cell("" if baseline.feasible else "outside the limits", "text"),
            ]
        )
    return Table(("mixture", "predicted", "proposal − it", ""), rows, chosen=0)


def _prediction(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} ({estimate.low:.3f} to {estimate.high:.3f})"
