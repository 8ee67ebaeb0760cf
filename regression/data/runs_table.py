"""mixtures.csv + losses.csv -> runs: one row a run, weights over domains and measured losses side by side.

Rows meet by key (`index`, else `run`, else `name`), never by position, so files may be in any order. Reads RegMix's
columns (`train_<domain>`, `metric/<domain>_val_loss`) and plain ones (Olmix's, with their unnamed first column).
"""

import difflib
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixture_config.files.mixture_table import KEYS, Key, mixtures_of, row_keys
from proxymix.errors import InputError
from proxymix.files import read_yaml
from proxymix.messages import some
from proxymix.progress import progress, say
from proxymix.schemas import loss_domain, run_id
from proxymix.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

MOST_LINES = 20  # of a list in a message
FEWEST_TO_COMPARE = 8  # runs from which on one can be said to be far off the rest
FAR_DOMAIN, FAR_METRIC = 6.0, 20.0
NARROWEST = 0.05  # least spread of log losses: 6 of it are 35% above the median


@dataclass(frozen=True)
class LeftOut:
    """Why a run cannot be used: the column at fault (empty when it is the row), what stands there, and what is wrong."""

    key: Key
    column: str
    value: str
    problem: str


@dataclass(frozen=True)
class Runs:
    """Mixtures and what was measured on them, in the order of `index`; `targets` are loss columns as in the file."""

    index: list[Key]
    domains: list[str]
    targets: list[str]
    weights: np.ndarray  # (num_runs, num_domains), rows sum to 1
    losses: np.ndarray  # (num_runs, num_targets)
    left_out: tuple[LeftOut, ...] = ()


def read_runs(
    mixtures: Path,
    losses: Path,
    targets: Sequence[str] | None = None,
    allow_missing: bool = False,
    renormalise: bool = True,
) -> Runs:
    """Join mixtures and losses on their key, sorted by it.

    A run is unusable if one of the files lacks it or has it twice, a loss is no finite number, or the run diverged (see
    `diverged`). Domains without a loss of their own and losses of no domain are usual, and mentioned.

    Args:
        mixtures: CSV with `index` (or `run`, `name`) and a column of weights per domain.
        losses: CSV with the same key and a column per target.
        targets: Loss columns, or domain names standing for them; by default every `metric/<domain>_val_loss`, and if
            there is none, every column of numbers.
        allow_missing: Leave unusable runs out, and say which.
        renormalise: Whether weights that were rounded to a sum near 1 are made to sum to 1.

    Raises:
        InputError: If runs are unusable (all are listed) and may not be left out, none remains, the files share no key,
            or a weight is no number from 0 to 1.
    """
    mixtures, losses = Path(mixtures), Path(losses)
    left, right = read_table(mixtures), read_table(losses)
    key = next((k for k in KEYS if k in left.columns and k in right.columns), None)
    if key is None:
        raise InputError(
            f"{losses}: no key column shared with {mixtures}; both need one of {', '.join(KEYS)} "
            f"(found {some(right.columns)} and {some(left.columns)})"
        )
    columns = _target_columns(right, targets, losses)
    left, right = _with_keys(left, key), _with_keys(right, key)
    problems = [*_repeated(left, key, mixtures), *_repeated(right, key, losses)]
    left, right = (table[~table[key].isna() & ~table[key].duplicated(keep=False)] for table in (left, right))
    left_rows, right_rows = _rows_by_key(left, key, mixtures), _rows_by_key(right, key, losses)
    problems += _unmatched(left_rows, right_rows, {p.key for p in problems}, mixtures, losses)
    _check_keys_agree(left, right, left_rows, right_rows, key, mixtures, losses)

    table = mixtures_of(left, list(left_rows), key, mixtures, renormalise)
    index = sorted(left_rows.keys() & right_rows.keys())  # all numbers or all text
    weights = table.weights[[left_rows[run] for run in index]]
    right = right.iloc[[right_rows[run] for run in index]]
    values = _numbers(right, columns)
    problems += _unmeasured(right, values, columns, index)
    problems += diverged(_subset(Runs(index, table.domains, columns, weights, values), np.isfinite(values).all(axis=1)))

    unusable, num_runs = {p.key for p in problems}, len({*left_rows, *right_rows, *(p.key for p in problems)})
    told = f"{losses}, joined with {mixtures}: {len(unusable)} of {num_runs} runs"
    if problems and not allow_missing:
        raise InputError(
            f"{told} cannot be used:\n{_lines(problems, key)}\n"
            "Correct them or train them again (`proxymix sweep` trains what is missing), or leave them out with --allow_missing"
        )
    if len(unusable) == num_runs:
        raise InputError(f"{told} cannot be used:\n{_lines(problems, key)}\nThat leaves none; correct the files")
    if problems:
        say(f"{told} are left out:\n{_lines(problems, key)}")
    if targets is None:
        _say_unmatched(table.domains, columns, losses)
    runs = Runs(index, table.domains, columns, weights, values, tuple(problems))
    return _subset(runs, np.array([run not in unusable for run in index]))


