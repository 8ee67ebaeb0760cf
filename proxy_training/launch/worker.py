"""A process that trains bundles one after another: torch and litgpt are imported once, for all of them.

It reads JSON lines on its input (a job, then a bundle at a time) and answers in JSON lines. When the input ends it exits
at once, in the middle of a run if need be: so no worker outlives the process that started it, however that one died.
"""

import json
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from proxy_training.device.calibration import seconds_per_token
from proxy_training.device.layout import Layout, is_out_of_memory
from proxy_training.launch.train_batch import train_bundle
from proxy_training.loop.distributed import OneDevice, join, part_of
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData

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
    if "layouts" in job:  # to be measured
        for layout in job["layouts"]:
            try:
                cost = seconds_per_token(settings, job["vocabulary"], Layout(**layout))
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                cost = math.inf
            answer({"seconds_per_token": cost, "ended": time.time()})
        return
    data = TokenData.open(Path(job["tokens"]), settings)
    devices: OneDevice = OneDevice()
    if "rendezvous" in job:  # one of several that train every run together
        devices = join(Path(job["rendezvous"]))
        layout = part_of(settings, data.vocabulary, devices.size)
    else:
        layout = Layout(**job["layout"])
    told = answer if devices.rank == 0 else _nothing
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
                on_steps=lambda count: told({"steps": count}),
                warn=lambda message: answer({"warning": message}),
                save=job["save"],
                devices=devices,
            )
            answer({"done": [run.id for run in runs], "diverged": diverged})
        except Exception as error:
            code = error.errno if isinstance(error, OSError) else None
            answer({"failed": runs[0].id, "error": str(error), "kind": type(error).__name__, "errno": code})
            if "CUDA error" in str(error) and not is_out_of_memory(error):
                raise  # the device answers nothing more to this process; the next bundles must not fail with it


def _nothing(answer: Answer) -> None:
    """Tell no one."""


if __name__ == "__main__":
    main()
