"""A mixture and token shards -> one trained proxy: its loss curves and its validation loss per domain.

python proxy_training/train.py --mixtures STUDY/mixtures --tokens STUDY/tokens --out STUDY/proxies --runs n00001 n00002
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from data_preparation.shards import TokenDomain, open_domain
from proxy_training.model import activation_bytes, build_proxy, flops_per_token, proxy_config, total_parameters
from proxy_training.plan import Plan, training_plan
from proxy_training.settings import Run, TrainSettings
from proxymix.cli import run as run_stage
from proxymix.errors import InputError, StageError
from proxymix.files import read_yaml, remove, sha256, write_yaml
from proxymix.progress import progress, say
from proxymix.schemas import TokensManifest, loss_column, read_mixture, read_tokens_manifest, write_table

if TYPE_CHECKING:
    import torch

ACTIVATION_BYTES = {"cpu": 2**28, "cuda": 2**34}  # what a micro-batch may keep for its backward pass
VALIDATION_TOKENS = 4096  # scored at once where the batch is smaller, as 256 at a time take a third longer
REPORTS = 100  # times a run reports progress and looks at its losses; reading a loss makes a GPU wait


def train(
    mixtures: Path,
    tokens: Path,
    out: Path,
    runs: list[str],
    train: TrainSettings = TrainSettings(),  # noqa: B008
    seed: int = 0,
    wandb: Literal["offline", "online", "disabled"] = "offline",
) -> None:
    """Train the listed runs in this process, one after another; runs that are done are skipped.

    Args:
        mixtures: Folder of mixture YAMLs (n00001.yaml, ...).
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        runs: Runs to train, by the names of their mixtures (n00001 n00002).
        train: How a proxy is trained.
        seed: Seed of initialisation and data order, the same for every run, so that runs differ by their mixtures only.
        wandb: Where the mirror of the metrics goes; offline needs no account and no network.
    """
    wanted = read_runs(mixtures, seed, runs)
    data = TokenData.open(tokens, train)
    for run in wanted:
        data.check(run)
    with progress("train proxies", len(wanted) * train.num_steps, "steps") as bar:
        for run in wanted:
            if is_done(out / run.id, run, train, data.sha256):
                say(f"{run.id}: done already")
                bar.advance(train.num_steps)
            else:
                train_run(run, data, out / run.id, train, wandb, on_steps=bar.advance)


def read_runs(mixtures: Path, seed: int, only: Sequence[str] | None = None) -> list[Run]:
    """A folder of mixture YAMLs -> runs named after the files, in their order.

    Raises:
        InputError: If there is none, or one of `only` is not there.
    """
    paths = {path.stem: path for path in sorted(Path(mixtures).glob("*.yaml"))}
    if not paths:
        raise InputError(f"{mixtures}: no mixtures (n00001.yaml, ...); run `proxymix synthesize`")
    for name in only or ():
        if name not in paths:
            raise InputError(
                f"{mixtures}: no mixture {name}.yaml; there are {len(paths)}, from {min(paths)} to {max(paths)}"
            )
    return [Run(name, read_mixture(paths[name])[0], seed) for name in (only or paths)]


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
        splits = {
            split: {
                domain: open_domain(folder, split, domain, settings.sequence_length, manifest)
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


def is_done(folder: Path, run: Run, settings: TrainSettings, tokens_sha256: str) -> bool:
    """Whether a run's folder holds the results of exactly this run."""
    if not (folder / "manifest.yaml").exists():
        return False
    manifest = read_yaml(folder / "manifest.yaml")
    identity = _identity(run, settings, tokens_sha256)
    return all(manifest.get(key) == value for key, value in identity.items())


def _identity(run: Run, settings: TrainSettings, tokens_sha256: str) -> dict[str, Any]:
    return {
        "run": run.id,
        "seed": run.seed,
        "settings": asdict(settings),
        "weights": run.weights,
        "tokens_manifest_sha256": tokens_sha256,
    }


