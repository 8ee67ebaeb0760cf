"""mixtures.csv + losses.csv -> runs: one row a run, weights over domains and measured losses side by side.

Rows meet by key (`index`, else `run`, else `name`), never by position, so files may be in any order. Reads RegMix's
columns (`train_<domain>`, `metric/<domain>_val_loss`) and plain ones (Olmix's, with their unnamed first column).
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixture_config.files.mixture import train_domain
from mixture_config.files.mixture_table import KEYS, Key, MixtureTable, row_keys
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import is_domain_loss, loss_domain
from proxymix.tables import line_of, read_table
from regression.data.columns import is_training_loss, kind_of
from regression.data.divergence import diverged, impossible
from regression.data.runs import LeftOut, Runs, problem_lines, resolve_targets
from regression.data.wandb_exports import from_export

if TYPE_CHECKING:
    import pandas as pd

OLMIX_KEYS = ("run", "name", "index")
"""The key columns of Olmix's tables. Their other columns are tasks, in bits per byte."""


def read_runs(
    mixtures: Path,
    losses: Path,
    targets: Sequence[str] | None = None,
    allow_missing: bool = False,
    renormalise: bool = True,
) -> Runs:
    """Join mixtures and losses on their key, sorted by it.

    A run is unusable if one of the files lacks it or has it twice, a loss is not a finite number, or the run diverged (see
    `diverged`). Domains without a loss of their own, and losses of no domain, are usual; they are mentioned on stderr.

    Args:
        mixtures: CSV with `index` (or `run`, `name`) and a column of weights per domain.
        losses: CSV with the same key and a column per target.
        targets: Loss columns, or domain names standing for them; by default every `metric/<domain>_val_loss`, and if
            there is none, every column that is a loss by its name (`kind_of`), or all metrics of a table of Olmix's.
        allow_missing: Leave unusable runs out, and say which.
        renormalise: Whether weights that were rounded to a sum near 1 are made to sum to 1.

    Raises:
        InputError: If runs are unusable (all are listed) and may not be left out, none remains, the files share no key,
            no column is a loss by its name and no targets are given, or a weight is not a number from 0 to 1.
    """
    mixtures, losses = Path(mixtures), Path(losses)
    left, right = read_table(mixtures), from_export(read_table(losses), losses)
    key = next((k for k in KEYS if k in left.columns and k in right.columns), None)
    if key is None:
        raise InputError(
            f"{losses}: no key column shared with {mixtures}; both need one of {', '.join(KEYS)} "
            f"(found {some(right.columns)} and {some(left.columns)})"
        )
    columns = _target_columns(right, targets, losses, _domains_of(left))
    left, right = _with_keys(left, key), _with_keys(right, key)
    problems = [*_repeated(left, key, mixtures), *_repeated(right, key, losses)]
    left, right = (table[~table[key].isna() & ~table[key].duplicated(keep=False)] for table in (left, right))
    left_rows, right_rows = _rows_by_key(left, key, mixtures), _rows_by_key(right, key, losses)
    problems += _unmatched(left_rows, right_rows, {p.key for p in problems}, mixtures, losses)
    _check_keys_agree(left, right, left_rows, right_rows, key, mixtures, losses)

    table = MixtureTable.from_frame(left, list(left_rows), key, mixtures, renormalise)
    index = sorted(left_rows.keys() & right_rows.keys())  # all numbers or all text
    weights = table.weights[[left_rows[run] for run in index]]
    right = right.iloc[[right_rows[run] for run in index]]
    values = _numbers(right, columns)
    problems += _unmeasured(right, values, columns, index)
    measured = Runs(index, table.domains, columns, weights, values)
    measured = measured.rows(np.isfinite(values).all(axis=1))
    wrong = impossible(measured)
    problems += wrong
    problems += diverged(measured.rows(~np.isin(measured.index, [p.key for p in wrong])))

    unusable, num_runs = {p.key for p in problems}, len({*left_rows, *right_rows, *(p.key for p in problems)})
    told = f"{losses}, joined with {mixtures}: {len(unusable)} of {num_runs} runs"
    if problems and not allow_missing:
        raise InputError(
            f"{told} cannot be used:\n{problem_lines(problems, key)}\n"
            "Correct them or train them again (`proxymix sweep` trains what is missing), or leave them out with --allow_missing"
        )
    if len(unusable) == num_runs:
        raise InputError(f"{told} cannot be used:\n{problem_lines(problems, key)}\nThat leaves none; correct the files")
    if problems:
        say(f"{told} are left out:\n{problem_lines(problems, key)}")
    if targets is None:
        _say_unmatched(table.domains, columns, losses)
    runs = Runs(index, table.domains, columns, weights, values, tuple(problems))
    return runs.rows(np.array([run not in unusable for run in index]))


