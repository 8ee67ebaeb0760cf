"""What proxies are compared with in gpu.py: a plain loop over litgpt.GPT, and `litgpt pretrain`."""

import os
import statistics
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from contenders import plain_step, pretrain_command, step_seconds
from gpu_cases import FIRST_CASE, Case, cases, tokens_of
from gpu_sections import Context, Item
from gpu_timing import steady


def plain_speed(context: Context, case: Case, seconds: float) -> Mapping[str, Any]:
    """Tokens a second of one proxy in a plain loop."""
    settings = case.settings
    piece = max(1, min(settings.batch_size, 2**30 // (case.vocabulary * settings.sequence_length)))
    pieces = max(1, min(settings.batch_size // piece, 8))  # Part of a long step is enough.
    take_step = plain_step(settings, case.vocabulary, context.device, pieces, piece)
    per_step = steady(take_step, context.device, seconds)
    tokens = pieces * piece * settings.sequence_length
    return {"tokens_per_second": tokens / per_step, "milliseconds_per_step": 1000 * per_step, "micro_batch": piece}


def pretrain_items(context: Context) -> Iterator[Item]:
    """A short `litgpt pretrain`, beside other sections, fills the compiler's cache; the one that counts is in "fast"."""
    if not context.rehearse:
        yield f"{FIRST_CASE}: litgpt pretrain", lambda: pretrain(context, cases(context)[FIRST_CASE], 20)


def pretrain(context: Context, case: Case, steps: int = 200) -> Mapping[str, Any]:
    """One `litgpt pretrain` with its defaults (compiled, bf16-mixed): its whole time, and its steady steps as it times them."""
    from mixture_config.files.mixture import Mixture

    folder = context.folder / context.section / "pretrain"
    steps = 10 if context.rehearse else steps
    settings = replace(case.settings, tokens=steps * case.settings.tokens_per_step)
    Mixture({f"d{number}": 0.25 for number in range(4)}, {}).write(folder / "mixture.yaml")
    tokens, mixture = tokens_of(context, case), folder / "mixture.yaml"
    start = time.perf_counter()
    done = subprocess.run(
        pretrain_command(settings, case.vocabulary, tokens, mixture, folder),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=max(5.0, min(110.0, context.left - 2)),
        env={**os.environ, **({"TORCHDYNAMO_DISABLE": "1"} if context.rehearse else {})},
    )
    print(done.stdout[-1500:], done.stderr[-3000:], flush=True)
    times = step_seconds(done.stdout)
    if done.returncode or len(times) < 5:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    step = statistics.median(times[len(times) // 2 :])
    return {
        "tokens_per_second": settings.tokens_per_step / step,
        "milliseconds_per_step": 1000 * step,
        "all_seconds": time.perf_counter() - start,
        "steps": len(times),
    }
