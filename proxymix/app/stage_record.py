"""STUDY/stages/<stage>.json: what a stage was made from and what it wrote, sealed so that damage is noticed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxymix.errors import InputError
from proxymix.files import read_json


@dataclass(frozen=True)
class StageRecord:
    """What a stage was made from, and what it wrote. Everything is empty where it cannot be read, so that the stage is stale.

    Attributes:
        settings: Its settings, in sections.
        inputs: Path in the study, or parameter of a file elsewhere -> hash; None for what was not there.
        outputs: Name of what it wrote -> hash.
        files: Path in the study of each file that it wrote -> hash; empty in records of older versions.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> "StageRecord":
        """The record in a file."""
        try:
            content = read_json(path)
        except InputError:
            return cls()
        recorded = content.pop("sha256", None)
        if recorded is not None and recorded != record_hash(content):
            return cls()
        parts: dict[str, Any] = {name: content.get(name) for name in cls.__dataclass_fields__}
        if parts["files"] is None:  # of an older version
            parts["files"] = {}
        return cls(**parts) if all(isinstance(part, dict) for part in parts.values()) else cls()


def record_hash(record: Mapping[str, Any]) -> str:
    """The hash of a record's content, by which damage to it is noticed."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
