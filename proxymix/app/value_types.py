"""Types of settings -> how their values are read, and how messages name them."""

import typing
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union

from jsonargparse.typing import register_type


class WholeNumber(int):
    """Stands for `int` in the parser: a whole number may be written as 25e9 or 1_000."""


def whole_number(value: Any) -> int:
    """The whole number that a value is.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    try:
        return int(value) if isinstance(value, int | str) else int(str(value))
    except ValueError:
        number = float(value)
        if not number.is_integer():
            raise
        return int(number)


register_type(
    WholeNumber,
    serializer=int,
    deserializer=whole_number,
    deserializer_exceptions=(ValueError, TypeError),
    type_check=lambda value, kind: type(value) is int,
)


def read_as(kind: Any) -> Any:
    """The type that the parser reads a setting by: the setting's own, with WholeNumber for int."""
    if kind is int:
        return WholeNumber
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, UnionType):
        return Union[tuple(read_as(part) for part in inner)]  # noqa: UP007  # of a tuple
    return origin[tuple(read_as(part) for part in inner)] if origin in (dict, list) else kind


def accepts_none(kind: Any) -> bool:
    """Whether null is a value of the type."""
    return type(None) in (kind, *typing.get_args(kind))


def entry_type(kind: Any) -> Any:
    """What a mapping maps to, also where a mapping is one of several types; None for all else."""
    mappings = [part for part in (kind, *typing.get_args(kind)) if typing.get_origin(part) is dict]
    return typing.get_args(mappings[0])[1] if mappings else None


def describe_type(kind: Any) -> str:
    """A type as a user would say it."""
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        bool: "true or false",
        Path: "a path",
        type(None): "null",
    }
    if kind in names:
        return names[kind]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return "one of " + ", ".join(map(str, inner))
    if origin in (list, tuple):
        return f"a list (each {describe_type(inner[0])})" if inner else "a list"
    if origin is dict:
        return f"a mapping to {_plural(inner[1])}" if inner[1] is not Any else "a mapping"
    if inner:
        return " or ".join(describe_type(part) for part in inner)
    return str(kind)


def _plural(kind: Any) -> str:
    first, _, rest = describe_type(kind).removeprefix("a ").partition(" (")
    return f"{first}s" + (f" ({rest}" if rest else "")


def placeholder(kind: Any) -> str:
    """What stands for a value in the help: N, X, PATH, or the choices."""
    for part in (kind, *typing.get_args(kind)):
        if typing.get_origin(part) is Literal:
            return "{" + ",".join(map(str, typing.get_args(part))) + "}"
    if "Path" in str(kind):
        return "PATH"
    return "N" if kind in (int, int | None) else "X" if kind in (float, float | None) else "VALUE"
