"""Where the time of a training step goes, by kind of kernel, beside the least time that counting allows each part."""

import time
from collections.abc import Mapping
from typing import Any

from gpu_card import device_of
from gpu_cases import Case, fastest, training_of
from gpu_sections import Context

STEPS = 3
KINDS = {
    "compiled": ("triton_",),  # First: the names of compiled kernels list what was fused, such as bmm, copy and fill.
    "attention": ("flash", "fmha", "attention", "attn", "sdpa"),
    "optimiser": ("adam", "multi_tensor", "_square_sums"),
    "matrix products": ("gemm", "cutlass", "nvjet", "cublas", "bmm", "aten::mm", "wgmma", "matmul"),
    "embedding": ("embedding", "radix", "sort", "gather", "index", "scatter", "cub::"),
    "copies": ("memcpy", "memset", "copy", "fill"),
    "sums": ("reduce", "norm", "softmax"),
}
"""Parts of kernels' names, by kind. The first kind that matches counts."""


def kind_of(kernel: str) -> str:
    """What a kernel does, by its name."""
    name = kernel.lower()
    if name == "_kernel":
        return "head kernel"
    return next((kind for kind, parts in KINDS.items() if any(part in name for part in parts)), "pointwise")


def profile(context: Context, name: str, case: Case) -> Mapping[str, Any]:
    """Milliseconds of a step by kind of kernel, in the fastest layout that was measured."""
    import torch

    from proxy_training.loop.trainer import same_arithmetic

    layout = fastest(context, name, case)
    on_gpu = layout.device == "cuda"
    activity = torch.profiler.ProfilerActivity.CUDA if on_gpu else torch.profiler.ProfilerActivity.CPU
    with same_arithmetic(layout.device):
        training = training_of(context, case, layout)
        for _ in range(6):
            training.take_step()
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.profiler.profile(activities=[activity]) as found:
            for _ in range(STEPS):
                training.take_step()
            if on_gpu:
                torch.cuda.synchronize()
        wall = time.perf_counter() - start
    total = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    rows = [(event.key, getattr(event, total) / 1000 / STEPS, event.count / STEPS) for event in found.key_averages()]
    rows = sorted((row for row in rows if row[1] > 0), key=lambda row: -row[1])
    by_kind: dict[str, float] = {}
    for key, milliseconds, _ in rows:
        by_kind[kind_of(key)] = by_kind.get(kind_of(key), 0.0) + milliseconds
    return {
        "layout": {**layout.record()},
        "busy_milliseconds": sum(row[1] for row in rows),
        "wall_milliseconds_with_profiler": 1000 * wall / STEPS,
        "kernels": sum(row[2] for row in rows),
        "by_kind": {key: round(value, 4) for key, value in sorted(by_kind.items(), key=lambda item: -item[1])},
        "floor_milliseconds": floors(context, case, layout),
        "longest": [[key[:110], round(milliseconds, 4), count] for key, milliseconds, count in rows[:14]],
    }


def floors(context: Context, case: Case, layout: Any) -> dict[str, float]:
    """The least milliseconds of each part of a step, for all proxies of the process."""
    from proxy_training.device.counting import VALIDATION, counted

    device, counts = device_of(context), counted(case.settings, case.vocabulary, kind=layout.device)
    times = {part.name: 1000 * part.seconds(device, counts.precision) for part in counts.parts}
    return {name: round(layout.models_per_process * ms, 4) for name, ms in times.items() if name != VALIDATION}
