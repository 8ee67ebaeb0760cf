"""The hashes of the documents of every file -> which files hold the same documents."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from proxymix.progress import say

MIN_SHARE = 0.01
"""Files that share a smaller part of their documents are not worth a word: many texts hold "404 Not Found"."""
MAX_PAIRS = 5


def say_shared_documents(hashes: Mapping[Path, np.ndarray], valid: set[Path]) -> None:
    """Name the files that share documents, because each copy counts as text of its own.

    Args:
        hashes: File -> `document_hash` of each of its documents, uint64.
        valid: The files for validation.
    """
    pairs = shared_documents(hashes)
    for (one, other), count in sorted(pairs.items(), key=lambda pair: -pair[1])[:MAX_PAIRS]:
        number = f"{count:,} document{'s' * (count > 1)}"
        if (one in valid) != (other in valid):
            say(f"{one} and {other} share {number}: losses on text that was trained on are too low; remove one copy")
        else:
            say(f"{one} and {other} share {number}; each copy counts, so remove one if that is not meant")
    if len(pairs) > MAX_PAIRS:
        say(f"{len(pairs) - MAX_PAIRS:,} more pairs of files share documents")


def shared_documents(hashes: Mapping[Path, np.ndarray]) -> dict[tuple[Path, Path], int]:
    """Pair of files -> how many documents both hold, where that is a notable part of the smaller one.

    Of a document in three files, the first and second share it, and the second and third.
    """
    files = list(hashes)
    unique = [np.unique(hashes[file]) for file in files]
    if len(files) < 2:
        return {}
    keys = np.concatenate(unique)
    owners = np.repeat(np.arange(len(files)), [len(keys_of_file) for keys_of_file in unique])
    order = np.lexsort((owners, keys))
    keys, owners = keys[order], owners[order]
    repeated = np.flatnonzero(keys[1:] == keys[:-1])
    pairs, counts = np.unique(np.stack([owners[repeated], owners[repeated + 1]], axis=1), axis=0, return_counts=True)
    return {
        (files[a], files[b]): int(count)
        for (a, b), count in zip(pairs.tolist(), counts.tolist(), strict=True)
        if count >= MIN_SHARE * min(len(unique[a]), len(unique[b]))
    }
