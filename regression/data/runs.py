"""The runs of a sweep as values: their mixtures and losses, and why a run could not be used."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mixture_config.files.mixture_table import Key, MixtureTable
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.schemas import loss_domain, plain_name
from proxymix.tables import write_table

MAX_LINES = 20
"""Lines, and runs named in a line, that a message lists."""


@dataclass(frozen=True)
class LeftOut:
    """Why a run cannot be used: the column at fault (empty when it is the whole row), its value, and what is wrong."""

    key: Key
    column: str
    value: str
    problem: str


@dataclass(frozen=True)
class Runs:
    """Mixtures and what was measured on them.

    Attributes:
        index: The key of each run.
        domains: Names of the weights.
        targets: Loss columns, as the file names them.
        weights: Shape (num_runs, num_domains). Rows sum to 1.
        losses: Shape (num_runs, num_targets).
        left_out: Runs of the files that are not among these.
    """

    index: list[Key]
    domains: list[str]
    targets: list[str]
    weights: np.ndarray
    losses: np.ndarray
    left_out: tuple[LeftOut, ...] = ()

    @property
    def mixtures(self) -> MixtureTable:
        """The mixtures alone."""
        return MixtureTable(self.index, self.domains, self.weights)

    def rows(self, keep: np.ndarray) -> "Runs":
        """Some of the runs; `keep` is a mask of shape (num_runs,)."""
        index = [run for run, kept in zip(self.index, keep, strict=True) if kept]
        return replace(self, index=index, weights=self.weights[keep], losses=self.losses[keep])


def write_losses(path: Path, index: Sequence[Key], targets: Sequence[str], losses: np.ndarray) -> None:
    """Write losses.csv: index, and the loss columns at full precision."""
    rows = [(key, *map(float, row)) for key, row in zip(index, losses, strict=True)]
    write_table(path, ("index", *targets), rows)


def resolve_targets(names: Sequence[str], columns: Sequence[str], where: str) -> list[str]:
    """Loss columns for names that are columns or domains (`pile_cc` stands for `metric/pile_cc_val_loss`).

    Raises:
        InputError: If a name is neither (the nearest is suggested), or one column is named twice.
    """
    by_domain = {loss_domain(column): column for column in columns}
    resolved: list[str] = []
    for name in names:
        column = name if name in columns else by_domain.get(plain_name(loss_domain(name)))
        if column is None:
            near = difflib.get_close_matches(name, [*columns, *by_domain], n=1, cutoff=0.0)
            hint = f"; nearest: {near[0]}" if near else ""
            raise InputError(f"{where}: no target {name!r}{hint} (there are {some(list(by_domain))})")
        if column in resolved:
            raise InputError(f"{where}: the target {column!r} is named twice")
        resolved.append(column)
    return resolved


def problem_lines(problems: Sequence[LeftOut], key: str) -> str:
    """A line for each kind of problem, with the runs that have it."""
    texts: dict[str, list[str]] = {}
    for problem in problems:
        cell = f"{problem.column} is {problem.value}, " if problem.value else ""
        texts.setdefault(f"{cell}{problem.problem}", []).append(str(problem.key))
    lines = [f"  {key} {some(runs, MAX_LINES)}: {text}" for text, runs in texts.items()]
    more = [f"  and {len(lines) - MAX_LINES} more"] if len(lines) > MAX_LINES else []
    return "\n".join(lines[:MAX_LINES] + more)
