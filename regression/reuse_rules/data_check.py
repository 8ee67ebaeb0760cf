"""Two folders of token shards -> whether tokenizer and unchanged domains are the same in both."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from proxymix.errors import InputError
from proxymix.schemas import Shard, read_tokens_manifest


def check_data(old: Path | None, new: Path | None, unchanged: Sequence[str]) -> str:
    """What is known about the tokenizer and the data of unchanged domains, in a sentence.

    Raises:
        InputError: If the token manifests say that they differ.
    """
    held = [folder is not None and (Path(folder) / "manifest.json").exists() for folder in (old, new)]
    if old is None or new is None or not all(held):
        sources = (("of the old domains", "--old_tokens", old), ("of the new domains", "--tokens", new))
        lacking = [
            f"{which} {f'in {folder}' if folder is not None else f'({flag} is not given)'}"
            for (which, flag, folder), there in zip(sources, held, strict=True)
            if not there
        ]
        return (
            f"Not checked: whether tokenizer and unchanged data are the same, since there is no token manifest "
            f"{' and none '.join(lacking)}. If they changed, old losses mislead."
        )
    before, after = read_tokens_manifest(old), read_tokens_manifest(new)
    if before.tokenizer.get("sha256") != after.tokenizer.get("sha256"):
        raise InputError(
            f"{new}/manifest.json: the tokenizer is another one (sha256 {after.tokenizer.get('sha256')}) than in {old} "
            f"({before.tokenizer.get('sha256')}), so old losses are in other units; tokenize the new domains with the old one"
        )
    for split in ("train", "valid"):
        for domain in unchanged:
            for folder, manifest in ((old, before), (new, after)):
                if domain not in manifest.splits[split] and split == "train":
                    raise InputError(f"{folder}/manifest.json: no domain {domain!r}, which is said to be unchanged")
            if not all(domain in manifest.splits[split] for manifest in (before, after)):
                continue
            hashes = [_shards_sha256(manifest.splits[split][domain]) for manifest in (before, after)]
            if hashes[0] != hashes[1]:
                raise InputError(
                    f"{new}/manifest.json: {split}/{domain} is said to be unchanged and holds other tokens (sha256 "
                    f"{hashes[1]}) than in {old} ({hashes[0]}); name it in both --drop and --add, or bring back the old data"
                )
    return f"Checked: the tokenizer and the tokens of {len(unchanged)} unchanged domains are the same (SHA-256)."


def _shards_sha256(shards: Iterable[Shard]) -> str:
    """One hash for a domain's shards: the hash of the only one, else the hash of their hashes in order."""
    hashes = [shard.sha256 for shard in shards]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("\n".join(hashes).encode()).hexdigest()