def diverged(runs: Runs) -> list[LeftOut]:
    """Runs with a loss far above all others that their mixture does not explain.

    Far is measured on logarithms, in distances from a target's median to its 90th percentile (a spread that a tenth of
    diverged runs does not stretch, and that holds the runs without a domain where those are many): 6 for the loss of a
    domain, 20 for another metric. A run with none of a domain, or with less of it than nine tenths of the sweep, is not
    judged by that domain's loss: its mixture explains it.

    RegMix's 512 and 256 runs reach 2.2, the 110 metrics of Olmix's 127 runs 3.7, and subsets of 8 to 64 of them 4.0 and
    10; a model that learnt nothing would stand at 7 or more on RegMix's losses, and at 60 on Olmix's metrics.
    """
    found: list[LeftOut] = []
    if len(runs.index) < FEWEST_TO_COMPARE:
        return found
    for target, losses in zip(runs.targets, runs.losses.T, strict=True):
        if (losses <= 0).any():  # no loss in nats or bits
            continue
        domain, median = loss_domain(target), float(np.median(losses))
        spread = np.log(np.quantile(losses, 0.9, method="lower") / median)  # the lower: else the largest of 8 moves it
        far = FAR_METRIC
        judged = np.ones(len(losses), dtype=bool)
        if domain in runs.domains:
            far, shares = FAR_DOMAIN, runs.weights[:, runs.domains.index(domain)]
            judged = (shares > 0) & (shares >= np.quantile(shares, 0.1))
        outside = judged & (np.log(losses / median) > far * max(spread, NARROWEST))
        found += [
            LeftOut(runs.index[i], target, f"{losses[i]:g}", f"diverged; the median of all runs is {median:.4g}")
            for i in np.flatnonzero(outside)
        ]
    return found


def check_realised(runs: Runs, proxies: Path) -> None:
    """Stop unless every run was fed the mixture that the table declares.

    A run takes whole blocks of sequence_length tokens, shared out by largest remainder, so a domain's tokens may differ
    from weight x tokens by less than one block, and by no more.

    Args:
        runs: The table.
        proxies: Folder of run folders, n00001 for index 1, each with a manifest.yaml of declared and realised tokens.

    Raises:
        InputError: If a run has no manifest, or was fed another mixture; all are listed.
    """
    problems: list[LeftOut] = []
    with progress("check mixtures", total=len(runs.index), unit="runs") as bar:
        for run, weights in zip(runs.index, runs.weights, strict=True):
            path = Path(proxies) / (run_id(run) if isinstance(run, int) else run) / "manifest.yaml"
            problems += _not_as_declared(run, dict(zip(runs.domains, weights.tolist(), strict=True)), path)
            bar.advance()
    if problems:
        num_runs = len({problem.key for problem in problems})
        raise InputError(
            f"{proxies}: {num_runs} of {len(runs.index)} runs were not trained on the mixture that the table declares:\n"
            f"{_lines(problems, 'run')}\nCorrect the table, or train them again (`proxymix sweep` retrains what changed)"
        )


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
        raise InputError(f"{where}: {' and '.join(parts)}; those wanted are {some(wanted, 40)}")
    return np.asarray(weights)[..., [list(domains).index(d) for d in wanted]]


def _subset(runs: Runs, keep: np.ndarray) -> Runs:
    index = [run for run, kept in zip(runs.index, keep, strict=True) if kept]
    return Runs(index, runs.domains, runs.targets, runs.weights[keep], runs.losses[keep], runs.left_out)


def _with_keys(table: "pd.DataFrame", key: str) -> "pd.DataFrame":
    """The table with clean keys: whole numbers as such (a gap in the column makes them floats), text without spaces."""
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
    unnamed = [int(row) + 2 for row in np.flatnonzero(table[key].isna())]  # the header is line 1
    counts = Counter(table[key].dropna().tolist())
    return [LeftOut(f"(line {line})", "", "", f"the key is empty in {path.name}") for line in unnamed] + [
        LeftOut(run, "", "", f"more than one row in {path.name}") for run, count in counts.items() if count > 1
    ]


def _unmatched(
    left: Mapping[Key, int], right: Mapping[Key, int], known: Container[Key], mixtures: Path, losses: Path
) -> list[LeftOut]:
    """Keys that only one of the files has, and of which nothing is known yet."""
    if left and right and {type(run) for run in left} != {type(run) for run in right}:
        ours, theirs = (
            next((run for run in keys if isinstance(run, str) and not run.isdigit()), next(iter(keys)))
            for keys in (left, right)
        )  # of text the first that is no number: one such word makes all keys of its column text
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
    """Stop if a second key that both files have pairs their rows otherwise: a file was reordered without its index."""
    for other in KEYS:
        if other == key or other not in left.columns or other not in right.columns:
            continue
        ours, theirs = left[other].tolist(), right[other].tolist()
        if set(ours) != set(theirs) or len(set(ours)) < len(ours):
            continue  # names of another kind, or of no one run
        for run in left_rows.keys() & right_rows.keys():
            here, there = theirs[right_rows[run]], ours[left_rows[run]]
            if here != there:
                raise InputError(
                    f"{losses}: {key} {run} is {other} {here} here and {other} {there} in {mixtures}; "
                    "make the two keys agree, or remove the wrong one"
                )


