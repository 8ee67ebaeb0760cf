"""K plans and the token shards -> the batch of ids of each step, gathered on the host or on the device."""

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from proxy_training.device.layout import Layout
from proxy_training.loop.distributed import OneDevice
from proxy_training.runs.plan import Plan
from proxy_training.runs.settings import TrainSettings
from proxymix.errors import InputError

if TYPE_CHECKING:
    from proxy_training.runs.token_data import TokenData

AHEAD_TOKENS = 2**20  # Tokens that the host gathers at once, for many steps.


class Batches:
    """K plans' items as batches of ids. Of several devices, each takes its part of every batch.

    This class gathers on the host, many steps at a time; `DeviceBatches` gathers on the device.
    """

    def __init__(
        self, plans: Sequence[Plan], data: "TokenData", settings: TrainSettings, layout: Layout, devices: OneDevice
    ) -> None:
        self.data, self.settings, self.layout, self.k = data, settings, layout, len(plans)
        self.batch = settings.batch_size // devices.size
        self.tokens_per_step = self.batch * settings.sequence_length
        self.num_pieces = math.ceil(self.batch / layout.micro_batch)
        self.names = list(data.train)
        number = {name: i for i, name in enumerate(self.names)}
        of_plan = [np.array([number.get(name, -1) for name in plan.domains]) for plan in plans]
        self.domain_of_all = np.stack([known[plan.domain] for known, plan in zip(of_plan, plans, strict=True)])
        parts = (self.k, -1, devices.size, self.batch)
        self.domain = self.domain_of_all.reshape(parts)[:, :, devices.rank].reshape(self.k, -1)
        self.block = np.stack([plan.block for plan in plans]).reshape(parts)[:, :, devices.rank].reshape(self.k, -1)
        self.domains_of = [plan.domains for plan in plans]
        per_step = self.k * self.batch * (settings.sequence_length + 1)
        self.ahead = max(1, AHEAD_TOKENS // per_step) * self.batch
        self.first, self.ids = 0, torch.empty((self.k, 0, settings.sequence_length + 1), dtype=torch.int64)

    def rows(self, step: int) -> torch.Tensor:
        """The ids of step 0, 1, ... on the device, shape (K, batch, sequence_length + 1)."""
        start = step * self.batch
        if not self.first <= start < self.first + self.ids.shape[1]:
            self._gather(start)
        return self.ids[:, start - self.first : start - self.first + self.batch]

    def pieces(self, rows: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """A step's rows, as many sequences at a time as the layout allows.

        Yields:
            Inputs of shape (K * n, sequence_length), and targets of shape (K, n * sequence_length).
        """
        for start in range(0, self.batch, self.layout.micro_batch):
            piece = rows[:, start : start + self.layout.micro_batch]
            yield piece[..., :-1].flatten(0, 1), piece[..., 1:].flatten(1)

    def _gather(self, start: int) -> None:
        items = slice(start, min(start + self.ahead, self.domain.shape[1]))
        domain, block = self.domain[:, items], self.block[:, items]
        ids = np.empty((*domain.shape, self.settings.sequence_length + 1), dtype=np.int64)
        for number in np.unique(domain):
            chosen = domain == number
            ids[chosen] = self.data.train[self.names[number]].gather(block[chosen])
            check_ids(self.data, "train", self.names[number], ids[chosen])
        self.first, self.ids = start, torch.from_numpy(ids)
        if self.layout.device == "cuda":  # Pinned pages are copied while the host goes on.
            self.ids = self.ids.pin_memory().to("cuda", non_blocking=True)

    def fed(self, num_steps: int) -> list[dict[str, int]]:
        """Tokens that each proxy was fed in its first steps, per domain."""
        length, items = self.settings.sequence_length, num_steps * self.settings.batch_size
        counts = [np.bincount(domain[:items], minlength=len(self.names)) for domain in self.domain_of_all]
        number = {name: i for i, name in enumerate(self.names)}
        return [
            {name: int(count[number[name]]) * length if name in number else 0 for name in names}
            for names, count in zip(self.domains_of, counts, strict=True)
        ]


class DeviceBatches(Batches):
    """The same batches, gathered on the device from the whole corpus: the host does nothing for a step."""

    def __init__(
        self, plans: Sequence[Plan], data: "TokenData", settings: TrainSettings, layout: Layout, devices: OneDevice
    ) -> None:
        super().__init__(plans, data, settings, layout, devices)
        starts = np.empty(self.domain.shape, dtype=np.int64)
        parts: list[torch.Tensor] = []
        first = 0
        for number in np.unique(self.domain):
            domain, chosen = data.train[self.names[number]], self.domain == number
            starts[chosen] = first + domain.starts(self.block[chosen])
            for shard in domain.shards:
                check_ids(data, "train", self.names[number], shard)
                signed = np.array(shard).view(f"i{shard.dtype.itemsize}")  # torch indexes signed integers only.
                parts.append(torch.from_numpy(signed).to(layout.device))
            first += domain.num_tokens
        self.corpus = torch.cat(parts)
        self.is_uint16 = self.corpus.dtype == torch.int16
        self.starts = torch.from_numpy(starts).to(layout.device)
        self.within_block = torch.arange(settings.sequence_length + 1, device=layout.device)
        self.within_batch = torch.arange(self.batch, device=layout.device)

    def rows(self, step: int) -> torch.Tensor:
        """The ids of step 0, 1, ..., shape (K, batch, sequence_length + 1)."""
        return self._read(self.starts[:, step * self.batch : (step + 1) * self.batch])

    def rows_at(self, step: torch.Tensor) -> torch.Tensor:
        """The same for a step whose number is on the device, shape (1,): a CUDA graph replays this."""
        return self._read(self.starts.index_select(1, step * self.batch + self.within_batch))

    def _read(self, starts: torch.Tensor) -> torch.Tensor:
        ids = self.corpus[starts[..., None] + self.within_block].to(torch.int64)
        return ids & 0xFFFF if self.is_uint16 else ids


def corpus_bytes(data: "TokenData") -> int:
    """Memory that `DeviceBatches` takes for all training tokens."""
    return sum(shard.nbytes for domain in data.train.values() for shard in domain.shards)


def check_ids(data: "TokenData", split: str, domain: str, ids: np.ndarray) -> None:
    """Raises InputError for an id that the vocabulary does not have; a stack would read its neighbour's embedding."""
    if ids.size and ids.max() >= data.vocabulary:
        raise InputError(
            f"{data.folder}: {split}/{domain} holds the id {ids.max()}, and its tokenizer has {data.vocabulary:,} ids; "
            "run `proxymix tokenize` again"
        )
