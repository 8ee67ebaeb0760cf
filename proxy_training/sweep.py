"""Mixtures + token shards -> a trained proxy for each: several in a process, and as many processes as there are cores.

python proxy_training/sweep.py --study STUDY
"""

import shlex
from pathlib import Path

from proxy_training.launch.train_runs import LauncherName, train_runs
from proxy_training.runs.final_losses import say_losses
from proxy_training.runs.planned_runs import planned_runs
from proxy_training.runs.settings import TrainSettings
from proxy_training.tracking.wandb_log import WandbMode
from proxymix.messages import next_command
from proxymix.progress import say


def sweep(
    mixtures: Path,
    tokens: Path,
    out: Path,
    train: TrainSettings = TrainSettings(),  # noqa: B008
    launcher: LauncherName = "local",
    workers: int | None = None,
    seed: int = 0,
    wandb: WandbMode = "offline",
    save: bool = False,
) -> None:
    """Train a proxy on every mixture. Runs that are done are skipped, so the same command continues a sweep.

    Args:
        mixtures: Folder of mixture YAMLs (n00001.yaml, ...).
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        train: How a proxy is trained.
        launcher: Where runs are trained; local is processes on this machine.
        workers: Processes at a time; by default one per physical core that memory allows, or one per GPU.
        seed: Seed of initialisation and data order. It is the same for every run, so that runs differ only by their
            mixtures; a repeat of a mixture (`synthesize --repeat_seeds`) has its number added.
        wandb: Whether metrics are logged to wandb; offline needs no account and no network.
        save: Keep the final weights in OUT/<run>/checkpoint, as litgpt has them. A run that is done but has no checkpoint
            is trained again.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
        StageError: If runs failed. All others are trained, and the message names those that failed.
    """
    group = Path(out).resolve().parent.name
    runs = planned_runs(mixtures, seed)
    train_runs(runs, tokens, out, train, workers, wandb, group, "train proxies", save, launcher)
    say_losses([run.id for run in runs], Path(out))
    elsewhere = f"--proxies {shlex.quote(str(out))} --out {shlex.quote(str(Path(out).parent))}"
    say(f"Next: {next_command(Path(out), 'collect', elsewhere)}")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(sweep)
