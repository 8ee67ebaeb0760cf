"""Token shards and a mixture -> the batches that `litgpt pretrain` trains on: item for item the stream of our proxies.

data:
  class_path: proxy_training.data_module.MixtureData
  init_args: {tokens: STUDY/tokens, mixture: STUDY/optimal_mixture.yaml, train_tokens: 1000000000}
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from litgpt.data import DataModule
from torch.utils.data import DataLoader

from data_preparation.tokens.shards import TokenDomain, open_domain
from data_preparation.tokens.verified_once import verify_once
from mixture_config.files.mixture import Mixture, train_column
from proxy_training.runs.plan import evenly_spaced, training_plan
from proxy_training.runs.plan_loader import PlanItems, PlanLoader, rank_and_world_size
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.messages import nearest
from proxymix.progress import say
from proxymix.schemas import read_tokens_manifest


class MixtureData(DataModule):
    """The token shards of a study at a mixture, for `litgpt pretrain`.

    Item k is a block of a domain. Which one follows from the weights, the shards, the seed, the sequence length and
    train_tokens alone; the number of workers or devices, and interruptions of the run, do not change it.

    Args:
        tokens: Folder of token shards (with manifest.json).
        mixture: Mixture YAML in RegMix's keys, such as optimal_mixture.yaml; a domain of weight 0 is never drawn.
        train_tokens: Tokens over which the domains' shares are exact; give the same number as train.max_tokens. A longer
            run goes on with as many tokens again at the same shares, and with the next block of each domain.
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
            tokenizer: Not used, because the shards hold ids.
            batch_size: Sequences per device and iteration (train.micro_batch_size).
            max_seq_length: Inputs of a sequence. A row of a batch holds one token more, the last target.
        """
        assert max_seq_length, "litgpt gives the model's max_seq_length"
        self.batch_size, self.sequence_length = batch_size, max_seq_length

    def setup(self, stage: str = "") -> None:
        """Map the shards and plan the stream; `self.plan` then has its quotas and epochs.

        Raises:
            InputError: If the shards or the mixture are invalid, changed, or do not fit each other, or if train_tokens or a
                domain with a weight is too short for the sequence length and batch.
        """
        length = self.sequence_length
        self.manifest = read_tokens_manifest(self.tokens)
        verify_once(self.tokens, self.manifest)
        self.weights = Mixture.read(self.mixture).weights
        self.train: dict[str, TokenDomain] = {
            name: self._training_blocks(name) for name, weight in self.weights.items() if weight > 0
        }
        world_size = rank_and_world_size()[1]
        batch = self.batch_size * world_size * length
        if self.train_tokens < batch:
            raise InputError(
                f"data.init_args.train_tokens is {self.train_tokens:,}, less than one batch of train.micro_batch_size x "
                f"devices x sequence length = {self.batch_size} x {world_size} x {length:,} = {batch:,}; set it to "
                "train.max_tokens"
            )
        sizes = {name: domain.num_blocks for name, domain in self.train.items()}
        self.plan = training_plan(self.weights, sizes, self.train_tokens // length, self.seed)

    def _training_blocks(self, name: str) -> TokenDomain:
        """The training blocks of a domain that has a weight."""
        length, key, known = self.sequence_length, train_column(name), self.manifest.domains("train")
        if name not in known:
            raise InputError(
                f"{self.mixture}: {key} has weight {self.weights[name]:g}, and {self.tokens}/manifest.json has no domain of "
                f"that name{nearest(name, known)} (it has {', '.join(known)}); correct the name"
            )
        domain = open_domain(self.tokens, "train", name, length, self.manifest)
        if domain.num_blocks == 0:
            raise InputError(
                f"{self.tokens}: train/{name} has {domain.num_tokens:,} tokens, and one sequence of {length:,} needs "
                f"{length + 1:,} in a shard; add text, set {key} to 0 in {self.mixture}, or lower train.max_seq_length"
            )
        return domain

    def train_dataloader(self) -> PlanLoader:
        """Batches of ids, shape (batch_size, sequence_length + 1), in the plan's order."""
        identity = {
            "tokens_manifest_sha256": sha256(self.tokens / "manifest.json"),
            "weights": [list(pair) for pair in self.weights.items()],  # Pairs, because their order counts too.
            "seed": self.seed,
            "sequence_length": self.sequence_length,
            "num_items": len(self.plan.domain),
        }
        return PlanLoader(PlanItems(self.train, self.plan, self.seed), self.batch_size, self.num_workers, identity)

    def val_dataloader(self) -> DataLoader:
        """The same blocks of every domain each time. The domains take turns, so that eval.max_iters cuts all alike."""
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
