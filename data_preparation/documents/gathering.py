"""Files with their domains -> documents without duplicates, a given number of bytes of each domain -> files of a corpus."""

import hashlib
import json
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_preparation.documents.corpus import MEGABYTE
from data_preparation.documents.installed_files import DOMAINS, Source
from data_preparation.documents.near_duplicates import SeenText
from data_preparation.documents.splitting import document_hash, split_documents
from data_preparation.documents.text_extraction import documents_in, read_source
from proxymix.files import sha256, write_text
from proxymix.progress import Bar, progress, say

MIN_DOCUMENT_BYTES = 200
MIN_DOMAIN_BYTES = 50_000


@dataclass
class Gathered:
    """The documents of a domain, and what was left out."""

    documents: dict[int, tuple[str, str]] = field(default_factory=dict)  # hash -> text, and the file that it comes from
    bytes: int = 0
    left_out: Counter[str] = field(default_factory=Counter)  # reason -> documents or files


def bytes_to_take(available: Mapping[str, int], total: float, minimum: float) -> dict[str, float]:
    """Bytes to take of each domain: the same fraction of each, but at least `minimum` where a domain has that much.

    They sum to `total`, to more where the minimum asks for more, and to less where there is less.
    """

    def taken(fraction: float) -> dict[str, float]:
        return {domain: min(size, max(minimum, fraction * size)) for domain, size in available.items()}

    low, high = 0.0, 1.0
    for _ in range(60):  # bisection to the last bit
        middle = (low + high) / 2
        low, high = (middle, high) if sum(taken(middle).values()) < total else (low, middle)
    return taken(high)


def gather(sources: Mapping[str, Sequence[Source]], targets: Mapping[str, float]) -> dict[str, Gathered]:
    """Read the domains' files until each has the bytes that it is to have (`targets`), without (near-)duplicates.

    Returns:
        Domain -> its documents, for the domains that have enough of them.
    """
    gathered = {domain: Gathered() for domain in DOMAINS}
    seen = SeenText()
    with progress("harvest text", sum(targets.values()) / MEGABYTE, "MB") as bar:
        for domain, target in targets.items():
            _gather_domain(domain, sources[domain], target, gathered, seen, bar)
    return {domain: found for domain, found in gathered.items() if _worth_having(domain, found)}


def _gather_domain(
    domain: str, sources: Sequence[Source], target: float, gathered: dict[str, Gathered], seen: SeenText, bar: Bar
) -> None:
    """Read a domain's files in turns until it has `target` bytes.

    The order is that of a hash of the files' names, so every package has its chance, and the order in which a folder is
    listed does not matter. A turn takes 32 kB of each file: first the beginning of each, then the next 32 kB of each, and
    so on while the domain wants more. Python source feeds two domains at once, code and docstrings.
    """
    fed = [gathered[name] for name in (("python_source", "docstrings") if domain == "python_source" else (domain,))]
    queue = deque((0, source) for source in sorted(sources, key=_name_hash))
    have = 0
    while queue and have < target:
        turn, source = queue.popleft()
        text = read_source(source.path)
        if text is None:
            gathered[domain].left_out["not text"] += 1
            continue
        documents = documents_in(source, text)
        for kind, its_turn, document in documents:
            if its_turn == turn:
                _take(gathered[kind], document, source.origin, seen)
        if any(its_turn > turn for _, its_turn, _ in documents):
            queue.append((turn + 1, source))
        before, have = have, sum(found.bytes for found in fed)
        bar.advance((have - before) / MEGABYTE)
    bar.advance(max(target - have, 0) / MEGABYTE)


def _name_hash(source: Source) -> bytes:
    return hashlib.sha256(source.origin.encode("utf-8", "surrogateescape")).digest()


def _take(gathered: Gathered, text: str, origin: str, seen: SeenText) -> None:
    size = len(text.encode("utf-8"))
    verdict = "short" if size < MIN_DOCUMENT_BYTES else seen.judge(text)
    if verdict != "new":
        gathered.left_out[verdict] += 1
        return
    gathered.documents[document_hash(text)] = (text, origin)
    gathered.bytes += size


def _worth_having(domain: str, found: Gathered) -> bool:
    if found.bytes >= MIN_DOMAIN_BYTES and len(found.documents) >= 2:
        return True
    say(f"{domain}: left out, since this installation has {found.bytes:,} bytes of it ({DOMAINS[domain]})")
    return False


def write_domain(folder: Path, domain: str, gathered: Gathered, valid_fraction: float) -> dict[str, Any]:
    """Write a domain's training and validation file, documents in the order of their hashes; its entry in the manifest."""
    hashes = np.array(sorted(gathered.documents), dtype=np.uint64)
    sizes = np.array([len(gathered.documents[int(key)][0].encode("utf-8")) for key in hashes])
    chosen = split_documents(hashes, sizes, valid_fraction)
    is_valid = np.array([chosen.is_valid(int(key)) for key in hashes])
    entry: dict[str, Any] = {}
    for split, path, rows in (
        ("train", f"train/{domain}_0.jsonl", ~is_valid),
        ("valid", f"valid/{domain}.jsonl", is_valid),
    ):
        documents = [gathered.documents[int(key)] for key in hashes[rows]]
        lines = [json.dumps({"text": text, "source": origin}, ensure_ascii=False) + "\n" for text, origin in documents]
        write_text(folder / path, "".join(lines))
        entry[split] = {
            "path": path,
            "documents": len(lines),
            "bytes": int(sizes[rows].sum()),
            "sha256": sha256(folder / path),
        }
    return {**entry, "left_out": dict(sorted(gathered.left_out.items()))}
