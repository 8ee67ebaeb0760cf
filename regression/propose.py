"""A regression -> optimal_mixture.yaml: the mixture of lowest predicted objective among those that the data can feed.

python regression/propose.py --fit regression --domains domains.csv --budget 25000000000 --out optimal_mixture.yaml

Beside it a folder of tables: candidates.csv (what else was close), gains.csv, weights.csv (an interval for each weight),
near_optimal.csv (mixtures that the runs cannot tell from it), line.csv (from the prior to it), epochs.csv.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.geometry.constraints import Constraints
from mixture_config.geometry.tolerances import FEASIBLE
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.messages import listed
from proxymix.progress import say
from proxymix.schemas import Domains, loss_domain, read_tokens_manifest
from regression.models.fit_files import load_fit
from regression.models.fitted import FittedModel
from regression.search import proposal_tables as tables
from regression.search.compare import baselines_of, predicted, verdict
from regression.search.feasible_set import FeasibleSet
from regression.search.next_runs import Acquisition, NextRuns
from regression.search.next_sweep import check_room, write_next
from regression.search.proposal import Proposal
from regression.search.proposed_mixture import FitSearch, ProposedMixture, is_smooth, propose_mixture
from regression.search.settings import SearchSettings
from regression.search.uncertainty import CONFIDENCE, Support, near_optimal, sample_interval, support
from regression.selection.cross_fitting import MIN_MIXTURES


def propose(
    fit: Path,
    out: Path,
    domains: Path | None = None,
    constraints: Constraints = Constraints(),  # noqa: B008
    objective: str | dict[str, Any] | None = None,
    heuristic: Path | None = None,
    tokens: Path | None = None,
    details: Path | None = None,
    search: SearchSettings = SearchSettings(),  # noqa: B008
    num_curves: int | None = None,
    num_splits: int = 2,
    seed: int = 0,
    workers: int | None = None,
    num_next: int = 0,
    next_out: Path | None = None,
    acquisition: Acquisition = "improvement",
) -> None:
    """Search the regression for the mixture of lowest objective that the data can feed.

    Smooth regressions are searched along their slopes from many starts. The others are searched by drawing candidates
    around the prior (as RegMix does), over all of the simplex, and around the best runs; the result is the mean of the
    best candidates, since the best single one is the luckiest.

    Then the proposal is held against what it was not made from. Halves of the runs propose, and the other halves predict
    what such a proposal gains, which tells how much of the gain is the winner's curse. Posterior samples of the regression
    say which weights matter, and which other mixtures do as well. The verdict can be that the proposal is no better than a
    baseline. A fit with the preset regmix is searched exactly as RegMix's notebook does.

    Args:
        fit: Folder of the regression (`proxymix fit`).
        out: The mixture to write, in RegMix's keys, with what is predicted of it and of the baselines.
        domains: Table of the domains and their tokens (domains.csv), for the prior and the caps.
        constraints: What the mixture must keep.
        objective: What is to be low: mean, zscore, worst, a loss column or its domain, {domain: weight}, or a YAML of
            weights, or of minimise and max_increase; {maximise: any of these} for scores; that of the fit when left out.
        heuristic: A heuristic mixture to compare with.
        tokens: Folder of token shards, whose hashes go into the file.
        details: Folder for the tables; beside the mixture and named after it when left out.
        search: How the regression is searched.
        num_curves: Posterior samples for the intervals of the weights; 40 when left out, and 12 where a sample is a
            bootstrap sample refitted (trees); 0 leaves the intervals out.
        num_splits: Ways to split the runs into a half that proposes and one that predicts; 0 leaves this out.
        seed: Seed of all draws.
        workers: Processes for the halves; one per core when left out.
        num_next: Also write this many mixtures that are worth training next, numbered after the runs: what `proxymix sweep
            --mixtures NEXT_OUT/mixtures` trains.
        next_out: Folder for them (mixtures/ and mixtures.csv); next, beside the mixture, when left out.
        acquisition: Which mixtures are worth training: improvement takes those that may be better than the best that is
            known, far from each other; climb draws ever closer around the best runs (CLIMB, arXiv 2504.13161).

    Raises:
        InputError: If the domains differ from the fit's, no mixture keeps the limits, or none keeps the ceilings.
    """
    for name, value in (("num_curves", num_curves or 0), ("num_splits", num_splits), ("num_next", num_next)):
        if value < 0:
            raise InputError(f"{name} is {value}; 0 or more is wanted")
    # ---- 1. What is asked: the objective, the allowed mixtures, the baselines
    fitted = load_fit(fit)
    minimised = fitted.objective if objective is None else fitted.objective_of(objective)
    known = None if domains is None else Domains.read(domains).aligned(fitted.domains, domains)
    prior = fitted.runs.weights.mean(axis=0) if known is None else known.prior
    counts = None if known is None else known.tokens.astype(float)
    feasible = FeasibleSet.of(constraints, fitted.domains, prior, counts, domains)
    if fitted.preset == "regmix":
        search = SearchSettings("simulation", search.num_candidates or 100_000, search.num_averaged, 0.0)
    next_out = next_out or out.with_name("next")
    if num_next:
        check_room(next_out, fitted.runs, num_next)
    baselines = baselines_of(fitted, minimised, prior, heuristic, has_prior=known is not None)

    # ---- 2. Search, and compare
    how = FitSearch(minimised, feasible, prior, search.resolved(is_smooth(fitted, minimised)))
    found = propose_mixture(fitted, how, baselines, num_curves, num_splits, seed, workers)
    assert abs(found.weights.sum() - 1) < FEASIBLE
    assert feasible.holds(found.weights[None])[0]

    # ---- 3. The tables, the mixtures to train next, and last the proposal
    rows = {
        "candidates": tables.candidate_rows(fitted, minimised, found, feasible),
        "gains": tables.gain_rows(found.baselines),
        "line": tables.line_rows(fitted, minimised, prior, found.weights),
    }
    if known is not None and constraints.budget is not None:
        rows["epochs"] = tables.epoch_rows(known, found.weights, constraints.budget, feasible.limits.upper)
    if len(found.optima):
        rows["weights"] = tables.weight_rows(fitted.domains, prior, found.weights, found.optima)
        others = np.vstack([*baselines.values(), found.optima, *(result.weights for result in found.found)])
        rng = np.random.default_rng([seed, 2])
        as_good = near_optimal(fitted, found.samples, minimised, feasible, prior, found.weights, others, rng)
        rows["near_optimal"] = tables.near_optimal_rows(fitted, minimised, found.weights, as_good)
    if num_next:
        choice = NextRuns(fitted, minimised, feasible)
        write_next(next_out, choice, num_next, np.random.default_rng([seed, 3]), acquisition)
    tables.write_tables(details or out.with_suffix(""), rows)
    proposal = _proposal(fitted, how, found, baselines, known, constraints, seed, tokens)
    proposal.write(out, [d for d in map(loss_domain, fitted.targets) if d in fitted.domains] or None)
    _say_proposal(proposal, fitted, support(fitted.runs.weights, found.weights))


def _proposal(
    fitted: FittedModel,
    how: FitSearch,
    found: ProposedMixture,
    baselines: Mapping[str, np.ndarray],
    known: Domains | None,
    constraints: Constraints,
    seed: int,
    tokens: Path | None,
) -> Proposal:
    """What optimal_mixture.yaml holds."""

    def by_domain(values: np.ndarray) -> dict[str, float]:
        return dict(zip(fitted.domains, map(float, values), strict=True))

    others = [name for name in found.baselines if name not in found.better]
    ends = np.stack(sample_interval(found.optima), axis=1).tolist() if len(found.optima) else None
    near, best = support(fitted.runs.weights, found.weights), found.found[0]
    search = {**asdict(how.settings), "found_by": best.method, "seed": seed, "gap": best.gap}
    asked = {name: getattr(constraints, name) for name in ("limits", "groups", "max_distance", "max_domains")}
    tokenizer, budget = read_tokens_manifest(tokens).tokenizer if tokens else {}, constraints.budget
    return Proposal(
        by_domain(found.weights),
        objective=how.objective.spec,
        asked=how.objective.describe(),
        verdict=verdict(found.better, others, fitted.ranks),
        confidence=CONFIDENCE,
        predicted=predicted(fitted, how.objective, found.weights, baselines, found.cross_fitting),
        baselines=found.baselines,
        weight_intervals=dict(zip(fitted.domains, ends, strict=True)) if ends else None,
        budget=budget,
        max_epochs=constraints.max_epochs if budget is not None else None,
        epochs=by_domain(tables.epochs_of(known, found.weights, budget)) if known and budget is not None else None,
        caps=by_domain(how.feasible.limits.upper) if budget is not None else None,
        support={
            "nearest_run": fitted.runs.index[near.nearest],
            "distance": near.distance,
            "between_runs": {"median": near.typical, "largest": near.farthest},
        },
        regression={"model": fitted.model, "num_runs": len(fitted.runs.index), "inputs": fitted.inputs},
        search={key: value for key, value in search.items() if value is not None}
        | {name: value for name, value in asked.items() if value},
        tokenizer={key: tokenizer[key] for key in ("name", "sha256") if key in tokenizer} if tokens else None,
        data={"manifest_sha256": sha256(Path(tokens) / "manifest.json")} if tokens else None,
    )


def _say_proposal(proposal: Proposal, fitted: FittedModel, near: Support) -> None:
    predicted, baselines = proposal.predicted, proposal.baselines
    assert predicted is not None
    assert baselines is not None
    say(f"{proposal.asked}: predicted {predicted.mean:.4f} ({predicted.low:.4f} to {predicted.high:.4f})")
    for name, entry in baselines.items():
        text = f"  gain over {name:<11}{entry.gain.mean:+.4f} ({entry.gain.low:+.4f} to {entry.gain.high:+.4f})"
        text += "" if entry.held_out_gain is None else f", held-out gain {entry.held_out_gain:+.4f}"
        say(text if entry.feasible else f"{text}, outside the limits")
    if predicted.halves is not None:
        curse = predicted.halves.winners_curse
        say(f"  proposals from half of the runs look {curse:+.4f} better to themselves than to the other half")
    else:
        say(
            f"  the gains are those of one regression, which halves of the runs did not check: there are under "
            f"{MIN_MIXTURES} mixtures, or num_splits is 0"
        )
    if near.outside:
        say(
            f"  far from what was trained: {near.distance:.2f} of its weight differs from the nearest run, and no run is "
            f"farther than {near.farthest:.2f} from the others; train there, or raise --risk_aversion"
        )
    say(f"The proposal is {proposal.verdict}.")
    largest = fitted.runs.weights.max(axis=0)
    never = [d for d, weight in zip(fitted.domains, largest, strict=True) if proposal.weights[d] and not weight]
    if never:
        say(
            f"  no run had any {listed(never)}, so nothing is known of it; train some, or fix it: --limits '{{{never[0]}: 0}}'"
        )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(propose)
