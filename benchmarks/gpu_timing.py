"""How long work takes on a device that the host does not wait for."""

import statistics
import time
from collections.abc import Callable


def seconds_of(action: Callable[[], object], cuda: bool, repeats: int = 20) -> float:
    """The median time of an action."""
    import torch

    for _ in range(3):
        action()
    times = []
    for _ in range(repeats):
        if cuda:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            action()
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1000)
        else:
            before = time.perf_counter()
            action()
            times.append(time.perf_counter() - before)
    return statistics.median(times)


def steady(take_step: Callable[[], None], device: str, seconds: float, limit: int = 10**9) -> float:
    """Seconds of a step after the first five, the median over some groups of steps; at most `limit` steps are taken."""
    import torch

    def wait() -> float:
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    for _ in range(5):  # A graph is captured at the fourth.
        take_step()
    start = wait()
    take_step()
    once = wait() - start
    if once > seconds / 2:  # One more long step is enough.
        start = wait()
        take_step()
        return (once + wait() - start) / 2
    group = max(1, min(400, int(seconds / 4 / max(once, 1e-5))))
    times: list[float] = []
    taken = 6
    while (len(times) < 3 or group * sum(times) < seconds) and taken + group <= limit:
        start = wait()
        for _ in range(group):
            take_step()
        times.append((wait() - start) / group)
        taken += group
        if group * sum(times) > 3 * seconds:
            break
    return statistics.median(times or [once])
