"""The files of a corpus -> what one reading of each domain finds: counts, where to split, a sample for the tokenizer."""

import heapq
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from data_preparation.documents.corpus import MEGABYTE, Files
from data_preparation.documents.reading import read_documents
from data_preparation.documents.shared_documents import say_shared_documents
from data_preparation.documents.splitting import Split, document_hash, split_documents
from proxymix.errors import InputError
from proxymix.progress import Bar, progress, say

MAX_DEVIATION = 2.0
"""A validation split this many times larger or smaller than what was asked for is worth a warning."""


@dataclass
class SurveyedDomain:
    """What one reading of a domain found."""

    files: dict[str, list[Path]]  # of each split; "valid" has none where the training text is to be split
    documents: int = 0  # with text, in both splits
    bytes: int = 0  # of these
    empty: int = 0  # documents without text
    split: Split | None = None  # which training documents are for validation; None where nothing is split
    sample: list[str] = field(default_factory=list)  # to train a tokenizer on

    def sources(self, split: str) -> list[Path]:
        """The files that the documents of a split come from."""
        return self.files[split] or self.files["train"]

    def texts(self, split: str, text_key: str) -> Iterator[str]:
        """The documents of a split; those without text are left out."""
        for file in self.sources(split):
            for text in read_documents(file, text_key):
                if text and (self.split is None or self.split.is_valid(document_hash(text)) == (split == "valid")):
                    yield text


def survey(
    files: dict[str, Files], text_key: str, valid_fraction: float, sample_bytes: float
) -> dict[str, SurveyedDomain]:
    """Read the corpus once, so that every fault in it shows before the work begins.

    `sample_bytes` of text are kept to train a tokenizer on: the documents with the smallest hashes, so that they depend on
    neither the files' order nor a seed, and the same bytes of each domain that has them.
    """
    domains = {
        name: SurveyedDomain({"train": paths, "valid": files["valid"].get(name, [])})
        for name, paths in files["train"].items()
    }
    total = sum(path.stat().st_size for domain in domains.values() for paths in domain.files.values() for path in paths)
    hashes: dict[Path, np.ndarray] = {}
    with progress("read the corpus", total / MEGABYTE, "MB") as bar:
        for name, domain in domains.items():
            hashes |= _survey_domain(name, domain, text_key, valid_fraction, sample_bytes / len(domains), bar)
    say_shared_documents(hashes, {path for paths in files["valid"].values() for path in paths})
    return domains


def _survey_domain(
    name: str, domain: SurveyedDomain, text_key: str, valid_fraction: float, sample_bytes: float, bar: Bar
) -> dict[Path, np.ndarray]:
    """Fill in what one reading of a domain finds. Returns the hashes of each file's documents."""
    hashes: dict[Path, np.ndarray] = {}
    sizes = array("Q")  # of the training documents
    sample = SmallestHashes(sample_bytes)
    for split, paths in domain.files.items():
        found = 0
        for path in paths:
            keys = array("Q")
            for text in read_documents(path, text_key):
                if not text:
                    domain.empty += 1
                    continue
                size = len(text.encode("utf-8"))
                domain.bytes += size
                keys.append(document_hash(text))
                if split == "train":
                    sample.offer(keys[-1], size, text)
                    sizes.append(size)
            hashes[path] = np.array(keys, dtype=np.uint64)
            found += len(keys)
            bar.advance(path.stat().st_size / MEGABYTE)
        if paths and not found:
            raise InputError(f"{paths[0]}: every document of {name} in {split} is empty; add text or remove the domain")
        domain.documents += found
    if not domain.files["valid"]:
        train = np.concatenate([hashes[path] for path in domain.files["train"]])
        domain.split = _split(name, domain.files["train"][0], train, np.array(sizes), valid_fraction)
    domain.sample = sample.texts()
    return hashes


def _split(name: str, file: Path, hashes: np.ndarray, sizes: np.ndarray, fraction: float) -> Split:
    """Choose the validation documents of a domain that has no validation file, aloud."""
    try:
        split = split_documents(hashes, sizes, fraction)
    except ValueError:
        raise InputError(
            f"{file}: {name} has no validation file, and its one document cannot be split; "
            f"add valid/{name}.jsonl or more documents"
        ) from None
    taken = (
        f"{name}: no valid/{name}.*, so {split.fraction:.1%} of its training text (by document hash: {split.documents:,} of "
        f"{len(hashes):,} documents) is set aside for validation"
    )
    if not fraction / MAX_DEVIATION <= split.fraction <= fraction * MAX_DEVIATION:
        taken += (
            f"; that is far from the {fraction:.1%} asked for, because few documents hold most of its text: cut long documents "
            f"into parts, or add valid/{name}.jsonl"
        )
    say(taken)
    return split


class SmallestHashes:
    """Keeps the documents with the smallest hashes: as many as fit in a number of bytes, and at least one.

    A document that does not fit by itself is cut, so that no book is all that a tokenizer learns from. Nothing is kept
    where `max_bytes` is 0.
    """

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._heap: list[tuple[int, int, str]] = []

    def offer(self, key: int, size: int, text: str) -> None:
        """Keep the document if its hash is among the smallest."""
        if self.max_bytes <= 0:
            return
        if size > self.max_bytes:
            text = text.encode("utf-8")[: max(int(self.max_bytes), 4)].decode("utf-8", errors="ignore")
            size = len(text.encode("utf-8"))
        heapq.heappush(self._heap, (-key, size, text))
        self.bytes += size
        while self.bytes > self.max_bytes and len(self._heap) > 1:
            self.bytes -= heapq.heappop(self._heap)[1]

    def texts(self) -> list[str]:
        """The documents that are kept, in the order of their hashes."""
        return [text for _, _, text in sorted(self._heap, reverse=True)]
