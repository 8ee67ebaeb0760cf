"""Sections "card", "compile" and "fast" of gpu.py: what the card can do, and how near training comes to it."""

import functools
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from gpu_sections import Context, Item, results, variants_of, write_tokens

PRICE = 3.0  # Money for a GPU and hour, to have a figure to compare with.
REGMIX_TOKENS, REGMIX_RUNS = 1_048_576_000, 512


# ---- The card


def card(context: Context) -> Iterator[Item]:
    """Its name, software and ceilings."""
    yield "versions", versions
    yield "bf16 matrix rate", lambda: matrix_rate(context, "bfloat16")
    yield "fp32 matrix rate", lambda: matrix_rate(context, "float32")
    yield "copy rate", lambda: copy_rate(context)
    yield "launch latency", lambda: launch_latency(context)


def versions() -> Mapping[str, Any]:
    """Of everything that matters here."""
    import torch

    packages = {}
    for name in ("torch", "triton", "numpy", "pandas", "litgpt", "lightning", "liger-kernel", "cut-cross-entropy"):
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
    """The ceilings that "card" measured, else the maker's."""
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


# ---- Speeds


@dataclass(frozen=True)
class Case:
    """A kind of proxy whose speed is measured.

    Attributes:
        vocabulary: Ids.
        settings: How it is trained; tokens do not matter.
        stacks: Proxies in a process.
        best: Of these the one on which faster ways are tried.
        ways: Which of them.
    """

    vocabulary: int
    settings: Any
    stacks: tuple[int, ...]
    best: int
    ways: tuple[str, ...] = ()


def cases(context: Context) -> dict[str, Case]:
    """In order of worth."""
    from proxy_training.runs.settings import TrainSettings

    short: dict[str, Any] = {"evaluations": 1, "precision": "fp32" if context.rehearse else "bf16"}
    if context.rehearse:
        tiny = TrainSettings("50k", sequence_length=32, batch_size=4, valid_tokens=64, **short)
        return {"tiny": Case(256, tiny, (1, 4), 4, ("head fused", "corpus on device", "graph"))}
    short["valid_tokens"] = 2048

    def settings(model: str, sequence: int, batch: int) -> TrainSettings:
        return TrainSettings(model, sequence_length=sequence, batch_size=batch, tokens=2**24, **short)

    launches = ("head fused", "corpus on device", "graph", "optimiser fused", "compiled", "graph, corpus")
    launches += ("everything", "everything, compiled")
    heads = ("everything, compiled", "everything, compiled, head cut", "everything, compiled, head liger", "head fused")
    heads += ("head cut", "compiled")
    every = "everything", "everything, compiled"
    return {
        "1m, 4k, 16 x 512": Case(
            4096, settings("1m", 512, 16), (1, 4, 16, 64), 64, (*launches, "everything, compiled, batch whole")
        ),
        "1m, 50k, RegMix's 512 x 2048": Case(50_432, settings("1m", 2048, 512), (1, 4), 1, heads),
        "tiny, 8 x 64": Case(512, settings("80k", 64, 8), (1, 4, 16, 64), 64, launches),
        "1m, 50k, 16 x 512": Case(
            50_432, settings("1m", 512, 16), (1, 4, 16), 16, ("head fused", "optimiser fused", *every)
        ),
        "60m, 50k, 64 x 2048": Case(50_432, settings("60m", 2048, 64), (1,), 1, ("head fused", "everything, compiled")),
        "1m, 4k, RegMix's 512 x 2048": Case(4096, settings("1m", 2048, 512), (1, 4), 4, ("head fused", *every)),
    }


def layout_for(context: Context, case: Case, k: int) -> Any:
    """The reference layout of K proxies."""
    from proxy_training.device.layout import layout_of

    return layout_of(replace(case.settings, models_per_process=k), case.vocabulary)


def fast(context: Context) -> Iterator[Item]:
    """Every case: alone in the plain loop, K together, and each faster way at the best K."""
    every = cases(context)
    seconds = 0.3 if context.rehearse else min(1.0, context.left / 200)
    for name, case in every.items():
        yield f"{name}: plain loop", functools.partial(plain_speed, context, case, seconds)
        for k in case.stacks:
            layout = layout_for(context, case, k)
            yield f"{name}: K = {k}", functools.partial(speed, context, case, layout, seconds)
        layout = layout_for(context, case, case.best)
        for variant in case.ways:
            changed = variants_of(layout)[variant]
            yield f"{name}: K = {case.best}, {variant}", functools.partial(speed, context, case, changed, seconds)
        if name == next(iter(every)):
            yield f"{name}: litgpt pretrain", functools.partial(pretrain, context, case)
        yield f"{name}: profile", functools.partial(profile, context, name, case)