def _with_keys(table: "pd.DataFrame", key: str) -> "pd.DataFrame":
    """The table with clean keys: whole numbers as such (a gap in the column made them floats), and text without spaces around."""
    column = table[key]
    if column.dtype.kind == "f" and (column.dropna() % 1 == 0).all():
        return table.assign(**{key: column.astype("Int64")})
    if column.dtype.kind in "iuf":
        return table
    return table.assign(**{key: column.astype(str).str.strip().where(column.notna())})


def _rows_by_key(table: "pd.DataFrame", key: str, path: Path) -> dict[Key, int]:
    return {run: row for row, run in enumerate(row_keys(table, key, path))}


def _repeated(table: "pd.DataFrame", key: str, path: Path) -> list[LeftOut]:
    """Rows without a key, and keys that are there more than once."""
    unnamed = [line_of(table, int(row)) for row in np.flatnonzero(table[key].isna())]
    counts = Counter(table[key].dropna().tolist())
    return [LeftOut(f"(line {line})", "", "", f"the key is empty in {path.name}") for line in unnamed] + [
        LeftOut(run, "", "", f"more than one row in {path.name}") for run, count in counts.items() if count > 1
    ]


def _unmatched(
    left: Mapping[Key, int], right: Mapping[Key, int], known: Container[Key], mixtures: Path, losses: Path
) -> list[LeftOut]:
    """Keys that only one of the files has, apart from those in `known`, which have a problem already."""
    if left and right and {type(run) for run in left} != {type(run) for run in right}:
        ours, theirs = (
            next((run for run in keys if isinstance(run, str) and not run.isdigit()), next(iter(keys)))
            for keys in (left, right)
        )  # one word makes all keys of its column text, so the message shows a key that is no number
        raise InputError(f"{losses}: the key {theirs!r} cannot meet {ours!r} in {mixtures}; write both the same way")
    no_loss = [LeftOut(run, "", "", f"no loss in {losses.name}") for run in left if run not in right]
    no_mixture = [LeftOut(run, "", "", f"no mixture in {mixtures.name}") for run in right if run not in left]
    return [problem for problem in no_loss + no_mixture if problem.key not in known]


def _check_keys_agree(
    left: "pd.DataFrame",
    right: "pd.DataFrame",
    left_rows: Mapping[Key, int],
    right_rows: Mapping[Key, int],
    key: str,
    mixtures: Path,
    losses: Path,
) -> None:
    """Stop if both files have a second key that pairs their rows in another way: a file was reordered without its index."""
    for other in KEYS:
        if other == key or other not in left.columns or other not in right.columns:
            continue
        ours, theirs = left[other].tolist(), right[other].tolist()
        if set(ours) != set(theirs) or len(set(ours)) < len(ours):
            continue  # the columns hold different things, or do not tell rows apart
        for run in left_rows.keys() & right_rows.keys():
            here, there = theirs[right_rows[run]], ours[left_rows[run]]
            if here != there:
                raise InputError(
                    f"{losses}: {key} {run} is {other} {here} here and {other} {there} in {mixtures}; "
                    "make the two keys agree, or remove the wrong one"
                )


def _domains_of(mixtures: "pd.DataFrame") -> set[str]:
    """Names that a table's columns of weights may stand for."""
    return {train_domain(str(column)) or str(column) for column in mixtures.columns if column not in KEYS}


