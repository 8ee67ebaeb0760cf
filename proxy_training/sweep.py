"""Mixtures + token shards -> a trained proxy for each: several in a process, and as many processes as there are cores.

python proxy_training/sweep.py --study STUDY
"""

from pathlib import Path
from typing import Literal

from proxy_training.launch.train_runs import train_runs
from proxy_training.runs.run_list import read_runs
from proxy_training.runs.settings import TrainSettings


def sweep(
    mixtures: Path,
    tokens: Path,
    out: Path,
    train: TrainSettings = TrainSettings(),  # noqa: B008
    launcher: Literal["local"] = "local",
    workers: int | None = None,
    seed: int = 0,
    wandb: Literal["offline", "online", "disabled"] = "offline",
    save: bool = False,
) -> None:
    """Train a proxy on every mixture; runs that are done are skipped, so the same command continues a sweep.

    Args:
        mixtures: Folder of mixture YAMLs (n00001.yaml, ...).
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        train: How a proxy is trained.
        launcher: Where runs are trained; local is processes on this machine.
        workers: Processes at a time; by default one per physical core that memory allows, or one per GPU.
        seed: Seed of initialisation and data order, the same for every run, so that runs differ by their mixtures only; a
            repeat of a mixture (`synthesize --repeat_seeds`) has its number added.
        wandb: Where the mirror of the metrics goes; offline needs no account and no network.
        save: Keep the final weights in OUT/<run>/checkpoint, as litgpt has them; a run that is done and has none is
            trained again.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
        StageError: If runs failed; the others are trained, and what failed is named.
    """
    group = Path(out).resolve().parent.name
    train_runs(read_runs(mixtures, seed), tokens, out, train, workers, wandb, group, "train proxies", save)


if __name__ == "__main__":
    from proxymix.app.cli import run as run_stage

    run_stage(sweep)
