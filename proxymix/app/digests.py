"""Files and folders -> hashes of what they hold. Hashes of large files are kept, so that asking again costs little."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from proxymix.errors import InputError
from proxymix.files import sha256, write_json
from proxymix.schemas import Shard, TokensManifest, read_tokens_manifest

SMALL_BYTES = 1 << 20
"""A file smaller than this is hashed each time: that is faster than looking up its hash."""


class Digests:
    """Hashes of what is on disk.

    Args:
        kept: The JSON file that keeps the hashes of large files, by their size, time of change and a sample of their bytes.
            With None every file is read whole.
    """

    def __init__(self, kept: Path | None) -> None:
        self._kept = kept

    def digest(self, path: Path) -> str | None:
        """What a file or folder holds, as a hash; None when it is not there, or is a folder without files.

        A folder of token shards is what its manifest says, as long as its files are what the manifest says. In other folders
        every file counts, behind links too, except for those that hold clocks.
        """
        if not path.is_dir():
            return self._digest_file(path) if path.exists() else None
        if self._is_sound_tokens(path):
            return sha256(path / "manifest.json")
        lines = [f"{name} {digest}\n" for name, digest in self._all_files(path).items()]
        return hashlib.sha256("".join(lines).encode()).hexdigest() if lines else None

    def files(self, path: Path) -> dict[str, str]:
        """The hash of every file that counts: path in the folder -> hash; of sound token shards their manifest alone."""
        if not path.is_dir():
            return {".": self._digest_file(path)} if path.exists() else {}
        if self._is_sound_tokens(path):
            return {"manifest.json": sha256(path / "manifest.json")}
        return self._all_files(path)

    def _all_files(self, folder: Path) -> dict[str, str]:
        names = [name for name in sorted(_files(folder)) if not _holds_clocks(name)]
        return {
            os.fsencode(name.as_posix()).decode(errors="replace"): self._digest_entry(folder / name) for name in names
        }

    def _digest_entry(self, path: Path) -> str:
        """The hash of a file in a folder. A link that leads nowhere is where it leads."""
        return self._digest_file(path) if path.is_file() else hashlib.sha256(os.fsencode(path.readlink())).hexdigest()

    def _digest_file(self, path: Path) -> str:
        if path.stat().st_size < SMALL_BYTES:
            return sha256(path)
        return self._found(path, _appearance(path), lambda: sha256(path))

    def _is_sound_tokens(self, tokens: Path) -> bool:
        """Whether this is a folder of token shards, and holds what its manifest says."""
        from data_preparation.tokens.verification import tokenizer_faults

        manifest = tokens_manifest(tokens)
        if manifest is None or any(tokenizer_faults(tokens, manifest)):
            return False
        for shard in (shard for domains in manifest.splits.values() for found in domains.values() for shard in found):
            path = tokens / shard.path
            index = path.with_name(path.name + ".index")
            if not path.is_file() or not index.is_file():
                return False
            stamp = [shard.sha256, _appearance(path), _appearance(index)]
            if self._found(path, stamp, partial(_first_fault, tokens, shard, manifest)):
                return False
        return True

    def _found(self, path: Path, stamp: Any, find: Callable[[], str]) -> str:
        """What is kept of a file that looks as it did (its stamp); otherwise it is found, and kept."""
        if self._kept is None:
            return find()
        kept, key = _read_kept(self._kept), str(path.resolve())
        entry = kept.get(key)
        if isinstance(entry, list) and len(entry) == 2 and entry[0] == stamp and isinstance(entry[1], str):
            return entry[1]
        kept[key] = [stamp, found := find()]
        with contextlib.suppress(OSError, ValueError):  # what cannot be kept is found again next time
            write_json(self._kept, kept)
        return found


def _read_kept(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda word: None)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _appearance(path: Path) -> dict[str, Any]:
    from data_preparation.tokens.verified_once import appearance

    return appearance(path)


def _first_fault(tokens: Path, shard: Shard, manifest: TokensManifest) -> str:
    from data_preparation.tokens.verification import shard_faults

    return next(shard_faults(tokens, shard, manifest), "")


def tokens_manifest(folder: Path) -> TokensManifest | None:
    """The manifest of a folder of token shards; None for every other folder, also one with a manifest.json of its own."""
    try:
        manifest = read_tokens_manifest(folder) if (folder / "manifest.json").is_file() else None
    except InputError:
        return None
    return manifest if manifest is not None and any(manifest.splits.values()) else None


def _files(folder: Path, inside: tuple[str, ...] = (), relative: Path = Path()) -> Iterator[Path]:
    """All files below a folder, relative to it. Linked folders are entered, but never from within themselves."""
    here = os.path.realpath(folder)
    if here in inside:
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path, (*inside, here), relative / path.name)
        elif path.is_file() or (path.is_symlink() and not path.exists()):  # no pipes, no devices
            yield relative / path.name


def _holds_clocks(relative: Path) -> bool:
    """Whether a file is one that differs from run to run: wandb's logs, checkpoints, and what begins with a dot."""
    return any(part.startswith(".") or part in ("wandb", "checkpoint") for part in relative.parts)
