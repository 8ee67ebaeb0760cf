"""Runs that share a process -> the folder of each: loss curve, validation losses per domain, and manifest."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from proxy_training.device.layout import Layout, is_out_of_memory
from proxy_training.model.proxy import flops_per_token, proxy_config, total_parameters, write_checkpoint
from proxy_training.runs.plan import Plan
from proxy_training.runs.run_folder import CHECKPOINT, identity, is_done
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData, plan_of
from proxymix.errors import StageError
from proxymix.files import remove, write_yaml
from proxymix.progress import say
from proxymix.schemas import loss_column
from proxymix.tables import write_table

if TYPE_CHECKING:
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.loop.trainer import Result, Weights


def train_bundle(
    runs: Sequence[Run],
    data: TokenData,
    out: Path,
    settings: TrainSettings,
    layout: Layout,
    wandb: Literal["offline", "online", "disabled"] = "disabled",
    group: str = "",
    on_steps: Callable[[int], None] = lambda count: None,
    warn: Callable[[str], None] = say,
    save: bool = False,
    devices: "OneDevice | None" = None,
) -> dict[str, str]:
    """Train proxies together and write each one's folder: metrics.csv, losses.csv, and manifest.yaml last.

    Runs that are done already train along, so that a bundle is the same arithmetic however often it was interrupted, and
    their folders stay as they are.

    Args:
        runs: What to train on.
        data: The token shards.
        out: Where the runs' folders go; what an earlier attempt left there is replaced.
        settings: How to train.
        layout: How on this device.
        wandb: Where the mirror of the metrics goes.
        group: wandb's name for the runs that belong together.
        on_steps: Told how many more steps are done, of all runs together, about a hundred times.
        warn: Told what went wrong without stopping the bundle.
        save: Whether the final weights are kept, in checkpoint/ of each run's folder.
        devices: With whom this process trains, if not alone; the first of them writes.

    Returns:
        Runs that diverged -> what happened. They are done (training them again would end the same), their losses are
        not numbers, and their manifests say `diverged`.

    Raises:
        InputError: If a mixture asks for a domain that is not there.
    """
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.loop.trainer import fit
    from proxy_training.tracking.wandb_log import open_mirror

    devices = devices or OneDevice()
    writes = devices.rank == 0
    todo = {run.id for run in runs if writes and not is_done(out / run.id, run, settings, data.sha256, save)}
    plans = [plan_of(run, data, settings) for run in runs]
    details = [_details(run, plan, data, settings, layout) for run, plan in zip(runs, plans, strict=True)]
    state = out / f".{runs[0].id}.state"
    for run in runs:
        if run.id in todo:
            # the manifest first: it says "done"
            for stale in ("manifest.yaml", "losses.csv", "metrics.csv", "wandb", CHECKPOINT):
                remove(out / run.id / stale)
            (out / run.id).mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        mirrors = [
            stack.enter_context(
                open_mirror(
                    wandb if run.id in todo else "disabled",
                    out / run.id,
                    run.id,
                    group,
                    _wandb_config(run, data, settings, detail),
                    warn,
                )
            )
            for run, detail in zip(runs, details, strict=True)
        ]

        def log(position: int, rows: list[dict[str, float]]) -> None:
            mirrors[position].log(rows)

        def keep(position: int, weights: "Weights") -> None:
            if runs[position].id in todo:
                config = proxy_config(settings.model, data.vocabulary, settings.sequence_length)
                write_checkpoint(
                    out / runs[position].id / CHECKPOINT, config, weights, data.folder, data.manifest.tokenizer
                )

        while True:
            try:
                results = fit(
                    runs, plans, data, settings, layout, log, on_steps, state, keep if save else None, devices
                )
                break
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if layout.micro_batch == 1:
                    fewer = (
                        f"lower train.models_per_process, now {len(runs)}"
                        if len(runs) > 1
                        else "take a smaller train.model"
                    )
                    raise StageError(
                        f"{runs[0].id}: out of memory with one sequence at a time; {fewer} ({error})"
                    ) from None
                if devices.size > 1:  # the others would wait for what it does not do
                    raise StageError(
                        f"{runs[0].id}: device {devices.rank}: out of memory with {layout.micro_batch} sequences at a "
                        f"time; give a lower train.micro_batch ({error})"
                    ) from None
                layout = replace(layout, micro_batch=layout.micro_batch // 2)
                warn(f"{runs[0].id}: out of memory; again with {layout.micro_batch} sequences at a time")
    for run, detail, result in zip(runs, details, results, strict=True):
        if run.id in todo:
            _write_run(
                out / run.id, run, detail, result, data, settings, layout, [other.id for other in runs], devices.size
            )
    if writes:
        remove(state)
    return {run.id: result.diverged for run, result in zip(runs, results, strict=True) if result.diverged}


def _details(run: Run, plan: Plan, data: TokenData, settings: TrainSettings, layout: Layout) -> dict[str, Any]:
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


def _wandb_config(run: Run, data: TokenData, settings: TrainSettings, details: Mapping[str, Any]) -> Mapping[str, Any]:
    domains = {"train_domains": list(run.weights), "valid_domains": list(data.valid)}  # wandb keeps no order of keys
    return {**asdict(settings), "run": run.id, "seed": run.seed, "mixture": run.weights, **domains, **details}


def _write_run(
    folder: Path,
    run: Run,
    details: Mapping[str, Any],
    result: "Result",
    data: TokenData,
    settings: TrainSettings,
    layout: Layout,
    together: list[str],
    num_devices: int,
) -> None:
    """metrics.csv, losses.csv, and manifest.yaml last."""
    columns = [loss_column(domain) for domain in data.valid]
    header = ("step", "tokens", "learning_rate", "train_loss", *columns)
    write_table(folder / "metrics.csv", header, [[row.get(name, "") for name in header] for row in result.rows])
    final = {name: math.nan if result.diverged else result.rows[-1][loss_column(name)] for name in data.valid}
    losses = [(name, nats, nats * data.bits_per_byte(name), result.tokens_scored[name]) for name, nats in final.items()]
    write_table(folder / "losses.csv", ("domain", "loss_nats", "bpb", "tokens"), losses)
    assert result.diverged or result.tokens_fed == details["declared_tokens"], "not fed what its plan declares"
    how: dict[str, Any] = {"stack": together, "micro_batch": layout.micro_batch, "compile": layout.compile}
    how |= {"devices": num_devices} if num_devices > 1 else {}
    how |= layout.variants
    ended: dict[str, Any] = {"diverged": result.diverged} if result.diverged else {}
    ended |= {"realised_tokens": result.tokens_fed}
    versions = {name: version(name) for name in ("torch", "litgpt", "numpy")}
    wanted = identity(run, settings, data.sha256)
    write_yaml(folder / "manifest.yaml", {**wanted, **details, **how, **ended, "versions": versions})
