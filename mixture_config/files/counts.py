"""A JSONL of token counts (or a domains.csv) -> datasets in groups, some of them dropped or merged.

Groups get weights, and a dataset gets its part of its group's. The keys, and the meaning of drop and merge, are those of
ml-dist-gen.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from proxymix.errors import InputError
from proxymix.files import parse_json_line, read_text
from proxymix.messages import nearest, some
from proxymix.schemas import MAX_COUNT, Domains


@dataclass(frozen=True)
class Dataset:
    """One line of the counts."""

    group: str
    dataset: str
    tokens: int
    path: str


def has_domains(path: Path) -> bool:
    """Whether `path` is a domains.csv, whose every domain is a group and a dataset of its own."""
    return Path(path).suffix.lower() == ".csv"


def read_counts(path: Path, token_key: str | None = None) -> list[Dataset]:
    """A counts JSONL, or a domains.csv, in the file's order. Lines of one dataset are files of it, and all count.

    Args:
        path: One JSON object a line with the keys lang, dataset, a token count, and path; or a CSV of domain,tokens.
        token_key: The key of the token count; the one that ends in -tok or is named tokens unless given.

    Raises:
        InputError: If a line is no object, lacks a key, repeats a path, or its count is no whole number >= 0.
    """
    if has_domains(path):
        table = Domains.read(path)
        return [Dataset(name, name, int(tokens), name) for name, tokens in zip(table.names, table.tokens, strict=True)]
    datasets: list[Dataset] = []
    seen: dict[str, int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        record = _record(line, where)
        token_key = token_key or _find_token_key(record, where)
        for key in ("lang", "dataset", token_key, "path"):
            if key not in record:
                raise InputError(f"{where}: no key {key!r}{nearest(key, record)} (found {', '.join(record) or 'none'})")
        group, name, file = (_text(record[key], f"{where}: {key}") for key in ("lang", "dataset", "path"))
        if (first := seen.setdefault(file, number)) != number:
            raise InputError(f"{where}: the path {file!r} is there already, in line {first}; remove or correct one")
        datasets.append(Dataset(group, name, _count(record[token_key], f"{where}: {token_key}"), file))
    if not datasets:
        raise InputError(f"{path}: the file is empty; a JSON object a line with lang, dataset, tokens, path is wanted")
    if not any(dataset.tokens for dataset in datasets):
        raise InputError(f"{path}: no dataset has any tokens")
    return datasets


def regroup(
    datasets: Sequence[Dataset], drop: Mapping[str, Sequence[str]], merge: Mapping[str, Sequence[str]]
) -> list[Dataset]:
    """Leave out what is dropped, then move what is merged into its new group. The order stays.

    A group without datasets disappears. A new group may have the name of another one, whose datasets it then joins.

    Args:
        datasets: All of them.
        drop: Group -> names of its datasets to leave out.
        merge: New group -> names of datasets, whose groups lose them.

    Raises:
        InputError: If a name is not in the data, a dataset is in two merges, or no tokens are left.
    """
    groups = {d.group for d in datasets}
    for group, names in drop.items():
        if group not in groups:
            raise InputError(f"drop: no group {group!r}{_hint(group, groups)}")
        known = {d.dataset for d in datasets if d.group == group}
        for name in names:
            if name not in known:
                raise InputError(f"drop: no dataset {name!r} in the group {group!r}{_hint(name, known)}")
    known = {d.dataset for d in datasets}
    into: dict[str, str] = {}
    for group, names in merge.items():
        for name in names:
            if name not in known:
                raise InputError(f"merge: {group}: no dataset {name!r}{_hint(name, known)}")
            if into.setdefault(name, group) != group:
                raise InputError(f"merge: the dataset {name!r} is in both {into[name]!r} and {group!r}; remove one")
    kept = [replace(d, group=into.get(d.dataset, d.group)) for d in datasets if d.dataset not in drop.get(d.group, ())]
    if not any(d.tokens for d in kept):
        raise InputError("drop: no dataset with tokens is left; drop fewer")
    return kept


def fixed_weights(fixed: Mapping[str, float], groups: Sequence[str]) -> list[float]:
    """The fixed weight of every group, NaN where it has none.

    Raises:
        InputError: If a weight is not from 0 to 1, or there is no such group.
    """
    for group, weight in fixed.items():
        if not 0 <= weight <= 1:
            raise InputError(f"fixed: {group} is {weight!r}; a share from 0 to 1 is wanted")
        if group not in groups:
            raise InputError(f"fixed: no group {group!r}{_hint(group, groups)}")
    return [fixed.get(group, math.nan) for group in groups]


def check_names(setting: str, mapping: Mapping[Any, Any]) -> None:
    """Raise an InputError if a group's name is not text: YAML takes an unquoted `no` for false, 2024 for a number."""
    for name in mapping:
        if not isinstance(name, str) or not name.strip():
            raise InputError(
                f'{setting}: {name!r} is no name of a group; put names such as "no" and "2024" in quotes, since YAML '
                "takes them for a truth value or a number"
            )


def _hint(name: str, names: Any) -> str:
    return nearest(name, sorted(names)) or f"; there are {some(sorted(names))}"


def _record(line: str, where: str) -> dict[str, Any]:
    record = parse_json_line(line, where)
    if not isinstance(record, dict):
        raise InputError(f"{where}: a JSON object is wanted, found {line.strip():.60}")
    return record


def _find_token_key(record: Mapping[str, Any], where: str) -> str:
    keys = [key for key in record if key.endswith("-tok") or key == "tokens"]
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise InputError(f"{where}: several token counts ({', '.join(keys)}); choose one with --token_key")
    raise InputError(
        f"{where}: no token count: a key that ends in -tok or is named tokens, or the one that --token_key names, "
        f"is wanted; found {', '.join(record) or 'none'}"
    )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} is {value!r}; a text is wanted")
    return value


def _count(value: Any, where: str) -> int:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value <= MAX_COUNT or value % 1:
        raise InputError(f"{where} is {value!r}; a whole number of tokens from 0 to {MAX_COUNT:g} is wanted")
    return int(value)
