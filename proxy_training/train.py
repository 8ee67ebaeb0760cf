"""Mixtures and token shards -> trained proxies, several in this process: loss curves and validation losses per domain.

python proxy_training/train.py --mixtures STUDY/mixtures --tokens STUDY/tokens --out STUDY/proxies --runs n00001 n00002
"""

import io
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext, redirect_stderr
from pathlib import Path

from proxy_training.device.layout import Layout, has_gpu, layout_of
from proxy_training.launch.job import TrainingJob
from proxy_training.launch.train_batch import train_batch
from proxy_training.loop.stopping import stopping_after_a_step
from proxy_training.runs.final_losses import say_losses
from proxy_training.runs.planned_runs import planned_runs, runs_to_train, say_what_is_kept
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxy_training.tracking.wandb_log import WandbMode, close_service
from proxymix.errors import InputError, StageError
from proxymix.locks import locked
from proxymix.messages import some
from proxymix.progress import progress, say


def train(
    mixtures: Path,
    tokens: Path,
    out: Path,
    runs: list[str] | None = None,
    train: TrainSettings = TrainSettings(),  # noqa: B008
    seed: int = 0,
    wandb: WandbMode = "offline",
    save: bool = False,
    devices: int = 1,
) -> None:
    """Train the listed runs, `train.models_per_process` of them together in this process. Runs that are done are skipped.

    The same command trains a larger model, at one mixture and on several devices:

    proxymix train --mixtures STUDY/optimal_mixture.yaml --tokens STUDY/tokens --out TARGET --train.model 1b
    --train.tokens 20_000_000_000 --devices 8 --save

    Args:
        mixtures: Folder of mixture YAMLs (n00001.yaml, ...), or one of them, such as optimal_mixture.yaml.
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        runs: The runs to train, by the names of their mixtures (n00001 n00002); all runs unless given.
        train: How a proxy is trained.
        seed: Seed of initialisation and data order. It is the same for every run, so that runs differ only by their
            mixtures; a repeat of a mixture (`synthesize --repeat_seeds`) has its number added.
        wandb: Whether metrics are logged to wandb; offline needs no account and no network.
        save: Keep the final weights in OUT/<run>/checkpoint, as litgpt has them. A run that is done but has no checkpoint
            is trained again.
        devices: Processes that train each run together: one per GPU (FSDP, as in litgpt), or on CPUs if there is no GPU.
            Each takes its part of train.batch_size. The losses equal those of one device except for rounding. On several
            machines start this command with torchrun, whose processes are then used.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have, or the devices cannot share a batch.
        StageError: If a process failed. The others are stopped, and the same command continues.
    """
    rank, size = _rank_and_size(devices)
    # Of torchrun's processes only the first one reports.
    with redirect_stderr(io.StringIO()) if rank else nullcontext():
        wanted = planned_runs(mixtures, seed, runs)
        data, job = TokenData.open(tokens, train), TrainingJob(train, tokens, Path(out), wandb, save=save)
        todo = runs_to_train(wanted, data, Path(out), train, save)
        _check_devices(train, size)
        if done := [run.id for run in wanted if run not in todo]:
            say(f"{some(done)}: done already")
        if todo:
            with locked(Path(out)) if rank == 0 else nullcontext():
                try:
                    diverged = _train(wanted, todo, data, job, size)
                finally:
                    close_service()
            if missing := runs_to_train(todo, data, Path(out), train, save) if rank == 0 else []:
                raise StageError(
                    f"{some([run.id for run in missing])}: no result is in {out}; run the same command again"
                )
            for name, what in diverged.items():
                say(f"{name}: {what}")
        say_losses([run.id for run in wanted] if rank == 0 else [], Path(out))


def _train(wanted: Sequence[Run], todo: Sequence[Run], data: TokenData, job: TrainingJob, size: int) -> dict[str, str]:
    """Train what is to be done of the runs that are wanted; returns the runs that diverged, each with what happened."""
    layout = layout_of(job.settings, data.vocabulary)
    # The batches are those of all runs that are wanted, so that they are the same however often the command is begun.
    # On several devices each run is a batch of its own.
    count = 1 if size > 1 or _by_torchrun() else layout.models_per_process
    batches = [wanted[start : start + count] for start in range(0, len(wanted), count)]
    batches = [batch for batch in batches if any(run in todo for run in batch)]
    try:
        with progress("train proxies", sum(map(len, batches)) * job.settings.num_steps, "steps") as bar:
            if size > 1 and not _by_torchrun():
                from proxy_training.loop.distributed import train_on

                return train_on(size, todo, job.message(), bar.advance, say)
            with stopping_after_a_step():
                return _train_here(batches, data, job, layout, bar.advance)
    except KeyboardInterrupt:
        say_what_is_kept(wanted, batches, data, job.out, job.settings)
        raise


def _train_here(
    batches: Sequence[Sequence[Run]], data: TokenData, job: TrainingJob, layout: Layout, on_steps: Callable[[int], None]
) -> dict[str, str]:
    """Train batches in this process, which may be one of torchrun's."""
    from proxy_training.loop.distributed import join, part_of

    devices = join() if _by_torchrun() else None
    if devices:
        layout = part_of(job.settings, data.vocabulary, devices.size)
    diverged: dict[str, str] = {}
    for batch in batches:
        diverged |= train_batch(batch, data, layout, job, on_steps, devices=devices)
    if devices:
        devices.leave()
    return diverged


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _rank_and_size(devices: int) -> tuple[int, int]:
    """The number of this process, and how many processes train a run together."""
    return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if _by_torchrun() else (0, devices)


def _check_devices(settings: TrainSettings, devices: int) -> None:
    """Raise InputError if there are fewer GPUs than devices, or the devices cannot have equal parts of a batch."""
    if devices < 1:
        raise InputError(f"train: --devices is {devices}; 1 or more is wanted")
    if settings.batch_size % devices:
        fitting = max(1, round(settings.batch_size / devices)) * devices
        raise InputError(
            f"train.batch_size is {settings.batch_size}, which cannot be split evenly over {devices} devices; set it to "
            f"{fitting}"
        )
    if devices > 1 and has_gpu() and not _by_torchrun():
        import torch

        if devices > torch.cuda.device_count():
            raise InputError(f"train: --devices is {devices}, and this machine has {torch.cuda.device_count()} GPUs")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(train)
