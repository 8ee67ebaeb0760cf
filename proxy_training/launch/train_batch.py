"""Run batches, the runs that share a process -> a folder of each run: loss curve, final losses, manifest, wandb files."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from proxy_training.device.layout import Layout, is_out_of_memory
from proxy_training.launch.job import TrainingJob
from proxy_training.model.proxy import flops_per_token, proxy_config, total_parameters, write_checkpoint
from proxy_training.runs.plan import Plan
from proxy_training.runs.run_folder import RunFolder, identity
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData, plan_of
from proxymix.errors import StageError
from proxymix.files import remove
from proxymix.progress import say
from proxymix.schemas import loss_column

if TYPE_CHECKING:
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.loop.trainer import Result, Weights


def train_batch(
    runs: Sequence[Run],
    data: TokenData,
    layout: Layout,
    job: TrainingJob,
    on_steps: Callable[[int], None] = lambda count: None,
    warn: Callable[[str], None] = say,
    devices: "OneDevice | None" = None,
) -> dict[str, str]:
    """Train the runs of a batch together, and write the folder of each.

    A run that is done is trained along, and its folder stays as it is: a batch is the same arithmetic however often it
    was interrupted.

    Args:
        runs, data: The batch and the token shards.
        layout: How the batch is laid out on this device.
        job: How and where to train. What an earlier attempt left in job.out is replaced.
        on_steps, warn: Called with the number of further steps of all runs, and with problems that do not stop the batch.
        devices: The processes that train this batch together, if there are several; the first of them writes.

    Returns:
        The runs that diverged, each with what happened. Training them again would end the same, so they are done: their
        losses are NaN, and their manifests say `diverged`.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
        StageError: If memory runs out even with one sequence at a time.
    """
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.loop.trainer import fit
    from proxy_training.tracking.wandb_log import open_wandb_log

    settings, devices = job.settings, devices or OneDevice()
    writes = devices.rank == 0
    folders = [RunFolder(job.out / run.id) for run in runs]
    done = [
        not writes or folder.holds(run, settings, data.sha256, job.save)
        for folder, run in zip(folders, runs, strict=True)
    ]
    plans = [plan_of(run, data, settings) for run in runs]
    planned = [_planned(plan, data, settings, layout) for plan in plans]
    for folder, is_done in zip(folders, done, strict=True):
        if not is_done:
            folder.clear()

    def save_weights(position: int, weights: "Weights") -> None:
        if not done[position]:
            config = proxy_config(settings.model, data.vocabulary, settings.sequence_length)
            checkpoint = folders[position].checkpoint_path
            write_checkpoint(checkpoint, config, weights, data.folder, data.manifest.tokenizer)

    with ExitStack() as opened:
        logs = []
        for run, folder, is_done, of_run in zip(runs, folders, done, planned, strict=True):
            mode = "disabled" if is_done else job.wandb
            config = _wandb_config(run, data, settings, of_run)
            logs.append(opened.enter_context(open_wandb_log(mode, folder.path, run.id, job.group, config, warn)))
        while True:
            try:
                results = fit(
                    runs,
                    plans,
                    data,
                    settings,
                    layout,
                    on_rows=lambda position, rows: logs[position].log(rows),
                    on_steps=on_steps,
                    state=folders[0].state_path,
                    on_weights=save_weights if job.save else None,
                    devices=devices,
                )
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                layout = _smaller(layout, runs, devices, error)
                warn(f"{runs[0].id}: out of memory; again with {layout.micro_batch} sequences at a time")
    how = _how_trained(layout, runs, devices)
    for run, folder, is_done, of_run, result in zip(runs, folders, done, planned, results, strict=True):
        if not is_done:
            assert result.diverged or result.tokens_fed == of_run["declared_tokens"], "not fed what its plan declares"
            _write_result(folder, result, data, {**identity(run, settings, data.sha256), **of_run, **how})
    if writes:
        remove(folders[0].state_path)
    return {run.id: result.diverged for run, result in zip(runs, results, strict=True) if result.diverged}


def _smaller(layout: Layout, runs: Sequence[Run], devices: "OneDevice", error: Exception) -> Layout:
    """The layout with half the micro-batch, for another attempt after memory ran out.

    Raises:
        StageError: If there is nothing to halve, or other processes train the same batch.
    """
    if layout.micro_batch == 1:
        advice = f"lower train.models_per_process, now {len(runs)}" if len(runs) > 1 else "choose a smaller train.model"
        raise StageError(f"{runs[0].id}: out of memory with one sequence at a time; {advice} ({error})") from None
    if devices.size > 1:  # The other processes would wait forever for one that starts again.
        raise StageError(
            f"{runs[0].id}: device {devices.rank}: out of memory with {layout.micro_batch} sequences at a time; "
            f"lower train.micro_batch ({error})"
        ) from None
    return replace(layout, micro_batch=layout.micro_batch // 2)


def _planned(plan: Plan, data: TokenData, settings: TrainSettings, layout: Layout) -> dict[str, Any]:
    """What a manifest says about a run before it is trained."""
    flops = flops_per_token(settings.model, data.vocabulary, settings.sequence_length)
    return {
        "declared_tokens": {name: count * settings.sequence_length for name, count in plan.quotas.items()},
        "epochs": plan.epochs,
        "num_parameters": settings.shape.num_parameters,
        "num_parameters_total": total_parameters(settings.model, data.vocabulary),
        "vocabulary": data.vocabulary,
        "flops": flops * settings.num_items * settings.sequence_length,
        "device": layout.device,
        "precision": layout.precision,
    }


def _how_trained(layout: Layout, runs: Sequence[Run], devices: "OneDevice") -> dict[str, Any]:
    """What a manifest says about the batch; `stack` are the runs that shared the process."""
    how = {"stack": [run.id for run in runs], "micro_batch": layout.micro_batch, "compile": layout.compile}
    return how | ({"devices": devices.size} if devices.size > 1 else {}) | layout.variants


def _wandb_config(run: Run, data: TokenData, settings: TrainSettings, planned: dict[str, Any]) -> dict[str, Any]:
    # wandb sorts the keys of mappings.
    domains = {"train_domains": list(run.weights), "valid_domains": list(data.valid)}
    return {**asdict(settings), "run": run.id, "seed": run.seed, "mixture": run.weights, **domains, **planned}


def _write_result(folder: RunFolder, result: "Result", data: TokenData, manifest: dict[str, Any]) -> None:
    final = {name: math.nan if result.diverged else result.rows[-1][loss_column(name)] for name in data.valid}
    losses = [(name, nats, nats * data.bits_per_byte(name), result.tokens_scored[name]) for name, nats in final.items()]
    ended: dict[str, Any] = {"diverged": result.diverged} if result.diverged else {}
    ended["realised_tokens"] = result.tokens_fed
    versions = {name: version(name) for name in ("torch", "litgpt", "numpy")}
    columns = ("step", "tokens", "learning_rate", "train_loss", *map(loss_column, data.valid))
    folder.write(result.rows, columns, losses, {**manifest, **ended, "versions": versions})
