"""A sweep on this device -> the layout that trains it fastest, and how long it takes, measured by training for seconds.

Measured speeds are kept in the user's cache, so the next sweep of the same kind starts at once.
"""

import contextlib
import json
import math
import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy_training.device.layout import (
    Layout,
    device_here,
    fitting_models_per_process,
    free_bytes,
    gpu_name,
    layout_of,
    named,
    num_gpus,
)
from proxy_training.device.measuring import MeasuringWorkers
from proxy_training.device.trial import Speed, disagreement
from proxy_training.model.proxy import flops_per_token
from proxy_training.runs.settings import TrainSettings
from proxymix.errors import StageError
from proxymix.files import cache_folder, write_text
from proxymix.progress import say

TRIED_MODELS_PER_PROCESS = (1, 4, 16, 64)
MIN_GAIN = 1.03
"""A layout must be faster than a simpler one by this factor. More proxies in a process lose more work when it is killed, and
spread less evenly over processes."""
WORTH_SECONDS = {"cpu": 60.0, "cuda": 90.0}
"""Calibrate only when a worker has at least so many seconds of work. On an H200 calibration takes about a minute and a
calibrated sweep at most half the time of one that is laid out by rule (benchmarks/README.md)."""
FLOP_RATE = {"cpu": 5e10, "cuda": 7e13}  # FLOP/s of a worker in the reference layout, roughly; 7e13 is an H200's.
PIECE_SECONDS = {"cpu": 0.0, "cuda": 0.012}  # To launch the kernels of one piece of a batch, for all its proxies.
WORTH_COMPILING = {"cpu": 150.0, "cuda": 90.0}
"""Compile only when a worker has at least so many seconds of work. Compiling takes 45 s on a CPU and then saves a fifth of the
time; it takes 25 s on an H200 and then saves half. The compiled code is kept for the next sweep."""
SCORING = {False: 0.4, True: 0.55}  # Scoring a token, in training steps; a compiled step is 1.37 times as fast.
RUN_SECONDS = 0.3  # Time of a run for wandb and files.
START_SECONDS = 8.0  # Until the workers of a sweep train their first step.

Change = dict[str, Any]
EVERYTHING: Change = {"graph": True, "corpus": "device", "head": "fused", "optimizer": "fused"}
FASTER_WAYS: dict[str, tuple[tuple[Change, ...], ...]] = {
    "cpu": (),
    "cuda": (
        (EVERYTHING,),
        (
            {"head": "fused"},
            {"graph": True},
            {"graph": True, "corpus": "device"},
            {"graph": True, "corpus": "device", "head": "fused"},
            {"graph": True, "corpus": "device", "optimizer": "fused"},
        ),
    ),
}
"""Faster ways to do the same, by device. A group is tried only if none of the groups before it brought anything: on an H200
everything at once is fastest at every size that was measured, and each trial takes seconds."""


