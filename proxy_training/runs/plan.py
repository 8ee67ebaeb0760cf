"""Weights and domain sizes -> the training stream: which block of which domain is item 0, 1, 2, ...

The stream is a pure function of (weights, sizes in blocks, seed), so its whole state is one integer, the item reached.
A domain's own stream of blocks depends on the seed and its name only: runs of one seed that differ in their weights
meet the same blocks of a domain in the same order (common random numbers), only more or fewer of them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from proxymix.errors import InputError


@dataclass(frozen=True)
class Plan:
    """The items of one run, in the order they are trained on.

    Attributes:
        domains: Names, which `domain` indexes.
        domain: Domain of each item, shape (num_items,).
        block: Block of that domain, shape (num_items,).
        num_blocks: Blocks that each domain has.
    """

    domains: tuple[str, ...]
    domain: np.ndarray
    block: np.ndarray
    num_blocks: tuple[int, ...]

    @property
    def quotas(self) -> dict[str, int]:
        """Items that each domain gives."""
        counts = np.bincount(self.domain, minlength=len(self.domains))
        return {name: int(count) for name, count in zip(self.domains, counts, strict=True)}

    @property
    def epochs(self) -> dict[str, float]:
        """Passes over each domain; 0 where nothing is drawn."""
        return {
            name: quota / size if quota else 0.0
            for (name, quota), size in zip(self.quotas.items(), self.num_blocks, strict=True)
        }


def training_plan(weights: Mapping[str, float], num_blocks: Mapping[str, int], num_items: int, seed: int) -> Plan:
    """The training stream of one run.

    Args:
        weights: Domain -> weight >= 0, sum 1. A weight of 0 draws nothing.
        num_blocks: Domain -> blocks it holds, for at least the domains that have a weight.
        num_items: Items of the run.
        seed: Seed of the run; another seed is another order of everything.

    Returns:
        Exact quotas (largest remainder) in a seeded shuffle; within a domain every block once before any comes again.

    Raises:
        InputError: If a domain with a weight is unknown or holds no whole block.
    """
    names = tuple(weights)
    for name in names:
        if weights[name] > 0 and name not in num_blocks:
            raise InputError(f"the mixture gives {name} a weight, and the tokens have no such domain")
        if weights[name] > 0 and num_blocks[name] == 0:
            raise InputError(
                f"the mixture gives {name} {weights[name]:.3g} of the tokens, and it holds no whole block; "
                "give it weight 0, add text to it, or lower train.sequence_length"
            )
    sizes = tuple(int(num_blocks.get(name, 0)) for name in names)
    quotas = item_quotas(np.array([weights[name] for name in names]), num_items)
    # One permutation per (seed, num_items), read through the cumulative quotas: runs of one seed whose weights are
    # close have nearly the same domain at nearly every position.
    order = np.random.default_rng(seed).permutation(num_items)
    domain = np.searchsorted(np.cumsum(quotas), order, side="right").astype(np.int32)
    block = np.empty(num_items, dtype=np.int64)
    by_domain = np.split(np.argsort(domain, kind="stable"), np.cumsum(quotas)[:-1])
    for name, size, quota, positions in zip(names, sizes, quotas, by_domain, strict=True):
        block[positions] = block_stream(name, size, int(quota), seed)
    return Plan(names, domain, block, sizes)


def item_quotas(weights: np.ndarray, num_items: int) -> np.ndarray:
    """Whole items per domain by largest remainder: sum num_items, each within 1 of weight * num_items.

    Args:
        weights: Weights >= 0, sum 1, shape (num_domains,).
        num_items: Items to share out.

    Returns:
        Integers of shape (num_domains,); 0 where the weight is 0.
    """
    shares = weights / weights.sum() * num_items
    quotas = np.floor(shares).astype(np.int64)
    missing = num_items - int(quotas.sum())
    remainders = np.where(weights > 0, shares - quotas, -1.0)
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    assert quotas.sum() == num_items and not quotas[weights == 0].any()
    return quotas


def block_stream(domain: str, num_blocks: int, length: int, seed: int) -> np.ndarray:
    """The first `length` blocks of a domain's endless stream, a fresh permutation per epoch, shape (length,)."""
    if length == 0:
        return np.empty(0, dtype=np.int64)
    key = int.from_bytes(hashlib.sha256(domain.encode()).digest()[:8], "little")
    epochs = -(-length // num_blocks)
    passes = [np.random.default_rng([seed, key, epoch]).permutation(num_blocks) for epoch in range(epochs)]
    return np.concatenate(passes)[:length]


def evenly_spaced(num_blocks: int, wanted: int) -> np.ndarray:
    """`wanted` of the blocks 0 ... num_blocks - 1 (or all, where there are fewer), at equal distances."""
    count = min(num_blocks, wanted)
    return (np.arange(count) * 2 + 1) * num_blocks // (2 * count)
