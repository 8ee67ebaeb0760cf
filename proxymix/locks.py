"""One process at a time in a folder that is written to."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxymix.errors import StageError
from proxymix.progress import say

NAME = ".lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of a file system that has no locks."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process alone. The system releases it when the process ends, however it ends.

    The lock is on FOLDER/.lock, which holds the number of the process and is gone afterwards. On a file system without
    locks the work goes on with a note.

    Raises:
        StageError: If another process holds the folder.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(folder / NAME)
    try:
        yield
    finally:
        if descriptor is not None:
            (folder / NAME).unlink(missing_ok=True)
            os.close(descriptor)


def _lock(path: Path) -> int | None:
    """The descriptor of the locked file; None where the file system has no locks."""
    while True:
        # A link is not followed: what it leads to is not ours to write.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_file(path, descriptor):
                os.ftruncate(descriptor, 0)
                os.write(descriptor, str(os.getpid()).encode())
                return descriptor
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip() or "?"
            os.close(descriptor)
            raise StageError(
                f"{path.parent}: another proxymix command (process {holder}) works here; wait until it ends, or stop it"
            ) from None
        except OSError as error:
            os.close(descriptor)
            if error.errno not in NO_LOCKS:
                raise
            say(
                f"{path.parent}: this file system has no locks ({error.strerror}); start only one command at a time that "
                "writes here"
            )
            return None
        os.close(descriptor)  # Its last holder removed the file between the two calls.


def _is_file(path: Path, descriptor: int) -> bool:
    """Whether an open file is still the one at a path."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False
