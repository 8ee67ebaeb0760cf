"""A regression -> optimal_mixture.yaml: the mixture of lowest predicted objective among those that the data can feed.

python regression/propose.py --fit regression --domains domains.csv --budget 25000000000 --out optimal_mixture.yaml

Beside it a folder of tables: candidates.csv (what else was close), gains.csv, weights.csv (an interval for each weight),
near_optimal.csv (mixtures that the runs cannot tell from it), line.csv (from the prior to it), epochs.csv.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mixture_config.files.mixture import read_mixture, write_mixture
from mixture_config.geometry.constraints import limits_of
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import epoch_bounds
from proxymix.errors import InputError
from proxymix.files import remove, sha256
from proxymix.messages import listed
from proxymix.progress import say
from proxymix.schemas import Domain, loss_domain, read_domains, read_tokens_manifest
from proxymix.tables import write_table
from regression.data.objective import Objective
from regression.data.runs import align_domains
from regression.models.fit_files import load_fit
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.search.feasible_set import Region
from regression.search.next_runs import Method, check_room, write_next
from regression.search.search import Found, descend, search
from regression.search.uncertainty import CONFIDENCE, Support, interval, lowest_of, near_optimal, support
from regression.selection.cross_fitting import MIN_MIXTURES, CrossFitting, cross_fitted
from regression.selection.repeats import best_runs

NORMAL = 1.644854  # standard deviations to either side that hold 90% of a normal distribution
FEASIBLE = 1e-9
FEASIBLE_BASELINE = 1e-6  # weights of a file are rounded
NUM_LINE = 21
TABLES = ("candidates", "gains", "weights", "near_optimal", "line", "epochs")
BEST_RUNS = 10  # in a hundred, and three at least: where searches begin


def propose(
    fit: Path,
    out: Path,
    domains: Path | None = None,
    budget: int | None = None,
    max_epochs: float | None = 4.0,
    limits: dict[str, float | dict[str, float]] | None = None,
    groups: dict[str, list[str]] | None = None,
    max_distance: float | None = None,
    max_domains: int | None = None,
    objective: str | dict[str, Any] | None = None,
    heuristic: Path | None = None,
    tokens: Path | None = None,
    details: Path | None = None,
    method: Literal["auto", "simulation", "wide", "gradient"] = "auto",
    num_candidates: int | None = None,
    top: int = 128,
    caution: float = 0.5,
    num_curves: int | None = None,
    num_splits: int = 2,
    seed: int = 0,
    workers: int | None = None,
    next: int = 0,
    next_out: Path | None = None,
    pick: Method = "improvement",
) -> None:
    """Search the regression for the mixture of lowest objective that the data can feed.

    Smooth regressions are searched along their slopes from many starts, others by drawing candidates around the prior (as
    RegMix does), over all of the simplex, and around the best runs; of draws the mean of the best is taken, since the best
    single one is the luckiest. Then the proposal is held against what it was not made from: halves of the runs propose and
    judge each other, which says what of the gain is the winner's curse, and curves drawn as the regression is uncertain say
    which weights matter, and which other mixtures do as well. The verdict can be that it is no better than a baseline. A fit with the preset
    regmix is searched exactly as RegMix's notebook does.

    Args:
        fit: Folder of the regression (`proxymix fit`).
        out: The mixture to write, in RegMix's keys, with what is predicted of it and of the baselines.
        domains: Table of the domains and their tokens (domains.csv), for the prior and the caps.
        budget: Tokens of the final training; with max_epochs it caps what a domain can take.
        max_epochs: Most passes of the final training over a domain's tokens (4 costs little, arXiv:2305.16264).
        limits: Smallest and largest weights, {domain or group: {min, max}}, or the number at which a weight is fixed.
        groups: Names for sets of domains (patterns such as code_* too) that limits may bound as a whole.
        max_distance: Largest share of the tokens that may be moved away from the prior (total variation).
        max_domains: Most domains that may have a weight.
        objective: What is to be low: mean, zscore, worst, a loss column or its domain, {domain: weight}, or a YAML of
            weights, or of minimise and ceilings; that of the fit when left out.
        heuristic: A heuristic mixture to compare with.
        tokens: Folder of token shards, whose hashes go into the file.
        details: Folder for the tables; beside the mixture and named after it when left out.
        method: How to search: auto takes what fits the regression and ends with the best found by any.
        num_candidates: Candidates drawn by each of simulation and wide; 100,000 for trees and 20,000 otherwise when left
            out. A million costs a minute or more.
        top: How many of the best candidates are averaged.
        caution: Standard deviations of the regression that are added to a prediction before mixtures compete; 0 trusts
            it where no run was trained, 1 and more stays close to the runs.
        num_curves: Curves drawn for the intervals of the weights; 40 when left out, and 12 where a curve is a bootstrap
            sample refitted (trees); 0 leaves them out.
        num_splits: Ways to split the runs into a half that proposes and one that judges; 0 leaves judges out.
        seed: Seed of all draws.
        workers: Processes for the judges; one per core when left out.
        next: Also write this many mixtures that are worth training next, numbered after the runs: what `proxymix sweep
            --mixtures NEXT_OUT/mixtures` trains.
        next_out: Folder for them (mixtures/ and mixtures.csv); next, beside the mixture, when left out.
        pick: Which are worth it: improvement takes mixtures that may be better than the best that is known, far from
            each other; climb draws ever closer around the best runs (CLIMB, arXiv 2504.13161).

    Raises:
        InputError: If the domains differ from the fit's, no mixture keeps the limits, or none keeps the ceilings.
    """
    if budget is not None and domains is None:
        raise InputError(f"budget is {budget:,} tokens, and the tokens of the domains are unknown; give --domains")
    if top < 2:
        raise InputError(f"top is {top}; 2 or more is wanted, since the single best draw is the luckiest")
    if num_candidates is not None and num_candidates < top:
        raise InputError(f"num_candidates is {num_candidates:,}; at least top, {top}, is wanted")
    for name, value in (
        ("caution", caution),
        ("num_curves", num_curves or 0),
        ("num_splits", num_splits),
        ("next", next),
    ):
        if not value >= 0:
            raise InputError(f"{name} is {value:g}; 0 or more is wanted")
    fitted = load_fit(fit)
    goal = fitted.objective if objective is None else fitted.objective_of(objective)
    catalogue = catalogue_of(domains, fitted.domains)
    prior = np.array([domain.prior for domain in catalogue]) if catalogue else fitted.runs.weights.mean(axis=0)
    counts = np.array([domain.tokens for domain in catalogue], dtype=float)
    asked_for = (limits or {}, groups or {}, prior, counts, budget, max_epochs, max_distance, max_domains)
    region = region_of(fitted.domains, *asked_for, domains)
    upper = region.limits.upper
    if fitted.preset == "regmix":
        method, num_candidates, caution = "simulation", num_candidates or 100_000, 0.0
    next_out = next_out or out.with_name("next")
    if next:
        check_room(next_out, fitted.runs, next)
    how = how_to_search(fitted, goal, method, num_candidates, top, caution)
    baselines = baselines_of(fitted, goal, prior, heuristic, has_prior=bool(catalogue))
    B = np.array(list(baselines.values()))
    made = proposed(fitted, goal, region, prior, baselines, how, num_curves, num_splits, seed, workers)
    found, optima, entries, proposal = made.found, made.optima, made.baselines, made.weights
    _check(proposal, region)
    near = support(fitted.runs.weights, proposal)
    extra: dict[str, Any] = {
        "model_name": "proxymix",
        "objective": goal.spec,
        "asked": goal.describe(),
        "verdict": verdict(made.better, [name for name in entries if name not in made.better], fitted.ranks),
        "confidence": CONFIDENCE,
        "predicted": _predicted(fitted, goal, proposal, B, made.judged),
        "baselines": entries,
    }
    if len(optima):
        low, high = interval(optima)
        extra["weights"] = {d: [float(a), float(b)] for d, a, b in zip(fitted.domains, low, high, strict=True)}
    if catalogue and budget is not None:
        extra |= {
            "budget": budget,
            "max_epochs": max_epochs,
            "epochs": _mapping(fitted.domains, _epochs(proposal, counts, budget)),
            "caps": _mapping(fitted.domains, upper),
        }
    extra["support"] = {
        "nearest_run": fitted.runs.index[near.nearest],
        "distance": near.distance,
        "between_runs": {"median": near.typical, "largest": near.farthest},
    }
    extra["regression"] = {"model": fitted.model, "num_runs": len(fitted.runs.index), "inputs": fitted.inputs}
    extra["search"] = {**asdict(how), "found_by": found[0].method, "seed": seed} | (
        {} if found[0].gap is None else {"gap": found[0].gap}
    )
    asked = {"limits": limits, "groups": groups, "max_distance": max_distance, "max_domains": max_domains}
    extra["search"] |= {name: value for name, value in asked.items() if value}
    if tokens is not None:
        manifest = read_tokens_manifest(tokens)
        extra["tokenizer"] = {key: manifest.tokenizer[key] for key in ("name", "sha256") if key in manifest.tokenizer}
        extra["data"] = {"manifest_sha256": sha256(Path(tokens) / "manifest.json")}

    tables = {
        "candidates": _candidate_rows(fitted, goal, found, made.judged, region),
        "gains": [{"baseline": name, **_gain_row(entry)} for name, entry in entries.items()],
        "line": _line_rows(fitted, goal, prior, proposal),
    }
    if catalogue and budget is not None:
        tables["epochs"] = _epoch_rows(catalogue, proposal, counts, budget, upper)
    if len(optima):
        tables["weights"] = _weight_rows(fitted.domains, prior, proposal, optima)
        others = np.vstack([B, optima, *[f.weights[None] for f in found]])
        rng = np.random.default_rng([seed, 2])
        as_good = near_optimal(fitted, made.draws, goal, region, prior, proposal, others, rng)
        tables["near_optimal"] = _near_rows(fitted, goal, proposal, as_good)
    if next:
        write_next(next_out, fitted, goal, region, next, np.random.default_rng([seed, 3]), pick)
    folder = details or out.with_suffix("")
    for name in TABLES:
        if rows := tables.get(name):
            write_table(folder / f"{name}.csv", list(rows[0]), [tuple(row.values()) for row in rows])
        else:
            remove(folder / f"{name}.csv")  # of an earlier proposal
    validated = [d for d in map(loss_domain, fitted.targets) if d in fitted.domains]
    write_mixture(out, _mapping(fitted.domains, proposal), extra, validated or None)
    _say_proposal(extra, near)
    never = [
        d for d, w, seen in zip(fitted.domains, proposal, fitted.runs.weights.T, strict=True) if w and not seen.any()
    ]
    if never:
        say(
            f"  no run had any {listed(never)}, so nothing is known of it; train some, or fix it: --limits '{{{never[0]}: 0}}'"
        )


@dataclass(frozen=True)
class How:
    """How to search: see `propose`."""

    method: Literal["auto", "simulation", "wide", "gradient"]
    num_candidates: int
    top: int
    caution: float


@dataclass(frozen=True)
class Proposal:
    """A mixture proposed, and what the runs show of it.

    Attributes:
        weights: Shape (num_domains,).
        found: What the searches ended with, best first; the weights are the first's.
        baselines: Baseline -> prediction, gain with its interval, whether it keeps the limits.
        better: Baselines that it is shown to be better than.
        judged: What halves of the runs say; None where there are too few runs.
        draws: Fits of the curves drawn.
        optima: Their own lowest mixtures, shape (len(draws), num_domains).
    """

    weights: np.ndarray
    found: list[Found]
    baselines: dict[str, Any]
    better: list[str]
    judged: CrossFitting | None
    draws: list[FittedModel]
    optima: np.ndarray


def proposed(
    fitted: FittedModel,
    goal: Objective,
    region: Region,
    prior: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    how: How,
    num_curves: int | None,
    num_splits: int,
    seed: int,
    workers: int | None = None,
) -> Proposal:
    """What `propose` writes, in memory: search, judge, draw curves, compare."""
    found = _search(fitted, goal, region, prior, how, np.random.default_rng(seed))
    proposal = found[0].weights
    B = np.array(list(baselines.values()))
    judge = partial(_search_quickly, goal=goal, region=region, prior=prior, how=how)
    judged = cross_fitted(fitted, goal, judge, B, num_splits, seed, workers)
    if num_curves is None:
        num_curves = 40 if fitted.has_posterior else 12
    rng = np.random.default_rng([seed, 1])
    draws = fitted.posterior_samples(num_curves, rng, workers) if num_curves else []
    starts = np.vstack([proposal, region.nearest(prior[None]), region.nearest(_best_runs(fitted, goal)[:1])])
    optima = lowest_of(draws, goal, region, prior, starts, rng)
    entries = _compared(fitted, goal, proposal, baselines, judged, region)
    better = [name for name, entry in entries.items() if _is_better(fitted, entry)]
    return Proposal(proposal, found, entries, better, judged, draws, optima)


def how_to_search(
    fitted: FittedModel,
    goal: Objective,
    method: Literal["auto", "simulation", "wide", "gradient"] = "auto",
    num_candidates: int | None = None,
    top: int = 128,
    caution: float = 0.5,
) -> How:
    """As asked, with the number of candidates that fits the regression where none is given."""
    smooth = all(fitted.regressors[t].smooth for t in goal.used)
    num = num_candidates or (20_000 if smooth else 100_000)
    return How(method, num, min(top, num), caution)


def _search(
    fitted: FittedModel, goal: Objective, region: Region, prior: np.ndarray, how: How, rng: np.random.Generator
) -> list[Found]:
    """The searches that were asked for, best first.

    The score is the predicted objective plus `caution` standard deviations of the curve where the regression knows them.
    On six subsets of 32 and of 64 of RegMix's runs, judged by regressions of 384 others, half a standard deviation against
    none costs .010 on Pile-CC, of a gain of .34 over the mean mixture, and adds .003 on the mean of 13 losses, to a gain
    of .02; a whole one costs .022 and adds .003. Judges extrapolate too, hence not none.
    """
    surface = _surface(fitted, goal, prior, how)
    return search(surface, region, prior, _best_runs(fitted, goal), how.method, how.num_candidates, how.top, rng)


def _search_quickly(
    fitted: FittedModel, rng: np.random.Generator, goal: Objective, region: Region, prior: np.ndarray, how: How
) -> np.ndarray:
    """The same for a half of the runs: from a few starts, or with a tenth of the candidates."""
    surface = _surface(fitted, goal, prior, how)
    if how.method in ("auto", "gradient") and surface.smooth:
        starts = np.vstack([prior, np.full(len(prior), 1 / len(prior)), _best_runs(fitted, goal)[:4]])
        if found := descend(surface, region, starts):
            return found[0].weights
    num = max(1000, how.num_candidates // 10)
    quick = replace(how, num_candidates=num, top=min(how.top, num))
    return _search(fitted, goal, region, prior, quick, rng)[0].weights


def _surface(fitted: FittedModel, goal: Objective, prior: np.ndarray, how: How) -> PredictedObjective:
    knows = all(fitted.regressors[t].knows_std for t in goal.used)  # a constant standard deviation changes no order
    return PredictedObjective(fitted, goal, prior, how.caution if knows else 0.0)


def _best_runs(fitted: FittedModel, goal: Objective) -> np.ndarray:
    order = best_runs(fitted.runs, goal)
    return fitted.runs.weights[order[: max(3, len(order) // BEST_RUNS)]]


def region_of(
    names: list[str],
    limits: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    prior: np.ndarray,
    counts: np.ndarray,
    budget: int | None,
    max_epochs: float | None,
    max_distance: float | None,
    max_domains: int | None,
    domains: Path | None,
) -> Region:
    """What the data can feed, within what was asked for."""
    epochs = np.ones(len(names))
    if budget is not None and max_epochs is not None:
        try:
            epochs = epoch_bounds(counts, budget, max_epochs)
        except InputError as error:
            raise InputError(f"{domains}: {error}") from None
    bounds: Limits = limits_of(names, limits, groups, epochs, np.ones(len(epochs)))
    return Region(bounds, prior, max_distance, max_domains)


def _check(proposal: np.ndarray, region: Region) -> None:
    assert abs(proposal.sum() - 1) < FEASIBLE
    assert region.holds(proposal[None])[0]


def catalogue_of(path: Path | None, domains: list[str]) -> list[Domain]:
    """The rows of domains.csv in the order of the fit's domains; none without a file."""
    if path is None:
        return []
    rows = read_domains(path)
    order = align_domains(np.arange(len(rows)), [row.domain for row in rows], domains, str(path))
    return [rows[i] for i in order]


