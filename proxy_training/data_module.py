"""Token shards and a mixture -> the batches that `litgpt pretrain` trains on: item for item the stream of our proxies.

data:
  class_path: proxy_training.data_module.MixtureData
  init_args: {tokens: STUDY/tokens, mixture: STUDY/optimal_mixture.yaml, train_tokens: 1000000000}
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from litgpt.data import DataModule
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from data_preparation.tokens.shards import TokenDomain, open_domain
from mixture_config.files.mixture import read_mixture
from proxy_training.runs.plan import Plan, block_stream, evenly_spaced, training_plan
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.messages import nearest
from proxymix.progress import say
from proxymix.schemas import read_tokens_manifest


class MixtureData(DataModule):
    """The token shards of a study at a mixture, for `litgpt pretrain`.

    Item k is a block of a domain, and which one follows from the weights, the shards, the seed, the sequence length and
    train_tokens alone: not from the number of workers or devices, nor from where the run was interrupted.

    Args:
        tokens: Folder of token shards (with manifest.json).
        mixture: Mixture YAML in RegMix's keys, such as optimal_mixture.yaml; a domain of weight 0 is never drawn.
        train_tokens: Tokens over which the domains' shares are exact; the same number as train.max_tokens. A longer run
            goes on with as many again at the same shares, each domain from the block where it stopped.
        seed: Seed of the data order.
        valid_tokens: Validation tokens per domain, in whole blocks (at least one) spread evenly over it.
        num_workers: Processes that read ahead, per device.
    """

    def __init__(
        self,
        tokens: Path,
        mixture: Path,
        train_tokens: int,
        seed: int = 42,
        valid_tokens: int = 16_384,
        num_workers: int = 2,
    ) -> None:
        super().__init__()
        self.tokens, self.mixture = Path(tokens), Path(mixture)
        self.train_tokens, self.seed = train_tokens, seed
        self.valid_tokens, self.num_workers = valid_tokens, num_workers

    def connect(self, tokenizer: Any = None, batch_size: int = 1, max_seq_length: int | None = None) -> None:
        """Take what litgpt knows.

        Args:
            tokenizer: Not needed, as the shards hold ids.
            batch_size: Sequences per device and iteration (train.micro_batch_size).
            max_seq_length: Inputs of a sequence; a batch holds one token more, the last target.
        """
        assert max_seq_length, "litgpt gives the model's max_seq_length"
        self.batch_size, self.sequence_length = batch_size, max_seq_length

    def setup(self, stage: str = "") -> None:
        """Map the shards and plan the stream, which `plan` then holds with its quotas and epochs.

        Raises:
            InputError: If the shards or the mixture are not what they should be or do not fit each other, or a domain
                with a weight, or train_tokens, is too short for the sequence length and batch.
        """
        length = self.sequence_length
        self.manifest = read_tokens_manifest(self.tokens)
        self.weights = read_mixture(self.mixture)[0]
        known = self.manifest.domains("train")
        self.train: dict[str, TokenDomain] = {}
        for name in (name for name, weight in self.weights.items() if weight > 0):
            if name not in known:
                raise InputError(
                    f"{self.mixture}: train_{name} has weight {self.weights[name]:g}, and {self.tokens}/manifest.json "
                    f"has no domain of that name{nearest(name, known)} (it has {', '.join(known)}); correct the name"
                )
            domain = self.train[name] = open_domain(self.tokens, "train", name, length, self.manifest)
            if domain.num_blocks == 0:
                raise InputError(
                    f"{self.tokens}: train/{name} has {domain.num_tokens:,} tokens, and one sequence of {length:,} needs "
                    f"{length + 1:,} in a shard; add text, set train_{name} to 0 in {self.mixture}, or lower "
                    "train.max_seq_length"
                )
        world_size = _rank_and_world_size()[1]
        batch = self.batch_size * world_size * length
        if self.train_tokens < batch:
            raise InputError(
                f"data.init_args.train_tokens is {self.train_tokens:,}, less than one batch of train.micro_batch_size x devices x "
                f"sequence length = {self.batch_size} x {world_size} x {length:,} = {batch:,}; set it to train.max_tokens"
            )
        sizes = {name: domain.num_blocks for name, domain in self.train.items()}
        self.plan = training_plan(self.weights, sizes, self.train_tokens // length, self.seed)

    def train_dataloader(self) -> "PlanLoader":
        """Batches of ids, shape (batch_size, sequence_length + 1), in the plan's order."""
        identity = {
            "tokens_manifest_sha256": sha256(self.tokens / "manifest.json"),
            "weights": [list(pair) for pair in self.weights.items()],  # pairs, since their order counts too
            "seed": self.seed,
            "sequence_length": self.sequence_length,
            "num_items": len(self.plan.domain),
        }
        return PlanLoader(_Items(self.train, self.plan, self.seed), self.batch_size, self.num_workers, identity)

    def val_dataloader(self) -> DataLoader:
        """The same blocks of every domain each time, the domains in turn, so that eval.max_iters cuts all alike."""
        wanted = max(1, self.valid_tokens // self.sequence_length)
        blocks: list[tuple[int, np.ndarray]] = []
        for name in self.manifest.domains("valid"):
            domain = open_domain(self.tokens, "valid", name, self.sequence_length, self.manifest)
            if domain.num_blocks == 0:
                say(f"{self.tokens}: valid/{name} holds no sequence of {self.sequence_length:,}; validating without it")
                continue
            blocks += enumerate(domain.gather(evenly_spaced(domain.num_blocks, wanted)))
        if not blocks:
            raise InputError(
                f"{self.tokens}: no domain of the valid split holds a sequence of {self.sequence_length:,} tokens; "
                "tokenize with a larger share for validation, or lower train.max_seq_length"
            )
        ids = torch.from_numpy(np.stack([row for _, row in sorted(blocks, key=lambda block: block[0])]))
        return DataLoader(ids, batch_size=self.batch_size, pin_memory=torch.cuda.is_available())  # type: ignore[arg-type]


class PlanLoader(DataLoader):
    """A plan's items as this rank's batches. `state_dict` is the item reached, over all ranks, and what it counts in.

    litgpt keeps that in its checkpoints, so a resumed run goes on with the next item, whatever its workers and devices.
    (It fetches a batch more than it trains on before the checkpoint "final": resume from "step-...", as `resume: true`
    does.)

    Args:
        items: The plan.
        batch_size: Items per rank and batch.
        num_workers: Processes that read ahead.
        identity: What makes this stream; a state of another one is refused.
    """

    def __init__(self, items: "_Items", batch_size: int, num_workers: int, identity: Mapping[str, Any]) -> None:
        self.items, self.batches, self.identity = items, _Batches(len(items), batch_size), dict(identity)
        self.reached = 0
        super().__init__(
            items,
            sampler=self.batches,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[torch.Tensor]:  # type: ignore[override]
        """The batches from `reached` to the end of the lap; a lap is the length of the plan."""
        lap, start = divmod(self.reached, len(self.items))
        if start + self.batches.step > len(self.items):  # less than a batch is left
            lap, start = lap + 1, 0
        self.items.enter(lap)
        self.batches.start, self.reached = start, lap * len(self.items) + start
        for batch in super().__iter__():
            self.reached += self.batches.step  # here and not where batches are read, which workers do ahead
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers, texts and lists."""
        return {"items": self.reached, **self.identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to where another loader of this stream was.

        Raises:
            InputError: If it was another stream.
        """
        changed = [key for key, value in self.identity.items() if state.get(key) != value]
        if changed:
            raise InputError(
                f"the checkpoint's run was fed another stream: {', '.join(changed)} changed since; resume with the data "
                "settings it began with, or begin a new run from its weights (initial_checkpoint_dir)"
            )
        self.reached = state["items"]


class _Items(Dataset):
    """A plan as a dataset: a slice of items -> their ids, shape (n, sequence_length + 1)."""

    def __init__(self, domains: Mapping[str, TokenDomain], plan: Plan, seed: int) -> None:
        self.domains, self.plan, self.seed, self.lap = domains, plan, seed, 0

    def enter(self, lap: int) -> None:
        """Make the items those of a lap: the same domains in the same order, each going on in its stream of blocks."""
        if lap != self.lap:
            block = np.empty_like(self.plan.block)
            for number, (name, quota) in enumerate(self.plan.quotas.items()):
                stream = block_stream(name, self.plan.num_blocks[number], (lap + 1) * quota, self.seed)
                block[self.plan.domain == number] = stream[lap * quota :]
            self.plan, self.lap = replace(self.plan, block=block), lap

    def __len__(self) -> int:
        return len(self.plan.domain)

    def __getitem__(self, items: slice) -> torch.Tensor:
        domain, block = self.plan.domain[items], self.plan.block[items]
        ids: np.ndarray | None = None
        for number in np.unique(domain):
            chosen = domain == number
            rows = self.domains[self.plan.domains[number]].gather(block[chosen])
            ids = np.empty((len(domain), rows.shape[1]), dtype=np.int64) if ids is None else ids
            ids[chosen] = rows
        assert ids is not None
        return torch.from_numpy(ids)


class _Batches(DistributedSampler):
    """This rank's batches from item `start` on, as slices; a step takes `step` neighbours, each rank its part of them.

    Fabric puts a sampler of its own in the place of any but a DistributedSampler. Every rank gets as many batches.
    """

    def __init__(self, num_items: int, batch_size: int) -> None:
        rank, world_size = _rank_and_world_size()
        super().__init__(range(num_items), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.num_items, self.batch_size, self.step, self.start = num_items, batch_size, batch_size * world_size, 0

    def __iter__(self) -> Iterator[slice]:
        for first in range(self.start, self.num_items - self.step + 1, self.step):
            mine = first + self.rank * self.batch_size
            yield slice(mine, mine + self.batch_size)

    def __len__(self) -> int:
        return self.num_items // self.step


def _rank_and_world_size() -> tuple[int, int]:
    """Which of how many devices this process feeds; litgpt asks for loaders after it has joined them."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