def _target_columns(table: "pd.DataFrame", targets: Sequence[str] | None, path: Path) -> list[str]:
    columns = [str(c) for c in table.columns if c not in KEYS and not str(c).startswith("Unnamed:")]
    if targets is not None:
        found = resolve_targets(targets, columns, str(path))
    else:
        found = [c for c in columns if loss_domain(c) != c] or [c for c in columns if _holds_numbers(table[c])]
    if not found:
        raise InputError(f"{path}: no column of losses (metric/<domain>_val_loss); found {some(table.columns)}")
    empty = [c for c in found if not np.isfinite(_numbers(table, [c])).any()]
    if empty:
        raise InputError(f"{path}: no numbers in {some(empty)}; leave it out with --targets, or remove the column")
    return found


def _holds_numbers(column: "pd.Series") -> bool:
    """Whether most of what a column holds are numbers, so that a stray word in it is a mistake and no note."""
    import pandas as pd

    present = column.dropna()
    return column.dtype.kind != "b" and bool(pd.to_numeric(present, errors="coerce").notna().mean() > 0.5)


def _numbers(table: "pd.DataFrame", columns: Sequence[str]) -> np.ndarray:
    """Columns as floats; what is no number is not a number."""
    import pandas as pd

    return np.column_stack([pd.to_numeric(table[c], errors="coerce").to_numpy(dtype=float) for c in columns])


def _unmeasured(
    table: "pd.DataFrame", values: np.ndarray, columns: Sequence[str], index: Sequence[Key]
) -> list[LeftOut]:
    """Rows with a loss that is no finite number: the first such column, and how many more there are."""
    found = []
    for row in map(int, np.flatnonzero(~np.isfinite(values).all(axis=1))):
        bad = [columns[i] for i in map(int, np.flatnonzero(~np.isfinite(values[row])))]
        more = f" (nor are {len(bad) - 1} more columns)" if len(bad) > 1 else ""
        found.append(LeftOut(index[row], bad[0], str(table[bad[0]].iloc[row]), f"not a finite number{more}"))
    return found


def _not_as_declared(run: Key, weights: dict[str, float], path: Path) -> list[LeftOut]:
    """Domains of which a run was fed something else than its weight or its own declaration says."""
    if not path.exists():
        return [LeftOut(run, "", "", f"{path} is missing")]
    content = read_yaml(path)
    try:
        declared, realised = content["declared_tokens"], content["realised_tokens"]
        block = content["settings"]["sequence_length"]
        total = sum(realised.values())
        found = []
        for domain in dict.fromkeys([*weights, *declared, *realised]):
            wanted, fed = weights.get(domain, 0.0) * total, realised.get(domain, 0)
            if abs(fed - wanted) > block:
                problem = f"fed {fed:,} of {total:,} tokens, where {wanted:,.0f} are declared by the table"
            elif fed != declared.get(domain, 0):
                problem = f"fed {fed:,} tokens, where {declared.get(domain, 0):,} are declared by {path.name}"
            else:
                continue
            found.append(LeftOut(run, domain, f"{weights.get(domain, 0.0):.4g} of the mixture", problem))
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not a run's manifest ({error}); run `proxymix sweep` again") from None
    return found


def _lines(problems: Sequence[LeftOut], key: str) -> str:
    """A line for each problem of one kind, with the runs that have it."""
    texts: dict[str, list[str]] = {}
    for problem in problems:
        cell = f"{problem.column} is {problem.value}, " if problem.value else ""
        texts.setdefault(f"{cell}{problem.problem}", []).append(str(problem.key))
    lines = [f"  {key} {some(runs, MOST_LINES)}: {text}" for text, runs in texts.items()]
    more = [f"  and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return "\n".join(lines[:MOST_LINES] + more)


def _say_unmatched(domains: Sequence[str], targets: Sequence[str], path: Path) -> None:
    """Mention domains without a loss and losses without a domain, where losses are named by domains."""
    named = {loss_domain(target) for target in targets if loss_domain(target) != target}
    if not named:
        return
    silent = [domain for domain in domains if domain not in named]
    strange = [domain for domain in named if domain not in domains]
    if silent:
        say(f"{path}: {len(silent)} of {len(domains)} domains have no loss of their own ({some(silent)})")
    if strange:
        say(f"{path}: {len(strange)} of {len(targets)} losses are of no domain that is mixed ({some(sorted(strange))})")
