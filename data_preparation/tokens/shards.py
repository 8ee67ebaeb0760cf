"""Documents' token ids -> shards on disk (.ds and .ds.index), and shards -> blocks of a fixed length.

The format is datatrove's: a .ds file is a bare little-endian array of uint16 or uint32 tokens, every document closed by
the end-of-text token, and its .ds.index holds the document ends as uint64, in tokens, cumulative within the shard.
Sequence length belongs to reading, never to writing.
"""

import hashlib
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from proxymix.errors import InputError
from proxymix.files import replacing
from proxymix.schemas import Shard, TokensManifest, read_tokens_manifest

DTYPES: dict[str, np.dtype[Any]] = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
INDEX_DTYPE = np.dtype("<u8")


def token_dtype(vocabulary: int) -> str:
    """uint16 where every id fits, else uint32."""
    return "uint16" if vocabulary <= 2**16 else "uint32"


class ShardWriter:
    """Writes one domain of one split as `folder/<split>/<domain>/00000.ds`, `00001.ds`, ...

    A document is never cut: a shard is closed once it holds `shard_tokens`. Use as a context manager; `shards` is
    complete after the block.
    """

    def __init__(self, folder: Path, split: str, domain: str, dtype: str, shard_tokens: int) -> None:
        self.folder, self.prefix = Path(folder), f"{split}/{domain}"
        self.dtype, self.shard_tokens = DTYPES[dtype], shard_tokens
        self.shards: list[Shard] = []
        self._open = False

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, *error: Any) -> None:
        if self._open:
            self._close() if error[0] is None else self._stack.__exit__(*error)

    def write(self, tokens: Sequence[int] | np.ndarray, num_bytes: int) -> None:
        """Append one document: its ids, the end-of-text token included, and the UTF-8 bytes of its text."""
        if not self._open:
            self._start()
        data = np.asarray(tokens, dtype=np.int64).astype(self.dtype).tobytes()
        self._file.write(data)
        self._hash.update(data)
        self._tokens += len(tokens)
        self._bytes += num_bytes
        self._ends.append(self._tokens)
        if self._tokens >= self.shard_tokens:
            self._close()

    def _start(self) -> None:
        self._path = f"{self.prefix}/{len(self.shards):05d}.ds"
        self._stack = ExitStack()
        temporary = self._stack.enter_context(replacing(self.folder / self._path))
        self._file: BinaryIO = self._stack.enter_context(temporary.open("wb"))
        self._hash, self._tokens, self._bytes, self._ends = hashlib.sha256(), 0, 0, list[int]()
        self._open = True

    def _close(self) -> None:
        self._open = False
        self._stack.close()
        with replacing(self.folder / f"{self._path}.index") as temporary:
            temporary.write_bytes(np.array(self._ends, dtype=INDEX_DTYPE).tobytes())
        self.shards.append(Shard(self._path, self._tokens, len(self._ends), self._bytes, self._hash.hexdigest()))


