"""Sections "fast" and "compile" of gpu.py: how many tokens a second proxies train on, in which layout."""

import functools
import time
from collections.abc import Iterator, Mapping
from typing import Any

from gpu_baselines import plain_speed, pretrain
from gpu_card import device_of
from gpu_cases import FASTEST_WAY, FIRST_CASE, Case, cases, layout_for, measurement, training_of
from gpu_profile import profile
from gpu_sections import Context, Item, WantsGpu
from gpu_timing import steady


def fast(context: Context) -> Iterator[Item]:
    """First every case's plain loop, reference layout, fastest way and profile; then other ways and numbers of proxies."""
    every = cases(context)
    seconds = 0.02 if context.rehearse else min(1.0, context.left / 200)

    def item(name: str, case: Case, k: int, way: str = "") -> Item:
        layout = layout_for(case, k, way)
        return measurement(name, k, way), functools.partial(speed, context, case, layout, seconds)

    for name, case in every.items():
        yield f"{name}: plain loop", functools.partial(plain_speed, context, case, seconds)
        yield item(name, case, case.best)
        yield item(name, case, case.best, FASTEST_WAY)
        yield f"{name}: profile", functools.partial(profile, context, name, case)
        if name == FIRST_CASE:
            yield f"{name}: litgpt pretrain", functools.partial(pretrain, context, case)
    for name, case in every.items():
        yield from (item(name, case, case.best, way) for way in case.ways)
        yield from (item(name, case, k) for k in case.counts if k != case.best)


def compile_items(context: Context) -> Iterator[Item]:
    """Compile what "fast" will time, at the same time as results are checked: the compiler keeps what it made."""
    every = cases(context)
    for name, case in every.items():
        layout = layout_for(case, case.best, FASTEST_WAY)
        yield f"{name}: {FASTEST_WAY}", functools.partial(speed, context, case, layout, 0.05)
    for name, case in every.items():
        for way in case.ways:
            layout = layout_for(case, case.best, way)
            if layout.compile:
                yield f"{name}: {way}", functools.partial(speed, context, case, layout, 0.05)


def speed(context: Context, case: Case, layout: Any, seconds: float) -> Mapping[str, Any]:
    """Tokens a second of all proxies together, and the part of the time that the floor is."""
    if layout.device == "cpu" and (layout.compile or set(layout.variants) - {"corpus"}):
        raise WantsGpu("this way wants a GPU")
    import torch

    from proxy_training.device.counting import VALIDATION, counted
    from proxy_training.loop.trainer import same_arithmetic

    if layout.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    with same_arithmetic(layout.device):
        training = training_of(context, case, layout)
        per_step = steady(training.take_step, layout.device, seconds, training.settings.num_steps)
    memory = torch.cuda.max_memory_allocated() if layout.device == "cuda" else 0
    tokens = layout.models_per_process * case.settings.tokens_per_step
    device = device_of(context)
    counts = counted(case.settings, case.vocabulary, kind=layout.device)
    floor = sum(part.seconds(device, counts.precision) for part in counts.parts if part.name != VALIDATION)
    return {
        "tokens_per_second": tokens / per_step,
        "milliseconds_per_step": 1000 * per_step,
        "floor_share": layout.models_per_process * floor / per_step,
        "model_flops_share": tokens * counts.flops_per_token / per_step / device.flops[counts.precision],
        "gigabytes": memory / 1e9,
        "micro_batch": layout.micro_batch,
        "total_seconds": time.perf_counter() - start,
    }
