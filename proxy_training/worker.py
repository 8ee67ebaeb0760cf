"""A process that trains bundles one after another: torch and litgpt are imported once, for all of them.

It reads JSON lines on its input (a job, then a bundle at a time) and answers in JSON lines. When the input ends it exits
at once, in the middle of a run if need be: so no worker outlives the process that started it, however that one died.
"""

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from data_preparation.shards import TokenDomain
from proxy_training.layout import Layout, layout_of
from proxy_training.settings import Run, TrainSettings
from proxy_training.train import TokenData, plan_of, train_bundle
from proxymix.schemas import TokensManifest

CALIBRATION_SECONDS = 2.5
Answer = dict[str, Any]


def main() -> None:
    """Serve until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what a library prints must not mix with the answers
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    serve(lambda: json.loads(lines.get()), lambda answer: print(json.dumps(answer), file=answers))


def serve(read: Callable[[], dict[str, Any]], answer: Callable[[Answer], None]) -> None:
    """Take a job, then its runs."""
    job = read()
    settings = TrainSettings(**job["settings"])
    if "vocabulary" in job:
        answer({"seconds_per_token": seconds_per_token(settings, job["vocabulary"], Layout(**job["layout"]))})
        return
    data = TokenData.open(Path(job["tokens"]), settings)
    layout = Layout(**job["layout"])
    while True:
        runs = [Run(**run) for run in read()["runs"]]
        try:
            diverged = train_bundle(
                runs,
                data,
                Path(job["out"]),
                settings,
                layout,
                job["wandb"],
                job["group"],
                on_steps=lambda count: answer({"steps": count}),
                warn=lambda message: answer({"warning": message}),
            )
            answer({"done": [run.id for run in runs], "diverged": diverged})
        except Exception as error:
            code = error.errno if isinstance(error, OSError) else None
            answer({"failed": runs[0].id, "error": str(error), "kind": type(error).__name__, "errno": code})


def seconds_per_token(settings: TrainSettings, vocabulary: int, layout: Layout | None = None) -> float:
    """What a training token of one proxy costs in this process, from a few seconds of training on random tokens."""
    from proxy_training.trainer import fit

    layout = layout or layout_of(settings, vocabulary)
    short = replace(settings, tokens=100 * settings.tokens_per_step, evaluations=1, simulated_budget=None)
    ids = np.random.default_rng(0).integers(vocabulary, size=64 * settings.sequence_length + 1)
    domain = TokenDomain([ids], settings.sequence_length)
    manifest = TokensManifest({"vocabulary": vocabulary}, "uint32", {"train": {}, "valid": {}}, {}, {})
    data = TokenData(Path(), manifest, "", {"random": domain}, {"random": domain})
    runs = [Run("calibration", {"random": 1.0}, seed) for seed in range(layout.stack)]
    times: list[float] = []

    def stop_when_known(_: int) -> None:  # 100 steps, a report each
        times.append(time.perf_counter())
        if len(times) > 3 and times[-1] - times[0] > CALIBRATION_SECONDS:
            raise _Known

    with contextlib.suppress(_Known):
        fit(runs, [plan_of(run, data, short) for run in runs], data, short, layout, on_steps=stop_when_known)
    return float(np.mean(np.diff(times)) / (settings.tokens_per_step * layout.stack))


class _Known(Exception):
    pass


if __name__ == "__main__":
    main()
