"""Run batches -> worker processes of this machine that train them; each is handed its next batch when it is free."""

import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from proxy_training.launch.launcher import Outcome, RunBatch
from proxy_training.launch.worker_process import MAX_SILENT_SECONDS, Worker, one_gpu, stop
from proxymix.errors import InputError, StageError
from proxymix.progress import say

MAX_ATTEMPTS = 2
"""A batch whose worker died is tried once more, with a new worker."""
MAX_DEATHS_IN_A_ROW = 4
"""After so many dead workers with no batch done between them, a thread starts no more."""


class WorkerPool:
    """Workers that share a list of run batches. A thread leads each worker and starts a new one when it dies.

    `job` is the first message to each worker, and `advance` is called with the number of further steps that are done.
    """

    def __init__(
        self,
        job: dict[str, Any],
        batches: Sequence[RunBatch],
        run_steps: int,
        advance: Callable[[float], None],
        max_silent_seconds: int = MAX_SILENT_SECONDS,
    ) -> None:
        self._job, self._run_steps, self._advance = job, run_steps, advance
        self._max_silent_seconds = max_silent_seconds
        self._outcome = Outcome()
        self._queue: queue.SimpleQueue[RunBatch] = queue.SimpleQueue()
        for batch in batches:
            self._queue.put(batch)
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._is_over = False
        self._workers: list[Worker] = []

    def train(self, num_workers: int) -> Outcome:
        """Train until no batch or no worker is left."""
        with ExitStack() as self._processes:
            threads = [threading.Thread(target=self._lead, args=(k,), daemon=True) for k in range(num_workers)]
            try:
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            except KeyboardInterrupt:
                with self._lock:
                    self._is_over = True
                stop(self._workers)
                raise
            finally:
                with self._lock:
                    self._is_over = True  # Threads whose workers are killed now start no others.
        while not self._queue.empty():
            self._outcome.not_started += [run.id for run in self._queue.get()]
        return self._outcome

    def _lead(self, number: int) -> None:
        """Hand batches to a worker until no batch is left, workers keep dying, or the disk is full."""
        worker, deaths = None, 0
        while self._outcome.no_space is None and deaths < MAX_DEATHS_IN_A_ROW:
            try:
                batch = self._queue.get_nowait()
            except queue.Empty:
                return
            for attempt in range(1, MAX_ATTEMPTS + 1):
                try:
                    worker = worker or self._start_worker(number)
                    reason = self._follow(worker, batch)
                except Exception as error:  # An error in this thread would be lost, and the batch with it.
                    self._fail(batch, f"it cannot be led: {type(error).__name__}: {error}")
                    return
                if not reason:
                    deaths = 0
                    break
                deaths += 1
                worker = None
                if attempt == MAX_ATTEMPTS:
                    self._fail(batch, f"the worker died: {reason}")
                elif not self._is_over:
                    self._say(f"{batch[0].id}: the worker died: {reason}; trying once more")

    def _start_worker(self, number: int) -> Worker:
        with self._lock:
            if self._is_over:
                raise StageError("the sweep was stopped")
            worker = Worker(self._job, one_gpu(number), self._max_silent_seconds)
            self._workers.append(self._processes.enter_context(worker))
            return worker

    def _follow(self, worker: Worker, batch: RunBatch) -> str:
        """Hand a batch to a worker and listen until it is over; why the worker died, or the empty string."""
        worker.send({"runs": [asdict(run) for run in batch]})
        steps_done = 0
        while True:
            answer = worker.answer()
            with self._lock:
                if "warning" in answer:
                    self._warn_once(answer["warning"])
                elif "steps" in answer:
                    steps_done += answer["steps"]
                    self._count(answer["steps"])
                elif not answer:
                    self._count(-steps_done)
                    return worker.exit_reason()
                else:
                    self._count(self._run_steps * len(batch) - steps_done)
                    self._outcome.diverged |= answer.get("diverged", {})
                    if "failed" in answer:
                        self._note_failure(answer, batch)
                    return ""

    def _fail(self, batch: RunBatch, reason: str) -> None:
        with self._lock:
            self._count(self._run_steps * len(batch))
            self._outcome.failed |= {run.id: f"{run.id}: {reason}" for run in batch}

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
            self._say(message)

    def _say(self, message: str) -> None:
        with contextlib.suppress(Exception):  # Nobody listens any more, which is no reason to stop training.
            say(message)

    def _count(self, steps: float) -> None:
        with contextlib.suppress(Exception):
            self._advance(steps)
