"""A stage function's signature -> its settings with their types, defaults and help, and settings -> its arguments.

A dataclass parameter is a group of settings. Its fields are settings of their own: `train.model` for the field `model`
of the parameter `train`, or plain `limits` where the dataclass says `FLAT = True`.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Parameter:
    """One setting.

    Args:
        name: The parameter of the function, or the field of the dataclass.
        type: Its type.
        default: Its default; inspect.Parameter.empty when there is none.
        help: What the docstring says.
        part_of: The dataclass parameter that it is a field of, if it is one.
    """

    name: str
    type: Any
    default: Any
    help: str
    part_of: str = ""

    @property
    def required(self) -> bool:
        """Whether the caller must give it."""
        return self.default is inspect.Parameter.empty


def parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The settings of a stage function by their keys, in the order of its signature."""
    found: dict[str, Parameter] = {}
    for name, parameter in _signature(function).items():
        if not dataclasses.is_dataclass(parameter.type):
            found[name] = parameter
            continue
        prefix = "" if getattr(parameter.type, "FLAT", False) else f"{name}."
        for key, part in _signature(parameter.type).items():  # type: ignore[arg-type]
            default = part.default if parameter.required else getattr(parameter.default, key)
            found[f"{prefix}{key}"] = dataclasses.replace(part, default=default, part_of=name)
    return found


def build_arguments(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by their keys -> the arguments of the function, dataclasses built.

    Raises:
        InputError: If a rule of a dataclass is broken.
    """
    signature, known = _signature(function), parameters(function)
    arguments: dict[str, Any] = {}
    for key, value in values.items():
        part_of = known[key].part_of if key in known else ""
        if part_of:
            arguments.setdefault(part_of, {})[known[key].name] = value
        else:
            arguments[key] = value
    for name in {parameter.part_of for parameter in known.values() if parameter.part_of in arguments}:
        group = signature[name]
        given = arguments[name]
        arguments[name] = group.type(**given) if group.required else dataclasses.replace(group.default, **given)
    return arguments


def _signature(function: Callable[..., Any]) -> dict[str, Parameter]:
    import docstring_parser

    hints = typing.get_type_hints(vars(function)["__init__"] if isinstance(function, type) else function)
    documented = {
        p.arg_name: (p.description or "").strip() for p in docstring_parser.parse(function.__doc__ or "").params
    }
    return {
        name: Parameter(name, hints.get(name, Any), parameter.default, documented.get(name, ""))
        for name, parameter in inspect.signature(function).parameters.items()
    }
