"""A proposal -> what the terminal says of it: the mixture, its gains, what to mind, and what comes next."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from mixture_config.geometry.tolerances import FILE_ROUNDING
from proxymix.messages import aligned, listed, next_command, some, study_of
from proxymix.progress import say
from regression.search.compare import PHRASES
from regression.search.find_mixture import FoundMixture
from regression.search.proposal import BaselinePrediction, Proposal
from regression.selection.cross_fitting import MIN_MIXTURES

MAX_ROWS = 40
"""Domains that the terminal lists."""


def say_proposal(found: FoundMixture, out: Path, details: Path) -> None:
    """Say what was found, where it is, and which command comes next."""
    proposal = found.proposal
    assert proposal.predicted is not None and proposal.baselines is not None and proposal.confidence is not None
    predicted, level = proposal.predicted, f"{100 * proposal.confidence:g}%"
    say(f"{proposal.asked}: predicted {predicted.mean:.4f} ({level}: {predicted.low:.4f} to {predicted.high:.4f})")
    for line in (*_mixture(found, out), *_gains(proposal.baselines, level), *_cautions(proposal)):
        say(line)
    say(f"The proposal is {proposal.verdict}.")
    say(f"Written: {out}, and its tables in {details}")
    export = f"proxymix export --mixture {shlex.quote(str(out))} --to megatron"
    say(f"Next: {export if study_of(out) is None else next_command(out, 'confirm', '')}")


def _mixture(found: FoundMixture, out: Path) -> Iterator[str]:
    """The weights, the largest first, and the budget that they are for."""
    proposal = found.proposal
    rows = sorted(found.mixture, key=lambda row: -row["weight"])
    shown = [row for row in rows if row["weight"] > 0][:MAX_ROWS]
    keys = [key for key in ("weight", "prior", "epochs") if key in rows[0]]
    digits = {"weight": 4, "prior": 4, "epochs": 2}
    cells = [(row["domain"], *(f"{row[key]:.{digits[key]}f}" for key in keys), row["bound_by"]) for row in shown]
    names = {"prior": "prior" if "prior" in (proposal.baselines or {}) else "sweep mean"}
    yield aligned([("domain", *(names.get(key, key) for key in keys), ""), *cells])
    if left := [row["domain"] for row in rows[len(shown) :] if row["weight"] > 0]:
        yield f"  and {len(left)} more with less weight: {out}"
    if none := [row["domain"] for row in rows if row["weight"] == 0]:
        yield f"  no weight: {some(none, 12)}"
    distance = 0.5 * sum(abs(row["weight"] - row["prior"]) for row in rows)
    most = proposal.search or {}
    if distance >= most.get("max_distance", 2.0) - FILE_ROUNDING:
        yield f"  As far from the prior as max_distance allows: {most['max_distance']:g}"
    if len(rows) - len(none) == most.get("max_domains"):
        yield f"  As many domains as max_domains allows: {most['max_domains']}"
    yield budget_line(proposal.budget, proposal.max_epochs, proposal.budget_assumed)


def budget_line(budget: int | None, max_epochs: float | None, assumed: bool | None = None) -> str:
    """The tokens of the final training, and what they cap."""
    give = "give the tokens of your final training, such as --budget 25e9"
    if budget is None:
        return f"Budget: none given, so nothing is capped by its tokens; {give}"
    caps = f"at most {max_epochs:g} epochs of a domain" if max_epochs else "epochs are not capped"
    return f"Budget: {budget:,} tokens{f' (ASSUMED; {give})' if assumed else ''}, {caps}"


def _gains(baselines: Mapping[str, BaselinePrediction], level: str) -> Iterator[str]:
    held_out = any(entry.held_out_gain is not None for entry in baselines.values())
    header = ("gain over", "predicted", f"{level} interval", *(["held-out"] if held_out else []), "the proposal is")
    rows = []
    for name, entry in baselines.items():
        ends = f"{entry.gain.low:+.4f} to {entry.gain.high:+.4f}"
        halves = ["" if entry.held_out_gain is None else f"{entry.held_out_gain:+.4f}"] if held_out else []
        notes = [entry.verdict or "", *([] if entry.feasible else ["(the baseline is outside the limits)"])]
        rows.append((PHRASES[name], f"{entry.gain.mean:+.4f}", ends, *halves, " ".join(notes).lstrip()))
    yield aligned([header, *rows])


def _cautions(proposal: Proposal) -> Iterator[str]:
    """What the runs do not know."""
    assert proposal.predicted is not None
    support = proposal.support or {}
    if proposal.predicted.halves is not None:
        curse = proposal.predicted.halves.winners_curse
        yield f"Winner's curse: proposals from half of the runs look {curse:.4f} better to that half than to the other."
    else:
        yield (
            "The gains are those of one regression, which halves of the runs did not check: there are under "
            f"{MIN_MIXTURES} mixtures, or num_splits is 0."
        )
    for entry in (proposal.baselines or {}).values():
        if entry.missed:
            yield (
                f"The best run measured {entry.measured:.4f}, and {entry.predicted.low:.4f} to {entry.predicted.high:.4f} is "
                "predicted there: the regression does not know why it was so good, or it was lucky."
            )
    if support["far_from_runs"]:
        yield (
            f"Far from what was trained: {support['distance']:.2f} of its weight differs from the nearest run, and no run is "
            f"farther than {support['between_runs']['largest']:.2f} from the others; train there, or raise --risk_aversion."
        )
    if never := support["untrained_domains"]:
        yield f"No run had any {listed(never)}, so nothing is known of it; train some, or fix it: --limits '{{{never[0]}: 0}}'"
