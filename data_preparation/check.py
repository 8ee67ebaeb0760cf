"""Token shards -> whether they are what their manifest says.

python data_preparation/check.py --tokens studies/mine/tokens
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data_preparation.tokens.shards import map_shard, read_index
from proxymix.errors import InputError, StageError
from proxymix.files import sha256
from proxymix.progress import progress
from proxymix.schemas import Shard, TokensManifest, read_tokens_manifest

WINDOW = 10_000_000  # tokens looked at together, so that a large shard does not fill the memory


def check(tokens: Path) -> None:
    """Verify every shard: size, SHA-256, ids within the vocabulary, document ends, and the end-of-text token there.

    Args:
        tokens: Folder of token shards, with its manifest.json.
    """
    manifest = read_tokens_manifest(tokens)
    faults = list[str]()
    name, digest = manifest.tokenizer["file"], manifest.tokenizer["sha256"]
    if not (tokens / name).is_file():
        faults.append(f"{tokens / name}: no such file, though manifest.json lists it")
    elif sha256(tokens / name) != digest:
        faults.append(f"{tokens / name}: changed since it was written (its SHA-256 is not the manifest's)")
    rows = [("split", "domain", "shards", "documents", "tokens", "bytes per token", "")]
    total = sum(
        manifest.total(split, domain, "tokens") for split in manifest.splits for domain in manifest.domains(split)
    )
    with progress("check", total / 1e6, "million tokens") as bar:
        for split, domains in manifest.splits.items():
            for domain, shards in domains.items():
                found = [fault for shard in shards for fault in shard_faults(tokens, shard, manifest)]
                faults += found
                num_tokens, documents, num_bytes = (
                    manifest.total(split, domain, of) for of in ("tokens", "documents", "bytes")
                )
                ratio = f"{num_bytes / max(num_tokens, 1):.2f}"
                verdict = "DAMAGED" if found else "ok"
                rows.append((split, domain, f"{len(shards):,}", f"{documents:,}", f"{num_tokens:,}", ratio, verdict))
                bar.advance(num_tokens / 1e6)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(w) if i in (0, 1, 6) else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    if faults:
        raise StageError("\n".join([*faults, f"{tokens}: {len(faults)} faults; run `proxymix tokenize` again"]))


def shard_faults(tokens: Path, shard: Shard, manifest: TokensManifest) -> Iterator[str]:
    """What is wrong with a shard, a sentence each."""
    path = Path(tokens) / shard.path
    try:
        ids = map_shard(tokens, shard, manifest.dtype)
        ends = read_index(path.with_name(path.name + ".index")).astype(np.int64)
    except InputError as error:
        yield str(error)
        return
    if sha256(path) != shard.sha256:
        yield f"{path}: changed since it was written (its SHA-256 is not the manifest's)"
    for start in range(0, len(ids), WINDOW):
        window = ids[start : start + WINDOW]
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


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(check)