def train_run(
    run: Run,
    data: TokenData,
    folder: Path,
    settings: TrainSettings,
    wandb: Literal["offline", "online", "disabled"] = "disabled",
    group: str = "",
    on_steps: Callable[[int], None] = lambda count: None,
    warn: Callable[[str], None] = say,
) -> None:
    """Train one proxy and write its folder: metrics.csv, losses.csv, and manifest.yaml last.

    Args:
        run: What to train on.
        data: The token shards.
        folder: The run's folder; what an earlier attempt left there is replaced.
        settings: How to train.
        wandb: Where the mirror of the metrics goes.
        group: wandb's name for the runs that belong together.
        on_steps: Told how many more steps are done, about a hundred times a run.
        warn: Told what went wrong without stopping the run.

    Raises:
        InputError: If the mixture asks for a domain that is not there.
        StageError: If the loss is not finite; the folder then holds no manifest.
    """
    plan = training_plan(
        run.weights, {name: d.num_blocks for name, d in data.train.items()}, settings.num_items, run.seed
    )
    for stale in ("manifest.yaml", "losses.csv", "metrics.csv", "wandb"):  # the manifest first: it says "done"
        remove(folder / stale)
    folder.mkdir(parents=True, exist_ok=True)
    device, precision = device_and_precision(settings.precision)
    details = {
        "declared_tokens": _tokens(plan.quotas, settings),
        "epochs": plan.epochs,
        "num_parameters": settings.shape.num_parameters,
        "num_parameters_total": total_parameters(settings.model, data.vocabulary),
        "vocabulary": data.vocabulary,
        "flops": flops_per_token(settings.model, data.vocabulary, settings.sequence_length)
        * settings.num_items
        * settings.sequence_length,
        "device": device,
        "precision": precision,
    }
    domains = {"train_domains": list(run.weights), "valid_domains": list(data.valid)}  # wandb keeps no order of keys
    config = {**asdict(settings), "run": run.id, "seed": run.seed, "mixture": run.weights, **domains, **details}
    from proxy_training.mirror import open_mirror

    with open_mirror(wandb, folder, run.id, group, config, warn) as mirror:
        result = fit(run, plan, data, settings, device, precision, mirror.log, on_steps)
    assert result.tokens_fed == details["declared_tokens"], "the run was not fed what its plan declares"

    columns = [loss_column(domain) for domain in data.valid]
    header = ("step", "tokens", "learning_rate", "train_loss", *columns)
    write_table(folder / "metrics.csv", header, [[row.get(name, "") for name in header] for row in result.rows])
    losses = result.rows[-1]
    write_table(
        folder / "losses.csv",
        ("domain", "loss_nats", "bpb", "tokens"),
        [
            (
                name,
                losses[loss_column(name)],
                losses[loss_column(name)] * data.bits_per_byte(name),
                result.tokens_scored[name],
            )
            for name in data.valid
        ],
    )
    versions = {name: version(name) for name in ("torch", "litgpt", "numpy")}
    realised = {"realised_tokens": result.tokens_fed}
    write_yaml(
        folder / "manifest.yaml", {**_identity(run, settings, data.sha256), **details, **realised, "versions": versions}
    )


@dataclass(frozen=True)
class Result:
    """What training one proxy measured.

    Attributes:
        rows: A row per step: step, tokens, learning_rate, train_loss, and the loss columns where it was evaluated.
        tokens_fed: Tokens that the model was trained on, per domain, counted batch by batch.
        tokens_scored: Validation tokens behind each loss, per domain.
    """

    rows: list[dict[str, float]]
    tokens_fed: dict[str, int]
    tokens_scored: dict[str, int]


def fit(
    run: Run,
    plan: Plan,
    data: TokenData,
    settings: TrainSettings,
    device: str,
    precision: str,
    on_rows: Callable[[list[dict[str, float]]], None],
    on_steps: Callable[[int], None],
) -> Result:
    """Train one proxy along its plan, in memory.

    Raises:
        StageError: If a loss is not finite.
    """
    import torch
    from litgpt.pretrain import get_lr

    from proxy_training.head import linear_cross_entropy, stop_before_head

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same sums in the same order wherever it runs, and one process a core is faster
    try:
        config = proxy_config(settings.model, data.vocabulary, settings.sequence_length)
        model: Any = stop_before_head(build_proxy(config, run.seed).to(device))
        parameters = list(model.parameters())
        optimizer = torch.optim.AdamW(
            parameters, betas=(settings.beta1, settings.beta2), weight_decay=settings.weight_decay, fused=True
        )
        batches = _Batches(plan, data, settings, device)
        validation = _Validation(data, settings, device)
        steps, peak = settings.num_steps, settings.learning_rate
        rates = [
            get_lr(peak, step, int(settings.warmup * steps), steps, settings.min_learning_rate * peak)
            for step in range(1, steps + 1)
        ]
        evaluate_at = {math.ceil(steps * k / settings.evaluations) for k in range(1, settings.evaluations + 1)}
        report_at = evaluate_at | {math.ceil(steps * k / REPORTS) for k in range(1, REPORTS + 1)}
        losses = torch.zeros(steps, device=device)
        rows: list[dict[str, float]] = []
        for step in range(1, steps + 1):
            for inputs, targets in batches.take(step):
                share = len(inputs) / settings.batch_size
                loss = linear_cross_entropy(_hidden(model, inputs, precision), model.lm_head.weight, targets) * share
                loss.backward()
                losses[step - 1] += loss.detach()
            torch.nn.utils.clip_grad_norm_(parameters, settings.gradient_clip, foreach=True)
            for group in optimizer.param_groups:
                group["lr"] = rates[step - 1]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if step in report_at:
                new = [
                    {
                        "step": s,
                        "tokens": s * settings.tokens_per_step,
                        "learning_rate": rates[s - 1],
                        "train_loss": value,
                    }
                    for s, value in enumerate(losses[len(rows) : step].tolist(), start=len(rows) + 1)
                ]
                for row in new:
                    _must_be_finite(row["train_loss"], "training", run, row, settings)
                if step in evaluate_at:
                    for domain, value in validation.losses(model, precision).items():
                        _must_be_finite(value, f"validation ({domain})", run, new[-1], settings)
                        new[-1][loss_column(domain)] = value
                rows += new
                on_rows(new)
                on_steps(len(new))
        return Result(rows, _tokens(batches.fed, settings), validation.tokens)
    finally:
        torch.set_num_threads(threads)


