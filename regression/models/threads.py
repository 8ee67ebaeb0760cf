"""Work on several processes, each with one thread for linear algebra, so that results do not depend on the machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

from proxymix.progress import progress
from proxymix.siblings import call


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


def in_parallel(
    function: Callable[..., Any], tasks: Sequence[tuple[Any, ...]], workers: int | None, description: str, unit: str
) -> list[Any]:
    """The function of every task, in order, with a progress bar; a process for every core when `workers` is left out."""
    import joblib

    results = []
    with progress(description, total=len(tasks), unit=unit) as bar:
        processes = min(workers or joblib.cpu_count(), max(len(tasks), 1))
        jobs = (joblib.delayed(call)(function, *task) for task in tasks)
        for result in joblib.Parallel(processes, return_as="generator")(jobs):
            results.append(result)
            bar.advance()
    return results
