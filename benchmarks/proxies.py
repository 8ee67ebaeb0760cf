"""How fast proxies train: `litgpt pretrain`, a plain loop over litgpt.GPT, and ours with K of them in a process.

python benchmarks/proxies.py [--cases tiny 1m 1m_50k] [--stacks 1 4 16 64] [--rounds 7] [--command_runs 2]

Steady: each contender has a process of its own, and the processes take turns of about a second. The table shows tokens per
second of processor time (on a GPU, of the clock) as a multiple of the plain loop in the same round, the median over rounds.
Each process has one thread, as in a sweep, because two threads in one process are very slow on a busy machine.

Commands: the whole time of a sweep, start and end included, for proxies that train for about ten seconds. `litgpt pretrain`
is started once for every proxy, compiled (with the compiled code of an earlier run, as in all runs of a sweep except the
first) and not compiled. `proxymix sweep` is started once for thirty-two proxies, with nothing compiled or measured before,
and then once more.

- plain: fp32 and AdamW as in litgpt's pretrain, whole logits, gradients clipped by one norm.
- torch.func: K models by `vmap` over `functional_call`, which is the shortest program for several models.
- ours: a step of `proxymix sweep` with K proxies, in fp32, in bf16 if the processor multiplies it, and compiled.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contenders import plain_step, pretrain_command, step_seconds, write_tokens
from mixture_config.files.mixture import Mixture
from proxy_training.device.layout import Layout, bytes_of_a_proxy, device_here, free_bytes, multiplies_bf16
from proxy_training.launch.worker_process import WORKER_ENVIRONMENT
from proxy_training.runs.settings import Run, TrainSettings

SHORT: dict[str, Any] = {"valid_tokens": 512, "evaluations": 1, "precision": "fp32"}
CASES = {
    "tiny": (512, TrainSettings("80k", sequence_length=64, batch_size=8, tokens=250_000, **SHORT)),
    "1m": (4096, TrainSettings("1m", sequence_length=128, batch_size=8, tokens=50_000, **SHORT)),
    "1m_50k": (50_432, TrainSettings("1m", sequence_length=128, batch_size=8, tokens=8_192, **SHORT)),
}
NUM_RUNS = 32  # Fewer runs would mostly measure starts.
DOMAINS = [f"d{number}" for number in range(10)]


def main() -> None:
    """Print the tables, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--stacks", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--rounds", type=int, default=7, help="of turns when steady; 0 leaves that table out")
    parser.add_argument("--command_runs", type=int, default=2, help="of each command; 0 leaves that table out")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        contend(**json.loads(options.contender))
        return
    for name in options.cases:
        vocabulary, settings = CASES[name]
        print(
            f"\n{name}: {settings.model}, vocabulary {vocabulary:,}, {settings.batch_size} x {settings.sequence_length}\n"
        )
        with tempfile.TemporaryDirectory() as folder:
            write_tokens(Path(folder) / "tokens", vocabulary, 20_000, len(DOMAINS))
            if options.rounds:
                steady(name, settings, vocabulary, Path(folder), options.stacks, options.rounds)
            if options.command_runs:
                commands(settings, vocabulary, Path(folder), options.command_runs)


def steady(case: str, settings: TrainSettings, vocabulary: int, folder: Path, stacks: list[int], rounds: int) -> None:
    """A row for each contender."""
    device = device_here()
    layouts = [Layout(device, "fp32", k, settings.batch_size, False) for k in stacks]
    layouts += [replace(layout, compile=True) for layout in layouts if layout.models_per_process in (1, 16)]
    if device == "cuda" or multiplies_bf16():
        layouts += [replace(layout, precision="bf16") for layout in layouts]
    contenders = {"plain loop": Contender(case, folder)}
    logits = 4 * 4 * settings.tokens_per_step * vocabulary  # The logits and three tensors of their size, in float32.
    for k in stacks:
        if 1 < k <= 16 and fits(k * (bytes_of_a_proxy(settings, vocabulary) + logits)):
            contenders[f"torch.func, K = {k}"] = Contender(case, folder, stack=k)
    for each in layouts:
        if fits(each.models_per_process * bytes_of_a_proxy(settings, vocabulary)):
            title = f"ours, K = {each.models_per_process}, {each.precision}{', compiled' if each.compile else ''}"
            contenders[title] = Contender(case, folder, layout=asdict(each))
    found: dict[str, list[float]] = {title: [] for title in contenders}
    for _ in range(rounds):
        for title, contender in contenders.items():
            found[title].append(contender.tokens_per_second())
    for contender in contenders.values():
        contender.close()
    print("| steady | tokens/s | of the plain loop |\n|---|---|---|")
    for title, speeds in found.items():
        ratios = [speed / plain for speed, plain in zip(speeds, found["plain loop"], strict=True)]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {title} | {statistics.median(speeds):,.0f} | {spread} |", flush=True)


def fits(size: int) -> bool:
    """Whether another contender of this size fits into memory, beside those that are there already."""
    return size < 0.5 * free_bytes(device_here())


