"""What training costs on this device, measured in seconds of it: how proxies are laid out here, and how long a sweep takes.

A speed that was measured is remembered in the user's cache, so that the next sweep of the same kind starts at once.
"""

import contextlib
import json
import math
import platform
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from data_preparation.tokens.shards import TokenDomain
from proxy_training.device.layout import Layout, device_here, fitting_stack, free_bytes, gpu_name, layout_of, num_gpus
from proxy_training.launch.worker_pool import Worker, one_gpu
from proxy_training.model.proxy import flops_per_token
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData, plan_of
from proxymix.errors import StageError
from proxymix.files import cache_folder, replacing
from proxymix.progress import progress, say
from proxymix.schemas import TokensManifest

SECONDS = 2.5  # of training, for one measurement
STEPS = {"cpu": 1, "cuda": 20}  # short ones between readings of the clock, for which a GPU waits
STEP_FLOP = {"cpu": 1e11, "cuda": 2e14}  # between two readings at most: a second or two
STACKS = (1, 4, 16, 64)  # proxies in a process that are tried
BETTER = 1.03  # a larger stack must be faster by this: smaller ones lose less when interrupted, and spread more evenly
WORTH_FLOP = {"cpu": 3e12, "cuda": 3e15}  # of a worker's share, a minute or so: less is done before it is measured
SCORING = {False: 0.4, True: 0.55}  # of a training step, compiled (1.37 times as fast) or not: scoring as many tokens
RUN_SECONDS = 0.3  # of a run: wandb and files
WORTH_COMPILING = 150.0  # seconds of a worker's share: it saves a fifth of them, for 45 s the first time and 3 s later


@dataclass(frozen=True)
class Speed:
    """What one measurement found.

    Attributes:
        seconds_per_token: Of training, for a token of one proxy, over all proxies of the process.
        ended: When it ended, as time.time().
    """

    seconds_per_token: float
    ended: float


def chosen_layout(settings: TrainSettings, vocabulary: int, num_runs: int, workers: int) -> Layout:
    """What `settings` leave open, fitted to this device: by a rule for a short sweep, by what is fastest for a longer one.

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
    if settings.compile == "auto" and least * settings.tokens * share > WORTH_COMPILING:
        compiled = replace(best, compile=True)
        with contextlib.suppress(StageError):  # no compiler here
            if _costs(settings, vocabulary, [compiled])[0] * BETTER < least:
                best = compiled
    return best


def _costs(settings: TrainSettings, vocabulary: int, layouts: Sequence[Layout]) -> list[float]:
    """Seconds per token of each layout, as remembered; those that are not are measured, said, and remembered."""
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
    keys = [json.dumps([*what, asdict(layout)]) for layout in layouts]
    missing = {key: layout for key, layout in zip(keys, layouts, strict=True) if not isinstance(known.get(key), float)}
    if missing:
        start = time.monotonic()
        if any(layout.compile for layout in missing.values()):
            say("trying torch.compile, whose first time takes a minute")
        found = [speed.seconds_per_token for speed in measured(settings, vocabulary, list(missing.values()))[0]]
        known |= dict(zip(missing, found, strict=True))
        lasting = {key: cost for key, cost in known.items() if cost < math.inf}  # memory may be free another time
        with contextlib.suppress(OSError), replacing(path) as temporary:  # no such home only costs the seconds again
            temporary.write_text(json.dumps(lasting, indent=1), encoding="utf-8")
        figures = ", ".join(
            f"{1 / cost:,.0f} with {layout.models_per_process}{' compiled' if layout.compile else ''}"
            for cost, layout in zip(found, missing.values(), strict=True)
        )
        say(f"measured in {time.monotonic() - start:.0f} s: tokens/s of a process by proxies in it: {figures}")
    return [known[key] for key in keys]


def _read(path: Path) -> dict[str, float]:
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
                raise StageError(f"a worker could not train a first step: {worker.last_words()}")
    return [[Speed(**answer) for answer in of_one] for of_one in answers]


def predicted_seconds(
    seconds_per_token: float, settings: TrainSettings, layout: Layout, num_domains: int, num_runs: int
) -> float:
    """How long a process takes that trains `num_runs`, without its start, from what a token of one proxy costs it."""
    scored = settings.evaluations * settings.valid_tokens * num_domains
    tokens = settings.num_steps * settings.tokens_per_step + SCORING[layout.compile] * scored
    return num_runs * (tokens * seconds_per_token + RUN_SECONDS)


def seconds_per_token(settings: TrainSettings, vocabulary: int, layout: Layout) -> float:
    """What a training token of one proxy costs in this process, from a few seconds of training on random tokens."""
    from proxy_training.loop.trainer import fit

    flop = (
        flops_per_token(settings.model, vocabulary, settings.sequence_length)
        * settings.sequence_length
        * layout.models_per_process
    )
    batch = max(1, min(settings.batch_size, int(STEP_FLOP[layout.device] // flop)))  # of a long step a part will do
    settings = replace(settings, batch_size=batch)
    steps = max(1, min(STEPS[layout.device], int(STEP_FLOP[layout.device] / (flop * batch))))
    short = replace(settings, tokens=100 * steps * settings.tokens_per_step, evaluations=1, simulated_budget=None)
    ids = np.random.default_rng(0).integers(vocabulary, size=64 * settings.sequence_length + 1)
    domain = TokenDomain([ids], settings.sequence_length)
    manifest = TokensManifest({"vocabulary": vocabulary}, "uint32", {"train": {}, "valid": {}}, {}, {})
    data = TokenData(Path(), manifest, "", {"random": domain}, {"random": domain})
    runs = [Run("calibration", {"random": 1.0}, seed) for seed in range(layout.models_per_process)]
    times: list[float] = []

    def stop_when_known(_: int) -> None:
        times.append(time.perf_counter())
        if len(times) > 1 and times[-1] - times[0] > SECONDS:
            raise _Enough

    layout = replace(layout, micro_batch=min(layout.micro_batch, batch))
    with contextlib.suppress(_Enough):
        fit(runs, [plan_of(run, data, short) for run in runs], data, short, layout, on_steps=stop_when_known)
    if len(times) > 2:  # after all steps the last reading comes twice
        times.pop()
    return statistics.median(np.diff(times).tolist()) / (steps * settings.tokens_per_step * layout.models_per_process)


class _Enough(Exception):
    pass
