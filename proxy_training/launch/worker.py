"""The worker program: it trains run batches one after another, so that torch and litgpt are imported once for all.

It reads JSON lines (a job, then run batches) and answers in JSON lines. A line now and then says only that it is alive, so
that its parent can tell a long step from a process that was stopped. When its input ends it exits at once, even in the
middle of a run, so that no worker outlives the process that started it. Told to stop, it first keeps what it has.
"""

import json
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from proxy_training.device.layout import Layout, is_out_of_memory
from proxy_training.device.trial import measured_speed
from proxy_training.launch.job import TrainingJob
from proxy_training.launch.train_batch import train_batch
from proxy_training.loop.distributed import OneDevice, join, part_of
from proxy_training.loop.stopping import ASKED
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData

Message = dict[str, Any]
ALIVE_EVERY_SECONDS = 1.0


def main() -> None:
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # What a library prints goes to stderr, because stdout is for the answers.
    messages: queue.SimpleQueue[Message] = queue.SimpleQueue()

    def hear(message: Message) -> None:
        if "stop" in message:
            ASKED.set()
        messages.put(message)

    # Ctrl+C reaches the whole process group, and the parent decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda *_: hear({"stop": True}))

    def listen() -> None:
        for line in sys.stdin:
            hear(json.loads(line))
        os._exit(0)

    speaking = threading.Lock()

    def answer(message: Message) -> None:
        with speaking:
            print(json.dumps(message), file=answers)

    def stay_in_touch() -> None:
        while True:
            answer({"alive": True})
            time.sleep(ALIVE_EVERY_SECONDS)

    for task in (listen, stay_in_touch):
        threading.Thread(target=task, daemon=True).start()
    try:
        serve(messages.get, answer)
    except KeyboardInterrupt:
        print("it was told to stop", file=sys.stderr, flush=True)
        os._exit(1)  # Its parent waits.


def serve(read: Callable[[], Message], answer: Callable[[Message], None]) -> None:
    """Take a job, then either measure layouts or train run batches."""
    message = read()
    if "layouts" in message:
        measure(message, read, answer)
    else:
        train(message, read, answer)


def measure(message: Message, read: Callable[[], Message], answer: Callable[[Message], None]) -> None:
    """Answer with the speed of each layout of this message and of those that follow."""
    settings, vocabulary = TrainSettings(**message["settings"]), message["vocabulary"]
    while "layouts" in message:
        for layout in message["layouts"]:
            answer(asdict(measured_speed(settings, vocabulary, Layout(**layout))))
        message = read()


def train(message: Message, read: Callable[[], Message], answer: Callable[[Message], None]) -> None:
    """Train one run batch after another, and answer with the steps that are done and how each batch ended."""
    job = TrainingJob.of(message)
    data = TokenData.open(job.tokens, job.settings)
    devices = OneDevice()
    if "rendezvous" in message:  # This process is one of several that train every run together.
        devices = join(Path(message["rendezvous"]))
        layout = part_of(job.settings, data.vocabulary, devices.size)
    else:
        layout = Layout(**message["layout"])

    def on_steps(count: int) -> None:
        if devices.rank == 0:
            answer({"steps": count})

    while "runs" in (message := read()):
        runs = [Run(**run) for run in message["runs"]]
        try:
            diverged = train_batch(
                runs, data, layout, job, on_steps, lambda warning: answer({"warning": warning}), devices
            )
            answer({"done": [run.id for run in runs], "diverged": diverged})
        except Exception as error:
            code = error.errno if isinstance(error, OSError) else None
            answer({"failed": runs[0].id, "error": str(error), "kind": type(error).__name__, "errno": code})
            if "CUDA error" in str(error) and not is_out_of_memory(error):
                raise  # The device does not answer this process any more, so further batches would fail too.


if __name__ == "__main__":
    main()
