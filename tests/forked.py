"""A command in a forked copy of this process, which may die, or meet an error, just before its N-th change of a file.

A fork is warm: torch and the rest are imported once, so a command costs what it does and no more.
"""

import contextlib
import functools
import io
import mmap
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal
from unittest import mock

from proxymix.app.cli import main

DIED, CRASHED = 77, 70
"""Exit statuses: of the death that was asked for, and of an error that nobody caught."""
SHARED_BYTES = 1 << 20
SECONDS = 120
"""After so long a command is stuck."""
Where = Literal["command", "worker"]


@dataclass(frozen=True)
class Fault:
    """What happens just before the N-th change of a file: a write's begin, fsync, rename, removal, new folder.

    Attributes:
        at: N, counted from 1.
        below: Only changes below this folder count.
        error: The errno of the error that is raised instead; 0 for a death in which no `finally` clause runs.
        where: Whether the changes of the command count, or those of its workers.
        once: Whether only one process meets it, so that a worker that is started in its place does not.
    """

    at: int
    below: Path
    error: int = 0
    where: Where = "command"
    once: bool = False


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: Its exit status, or minus the signal that killed it (-14: it was stuck).
        text: What it wrote, to stdout and stderr.
        changes: The changes of files that it began, and the one before which it met its fault, in their order.
        met: Whether it met its fault.
    """

    status: int
    text: str
    changes: list[str]
    met: bool

    def check_sentence(self) -> None:
        """AssertionError: it failed otherwise than with one message and no traceback."""
        assert self.status in (1, 2), f"exit status {self.status}\n{self.text}"
        errors = [line for line in self.text.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1 and "Traceback" not in self.text, self.text


def here(*arguments: object) -> Ended:
    """`proxymix ARGUMENTS` in this process."""
    text = io.StringIO()
    with cheap(), contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else CRASHED
        except Exception:
            traceback.print_exc()
            status = CRASHED
    return Ended(status, text.getvalue(), [], False)


def command(
    *arguments: object, fault: Fault | None = None, file_bytes: int | None = None, action: Callable[..., int] = main
) -> Ended:
    """`proxymix ARGUMENTS` in a forked process.

    Args:
        arguments: The command and its flags.
        fault: What befalls it.
        file_bytes: The largest file that it may write, as on a disk that is full.
        action: What is called with the arguments instead of the command line.
    """
    shared = mmap.mmap(-1, SHARED_BYTES)
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    if not (child := os.fork()):
        status = CRASHED
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(SECONDS)
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(writing)
            os.close(reading)
            _speak_plainly()
            tempfile.tempdir = None
            _count_changes(shared, fault)
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, resource.RLIM_INFINITY))
            with cheap():
                status = action([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else CRASHED
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, how = os.waitpid(child, 0)
    met, length = struct.unpack_from("qq", shared)
    changes = shared[16 : 16 + length].decode().splitlines()
    return Ended(os.waitstatus_to_exitcode(how), text, changes, bool(met))


def _speak_plainly() -> None:
    """Streams of this process's own, instead of those that a test runner has put in their place."""
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115


@contextlib.contextmanager
def cheap() -> Iterator[None]:
    """A figure is drawn as the hash of its table, a worker is a fork, and no speed is measured."""
    from proxy_training.launch import train_runs
    from proxymix.plots.figures import Figure

    def drawn(figure: Figure, *_: object) -> str:
        return sha256(figure.table.to_csv().encode()).hexdigest()

    with (
        mock.patch.object(Figure, "svg", lambda *of: f"<svg>{drawn(*of)}</svg>"),
        mock.patch.object(Figure, "png", lambda *of: drawn(*of).encode()),
        mock.patch.object(train_runs, "estimate_seconds", lambda *_: 1.0),
        mock.patch.object(subprocess, "Popen", ForkedWorker),
    ):
        yield


class ForkedWorker(subprocess.Popen):
    """A process; a worker is a fork of this one."""

    def __init__(self, arguments: Sequence[str], *of: Any, **streams: Any) -> None:
        if "proxy_training.launch.worker" in arguments:
            streams["preexec_fn"] = functools.partial(self._work, streams.pop("env"))
        super().__init__(arguments, *of, **streams)

    def _work(self, env: dict[str, str]) -> None:
        from proxy_training.launch import worker

        try:
            os.closerange(3, 4096)
            os.environ.update(env)
            _speak_plainly()
            worker.main()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)


def _count_changes(shared: mmap.mmap, fault: Fault | None) -> None:
    """Count the changes of files that this process and its workers begin, and let the fault befall them."""
    if fault is None:
        return
    command_id = owner = os.getpid()
    count = 0
    below = str(fault.below)

    def change(kind: str, path: str) -> None:
        nonlocal owner, count
        if (os.getpid() == command_id) != (fault.where == "command") or not f"{path}/".startswith(f"{below}/"):
            return
        if os.path.lexists(path) == (kind == "os.mkdir") and kind in ("os.mkdir", "os.remove", "os.rename"):
            return  # Nothing changes.
        if os.getpid() != owner:
            owner, count = os.getpid(), 0
        count += 1
        line = f"{kind} {path.removeprefix(below)}\n".encode()
        (end,) = struct.unpack_from("q", shared, 8)
        shared[16 + end : 16 + end + len(line)] = line
        struct.pack_into("q", shared, 8, end + len(line))
        if count != fault.at or (fault.once and shared[0]):
            return
        struct.pack_into("q", shared, 0, 1)
        if not fault.error:
            os._exit(DIED)
        raise OSError(fault.error, os.strerror(fault.error), path)

    def hook(event: str, of: tuple) -> None:
        if event == "open" and isinstance(of[0], str | bytes) and of[2] & (os.O_WRONLY | os.O_RDWR):
            change("open", os.fsdecode(of[0]))
        elif event in ("os.remove", "os.rmdir"):
            change(event, _in_folder(of[0], of[1]))
        elif event in ("os.mkdir", "os.rename"):
            change(event, _in_folder(of[0], of[2]))

    def fsync(descriptor: int) -> None:
        change("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115

    sys.addaudithook(hook)
    mock.patch.object(os, "fsync", fsync).start()


def _in_folder(path: object, descriptor: int) -> str:
    name = os.fsdecode(path)  # type: ignore[call-overload]
    return name if descriptor < 0 else os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), name)  # noqa: PTH115, PTH118
