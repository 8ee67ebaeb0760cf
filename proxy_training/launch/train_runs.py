"""Runs -> their folders: run batches are planned and written down, and a launcher's workers train them."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from proxy_training.device.calibration import predicted_seconds
from proxy_training.device.layout import described, num_gpus
from proxy_training.device.measuring import measured
from proxy_training.launch.job import TrainingJob
from proxy_training.launch.launcher import Launcher, Outcome
from proxy_training.launch.local import LocalLauncher
from proxy_training.launch.run_batches import are_recorded, planned_batches
from proxy_training.runs.planned_runs import runs_to_train, say_what_is_kept
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxy_training.tracking.wandb_log import WandbMode
from proxymix.errors import StageError
from proxymix.locks import locked
from proxymix.messages import some
from proxymix.progress import progress, say

LauncherName = Literal["local"]
LAUNCHERS: dict[LauncherName, Launcher] = {"local": LocalLauncher()}


def train_runs(
    runs: Sequence[Run],
    tokens: Path,
    out: Path,
    settings: TrainSettings,
    workers: int | None = None,
    wandb: WandbMode = "offline",
    group: str = "",
    description: str = "train proxies",
    save: bool = False,
    launcher: LauncherName = "local",
) -> None:
    """Train the runs that are not done, in run batches (see run_batches.py); a free worker takes the next batch.

    Args:
        runs, settings: What to train, and how.
        tokens, out: Folder of token shards, and where the runs' folders go.
        workers: Workers at a time; None lets the launcher decide.
        wandb, group, save: See `TrainingJob`.
        description: What the progress bar says.
        launcher: Where the workers are.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
        StageError: If a run failed or a worker died. Every other run is trained all the same.
    """
    data, out, chosen = TokenData.open(tokens, settings), Path(out), LAUNCHERS[launcher]
    todo = runs_to_train(runs, data, out, settings, save)
    if len(todo) < len(runs):
        say(f"{len(runs) - len(todo)} of {len(runs)} runs are done already")
    if not todo and are_recorded(out):
        return
    usual = min(len(runs), workers or chosen.num_workers(settings, data.vocabulary))
    count = min(len(todo), usual)
    with locked(out):
        layout, batches = planned_batches(
            out,
            runs,
            todo,
            settings,
            data.sha256,
            count,
            lambda: chosen.choose_layout(settings, data.vocabulary, len(runs), usual),
        )
        if not batches:
            return
        count = min(count, len(batches))
        say(f"{len(todo)} runs: {described(layout, max(map(len, batches)))}, {count} processes")
        job = TrainingJob(settings, tokens, out, wandb, group, save)
        with progress(description, sum(map(len, batches)) * settings.num_steps, "steps") as bar:
            try:
                outcome = chosen.train(job, layout, batches, count, bar.advance)
            except KeyboardInterrupt:
                say_what_is_kept(runs, batches, data, out, settings)
                raise
    if outcome.no_space is not None:
        raise outcome.no_space
    # What counts is what is on disk, whatever a launcher reports.
    if missing := runs_to_train(todo, data, out, settings, save):
        raise StageError(_what_failed(outcome, [run.id for run in missing], len(todo)))
    if outcome.diverged:
        say("\n".join(f"{name} diverged: {what}" for name, what in sorted(outcome.diverged.items())))
    if len(outcome.diverged) == len(runs):
        raise StageError("every run diverged; lower train.learning_rate")


def _what_failed(outcome: Outcome, missing: Sequence[str], num_asked: int) -> str:
    lines = list(dict.fromkeys(outcome.failed[name] for name in missing if name in outcome.failed))
    if len(lines) > 5:
        lines = [*lines[:5], f"... and {len(lines) - 5} more"]
    lines.append(
        f"{len(missing)} of {num_asked} runs are missing ({some(missing, 8)}); the same command again trains only these"
    )
    return "\n".join(lines)


def estimate_seconds(
    sweeps: Sequence[int], settings: TrainSettings, vocabulary: int, workers: int | None = None, num_domains: int = 10
) -> float:
    """How long sweeps of so many runs each will take on this machine, from a few seconds of training on every worker.

    Raises:
        StageError: If a process that measures fails.
    """
    import joblib

    local = LAUNCHERS["local"]
    workers = min(max(sweeps), workers or local.num_workers(settings, vocabulary))
    chosen = [local.choose_layout(settings, vocabulary, num_runs, workers) for num_runs in sweeps]
    layouts = list(dict.fromkeys(chosen))
    at_once = min(workers, joblib.cpu_count())
    slower = 1.0 if num_gpus() else workers / at_once  # Processes that share a core have a part of its speed each.
    costs = [
        slower * statistics.mean(speed.seconds_per_token for speed in of_layout)
        for of_layout in zip(*measured(settings, vocabulary, layouts, at_once), strict=True)
    ]
    return sum(
        predicted_seconds(costs[layouts.index(layout)], settings, layout, num_domains, -(-num_runs // workers))
        for num_runs, layout in zip(sweeps, chosen, strict=True)
    )
