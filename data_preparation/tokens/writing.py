"""The documents of surveyed domains -> their token shards."""

from collections.abc import Iterator
from pathlib import Path

from data_preparation.documents.corpus import MEGABYTE
from data_preparation.tokens.shards import DTYPES, ShardWriter, read_index
from data_preparation.tokens.survey import SurveyedDomain
from data_preparation.tokens.tokenizer import Encoder
from proxymix.errors import StageError
from proxymix.progress import Bar, progress, say
from proxymix.schemas import Shard

BATCH_BYTES, BATCH_DOCUMENTS = 1_000_000, 1000
"""Documents are encoded in batches of this size, because a token takes some 150 bytes of memory until it is written."""

Shards = dict[str, dict[str, tuple[Shard, ...]]]  # split -> domain -> shards


def write_shards(
    folder: Path, domains: dict[str, SurveyedDomain], encode: Encoder, text_key: str, shard_tokens: int, dtype: str
) -> Shards:
    """Write every domain's shards as <split>/<domain>/00000.ds and so on below `folder`.

    Raises:
        StageError: If the files do not hold as many tokens and documents as were read and encoded.
    """
    written: Shards = {"train": {}, "valid": {}}
    with progress("tokenise", sum(domain.bytes for domain in domains.values()) / MEGABYTE, "MB") as bar:
        for split, shards in written.items():
            for name, domain in domains.items():
                texts = domain.texts(split, text_key)
                with ShardWriter(folder, split, name, dtype, shard_tokens) as writer:
                    num_tokens = _write_documents(writer, texts, encode, f"{split}/{name}", bar)
                shards[name] = tuple(writer.shards)
                in_files = sum(_tokens_in(folder / shard.path, dtype) for shard in writer.shards)
                if in_files != num_tokens:
                    raise StageError(
                        f"{split}/{name}: {num_tokens:,} tokens were encoded, but {in_files:,} are in the files; is the disk full?"
                    )
    num_written = sum(shard.documents for found in written.values() for of in found.values() for shard in of)
    num_read = sum(domain.documents for domain in domains.values())
    if num_written != num_read:
        raise StageError(
            f"{num_read:,} documents were read and {num_written:,} written; did the corpus change meanwhile? Run again"
        )
    if encode.num_unknown:
        say(f"{encode.num_unknown:,} tokens are the tokenizer's unknown token; a byte-level tokenizer loses nothing")
    if empty := sum(domain.empty for domain in domains.values()):
        say(f"{empty:,} documents have no text at all and were left out")
    return written


def _write_documents(writer: ShardWriter, texts: Iterator[str], encode: Encoder, where: str, bar: Bar) -> int:
    """Write documents. Returns how many tokens they are."""
    num_tokens = 0
    for batch, sizes in _batches(texts):
        for ids, size in zip(encode(batch, where), sizes, strict=True):
            writer.write(ids, size)
            num_tokens += len(ids)
        bar.advance(sum(sizes) / MEGABYTE)
    return num_tokens


def _batches(texts: Iterator[str]) -> Iterator[tuple[list[str], list[int]]]:
    """Documents in batches of about a megabyte, with their bytes."""
    batch, sizes, total = list[str](), list[int](), 0
    for text in texts:
        batch.append(text)
        sizes.append(len(text.encode("utf-8")))
        total += sizes[-1]
        if total >= BATCH_BYTES or len(batch) == BATCH_DOCUMENTS:
            yield batch, sizes
            batch, sizes, total = [], [], 0
    if batch:
        yield batch, sizes


def _tokens_in(path: Path, dtype: str) -> int:
    """Tokens that a shard and its index both hold; -1 where they disagree."""
    ends = read_index(path.with_name(path.name + ".index"))
    in_shard = path.stat().st_size / DTYPES[dtype].itemsize
    return int(in_shard) if len(ends) and ends[-1] == in_shard else -1