def baselines_of(
    fitted: FittedModel, goal: Objective, prior: np.ndarray, heuristic: Path | None = None, has_prior: bool = True
) -> dict[str, np.ndarray]:
    """What the proposal is compared with; without token counts the mean of the sweep stands for the prior."""
    baselines = {"prior" if has_prior else "sweep_mean": prior}
    if heuristic is not None:
        given, _ = read_mixture(heuristic)
        baselines["heuristic"] = align_domains(
            np.array(list(given.values())), list(given), fitted.domains, str(heuristic)
        )
    baselines["uniform"] = np.full(len(prior), 1 / len(prior))
    best = fitted.runs.weights[np.argmin(goal.value(fitted.runs.losses))]
    baselines["best_seen"] = best / best.sum()
    return baselines


def _compared(
    fitted: FittedModel,
    goal: Objective,
    proposal: np.ndarray,
    baselines: Mapping[str, np.ndarray],
    judged: CrossFitting | None,
    region: Region,
) -> dict[str, Any]:
    """Per baseline: a run there as predicted, and the expected gain with its interval, as predicted and as judged.

    The winner's curse, as the judges found it, is taken off the predicted gain, and what is unsure of it added to the
    interval.
    """
    X = np.array(list(baselines.values()))
    mean, std = fitted.predict_objective(X, goal)
    gain, gain_std = fitted.gains(X, proposal, goal)
    curse, curse_std = judged.expected_curse(gain_std) if judged else (0.0, 0.0)
    entries: dict[str, Any] = {}
    for i, name in enumerate(baselines):
        entries[name] = {
            "predicted": _interval(mean[i], std[i]),
            "gain": _interval(gain[i] - curse, float(np.hypot(gain_std[i], curse_std))),
            "feasible": bool(region.holds(X[i : i + 1], FEASIBLE_BASELINE)[0]),
        }
        if judged is not None:
            entries[name]["judged_gain"] = float(judged.held_out_gains[:, i].mean())
    measured = goal.value(fitted.runs.losses)
    best = int(np.argmin(measured))
    entries["best_seen"] |= {"run": fitted.runs.index[best], "measured": float(measured[best])}
    return entries


