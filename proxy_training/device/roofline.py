"""The name of a device, or this machine -> the rates that bound training on it."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from proxy_training.device.layout import Kind, Precision, gpu_name
from proxymix.errors import InputError
from proxymix.messages import nearest


@dataclass(frozen=True)
class Device:
    """What bounds training: one GPU, or one core of a CPU."""

    name: str
    kind: Kind
    flops: Mapping[str, float]  # FLOP/s of dense matrix products by precision; fp32 also bounds all else.
    bandwidth: float  # Bytes/s of its memory, reads and writes together.
    memory: float  # Bytes.


def _gpu(name: str, bf16: float, fp32: float, bandwidth: float, memory: float) -> Device:
    """TFLOP/s, TFLOP/s, GB/s and GB, as data sheets have them."""
    return Device(name, "cuda", {"bf16": bf16 * 1e12, "fp32": fp32 * 1e12}, bandwidth * 1e9, memory * 1e9)


DEVICES = {
    "b200": _gpu("B200", 2250, 75, 7700, 180),
    "h200": _gpu("H200", 989, 67, 4800, 141),
    "h100": _gpu("H100", 989, 67, 3350, 80),
    "a100": _gpu("A100", 312, 19.5, 2039, 80),
    "a100_40gb": _gpu("A100", 312, 19.5, 1555, 40),
    "l40s": _gpu("L40S", 362, 91.6, 864, 48),
    "l4": _gpu("L4", 121, 30.3, 300, 24),
    "a6000": _gpu("RTX A6000", 155, 38.7, 768, 48),
    "rtx4090": _gpu("RTX 4090", 165, 82.6, 1008, 24),
    "rtx3090": _gpu("RTX 3090", 71, 35.6, 936, 24),
}
"""Peak figures from the makers' data sheets, without sparsity (SXM where there are several; float32 without TF32)."""


def device_named(name: str, precision: str) -> Device:
    """A device by its name in DEVICES, in any case, at its peak figures; "auto" or "cpu", measured.

    Raises:
        InputError: If there is no such device; names the nearest.
    """
    known = ("auto", "cpu", *DEVICES)
    if name.lower() not in known:
        raise InputError(f"cost: --device: no such device {name!r}{nearest(name.lower(), known)} ({', '.join(known)})")
    return DEVICES[name.lower()] if name.lower() in DEVICES else measured_device(name.lower(), precision)


def is_at_hand(device: str) -> bool:
    """Whether training on this machine would happen on that device: "auto", "cpu", or a name in DEVICES."""
    if device.lower() in ("auto", "cpu"):
        return device.lower() == "auto" or not gpu_name()
    return DEVICES[device.lower()].name.split()[-1].lower() in re.findall(r"[a-z0-9]+", gpu_name().lower())


def measured_device(device: str, precision: str, seconds: float = 0.8) -> Device:
    """This machine's GPU ("auto", where it has one) or one of its cores: the best of many products, and of many copies.

    On a CPU, bf16 is only measured where `precision` asks for it. `seconds` are those of each measurement, of which there
    are two or three.
    """
    import psutil
    import torch

    kind: Kind = "cuda" if device == "auto" and gpu_name() else "cpu"
    rows, numbers = (8192, 2**28) if kind == "cuda" else (1024, 2**26)  # A copy is far larger than any cache.
    types = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if "bf16" in (precision, _auto(kind)) else {})

    # On a shared core, processor time leaves out other processes.
    clock = time.perf_counter if kind == "cuda" else time.process_time

    def fastest(action: Callable[[], object]) -> float:
        times: list[float] = []
        while len(times) < 4 or (sum(times) < seconds and len(times) < 1000):
            start = clock()
            action()
            if kind == "cuda":
                torch.cuda.synchronize()
            times.append(clock() - start)
        return min(times)

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # A proxy trains on one thread.
    try:
        flops = {}
        for name, dtype in types.items():
            # Random numbers: a GPU multiplies constant ones faster, since fewer bits change.
            matrix, result = (torch.randn(rows, rows, device=kind).to(dtype) for _ in range(2))
            flops[name] = 2 * rows**3 / fastest(lambda a=matrix, c=result: torch.mm(a, a, out=c))  # type: ignore[misc]
        source, target = (torch.zeros(numbers, dtype=torch.float32, device=kind) for _ in range(2))
        bandwidth = 2 * 4 * numbers / fastest(lambda: target.copy_(source))
    finally:
        torch.set_num_threads(threads)
    if kind == "cuda":
        return Device(gpu_name(), kind, flops, bandwidth, torch.cuda.get_device_properties(0).total_memory)
    return Device("core of this machine", kind, flops, bandwidth, psutil.virtual_memory().total)


def _auto(kind: Kind) -> Precision:
    """What `train.precision: auto` is."""
    return "bf16" if kind == "cuda" else "fp32"
