"""mixtures.csv + losses.csv -> runs: one row a run, weights over domains and measured losses side by side.

Rows meet by key (`index`, else `run`, else `name`), never by position, so files may be in any order. Reads RegMix's
columns (`train_<domain>`, `metric/<domain>_val_loss`) and plain ones (Olmix's, with their unnamed first column).
"""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from proxymix.errors import InputError
from proxymix.progress import say
from proxymix.schemas import SUM_TOLERANCE, check_domain_name, loss_domain, read_table

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("index", "run", "name")
TRAIN_PREFIX = "train_"
Key = int | str
ROUNDING = 1e-9  # a sum closer to 1 than this is arithmetic, not rounded weights: nothing to mention


@dataclass(frozen=True)
class Mixtures:
    """Weights of many mixtures: row i is the mixture `index[i]`, column j the domain `domains[j]`; rows sum to 1."""

    index: list[Key]
    domains: list[str]
    weights: np.ndarray  # (num_runs, num_domains)


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
            f"(found {_some(right.columns)} and {_some(left.columns)})"
        )
    left_index, right_index = _index(left, key, mixtures), _index(right, key, losses)
    _check_keys_match(left_index, right_index, key, mixtures, losses)
    domains, weights = _weights(left, left_index, key, mixtures)
    columns = _target_columns(right, targets, losses)
    values = _numbers(right, columns, right_index, key, losses)
    index = sorted(left_index)  # all numbers or all text
    left_rows, right_rows = [{run: row for row, run in enumerate(rows)} for rows in (left_index, right_index)]
    left_order, right_order = [left_rows[run] for run in index], [right_rows[run] for run in index]
    return Runs(index, domains, columns, weights[left_order], values[right_order])


def read_mixtures(path: Path) -> Mixtures:
    """The mixtures of one CSV, in the file's order.

    Raises:
        InputError: If there is no key column, a key repeats, or a row of weights does not sum to 1 within 1e-2.
    """
    table = read_table(path)
    key = next((k for k in KEYS if k in table.columns), None)
    if key is None:
        raise InputError(f"{path}: no key column; one of {', '.join(KEYS)} is needed (found {_some(table.columns)})")
    index = _index(table, key, path)
    return Mixtures(index, *_weights(table, index, key, path))


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
            raise InputError(f"{where}: no target {name!r}{hint} (there are {_some(list(by_domain))})")
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
        parts = [f"lacks {_some(missing)}"] if missing else []
        parts += [f"has the unknown {_some(extra)}"] if extra else []
        raise InputError(f"{where}: {' and '.join(parts)}; the fit's domains are {_some(wanted, 40)}")
    return np.asarray(weights)[..., [list(domains).index(d) for d in wanted]]


def _index(table: "pd.DataFrame", key: str, path: Path) -> list[Key]:
    column = table[key]
    if column.isna().any():
        raise InputError(f"{path}: {_rows(np.flatnonzero(column.isna()))} no {key!r}; fill it in or remove the row")
    index: list[Key] = [int(v) for v in column] if column.dtype.kind in "iu" else [str(v).strip() for v in column]
    twice = [run for run, count in Counter(index).items() if count > 1]
    if twice:
        raise InputError(f"{path}: {key} {_some(twice)} is there more than once; keep one row a run")
    return index


def _check_keys_match(left: Sequence[Key], right: Sequence[Key], key: str, mixtures: Path, losses: Path) -> None:
    if {type(v) for v in left} != {type(v) for v in right}:
        raise InputError(f"{losses}: {key} {right[0]!r} cannot meet {left[0]!r} in {mixtures}; write both the same way")
    no_loss, no_mixture = [v for v in left if v not in set(right)], [v for v in right if v not in set(left)]
    if no_loss:
        raise InputError(
            f"{losses}: {len(no_loss)} of {len(left)} runs of {mixtures} have no loss ({key} {_some(no_loss)}). "
            f"Train them, or remove their rows from {mixtures}"
        )
    if no_mixture:
        raise InputError(
            f"{mixtures}: {len(no_mixture)} of {len(right)} runs of {losses} have no mixture "
            f"({key} {_some(no_mixture)}). Add their mixtures, or remove their rows from {losses}"
        )


def _weights(table: "pd.DataFrame", index: Sequence[Key], key: str, path: Path) -> tuple[list[str], np.ndarray]:
    columns = [c for c in table.columns if str(c).startswith(TRAIN_PREFIX)]
    if not columns:
        columns = [c for c in table.columns if c not in KEYS and not str(c).startswith("Unnamed:")]
    domains = [check_domain_name(str(c).removeprefix(TRAIN_PREFIX), str(path)) for c in columns]
    if not domains:
        raise InputError(f"{path}: no columns of weights (train_<domain>); found {_some(table.columns)}")
    weights = _numbers(table, columns, index, key, path)
    for row, column in np.argwhere(weights < 0):
        raise InputError(
            f"{path}: {columns[column]} of {key} {index[row]} is {weights[row, column]:g}, below 0; correct it"
        )
    sums = weights.sum(axis=1)
    off = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
    if len(off):
        raise InputError(
            f"{path}: the weights of {len(off)} of {len(index)} rows do not sum to 1 ({key} {index[off[0]]} sums to "
            f"{sums[off[0]]:.6g} over {len(domains)} columns, {columns[0]} to {columns[-1]}); correct the rows, or remove "
            "columns that are no domain's"
        )
    rounded = np.abs(sums - 1) > ROUNDING
    if rounded.any():
        low, high = sums[rounded].min(), sums[rounded].max()
        say(f"{path}: {rounded.sum()} of {len(index)} rows sum to {low:.4g} to {high:.4g}; renormalised to 1")
        weights = np.where(rounded[:, None], weights / sums[:, None], weights)
    return domains, weights


def _target_columns(table: "pd.DataFrame", targets: Sequence[str] | None, path: Path) -> list[str]:
    columns = [str(c) for c in table.columns if c not in KEYS and not str(c).startswith("Unnamed:")]
    if targets is not None:
        return resolve_targets(targets, columns, str(path))
    losses = [c for c in columns if loss_domain(c) != c] or [c for c in columns if table[c].dtype.kind in "iuf"]
    if not losses:
        raise InputError(f"{path}: no column of losses (metric/<domain>_val_loss); found {_some(table.columns)}")
    return losses


def _numbers(table: "pd.DataFrame", columns: Sequence[str], index: Sequence[Key], key: str, path: Path) -> np.ndarray:
    """The columns as finite floats, or an error that names the column and its first bad rows."""
    import pandas as pd

    values = np.column_stack([pd.to_numeric(table[c], errors="coerce").to_numpy(dtype=float) for c in columns])
    for position, column in enumerate(columns):
        bad = np.flatnonzero(~np.isfinite(values[:, position]))
        if len(bad):
            value = table[column].iloc[bad[0]]
            found = "empty" if pd.isna(value) else repr(value) if isinstance(value, str) else str(value)
            raise InputError(
                f"{path}: {column} of {key} {_some([index[int(row)] for row in bad])} is {found}, "
                f"not a finite number; correct it, or remove the run from both files"
            )
    return values


def _rows(rows: np.ndarray) -> str:
    lines = [int(row) + 2 for row in rows]  # the header is line 1
    return f"line {_some(lines)} has" if len(lines) == 1 else f"lines {_some(lines)} have"


def _some(values: object, most: int = 5) -> str:
    items = [str(v) for v in values]  # type: ignore[attr-defined]
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
