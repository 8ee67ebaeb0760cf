"""One thread for linear algebra, so that results do not depend on the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any


@contextmanager
def single_thread() -> Iterator[None]:
    """Run linear algebra in one thread: small matrices gain nothing from more, and rounding depends on their number."""
    with _thread_pools().limit(limits=1):
        yield


@cache
def _thread_pools() -> Any:
    """The thread pools of this process. Finding them takes milliseconds, so they are found once."""
    import scipy.linalg  # noqa: F401  # its own BLAS must be loaded for the limit to reach it
    from threadpoolctl import ThreadpoolController  # type: ignore[import-untyped]

    return ThreadpoolController()
