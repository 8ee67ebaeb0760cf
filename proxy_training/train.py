"""Mixtures and token shards -> trained proxies, several in one process: loss curves and validation losses per domain.

python proxy_training/train.py --mixtures STUDY/mixtures --tokens STUDY/tokens --out STUDY/proxies --runs n00001 n00002
"""

import io
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, redirect_stderr
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from proxy_training.device.layout import has_gpu, layout_of
from proxy_training.launch.train_batch import train_bundle
from proxy_training.runs.run_folder import left_to_train
from proxy_training.runs.run_list import read_runs
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxymix.errors import InputError
from proxymix.progress import progress, say


def train(
    mixtures: Path,
    tokens: Path,
    out: Path,
    runs: list[str] | None = None,
    train: TrainSettings = TrainSettings(),  # noqa: B008
    seed: int = 0,
    wandb: Literal["offline", "online", "disabled"] = "offline",
    save: bool = False,
    devices: int = 1,
) -> None:
    """Train the listed runs, `train.models_per_process` of them together in this process; runs that are done are skipped.

    A target is trained by the same command, at one mixture and on several devices:

    proxymix train --mixtures STUDY/optimal_mixture.yaml --tokens STUDY/tokens --out TARGET --train.model 1b
    --train.tokens 20_000_000_000 --devices 8 --save

    Args:
        mixtures: Folder of mixture YAMLs (n00001.yaml, ...), or one of them, such as optimal_mixture.yaml.
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        runs: Runs to train, by the names of their mixtures (n00001 n00002); all when left out.
        train: How a proxy is trained.
        seed: Seed of initialisation and data order, the same for every run, so that runs differ by their mixtures only; a
            repeat of a mixture (`synthesize --repeat_seeds`) has its number added.
        wandb: Where the mirror of the metrics goes; offline needs no account and no network.
        save: Keep the final weights in OUT/<run>/checkpoint, as litgpt has them; a run that is done and has none is
            trained again.
        devices: Processes that train each run together, one a GPU (FSDP, as litgpt does), or on CPUs where there is none;
            every one takes its part of train.batch_size. Losses are those of one device but for rounding. Across several
            machines start this command by torchrun, whose processes it then uses.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have, or the devices cannot share a batch.
        StageError: If a process failed; the others are stopped, and the same command continues.
    """
    rank, size = _place(devices)
    with redirect_stderr(io.StringIO()) if rank else nullcontext():  # the first of torchrun's processes speaks
        wanted = read_runs(mixtures, seed, runs)
        data = TokenData.open(tokens, train)
        for run in wanted:
            data.check(run)
        _check_devices(train, size)
        todo = left_to_train(wanted, data, out, train, save)
        if done := [run.id for run in wanted if run not in todo]:
            say(f"{', '.join(done)}: done already")
        with progress("train proxies", len(todo) * train.num_steps, "steps") as bar:
            how: dict[str, Any] = {"wandb": wandb, "save": save}
            if _by_torchrun():
                diverged = _train_as_one_of_several(todo, data, out, train, how, bar.advance)
            elif size > 1:
                from proxy_training.loop.distributed import train_on

                job = {"settings": asdict(train), "tokens": str(tokens), "out": str(out), "group": "", **how}
                diverged = train_on(size, todo, job, bar.advance, say)
            else:
                diverged = {}
                layout = layout_of(train, data.vocabulary)
                for start in range(0, len(todo), layout.models_per_process):
                    bundle = todo[start : start + layout.models_per_process]
                    diverged |= train_bundle(bundle, data, out, train, layout, on_steps=bar.advance, **how)
        for name, what in diverged.items():
            say(f"{name}: {what}")


def _by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


def _place(devices: int) -> tuple[int, int]:
    """This process's number, and how many train a run together."""
    return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if _by_torchrun() else (0, devices)


def _check_devices(settings: TrainSettings, devices: int) -> None:
    """Raises InputError if there are not so many GPUs, or they cannot have equal parts of a batch."""
    if devices < 1:
        raise InputError(f"train: --devices is {devices}; 1 or more is wanted")
    if settings.batch_size % devices:
        fitting = max(1, round(settings.batch_size / devices)) * devices
        raise InputError(
            f"train.batch_size is {settings.batch_size}, of which {devices} devices cannot have equal parts; "
            f"{fitting} would do"
        )
    if devices > 1 and has_gpu() and not _by_torchrun():
        import torch

        if devices > torch.cuda.device_count():
            raise InputError(f"train: --devices is {devices}, and this machine has {torch.cuda.device_count()} GPUs")


def _train_as_one_of_several(
    runs: Sequence[Run],
    data: "TokenData",
    out: Path,
    settings: TrainSettings,
    how: Mapping[str, Any],
    on_steps: Callable[[int], None],
) -> dict[str, str]:
    from proxy_training.loop.distributed import join, part_of

    devices = join()
    layout = part_of(settings, data.vocabulary, devices.size)
    diverged: dict[str, str] = {}
    for run in runs:
        diverged |= train_bundle([run], data, out, settings, layout, on_steps=on_steps, devices=devices, **how)
    devices.leave()
    return diverged


if __name__ == "__main__":
    from proxymix.app.cli import run as run_stage

    run_stage(train)
