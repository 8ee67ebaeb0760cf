"""Runs -> their folders: run batches are planned and written down, and workers train them."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from proxy_training.device.calibration import chosen_layout, measured, predicted_seconds
from proxy_training.device.layout import ACTIVATION_BYTES, PEAK_STATE_BYTES, Layout, described, num_gpus
from proxy_training.launch.run_batches import planned_batches
from proxy_training.launch.worker_pool import Team
from proxy_training.model.proxy import activation_bytes, total_parameters
from proxy_training.runs.run_folder import left_to_train
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxymix.errors import StageError
from proxymix.progress import progress, say

IMPORT_BYTES = 600 * 2**20  # a worker before it has a model: 430 MiB measured, and wandb's service beside it


def train_runs(
    runs: Sequence[Run],
    tokens: Path,
    out: Path,
    settings: TrainSettings,
    workers: int | None = None,
    wandb: Literal["offline", "online", "disabled"] = "offline",
    group: str = "",
    description: str = "train proxies",
    save: bool = False,
) -> None:
    """Train runs that are not done, each in out/<run id>, in bundles (see bundles.py); a free worker takes the next.

    Args:
        runs: What to train.
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        settings: How to train.
        workers: Processes at a time; None fits them to the machine.
        wandb: Where the mirror of the metrics goes.
        group: wandb's name for these runs.
        description: What the progress bar says.
        save: Whether the final weights are kept, in checkpoint/ of each run's folder.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
        StageError: If a run failed or a worker died; every other run is trained all the same.
    """
    data = TokenData.open(tokens, settings)
    for run in runs:
        data.check(run)
    todo = left_to_train(runs, data, Path(out), settings, save)
    if len(todo) < len(runs):
        say(f"{len(runs) - len(todo)} of {len(runs)} runs are done already")
    if not todo:
        return
    count = min(len(todo), workers or default_workers(settings, data.vocabulary))

    def choose() -> Layout:
        return chosen_layout(settings, data.vocabulary, len(todo), count)

    layout, bundles = planned_batches(Path(out), runs, todo, settings, data.sha256, count, choose)
    say(f"{len(todo)} runs: {described(layout, max(map(len, bundles)))}, {min(count, len(bundles))} processes")
    job: dict[str, Any] = {"settings": asdict(settings), "layout": asdict(layout)}
    job |= {"tokens": str(tokens), "out": str(out), "wandb": wandb, "group": group, "save": save}
    with progress(description, sum(map(len, bundles)) * settings.num_steps, "steps") as bar:
        team = Team(job, bundles, settings.num_steps, bar.advance)
        team.work(min(count, len(bundles)))
    if team.no_space is not None:
        raise team.no_space
    if team.problems or team.waiting:
        raise StageError(_what_failed(team, [run.id for run in todo]))
    if team.diverged:
        say("\n".join(f"{name} diverged: {what}" for name, what in sorted(team.diverged.items())))
    if len(team.diverged) == len(runs):
        raise StageError("every run diverged; lower train.learning_rate")


def estimate_seconds(
    sweeps: Sequence[int], settings: TrainSettings, vocabulary: int, workers: int | None = None, num_domains: int = 10
) -> float:
    """How long some sweeps will take on this machine, from a few seconds of training on every worker at once.

    Args:
        sweeps: Runs of each; the longer one may be laid out otherwise.
        settings: How proxies are trained.
        vocabulary: Ids of the tokenizer.
        workers: As for `train_runs`.
        num_domains: Validation domains.
    """
    workers = workers or default_workers(settings, vocabulary)
    chosen = [chosen_layout(settings, vocabulary, num_runs, workers) for num_runs in sweeps]
    layouts = list(dict.fromkeys(chosen))
    costs = [
        statistics.mean(speed.seconds_per_token for speed in of_layout)
        for of_layout in zip(*measured(settings, vocabulary, layouts, workers), strict=True)
    ]
    return sum(
        predicted_seconds(costs[layouts.index(layout)], settings, layout, num_domains, -(-num_runs // workers))
        for num_runs, layout in zip(sweeps, chosen, strict=True)
    )


def default_workers(settings: TrainSettings, vocabulary: int) -> int:
    """One process a GPU, else one per physical core that this process may use, as far as free memory goes."""
    import joblib
    import psutil

    if gpus := num_gpus():
        return gpus
    activations = min(ACTIVATION_BYTES["cpu"], settings.tokens_per_step * activation_bytes(settings.model))
    need = IMPORT_BYTES + PEAK_STATE_BYTES * total_parameters(settings.model, vocabulary) + 2 * activations
    return max(1, min(joblib.cpu_count(only_physical_cores=True), psutil.virtual_memory().available // need))


def _what_failed(team: Team, asked: Sequence[str]) -> str:
    missing = sorted(set(asked) & {*team.problems, *team.waiting})
    lines = list(dict.fromkeys(team.problems[name] for name in missing if name in team.problems))
    if len(lines) > 5:
        lines = [*lines[:5], f"... and {len(lines) - 5} more"]
    names = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
    lines.append(f"{len(missing)} of {len(asked)} runs are missing ({names}); the same command again trains only these")
    return "\n".join(lines)