def _predicted(
    fitted: FittedModel, goal: Objective, proposal: np.ndarray, baselines: np.ndarray, judged: CrossFitting | None
) -> dict[str, Any]:
    mean, std = fitted.predict_objective(proposal[None], goal)
    curse = judged.expected_curse(fitted.gains(baselines, proposal, goal)[1])[0] if judged else 0.0
    predicted: dict[str, Any] = _interval(mean[0] + curse, std[0])
    if judged is not None:
        predicted["halves"] = {
            "own": float(judged.own.mean()),
            "judged": float(judged.held_out.mean()),
            "winners_curse": judged.winners_curse,
        }
        predicted["own"] = float(mean[0])
    return predicted


def _is_better(fitted: FittedModel, entry: Mapping[str, Any]) -> bool:
    """Shown to be better: the regression ranks runs, the interval of the gain is above 0, and the judges agree."""
    return fitted.ranks and entry["gain"]["low"] > 0 and entry.get("judged_gain", 1.0) > 0


def verdict(better: Sequence[str], others: Sequence[str], ranks: bool) -> str:
    """What the runs show, in words."""
    names = {"prior": "the prior", "sweep_mean": "the mean of the sweep", "heuristic": "the heuristic"}
    names |= {"uniform": "the uniform mixture", "best_seen": "the best mixture of the sweep"}
    if not ranks:
        return "not better than any baseline: the regression does not rank runs better than chance"
    parts = [f"predicted to be better than {listed([names[b] for b in better])}"] if better else []
    parts += [f"not shown to be better than {listed([names[b] for b in others])}"] if others else []
    return "; ".join(parts)


