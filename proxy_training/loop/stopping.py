"""Ctrl+C, SIGTERM or a word of the parent -> training ends after its step, and its state is kept."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ASKED = threading.Event()
"""Whether this process is to stop. Training then writes its state after the step, and raises KeyboardInterrupt."""


@contextmanager
def stopping_after_a_step() -> Iterator[None]:
    """Within the block, a first signal sets ASKED, because in the middle of a step a state would be half a step's.

    A second signal does what it did before.
    """
    if threading.current_thread() is not threading.main_thread():  # Only that one gets signals.
        yield
        return
    before = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) != signal.SIG_IGN}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def ask(*_: Any) -> None:
        ASKED.set()
        restore()

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        restore()
        ASKED.clear()
