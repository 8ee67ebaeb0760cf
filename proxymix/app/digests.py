"""Files and folders -> hashes of what they hold. Hashes of large files are kept, so that asking again costs nothing."""

import hashlib
import json
from pathlib import Path

from proxymix.files import sha256, write_json

SMALL_BYTES = 1 << 20
"""A file smaller than this is hashed each time: that is faster than looking up its hash."""


class Digests:
    """Hashes of what is on disk.

    Args:
        kept: The JSON file that keeps the hashes of large files, by their size and time of change.
    """

    def __init__(self, kept: Path) -> None:
        self._kept = kept

    def digest(self, path: Path) -> str | None:
        """What a file or folder holds, as a hash; None when it is not there.

        A folder with a manifest.json is what its manifest says, which holds the hashes of the folder's files. In other
        folders every file counts, except for those that hold clocks.
        """
        if path.is_dir():
            if (path / "manifest.json").exists():
                return self.digest(path / "manifest.json")
            files = sorted(p for p in path.rglob("*") if p.is_file() and not _holds_clocks(p.relative_to(path)))
            lines = [f"{file.relative_to(path).as_posix()} {self.digest(file)}\n" for file in files]
            return hashlib.sha256("".join(lines).encode()).hexdigest()
        if not path.exists():
            return None
        return sha256(path) if path.stat().st_size < SMALL_BYTES else self._digest_large(path)

    def _digest_large(self, path: Path) -> str:
        status = path.stat()
        key, stamp = str(path.resolve()), [status.st_size, status.st_mtime_ns]
        try:
            kept = json.loads(self._kept.read_text())
        except (OSError, ValueError):
            kept = {}
        if kept.get(key, [None])[0] != stamp:
            kept[key] = [stamp, sha256(path)]
            write_json(self._kept, kept)
        return str(kept[key][1])


def _holds_clocks(relative: Path) -> bool:
    """Whether a file is one that differs from run to run: wandb's logs, checkpoints, and what begins with a dot."""
    return any(part.startswith(".") or part in ("wandb", "checkpoint") for part in relative.parts)
