"""Token shards and their manifest -> what is wrong with them, a sentence for each fault."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_preparation.tokens.shards import map_shard, read_index
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.schemas import Shard, TokensManifest

WINDOW_TOKENS = 10_000_000
"""Tokens that are looked at together, so that a large shard does not fill the memory."""


def tokenizer_faults(tokens: Path, manifest: TokensManifest) -> Iterator[str]:
    """What is wrong with the tokenizer that lies beside the shards."""
    path = Path(tokens) / manifest.tokenizer["file"]
    if not path.is_file():
        yield f"{path}: no such file, though manifest.json lists it"
    elif sha256(path) != manifest.tokenizer["sha256"]:
        yield f"{path}: changed since it was written (its SHA-256 is not the manifest's)"


def shard_faults(tokens: Path, shard: Shard, manifest: TokensManifest) -> Iterator[str]:
    """What is wrong with a shard: its size, its hash, its ids, its document ends."""
    path = Path(tokens) / shard.path
    try:
        ids = map_shard(tokens, shard, manifest.dtype)
        ends = read_index(path.with_name(path.name + ".index")).astype(np.int64)
    except InputError as error:
        yield str(error)
        return
    if sha256(path) != shard.sha256:
        yield f"{path}: changed since it was written (its SHA-256 is not the manifest's)"
    for start in range(0, len(ids), WINDOW_TOKENS):
        window = ids[start : start + WINDOW_TOKENS]
        if window.max() >= manifest.tokenizer["vocabulary"]:
            at = start + int(np.argmax(window >= manifest.tokenizer["vocabulary"]))
            yield f"{path}: token {at:,} is {ids[at]}, outside the vocabulary of {manifest.tokenizer['vocabulary']:,}"
            break
    if len(ends) != shard.documents:
        yield f"{path}.index: {len(ends):,} documents, but manifest.json promises {shard.documents:,}"
    elif len(ends) and (ends[0] < 1 or np.any(np.diff(ends) < 1) or ends[-1] != len(ids)):
        yield f"{path}.index: the document ends do not rise to the shard's {len(ids):,} tokens"
    elif np.any(ids[ends - 1] != manifest.tokenizer["eos"]):
        number = int(np.argmax(ids[ends - 1] != manifest.tokenizer["eos"]))
        yield f"{path}: document {number:,} does not end with the end-of-text token {manifest.tokenizer['eos_token']!r}"