def device_and_precision(precision: str) -> tuple[str, str]:
    """Where runs train here and in which arithmetic: ("cpu" or "cuda", "fp32" or "bf16")."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bf16" if device == "cuda" and torch.cuda.is_bf16_supported() else "fp32"
    return device, precision


def micro_batch(settings: TrainSettings, device: str) -> int:
    """Sequences that pass through the model at once; larger batches go in pieces, which changes no result."""
    return max(1, ACTIVATION_BYTES[device] // (activation_bytes(settings.model) * settings.sequence_length))


class _Batches:
    """A plan's items as batches of ids, each gathered when it is needed; counts what was fed."""

    def __init__(self, plan: Plan, data: TokenData, settings: TrainSettings, device: str) -> None:
        self.plan, self.data, self.settings, self.device = plan, data, settings, device
        self.piece = micro_batch(settings, device)
        self.fed = dict.fromkeys(plan.domains, 0)

    def take(self, step: int) -> Iterator[tuple["torch.Tensor", "torch.Tensor"]]:
        """The batch of step 1, 2, ... in pieces that fit in memory: inputs of shape (n, sequence) and flat targets."""
        end = step * self.settings.batch_size
        for start in range(end - self.settings.batch_size, end, self.piece):
            items = slice(start, min(start + self.piece, end))
            domain, block = self.plan.domain[items], self.plan.block[items]
            ids = np.empty((len(domain), self.settings.sequence_length + 1), dtype=np.int64)
            for number in np.unique(domain):
                name, chosen = self.plan.domains[number], domain == number
                ids[chosen] = self.data.train[name].gather(block[chosen])
                self.fed[name] += int(chosen.sum())
            yield _inputs_and_targets(ids, self.device)


class _Validation:
    """Fixed blocks of every validation domain, spread evenly over it and the same for every run."""

    def __init__(self, data: TokenData, settings: TrainSettings, device: str) -> None:
        wanted = settings.valid_tokens // settings.sequence_length
        ids = {name: domain.gather(evenly_spaced(domain.num_blocks, wanted)) for name, domain in data.valid.items()}
        self.blocks = {name: len(blocks) for name, blocks in ids.items()}
        self.tokens = {name: count * settings.sequence_length for name, count in self.blocks.items()}
        stacked = np.concatenate(list(ids.values()))
        piece = min(
            micro_batch(settings, device), max(settings.batch_size, VALIDATION_TOKENS // settings.sequence_length)
        )
        self.batches = [
            _inputs_and_targets(stacked[start : start + piece], device) for start in range(0, len(stacked), piece)
        ]

    def losses(self, model: Any, precision: str) -> dict[str, float]:
        """Mean loss per domain, in nats per token."""
        import torch

        from proxy_training.head import token_losses

        with torch.inference_mode():
            per_block = torch.cat(
                [
                    token_losses(_hidden(model, inputs, precision), model.lm_head.weight, targets)
                    .view(len(inputs), -1)
                    .double()
                    .mean(dim=1)
                    for inputs, targets in self.batches
                ]
            ).cpu()
        means = [float(part.mean()) for part in per_block.split(list(self.blocks.values()))]
        return dict(zip(self.blocks, means, strict=True))


def evenly_spaced(num_blocks: int, wanted: int) -> np.ndarray:
    """`wanted` of the blocks 0 ... num_blocks - 1 (or all, where there are fewer), at equal distances."""
    count = min(num_blocks, wanted)
    return (np.arange(count) * 2 + 1) * num_blocks // (2 * count)


def _inputs_and_targets(ids: np.ndarray, device: str) -> tuple["torch.Tensor", "torch.Tensor"]:
    import torch

    tensor = torch.from_numpy(ids).to(device)
    return tensor[:, :-1].contiguous(), tensor[:, 1:].reshape(-1)


def _hidden(model: Any, inputs: "torch.Tensor", precision: str) -> "torch.Tensor":
    import torch

    if precision == "fp32":
        return model(inputs).flatten(0, 1)
    with torch.autocast(inputs.device.type, dtype=torch.bfloat16):
        return model(inputs).flatten(0, 1).to(torch.bfloat16)


def _must_be_finite(value: float, which: str, run: Run, row: Mapping[str, float], settings: TrainSettings) -> None:
    if not math.isfinite(value):
        raise StageError(
            f"{run.id}: the {which} loss is {value} at step {row['step']:,} of {settings.num_steps:,} "
            f"(learning rate {row['learning_rate']:.3g}); lower train.learning_rate (now {settings.learning_rate:g}), "
            "or raise train.warmup"
        )


def _tokens(items: Mapping[str, int], settings: TrainSettings) -> dict[str, int]:
    return {domain: count * settings.sequence_length for domain, count in items.items()}


if __name__ == "__main__":
    run_stage(train)
