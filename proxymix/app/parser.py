"""Settings -> flags, and a command line -> values.

jsonargparse reads and checks the values. Which flag or value is wrong is found here, before or after it has parsed, so
that no message of the library has to be understood.
"""

import argparse
import copy
import itertools
import json
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docstring_parser
import jsonargparse

from proxymix.app.old_names import note, renamed
from proxymix.app.parameters import Parameter
from proxymix.app.value_types import (
    accepts_none,
    as_written,
    describe_type,
    entry_type,
    like_choice,
    misfit,
    placeholder,
    read_as,
    with_home,
)
from proxymix.errors import InputError
from proxymix.messages import nearest
from proxymix.yaml_text import check_measure, parse_yaml

MIN_VALUES = {"seed": 0, "workers": 1}
"""Smallest values of settings that many stages have."""
TRUE_OR_FALSE = ("true", "false", "yes", "no")


class Parser:
    """Flags from settings: types are checked, and a message names the flag or key that is wrong.

    Args:
        program: The command, as messages name it.
        text: What the command does; a docstring's first paragraphs are taken.
        old: Old key of a setting -> its key of today.
        examples: Lines that follow in the help as they are.
        aliases: Flag -> the flag that it stands for.
    """

    def __init__(
        self,
        program: str,
        text: str,
        old: Mapping[str, str] | None = None,
        examples: str = "",
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        parsed = docstring_parser.parse(text)
        paragraphs = (parsed.short_description, parsed.long_description, examples)
        description = "\n\n".join(part for part in paragraphs if part)
        self._parser = jsonargparse.ArgumentParser(
            prog=program,
            description=description,
            exit_on_error=False,
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        self._settings: dict[str, Parameter] = {}
        self._filled: dict[str, Any] = {}
        self._mappings: dict[str, dict[str, Any]] = {}  # those given as flags
        self._old, self._aliases = dict(old or {}), dict(aliases or {})
        self._positional = ""
        self._files: list[str] = []  # --config, --study
        self._switches: list[str] = []  # plain switches that are no settings

    def add_file_flags(self, study: bool) -> None:
        """--config, and --study where the stage has no parameter of that name."""
        helps = {"config": ("YAML", "A study's YAML, or one of just these settings; flags win over it.")}
        if study:
            helps["study"] = ("DIR", "A study folder, whose files and settings fill what is not given.")
        for name, (metavar, text) in helps.items():
            self._files.append(name)
            self._parser.add_argument(f"--{name}", metavar=metavar, help=text)

    def add_switch(self, name: str, text: str) -> None:
        """A plain switch that is no setting."""
        self._switches.append(name)
        self._parser.add_argument(f"--{name}", action="store_true", help=text)

    def add(
        self,
        settings: Mapping[str, Parameter],
        positional: str = "",
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        """A flag for each setting.

        Args:
            settings: The settings by their keys.
            positional: The one that is given without a flag, if any.
            groups: Title in the help -> the settings below it, every one of them once.
        """
        self._positional = positional
        self._settings |= settings
        given = [positional.upper()] * bool(positional)
        self._parser.usage = " ".join([self._parser.prog, *given, "[settings]"]) if groups else None
        for title, keys in (groups or {"": list(settings)}).items():
            group = self._parser.add_argument_group(title) if title and keys else self._parser
            for key in keys:
                self._add(group, key, settings[key])

    def _add(self, group: Any, key: str, parameter: Parameter) -> None:
        text = parameter.help or argparse.SUPPRESS
        if parameter.required:
            text = f"{parameter.help} (required, or from --study)"
        default = None if parameter.required else parameter.default
        kind = read_as(parameter.type)
        if key == self._positional:
            group.add_argument(key, type=kind, nargs="?", help=text)
        elif kind is bool:
            yes_no = jsonargparse.ActionYesNo
            group.add_argument(f"--{key}", action=yes_no, nargs="?", default=default, help=text)
        elif _is_list(parameter.type):
            group.add_argument(f"--{key}", type=str, nargs="+", default=default, help=text, metavar="NAME")
        else:
            group.add_argument(f"--{key}", type=kind, default=default, help=text, metavar=placeholder(parameter.type))

    def fill(self, values: Mapping[str, Any], source: str) -> None:
        """Values from a file, under the keys of the settings, checked one by one.

        Raises:
            InputError: For a key that is no setting (with the nearest that is) or a value of a wrong type.
        """
        for key, value in renamed(values, self._old, source).items():
            if key not in self._settings:
                raise InputError(
                    f"{source}: {key}: no such setting{nearest(key, self._settings)} (value {value!r:.60})"
                )
            parameter = self._settings[key]
            original = copy.deepcopy(value)  # the parser may change it
            try:
                if value is None and not parameter.required and not accepts_none(parameter.type):
                    raise TypeError
                section, _, name = key.rpartition(".")
                content = {section: {name: value}} if section else {name: value}
                parsed = self._parser.parse_object(content, defaults=False)
            except (argparse.ArgumentError, TypeError, ValueError, RuntimeError):  # the last for a mapping as a list
                raise InputError(f"{source}: {key}: {misfit(parameter.type, original)}") from None
            _check_minimum(f"{source}: {key}", key, parsed[key])
            self._filled[key] = with_home(original if _holds_anything(parameter.type, original) else parsed[key])

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Flags over filled values over defaults.

        Returns:
            Key of a setting, or name of a plain switch -> value.

        Raises:
            InputError: For a flag that does not exist (with the nearest that does), or a value of a wrong type.
        """
        self._parser.set_defaults(self._filled)
        if {"-h", "--help"} & set(arguments):
            self._parser.parse_args(["--help"])
        groups = self._groups(arguments)
        try:
            parsed = self._parser.parse_args([token for group in groups for token in group])
        except argparse.ArgumentError:
            raise InputError(self._wrong_value(groups)) from None
        for key in self._settings:
            _check_minimum(f"{self._parser.prog}: --{key}", key, parsed[key])
        values = {key: parsed[key] for key in (*self._settings, *self._switches)}
        for key, given in self._mappings.items():
            if _holds_anything(self._settings[key].type, values[key]) and values[key].keys() == given.keys():
                values[key] = given
        return with_home(values)

    def _groups(self, arguments: Sequence[str]) -> list[list[str]]:
        """The arguments that have no flag, then each flag with its values, as the parser takes them without a doubt.

        A value is joined to its flag (`--flag=value`), so that it is not taken for a flag or for the next argument.
        """
        groups: list[list[str]] = [[]]
        rest = list(arguments)
        while rest:
            argument = rest.pop(0)
            if not argument.startswith("--"):
                groups[0].append(argument)
                continue
            flag, equals, value = argument.partition("=")
            name = self._today(flag.removeprefix("--"))
            kind = self._kind(name)
            following = list(itertools.takewhile(lambda word: not word.startswith("--"), rest))
            if not equals:  # as many of the words that follow as the flag takes
                if kind is None or (kind is bool and following[:1] and following[0] not in TRUE_OR_FALSE):
                    following = []
                del rest[: len(following if _is_list(kind) else following[:1])]
            values = [value] if equals else following
            if not values and kind not in (None, bool):
                raise InputError(f"{self._parser.prog}: --{name}: a value is missing; {describe_type(kind)} is wanted")
            if name == self._positional:
                groups[0].append(values[0])
                continue
            for word in values:
                check_measure(word, f"{self._parser.prog}: --{name}")
            if values and entry_type(kind) is not None:
                given = _mapping_in(kind, values[0], f"{self._parser.prog}: --{name}")
                if given is not None:
                    self._mappings[name], values = given, [json.dumps(given, default=str)]
            joined = [f"--{name}={values[0]}"] if values else [f"--{name}"] if kind is None else [f"--{name}=true"]
            groups.append([f"--{name}", *values] if _is_list(kind) else joined)
        if surplus := groups[0][1 if self._positional else 0 :]:
            hint = nearest(surplus[0].lstrip("-"), self._settings) if surplus[0].startswith("-") else ""
            program = self._parser.prog
            raise InputError(f"{program}: {surplus[0]!r} is given without a flag{hint} (see {program} --help)")
        return groups

    def _kind(self, name: str) -> Any:
        """The type of a flag's value; None for a plain switch, which has no value."""
        if name in self._files or name in self._switches:
            return Path if name in self._files else None
        if name in self._settings:
            return self._settings[name].type
        if (switch := self._settings.get(name.removeprefix("no_"))) and switch.type is bool:
            return bool
        for key, parameter in self._settings.items():  # one entry of a mapping: --limits.deu 0.45
            if name.startswith(f"{key}.") and entry_type(parameter.type) is not None:
                return entry_type(parameter.type)
        raise InputError(f"{self._parser.prog}: --{name}: no such flag{nearest(name, self._settings)}")

    def _today(self, name: str) -> str:
        """The name of a flag by its key of today: old, no_old and old.entry."""
        name = self._aliases.get(name, name)
        for old, new in self._old.items():
            for prefix in ("", "no_"):
                if name == f"{prefix}{old}" or name.startswith(f"{prefix}{old}."):
                    note(self._parser.prog, f"--{old}", f"--{new}")
                    return f"{prefix}{new}{name.removeprefix(f'{prefix}{old}')}"
        return name

    def _wrong_value(self, groups: Sequence[Sequence[str]]) -> str:
        """The message for the first flag that the parser refuses alone."""
        for group in groups[1:]:
            try:
                self._parser.parse_args(list(group))
            except argparse.ArgumentError:
                flag, _, value = group[0].partition("=")
                kind = self._kind(name := flag.removeprefix("--"))
                if name in self._mappings and value.startswith("{"):
                    return f"{self._parser.prog}: {flag}: {misfit(kind, self._mappings[name])}"
                value = " ".join(group[1:]) or value
                return f"{self._parser.prog}: {flag}: {value!r} is not {describe_type(kind)}{like_choice(kind, value)}"
        return f"{self._parser.prog}: {' '.join(token for group in groups for token in group)} cannot be given together"


def _is_list(kind: Any) -> bool:
    """Whether a flag takes several values: names, whose texts count as they are written."""
    return kind in (list[str], list[str] | None)


def _mapping_in(kind: Any, text: str, where: str) -> dict[str, Any] | None:
    """The mapping that a flag is given as YAML, with its names as written; None for other text."""
    value = parse_yaml(text, where)
    return as_written(kind, value, parse_yaml(text, where, as_written=True)) if isinstance(value, dict) else None


def _holds_anything(kind: Any, value: Any) -> bool:
    """Whether a value is a mapping to values of any type; the parser would make a truth value of the name `no` in it."""
    return isinstance(value, dict) and entry_type(kind) is Any


def _check_minimum(where: str, key: str, value: Any) -> None:
    minimum = MIN_VALUES.get(key.rpartition(".")[2])
    if minimum is not None and isinstance(value, int) and value < minimum:
        raise InputError(f"{where}: {value} is too low; {minimum} or more is wanted")


class _Formatter(jsonargparse.DefaultHelpFormatter):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "max_help_position": 28, "width": 110})

    def _format_action_invocation(self, action: argparse.Action) -> str:
        return str(super()._format_action_invocation(action)).replace(" ,", ",").strip()

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        """Nothing after a switch, though it also takes true or false."""
        is_switch = isinstance(action, jsonargparse.ActionYesNo)
        return "" if is_switch else super()._format_args(action, default_metavar)

    def _get_help_string(self, action: argparse.Action) -> str:
        """The help and the default; a type is what the flag's placeholder says (N, X, PATH, the choices)."""
        text = action.help or ""
        no_setting = action.dest in ("help", "config", "study")
        if action.default is None or action.default is argparse.SUPPRESS or no_setting:
            return text
        default = str(action.default).lower() if isinstance(action.default, bool) else str(action.default)
        return f"{text} (default: {default.replace('%', '%%')})"

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        parts = text.split("\n\n")
        filled = [part if "\n  " in part else textwrap.fill(" ".join(part.split()), width) for part in parts]
        return "\n\n".join(filled)  # lines that are indented, such as examples, stay as they are


def given_value(arguments: Sequence[str], name: str) -> str | None:
    """The path in `--name value` or `--name=value`, the last one; None where there is none."""
    found = None
    for position, argument in enumerate(arguments):
        if argument == f"--{name}" and position + 1 < len(arguments):
            found = arguments[position + 1]
        elif argument.startswith(f"--{name}="):
            found = argument.partition("=")[2]
    return with_home(found)