def _target_columns(
    table: "pd.DataFrame", targets: Sequence[str] | None, path: Path, domains: Container[str]
) -> list[str]:
    """The loss columns that are asked for, else those that are losses by their names."""
    columns = [str(c) for c in table.columns if c not in KEYS and not str(c).startswith("Unnamed:")]
    if targets is not None:
        found = resolve_targets(targets, columns, str(path))
        if kept := [c for c in found if kind_of(c) == "bookkeeping"]:
            raise InputError(f"{path}: {some(kept)} says how a run went, not how good it is; leave it out of --targets")
    else:
        numbers = [c for c in columns if _holds_numbers(table[c])]
        found = [c for c in columns if is_domain_loss(c)] or _losses_by_name(table, numbers, path, domains)
    empty = [c for c in found if not np.isfinite(_numbers(table, [c])).any()]
    if empty:
        raise InputError(f"{path}: no numbers in {some(empty)}; leave it out with --targets, or remove the column")
    return found


def _losses_by_name(table: "pd.DataFrame", columns: Sequence[str], path: Path, domains: Container[str]) -> list[str]:
    """Columns of numbers whose names say that they are losses of held-out data, or that have a domain's name.

    Raises:
        InputError: If there are none.
    """
    results = [c for c in columns if kind_of(c) != "bookkeeping"]
    if all(key in table.columns for key in OLMIX_KEYS):  # names of tasks, with their bits per byte
        found = results
    else:
        found = [c for c in results if kind_of(c) == "loss" and not is_training_loss(c)]
        found = found or [c for c in results if c in domains and np.nanmax(_numbers(table, [c])) > 1]  # 1: no weights
    if not found:
        why = "are no losses by their names" if len(results) > 1 else "is no loss by its name"
        if not results:
            raise InputError(f"{path}: no column of losses (metric/<domain>_val_loss); found {some(columns)}")
        raise InputError(
            f"{path}: no column is named as the loss of a domain (metric/<domain>_val_loss), and {some(results)} {why}; "
            f"name what is to be predicted, as --targets {results[0]}, and if more of it is better, add --objective "
            f"'{{maximise: {results[0]}}}'"
        )
    if others := [c for c in results if c not in found]:
        say(
            f"{path}: {some(others)} {'is' if len(others) == 1 else 'are'} left out, no loss by name; --targets takes more"
        )
    return found


def _holds_numbers(column: "pd.Series") -> bool:
    """Whether a column holds mostly numbers, so that a word in it is a mistake rather than a note."""
    import pandas as pd

    present = column.dropna()
    return column.dtype.kind != "b" and bool(pd.to_numeric(present, errors="coerce").notna().mean() > 0.5)


def _numbers(table: "pd.DataFrame", columns: Sequence[str]) -> np.ndarray:
    """Columns as floats, shape (num_rows, num_columns); what is not a number is nan."""
    import pandas as pd

    return np.column_stack([pd.to_numeric(table[c], errors="coerce").to_numpy(dtype=float) for c in columns])


def _unmeasured(
    table: "pd.DataFrame", values: np.ndarray, columns: Sequence[str], index: Sequence[Key]
) -> list[LeftOut]:
    """Rows with a loss that is not a finite number: the first such column, and how many more there are."""
    found = []
    for row in map(int, np.flatnonzero(~np.isfinite(values).all(axis=1))):
        bad = [columns[i] for i in map(int, np.flatnonzero(~np.isfinite(values[row])))]
        more = f" (nor are {len(bad) - 1} more columns)" if len(bad) > 1 else ""
        found.append(LeftOut(index[row], bad[0], str(table[bad[0]].iloc[row]), f"not a finite number{more}"))
    return found


def _say_unmatched(domains: Sequence[str], targets: Sequence[str], path: Path) -> None:
    """Mention domains without a loss and losses without a domain, where losses are named by domains."""
    named = {loss_domain(target) for target in targets if is_domain_loss(target)}
    if not named:
        return
    silent = [domain for domain in domains if domain not in named]
    strange = [domain for domain in named if domain not in domains]
    if silent:
        say(f"{path}: {len(silent)} of {len(domains)} domains have no loss of their own ({some(silent)})")
    if strange:
        say(f"{path}: {len(strange)} of {len(targets)} losses are of no domain that is mixed ({some(sorted(strange))})")
