"""A proposed mixture -> the tables beside it: candidates, gains, weights, near_optimal, line and epochs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture import train_column
from proxymix.files import remove
from proxymix.schemas import Domains
from proxymix.tables import write_table
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.search.compare import STDS_TO_90
from regression.search.feasible_set import FeasibleSet
from regression.search.proposal import BaselinePrediction
from regression.search.proposed_mixture import ProposedMixture
from regression.search.uncertainty import sample_interval

Rows = list[dict[str, Any]]
NUM_LINE = 21
"""Mixtures from the prior to the proposal, both included."""
TABLES = ("candidates", "gains", "weights", "near_optimal", "line", "epochs")


def write_tables(folder: Path, tables: dict[str, Rows]) -> None:
    """Write FOLDER/candidates.csv and so on; a table without rows is removed, since it is of an earlier proposal."""
    for name in TABLES:
        if rows := tables.get(name):
            write_table(folder / f"{name}.csv", list(rows[0]), [tuple(row.values()) for row in rows])
        else:
            remove(folder / f"{name}.csv")


def candidate_rows(fitted: FittedModel, objective: Objective, proposed: ProposedMixture, feasible: FeasibleSet) -> Rows:
    """What the searches ended with, best first, and what halves of the runs proposed, as the other half predicts it."""
    found, halves = proposed.found, proposed.cross_fitting
    proposals = [] if halves is None else list(halves.proposals)
    X = np.array([*(result.weights for result in found), *proposals])
    mean, std = fitted.predict_objective(X, objective, noise=False)
    names = [result.method for result in found] + ["half of the runs"] * len(proposals)
    held_out: list[Any] = [""] * len(found) + ([] if halves is None else halves.held_out.tolist())
    return [
        {
            "index": i,
            "method": names[i],
            "objective": float(mean[i]),
            "std": float(std[i]),
            "judged": held_out[i],
            "distance": float(feasible.distance(X[i : i + 1])[0]),
            **_weights(fitted.domains, X[i]),
        }
        for i in range(len(X))
    ]


def gain_rows(baselines: dict[str, BaselinePrediction]) -> Rows:
    """The gain over each baseline."""
    return [
        {
            "baseline": name,
            "gain": entry.gain.mean,
            "judged": "" if entry.held_out_gain is None else entry.held_out_gain,
            "low": entry.gain.low,
            "high": entry.gain.high,
            "feasible": entry.feasible,
        }
        for name, entry in baselines.items()
    ]


def line_rows(fitted: FittedModel, objective: Objective, prior: np.ndarray, proposal: np.ndarray) -> Rows:
    """The objective between the prior and the proposal, with its interval by the fit's standard deviation."""
    steps = np.linspace(0, 1, NUM_LINE)
    X = prior + steps[:, None] * (proposal - prior)
    mean, std = fitted.predict_objective(X, objective, noise=False)
    low, high = mean - STDS_TO_90 * std, mean + STDS_TO_90 * std
    columns = zip(steps, mean, low, high, strict=True)
    return [{"step": float(s), "mean": float(m), "low": float(a), "high": float(b)} for s, m, a, b in columns]


def epoch_rows(domains: Domains, proposal: np.ndarray, budget: int, upper: np.ndarray) -> Rows:
    """Passes of the final training over each domain, and how many its cap allows."""
    epochs, caps = epochs_of(domains, proposal, budget), epochs_of(domains, upper, budget)
    columns = zip(domains.names, domains.tokens.tolist(), proposal, epochs, caps, strict=True)
    return [
        {"domain": d, "tokens": t, "weight": float(w), "epochs": float(e), "cap": float(c)} for d, t, w, e, c in columns
    ]


def epochs_of(domains: Domains, weights: np.ndarray, budget: int) -> np.ndarray:
    """weight x budget / tokens, 0 for a domain without tokens; shape (num_domains,)."""
    counts = domains.tokens.astype(float)
    return np.where(counts > 0, weights * budget / np.maximum(counts, 1), 0.0)


def weight_rows(domains: Sequence[str], prior: np.ndarray, proposal: np.ndarray, optima: np.ndarray) -> Rows:
    """Each weight of the proposal, with its interval among the optima of posterior samples."""
    low, high = sample_interval(optima)
    columns = zip(domains, prior, proposal, low, high, strict=True)
    return [
        {"domain": d, "prior": float(p), "weight": float(w), "low": float(a), "high": float(b)}
        for d, p, w, a, b in columns
    ]


def near_optimal_rows(fitted: FittedModel, objective: Objective, proposal: np.ndarray, X: np.ndarray) -> Rows:
    """Mixtures that the runs cannot tell from the proposal, and how far they are predicted to be better."""
    if not len(X):
        return []
    values = fitted.mean_objective(np.vstack([proposal, X]), objective)
    return [
        {
            "index": i,
            "objective": float(value),
            "gain": float(values[0] - value),
            **_weights(fitted.domains, weights),
        }
        for i, (value, weights) in enumerate(zip(values[1:], X, strict=True), start=1)
    ]


def _weights(domains: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    return {train_column(domain): float(weight) for domain, weight in zip(domains, weights, strict=True)}
