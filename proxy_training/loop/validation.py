"""Trained proxies -> the mean loss of each on every validation domain."""

from typing import TYPE_CHECKING

import numpy as np
import torch

from proxy_training.device.layout import Layout
from proxy_training.loop.batches import check_ids
from proxy_training.loop.distributed import OneDevice
from proxy_training.runs.plan import evenly_spaced
from proxy_training.runs.settings import TrainSettings

if TYPE_CHECKING:
    from proxy_training.runs.token_data import TokenData

VALIDATION_TOKENS = 4096  # Scored at once where the batch is smaller; 256 tokens at a time take a third longer.


class Validation:
    """Fixed blocks of every validation domain, spread evenly over it and the same for every run; shared by the devices."""

    def __init__(self, data: "TokenData", settings: TrainSettings, layout: Layout, k: int, devices: OneDevice) -> None:
        wanted = settings.valid_tokens // settings.sequence_length
        ids = {name: domain.gather(evenly_spaced(domain.num_blocks, wanted)) for name, domain in data.valid.items()}
        for name, found in ids.items():
            check_ids(data, "valid", name, found)
        self.k, self.devices = k, devices
        self.blocks = {name: len(blocks) for name, blocks in ids.items()}
        self.tokens = {name: count * settings.sequence_length for name, count in self.blocks.items()}
        # The number scored at once does not depend on K, so that sums have the same order for every K.
        at_once = max(layout.micro_batch, VALIDATION_TOKENS // settings.sequence_length)
        blocks = np.concatenate(list(ids.values()))
        share = np.arange(devices.rank, -(-len(blocks) // devices.size) * devices.size, devices.size)
        mine = blocks[share.clip(max=len(blocks) - 1)]  # Every device scores as many; the last may repeat a block.
        self.batches = torch.from_numpy(mine).to(layout.device).split(at_once)

    def losses(self, model: torch.nn.Module) -> list[dict[str, float]]:
        """Mean loss of each proxy per domain, in nats per token."""
        per_block = []
        with torch.no_grad():  # Not inference_mode: sharded weights would stay inference tensors.
            for ids in self.batches:
                inputs = ids[:, :-1].repeat(self.k, 1)
                targets = ids[:, 1:].flatten().expand(self.k, -1)
                nats = model(inputs, targets, each_token=True)
                per_block.append(nats.view(self.k, len(ids), -1).double().mean(dim=2))
            total = sum(self.blocks.values())
            all_ = self.devices.gathered(torch.cat(per_block, dim=1)).permute(1, 2, 0).flatten(1)[:, :total]
            means = [part.mean(dim=1) for part in all_.split(list(self.blocks.values()), dim=1)]
            values = torch.stack(means, dim=1).tolist()
        return [dict(zip(self.blocks, row, strict=True)) for row in values]
