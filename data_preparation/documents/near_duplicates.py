"""Texts, one after another -> whether most of each was there before."""

import hashlib
import re

import numpy as np

WIDTH = 32
"""Bytes of a shingle; a power of two, because hashes of longer runs are made by doubling."""
SAMPLED_BITS = 4
"""One shingle in 2**4 is looked at: those whose hash begins with so many zeros."""
SLOT_BITS = 26
"""Slots to remember shingles in. 48 MB of text fill 4% of them, so 4% of new shingles are taken for seen by chance."""
MULTIPLIER, MIXER = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)


class SeenText:
    """Remembers texts, and tells exact and near-duplicates among those that come later.

    A text is cut into all its runs of 32 bytes (shingles), after lowering case, dropping years and joining white space,
    so that neither a year nor an indent makes a licence new. The measure is containment, the share of a text's shingles
    that occurred in any text before. Unlike the similarity of two texts, it also finds a page that was put together from
    two others.

    Args:
        threshold: A text is a near-duplicate when at least this share of its shingles was seen before.
    """

    def __init__(self, threshold: float = 0.6) -> None:
        self.threshold = threshold
        self._texts: set[bytes] = set()
        self._slots = np.zeros(2**SLOT_BITS, dtype=bool)

    def judge(self, text: str) -> str:
        """ "new" (and remembered), "exact" or "near"."""
        normal = normalised_text(text).encode("utf-8")
        digest = hashlib.blake2b(normal, digest_size=16).digest()
        if digest in self._texts:
            return "exact"
        slots = sampled_shingles(normal)
        if len(slots) and self._slots[slots].mean() >= self.threshold:
            return "near"
        self._texts.add(digest)
        self._slots[slots] = True
        return "new"


def normalised_text(text: str) -> str:
    """Lower case, no years, single spaces."""
    return " ".join(re.sub(r"\b(?:19|20)\d\d\b", "", text.lower()).split())


def sampled_shingles(text: bytes) -> np.ndarray:
    """Slots of about one in 16 of the text's 32-byte shingles; a shingle is sampled wherever it occurs or nowhere."""
    hashes = np.frombuffer(text, dtype=np.uint8).astype(np.uint64)
    if len(hashes) < WIDTH:
        return np.zeros(0, dtype=np.int64)
    width, power = 1, MULTIPLIER
    while width < WIDTH:  # the hash of 2w bytes from those of w: h[i] * multiplier**w + h[i + w], modulo 2**64
        hashes = hashes[:-width] * power + hashes[width:]
        with np.errstate(over="ignore"):
            power = power * power
        width *= 2
    hashes ^= hashes >> np.uint64(32)
    hashes *= MIXER
    hashes ^= hashes >> np.uint64(32)
    hashes *= MIXER
    sampled = hashes[hashes >> np.uint64(64 - SAMPLED_BITS) == 0]
    return (np.unique(sampled) >> np.uint64(64 - SAMPLED_BITS - SLOT_BITS)).astype(np.int64)
