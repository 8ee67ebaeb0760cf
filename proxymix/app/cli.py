"""The command line: a stage's signature is its flags, a study's YAML fills any of them.

proxymix STAGE --help; proxymix run --config configs/quickstart.yaml
"""

import argparse
import errno
import sys
import textwrap
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from proxymix import __version__
from proxymix.app.stages import STAGES, Parameter, Stage, bound, note_old_name, old_keys, parameters, renamed
from proxymix.errors import InputError, StageError
from proxymix.messages import nearest

LEAST = {"seed": 0, "workers": 1}
"""Smallest values of settings that many stages have."""

PROGRAM_COMMANDS = {
    "run": "everything a study needs, in order; done stages are skipped",
    "status": "what is done, stale or missing in a study",
}


def main(argv: Sequence[str] | None = None) -> int:
    """`proxymix COMMAND ...`. Returns the exit status: 0 done, 1 a stage failed, 2 wrong input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _guarded(lambda: _dispatch(arguments))


def run(function: Callable[..., None], argv: Sequence[str] | None = None) -> None:
    """`python package/stage.py ...`: the same command as `proxymix STAGE ...`; ends the process with its exit status."""
    stage = next(s for s in STAGES if s.function.split(":")[1] == function.__name__)
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(
        _guarded(
            lambda: run_stage(stage, arguments, program=f"python {stage.function.split(':')[0].replace('.', '/')}.py")
        )
    )


def _dispatch(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
    elif arguments[0] == "--version":
        print(f"proxymix {__version__}")
    elif arguments[0] in PROGRAM_COMMANDS:
        from proxymix.app import pipeline

        getattr(pipeline, f"{arguments[0]}_command")(arguments[1:])
    else:
        names = [stage.name for stage in STAGES]
        if arguments[0] not in names:
            raise InputError(
                f"proxymix {arguments[0]}: no such command{nearest(arguments[0], [*PROGRAM_COMMANDS, *names])}"
            )
        run_stage(STAGES[names.index(arguments[0])], arguments[1:], program=f"proxymix {arguments[0]}")


def _overview() -> str:
    lines = ["proxymix finds the data mixture of a language-model pre-training run.", "", "The whole job:"]
    lines += [f"  {name:<11}{text}" for name, text in PROGRAM_COMMANDS.items()]
    lines += ["", "Its stages, in order:"]
    lines += [f"  {stage.name:<11}{stage.help}" for stage in STAGES if stage.in_study]
    lines += ["", "On the side:"]
    lines += [f"  {stage.name:<11}{stage.help}" for stage in STAGES if not stage.in_study]
    lines += [
        "",
        "Start with:  proxymix run --config configs/quickstart.yaml",
        "Settings of a stage:  proxymix STAGE --help",
    ]
    return "\n".join(lines)


def _guarded(action: Callable[[], None]) -> int:
    try:
        action()
    except InputError as error:
        return _fail(str(error), 2)
    except StageError as error:
        return _fail(str(error), 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _fail(
                f"no space left on the disk ({error.filename or 'while writing'}); free some and run the same command again",
                1,
            )
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            return _fail(f"{error.filename}: {error.strerror}; choose a place that can be written and read", 1)
        if error.errno == errno.EPIPE:
            return 0  # the reader of our output has seen enough (`| head`)
        if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EBUSY, errno.ENAMETOOLONG):
            place = error.filename2 or error.filename
            return _fail(f"{place}: {error.strerror}; choose another place for the output", 2)
        raise
    except KeyboardInterrupt:
        return _fail("stopped; the same command continues from here", 130)
    return 0


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def run_stage(stage: Stage, arguments: Sequence[str], program: str) -> None:
    """Parse a stage's flags and call it; with --study, its files lie in the study and its settings in study.yaml."""
    from proxymix.app import study as studies

    function = stage.load()
    wanted = parameters(function)
    first, _ = _first_pass().parse_known_args(arguments)
    sections = [name for name, parameter in wanted.items() if parameter.is_section]
    own = "" if stage.settings_section in sections else stage.settings_section
    old = old_keys([*sections, stage.settings_section], own)
    parser = Parser(program, stage.help, function.__doc__ or "", old)
    parser.add_config_flags(study="study" not in wanted)
    parser.add(wanted, positional=stage.positional)
    folder = studies.Study(Path(first.study)) if first.study else None
    if folder is not None:
        folder.must_exist()
        parser.fill(studies.stage_values(stage, folder, wanted), str(folder.path / "study.yaml"))
    if first.config:
        parser.fill(studies.stage_section(stage, Path(first.config), wanted), first.config)
    values = parser.parse(arguments)
    missing = [name for name, parameter in wanted.items() if parameter.required and values.get(name) is None]
    if missing:
        hint = f", or --study DIR, where it is DIR/{stage.files[missing[0]]}" if missing[0] in stage.files else ""
        raise InputError(f"{program}: --{missing[0]} is missing{hint} (see {program} --help)")
    if folder is None or not stage.in_study:
        function(**bound(function, values))
    else:
        with folder.locked():
            folder.perform(stage, function, values)


