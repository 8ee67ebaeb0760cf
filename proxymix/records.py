"""Nested dataclasses <-> the mappings that a YAML holds.

A field is written under its own name, or under the `key` of its metadata. A field that is None is left out.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from proxymix.errors import InputError

T = TypeVar("T")

SCALARS: dict[Any, tuple[tuple[type, ...], str]] = {
    float: ((int, float), "a number"),
    int: ((int,), "a whole number"),
    str: ((str,), "text"),
    bool: ((bool,), "true or false"),
}
"""What may stand where a field is of one of these types, and what it is called."""


def to_mapping(value: Any) -> Any:
    """A dataclass as a mapping; mappings and lists with their values converted; all else as it is."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        found = {_key(field): getattr(value, field.name) for field in dataclasses.fields(value)}
        return {key: to_mapping(part) for key, part in found.items() if part is not None}
    if isinstance(value, Mapping):
        return {key: to_mapping(part) for key, part in value.items()}
    return [to_mapping(part) for part in value] if isinstance(value, list | tuple) else value


def from_mapping(kind: type[T], content: Any, where: str) -> T:
    """A dataclass from what `to_mapping` made of it; keys that are no fields are ignored. `where` names it in messages.

    Raises:
        InputError: If a field that may not be None is missing, or something else stands where a mapping, a list, a
            number, text or a truth value is wanted.
    """
    return typing.cast(T, _read(kind, content, where))


def _read(kind: Any, content: Any, where: str) -> Any:
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union) and type(None) in inner and len(inner) == 2:
        return None if content is None else _read(inner[0], content, where)
    if dataclasses.is_dataclass(kind) or origin is dict:
        if not isinstance(content, Mapping):
            raise InputError(f"{where}: {content!r:.60} where keys and values are wanted")
        if origin is dict:
            return {key: _read(inner[1], value, f"{where}: {key}") for key, value in content.items()}
        hints = typing.get_type_hints(kind)
        found = {}
        for field in dataclasses.fields(kind):
            key = _key(field)
            if key in content or type(None) in typing.get_args(hints[field.name]):
                found[field.name] = _read(hints[field.name], content.get(key), f"{where}: {key}")
            else:
                raise InputError(f"{where}: {key} is missing")
        return typing.cast(Any, kind)(**found)
    if origin in (list, tuple):
        if not isinstance(content, list | tuple):
            raise InputError(f"{where}: {content!r:.60} where a list is wanted")
        return origin(_read(inner[0], value, where) for value in content)
    if origin is typing.Literal and content not in inner:
        raise InputError(f"{where}: {content!r:.60} where one of {', '.join(map(str, inner))} is wanted")
    if kind in SCALARS:
        allowed, what = SCALARS[kind]
        if not isinstance(content, allowed) or (isinstance(content, bool) and kind is not bool):
            raise InputError(f"{where}: {content!r:.60} where {what} is wanted")
    return content


def _key(field: "dataclasses.Field[Any]") -> str:
    return str(field.metadata.get("key", field.name))
