"""Temporary folders that end with the process that made them; what a killed one leaves is removed by the next process."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from proxymix.files import is_alive, this_machine

NAME = re.compile(r"proxymix-(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-.+")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, which is removed at the end of the block."""
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=f"proxymix-{this_machine()}-{os.getpid()}-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_abandoned(parent: Path) -> None:
    """Remove the folders of this user's processes on this machine that are no more."""
    with os.scandir(parent) as entries:
        found = [(entry, match) for entry in entries if (match := NAME.fullmatch(entry.name))]
    for entry, match in found:
        if match["machine"] != this_machine() or is_alive(int(match["process"])):
            continue
        with suppress(OSError):  # Another process removes it too.
            if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                shutil.rmtree(entry.path, ignore_errors=True)
