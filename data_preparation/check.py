"""Token shards -> whether they are what their manifest says.

python data_preparation/check.py --tokens studies/mine/tokens
"""

import json as json_module
from pathlib import Path

from data_preparation.tokens.verification import shard_faults, tokenizer_faults
from proxymix.errors import StageError
from proxymix.messages import aligned
from proxymix.progress import progress, say
from proxymix.schemas import read_tokens_manifest

HEADER = ("split/domain", "shards", "documents", "tokens", "bytes per token", "")


CURE = "run `proxymix tokenize` again"


def check(tokens: Path, json: bool = False) -> None:
    """Verify every shard: size, SHA-256, ids within the vocabulary, document ends, and the end-of-text token there.

    Args:
        tokens: Folder of token shards, with its manifest.json. For a study's folder every file of the study is checked.
        json: Print the faults as JSON (a list of file, fault and cure) instead of a table.

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
                rows.append((f"{split}/{name}", *numbers, "DAMAGED" if found else "ok"))
                bar.advance(counts["tokens"] / 1e6)
    if json:
        parts = [fault.partition(": ") for fault in faults]
        print(json_module.dumps([{"file": file, "fault": what, "cure": CURE} for file, _, what in parts], indent=2))
    else:
        print(aligned(rows))
    if faults:
        raise StageError("\n".join([*faults, f"{tokens}: {len(faults)} faults; {CURE}"]))
    say(f"{tokens}: {total:,} tokens are what the manifest says")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(check)
