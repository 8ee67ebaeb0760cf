"""A layout -> its speed and its first losses, from a few seconds of training on random tokens in this process."""

import contextlib
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_preparation.tokens.shards import TokenDomain
from proxy_training.device.layout import Layout, is_out_of_memory
from proxy_training.model.proxy import flops_per_token
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData, plan_of
from proxymix.schemas import TokensManifest

SECONDS = {"cpu": 2.5, "cuda": 1.0}  # Training time of one measurement.
STEPS = {"cpu": 1, "cuda": 20}  # Steps per timing. Reading the clock synchronises the GPU, so short steps are grouped.
STEP_FLOP = {"cpu": 1e11, "cuda": 1e14}  # FLOP per timing at most: about a second in the reference layout.
GRAPH_STEPS = 6  # Steps of a layout with a CUDA graph before its timing: the graph replaces the steps from the fourth.
COMPARED_STEPS = 40  # First losses that are kept, to be compared with the reference layout's.
AGREEMENT = {"fp32": 2e-3, "bf16": 0.05}  # Nats per token: the largest difference of a loss in these steps.


@dataclass(frozen=True)
class Speed:
    """What one measurement found."""

    seconds_per_token: float  # Of one proxy, with all proxies of the process; infinite if it cannot be trained here.
    ended: float  # As time.time().
    losses: Sequence[Sequence[float]] = ()  # Of each proxy at the first steps, nats per token, shape (num_steps, K).
    problem: str = ""  # Why the layout cannot be trained here.


def measured_speed(settings: TrainSettings, vocabulary: int, layout: Layout) -> Speed:
    """Train in a layout for a few seconds.

    If a faster way fails here (there is no GPU, no compiler, no such library), the result says so. If the reference layout
    fails for another reason than memory, the error is raised.
    """
    try:
        cost, losses = _trained(settings, vocabulary, layout)
    except Exception as error:
        if is_out_of_memory(error):
            return Speed(math.inf, time.time(), problem="out of memory")
        if not layout.variants and not layout.compile:
            raise
        return Speed(math.inf, time.time(), problem=f"{type(error).__name__}: {str(error).strip():.200}")
    return Speed(cost, time.time(), losses)


def lost_device(speed: Speed) -> bool:
    """Whether the process that measured this lost its GPU: after such an error every call fails."""
    return "CUDA error" in speed.problem


def disagreement(found: Speed, reference: Speed, precision: str) -> str:
    """Why a faster way's losses are not those of the reference on the same batches; empty if they are."""
    pairs = list(zip(found.losses, reference.losses, strict=False))
    if found.problem or not pairs:
        return found.problem or "it trained no step"
    worst = np.abs(np.array([ours for ours, _ in pairs]) - np.array([theirs for _, theirs in pairs])).max()
    if worst <= AGREEMENT[precision]:  # A difference that is not a number is not smaller either.
        return ""
    return f"its losses differ by {worst:.2g} nats in {len(pairs)} steps; {AGREEMENT[precision]:g} is allowed in {precision}"


def _trained(settings: TrainSettings, vocabulary: int, layout: Layout) -> tuple[float, list[list[float]]]:
    """Seconds per token, and the first losses."""
    from proxy_training.loop.trainer import fit

    device, k = layout.device, layout.models_per_process
    flop = flops_per_token(settings.model, vocabulary, settings.sequence_length) * settings.sequence_length * k
    # ---- 1. Settings whose steps are short enough to time: only part of a batch where a full step would take too long.
    batch = max(1, min(settings.batch_size, int(STEP_FLOP[device] // flop)))
    settings = replace(settings, batch_size=batch)
    steps = max(1, min(STEPS[device], int(STEP_FLOP[device] / (flop * batch))))
    # Without a warm-up of the learning rate the first losses move at once, so a way that does not learn shows in them.
    short = replace(
        settings, tokens=100 * steps * settings.tokens_per_step, evaluations=1, simulated_budget=None, warmup=0.0
    )
    layout = replace(layout, micro_batch=min(layout.micro_batch, batch))
    # ---- 2. Random tokens, and proxies of one seed: a seed's weights are built once.
    ids = np.random.default_rng(0).integers(vocabulary, size=64 * settings.sequence_length + 1)
    domain = TokenDomain([ids], settings.sequence_length)
    manifest = TokensManifest({"vocabulary": vocabulary}, "uint32", {"train": {}, "valid": {}}, {}, {})
    data = TokenData(Path(), manifest, "", {"random": domain}, {"random": domain})
    run = Run("calibration", {"random": 1.0}, 0)
    plan = plan_of(run, data, short)
    # ---- 3. Train until the time is over.
    untimed = GRAPH_STEPS // steps if layout.graph else 0
    times: list[float] = []
    losses: list[list[float]] = [[] for _ in range(k)]

    def stop_when_known(_: int) -> None:
        times.append(time.perf_counter())
        if len(times) > untimed + 1 and times[-1] - times[untimed] > SECONDS[device]:
            raise _Enough

    def keep(position: int, rows: list[dict[str, float]]) -> None:
        losses[position] += [row["train_loss"] for row in rows]

    with contextlib.suppress(_Enough):
        fit([run] * k, [plan] * k, data, short, layout, on_rows=keep, on_steps=stop_when_known)
    times = times[untimed:]
    if len(times) > 2:  # After the last step the clock is read twice.
        times.pop()
    first = list(zip(*(of_one[:COMPARED_STEPS] for of_one in losses), strict=False))
    cost = statistics.median(np.diff(times).tolist()) / (steps * settings.tokens_per_step * k)
    return cost, [list(row) for row in first]


class _Enough(Exception):
    pass
