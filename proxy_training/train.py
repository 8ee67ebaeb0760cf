"""Mixtures and token shards -> trained proxies, several in one process: loss curves and validation losses per domain.

python proxy_training/train.py --mixtures STUDY/mixtures --tokens STUDY/tokens --out STUDY/proxies --runs n00001 n00002
"""

import io
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext, redirect_stderr
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from data_preparation.tokens.shards import TokenDomain, open_domain
from mixture_config.files.mixture import read_mixture
from proxy_training.device.layout import Layout, has_gpu, is_out_of_memory, layout_of
from proxy_training.model.proxy import flops_per_token, proxy_config, total_parameters, write_checkpoint
from proxy_training.runs.plan import Plan, training_plan
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError, StageError
from proxymix.files import read_yaml, remove, sha256, write_yaml
from proxymix.progress import progress, say
from proxymix.schemas import TokensManifest, loss_column, read_tokens_manifest
from proxymix.tables import write_table

if TYPE_CHECKING:
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.loop.trainer import Result, Weights

CHECKPOINT = "checkpoint"
"""A run's folder of final weights, in its own."""


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
    """Train the listed runs, `train.stack` of them together in this process; runs that are done are skipped.

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
                for start in range(0, len(todo), layout.stack):
                    bundle = todo[start : start + layout.stack]
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


def read_runs(mixtures: Path, seed: int, only: Sequence[str] | None = None) -> list[Run]:
    """A folder of mixture YAMLs, or one of them -> runs named after the files, in their order.

    A run's seed is `seed`, plus the number that a repeat of a mixture has as `repeat` in its file.

    Raises:
        InputError: If there is none, or one of `only` is not there.
    """
    found = [Path(mixtures)] if Path(mixtures).is_file() else sorted(Path(mixtures).glob("*.yaml"))
    paths = {path.stem: path for path in found}
    if not paths:
        raise InputError(f"{mixtures}: no mixtures (n00001.yaml, ...); run `proxymix synthesize`")
    for name in only or ():
        if name not in paths:
            raise InputError(
                f"{mixtures}: no mixture {name}.yaml; there are {len(paths)}, from {min(paths)} to {max(paths)}"
            )
    return [_run(paths[name], seed) for name in (only or paths)]


def _run(path: Path, seed: int) -> Run:
    weights, content = read_mixture(path)
    repeat = content.get("repeat", 0)
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0:
        raise InputError(f"{path}: repeat is {repeat!r:.60}; a whole number at least 0 is wanted")
    return Run(path.stem, weights, seed + repeat)


@dataclass(frozen=True)
class TokenData:
    """The token shards as blocks of one sequence length: what every run of a sweep reads."""

    folder: Path
    manifest: TokensManifest
    sha256: str
    train: dict[str, TokenDomain]
    valid: dict[str, TokenDomain]

    @classmethod
    def open(cls, folder: Path, settings: TrainSettings) -> "TokenData":
        """Map all shards.

        Raises:
            InputError: If files are missing, or a validation domain holds no whole block.
        """
        manifest = read_tokens_manifest(folder)
        shares = {"train": settings.tokens / (settings.simulated_budget or settings.tokens), "valid": 1.0}
        splits = {
            split: {
                domain: open_domain(folder, split, domain, settings.sequence_length, manifest, shares[split])
                for domain in manifest.domains(split)
            }
            for split in ("train", "valid")
        }
        for domain, blocks in splits["valid"].items():
            if blocks.num_blocks == 0:
                raise InputError(f"{folder}: valid/{domain} {_too_small(blocks)}")
        return cls(folder, manifest, sha256(folder / "manifest.json"), splits["train"], splits["valid"])

    @property
    def vocabulary(self) -> int:
        """Ids of the tokenizer."""
        return int(self.manifest.tokenizer["vocabulary"])

    def bits_per_byte(self, domain: str) -> float:
        """What a loss in nats per token is multiplied by: tokens per byte of the validation text, over ln 2."""
        tokens, size = (self.manifest.total("valid", domain, count) for count in ("tokens", "bytes"))
        return tokens / size / math.log(2) if size else math.nan

    def check(self, run: Run) -> None:
        """Raises InputError if a domain of the run's mixture is unknown or holds no whole block."""
        for domain, weight in run.weights.items():
            if weight > 0 and domain not in self.train:
                raise InputError(f"{run.id}: {self.folder} has no domain {domain!r}; it has {', '.join(self.train)}")
            if weight > 0 and self.train[domain].num_blocks == 0:
                raise InputError(f"{run.id}: {self.folder}: train/{domain} {_too_small(self.train[domain])}")


def _too_small(domain: TokenDomain) -> str:
    return (
        f"has {domain.num_tokens:,} tokens, and one block of train.sequence_length {domain.sequence_length:,} needs "
        f"{domain.sequence_length + 1:,} in a shard; add text, leave the domain out, or lower train.sequence_length"
    )


def is_done(folder: Path, run: Run, settings: TrainSettings, tokens_sha256: str, save: bool = False) -> bool:
    """Whether a run's folder holds the results of exactly this run, its checkpoint among them where one is to be saved."""
    if not (folder / "manifest.yaml").exists():
        return False
    manifest = read_yaml(folder / "manifest.yaml")
    identity = _identity(run, settings, tokens_sha256)
    if any(manifest.get(key) != value for key, value in identity.items()):
        return False
    return not save or "diverged" in manifest or (folder / CHECKPOINT).exists()


def left_to_train(
    runs: Sequence[Run], data: TokenData, out: Path, settings: TrainSettings, save: bool = False
) -> list[Run]:
    """The runs that are not done; says which of them are trained again for their checkpoints only."""
    todo = [run for run in runs if not is_done(out / run.id, run, settings, data.sha256, save)]
    again = [run.id for run in todo if save and is_done(out / run.id, run, settings, data.sha256)]
    if again:
        names = ", ".join(again[:8]) + (", ..." if len(again) > 8 else "")
        say(f"{names}: done, but without the checkpoint that is asked for now; training again")
    return todo


def _identity(run: Run, settings: TrainSettings, tokens_sha256: str) -> dict[str, Any]:
    return {
        "run": run.id,
        "seed": run.seed,
        "settings": settings.identity,
        "weights": run.weights,
        "tokens_manifest_sha256": tokens_sha256,
    }


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
                    fewer = f"lower train.stack, now {len(runs)}" if len(runs) > 1 else "take a smaller train.model"
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


def plan_of(run: Run, data: TokenData, settings: TrainSettings) -> Plan:
    """The training stream of a run on these shards."""
    sizes = {name: domain.num_blocks for name, domain in data.train.items()}
    return training_plan(run.weights, sizes, settings.num_items, run.seed)


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
    ended: dict[str, Any] = {"diverged": result.diverged} if result.diverged else {}
    ended |= {"realised_tokens": result.tokens_fed}
    versions = {name: version(name) for name in ("torch", "litgpt", "numpy")}
    identity = _identity(run, settings, data.sha256)
    write_yaml(folder / "manifest.yaml", {**identity, **details, **how, **ended, "versions": versions})


if __name__ == "__main__":
    from proxymix.app.cli import run as run_stage

    run_stage(train)
