"""Layouts -> their speeds, measured in processes of their own, as a sweep's workers are."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from typing import Any

from proxy_training.device.layout import Layout
from proxy_training.device.trial import Speed, lost_device
from proxy_training.launch.worker_process import Worker, one_gpu
from proxy_training.runs.settings import TrainSettings
from proxymix.errors import StageError
from proxymix.progress import progress


class MeasuringWorkers:
    """Worker processes that train on random tokens for a few seconds in each layout that they are given.

    They start with the first measurement, and measure the same layout at the same time. A process whose GPU answers an
    error serves for nothing else, so new processes are started for the layouts after it.
    """

    def __init__(self, settings: TrainSettings, vocabulary: int, workers: int = 1) -> None:
        self._job = {"settings": asdict(settings), "vocabulary": vocabulary}
        self._num_workers = workers
        self._processes = ExitStack()
        self._workers: list[Worker] = []

    def measure(self, layouts: Sequence[Layout]) -> list[list[Speed]]:
        """For each worker the speed of each layout. StageError: a process fails."""
        found: list[list[Speed]] = [[] for _ in range(self._num_workers)]
        with progress("measure speed", len(layouts), "layouts") as bar:
            for layout in layouts:
                speeds = [Speed(**answer) for answer in self._answers({"layouts": [asdict(layout)]})]
                for of_one, speed in zip(found, speeds, strict=True):
                    of_one.append(speed)
                if any(lost_device(speed) for speed in speeds):
                    self.close()
                bar.advance()
        return found

    def _answers(self, message: dict[str, Any]) -> list[dict[str, Any]]:
        if self._workers:
            for worker in self._workers:
                worker.send(message)
        else:
            job = {**self._job, **message}
            self._workers = [
                self._processes.enter_context(Worker(job, one_gpu(number))) for number in range(self._num_workers)
            ]
        answers = [worker.answer() for worker in self._workers]
        for worker, answer in zip(self._workers, answers, strict=True):
            if not answer:
                reason = worker.exit_reason()
                self.close()
                raise StageError(f"a worker could not train a first step: {reason}")
        return answers

    def close(self) -> None:
        """End the processes; a further measurement starts new ones."""
        self._processes.close()
        self._workers = []


def measured(
    settings: TrainSettings, vocabulary: int, layouts: Sequence[Layout], workers: int = 1
) -> list[list[Speed]]:
    """What `MeasuringWorkers` measure in as many processes as a sweep has, which end with it."""
    measuring = MeasuringWorkers(settings, vocabulary, workers)
    try:
        return measuring.measure(layouts)
    finally:
        measuring.close()
