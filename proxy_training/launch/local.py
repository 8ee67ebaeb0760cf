"""The launcher for this machine: a worker process per physical core that memory allows, or per GPU."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from proxy_training.device.calibration import chosen_layout
from proxy_training.device.layout import ACTIVATION_BYTES, PEAK_STATE_BYTES, Layout, num_gpus
from proxy_training.launch.job import TrainingJob
from proxy_training.launch.launcher import Outcome, RunBatch
from proxy_training.launch.worker_pool import WorkerPool
from proxy_training.launch.worker_process import MAX_SILENT_SECONDS
from proxy_training.model.proxy import activation_bytes, total_parameters
from proxy_training.runs.settings import TrainSettings

IMPORT_BYTES = 600 * 2**20
"""Memory of a worker before it has a model: 430 MiB were measured, and wandb's service runs beside it."""


@dataclass(frozen=True)
class LocalLauncher:
    """Workers are processes of this machine.

    Attributes:
        max_silent_seconds: How long a worker may give no sign of life before another takes its batch.
    """

    max_silent_seconds: int = MAX_SILENT_SECONDS

    def num_workers(self, settings: TrainSettings, vocabulary: int) -> int:
        """One process per GPU; without GPUs, one per physical core that this process may use and memory allows."""
        import joblib
        import psutil

        if gpus := num_gpus():
            return gpus
        activations = min(ACTIVATION_BYTES["cpu"], settings.tokens_per_step * activation_bytes(settings.model))
        need = IMPORT_BYTES + PEAK_STATE_BYTES * total_parameters(settings.model, vocabulary) + 2 * activations
        return max(1, min(joblib.cpu_count(only_physical_cores=True), psutil.virtual_memory().available // need))

    def choose_layout(self, settings: TrainSettings, vocabulary: int, num_runs: int, workers: int) -> Layout:
        """The fastest layout on this machine."""
        return chosen_layout(settings, vocabulary, num_runs, workers)

    def train(
        self,
        job: TrainingJob,
        layout: Layout,
        batches: Sequence[RunBatch],
        workers: int,
        advance: Callable[[float], None],
    ) -> Outcome:
        """Train the batches in worker processes."""
        message = {**job.message(), "layout": asdict(layout)}
        return WorkerPool(message, batches, job.settings.num_steps, advance, self.max_silent_seconds).train(workers)