def _interval(mean: float, std: float) -> dict[str, float]:
    return {"mean": float(mean), "low": float(mean - NORMAL * std), "high": float(mean + NORMAL * std)}


def _epochs(proposal: np.ndarray, counts: np.ndarray, budget: int) -> np.ndarray:
    return np.where(counts > 0, proposal * budget / np.maximum(counts, 1), 0.0)


def _mapping(domains: list[str], values: np.ndarray) -> dict[str, float]:
    return {domain: float(value) for domain, value in zip(domains, values, strict=True)}


def _candidate_rows(
    fitted: FittedModel, goal: Objective, found: Sequence[Found], judged: CrossFitting | None, region: Region
) -> list[dict[str, Any]]:
    """What the searches ended with, best first, and what the halves proposed (with what the other half says of it)."""
    halves = [] if judged is None else list(judged.proposals)
    X = np.array([*(f.weights for f in found), *halves])
    mean, std = fitted.predict_objective(X, goal, noise=False)
    names = [f.method for f in found] + ["half of the runs"] * len(halves)
    verdicts: list[Any] = [""] * len(found) + ([] if judged is None else judged.held_out.tolist())
    return [
        {
            "index": i,
            "method": names[i],
            "objective": float(mean[i]),
            "std": float(std[i]),
            "judged": verdicts[i],
            "distance": float(region.distance(X[i : i + 1])[0]),
            **{f"train_{d}": float(w) for d, w in zip(fitted.domains, X[i], strict=True)},
        }
        for i in range(len(X))
    ]


