"""Run batches -> worker processes of this machine that train them; each is handed its next batch when it is free."""

import errno
import os
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from proxy_training.launch.launcher import Outcome, RunBatch
from proxy_training.launch.worker_process import Worker, one_gpu
from proxymix.errors import InputError, StageError
from proxymix.progress import say


class WorkerPool:
    """Workers that share a list of run batches. A worker that dies loses only the batch that it was training.

    Args:
        job: The first message to each worker.
        batches: What to train.
        run_steps: Training steps of a run.
        advance: Called with the number of further steps that are done.
    """

    def __init__(
        self, job: dict[str, Any], batches: Sequence[RunBatch], run_steps: int, advance: Callable[[float], None]
    ) -> None:
        self._job, self._run_steps, self._advance = job, run_steps, advance
        self._outcome = Outcome()
        self._queue: queue.SimpleQueue[RunBatch] = queue.SimpleQueue()
        for batch in batches:
            self._queue.put(batch)
        self._lock = threading.Lock()
        self._warned: set[str] = set()

    def train(self, num_workers: int) -> Outcome:
        """Train until no batch or no worker is left."""
        with ExitStack() as opened:
            workers = [opened.enter_context(Worker(self._job, one_gpu(number))) for number in range(num_workers)]
            threads = [threading.Thread(target=self._lead, args=(worker,), daemon=True) for worker in workers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        while not self._queue.empty():
            self._outcome.not_started += [run.id for run in self._queue.get()]
        return self._outcome

    def _lead(self, worker: Worker) -> None:
        """Hand batches to one worker until no batch is left, the worker is dead, or the disk is full."""
        while self._outcome.no_space is None:
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                return
            worker.send({"runs": [asdict(run) for run in batch]})
            if not self._follow(worker, batch):
                return

    def _follow(self, worker: Worker, batch: RunBatch) -> bool:
        """Listen until a batch is over; False when the worker is dead."""
        steps_done = 0
        while True:
            answer = worker.answer()
            with self._lock:
                if "warning" in answer:
                    self._warn_once(answer["warning"])
                    continue
                if "steps" in answer:
                    steps_done += answer["steps"]
                    self._advance(answer["steps"])
                    continue
                self._advance(self._run_steps * len(batch) - steps_done)
                if not answer:
                    reason = worker.exit_reason()
                    self._outcome.failed |= {run.id: f"{run.id}: the worker died: {reason}" for run in batch}
                    return False
                self._outcome.diverged |= answer.get("diverged", {})
                if "failed" in answer:
                    self._note_failure(answer, batch)
                return True

    def _note_failure(self, answer: dict[str, Any], batch: RunBatch) -> None:
        if answer["errno"] in (errno.ENOSPC, errno.EDQUOT):
            self._outcome.no_space = OSError(answer["errno"], os.strerror(answer["errno"]), self._job["out"])
        if answer["kind"] in (StageError.__name__, InputError.__name__):  # These name what they are about.
            self._outcome.failed |= {run.id: answer["error"] for run in batch}
        else:
            self._outcome.failed |= {run.id: f"{run.id}: {answer['kind']}: {answer['error']}" for run in batch}

    def _warn_once(self, message: str) -> None:
        problem = message.partition(": ")[2]  # Without the run's name: a problem is reported once, not for each run.
        if problem not in self._warned:
            self._warned.add(problem)
            say(message)