class Contender:
    """A process that trains for one turn whenever it is told to."""

    def __init__(self, case: str, folder: Path, **which: Any) -> None:
        command = [sys.executable, __file__, "--contender", json.dumps({"case": case, "folder": str(folder), **which})]
        environment = {**os.environ, **(WORKER_ENVIRONMENT if which else {})}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self._told()  # Wait for its start, which would disturb the turns of the others.

    def tokens_per_second(self) -> float:
        """Train for one turn."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self._told()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def _told(self) -> float:
        assert self._process.stdout is not None
        return float(self._process.stdout.readline())


def contend(case: str, folder: str, layout: dict[str, Any] | None = None, stack: int = 0) -> None:
    """The work of a contender's process: a turn of about a second for every line on stdin."""
    import torch

    vocabulary, settings = CASES[case]
    torch.set_num_threads(1)
    long = replace(settings, tokens=2**24)
    if layout:
        take_step, per_step = ours(long, Path(folder), Layout(**layout))
    else:
        take_step, per_step = (
            vmapped(long, vocabulary, stack)
            if stack
            else (plain_step(long, vocabulary, device_here()), long.tokens_per_step)
        )
    clock = time.perf_counter if device_here() == "cuda" else time.process_time
    for _ in range(2):
        take_step()
    start = clock()
    take_step()
    steps = max(2, round(1 / (clock() - start)))
    print(0.0, flush=True)
    for _ in sys.stdin:
        start = clock()
        for _ in range(steps):
            take_step()
        if device_here() == "cuda":
            torch.cuda.synchronize()
        print(steps * per_step / (clock() - start), flush=True)


def vmapped(settings: TrainSettings, vocabulary: int, k: int) -> tuple[Callable[[], None], int]:
    """A step of K models by torch.func, and the number of its tokens. vmap cannot differentiate flash attention."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import cross_entropy

    from proxy_training.model.proxy import build_proxy, proxy_config
    from proxy_training.model.stack import clip_each

    config = proxy_config(settings.model, vocabulary, settings.sequence_length)
    models = [build_proxy(config, seed).to(device_here()) for seed in range(k)]
    parameters = {name: torch.nn.Parameter(p) for name, p in torch.func.stack_module_state(models)[0].items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

    def loss(weights: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
        logits = torch.func.functional_call(models[0], weights, (ids[:, :-1],))
        return cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())

    gradients_of = torch.func.vmap(torch.func.grad(loss))

    def take_step() -> None:
        shape = (k, settings.batch_size, settings.sequence_length + 1)
        ids = torch.randint(vocabulary, shape, device=device_here())
        with sdpa_kernel(SDPBackend.MATH):
            gradients = gradients_of({name: p.detach() for name, p in parameters.items()}, ids)
        for name, p in parameters.items():
            p.grad = gradients[name].contiguous()
        clip_each(list(parameters.values()), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return take_step, k * settings.tokens_per_step


def ours(settings: TrainSettings, folder: Path, layout: Layout) -> tuple[Callable[[], None], int]:
    """A step of a sweep with data and clipping, and the number of its tokens."""
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.loop.trainer import Training
    from proxy_training.runs.token_data import TokenData, plan_of

    data = TokenData.open(folder / "tokens", settings)
    runs = [Run(f"n{k}", dict.fromkeys(DOMAINS, 1 / len(DOMAINS)), k) for k in range(layout.models_per_process)]
    plans = [plan_of(run, data, settings) for run in runs]
    training = Training(runs, plans, data, settings, layout, OneDevice())
    return training.take_step, layout.models_per_process * settings.tokens_per_step


def commands(settings: TrainSettings, vocabulary: int, folder: Path, times: int) -> None:
    """A row for each command: processor seconds per proxy, with everything."""
    for index in range(1, NUM_RUNS + 1):
        Mixture(dict.fromkeys(DOMAINS, 1 / len(DOMAINS))).write(folder / "mixtures" / f"n{index:05d}.yaml")
    tokens, mixture = folder / "tokens", folder / "mixtures" / "n00001.yaml"
    litgpt = pretrain_command(settings, vocabulary, tokens, mixture, folder, True, "precision: 32-true\n")
    flags = [
        part for key, value in asdict(settings).items() if value is not None for part in (f"--train.{key}", str(value))
    ]
    paths = ["--mixtures", str(folder / "mixtures"), "--tokens", str(folder / "tokens"), "--workers", "1"]
    sweep = [sys.executable, "-m", "proxymix", "sweep", *paths, *flags, "--out"]
    found: dict[str, list[float]] = defaultdict(list)
    processor_seconds(litgpt, folder)
    for k in range(times):
        seconds, output = processor_seconds(litgpt, folder)
        found["`litgpt pretrain`"].append(seconds)
        step = statistics.median(step_seconds(output))
        found["its steps alone, as it times them"].append(settings.num_steps * step)
        found["the same, not compiled"].append(processor_seconds(litgpt, folder, TORCHDYNAMO_DISABLE="1")[0])
        for title in ("`proxymix sweep`, the first of its kind", "the next"):
            seconds, _ = processor_seconds(
                [*sweep, f"{folder}/{k}-{title[0]}"], folder, XDG_CACHE_HOME=f"{folder}/cache{k}"
            )
            found[title].append(seconds / NUM_RUNS)
    print(f"\n| commands, {settings.tokens:,} tokens a proxy | processor s a proxy | times as fast |\n|---|---|---|")
    for title, seconds in found.items():
        ratios = [statistics.median(found["`litgpt pretrain`"]) / each for each in seconds]
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
        print(f"| {title} | {statistics.median(seconds):.1f} | {spread} |", flush=True)


def processor_seconds(command: list[str], folder: Path, **environment: str) -> tuple[float, str]:
    """The processor seconds of a command and its processes (on a GPU, the seconds of the clock), and its output."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, **environment}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if device_here() == "cuda":
        return time.perf_counter() - start, done.stdout
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


if __name__ == "__main__":
    main()