def _gain_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    gain = entry["gain"]
    row = {"gain": gain["mean"], "judged": entry.get("judged_gain", ""), "low": gain["low"], "high": gain["high"]}
    return {**row, "feasible": entry["feasible"]}


def _line_rows(fitted: FittedModel, goal: Objective, prior: np.ndarray, proposal: np.ndarray) -> list[dict[str, Any]]:
    """The objective between the prior and the proposal, with the interval that the fit's standard deviation gives."""
    steps = np.linspace(0, 1, NUM_LINE)
    X = prior + steps[:, None] * (proposal - prior)
    mean, std = fitted.predict_objective(X, goal, noise=False)
    low, high = mean - NORMAL * std, mean + NORMAL * std
    values = zip(steps, mean, low, high, strict=True)
    return [{"step": float(s), "mean": float(m), "low": float(a), "high": float(b)} for s, m, a, b in values]


def _epoch_rows(
    catalogue: Sequence[Domain], proposal: np.ndarray, counts: np.ndarray, budget: int, upper: np.ndarray
) -> list[dict[str, Any]]:
    epochs, caps = _epochs(proposal, counts, budget), _epochs(upper, counts, budget)
    return [
        {"domain": d.domain, "tokens": d.tokens, "weight": float(w), "epochs": float(e), "cap": float(c)}
        for d, w, e, c in zip(catalogue, proposal, epochs, caps, strict=True)
    ]


