"""mixtures.csv + losses.csv -> runs: one row a run, weights over domains and measured losses side by side.

Rows meet by key (`index`, else `run`, else `name`), never by position, so files may be in any order. Reads RegMix's
columns (`train_<domain>`, `metric/<domain>_val_loss`) and plain ones (Olmix's, with their unnamed first column).
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixture_config.mixtures import KEYS, Key, mixtures_of, numbers_of, row_keys, some
from proxymix.errors import InputError
from proxymix.schemas import loss_domain, read_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Runs:
    """Mixtures and what was measured on them, in the order of `index`; `targets` are loss columns as in the file."""

    index: list[Key]
    domains: list[str]
    targets: list[str]
    weights: np.ndarray  # (num_runs, num_domains), rows sum to 1
    losses: np.ndarray  # (num_runs, num_targets)


def read_runs(mixtures: Path, losses: Path, targets: Sequence[str] | None = None) -> Runs:
    """Join mixtures and losses on their key, sorted by it.

    Args:
        mixtures: CSV with `index` (or `run`, `name`) and a column of weights per domain.
        losses: CSV with the same key and a column per target.
        targets: Loss columns, or domain names standing for them; by default every `metric/<domain>_val_loss`, and if
            there is none, every column of numbers.

    Raises:
        InputError: If rows do not match one to one, or a weight or loss is missing, not a number, or not finite.
    """
    left, right = read_table(mixtures), read_table(losses)
    key = next((k for k in KEYS if k in left.columns and k in right.columns), None)
    if key is None:
        raise InputError(
            f"{losses}: no key column shared with {mixtures}; both need one of {', '.join(KEYS)} "
            f"(found {some(right.columns)} and {some(left.columns)})"
        )
    left_index, right_index = row_keys(left, key, mixtures), row_keys(right, key, losses)
    _check_keys_match(left_index, right_index, key, mixtures, losses)
    table = mixtures_of(left, left_index, key, mixtures)
    columns = _target_columns(right, targets, losses)
    values = numbers_of(right, columns, right_index, key, losses)
    index = sorted(left_index)  # all numbers or all text
    left_rows, right_rows = [{run: row for row, run in enumerate(rows)} for rows in (left_index, right_index)]
    left_order, right_order = [left_rows[run] for run in index], [right_rows[run] for run in index]
    return Runs(index, table.domains, columns, table.weights[left_order], values[right_order])


def resolve_targets(names: Sequence[str], columns: Sequence[str], where: str) -> list[str]:
    """Loss columns for names that are columns or domains (`pile_cc` stands for `metric/pile_cc_val_loss`).

    Raises:
        InputError: If a name is neither (the nearest is suggested), or one column is named twice.
    """
    by_domain = {loss_domain(column): column for column in columns}
    resolved: list[str] = []
    for name in names:
        column = name if name in columns else by_domain.get(name)
        if column is None:
            near = difflib.get_close_matches(name, [*columns, *by_domain], n=1, cutoff=0.0)
            hint = f"; nearest: {near[0]}" if near else ""
            raise InputError(f"{where}: no target {name!r}{hint} (there are {some(list(by_domain))})")
        if column in resolved:
            raise InputError(f"{where}: the target {column!r} is named twice")
        resolved.append(column)
    return resolved


def align_domains(weights: np.ndarray, domains: Sequence[str], wanted: Sequence[str], where: str) -> np.ndarray:
    """`weights` with its columns in the order of `wanted`.

    Raises:
        InputError: If the two do not name the same domains.
    """
    missing = [d for d in wanted if d not in set(domains)]
    extra = [d for d in domains if d not in set(wanted)]
    if missing or extra:
        parts = [f"lacks {some(missing)}"] if missing else []
        parts += [f"has the unknown {some(extra)}"] if extra else []
        raise InputError(f"{where}: {' and '.join(parts)}; the fit's domains are {some(wanted, 40)}")
    return np.asarray(weights)[..., [list(domains).index(d) for d in wanted]]


def _check_keys_match(left: Sequence[Key], right: Sequence[Key], key: str, mixtures: Path, losses: Path) -> None:
    if {type(v) for v in left} != {type(v) for v in right}:
        raise InputError(f"{losses}: {key} {right[0]!r} cannot meet {left[0]!r} in {mixtures}; write both the same way")
    no_loss, no_mixture = [v for v in left if v not in set(right)], [v for v in right if v not in set(left)]
    if no_loss:
        raise InputError(
            f"{losses}: {len(no_loss)} of {len(left)} runs of {mixtures} have no loss ({key} {some(no_loss)}). "
            f"Train them, or remove their rows from {mixtures}"
        )
    if no_mixture:
        raise InputError(
            f"{mixtures}: {len(no_mixture)} of {len(right)} runs of {losses} have no mixture "
            f"({key} {some(no_mixture)}). Add their mixtures, or remove their rows from {losses}"
        )


def _target_columns(table: "pd.DataFrame", targets: Sequence[str] | None, path: Path) -> list[str]:
    columns = [str(c) for c in table.columns if c not in KEYS and not str(c).startswith("Unnamed:")]
    if targets is not None:
        return resolve_targets(targets, columns, str(path))
    losses = [c for c in columns if loss_domain(c) != c] or [c for c in columns if table[c].dtype.kind in "iuf"]
    if not losses:
        raise InputError(f"{path}: no column of losses (metric/<domain>_val_loss); found {some(table.columns)}")
    return losses