def compile_items(context: Context) -> Iterator[Item]:
    """Compile what "fast" will time, at the same time as results are checked: the compiler keeps what it made."""
    if context.rehearse:
        return
    every = cases(context)
    first = next(iter(every))
    yield f"{first}: litgpt pretrain", functools.partial(pretrain, context, every[first], 20)
    for name, case in every.items():
        layout = replace(layout_for(context, case, case.best), compile=True)
        yield f"{name}: compile", functools.partial(speed, context, case, layout, 0.05)


def training_of(context: Context, case: Case, layout: Any) -> Any:
    """A training that takes steps; its proxies begin alike, since building many takes seconds."""
    from proxy_training.loop import trainer
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.runs.settings import Run
    from proxy_training.runs.token_data import TokenData, plan_of

    _build_once(trainer)
    num_steps = max(64, min(20_000, 2**29 // (case.settings.tokens_per_step * layout.models_per_process)))
    settings = replace(case.settings, tokens=num_steps * case.settings.tokens_per_step)
    tokens = write_tokens(
        context.folder / context.section / f"{case.vocabulary}",
        case.vocabulary,
        50_000 if context.rehearse else 2_000_000,
    )
    data = TokenData.open(tokens, settings)
    runs = [Run(f"n{k}", dict.fromkeys(data.train, 1 / len(data.train)), k) for k in range(layout.models_per_process)]
    plan = plan_of(runs[0], data, settings)
    return trainer.Training(runs, [plan] * len(runs), data, settings, layout, OneDevice())


@functools.cache
def _build_once(trainer: Any) -> None:
    """Have the trainer build one model for all proxies of a shape."""
    build, last = trainer.build_proxy, {}

    def build_cached(config: Any, seed: int) -> Any:
        key = str(config)
        if key not in last:
            last.clear()
            last[key] = build(config, 0)
        return last[key]

    trainer.build_proxy = build_cached


def speed(context: Context, case: Case, layout: Any, seconds: float) -> Mapping[str, Any]:
    """Tokens a second of all proxies together, and the floor's share of the time."""
    import torch

    from proxy_training.device.counting import VALIDATION, counted

    if layout.device == "cpu" and (layout.graph or layout.head != "pieces" or layout.optimizer != "torch"):
        raise NotImplementedError("this way wants a GPU")
    if layout.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    with arithmetic(layout.device):
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


def arithmetic(device: str) -> Any:
    """What the trainer sets around training."""
    from proxy_training.loop.trainer import same_arithmetic

    return same_arithmetic(device)


def steady(take_step: Callable[[], None], device: str, seconds: float, limit: int = 10**9) -> float:
    """Seconds of a step, the median of some groups, after the first steps; no more than `limit` steps are taken."""
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


def plain_speed(context: Context, case: Case, seconds: float) -> Mapping[str, Any]:
    """Tokens a second of a loop as one writes it over litgpt.GPT, as `litgpt pretrain` has it, one proxy."""
    import torch
    from litgpt import GPT
    from torch.nn.functional import cross_entropy

    from proxy_training.model.proxy import proxy_config

    settings, device = case.settings, context.device
    model = GPT(proxy_config(settings.model, case.vocabulary, settings.sequence_length)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    piece = max(1, min(settings.batch_size, 2**30 // (case.vocabulary * settings.sequence_length)))
    pieces = max(1, min(settings.batch_size // piece, 8))  # Of a long step a part will do.

    def take_step() -> None:
        for _ in range(pieces):
            ids = torch.randint(case.vocabulary, (piece, settings.sequence_length + 1), device=device)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=settings.precision == "bf16"):
                logits = model(ids[:, :-1])
                loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    per_step = steady(take_step, device, seconds)
    tokens = pieces * piece * settings.sequence_length
    return {"tokens_per_second": tokens / per_step, "milliseconds_per_step": 1000 * per_step, "micro_batch": piece}


PRETRAIN = """
model_name: proxy
model_config: {{name: proxy, block_size: {sequence}, vocab_size: {vocabulary}, padded_vocab_size: {vocabulary},
  n_layer: {layers}, n_head: {heads}, n_embd: {width}, rotary_percentage: 1.0, parallel_residual: false, bias: false,
  norm_class_name: RMSNorm, mlp_class_name: LLaMAMLP, intermediate_size: {mlp}}}
data:
  class_path: proxy_training.data_module.MixtureData
  init_args: {{tokens: {tokens}, mixture: {mixture}, train_tokens: {train_tokens}, valid_tokens: {sequence}}}
train: {{max_tokens: {train_tokens}, global_batch_size: {batch}, micro_batch_size: {batch}, lr_warmup_steps: 2,
  save_interval: null, log_interval: 1}}
eval: {{interval: 100000, initial_validation: false, final_validation: false}}
devices: 1
logger_name: csv
out_dir: {out}
"""


def pretrain(context: Context, case: Case, steps: int = 600) -> Mapping[str, Any]:
    """One `litgpt pretrain`, as it comes (compiled, bf16-mixed): start to end, and its steady steps as it times them.

    An earlier, shorter one fills the compiler's cache, so that the timed one does not compile.
    """
    from mixture_config.files.mixture import Mixture

    settings, folder = case.settings, context.folder / context.section / "pretrain"
    tokens = write_tokens(
        context.folder / context.section / f"{case.vocabulary}",
        case.vocabulary,
        50_000 if context.rehearse else 2_000_000,
    )
    Mixture({f"d{number}": 0.25 for number in range(4)}, {}).write(folder / "mixture.yaml")
    shape = {**asdict(settings.shape), "batch": settings.batch_size, "sequence": settings.sequence_length}
    steps = 20 if context.rehearse else steps
    text = PRETRAIN.format(
        vocabulary=case.vocabulary,
        tokens=tokens,
        mixture=folder / "mixture.yaml",
        train_tokens=steps * settings.tokens_per_step,
        out=folder / "out",
        **shape,
    )
    (folder / "pretrain.yaml").write_text(text, encoding="utf-8")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "litgpt", "pretrain", "--config", str(folder / "pretrain.yaml")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=max(5.0, min(110.0, context.left - 2)),
        env={**os.environ, **({"TORCHDYNAMO_DISABLE": "1"} if context.rehearse else {})},
    )
    print(done.stdout[-1500:], done.stderr[-3000:], flush=True)
    times = [float(text) / 1000 for text in re.findall(r"iter time: ([\d.]+) ms", done.stdout)]
    if done.returncode or len(times) < 5:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    step = statistics.median(times[len(times) // 2 :])
    return {
        "tokens_per_second": settings.tokens_per_step / step,
        "milliseconds_per_step": 1000 * step,
        "all_seconds": time.perf_counter() - start,
        "steps": len(times),
    }


def profile(context: Context, name: str, case: Case) -> Mapping[str, Any]:
    """Where a step's time goes in the fastest layout that was measured: the device's kernels by kind."""
    import torch

    layout = fastest(context, name, case)
    with arithmetic(layout.device):
        training = training_of(context, case, layout)
        for _ in range(6):
            training.take_step()
        kinds = [torch.profiler.ProfilerActivity.CPU]
        if layout.device == "cuda":
            kinds = [torch.profiler.ProfilerActivity.CUDA]
            torch.cuda.synchronize()
        steps = 3
        start = time.perf_counter()
        with torch.profiler.profile(activities=kinds) as found:
            for _ in range(steps):
                training.take_step()
            if layout.device == "cuda":
                torch.cuda.synchronize()
        wall = time.perf_counter() - start
    which = "self_device_time_total" if layout.device == "cuda" else "self_cpu_time_total"
    rows = [(event.key, getattr(event, which) / 1000 / steps, event.count / steps) for event in found.key_averages()]
    rows = sorted((row for row in rows if row[1] > 0), key=lambda row: -row[1])
    by_kind: dict[str, float] = {}
    for key, milliseconds, _ in rows:
        by_kind[kind_of(key)] = by_kind.get(kind_of(key), 0.0) + milliseconds
    return {
        "layout": {**layout.record()},
        "busy_milliseconds": sum(row[1] for row in rows),
        "wall_milliseconds_with_profiler": 1000 * wall / steps,
        "kernels": sum(row[2] for row in rows),
        "by_kind": {key: round(value, 4) for key, value in sorted(by_kind.items(), key=lambda item: -item[1])},
        "longest": [[key[:110], round(milliseconds, 4), count] for key, milliseconds, count in rows[:14]],
    }


def kind_of(kernel: str) -> str:
    """What a kernel does, by its name."""
    low = kernel.lower()
    kinds = {
        "attention": ("flash", "fmha", "attention", "attn", "sdpa"),
        "head kernel": ("_kernel",),
        "matrix products": ("gemm", "cutlass", "nvjet", "cublas", "bmm", "aten::mm", "wgmma", "matmul"),
        "optimiser": ("adam", "multi_tensor"),
        "embedding": ("embedding", "radix", "sort", "gather", "index", "scatter", "cub::"),
        "copies": ("memcpy", "memset", "copy", "fill"),
        "compiled": ("triton_",),
        "sums": ("reduce", "norm", "softmax"),
    }
    if low == "_kernel":
        return "head kernel"
    for kind, parts in kinds.items():
        if kind != "head kernel" and any(part in low for part in parts):
            return kind
    return "pointwise"


def fastest(context: Context, name: str, case: Case) -> Any:
    """The layout with most tokens a second so far, of those at the best K."""
    layout = layout_for(context, case, case.best)
    speeds = {
        line["name"]: line["tokens_per_second"]
        for line in results(context.out)
        if line["section"] == "fast" and line["state"] == "done" and "tokens_per_second" in line
    }
    candidates = {f"{name}: K = {case.best}, {key}": value for key, value in variants_of(layout).items()}
    candidates[f"{name}: K = {case.best}"] = layout
    known = [key for key in candidates if key in speeds]
    return candidates[max(known, key=lambda key: speeds[key])] if known else layout
