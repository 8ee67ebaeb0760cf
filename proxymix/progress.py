"""How far the work is -> a bar with the time left on a terminal, and a line now and then elsewhere. Both go to stderr."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import TextIO

LINE_EVERY_SECONDS = 20.0
_LISTENER: ContextVar[Callable[[str], None] | None] = ContextVar("listener", default=None)


def say(message: str) -> None:
    """Write a line to where messages go, or hand it to whoever listens."""
    if listener := _LISTENER.get():
        listener(message)
    else:
        print(message, file=message_stream(), flush=True)


def message_stream() -> TextIO:
    """stderr, because stdout is for answers. In a notebook stdout, because stderr is shown there as a red box."""
    return sys.stdout if type(sys.stderr).__module__.startswith("ipykernel.") else sys.stderr


@contextmanager
def listening(listener: Callable[[str], None] | None) -> Iterator[None]:
    """Within this context messages go to `listener`; to where they usually go if that is None."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


@contextmanager
def without(beginning: str) -> Iterator[None]:
    """Within this context messages that begin so are not said."""
    outer = _LISTENER.get()

    def hear(message: str) -> None:
        if not message.startswith(beginning):
            with listening(outer):
                say(message)

    with listening(hear):
        yield


@cache
def say_once(message: str) -> None:
    """Write a line that this process has not written yet: what is looked at twice is reported once."""
    say(message)


def duration(seconds: float) -> str:
    """95 -> '1 min 35 s', 7500 -> '2 h 5 min'."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"


class Bar:
    """How far a stage is: `show` shows how many of the `total` units are done, and the time left; without it a line says
    so now and then.
    """

    def __init__(self, description: str, total: float, unit: str, show: Callable[[float, str], None] | None) -> None:
        self.description, self.total, self.unit = description, total, unit
        self.done = 0.0
        self._show = show
        self._last_line = time.monotonic()
        self._began: tuple[float, float] | None = None  # when the first units were done, and how many they were

    def advance(self, amount: float = 1.0) -> None:
        """Count `amount` more as done."""
        self.done += amount
        now = time.monotonic()
        self._began = self._began or (now, self.done)
        left = self._time_left(now, *self._began)
        if self._show is not None:
            self._show(self.done, left)
        elif now - self._last_line >= LINE_EVERY_SECONDS and self.done < self.total:
            self._last_line = now
            done = f"{self.description}: {self.done:,.0f} of {self.total:,.0f} {self.unit}"
            say(f"{done}, {left}" if left else done)

    def _time_left(self, now: float, since: float, before: float) -> str:
        """The time left by the speed since the first units, so that a slow start does not count; none is said at first."""
        if now - since < LINE_EVERY_SECONDS or self.done <= before:
            return ""
        return f"{duration((now - since) / (self.done - before) * (self.total - self.done))} left"


@contextmanager
def progress(description: str, total: float, unit: str = "") -> Iterator[Bar]:
    """A bar over `total` units of work, such as "runs" or "MB"."""
    if not sys.stderr.isatty():
        yield Bar(description, total, unit, None)
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn(unit),
    )
    times = (bars.TimeElapsedColumn(), bars.TextColumn("{task.fields[left]}"))
    with bars.Progress(*columns, *times, console=Console(stderr=True)) as rich_bar:
        task = rich_bar.add_task(description, total=total, left="")
        yield Bar(description, total, unit, lambda done, left: rich_bar.update(task, completed=done, left=left))
