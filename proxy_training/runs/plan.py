"""Weights and domain sizes -> the training stream: which block of which domain is item 0, 1, 2, ...

The stream is a pure function of the weights, the domains' sizes in blocks, and the seed. Its whole state is therefore one
integer, the item reached. The stream of blocks within a domain depends only on the seed and the domain's name: runs of one
seed with different weights read the same blocks of a domain in the same order (common random numbers), but more or fewer.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from proxymix.errors import InputError


@dataclass(frozen=True)
class Plan:
    """The items of one run, in the order in which they are trained on."""

    domains: tuple[str, ...]
    domain: np.ndarray  # The position in `domains` of each item's domain, shape (num_items,).
    block: np.ndarray  # The number of the block within that domain, shape (num_items,).
    num_blocks: tuple[int, ...]  # Of each domain.

    @property
    def quotas(self) -> dict[str, int]:
        """Domain -> its number of items."""
        counts = np.bincount(self.domain, minlength=len(self.domains))
        return {name: int(count) for name, count in zip(self.domains, counts, strict=True)}

    @property
    def epochs(self) -> dict[str, float]:
        """Domain -> passes over its blocks; 0 if it has no items."""
        return {
            name: quota / size if quota else 0.0
            for (name, quota), size in zip(self.quotas.items(), self.num_blocks, strict=True)
        }


def training_plan(weights: Mapping[str, float], num_blocks: Mapping[str, int], num_items: int, seed: int) -> Plan:
    """The training stream of one run.

    Args:
        weights: Domain -> weight >= 0, sum 1. A domain of weight 0 gives no items.
        num_blocks: Domain -> number of its blocks, at least for the domains that have a weight.
        num_items: Items of the run.
        seed: Seed of the run. Another seed gives another order of domains and blocks.

    Returns:
        A plan with exact quotas (largest remainder) in a seeded order. Within a domain every block comes once before any
        block comes again.

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
    # The permutation depends only on the seed and num_items, and the cumulative quotas map it to domains. Runs of one seed
    # with similar weights therefore have the same domain at nearly every position.
    order = np.random.default_rng(seed).permutation(num_items)
    domain = np.searchsorted(np.cumsum(quotas), order, side="right").astype(np.int32)
    block = np.empty(num_items, dtype=np.int64)
    by_domain = np.split(np.argsort(domain, kind="stable"), np.cumsum(quotas)[:-1])
    for name, size, quota, positions in zip(names, sizes, quotas, by_domain, strict=True):
        block[positions] = block_stream(name, size, int(quota), seed)
    return Plan(names, domain, block, sizes)


def item_quotas(weights: np.ndarray, num_items: int) -> np.ndarray:
    """Whole numbers of items per domain by largest remainder. They sum to num_items, each within 1 of weight * num_items.

    Args:
        weights: Weights >= 0, sum 1, shape (num_domains,).
        num_items: Items to divide among the domains.

    Returns:
        Integers of shape (num_domains,); 0 where the weight is 0.
    """
    exact = weights / weights.sum() * num_items
    quotas = np.floor(exact).astype(np.int64)
    missing = num_items - int(quotas.sum())
    remainders = np.where(weights > 0, exact - quotas, -1.0)
    quotas[np.argsort(-remainders, kind="stable")[:missing]] += 1
    assert quotas.sum() == num_items and not quotas[weights == 0].any()
    return quotas


def block_stream(domain: str, num_blocks: int, length: int, seed: int) -> np.ndarray:
    """The first `length` blocks of a domain's endless stream, which has a new permutation in each epoch; shape (length,)."""
    if length == 0:
        return np.empty(0, dtype=np.int64)
    key = int.from_bytes(hashlib.sha256(domain.encode()).digest()[:8], "little")
    epochs = -(-length // num_blocks)
    passes = [np.random.default_rng([seed, key, epoch]).permutation(num_blocks) for epoch in range(epochs)]
    return np.concatenate(passes)[:length]


def evenly_spaced(num_blocks: int, wanted: int) -> np.ndarray:
    """`wanted` of the blocks 0 ... num_blocks - 1 at equal distances; all of them if there are fewer."""
    count = min(num_blocks, wanted)
    return (np.arange(count) * 2 + 1) * num_blocks // (2 * count)
