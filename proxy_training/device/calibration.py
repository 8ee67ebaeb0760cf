"""What training costs on this device, measured in seconds of it: how proxies are laid out here, and how long a sweep takes.

A speed that was measured is remembered in the user's cache, so that the next sweep of the same kind starts at once.
"""

import contextlib
import json
import math
import platform
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from proxy_training.device.layout import Layout, device_here, fitting_stack, free_bytes, gpu_name, layout_of, num_gpus
from proxy_training.device.trial import Speed, disagreement
from proxy_training.launch.worker_process import Worker, one_gpu
from proxy_training.model.proxy import flops_per_token
from proxy_training.runs.settings import TrainSettings
from proxymix.errors import StageError
from proxymix.files import cache_folder, replacing
from proxymix.progress import progress, say

STACKS = (1, 4, 16, 64)  # Proxies in a process that are tried.
BETTER = 1.03  # A larger stack must be faster by this: small ones lose less when interrupted, and spread more evenly.
WORTH_FLOP = {"cpu": 3e12, "cuda": 3e15}  # Calibrate only when a worker has at least a minute of work.
SCORING = {False: 0.4, True: 0.55}  # Scoring a token, in training steps; a compiled step is 1.37 times as fast.
RUN_SECONDS = 0.3  # Of a run: wandb and files.
WORTH_COMPILING = 150.0  # Seconds of a worker's share. Compiling saves a fifth, and takes 45 s first and 3 s later.
ON_DEVICE = {"corpus": "device", "graph": True}
VARIANTS: dict[str, tuple[dict[str, Any], ...]] = {
    "cpu": (),
    "cuda": (
        {"head": "fused"},
        {"head": "liger"},
        {"head": "cut"},
        {"graph": True},
        ON_DEVICE,
        {**ON_DEVICE, "head": "fused"},
        {**ON_DEVICE, "head": "fused", "optimizer": "fused"},
        {**ON_DEVICE, "head": "liger", "optimizer": "fused"},
        {**ON_DEVICE, "head": "cut", "optimizer": "fused"},
    ),
}
"""Faster ways that are tried, by device."""


