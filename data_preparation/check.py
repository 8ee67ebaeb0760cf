"""Token shards -> whether they are what their manifest says.

python data_preparation/check.py --tokens studies/mine/tokens
"""

from collections.abc import Sequence
from pathlib import Path

from data_preparation.tokens.verification import shard_faults, tokenizer_faults
from proxymix.errors import StageError
from proxymix.progress import progress
from proxymix.schemas import read_tokens_manifest

HEADER = ("split", "domain", "shards", "documents", "tokens", "bytes per token", "")


def check(tokens: Path) -> None:
    """Verify every shard: size, SHA-256, ids within the vocabulary, document ends, and the end-of-text token there.

    Args:
        tokens: Folder of token shards, with its manifest.json.

    Raises:
        StageError: If something is wrong; all faults are listed.
    """
    manifest = read_tokens_manifest(tokens)
    faults = list(tokenizer_faults(tokens, manifest))
    rows = [HEADER]
    total = sum(manifest.total(split, name, "tokens") for split in manifest.splits for name in manifest.domains(split))
    with progress("check", total / 1e6, "million tokens") as bar:
        for split, domains in manifest.splits.items():
            for name, shards in domains.items():
                found = [fault for shard in shards for fault in shard_faults(tokens, shard, manifest)]
                faults += found
                counts = {of: manifest.total(split, name, of) for of in ("documents", "tokens", "bytes")}
                ratio = f"{counts['bytes'] / max(counts['tokens'], 1):.2f}"
                numbers = (f"{len(shards):,}", f"{counts['documents']:,}", f"{counts['tokens']:,}", ratio)
                rows.append((split, name, *numbers, "DAMAGED" if found else "ok"))
                bar.advance(counts["tokens"] / 1e6)
    _print_table(rows)
    if faults:
        raise StageError("\n".join([*faults, f"{tokens}: {len(faults)} faults; run `proxymix tokenize` again"]))


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    """Names to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.rjust(width) if 2 <= column < 6 else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(check)
