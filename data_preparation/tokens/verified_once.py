"""Token shards -> certainty, before they are read, that they are what their manifest says.

Hashing terabytes before every sweep takes too long. So all shards of a folder are hashed once on each machine, which this
user's cache remembers. After that a shard is hashed again only where its size or its time of change is another, or where a
sample of its bytes is.
"""

import contextlib
import hashlib
import json
import platform
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from data_preparation.tokens.shards import map_shard
from proxymix.errors import InputError
from proxymix.files import cache_folder, parse_json, sha256, write_text
from proxymix.progress import progress
from proxymix.schemas import Shard, TokensManifest

SAMPLES, SAMPLE_BYTES = 256, 4096
"""Windows of a shard that are looked at each time, at equal distances; a shard of up to a megabyte is read whole."""
HASHING_THREADS = 4


def verify_once(tokens: Path, manifest: TokensManifest) -> None:
    """Stop unless every shard is what the manifest says.

    Raises:
        InputError: If a shard is missing, has another length, or holds other bytes; the message names the first.
    """
    shards = [shard for domains in manifest.splits.values() for found in domains.values() for shard in found]
    for shard in shards:
        map_shard(tokens, shard, manifest.dtype)
    record = _record_path(tokens, shards)
    known = _read(record).get("shards", {})
    seen = {shard.path: appearance(tokens / shard.path) for shard in shards}
    changed = [shard for shard in shards if known.get(shard.path) != seen[shard.path]]
    if not changed:
        return
    total = sum(seen[shard.path]["bytes"] for shard in changed)
    with progress("verify the tokens", total / 1e6, "MB") as bar, ThreadPoolExecutor(HASHING_THREADS) as pool:
        for shard, found in zip(changed, pool.map(lambda shard: sha256(tokens / shard.path), changed), strict=True):
            if found != shard.sha256:
                pool.shutdown(wait=False, cancel_futures=True)
                raise InputError(
                    f"{tokens / shard.path}: changed since it was written (its SHA-256 is not the manifest's), so it is not "
                    "used; `proxymix check` lists all that is wrong, `proxymix tokenize` (with --study in a study) writes it again"
                )
            bar.advance(seen[shard.path]["bytes"] / 1e6)
    with contextlib.suppress(OSError):  # without a cache, all is hashed again next time
        write_text(record, json.dumps({"folder": str(tokens.resolve()), "shards": seen}))
        _forget_removed_folders(record.parent)


def _record_path(tokens: Path, shards: Iterable[Shard]) -> Path:
    """Where this machine remembers that these shards, in this folder, were verified."""
    identity = [platform.node(), str(tokens.resolve()), *(f"{shard.path} {shard.sha256}" for shard in shards)]
    return cache_folder() / "verified" / f"{hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:32]}.json"


def _read(record: Path) -> dict[str, Any]:
    try:
        content = parse_json(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    is_sound = (
        isinstance(content, dict) and isinstance(content.get("folder"), str) and isinstance(content.get("shards"), dict)
    )
    return content if is_sound else {}


def _forget_removed_folders(records: Path) -> None:
    """Remove what is remembered of folders that are no longer there."""
    for record in records.glob("*.json"):
        if not Path(_read(record).get("folder", "")).is_dir():
            record.unlink(missing_ok=True)


def appearance(path: Path) -> dict[str, Any]:
    """A file's size, its time of change, and a hash of windows at equal distances, the first and the last bytes among them."""
    status = path.stat()
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for number in range(SAMPLES):
            if status.st_size > SAMPLES * SAMPLE_BYTES:
                file.seek(number * (status.st_size - SAMPLE_BYTES) // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return {"bytes": status.st_size, "changed_ns": status.st_mtime_ns, "sample": digest.hexdigest()}
