"""YAML files that hold the hash of their own text, so that damage is told from content.

The first line is `sha256: ...`, of all lines after it. A file without that line, as older versions wrote it, is read as it
is.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from proxymix.errors import InputError
from proxymix.files import read_text, read_yaml, write_text

SEAL = re.compile(r"sha256: ([0-9a-f]{64})\n")


def write_sealed(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping as YAML, its keys in the order given, after the hash of its text."""
    body = yaml.safe_dump(dict(value), sort_keys=False, allow_unicode=True, width=120)
    write_text(path, f"sha256: {hashlib.sha256(body.encode()).hexdigest()}\n{body}")


def read_sealed(path: Path, needs_hash: bool = False) -> dict[str, Any]:
    """The mapping in a file, without its hash.

    Args:
        path: The file.
        needs_hash: Whether every version of this file has had a hash.

    Raises:
        InputError: If the file is missing, is no YAML, or is not as it was written.
    """
    text = read_text(path)
    seal = SEAL.match(text)
    if seal and hashlib.sha256(text[seal.end() :].encode()).hexdigest() != seal[1]:
        raise InputError(f"{path}: damaged, or changed since it was written (its sha256 differs)")
    value = read_yaml(path)
    if not seal and (needs_hash or "sha256" in value):
        raise InputError(f"{path}: damaged, or changed since it was written (its first line is not its sha256)")
    value.pop("sha256", None)
    return value
