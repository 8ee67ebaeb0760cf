"""The head of the page (the verdict and its numbers), and the question that the study answers."""

from collections.abc import Mapping
from typing import Any

from proxymix.messages import listed
from proxymix.plots.figures import Figure
from proxymix.plots.text import large_number, percent, signed
from regression.confirmation.compared import BASELINE_PHRASES
from regression.confirmation.paired import BETTER
from regression.reporting.rendering import Term, Tile
from regression.reporting.sections.phrases import confidence, objective_phrase, span
from regression.reporting.study_results import StudyResults


def headline(study: StudyResults) -> str:
    """The verdict in one sentence without numbers."""
    if not study.optimum:
        return f"{len(study.runs.index)} proxy runs, and no proposal yet"
    if study.confirmation is None:
        return "A mixture proposed by the regression, not yet confirmed by training"
    return study.confirmation.verdict


def header(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """Which study this is, the verdict, the mixture, and the few numbers that matter most."""
    asked = objective_phrase(study)
    return {
        "name": study.name,
        "date": study.date,
        "headline": headline(study),
        "asked": asked[0].upper() + asked[1:],
        "scale": f"at proxy scale ({study.proxy_scale})" if study.proxy_scale else "",
        "num_seeds": len(study.confirmation.seeds) if study.confirmation else 0,
        "is_proposed": bool(study.optimum),
        "has_prior": bool(study.prior),
        "has_intervals": "mixtures" in figures and "low" in figures["mixtures"].table,
        "confidence": confidence(study),
        "capped": listed(study.capped),
        "max_epochs": f"{study.max_epochs:g}" if study.max_epochs else "",
        "tiles": [*_differences(study), *_quality(figures)],
    }


def _differences(study: StudyResults) -> list[Tile]:
    """How the proposal compares with the prior and with the strongest other baseline; as predicted, if not measured."""
    unit = study.objective.unit
    if study.confirmation:
        differences = {name: compared.objective for name, compared in study.confirmation.differences.items()}
        others = [name for name in differences if name != "prior"]
        shown = [name for name in ("prior",) if name in differences]
        shown += [max(others, key=lambda name: differences[name].mean)] if others else []
        tiles = []
        for name in shown:
            strongest = ", the strongest baseline" if name != "prior" else ""
            label = f"measured against {BASELINE_PHRASES[name]}{strongest} (95% interval {span(differences[name])})"
            role = "proposed" if study.confirmation.differences[name].verdict == BETTER else ""
            tiles.append(Tile(signed(differences[name].mean), unit, label, role))
        return tiles
    prior = (study.proposal.baselines or {}).get("prior")
    if prior is None:
        return []
    gain = prior.gain
    interval = f"{signed(-gain.high)} to {signed(-gain.low)}"
    label = f"predicted against the prior ({confidence(study)} interval {interval})"
    return [Tile(signed(-gain.mean), unit, label)]


def _quality(figures: Mapping[str, Figure]) -> list[Tile]:
    """How well the regression ranks, and how far mixtures matter beyond seeds."""
    tiles = []
    if "predicted" in figures:
        table = figures["predicted"].table
        rank, num_runs = table.attrs["spearman"].partition(" ")[0], int((table["kind"] == "out of fold").sum())
        tiles.append(
            Tile(
                rank, "Spearman", f"rank correlation of predicted and measured, on {num_runs} runs held out of the fit"
            )
        )
    if "noise" in figures:
        ratio = figures["noise"].table["ratio"].iloc[0]
        tiles.append(
            Tile(f"×{ratio:.3g}", "", "times as far apart are the losses of mixtures as those of seeds of one mixture")
        )
    return tiles


def question(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any]:
    """What was asked: the objective, the domains, the final training, the proxies and their mixtures."""
    objective = objective_phrase(study)
    num_used = int((study.objective.weights != 0).sum())
    entering = f"({study.objective.unit}; {num_used} of {len(study.runs.targets)} measured losses enter)"
    terms = [Term("Objective", objective, entering)]
    if max_increase := study.objective.describe_max_increase():
        terms.append(Term("Ceilings", max_increase, "(of the losses, so that none pays for the others)"))
    terms += [_domains(study), _training(study), _proxies(study), *_mixtures(study)]
    finding = f"Which mixture of {len(study.domains)} domains gives the lowest {objective}?"
    return {"finding": finding, "terms": terms}


def _domains(study: StudyResults) -> Term:
    if not study.catalogue:
        return Term("Domains", f"{len(study.domains)}", "(token counts not given, so there is no prior)")
    first, last = study.domains[0], study.domains[-1]
    return Term(
        "Domains",
        f"{len(study.domains)}, with {large_number(study.catalogue.true_tokens.sum())} unique training tokens",
        f"(from {first}, {percent(study.prior[first])} of them, to {last}, {percent(study.prior[last])})",
    )


def _training(study: StudyResults) -> Term:
    if not study.budget:
        return Term("Final training", "no budget given", "(so no domain's share is capped by its size)")
    cap = f"at most {study.max_epochs:g} passes over any domain" if study.max_epochs else "no cap on passes"
    assumed = ", assumed because no budget was given" if study.is_budget_assumed else ""
    return Term("Final training", f"{large_number(study.budget)} tokens{assumed}", f"({cap})")


def _proxies(study: StudyResults) -> Term:
    num_runs, settings = len(study.runs.index), study.first_manifest.get("settings", {})
    if not settings:
        return Term("Proxies", f"{num_runs} runs", "(trained elsewhere; only their losses are here)")
    aside = f"({study.proxy_scale}; without embeddings, sequences of {settings['sequence_length']})"
    return Term("Proxies", f"{num_runs} runs of the {settings['model']} model", aside)


def _mixtures(study: StudyResults) -> list[Term]:
    sampler = study.sampler
    if not all(isinstance(sampler.get(key), int | float) for key in ("temperature", "min_strength", "max_strength")):
        return []
    around = "a mixture" if sampler.get("design") == "around" else f"the prior to the power {sampler['temperature']:g}"
    concentration = f"concentration {sampler['min_strength']:g} to {sampler['max_strength']:g}"
    chosen = "far from each other among " if sampler.get("design") == "space_filling" else ""
    later = f", {study.num_picked} picked in further rounds by the runs before them" if study.num_picked else ""
    how = f"({chosen}Dirichlet draws around {around}, {concentration})"
    return [Term("Mixtures", f"{len(study.runs.index) - study.num_picked} drawn{later}", how)]
