"""Bytes -> files that appear whole or not at all, and files -> values with errors that say where.

Every file of a study is written through `replacing` (write, fsync, rename), so a kill -9 at any moment leaves
either the old file or the new one.
"""

import hashlib
import itertools
import json
import math
import os
import platform
import re
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from proxymix.errors import InputError
from proxymix.yaml_text import parse_yaml

TEMPORARY = re.compile(r"\..*\.(?P<machine>[0-9a-f]{8})-(?P<process>\d+)-\d+\.tmp", re.DOTALL)
_NUMBERS = itertools.count(1)
_LEFT: dict[Path, int] = {}
"""Folder -> the time of its last change, by this process."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which becomes `path` when the block ends without an error.

    The block may write a file or fill a folder. The temporary name holds the process, so that no two meet in one, and the
    next process that writes in the folder removes what a killed one left behind. Where `path` is a link to a folder, or to
    nothing yet, the link stays and what it leads to is replaced; a link to a file is replaced by a file.
    """
    path = Path(path)
    if path.is_symlink() and not path.is_file():
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name[:150]}.{this_machine()}-{os.getpid()}-{next(_NUMBERS)}.tmp"
    clean_up(path)
    _remove_litter(path.parent)
    try:
        yield temporary
        if temporary.is_dir():
            _replace_folder(path, temporary)
        else:
            _fsync(temporary)
            temporary.replace(path)
        _fsync(path.parent)
    except BaseException:
        clean_up(path)
        remove(temporary)
        raise
    _LEFT[path.parent] = path.parent.stat().st_mtime_ns


def clean_up(path: Path) -> None:
    """Remove what an attempt to replace `path` left behind; where it had set the old folder aside, bring that back."""
    aside = path.parent / f".{path.name}.old"
    if aside.exists() and not path.exists():
        aside.replace(path)
    remove(aside)
    remove(path.parent / f".{path.name}.tmp")  # of an older version


@cache
def this_machine() -> str:
    """What tells apart machines, and containers, whose process numbers are their own."""
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return hashlib.sha256(f"{platform.node()} {space}".encode()).hexdigest()[:8]


def _remove_litter(folder: Path) -> None:
    """Remove what processes of this machine that are no more were writing in a folder.

    A folder that nobody else has changed since this process last wrote in it is not looked at.
    """
    if _LEFT.get(folder) == folder.stat().st_mtime_ns:
        return
    with os.scandir(folder) as entries:
        found = [(entry.path, match) for entry in entries if (match := TEMPORARY.fullmatch(entry.name))]
    for path, match in found:
        if match["machine"] == this_machine() and not is_alive(int(match["process"])):
            with suppress(OSError):  # another process removes it too
                remove(Path(path))


def is_alive(process: int) -> bool:
    """Whether a process of this machine, by its number, has not ended."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _replace_folder(path: Path, temporary: Path) -> None:
    """Put a finished folder in the place of `path`: set the old one aside, move the new one in, delete the old one.

    No system call exchanges two folders everywhere. A kill between two steps leaves the old folder whole under its name
    or aside, or the new one in place, and `clean_up` does the rest.
    """
    with ThreadPoolExecutor(32) as pool:  # 512 files one after another take a second
        list(pool.map(_fsync, [file for file in temporary.rglob("*") if file.is_file()]))
    if not path.is_dir():
        temporary.replace(path)
        return
    aside = path.parent / f".{path.name}.old"
    path.replace(aside)
    temporary.replace(path)
    aside.replace(temporary)  # a half-deleted folder must not be called .old, or clean_up could bring it back
    shutil.rmtree(temporary)


def cache_folder() -> Path:
    """Where what was found out about this machine is kept for this user: $XDG_CACHE_HOME/proxymix, or ~/.cache/proxymix."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "proxymix"


def remove(path: Path) -> None:
    """Delete a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with its keys in the order given."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Any) -> None:
    """Write `value` as YAML with its keys in the order given; floats keep full precision."""
    write_text(path, yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120))


def read_text(path: Path) -> str:
    """The file's text (a byte-order mark is dropped).

    Raises:
        InputError: If there is no such file, it is a device that never ends, or it is not UTF-8.
    """
    try:
        kind = Path(path).stat().st_mode
        if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
            raise InputError(f"{path}: is a device, and a file is wanted here")
        return Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, and a file is wanted here") from None
    except NotADirectoryError:
        raise InputError(f"{path}: no such file; what its path calls a folder is a file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text (byte {error.start}: {error.object[error.start]:#x})") from None


def parse_json(text: str | bytes) -> Any:
    """`json.loads` that takes no key twice.

    Raises:
        ValueError: If it is not JSON (then a json.JSONDecodeError), or a number has hundreds of digits, or a key is there
            twice.
        RecursionError: If it is nested too deeply.
    """
    return json.loads(text, object_pairs_hook=_distinct_keys, parse_int=_whole_number)


def _whole_number(digits: str) -> int:
    if not math.isfinite(float(digits)):
        raise ValueError(f"{digits[:20]}... ({len(digits)} digits) is no number to calculate with")
    return int(digits)


def _distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} is written twice")
    return found


def json_value(text: str, where: str) -> Any:
    """The value of a JSON text, which `where` names: a file, or a line of one.

    Raises:
        InputError: If it is not JSON (with the line, where there are several), or not what `parse_json` reads.
    """
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        line = f":{error.lineno}" if "\n" in text else ""
        raise InputError(f"{where}{line}: not JSON: {error.msg} (column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: not JSON that can be read: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        InputError: If the file is missing, or is not such an object (with the line where it is not JSON).
    """
    value = json_value(read_text(path), str(path))
    if not isinstance(value, dict):
        raise InputError(f"{path}: a JSON object is wanted, found a {type(value).__name__}")
    return value


def read_yaml(path: Path, as_written: bool = False) -> dict[str, Any]:
    """The YAML mapping in a file. Its keys are text as written; `as_written`, its values too: '010' for 010, 'no' for no.

    Raises:
        InputError: If the file is missing, is not YAML (with the line), or holds something else than a mapping.
    """
    value = parse_yaml(read_text(path), str(path), as_written)
    if not isinstance(value, dict):
        raise InputError(f"{path}: a mapping of keys to values is wanted, found {value!r:.60}")
    return value


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
