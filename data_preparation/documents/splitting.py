"""The hashes and sizes of a domain's documents -> which of them are for validation."""

import hashlib
from dataclasses import dataclass

import numpy as np


def document_hash(text: str) -> int:
    """A number in [0, 2**64) that depends on the text alone. Splitting and sampling use it in place of a random number."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")


@dataclass(frozen=True)
class Split:
    """Which documents of a domain are for validation. Copies of a document are never on both sides."""

    threshold: int  # a document with a hash up to this one is for validation,
    kept: frozenset[int]  # unless its hash is among these: documents so long that they stay in training
    fraction: float  # of the bytes that are for validation then
    documents: int  # how many are

    def is_valid(self, key: int) -> bool:
        """Whether the document with this hash is for validation."""
        return key <= self.threshold and key not in self.kept


def split_documents(hashes: np.ndarray, sizes: np.ndarray, fraction: float) -> Split:
    """The documents with the smallest hashes, so that validation has the share of the bytes nearest to `fraction`.

    Because the hash decides, copies of a document are never on both sides, and the order of documents does not matter.
    Most bytes may be in few documents (books, code dumps, logs). A document of more than twice what validation is to
    have stays in training, because with it validation would be further off than with nothing. Where such documents leave
    little else, validation gets up to half of that.

    Args:
        hashes: `document_hash` of each document, uint64.
        sizes: Bytes of each document.
        fraction: Share of the bytes wanted in validation, in (0, 1).

    Returns:
        The split. Neither side is empty.

    Raises:
        ValueError: If there are fewer than two different documents.
    """
    unique, inverse, copies = np.unique(np.asarray(hashes, dtype=np.uint64), return_inverse=True, return_counts=True)
    if len(unique) < 2:
        raise ValueError(f"{len(unique)} document cannot be split into training and validation")
    totals = np.bincount(inverse, weights=np.asarray(sizes, dtype=np.float64))  # bytes of all copies of a document
    target = fraction * totals.sum()
    small = totals <= 2 * target
    if not small.any():
        small[np.argmin(totals)] = True
    candidates = np.flatnonzero(small)
    until = np.cumsum(totals[candidates])
    if not small.all():
        target = min(target, until[-1] / 2)
    else:
        until = until[:-1]  # the last one stays in training
    last = int(np.argmin(np.abs(until - target)))
    chosen = candidates[: last + 1]
    threshold = int(unique[chosen[-1]])
    kept = frozenset(int(key) for key in unique[~small] if key <= threshold)
    return Split(threshold, kept, float(until[last] / totals.sum()), int(copies[chosen].sum()))
