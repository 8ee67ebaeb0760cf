"""A corpus of documents -> token shards and their manifest.

python data_preparation/tokenization.py --input corpus --out studies/mine/tokens
"""

import os
import shlex
import shutil
from importlib.metadata import version
from pathlib import Path

from data_preparation.documents.corpus import MEGABYTE, check_fraction, check_replaceable, corpus_files
from data_preparation.tokens.shards import token_dtype
from data_preparation.tokens.survey import survey
from data_preparation.tokens.tokenizer import (
    END_OF_TEXT,
    MIN_VOCABULARY,
    Encoder,
    load_tokenizer,
    train_tokenizer,
    vocabulary_of,
)
from data_preparation.tokens.writing import write_shards
from proxymix import __version__
from proxymix.errors import InputError
from proxymix.files import replacing, sha256, write_text
from proxymix.messages import aligned, next_command, some
from proxymix.progress import say
from proxymix.schemas import TokensManifest

MIN_VALID_DOCUMENTS, MIN_VALID_TOKENS = 10, 4096
"""A domain with less to validate on is named. An evaluation reads 4,096 tokens of each domain in the quickstart, and 16,384 by
default."""
OWN_FILES = r"(manifest|tokenizer)\.json|(train|valid)/[^/]+/\d{5,}\.ds(\.index)?"
"""Pattern of the files that are written."""


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
    """Write every document of a corpus as tokens, closed by the end-of-text token. Nothing is dropped or cut.

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

    Raises:
        InputError: If a setting is out of range, or the corpus or the tokenizer has a fault.
        StageError: If the files do not hold what was encoded.
    """
    _check_settings(tokenizer, vocab_size, eos_token, valid_fraction, tokenizer_megabytes, shard_tokens)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    if input.resolve().is_relative_to(out.resolve()):
        raise InputError(f"{out}: the corpus {input} is in there and would be replaced; choose another folder for out")
    check_replaceable(out, OWN_FILES)
    files = corpus_files(input)
    # A given tokenizer is read before the corpus, so that a fault in it shows at once.
    given = load_tokenizer(tokenizer, eos_token) if tokenizer else None
    domains = survey(files, text_key, valid_fraction, 0.0 if tokenizer else tokenizer_megabytes * MEGABYTE)
    with replacing(out) as folder:
        folder.mkdir()
        sample = [text for domain in domains.values() for text in domain.sample]
        encoder = Encoder(
            given or train_tokenizer(sample, vocab_size), eos_token, tokenizer or folder / "tokenizer.json"
        )
        for domain in domains.values():
            domain.sample.clear()
        if tokenizer:
            shutil.copyfile(tokenizer, folder / "tokenizer.json")
        else:
            # Not with its own `save`, whose errors, such as that of a full disk, are of no type.
            write_text(folder / "tokenizer.json", encoder.tokenizer.to_str(pretty=True))
        vocabulary = vocabulary_of(encoder.tokenizer)
        manifest = TokensManifest(
            tokenizer={
                "name": _tokenizer_name(tokenizer) if tokenizer else f"byte-level-bpe-{vocabulary}",
                "sha256": sha256(folder / "tokenizer.json"),
                "vocabulary": vocabulary,
                "eos": encoder.eos,
                "eos_token": encoder.eos_token,
                "file": "tokenizer.json",
            },
            dtype=token_dtype(vocabulary),
            splits=write_shards(folder, domains, encoder, text_key, shard_tokens, token_dtype(vocabulary)),
            sources={s: {d: [*map(_relative, of.sources(s))] for d, of in domains.items()} for s in files},
            settings={
                "vocab_size": None if tokenizer else vocab_size,
                "eos_token": eos_token,
                "valid_fraction": valid_fraction,
                "text_key": text_key,
                "tokenizer_megabytes": None if tokenizer else tokenizer_megabytes,
                "shard_tokens": shard_tokens,
            },
        )
        versions = {"proxymix": __version__, "tokenizers": version("tokenizers")}
        read = [path for found in files.values() for paths in found.values() for path in paths]
        manifest.write(folder, versions, inputs={_relative(path): sha256(path) for path in read})
    _say_counts(manifest)
    say(f"Written: {out} (tokenizer: {manifest.tokenizer['name']}, {vocabulary:,} entries)")
    say(f"Next: {next_command(out, 'count', f'--tokens {shlex.quote(str(out))} --out domains.csv')}")


def _check_settings(
    tokenizer: Path | None,
    vocab_size: int,
    eos_token: str | None,
    valid_fraction: float,
    tokenizer_megabytes: float,
    shard_tokens: int,
) -> None:
    check_fraction("valid_fraction", valid_fraction)
    if tokenizer is None and vocab_size < MIN_VOCABULARY:
        raise InputError(
            f"vocab_size is {vocab_size}; 256 bytes and the end-of-text token need at least {MIN_VOCABULARY}"
        )
    if eos_token is not None and tokenizer is None:
        raise InputError(
            f"eos_token is {eos_token!r}, but no tokenizer is given; one that is trained ends documents with {END_OF_TEXT[0]}"
        )
    if shard_tokens < 1:
        raise InputError(f"shard_tokens is {shard_tokens}; at least 1 is wanted")
    if tokenizer_megabytes <= 0:
        raise InputError(f"tokenizer_megabytes is {tokenizer_megabytes:g}; a number above 0 is wanted")


def _relative(path: Path) -> str:
    """CORPUS/train/web_0.jsonl -> train/web_0.jsonl."""
    return f"{path.parent.name}/{path.name}"


def _tokenizer_name(path: Path) -> str:
    """gpt2/tokenizer.json -> gpt2, my.json -> my."""
    return path.parent.name if path.stem == "tokenizer" and path.parent.name else path.stem


def _say_counts(manifest: TokensManifest) -> None:
    """Say what every domain has, and where it is too little to validate on."""
    total = sum(manifest.total("train", name, "tokens") for name in manifest.domains("train"))
    rows = [("domain", "files", "tokens to train on", "share", "tokens to validate on", "documents", "")]
    small = []
    for name in manifest.domains("train"):
        train, valid = (manifest.total(split, name, "tokens") for split in ("train", "valid"))
        documents = manifest.total("valid", name, "documents")
        if documents < MIN_VALID_DOCUMENTS or valid < MIN_VALID_TOKENS:
            small.append(name)
        files = len(manifest.sources["train"][name])
        rows.append((name, f"{files:,}", f"{train:,}", f"{train / total:.2%}", f"{valid:,}", f"{documents:,}", ""))
    say(aligned(rows))
    if small:
        say(
            f"Little text to validate on: {some(small)} (fewer than {MIN_VALID_DOCUMENTS} documents or {MIN_VALID_TOKENS:,} "
            "tokens). Losses on so little say more about these documents than about the domain; add text to valid/, or raise "
            "valid_fraction"
        )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(tokenize)