def chosen_layout(settings: TrainSettings, vocabulary: int, num_runs: int, workers: int) -> Layout:
    """What `settings` leave open, fitted to this device: by a rule for a short sweep, by what is fastest for a longer one.

    A faster way (VARIANTS) is taken only if its losses also are those of the reference on the same batches.

    Args:
        settings: How proxies are trained.
        vocabulary: Ids of the tokenizer.
        num_runs: Proxies to train.
        workers: Processes that share them.
    """
    share, device = -(-num_runs // workers), device_here()  # runs of one process
    available = free_bytes(device) // (workers if device == "cpu" else -(-workers // num_gpus()))
    usual = layout_of(settings, vocabulary, available)
    usual = replace(usual, models_per_process=min(usual.models_per_process, share))
    flop = flops_per_token(settings.model, vocabulary, settings.sequence_length) * settings.tokens * share
    if "auto" not in (settings.models_per_process, settings.compile) or flop < WORTH_FLOP[device]:
        return usual
    # ---- 1. How many proxies share a process.
    stacks = [usual.models_per_process]
    if settings.models_per_process == "auto":
        most = min(share, fitting_stack(settings, vocabulary, available))
        stacks = sorted({k for k in STACKS if k <= most} | {usual.models_per_process})
    tried = [layout_of(replace(settings, models_per_process=k), vocabulary, available) for k in stacks]
    costs = _costs(settings, vocabulary, tried)
    best, least = tried[0], costs[0]
    for layout, found in zip(tried[1:], costs[1:], strict=True):
        if found * BETTER < least:
            best, least = layout, found
    # ---- 2. Faster ways to do the same, and last whether compiling pays besides.
    if VARIANTS[device]:
        best, least = _faster(
            settings, vocabulary, best, [replace(best, **change) for change in VARIANTS[device]], least
        )
    if settings.compile == "auto" and least * settings.tokens * share > WORTH_COMPILING:
        best, _ = _faster(settings, vocabulary, best, [replace(best, compile=True)], least)
    return best


def _faster(
    settings: TrainSettings, vocabulary: int, best: Layout, others: Sequence[Layout], least: float
) -> tuple[Layout, float]:
    """The fastest of `best` and some others, and its seconds per token; what a failing process leaves is `best`."""
    try:
        costs = _costs(settings, vocabulary, others, best)
    except StageError as error:
        say(f"faster ways are left out: {error}")
        return best, least
    fastest = min(range(len(others)), key=lambda number: costs[number])
    return (others[fastest], costs[fastest]) if costs[fastest] * BETTER < least else (best, least)


def _costs(
    settings: TrainSettings, vocabulary: int, layouts: Sequence[Layout], reference: Layout | None = None
) -> list[float]:
    """Seconds per token of each layout, as remembered; those that are not are measured, said, and remembered.

    Args:
        settings: How proxies are trained.
        vocabulary: Ids of the tokenizer.
        layouts: What to measure.
        reference: A layout whose losses theirs must agree with; infinite costs where they do not.
    """
    path = cache_folder() / "speeds.json"
    known = _read(path)
    what = [
        platform.node(),
        gpu_name(),
        version("torch"),
        settings.model,
        settings.sequence_length,
        settings.batch_size,
        vocabulary,
    ]
    keys = [json.dumps([*what, layout.record()]) for layout in layouts]
    missing = {key: layout for key, layout in zip(keys, layouts, strict=True) if _cost(known.get(key)) is None}
    if missing:
        start = time.monotonic()
        if any(layout.compile for layout in missing.values()):
            say("trying torch.compile, whose first time takes a minute")
        compared = [reference] if reference is not None else []
        speeds = measured(settings, vocabulary, [*compared, *missing.values()])[0]
        for key, layout, speed in zip(missing, missing.values(), speeds[len(compared) :], strict=True):
            problem = disagreement(speed, speeds[0], layout.precision) if compared and speed.losses else speed.problem
            known[key] = f"left out: {problem}" if problem and reference is not None else speed.seconds_per_token
        lasting = {key: cost for key, cost in known.items() if cost != math.inf}  # Memory may be free another time.
        with contextlib.suppress(OSError), replacing(path) as temporary:  # Without a cache, calibration runs again.
            temporary.write_text(json.dumps(lasting, indent=1), encoding="utf-8")
        figures = ", ".join(_said(layout, known[key]) for key, layout in missing.items())
        say(f"measured in {time.monotonic() - start:.0f} s: tokens/s of a process by proxies in it: {figures}")
    return [found if (found := _cost(known[key])) is not None else math.inf for key in keys]


def _cost(remembered: Any) -> float | None:
    """Seconds per token; infinite where the layout was left out, None where nothing is remembered."""
    if isinstance(remembered, str) and remembered.startswith("left out"):
        return math.inf
    return remembered if isinstance(remembered, float) else None


def _said(layout: Layout, cost: Any) -> str:
    """ "12,500 with 4 compiled", or why that was left out."""
    ways = [f"{name} {value}" if isinstance(value, str) else name for name, value in layout.variants.items()]
    ways += ["compiled"] if layout.compile else []
    name = " ".join([str(layout.models_per_process), *ways])
    return f"{name} {cost}" if isinstance(cost, str) else f"{1 / cost:,.0f} with {name}"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def measured(
    settings: TrainSettings, vocabulary: int, layouts: Sequence[Layout], workers: int = 1
) -> list[list[Speed]]:
    """Train on random tokens for a few seconds in each layout, one after another in as many processes as a sweep has.

    Returns:
        For each worker the speed of each layout.

    Raises:
        StageError: If a process fails.
    """
    job = {"settings": asdict(settings), "vocabulary": vocabulary, "layouts": [asdict(layout) for layout in layouts]}
    with ExitStack() as stack:
        team = [stack.enter_context(Worker(job, one_gpu(number))) for number in range(workers)]
        bar = stack.enter_context(progress("measure speed", len(layouts), "layouts"))
        answers: list[list[dict[str, Any]]] = [[] for _ in team]
        for _ in layouts:
            for worker, of_one in zip(team, answers, strict=True):
                of_one.append(worker.answer())
            bar.advance()
        for worker, of_one in zip(team, answers, strict=True):
            if not all(of_one):
                raise StageError(f"a worker could not train a first step: {worker.exit_reason()}")
    return [[Speed(**answer) for answer in of_one] for of_one in answers]


def predicted_seconds(
    seconds_per_token: float, settings: TrainSettings, layout: Layout, num_domains: int, num_runs: int
) -> float:
    """How long a process takes that trains `num_runs`, without its start, from what a token of one proxy costs it."""
    scored = settings.evaluations * settings.valid_tokens * num_domains
    tokens = settings.num_steps * settings.tokens_per_step + SCORING[layout.compile] * scored
    return num_runs * (tokens * seconds_per_token + RUN_SECONDS)
