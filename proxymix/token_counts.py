"""A JSONL of token counts (or a domains.csv) -> datasets in groups. The keys are those of ml-dist-gen."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxymix.errors import InputError
from proxymix.files import json_value, read_text
from proxymix.messages import nearest
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
        return [
            Dataset(name, name, int(tokens), name) for name, tokens in zip(table.names, table.true_tokens, strict=True)
        ]
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


def _record(line: str, where: str) -> dict[str, Any]:
    record = json_value(line, where)
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
