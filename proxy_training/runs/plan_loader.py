"""A plan and token shards -> the batches of one rank, and the state from which they go on after a stop."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from data_preparation.tokens.shards import TokenDomain
from proxy_training.runs.plan import Plan, block_stream
from proxymix.errors import InputError


class PlanLoader(DataLoader):
    """The items of a plan as the batches of this rank.

    litgpt keeps `state_dict` in its checkpoints: the item that all ranks together have reached. A resumed run therefore
    goes on with the next item, whatever its workers and devices. Resume from "step-...", as `resume: true` does: before
    litgpt writes the checkpoint "final", it fetches one batch more than it trains on.

    Args:
        items: The plan.
        batch_size: Items per rank and batch.
        num_workers: Processes that read ahead.
        identity: What determines this stream. The state of another stream is refused.
    """

    def __init__(self, items: "PlanItems", batch_size: int, num_workers: int, identity: Mapping[str, Any]) -> None:
        self.items, self.batches, self.identity = items, RankBatches(len(items), batch_size), dict(identity)
        self.reached = 0
        super().__init__(
            items,
            sampler=self.batches,
            batch_size=None,
            num_workers=num_workers,
            pin_memory=torch.cuda.is_available(),
        )

    def __iter__(self) -> Iterator[torch.Tensor]:  # type: ignore[override]
        """The batches from `reached` to the end of the lap. A lap is one pass through the plan."""
        lap, start = divmod(self.reached, len(self.items))
        if start + self.batches.step > len(self.items):  # Less than a batch is left of this lap.
            lap, start = lap + 1, 0
        self.items.enter(lap)
        self.batches.start, self.reached = start, lap * len(self.items) + start
        for batch in super().__iter__():
            self.reached += self.batches.step  # Counted here, since workers read batches ahead.
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """The item reached and the identity of the stream, as plain numbers, texts and lists."""
        return {"items": self.reached, **self.identity}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from the state of another loader of this stream.

        Raises:
            InputError: If it is the state of another stream.
        """
        changed = [key for key, value in self.identity.items() if state.get(key) != value]
        if changed:
            raise InputError(
                f"the checkpoint's run was fed another stream: {', '.join(changed)} changed since; resume with the data "
                "settings of its start, or start a new run from its weights (initial_checkpoint_dir)"
            )
        self.reached = state["items"]


class PlanItems(Dataset):
    """A plan as a dataset: a slice of items -> their ids, int64 of shape (num_items, sequence_length + 1)."""

    def __init__(self, domains: Mapping[str, TokenDomain], plan: Plan, seed: int) -> None:
        self.domains, self.plan, self.seed, self.lap = domains, plan, seed, 0

    def enter(self, lap: int) -> None:
        """Turn the items into those of a lap: the same domains in the same order, and the next blocks of each domain."""
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


class RankBatches(DistributedSampler):
    """The batches of this rank from item `start` on, as slices. A step takes the next `step` items, and each rank a part.

    Every rank gets the same number of batches. The class is a DistributedSampler because Fabric replaces any other sampler
    with its own.
    """

    def __init__(self, num_items: int, batch_size: int) -> None:
        rank, world_size = rank_and_world_size()
        super().__init__(range(num_items), num_replicas=world_size, rank=rank, shuffle=False)  # type: ignore[arg-type]
        self.num_items, self.batch_size, self.step, self.start = num_items, batch_size, batch_size * world_size, 0

    def __iter__(self) -> Iterator[slice]:
        for first in range(self.start, self.num_items - self.step + 1, self.step):
            mine = first + self.rank * self.batch_size
            yield slice(mine, mine + self.batch_size)

    def __len__(self) -> int:
        return self.num_items // self.step


def rank_and_world_size() -> tuple[int, int]:
    """The number of this process, and how many processes train together. litgpt asks for loaders after they have met."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
