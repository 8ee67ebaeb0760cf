"""A proposed mixture -> the tables beside it: candidates, gains, weights, near_optimal, line and epochs."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture import train_column
from mixture_config.geometry.constraints import Constraints
from mixture_config.geometry.tolerances import FILE_ROUNDING
from proxymix.files import remove
from proxymix.schemas import Domains
from proxymix.tables import write_table
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.search.compare import STDS_TO_ENDS
from regression.search.feasible_set import FeasibleSet
from regression.search.proposal import BaselinePrediction
from regression.search.proposed_mixture import ProposedMixture
from regression.search.uncertainty import sample_interval

Rows = list[dict[str, Any]]
NUM_LINE = 21
"""Mixtures from the prior to the proposal, both included."""
TABLES = ("candidates", "gains", "weights", "near_optimal", "line", "epochs")


def write_tables(folder: Path, tables: Mapping[str, Rows]) -> None:
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
    about = {"index": range(len(X)), "method": names, "objective": mean, "std": std, "judged": held_out}
    return _rows(**about, distance=feasible.distance(X), **_weights(fitted.domains, X))


def gain_rows(baselines: dict[str, BaselinePrediction]) -> Rows:
    """The gain over each baseline."""
    entries = baselines.values()
    return _rows(
        baseline=baselines,
        gain=[entry.gain.mean for entry in entries],
        judged=["" if entry.held_out_gain is None else entry.held_out_gain for entry in entries],
        low=[entry.gain.low for entry in entries],
        high=[entry.gain.high for entry in entries],
        feasible=[entry.feasible for entry in entries],
    )


def line_rows(fitted: FittedModel, objective: Objective, prior: np.ndarray, proposal: np.ndarray) -> Rows:
    """The objective between the prior and the proposal, with its interval by the fit's standard deviation."""
    steps = np.linspace(0, 1, NUM_LINE)
    mean, std = fitted.predict_objective(prior + steps[:, None] * (proposal - prior), objective, noise=False)
    return _rows(step=steps, mean=mean, low=mean - STDS_TO_ENDS * std, high=mean + STDS_TO_ENDS * std)


def epoch_rows(domains: Domains, proposal: np.ndarray, budget: int, upper: np.ndarray) -> Rows:
    """Passes of the final training over each domain, and how many its cap allows."""
    epochs, caps = epochs_of(domains, proposal, budget), epochs_of(domains, upper, budget)
    return _rows(domain=domains.names, tokens=domains.true_tokens, weight=proposal, epochs=epochs, cap=caps)


def epochs_of(domains: Domains, weights: np.ndarray, budget: int) -> np.ndarray:
    """weight x budget / tokens, 0 for a domain without tokens; shape (num_domains,)."""
    counts = domains.true_tokens.astype(float)
    epochs = np.where(counts > 0, weights * budget / np.maximum(counts, 1), 0.0)
    return np.array([float(f"{value:.12g}") for value in epochs])  # 4, where rounding leaves 4.000000000000001


def mixture_rows(
    feasible: FeasibleSet, weights: np.ndarray, epochs: np.ndarray | None, constraints: Constraints
) -> Rows:
    """Weight, prior and epochs of each domain, and what keeps its weight from being larger or smaller."""
    limits = feasible.limits
    bound_by = [""] * len(weights)
    for i, (weight, low, high) in enumerate(zip(weights, limits.lower, limits.upper, strict=True)):
        if high == 0:
            bound_by[i] = "no tokens or limit 0"
        elif high < 1 and weight >= high - FILE_ROUNDING:
            most = constraints.max_epochs
            fed = epochs is not None and most is not None and epochs[i] >= most * (1 - FILE_ROUNDING)
            bound_by[i] = f"capped by max_epochs {most:g}" if fed else f"capped by its limit {high:.4g}"
        elif low > 0 and weight <= low + FILE_ROUNDING:
            bound_by[i] = f"held up by its limit {low:.4g}"
    for group in limits.groups:
        total = weights[list(group.members)].sum()
        ends = (
            ("capped", group.upper, total >= group.upper - FILE_ROUNDING and group.upper < 1),
            (
                "held up",
                group.lower,
                total <= group.lower + FILE_ROUNDING and group.lower > 0,
            ),
        )
        for word, bound, binds in ends:
            for i in group.members if binds else ():
                bound_by[i] = ", ".join(filter(None, [bound_by[i], f"{word} with {group.name} at {bound:.4g}"]))
    columns = {"domain": limits.names, "weight": weights, "prior": feasible.prior}
    return _rows(**columns, **({} if epochs is None else {"epochs": epochs}), bound_by=bound_by)


def weight_rows(domains: Sequence[str], prior: np.ndarray, proposal: np.ndarray, optima: np.ndarray) -> Rows:
    """Each weight of the proposal, with its interval among the optima of posterior samples."""
    low, high = sample_interval(optima)
    return _rows(domain=domains, prior=prior, weight=proposal, low=low, high=high)


def near_optimal_rows(fitted: FittedModel, objective: Objective, proposal: np.ndarray, X: np.ndarray) -> Rows:
    """Mixtures that the runs cannot tell from the proposal, and how far they are predicted to be better."""
    if not len(X):
        return []
    values = fitted.mean_objective(np.vstack([proposal, X]), objective)
    index = range(1, len(X) + 1)
    return _rows(index=index, objective=values[1:], gain=values[0] - values[1:], **_weights(fitted.domains, X))


def _weights(domains: Sequence[str], X: np.ndarray) -> dict[str, np.ndarray]:
    return {train_column(domain): weights for domain, weights in zip(domains, X.T, strict=True)}


def _rows(**columns: Iterable[Any]) -> Rows:
    """Rows of columns, with numpy's numbers as Python's."""
    values = [column.tolist() if isinstance(column, np.ndarray) else column for column in columns.values()]
    return [dict(zip(columns, row, strict=True)) for row in zip(*values, strict=True)]
