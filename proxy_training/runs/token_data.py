"""A folder of token shards -> the blocks that every run of a sweep trains on and is scored on."""

import math
from dataclasses import dataclass
from pathlib import Path

from data_preparation.tokens.shards import TokenDomain, open_domain
from data_preparation.tokens.verified_once import verify_once
from proxy_training.runs.plan import Plan, training_plan
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.schemas import TokensManifest, read_tokens_manifest


@dataclass(frozen=True)
class TokenData:
    """Token shards as blocks of one sequence length, by domain."""

    folder: Path
    manifest: TokensManifest
    sha256: str  # Of the manifest.
    train: dict[str, TokenDomain]
    valid: dict[str, TokenDomain]

    @classmethod
    def open(cls, folder: Path, settings: TrainSettings) -> "TokenData":
        """Map all shards into memory.

        Raises:
            InputError: If files are missing or changed, or a validation domain holds no whole block.
        """
        manifest = read_tokens_manifest(folder)
        verify_once(folder, manifest)
        # A proxy that simulates a longer training sees a part of each domain, so that domains repeat as often as there.
        fractions = {"train": settings.tokens / (settings.simulated_budget or settings.tokens), "valid": 1.0}
        splits = {
            split: {
                domain: open_domain(folder, split, domain, settings.sequence_length, manifest, fraction)
                for domain in manifest.domains(split)
            }
            for split, fraction in fractions.items()
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
        """The factor from nats per token to bits per byte: tokens per byte of the validation text, over ln 2."""
        tokens, size = (self.manifest.total("valid", domain, count) for count in ("tokens", "bytes"))
        return tokens / size / math.log(2) if size else math.nan

    def check(self, run: Run) -> None:
        """Raise InputError if a domain of the run's mixture is unknown or holds no whole block."""
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


def plan_of(run: Run, data: TokenData, settings: TrainSettings) -> Plan:
    """The training stream of a run on these shards."""
    sizes = {name: domain.num_blocks for name, domain in data.train.items()}
    return training_plan(run.weights, sizes, settings.num_items, run.seed)