def chosen_layout(settings: TrainSettings, vocabulary: int, num_runs: int, workers: int) -> Layout:
    """The layout for a sweep: what `settings` say, and where they leave a choice open, what is fastest on this device.

    A short sweep is laid out by rule, because measuring takes a minute. A faster way (FASTER_WAYS) is taken only if its
    losses also are those of the reference layout on the same batches.
    """
    share, device = -(-num_runs // workers), device_here()  # runs of one process
    available = free_bytes(device) // (workers if device == "cpu" else -(-workers // num_gpus()))
    usual = layout_of(settings, vocabulary, available)
    usual = replace(usual, models_per_process=min(usual.models_per_process, share))
    is_open = "auto" in (settings.models_per_process, settings.compile)
    if not is_open or rough_seconds(settings, vocabulary, usual, share) < WORTH_SECONDS[device]:
        return usual
    with SpeedTable(settings, vocabulary) as speeds:
        # ---- 1. How many proxies share a process, in the reference layout.
        counts = [usual.models_per_process]
        if settings.models_per_process == "auto":
            most = min(share, fitting_models_per_process(settings, vocabulary, available))
            counts = sorted({k for k in TRIED_MODELS_PER_PROCESS if k <= most} | {usual.models_per_process})
        tried = [layout_of(replace(settings, models_per_process=k), vocabulary, available) for k in counts]
        try:
            reference = _fastest(tried, speeds.costs(tried))
        except StageError as error:
            say(f"the sweep is laid out by rule, because speeds cannot be measured: {error}")
            return usual
        # ---- 2. Faster ways to do the same. Their losses are compared with those of the reference layout.
        best = reference
        for group in FASTER_WAYS[device]:
            if best == reference:
                best = speeds.faster(best, [replace(reference, **change) for change in group], reference)
        # ---- 3. Whether compiling pays as well. This is last because it takes longest.
        seconds = speeds.costs([best])[0] * settings.tokens * share
        if settings.compile == "auto" and seconds > WORTH_COMPILING[device]:
            best = speeds.faster(best, [replace(best, compile=True)], reference)
    return best


def rough_seconds(settings: TrainSettings, vocabulary: int, layout: Layout, share: int) -> float:
    """How long a worker trains its share of the runs in the reference layout, by FLOP and launches, within a factor of two."""
    flop = flops_per_token(settings.model, vocabulary, settings.sequence_length) * settings.tokens * share
    pieces = -(-share // layout.models_per_process) * settings.num_steps * -(-settings.batch_size // layout.micro_batch)
    return max(flop / FLOP_RATE[layout.device], pieces * PIECE_SECONDS[layout.device])


def expected_seconds(
    settings: TrainSettings, vocabulary: int, num_runs: int, workers: int, num_domains: int
) -> tuple[float, bool]:
    """How long a sweep takes, as far as that is known without measuring.

    Returns:
        Seconds, and whether they follow from a speed that was measured earlier; if not, they are right within a factor of
        two or so.
    """
    share, layout = -(-num_runs // workers), layout_of(settings, vocabulary)
    known = SpeedTable(settings, vocabulary).remembered()
    if not known:
        return START_SECONDS + rough_seconds(settings, vocabulary, layout, share) + share * RUN_SECONDS, False
    compiled, cost = min(known, key=lambda found: found[1])
    seconds = predicted_seconds(cost, settings, replace(layout, compile=compiled), num_domains, share)
    return START_SECONDS + seconds, True


def _fastest(layouts: Sequence[Layout], costs: Sequence[float]) -> Layout:
    """The fastest layout; a later one must be faster by MIN_GAIN."""
    best = 0
    for number in range(1, len(layouts)):
        if costs[number] * MIN_GAIN < costs[best]:
            best = number
    return layouts[best]


class SpeedTable:
    """Seconds per token of layouts: those remembered from earlier calibrations, and others once they are measured."""

    def __init__(self, settings: TrainSettings, vocabulary: int) -> None:
        self._path = cache_folder() / "speeds.json"
        self._known = _read(self._path)
        self._measured: dict[Layout, Speed] = {}  # Measured now, with their losses.
        self._workers = MeasuringWorkers(settings, vocabulary)
        what = (settings.model, settings.sequence_length, settings.batch_size, vocabulary)
        self._what = [platform.node(), gpu_name(), version("torch"), *what]

    def __enter__(self) -> "SpeedTable":
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.close()

    def faster(self, best: Layout, others: Sequence[Layout], reference: Layout) -> Layout:
        """The fastest of `best` and some other layouts. If the process that measures them fails, that is `best`."""
        try:
            costs = self.costs([best]) + self.costs(others, reference)
        except StageError as error:
            say(f"faster ways are left out: {error}")
            return best
        number = min(range(len(others)), key=lambda k: costs[k + 1])
        return _fastest([best, others[number]], [costs[0], costs[number + 1]])

    def costs(self, layouts: Sequence[Layout], reference: Layout | None = None) -> list[float]:
        """Seconds per token of each layout. Those that are not remembered are measured, reported and remembered.

        The cost of a layout whose losses are not those of `reference` is infinite. StageError: a process fails.
        """
        missing = [layout for layout in dict.fromkeys(layouts) if _cost(self._known.get(self._key(layout))) is None]
        if missing:
            self._measure(missing, reference)
        return [found if (found := _cost(self._known[self._key(each)])) is not None else math.inf for each in layouts]

    def remembered(self) -> list[tuple[bool, float]]:
        """Of each layout that was measured for such proxies on this machine: whether it is compiled, seconds per token."""
        keys = [(json.loads(key), cost) for key, cost in self._known.items() if isinstance(cost, float)]
        return [(bool(key[-1].get("compile")), cost) for key, cost in keys if key[:-1] == self._what]

    def _key(self, layout: Layout) -> str:
        return json.dumps([*self._what, layout.record()])

    def _measure(self, missing: Sequence[Layout], reference: Layout | None) -> None:
        start = time.monotonic()
        if any(layout.compile for layout in missing):
            say("trying torch.compile, whose first time takes a minute")
        compared = [reference] if reference is not None and reference not in self._measured else []
        layouts = [*compared, *missing]
        self._measured |= dict(zip(layouts, self._workers.measure(layouts)[0], strict=True))
        for layout in missing:
            speed = self._measured[layout]
            problem = speed.problem
            if reference is not None and speed.losses:
                problem = disagreement(speed, self._measured[reference], layout.precision)
            left_out = bool(problem) and reference is not None
            self._known[self._key(layout)] = f"left out: {problem}" if left_out else speed.seconds_per_token
        # Memory may be free another time.
        lasting = {key: cost for key, cost in self._known.items() if cost != math.inf}
        with contextlib.suppress(OSError):  # Without a cache, calibration runs again.
            write_text(self._path, json.dumps(lasting, indent=1))
        figures = ", ".join(_said(layout, self._known[self._key(layout)]) for layout in missing)
        say(f"measured in {time.monotonic() - start:.0f} s: tokens/s of a process by proxies in it: {figures}")


def _cost(remembered: Any) -> float | None:
    """Seconds per token; infinite if the layout was left out, None if nothing is remembered."""
    if isinstance(remembered, str) and remembered.startswith("left out"):
        return math.inf
    return remembered if isinstance(remembered, float) else None


def _said(layout: Layout, cost: Any) -> str:
    """ "12,500 with 4 compiled", or why that layout was left out."""
    ways = [*named(layout.variants), *(["compiled"] if layout.compile else [])]
    name = " ".join([str(layout.models_per_process), *ways])
    return f"{name} {cost}" if isinstance(cost, str) else f"{1 / cost:,.0f} with {name}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def predicted_seconds(
    seconds_per_token: float, settings: TrainSettings, layout: Layout, num_domains: int, num_runs: int
) -> float:
    """How long a process takes to train `num_runs`, without its start, from the seconds that a token of one proxy takes."""
    scored = settings.evaluations * settings.valid_tokens * num_domains
    tokens = settings.num_steps * settings.tokens_per_step + SCORING[layout.compile] * scored
    return num_runs * (tokens * seconds_per_token + RUN_SECONDS)