def _first_pass() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config")
    parser.add_argument("--study")
    return parser


class Parser:
    """Flags from signatures, over jsonargparse: types are checked, unknown keys name their nearest neighbour."""

    def __init__(self, program: str, summary: str, docstring: str = "", old: Mapping[str, str] | None = None) -> None:
        import docstring_parser
        import jsonargparse

        parsed = docstring_parser.parse(docstring)
        text = "\n\n".join(part for part in (parsed.short_description, parsed.long_description) if part) or summary
        self._parser = jsonargparse.ArgumentParser(
            prog=program, description=text, exit_on_error=False, formatter_class=_formatter(), allow_abbrev=False
        )
        self._keys: dict[str, Parameter] = {}
        self._filled: dict[str, Any] = {}
        self._sections: dict[str, type] = {}
        self._old = dict(old or {})

    def add_config_flags(self, study: bool) -> None:
        """--config, and --study where the stage has no parameter of that name."""
        self._parser.add_argument(
            "--config", metavar="YAML", help="A study's YAML, or one of just these settings; flags win over it."
        )
        if study:
            self._parser.add_argument(
                "--study", metavar="DIR", help="A study folder, whose files and settings fill what is not given."
            )

    def add_flag(self, name: str, help: str) -> None:
        """A plain switch that is no setting."""
        self._parser.add_argument(f"--{name}", action="store_true", help=help)

    def add(self, wanted: Mapping[str, Parameter], section: str = "", positional: str = "") -> None:
        """Flags for parameters, below `section.` if given; a dataclass parameter becomes a section."""
        import jsonargparse

        for name, parameter in wanted.items():
            if parameter.is_section:
                self._sections[name] = parameter.type
                self.add(parameters(parameter.type), section=name)
                continue
            key = f"{section}.{name}" if section else name
            self._keys[key] = parameter
            help_text = parameter.help or argparse.SUPPRESS
            if parameter.required:
                help_text = f"{parameter.help} (required, or from --study)"
            default = None if parameter.required else parameter.default
            if name == positional:
                self._parser.add_argument(key, type=parameter.type, nargs="?", help=help_text)
            elif parameter.type is bool:
                self._parser.add_argument(f"--{key}", action=jsonargparse.ActionYesNo, default=default, help=help_text)
            elif parameter.type in (list[str], list[str] | None):
                self._parser.add_argument(f"--{key}", type=str, nargs="+", default=default, help=help_text)
            else:
                self._parser.add_argument(
                    f"--{key}", type=parameter.type, default=default, help=help_text, metavar=_metavar(parameter)
                )

    def fill(self, values: Mapping[str, Any], source: str) -> None:
        """Values from a file, under the flags' keys, checked one by one.

        Raises:
            InputError: For a key that is no setting (with the nearest that is) or a value of a wrong type.
        """
        for key, value in renamed(values, self._old, source).items():
            if key not in self._keys:
                raise InputError(f"{source}: {key}: no such setting{nearest(key, self._keys)} (value {value!r:.60})")
            found = repr(value)  # before the parser may change it
            try:
                if value is None and not self._keys[key].required and type(None) not in _parts(self._keys[key].type):
                    raise TypeError
                parsed = self._parser.parse_object(_nested({key: _whole(value, self._keys[key])}), defaults=False)
            except (argparse.ArgumentError, TypeError, ValueError, RuntimeError):  # the last for a mapping as a list
                raise InputError(f"{source}: {key}: {found} is not {describe_type(self._keys[key].type)}") from None
            _check_least(f"{source}: {key}", key, parsed[key])
            self._filled[key] = parsed[key]

    def parse(self, arguments: Sequence[str]) -> dict[str, Any]:
        """Flags over filled values over defaults -> parameter (or section) -> value."""
        import jsonargparse

        self._parser.set_defaults(self._filled)
        arguments = [self._today(argument) for argument in arguments]
        arguments = [_whole(a, self._keys.get(_flag_before(arguments, i))) for i, a in enumerate(arguments)]
        arguments = self._switches(arguments)
        try:
            parsed = self._parser.parse_args(arguments)
        except argparse.ArgumentError as error:
            raise InputError(self._explain(arguments, str(error))) from None
        assert isinstance(parsed, jsonargparse.Namespace)
        values: dict[str, Any] = {}
        for key in self._keys:
            _check_least(f"{self._parser.prog}: --{key}", key, parsed[key])
            section, _, name = key.rpartition(".")
            if section:
                values.setdefault(section, {})[name] = parsed[key]
            else:
                values[name] = parsed[key]
        for name, kind in self._sections.items():
            values[name] = kind(**values[name])
        self.extras = {k: v for k, v in parsed.as_dict().items() if k not in values}
        return values

    def _today(self, argument: str) -> str:
        """A flag by its name of today: --old, --old=value, --no_old and --old.entry."""
        flag, equals, value = argument.partition("=")
        for old, new in self._old.items() if flag.startswith("--") else ():
            for before in ("--", "--no_"):
                if flag == f"{before}{old}" or flag.startswith(f"{before}{old}."):
                    note_old_name(self._parser.prog, f"--{old}", f"--{new}")
                    return f"{before}{new}{flag.removeprefix(before + old)}{equals}{value}"
        return argument

    def _switches(self, arguments: Sequence[str]) -> list[str]:
        """`--save true` (or =true) as the switch --save, `--save false` as --no_save."""
        plain: list[str] = []
        for argument in arguments:
            flag, _, value = argument.partition("=") if "=" in argument else (plain[-1] if plain else "", "", argument)
            parameter = self._keys.get(flag.removeprefix("--")) if flag.startswith("--") else None
            if value in ("true", "false") and parameter is not None and parameter.type is bool:
                if "=" not in argument:
                    plain.pop()
                plain.append(flag if value == "true" else f"--no_{flag.removeprefix('--')}")
            else:
                plain.append(argument)
        return plain

    def _explain(self, arguments: Sequence[str], message: str) -> str:
        flags = [a.split("=")[0].removeprefix("--") for a in arguments if a.startswith("--")]
        known = {*self._keys, "config", "study", "help", *(f"no_{k}" for k in self._keys)}
        for flag in flags:
            if (
                flag not in known
                and not any(flag.startswith(f"{key}.") for key in self._keys)
                and "nrecogni" in message
            ):
                return f"{self._parser.prog}: --{flag}: no such flag{nearest(flag, self._keys)}"
        for flag in flags:  # one entry of a mapping: --fixed.deu 0.45
            key = next((k for k in self._keys if flag.startswith(f"{k}.")), "")
            entry = _entry_type(self._keys[key].type) if key else None
            if entry is not None and f"key={flag.removeprefix(f'{key}.')!r}" in message:
                return f"{self._parser.prog}: --{flag}: {_given(arguments, flag)!r} is not {describe_type(entry)}"
        for key, parameter in self._keys.items():
            if f'"{key}"' in message or f"--{key}:" in message or f"--{key} " in message:
                given = _given(arguments, key)
                return f"{self._parser.prog}: --{key}: {given!r} is not {describe_type(parameter.type)}"
        return f"{self._parser.prog}: {' '.join(message.split())}"


