"""Token shards and mixtures small enough to train on in a second."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil

from data_preparation.tokens.shards import ShardWriter
from mixture_config.files.mixture import Mixture
from proxy_training.device.layout import Layout, layout_of
from proxy_training.launch.job import TrainingJob
from proxy_training.launch.launcher import Outcome
from proxy_training.launch.local import LocalLauncher
from proxy_training.launch.train_batch import train_batch
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxymix.progress import say
from proxymix.schemas import Shard, TokensManifest

VOCABULARY = 64
TINY = TrainSettings(
    model="50k", sequence_length=16, tokens=1280, batch_size=4, learning_rate=0.01, valid_tokens=64, evaluations=2
)


def write_tokens(folder: Path, sizes: dict[str, int], valid: int = 100, broken: str = "", shard: int = 700) -> Path:
    """Domains in which the next id is the last one plus the domain's number + 1, so that each teaches something else.

    `broken` names a domain whose training ids the vocabulary does not have, so that its runs fail.
    """
    rng = np.random.default_rng(0)
    splits: dict[str, dict[str, tuple[Shard, ...]]] = {"train": {}, "valid": {}}
    for split in splits:
        for number, (name, size) in enumerate(sizes.items()):
            count = size if split == "train" else valid
            with ShardWriter(folder, split, name, "uint16", shard_tokens=shard) as writer:
                for start in range(0, count, 50):
                    length = min(50, count - start)
                    ids = (rng.integers(VOCABULARY) + (number + 1) * np.arange(length)) % VOCABULARY
                    writer.write(ids + (VOCABULARY if (split, name) == ("train", broken) else 0), num_bytes=4 * length)
            splits[split][name] = tuple(writer.shards)
    tokenizer = {"name": "test", "sha256": "0", "vocabulary": VOCABULARY, "eos": 0, "eos_token": "<eos>"}
    sources = {split: {name: list[str]() for name in sizes} for split in splits}
    TokensManifest(tokenizer, "uint16", splits, sources, {}).write(folder, {}, {})
    return folder


def write_mixtures(folder: Path, mixtures: list[dict[str, float]]) -> Path:
    """n00001.yaml, n00002.yaml, ..."""
    for index, weights in enumerate(mixtures, start=1):
        Mixture(weights).write(folder / f"n{index:05d}.yaml")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every final file under a folder; wandb's hold clocks."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and "wandb" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def wait_for(condition: Callable[[], object], seconds: float = 300.0) -> None:
    """Wait until something is so. AssertionError: it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def train_run(
    run: Run, data: TokenData, folder: Path, settings: TrainSettings, wandb="disabled", group="", **layout
) -> dict[str, str]:
    """One proxy alone, in `folder`, whose name need not be the run's; what diverged."""
    fitted = replace(layout_of(settings, VOCABULARY), **layout)
    diverged = train_together([run], data, folder.parent, settings, fitted, wandb=wandb, group=group)
    if folder.name != run.id:
        (folder.parent / run.id).rename(folder)
    return diverged


class InThisProcess(LocalLauncher):
    """Trains batches without a worker process, whose start takes seconds, for tests that are not about workers."""

    def train(self, job, layout, batches, workers, advance) -> Outcome:
        outcome, data = Outcome(), TokenData.open(job.tokens, job.settings)
        for batch in batches:
            outcome.diverged |= train_batch(batch, data, layout, job, advance)
        return outcome


def train_together(
    runs: Sequence[Run], data: TokenData, out: Path, settings: TrainSettings, layout: Layout, warn=say, **job
) -> dict[str, str]:
    """Runs as one batch in this process, each in out/<run>; what diverged."""
    return train_batch(runs, data, layout, TrainingJob(settings, data.folder, out, **job), warn=warn)


def have_ended(processes: Sequence[psutil.Process], seconds: float = 60.0) -> bool:
    """Whether processes end within a while. One that nobody collects, as in a container without an init, has ended too."""
    deadline = time.monotonic() + seconds
    while not all(map(_has_ended, processes)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
