"""Section "card" of gpu.py: what the card is, and what it can do at most."""

import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpu_sections import Context, Item, results
from gpu_timing import seconds_of


def card(context: Context) -> Iterator[Item]:
    """Its name, its software, and the rates that it reaches."""
    yield "versions", versions
    yield "bf16 matrix rate", lambda: matrix_rate(context, "bfloat16")
    yield "fp32 matrix rate", lambda: matrix_rate(context, "float32")
    yield "copy rate", lambda: copy_rate(context)
    yield "launch latency", lambda: launch_latency(context)


def versions() -> Mapping[str, Any]:
    """Versions of the software, and what the GPU is."""
    import torch

    packages = {}
    for name in ("torch", "triton", "numpy", "pandas", "litgpt", "lightning"):
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = ""
    found: dict[str, Any] = {"python": platform.python_version(), "cpus": os.cpu_count(), "packages": packages}
    found["compilers"] = [name for name in ("gcc", "cc", "clang", "nvcc", "ptxas") if shutil.which(name)]
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"gpu": properties.name, "memory": properties.total_memory, "cuda": torch.version.cuda}
        found |= {"multiprocessors": properties.multi_processor_count, "l2": getattr(properties, "L2_cache_size", 0)}
    return found


def matrix_rate(context: Context, dtype: str) -> Mapping[str, Any]:
    """A square product of random numbers."""
    import torch

    size = 8192 if context.device == "cuda" else 512
    a, b = (torch.randn(size, size, device=context.device).to(getattr(torch, dtype)) for _ in range(2))
    seconds = seconds_of(lambda: torch.mm(a, b), context.device == "cuda")
    return {"flops": 2 * size**3 / seconds, "size": size, "tf32": torch.backends.cuda.matmul.allow_tf32}


def copy_rate(context: Context) -> Mapping[str, Any]:
    """Bytes read and written by a large copy."""
    import torch

    numbers = 2**30 if context.device == "cuda" else 2**22
    source = torch.rand(numbers, device=context.device)
    target = torch.empty_like(source)
    seconds = seconds_of(lambda: target.copy_(source), context.device == "cuda")
    return {"bandwidth": 8 * numbers / seconds}


def launch_latency(context: Context) -> Mapping[str, Any]:
    """Seconds per small kernel: launched one by one, and replayed in a graph."""
    import torch

    x, count = torch.zeros(16, device=context.device), 1000
    start = time.perf_counter()
    for _ in range(count):
        x.add_(1)
    if context.device == "cpu":
        return {"eager_seconds": (time.perf_counter() - start) / count}
    torch.cuda.synchronize()

    def many() -> None:
        for _ in range(count):
            x.add_(1)

    eager = seconds_of(many, True, 5) / count
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        many()
    return {"eager_seconds": eager, "graph_seconds": seconds_of(graph.replay, True, 5) / count}


def device_of(context: Context) -> Any:
    """The rates that section "card" measured; if it did not, a data sheet's."""
    from proxy_training.device.roofline import DEVICES, Device

    found = {
        line["name"]: line for line in results(context.out) if line["section"] == "card" and line["state"] == "done"
    }
    try:
        flops = {key: found[f"{key} matrix rate"]["flops"] for key in ("bf16", "fp32")}
        name = found["versions"].get("gpu", "this CPU")
        return Device(
            name, context.device, flops, found["copy rate"]["bandwidth"], found["versions"].get("memory", 16e9)
        )  # type: ignore[arg-type]
    except KeyError:
        return DEVICES["h100"]