def _check_least(where: str, key: str, value: Any) -> None:
    least = LEAST.get(key.rpartition(".")[2])
    if least is not None and isinstance(value, int) and value < least:
        raise InputError(f"{where}: {value} is too low; {least} or more is wanted")


def _whole(value: Any, parameter: Parameter | None) -> Any:
    """`value` as a whole number where one is wanted and 25e9 or 1_000 says one; else as it is."""
    if parameter is None or parameter.type not in (int, int | None) or isinstance(value, bool | int):
        return value
    try:
        number = float(str(value).replace("_", ""))
    except ValueError:
        return value
    if not number.is_integer():
        return value
    return int(number) if isinstance(value, float) else str(int(number))


def _parts(kind: Any) -> tuple[Any, ...]:
    return (kind, *typing.get_args(kind))


def _flag_before(arguments: Sequence[str], position: int) -> str:
    return arguments[position - 1].removeprefix("--") if position else ""


def _given(arguments: Sequence[str], key: str) -> str:
    for position, argument in reversed(list(enumerate(arguments))):  # the last one counts
        if argument == f"--{key}":
            return arguments[position + 1] if position + 1 < len(arguments) else ""
        if argument.startswith(f"--{key}="):
            return argument.split("=", 1)[1]
    return ""


def _entry_type(kind: Any) -> Any:
    """What a mapping maps to, also where it is one of several types; None for all else."""
    mappings = [k for k in (kind, *typing.get_args(kind)) if typing.get_origin(k) is dict]
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


def _metavar(parameter: Parameter) -> str | None:
    for kind in (parameter.type, *typing.get_args(parameter.type)):
        if typing.get_origin(kind) is Literal:
            return "{" + ",".join(map(str, typing.get_args(kind))) + "}"
    if "Path" in str(parameter.type):
        return "PATH"
    return "N" if parameter.type in (int, int | None) else "X" if parameter.type in (float, float | None) else "VALUE"


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        (nested.setdefault(section, {}) if section else nested)[name] = value
    return nested


def _formatter() -> Any:
    from jsonargparse import DefaultHelpFormatter

    class Formatter(DefaultHelpFormatter):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "max_help_position": 28, "width": 110})

        def _get_help_string(self, action: argparse.Action) -> str:
            """The help and the default; a type is what the flag's placeholder says (N, X, PATH, the choices)."""
            text = action.help or ""
            if (
                action.default is None
                or action.default is argparse.SUPPRESS
                or action.dest in ("help", "config", "study")
            ):
                return text
            default = str(action.default).lower() if isinstance(action.default, bool) else str(action.default)
            return f"{text} (default: {default.replace('%', '%%')})"

        def _fill_text(self, text: str, width: int, indent: str) -> str:
            return "\n\n".join(textwrap.fill(" ".join(part.split()), width) for part in text.split("\n\n"))

    return Formatter


if __name__ == "__main__":
    sys.exit(main())