def _weight_rows(
    domains: list[str], prior: np.ndarray, proposal: np.ndarray, optima: np.ndarray
) -> list[dict[str, Any]]:
    low, high = interval(optima)
    values = zip(domains, prior, proposal, low, high, strict=True)
    return [
        {"domain": d, "prior": float(p), "weight": float(w), "low": float(a), "high": float(b)}
        for d, p, w, a, b in values
    ]


def _near_rows(fitted: FittedModel, goal: Objective, proposal: np.ndarray, X: np.ndarray) -> list[dict[str, Any]]:
    if not len(X):
        return []
    values = fitted.mean_objective(np.vstack([proposal, X]), goal)
    return [
        {
            "index": i,
            "objective": float(value),
            "gain": float(values[0] - value),
            **{f"train_{d}": float(w) for d, w in zip(fitted.domains, weights, strict=True)},
        }
        for i, (value, weights) in enumerate(zip(values[1:], X, strict=True), start=1)
    ]


def _say_proposal(extra: Mapping[str, Any], near: Support) -> None:
    predicted = extra["predicted"]
    say(f"{extra['asked']}: predicted {predicted['mean']:.4f} ({predicted['low']:.4f} to {predicted['high']:.4f})")
    for name, entry in extra["baselines"].items():
        gain = entry["gain"]
        text = f"  gain over {name:<11}{gain['mean']:+.4f} ({gain['low']:+.4f} to {gain['high']:+.4f})"
        text += f", judged {entry['judged_gain']:+.4f}" if "judged_gain" in entry else ""
        say(text if entry["feasible"] else f"{text}, outside the limits")
    if "halves" in predicted:
        curse = predicted["halves"]["winners_curse"]
        say(f"  proposals from half of the runs look {curse:+.4f} better to themselves than to the other half")
    else:
        say(
            f"  no halves of the runs judged it: under {MIN_MIXTURES} mixtures, or none were asked for; the gains are one regression's"
        )
    if near.outside:
        say(
            f"  far from what was trained: {near.distance:.2f} of its weight differs from the nearest run, and no run is "
            f"farther than {near.farthest:.2f} from the others; train there, or raise --caution"
        )
    say(f"The proposal is {extra['verdict']}.")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(propose)
