"""The command line: commands, their exit statuses, and a stage called with its flags.

proxymix STAGE --help; proxymix run --config configs/quickstart.yaml
"""

import contextlib
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any

from proxymix import __version__
from proxymix.app.stages import ALIASES, STAGES, Stage, stage_named
from proxymix.errors import InputError, StageError
from proxymix.messages import nearest

DONE, FAILED, WRONG_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses."""

PROGRAM_COMMANDS = {
    "run": "everything a study needs, in order; done stages are skipped",
    "status": "what is done, stale or missing in a study",
    "init": "a corpus -> a commented YAML for a study of it",
    "compare": "two studies, or two mixtures, side by side",
}


def main(argv: Sequence[str] | None = None) -> int:
    """`proxymix COMMAND ...`. Returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    return _exit_status(lambda: _dispatch(arguments))


def run(function: Callable[..., object], argv: Sequence[str] | None = None) -> None:
    """`python package/stage.py ...`: the same command as `proxymix STAGE ...`; ends the process with its exit status."""
    stage = next(stage for stage in STAGES if stage.function.split(":")[1] == function.__name__)
    program = f"python {stage.function.split(':')[0].replace('.', '/')}.py"
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(_exit_status(lambda: run_stage(stage, arguments, program)))


def _dispatch(arguments: list[str]) -> None:
    command, rest = (arguments[0], arguments[1:]) if arguments else ("--help", [])
    if command == "help":  # proxymix help COMMAND
        command, rest = (rest[0], ["--help"]) if rest else ("--help", [])
    names = [stage.name for stage in STAGES]
    if command in ("-h", "--help"):
        print(_overview())
    elif command == "--version":
        print(f"proxymix {__version__}")
    elif command == "run":
        from proxymix.app.run import run_command

        run_command(rest)
    elif command == "status":
        from proxymix.app.status import status_command

        status_command(rest)
    elif command == "init":
        from proxymix.app.init import init
        from proxymix.app.parameters import build_arguments

        init(**build_arguments(init, _parsed(init, "init", "corpus", rest)))
    elif command == "compare":
        from proxymix.app.compare import compare_command

        compare_command(rest)
    elif command == "check" and (folder := _study_in(rest)) is not None:
        from proxymix.app.study_check import check_command

        check_command(folder, "--json" in rest)
    elif command in names:
        run_stage(stage_named(command), rest, f"proxymix {command}")
    else:
        hint = nearest(command, [*PROGRAM_COMMANDS, *names]) or "; `proxymix --help` lists them"
        raise InputError(f"proxymix {command}: no such command{hint}")


def _parsed(function: Callable[..., None], command: str, positional: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The arguments of a command that is no stage."""
    from proxymix.app.help import examples
    from proxymix.app.parameters import parameters
    from proxymix.app.parser import Parser

    parser = Parser(f"proxymix {command}", function.__doc__ or "", examples=examples(command))
    parser.add(parameters(function), positional)
    values = parser.parse(arguments)
    if values[positional] is None:
        raise InputError(f"proxymix {command}: {positional.upper()} is missing (see proxymix {command} --help)")
    return values


def _study_in(arguments: Sequence[str]) -> Path | None:
    """The study that `proxymix check STUDY [--json]` is given; None for token shards, and where more is asked for."""
    from proxymix.app.study_check import is_study

    words = [argument.removeprefix("--study=") for argument in arguments if argument not in ("--json", "--study")]
    folder = Path(words[0]).expanduser() if len(words) == 1 else None
    return folder if folder is not None and is_study(folder) else None


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


def run_stage(stage: Stage, arguments: Sequence[str], program: str) -> None:
    """Parse a stage's flags and call it; with --study, its files lie in the study and its settings in study.yaml."""
    from proxymix.app.config import read_stage_settings
    from proxymix.app.help import examples, grouped
    from proxymix.app.old_names import old_keys
    from proxymix.app.parameters import build_arguments, parameters
    from proxymix.app.parser import Parser, given_value
    from proxymix.app.study import Study

    function = stage.load()
    wanted = parameters(function)
    shared = {name.partition(".")[0] for name in wanted if "." in name}
    own = "" if stage.settings_section in shared else stage.settings_section
    old = old_keys({*shared, stage.settings_section}, own)
    parser = Parser(program, function.__doc__ or stage.help, old, examples(stage.name), ALIASES.get(stage.name))
    parser.add_file_flags(study="study" not in wanted)
    parser.add(wanted, stage.positional, grouped(stage, wanted))
    study_given, config_given = (given_value(arguments, name) for name in ("study", "config"))
    study = Study(Path(study_given)) if study_given else None
    if study is not None:
        study.must_exist()
        parser.fill(study.call(stage, study.config()), str(study.path / "study.yaml"))
    if config_given:
        parser.fill(read_stage_settings(Path(config_given), stage), config_given)
    values = parser.parse(arguments)
    for name in (name for name, parameter in wanted.items() if parameter.required and values[name] is None):
        hint = f", or --study DIR, where it is DIR/{stage.files[name]}" if name in stage.files else ""
        raise InputError(f"{program}: --{name} is missing{hint} (see {program} --help)")
    if study is not None and stage.name != "check":
        study.require_whole(stage, values)
    if study is None or not stage.in_study:
        function(**build_arguments(function, values))
    else:
        values = study.beside(stage, values)
        with study.locked() if study.is_touched_by(stage, values) else contextlib.nullcontext():
            study.perform(stage, function, values)


def _exit_status(action: Callable[[], None]) -> int:
    """The exit status of a command. What a user can mend ends with a message and no traceback."""
    os.environ.setdefault("PYTHONSAFEPATH", "1")  # Processes that it starts take no modules from the current folder.
    for number in (signal.SIGTERM, signal.SIGHUP):  # These end a command as Ctrl+C does, not in the middle of a line.
        if threading.current_thread() is threading.main_thread() and signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        action()
    except InputError as error:
        return _fail(str(error), WRONG_INPUT)
    except StageError as error:
        return _fail(str(error), FAILED)
    except OSError as error:
        if error.errno == errno.EPIPE:
            return DONE  # the reader of our output has seen enough (`| head`)
        return _fail(*_explained(error))
    except MemoryError:
        return _fail("out of memory; free some, or give the command less (fewer --workers, smaller files)", FAILED)
    except BrokenExecutor as error:
        return _fail(
            f"a process that computed died, as a rule for want of memory ({error}); free some, or take fewer --workers",
            FAILED,
        )
    except KeyboardInterrupt:
        return _fail("stopped; the same command continues from here", INTERRUPTED)
    return DONE


def _explained(error: OSError) -> tuple[str, int]:
    """What to do about an error of the system, and the exit status."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = error.filename or "while writing"
        return f"no space left on the disk ({where}); free some and run the same command again", FAILED
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return f"{error.filename}: {error.strerror}; choose a place that can be written and read", FAILED
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.EBUSY, errno.ENAMETOOLONG):
        place = error.filename2 or error.filename
        return f"{place}: {error.strerror}; choose another place for the output", WRONG_INPUT
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return (
            f"too many open files ({error.filename}); allow more with `ulimit -n 4096`, or take fewer --workers",
            FAILED,
        )
    place = f"{error.filename2 or error.filename}: " if error.filename else ""
    what = error.strerror or str(error) or type(error).__name__
    if error.errno in (errno.ENOENT, errno.ESTALE):
        return (
            f"{place}{what}; it was there before, so look who removes or unmounts it, and run the command again",
            FAILED,
        )
    return f"{place}{what}; look after the disk, the network or the machine, and run the same command again", FAILED


def _fail(message: str, status: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
