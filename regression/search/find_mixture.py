"""A fit, and what is asked of a mixture -> the mixture to propose, with all that is known of it. In memory; no files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.geometry.constraints import Constraints
from mixture_config.geometry.tolerances import FEASIBLE
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.schemas import Domains, loss_domain, read_tokens_manifest
from regression.data.objective import Spec
from regression.models.fitted import FittedModel
from regression.search import proposal_tables as tables
from regression.search.compare import baselines_of, predicted, verdict
from regression.search.feasible_set import FeasibleSet
from regression.search.next_runs import Acquisition, NextRuns
from regression.search.next_sweep import NextSweep, next_sweep
from regression.search.proposal import Proposal
from regression.search.proposed_mixture import FitSearch, ProposedMixture, is_smooth, propose_mixture
from regression.search.settings import SearchSettings
from regression.search.uncertainty import CONFIDENCE, near_optimal, sample_interval, support


@dataclass(frozen=True)
class FoundMixture:
    """What a search of a fit found.

    Attributes:
        proposal: What optimal_mixture.yaml holds.
        mixture: A row per domain: weight, prior, epochs (where there is a budget), and what keeps it from more or less.
        tables: Rows of candidates, gains, weights, near_optimal, line and epochs, by name.
        validated: The domains whose losses are predicted.
        next_sweep: The mixtures worth training next, if they were asked for.
    """

    proposal: Proposal
    mixture: tables.Rows
    tables: Mapping[str, tables.Rows]
    validated: list[str]
    next_sweep: NextSweep | None

    def save(self, out: Path, details: Path) -> None:
        """Write the tables, and last the mixture."""
        tables.write_tables(details, self.tables)
        self.proposal.write(out, self.validated or None)


def find_mixture(
    fitted: FittedModel,
    domains: Path | None,
    constraints: Constraints,
    objective: Spec | None,
    heuristic: Path | None,
    tokens: Path | None,
    search: SearchSettings,
    num_curves: int | None,
    num_splits: int,
    seed: int,
    workers: int | None,
    num_next: int,
    acquisition: Acquisition,
    budget_assumed: bool,
) -> FoundMixture:
    """What `proxymix propose` finds, whose help explains the parameters; nothing is written.

    Raises:
        InputError: If the domains differ from the fit's, no mixture keeps the limits, or none keeps the ceilings.
    """
    for name, value in (("num_curves", num_curves or 0), ("num_splits", num_splits), ("num_next", num_next)):
        if value < 0:
            raise InputError(f"{name} is {value}; 0 or more is wanted")
    # ---- 1. What is asked: the objective, the allowed mixtures, the baselines
    minimised = fitted.objective if objective is None else fitted.objective_of(objective)
    known = None if domains is None else Domains.read(domains).aligned(fitted.domains, domains)
    prior = fitted.runs.weights.mean(axis=0) if known is None else known.prior
    counts = None if known is None else known.true_tokens.astype(float)
    feasible = FeasibleSet.of(constraints, fitted.domains, prior, counts, domains)
    if fitted.preset == "regmix":
        search = SearchSettings("simulation", search.num_candidates or 100_000, search.num_averaged, 0.0)
    baselines = baselines_of(fitted, minimised, prior, heuristic, has_prior=known is not None)

    # ---- 2. Search, and compare
    how = FitSearch(minimised, feasible, prior, search.resolved(is_smooth(fitted, minimised)))
    found = propose_mixture(fitted, how, baselines, num_curves, num_splits, seed, workers)
    assert abs(found.weights.sum() - 1) < FEASIBLE
    assert feasible.holds(found.weights[None])[0]

    # ---- 3. The tables, the mixtures to train next, and the proposal
    rows = {
        "candidates": tables.candidate_rows(fitted, minimised, found, feasible),
        "gains": tables.gain_rows(found.baselines),
        "line": tables.line_rows(fitted, minimised, prior, found.weights),
    }
    epochs = None
    if known is not None and constraints.budget is not None:
        epochs = tables.epochs_of(known, found.weights, constraints.budget)
        rows["epochs"] = tables.epoch_rows(known, found.weights, constraints.budget, feasible.limits.upper)
    if len(found.optima):
        rows["weights"] = tables.weight_rows(fitted.domains, prior, found.weights, found.optima)
        others = np.vstack([*baselines.values(), found.optima, *(result.weights for result in found.found)])
        rng = np.random.default_rng([seed, 2])
        as_good = near_optimal(fitted, found.samples, minimised, feasible, prior, found.weights, others, rng)
        rows["near_optimal"] = tables.near_optimal_rows(fitted, minimised, found.weights, as_good)
    following = None
    if num_next:
        choice = NextRuns(fitted, minimised, feasible)
        following = next_sweep(choice, num_next, np.random.default_rng([seed, 3]), acquisition)
    proposal = _proposal(fitted, how, found, baselines, epochs, constraints, seed, tokens, budget_assumed)
    mixture = tables.mixture_rows(feasible, found.weights, epochs, constraints)
    validated = [domain for domain in map(loss_domain, fitted.targets) if domain in fitted.domains]
    return FoundMixture(proposal, mixture, rows, validated, following)


def _proposal(
    fitted: FittedModel,
    how: FitSearch,
    found: ProposedMixture,
    baselines: Mapping[str, np.ndarray],
    epochs: np.ndarray | None,
    constraints: Constraints,
    seed: int,
    tokens: Path | None,
    budget_assumed: bool,
) -> Proposal:
    """What optimal_mixture.yaml holds."""

    def by_domain(values: np.ndarray) -> dict[str, float]:
        return dict(zip(fitted.domains, map(float, values), strict=True))

    ends = np.stack(sample_interval(found.optima), axis=1).tolist() if len(found.optima) else None
    search = {**asdict(how.settings), "found_by": found.found[0].method, "seed": seed, "gap": found.found[0].gap}
    asked = {name: getattr(constraints, name) for name in ("limits", "groups", "max_distance", "max_domains")}
    tokenizer, budget = read_tokens_manifest(tokens).tokenizer if tokens else {}, constraints.budget
    return Proposal(
        by_domain(found.weights),
        objective=how.objective.spec,
        asked=how.objective.describe(),
        verdict=verdict(found.baselines, fitted.ranks),
        confidence=CONFIDENCE,
        predicted=predicted(fitted, how.objective, found.weights, baselines, found.cross_fitting),
        baselines=found.baselines,
        weight_intervals=dict(zip(fitted.domains, ends, strict=True)) if ends else None,
        budget=budget,
        budget_assumed=True if budget_assumed and budget is not None else None,
        max_epochs=constraints.max_epochs if budget is not None else None,
        epochs=by_domain(epochs) if epochs is not None else None,
        caps=by_domain(how.feasible.limits.upper) if budget is not None else None,
        support=_support(fitted, found.weights),
        regression={"model": fitted.model, "num_runs": len(fitted.runs.index), "inputs": fitted.inputs},
        search={key: value for key, value in search.items() if value is not None}
        | {name: value for name, value in asked.items() if value},
        tokenizer={key: tokenizer[key] for key in ("name", "sha256") if key in tokenizer} if tokens else None,
        data={"manifest_sha256": sha256(Path(tokens) / "manifest.json")} if tokens else None,
    )


def _support(fitted: FittedModel, weights: np.ndarray) -> dict[str, Any]:
    """How far the mixture is from what was trained, and which of its domains no run had."""
    near, largest = support(fitted.runs.weights, weights), fitted.runs.weights.max(axis=0)
    untrained = [name for name, w, most in zip(fitted.domains, weights, largest, strict=True) if w > 0 == most]
    return {
        "nearest_run": fitted.runs.index[near.nearest],
        "distance": near.distance,
        "between_runs": {"median": near.typical, "largest": near.farthest},
        "far_from_runs": near.outside,
        "untrained_domains": untrained,
    }
