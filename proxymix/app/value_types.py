"""Types of settings -> how their values are read, and how messages name them."""

import os
import re
import typing
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union

from jsonargparse.typing import register_type

from proxymix.messages import nearest
from proxymix.whole_numbers import whole_number

NAMES = {int: "N", float: "X", Path: "PATH", bool: "true|false"}
"""Type -> what stands for a value of it in the help."""


class WholeNumber(int):
    """Stands for `int` in the parser: a whole number may be written as 25B, 25e9 or 1_000."""


def _whole_number(value: Any) -> int:
    """The whole number that a value of YAML or a flag is. Raises ValueError if it is none."""
    if isinstance(value, bool):
        raise ValueError(f"{value} is no number")
    return value if isinstance(value, int) else whole_number(str(value))


register_type(
    WholeNumber,
    serializer=int,
    deserializer=_whole_number,
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


def options(kind: Any) -> tuple[Any, ...]:
    """The types that a value of a setting may have; one, unless the type is a union."""
    return typing.get_args(kind) if typing.get_origin(kind) in (Union, UnionType) else (kind,)


def as_written(kind: Any, value: Any, text: Any) -> Any:
    """A value from YAML, with the text as written wherever a name or a path is wanted.

    Args:
        kind: The type of the setting.
        value: The value as YAML types it: False for the word `no`.
        text: The same with all words as text.
    """
    kinds = options(kind)
    if isinstance(value, dict):
        inner = next((typing.get_args(k)[1] for k in kinds if typing.get_origin(k) is dict), None)
        return value if inner is None else {key: as_written(inner, v, text[key]) for key, v in value.items()}
    if isinstance(value, list):
        inner = next((typing.get_args(k)[0] for k in kinds if typing.get_origin(k) in (list, tuple)), None)
        return value if inner is None else [as_written(inner, v, t) for v, t in zip(value, text, strict=True)]
    literals = [choice for k in kinds if typing.get_origin(k) is Literal for choice in typing.get_args(k)]
    numbers = isinstance(value, int | float) and {int, float}.intersection(kinds)
    if type(value) in kinds or (numbers and not isinstance(value, bool)):
        return value
    return text if text is not None and (text in literals or {str, Path}.intersection(kinds)) else value


def with_home(value: Any) -> Any:
    """A value with the user's folder for `~` where a path begins: ~/x, also in lists and mappings, labels:~/x and name=~/x."""
    if isinstance(value, Path):
        return Path(os.path.expanduser(value))  # noqa: PTH111  # which leaves an unknown user's folder as it is
    if isinstance(value, str):
        return re.sub(r"^([\w.+-]+[:=])?~(?=/)", lambda found: f"{found[1] or ''}{Path.home()}", value)
    if isinstance(value, list):
        return [with_home(part) for part in value]
    return {key: with_home(part) for key, part in value.items()} if isinstance(value, dict) else value


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
    if origin is dict and len(options(inner[1])) > 1:
        return f"a mapping (each value {describe_type(inner[1])})"
    if origin is dict:
        return f"a mapping to {_plural(inner[1])}" if inner[1] is not Any else "a mapping"
    if inner:
        return " or ".join(describe_type(part) for part in inner)
    return str(kind)


def misfit(kind: Any, value: Any) -> str:
    """The first part of a value that is not of the type: its keys, what it is, and what is wanted in its place."""
    kinds = options(kind)
    parts: list[tuple[Any, Any, Any]] = []  # key, value, type
    for option in kinds:
        if isinstance(value, dict) and typing.get_origin(option) is dict:
            parts = [(key, part, typing.get_args(option)[1]) for key, part in value.items()]
        elif isinstance(value, list) and typing.get_origin(option) is list:
            parts = [(place, part, typing.get_args(option)[0]) for place, part in enumerate(value, start=1)]
    for key, part, wanted in parts:
        if not _fits(wanted, part):
            return f"{key}: {misfit(wanted, part)}"
    return f"{value!r} is not {describe_type(kind)}{like_choice(kind, value)}"


def like_choice(kind: Any, value: Any) -> str:
    """'; did you mean X?' for the choice of a type that a value is like, olmo_core for OLMo-core; else the empty string."""
    choices = [typing.get_args(option) for option in options(kind) if typing.get_origin(option) is Literal]
    return nearest(str(value).lower().replace("-", "_"), [str(choice) for some in choices for choice in some])


def _fits(kind: Any, value: Any) -> bool:
    kinds = options(kind)
    if isinstance(value, dict | list):
        inner = [typing.get_args(option)[-1] for option in kinds if typing.get_origin(option) is type(value)]
        parts = value.values() if isinstance(value, dict) else value
        return Any in kinds or any(all(_fits(option, part) for part in parts) for option in inner)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return bool({Any, int, float}.intersection(kinds))
    return Any in kinds or type(value) in kinds or (value is None and type(None) in kinds)


def _plural(kind: Any) -> str:
    first, _, rest = describe_type(kind).removeprefix("a ").partition(" (")
    return f"{first}s" + (f" ({rest}" if rest else "")


def placeholder(kind: Any) -> str:
    """What stands for a value in the help: N, X, PATH, {a,b} for choices, auto|N where a number or a word can stand."""
    parts = [part for part in options(kind) if part is not type(None)]
    words = [str(choice) for part in parts if typing.get_origin(part) is Literal for choice in typing.get_args(part)]
    names = [NAMES[part] for part in parts if part in NAMES]
    if words:
        return "|".join([*words, *names]) if names else "{" + ",".join(words) + "}"
    return names[0] if len(names) == len(parts) == 1 else "VALUE"
