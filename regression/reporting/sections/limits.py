"""What a reader must know before the answer is used: where it was not tested, and what it costs."""

from collections.abc import Mapping
from typing import Any

from proxymix.messages import listed
from proxymix.plots.figures import Figure
from proxymix.plots.text import epochs_text, large_number, percent, signed
from regression.confirmation.compared import BASELINE_PHRASES
from regression.reporting.predictions import predicted_difference
from regression.reporting.rendering import Term
from regression.reporting.sections.phrases import confidence, span
from regression.reporting.study_results import StudyResults

MAX_NAMED = 3  # domains in a sentence


def limits(study: StudyResults, figures: Mapping[str, Figure]) -> dict[str, Any] | None:
    """The limits that hold for this study; nothing without a proposal, or where none is known."""
    if not study.optimum:
        return None
    found = [
        _scale(study),
        _far(study),
        _repetition(study),
        _missed(study),
        _paid(study, figures),
        _budget(study),
        _sample(study),
    ]
    said = [limit for limit in found if limit]
    return {"limits": said} if said else None


def _scale(study: StudyResults) -> Term | None:
    proxies = study.proxy_scale
    if not proxies:
        return None
    final = (
        f"The final training takes {large_number(study.budget)} tokens, and"
        if study.budget
        else "The final training has"
    )
    return Term(
        "Proxy scale",
        f"All losses are those of proxies ({proxies}). {final} a larger model, which may rank mixtures differently.",
    )


def _far(study: StudyResults) -> Term | None:
    support = study.proposal.support or {}
    largest = (support.get("between_runs") or {}).get("largest")
    untrained = support.get("untrained_domains") or []
    text = ""
    if largest is not None and support["distance"] > largest:
        text = (
            f"{percent(support['distance'])} of the weight differs from the nearest run, and no run differs by more than "
            f"{percent(largest)} from its nearest. "
        )
    if untrained:
        text += f"No run had any {listed(untrained)}. "
    return Term("Far from every run", f"{text}The prediction there is an extrapolation.") if text else None


def _repetition(study: StudyResults) -> Term | None:
    """Whether the final training would repeat a domain that the proxies did not."""
    settings = study.first_manifest.get("settings", {})
    if study.catalogue is None or not study.epochs or not settings or settings.get("simulated_budget"):
        return None
    most = max(study.epochs, key=lambda domain: study.epochs[domain])
    on_disk = int(study.catalogue.tokens[study.catalogue.names.index(most)])
    seen = study.optimum.get(most, 0.0) * settings["tokens"] / max(on_disk, 1)
    if study.epochs[most] <= max(1.0, 2 * seen):
        return None
    return Term(
        "Repetition was never tested",
        f"The final training would pass {epochs_text(study.epochs[most])} times over {most}; a proxy at this mixture saw "
        f"{epochs_text(seen, 3)} epochs of it. train.simulated_budget lets proxies repeat as often.",
    )


def _missed(study: StudyResults) -> Term | None:
    """Baselines against which the measured difference lies outside the interval of what was predicted."""
    found, missed = study.confirmation, []
    if found is None:
        return None
    for name, comparison in found.differences.items():
        predicted, measured = predicted_difference(study, found, name), comparison.objective.mean
        if not predicted.low <= measured <= predicted.high:
            missed.append(f"{signed(measured)} against {BASELINE_PHRASES[name]} (predicted {span(predicted)})")
    text = f"Measured: {listed(missed)}. In {study.objective.unit}, with {confidence(study)} intervals."
    return Term("The prediction missed", text) if missed else None


def _paid(study: StudyResults, figures: Mapping[str, Figure]) -> Term | None:
    """Domains whose loss is higher than at the prior, and the mean over all, where that was not the objective."""
    if "domain_changes" not in figures:
        return None
    table = figures["domain_changes"].table
    rise = table[table["low"] > 0].sort_values("mean", ascending=False)
    pairs = rise.head(MAX_NAMED)[["domain", "mean"]].itertuples(index=False)
    named = listed([f"{domain} ({signed(mean)})" for domain, mean in pairs])
    text = f"The loss is higher than at the prior on {len(rise)} of {len(table)} domains: {named}{' most' if len(rise) > MAX_NAMED else ''}."
    found, confirmed = study.confirmation, study.confirmed
    if found and confirmed is not None and not (confirmed["objective"] - confirmed["mean"]).abs().max() < 1e-9:
        mean = found.differences["prior"].mean
        text += (
            f" The mean over all domains, which was not the objective, changes by {signed(mean.mean)} ({span(mean)})."
        )
    return Term("Other domains pay", f"{text} In {study.loss_unit}.") if len(rise) else None


def _budget(study: StudyResults) -> Term | None:
    if not study.is_budget_assumed or not study.budget:
        return None
    return Term(
        "The budget is assumed",
        f"No budget was given, so {large_number(study.budget)} tokens, half of the corpus, were assumed; they decide how much of "
        "each domain there is. Give your own budget.",
    )


def _sample(study: StudyResults) -> Term | None:
    if study.catalogue is None:
        return None
    on_disk, there_is = (
        large_number(float(n.sum(dtype=float))) for n in (study.catalogue.tokens, study.catalogue.true_tokens)
    )
    if study.catalogue.is_sample:
        return Term(
            "A sample",
            f"{on_disk} tokens of a corpus of {there_is} were read; prior, caps and epochs go by the latter.",
        )
    return Term(
        "Sizes",
        f"The {on_disk} tokens that were read are taken for the whole corpus. If they are a sample of it, give the true sizes "
        "with corpus.counts.",
    )