class TokenDomain:
    """A domain's tokens as blocks: block b holds the L + 1 tokens from b * L on, so neighbours share one token.

    L inputs and the L targets after them need L + 1 tokens, and no target is lost when neighbours share one. Blocks do not
    cross shards.

    Args:
        shards: The shards' tokens, one array each.
        sequence_length: L.
        share: Share of the blocks that are used, spread evenly over the domain; the others are ignored.
    """

    def __init__(self, shards: Sequence[np.ndarray], sequence_length: int, share: float = 1.0) -> None:
        self.shards = list(shards)
        self.sequence_length = sequence_length
        self.share = share
        self.num_tokens = sum(len(shard) for shard in self.shards)
        blocks = [max(len(shard) - 1, 0) // sequence_length for shard in self.shards]
        self._first_blocks = np.concatenate([[0], np.cumsum(blocks, dtype=np.int64)]).astype(np.int64)

    @property
    def num_blocks(self) -> int:
        """Whole blocks in the domain, or in its share (at least one, where there is one)."""
        there = int(self._first_blocks[-1])
        return min(there, max(1, round(there * self.share)))

    def gather(self, blocks: np.ndarray) -> np.ndarray:
        """The tokens of blocks with numbers in [0, num_blocks), shape (n,): int64 ids, shape (n, L + 1)."""
        shard_of, within = self._located(blocks)
        tokens = np.empty((len(within), self.sequence_length + 1), dtype=np.int64)
        for shard in np.unique(shard_of):
            rows = shard_of == shard
            windows = np.lib.stride_tricks.sliding_window_view(self.shards[shard], self.sequence_length + 1)
            tokens[rows] = windows[:: self.sequence_length][within[rows]]
        return tokens

    def starts(self, blocks: np.ndarray) -> np.ndarray:
        """Where blocks begin, in tokens, when the domain's shards stand one after another; int64, shape (n,)."""
        shard_of, within = self._located(blocks)
        first_tokens = np.concatenate([[0], np.cumsum([len(shard) for shard in self.shards], dtype=np.int64)])
        return first_tokens[shard_of] + within * self.sequence_length

    def _located(self, blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The shard of each block, and its number within that shard."""
        blocks = np.asarray(blocks, dtype=np.int64)
        assert blocks.size == 0 or (blocks.min() >= 0 and blocks.max() < self.num_blocks), "block out of range"
        if self.num_blocks < self._first_blocks[-1]:
            blocks = (2 * blocks + 1) * self._first_blocks[-1] // (2 * self.num_blocks)  # at equal distances
        shard_of = np.searchsorted(self._first_blocks, blocks, side="right") - 1
        return shard_of, blocks - self._first_blocks[shard_of]


def open_domain(
    tokens: Path,
    split: str,
    domain: str,
    sequence_length: int,
    manifest: TokensManifest | None = None,
    share: float = 1.0,
) -> TokenDomain:
    """Map the shards of a domain of a split ("train" or "valid") for reading; `share` as `TokenDomain` has it.

    Raises:
        InputError: If the domain is unknown, or a file is missing or is not as long as the manifest says.
    """
    manifest = manifest or read_tokens_manifest(tokens)
    if domain not in manifest.splits[split]:
        raise InputError(
            f"{tokens}/manifest.json: no domain {domain!r} in {split}; found {', '.join(manifest.domains(split))}"
        )
    shards = [map_shard(tokens, shard, manifest.dtype) for shard in manifest.splits[split][domain]]
    return TokenDomain(shards, sequence_length, share)


def map_shard(tokens: Path, shard: Shard, dtype: str) -> np.ndarray:
    """A shard's tokens, mapped and not read.

    Raises:
        InputError: If the file is missing or is not as long as the manifest says.
    """
    path, itemsize = Path(tokens) / shard.path, DTYPES[dtype].itemsize
    if not path.is_file():
        raise InputError(f"{path}: no such file, though manifest.json lists it; run `proxymix tokenize` again")
    if path.stat().st_size != shard.tokens * itemsize:
        raise InputError(
            f"{path}: {path.stat().st_size:,} bytes, but manifest.json promises {shard.tokens:,} tokens "
            f"({shard.tokens * itemsize:,} bytes); run `proxymix tokenize` again"
        )
    mapped: np.ndarray[Any, Any] = np.memmap(path, dtype=DTYPES[dtype], mode="r")
    return mapped


def read_index(path: Path) -> np.ndarray:
    """The document ends in a .ds.index, in tokens.

    Raises:
        InputError: If it is missing or not a whole number of uint64.
    """
    try:
        return np.frombuffer(Path(path).read_bytes(), dtype=INDEX_DTYPE)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run `proxymix tokenize` again") from None
    except ValueError:
        raise InputError(
            f"{path}: truncated (not a whole number of 8-byte ends); run `proxymix tokenize` again"
        ) from None
