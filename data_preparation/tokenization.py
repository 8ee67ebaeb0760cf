"""A corpus of documents -> token shards and their manifest.

python data_preparation/tokenization.py --input corpus --out studies/mine/tokens
"""

import heapq
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from data_preparation.documents.corpus import (
    Files,
    check_fraction,
    check_replaceable,
    corpus_files,
    document_hash,
    read_documents,
    split_threshold,
)
from data_preparation.tokens.shards import DTYPES, ShardWriter, read_index, token_dtype
from proxymix import __version__
from proxymix.errors import InputError, StageError
from proxymix.files import read_json, replacing, sha256, write_json
from proxymix.progress import Bar, progress, say

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END_OF_TEXT = ("<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "</s>", "<eos>", "[EOS]", "<|im_end|>", "[SEP]")
BATCH_BYTES, BATCH_DOCUMENTS = 1_000_000, 1000  # an encoded token takes some 150 bytes until it is written
MEGABYTE = 1e6


def tokenize(
    input: Path,
    out: Path,
    tokenizer: Path | None = None,
    vocab_size: int = 4096,
    eos_token: str | None = None,
    valid_fraction: float = 0.05,
    text_key: str = "text",
    tokenizer_megabytes: float = 6.0,
    shard_tokens: int = 100_000_000,
) -> None:
    """Write every document of a corpus as tokens, closed by the end-of-text token; nothing is dropped or cut.

    Args:
        input: Corpus folder: train/<domain>_0.jsonl and valid/<domain>.jsonl (or .jsonl.gz, .jsonl.zst, .parquet).
        out: Folder to write: manifest.json, tokenizer.json, and per split and domain the shards.
        tokenizer: A tokenizer.json to use; without it a byte-level BPE is trained on the corpus.
        vocab_size: Entries of the tokenizer that is trained; more make shorter sequences and a larger output layer.
        eos_token: The token that ends a document in the given tokenizer, where its name is not a usual one.
        valid_fraction: Share of a domain's bytes set aside for validation where the corpus has none for it.
        text_key: The key or column that holds a document's text.
        tokenizer_megabytes: Text that the tokenizer is trained on, the same amount from each domain that has it.
        shard_tokens: A file is closed once it holds this many tokens; a document is never cut.
    """
    check_fraction("valid_fraction", valid_fraction)
    if tokenizer is None and vocab_size < 257:
        raise InputError(f"vocab_size is {vocab_size}; 256 bytes and the end-of-text token need at least 257")
    if eos_token is not None and tokenizer is None:
        raise InputError(
            f"eos_token is {eos_token!r}, but no tokenizer is given; one that is trained ends documents with {END_OF_TEXT[0]}"
        )
    if shard_tokens < 1:
        raise InputError(f"shard_tokens is {shard_tokens}; at least 1 is wanted")
    if tokenizer_megabytes <= 0:
        raise InputError(f"tokenizer_megabytes is {tokenizer_megabytes:g}; a number above 0 is wanted")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if input.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{out}: the corpus {input} is in there and would be replaced; choose another folder for out")
    check_replaceable(out, "dtype")
    files = corpus_files(input)
    given = (
        load_tokenizer(tokenizer, eos_token) if tokenizer else None
    )  # before the corpus is read: a fault shows at once
    domains = survey(files, text_key, valid_fraction, 0.0 if tokenizer else tokenizer_megabytes * MEGABYTE)
    settings = {
        "vocab_size": None if tokenizer else vocab_size,
        "eos_token": eos_token,
        "valid_fraction": valid_fraction,
        "text_key": text_key,
        "tokenizer_megabytes": None if tokenizer else tokenizer_megabytes,
        "shard_tokens": shard_tokens,
    }
    with replacing(out) as folder:
        folder.mkdir()
        model = given or train_tokenizer([text for domain in domains.values() for text in domain.sample], vocab_size)
        for domain in domains.values():
            domain.sample.clear()
        if tokenizer:
            shutil.copyfile(tokenizer, folder / "tokenizer.json")
        else:
            model.save(str(folder / "tokenizer.json"))
        end = find_eos(model, eos_token, tokenizer or folder / "tokenizer.json")
        vocabulary = max(model.get_vocab().values()) + 1
        encoder = Encoder(model, end, text_key)
        manifest: dict[str, Any] = {
            "tokenizer": {
                "name": _tokenizer_name(tokenizer) if tokenizer else f"byte-level-bpe-{vocabulary}",
                "sha256": sha256(folder / "tokenizer.json"),
                "vocabulary": vocabulary,
                "eos": encoder.eos,
                "eos_token": end,
                "file": "tokenizer.json",
            },
            "dtype": token_dtype(vocabulary),
            "settings": settings,
            "versions": {"proxymix": __version__, "tokenizers": version("tokenizers")},
            "inputs": {
                _relative(path): sha256(path) for found in files.values() for paths in found.values() for path in paths
            },
            **write_shards(folder, domains, encoder, shard_tokens, token_dtype(vocabulary)),
        }
        write_json(folder / "manifest.json", manifest)
    _say_counts(manifest)


@dataclass
class SurveyedDomain:
    """What one reading of a domain told: its files, how much there is, where to split, and a sample for the tokenizer."""

    files: dict[str, list[Path]]  # split -> files; valid is empty where train is to be split
    documents: int = 0
    bytes: int = 0
    empty: int = 0
    threshold: int | None = None  # documents of train with a hash up to this one are for validation
    sample: list[str] = field(default_factory=list)

    def texts(self, split: str, text_key: str) -> Iterator[str]:
        """The documents of a split, those without text left out."""
        for file in self.files[split] or self.files["train"]:
            for text in read_documents(file, text_key):
                if text and (self.threshold is None or (document_hash(text) <= self.threshold) == (split == "valid")):
                    yield text


def survey(
    files: dict[str, Files], text_key: str, valid_fraction: float, sample_bytes: float
) -> dict[str, SurveyedDomain]:
    """Read the corpus once, so that every fault in it shows before the work begins.

    Args:
        files: Split -> domain -> files.
        text_key: The key that holds a document's text.
        valid_fraction: Share of the bytes for validation, in domains that have no validation files.
        sample_bytes: Text wanted for training a tokenizer, over all domains.

    Returns:
        Domain -> what was found. The samples are the documents with the smallest hashes, so they depend on neither the
        files' order nor a seed, and each domain gives the same bytes where it has them.
    """
    domains = {
        name: SurveyedDomain({"train": paths, "valid": files["valid"].get(name, [])})
        for name, paths in files["train"].items()
    }
    total = sum(path.stat().st_size for domain in domains.values() for paths in domain.files.values() for path in paths)
    with progress("read the corpus", total / MEGABYTE, "MB") as bar:
        for name, domain in domains.items():
            _survey_domain(name, domain, text_key, valid_fraction, sample_bytes / len(domains), bar)
    return domains


def _survey_domain(
    name: str, domain: SurveyedDomain, text_key: str, valid_fraction: float, sample_bytes: float, bar: Bar
) -> None:
    hashes, sizes = [], []
    sample = SmallestHashes(sample_bytes)
    must_split = not domain.files["valid"]
    for split, paths in domain.files.items():
        found = 0
        for path in paths:
            for text in read_documents(path, text_key):
                if not text:
                    domain.empty += 1
                    continue
                found += 1
                size = len(text.encode("utf-8"))
                domain.bytes += size
                if split == "train" and (must_split or sample_bytes):
                    key = document_hash(text)
                    sample.offer(key, size, text)
                    if must_split:
                        hashes.append(key)
                        sizes.append(size)
            bar.advance(path.stat().st_size / MEGABYTE)
        if paths and not found:
            raise InputError(f"{paths[0]}: every document of {name} in {split} is empty; add text or remove the domain")
        domain.documents += found
    if must_split:
        try:
            domain.threshold = split_threshold(np.array(hashes, dtype=np.uint64), np.array(sizes), valid_fraction)
        except ValueError:
            raise InputError(
                f"{domain.files['train'][0]}: {name} has no validation file, and its one document cannot be split; "
                f"add valid/{name}.jsonl or more documents"
            ) from None
        say(
            f"{name}: no valid/{name}.*, so {valid_fraction:.1%} of its training text (by document hash) is set aside for validation"
        )
    domain.sample = sample.texts()


class SmallestHashes:
    """The documents with the smallest hashes, as many as fit in a number of bytes (one at least)."""

    def __init__(self, max_bytes: float) -> None:
        self.max_bytes, self.bytes = max_bytes, 0
        self._heap: list[tuple[int, int, str]] = []

    def offer(self, key: int, size: int, text: str) -> None:
        """Keep the document if its hash is among the smallest."""
        if self.max_bytes <= 0:
            return
        heapq.heappush(self._heap, (-key, size, text))
        self.bytes += size
        while self.bytes > self.max_bytes and len(self._heap) > 1:
            self.bytes -= heapq.heappop(self._heap)[1]

    def texts(self) -> list[str]:
        """The documents kept, by hash."""
        return [text for _, _, text in sorted(self._heap, reverse=True)]


def train_tokenizer(texts: list[str], vocab_size: int) -> "Tokenizer":
    """A byte-level BPE (GPT-2's kind), so that every text comes back from its tokens unchanged.

    Args:
        texts: What to learn from.
        vocab_size: Entries wanted; a small corpus gives fewer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT[0]],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    with progress(f"train a tokenizer of {vocab_size:,} on {sum(map(len, texts)) / MEGABYTE:.1f} MB", 1) as bar:
        tokenizer.train_from_iterator(texts, trainer)
        bar.advance()
    if tokenizer.get_vocab_size() < vocab_size:
        say(
            f"the corpus has pairs for {tokenizer.get_vocab_size():,} entries only, fewer than the vocab_size of {vocab_size:,}"
        )
    return tokenizer


def load_tokenizer(path: Path, eos_token: str | None) -> "Tokenizer":
    """A tokenizer.json with a token to end documents.

    Raises:
        InputError: If the file is not one, or no end-of-text token is found in it.
    """
    from tokenizers import Tokenizer

    read_json(path)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the binding raises bare Exception
        raise InputError(f"{path}: not a tokenizer.json of the `tokenizers` library: {error}") from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    find_eos(tokenizer, eos_token, path)
    if drops_characters(tokenizer):
        raise InputError(
            f"{path}: this BPE has no entry for some bytes or characters and no unknown token, so it would drop them without a "
            "word; use a tokenizer with all 256 bytes or with byte_fallback"
        )
    return tokenizer


def is_byte_level(description: dict[str, Any]) -> bool:
    """Whether a tokenizer (its JSON) works on bytes and leaves the text as it is, so that decoding gives the text back."""
    splitter = json.dumps(description["pre_tokenizer"])
    return (
        '"ByteLevel"' in splitter
        and '"add_prefix_space": true' not in splitter
        and '"ByteLevel"' in json.dumps(description["decoder"])
        and description["normalizer"] is None
    )


def drops_characters(tokenizer: "Tokenizer") -> bool:
    """Whether a BPE leaves out what it has no entry for, which is what one without an unknown token does."""
    from tokenizers import pre_tokenizers

    description = json.loads(tokenizer.to_str())
    model = description["model"]
    if model["type"] != "BPE" or model["unk_token"] is not None or model["byte_fallback"]:
        return False
    on_bytes = '"ByteLevel"' in json.dumps([description["pre_tokenizer"], description["normalizer"]])
    return not on_bytes or not set(pre_tokenizers.ByteLevel.alphabet()) <= set(model["vocab"])


def find_eos(tokenizer: "Tokenizer", eos_token: str | None, path: Path) -> str:
    """The token that ends a document: the one asked for, or the first usual one there is.

    Raises:
        InputError: If there is none; the message lists the special tokens there are.
    """
    candidates = (eos_token,) if eos_token else END_OF_TEXT
    found = next((token for token in candidates if tokenizer.token_to_id(token) is not None), None)
    if found is None:
        special = [token.content for token in tokenizer.get_added_tokens_decoder().values()][:12]
        wanted = f"no token {eos_token!r}" if eos_token else f"none of {', '.join(END_OF_TEXT)}"
        raise InputError(
            f"{path}: {wanted}; name the end-of-text token with eos_token (there are {', '.join(special) or 'no special tokens'})"
        )
    return found


class Encoder:
    """Documents -> arrays of ids that end with the end-of-text token, checked against the text as they come."""

    def __init__(self, tokenizer: "Tokenizer", end: str, text_key: str) -> None:
        self.tokenizer, self.text_key = tokenizer, text_key
        eos = tokenizer.token_to_id(end)
        assert eos is not None, "find_eos returned it"
        self.eos = eos
        tokenizer.encode_special_tokens = True  # "<|endoftext|>" written in a document is text and ends nothing
        description = json.loads(tokenizer.to_str())
        self.lossless = is_byte_level(description)
        self.unknown = None if self.lossless else tokenizer.token_to_id(description["model"].get("unk_token") or "")
        self.num_unknown = 0

    def __call__(self, texts: list[str], where: str) -> list[np.ndarray]:
        """The ids of each text.

        Raises:
            StageError: If a text holds the end-of-text token inside, or does not come back from its tokens.
        """
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        documents = [np.array([*encoding.ids, self.eos], dtype=np.int64) for encoding in encodings]
        for text, document in zip(texts, documents, strict=True):
            if np.count_nonzero(document == self.eos) != 1:
                raise InputError(
                    f"{where}: the text {text[:40]!r}... holds the end-of-text token {self.tokenizer.id_to_token(self.eos)!r} itself; "
                    "choose another eos_token"
                )
        if self.lossless and self.tokenizer.decode(documents[0][:-1].tolist(), skip_special_tokens=False) != texts[0]:
            raise StageError(
                f"{where}: the tokens of {texts[0][:40]!r}... do not decode to the text; use another tokenizer"
            )
        if self.unknown is not None:
            self.num_unknown += sum(int(np.count_nonzero(document == self.unknown)) for document in documents)
        return documents


def write_shards(
    folder: Path, domains: dict[str, SurveyedDomain], encode: Encoder, shard_tokens: int, dtype: str
) -> dict[str, dict[str, Any]]:
    """Write every domain's shards below `folder`.

    Returns:
        Split -> domain -> its entry in the manifest.

    Raises:
        StageError: If the files do not hold as many tokens and documents as were encoded.
    """
    entries: dict[str, dict[str, Any]] = {"train": {}, "valid": {}}
    with progress("tokenise", sum(domain.bytes for domain in domains.values()) / MEGABYTE, "MB") as bar:
        for split, name, domain in ((split, name, domain) for split in entries for name, domain in domains.items()):
            tokens, documents = 0, 0
            with ShardWriter(folder, split, name, dtype, shard_tokens) as writer:
                for batch, sizes in _batches(domain.texts(split, encode.text_key)):
                    for ids, size in zip(encode(batch, f"{split}/{name}"), sizes, strict=True):
                        writer.write(ids, size)
                        tokens += len(ids)
                    documents += len(batch)
                    bar.advance(sum(sizes) / MEGABYTE)
            counts = {of: sum(getattr(shard, of) for shard in writer.shards) for of in ("tokens", "documents", "bytes")}
            written = sum(_tokens_in(folder / shard.path, dtype) for shard in writer.shards)
            if (counts["tokens"], counts["documents"], written) != (tokens, documents, tokens):
                raise StageError(
                    f"{split}/{name}: {tokens:,} tokens in {documents:,} documents were encoded, but {written:,} tokens in "
                    f"{counts['documents']:,} documents were written; is the disk full?"
                )
            sources = [_relative(path) for path in domain.files[split] or domain.files["train"]]
            entries[split][name] = {**counts, "source": sources, "shards": [asdict(shard) for shard in writer.shards]}
    num_written = sum(entry["documents"] for found in entries.values() for entry in found.values())
    num_read = sum(domain.documents for domain in domains.values())
    if num_written != num_read:
        raise StageError(
            f"{num_read:,} documents were read and {num_written:,} written; did the corpus change meanwhile? Run again"
        )
    if encode.num_unknown:
        say(f"{encode.num_unknown:,} tokens are the tokenizer's unknown token; a byte-level tokenizer loses nothing")
    empty = sum(domain.empty for domain in domains.values())
    if empty:
        say(f"{empty:,} documents have no text at all and were left out")
    return entries


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


def _relative(path: Path) -> str:
    """CORPUS/train/web_0.jsonl -> train/web_0.jsonl."""
    return f"{path.parent.name}/{path.name}"


def _tokenizer_name(path: Path) -> str:
    """gpt2/tokenizer.json -> gpt2, my.json -> my."""
    return path.parent.name if path.stem == "tokenizer" and path.parent.name else path.stem


def _say_counts(manifest: dict[str, Any]) -> None:
    train, valid = manifest["train"], manifest["valid"]
    total = sum(entry["tokens"] for entry in train.values())
    width = max(map(len, train), default=0)
    for name, entry in train.items():
        say(
            f"  {name:<{width}} {entry['tokens']:>14,} tokens to train on ({entry['tokens'] / total:6.2%}), "
            f"{valid[name]['tokens']:>11,} to validate on, {len(entry['source'])} file{'s' * (len(entry['source']) > 1)}"
        )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(tokenize)
