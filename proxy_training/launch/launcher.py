"""What a launcher does: it starts workers somewhere, and run batches become run folders."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from proxy_training.device.layout import Layout
from proxy_training.launch.job import TrainingJob
from proxy_training.runs.settings import Run, TrainSettings

RunBatch = Sequence[Run]


@dataclass
class Outcome:
    """What happened to the runs that a launcher was given, where they are not simply done."""

    failed: dict[str, str] = field(default_factory=dict)  # Run -> what happened.
    diverged: dict[str, str] = field(default_factory=dict)  # Run -> what happened. These runs are done.
    not_started: list[str] = field(default_factory=list)  # Runs that no worker took.
    no_space: OSError | None = None  # The error of the system, if the disk is full.


class Launcher(Protocol):
    """Where and how workers run. Run batches are written to the study before any worker starts (run_batches.py), and
    results come back as run folders, so a launcher needs no connection to its workers while they train.
    """

    def num_workers(self, settings: TrainSettings, vocabulary: int) -> int:
        """How many workers train at a time, if the user does not say."""

    def choose_layout(self, settings: TrainSettings, vocabulary: int, num_runs: int, workers: int) -> Layout:
        """How proxies are laid out on a worker's device."""

    def train(
        self,
        job: TrainingJob,
        layout: Layout,
        batches: Sequence[RunBatch],
        workers: int,
        advance: Callable[[float], None],
    ) -> Outcome:
        """Train the batches and return when no worker is left at work; `advance` is called with further steps done.

        At a KeyboardInterrupt the workers write their states (loop/stopping.py) before it is raised again.
        """
