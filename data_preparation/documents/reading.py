"""A corpus file -> its documents. What cannot be read is named with its cause and a remedy that fits it."""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proxymix.errors import InputError
from proxymix.files import parse_json

AGAIN = "write or download it again"
CONTENTS = (
    (b"\x1f\x8b", "gzip data", "end its name in .jsonl.gz"),
    (b"\x28\xb5\x2f\xfd", "zstd data", "end its name in .jsonl.zst"),
    (b"PAR1", "a Parquet file", "end its name in .parquet"),
    (b"BZh", "bzip2 data", "unpack it"),
    (b"\xfd7zXZ", "xz data", "unpack it"),
    (b"PK\x03\x04", "a zip archive", "unpack it"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (b"\xff\xfe", "UTF-16 text", "write it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text", "write it as UTF-8"),
    (b"version https://git-lfs", "a pointer of Git LFS and not the file", "fetch the file with `git lfs pull`"),
    (b"<!DOCTYPE", "a web page", "download the file itself"),
    (b"<html", "a web page", "download the file itself"),
)
"""How a file's content begins -> what it is, and what to do where its name says something else."""
OF_NAME = {".gz": "gzip data", ".zst": "zstd data", ".parquet": "a Parquet file"}


def read_documents(file: Path, text_key: str = "text") -> Iterator[str]:
    """The documents of a file, one at a time.

    Raises:
        InputError: If the file is empty, truncated, damaged or of another kind, or a line holds no text; the message
            names the line.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    if file.stat().st_size == 0:
        raise InputError(f"{file}: the file is empty; remove it or write it again")
    _check_content(file)
    texts = _parquet_texts(file, text_key) if file.name.endswith(".parquet") else _jsonl_texts(file, text_key)
    number = 0
    for number, (where, text) in enumerate(texts, start=1):  # noqa: B007
        if not isinstance(text, str):
            raise InputError(f"{where}: {text_key!r} is {text!r:.40}; a string is wanted")
        if not text.isascii():
            try:
                text.encode("utf-8")
            except UnicodeEncodeError as error:
                raise InputError(
                    f"{where}: character {error.start} of {text_key!r} is {text[error.start]!r}, half of a surrogate pair, "
                    "which is no text; repair the line"
                ) from None
        yield text
    if number == 0:
        raise InputError(f"{file}: no documents in it; remove it or write it again")


def _check_content(file: Path) -> None:
    """Raise InputError if a file's first bytes are those of another kind of file than its name says."""
    try:
        with file.open("rb") as opened:
            start = opened.read(32)
    except OSError as error:
        raise _unreadable(file, error) from None
    found, remedy = _content(start)
    wanted = OF_NAME.get(file.suffix)
    if found and found != wanted:
        raise InputError(f"{file}: holds {found}, though its name does not say so; {remedy}")
    if wanted and not found and start.lstrip()[:1] in (b"{", b"["):
        raise InputError(f"{file}: holds plain text and not {wanted}; end its name in .jsonl")


def _content(start: bytes) -> tuple[str, str]:
    """What a file holds by its first bytes, and what to do about it; empty where these tell nothing."""
    return next(((what, remedy) for begin, what, remedy in CONTENTS if start.startswith(begin)), ("", ""))


def _unreadable(file: Path, error: OSError) -> InputError:
    """The message for a file that the system cannot open or read."""
    return InputError(
        f"{file}: cannot be read ({error.strerror or error}); check the file, its permissions and its disk"
    )


def _jsonl_texts(file: Path, key: str) -> Iterator[tuple[str, object]]:
    number = 0
    try:
        with _open_lines(file) as lines:
            found, remedy = _content(lines.peek(32))
            if found:
                raise InputError(
                    f"{file}: unpacked, it holds {found} and not lines of JSON; unpack it once, or {remedy}"
                )
            for number, line in enumerate(lines, start=1):
                if not line.isspace():
                    yield f"{file}:{number}", _value_of(line, key, file, number)
    except (EOFError, OSError, ValueError, zlib.error) as error:
        raise error if isinstance(error, InputError) else _damage(file, f"line {number:,}", error) from None


def _value_of(line: bytes, key: str, file: Path, number: int) -> object:
    """What a line's JSON object has under `key`."""
    try:
        value = parse_json(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
    except UnicodeDecodeError as error:
        raise InputError(f"{file}:{number}: not UTF-8 text (byte {error.start} of the line)") from None
    except json.JSONDecodeError as error:
        hint = "" if line.endswith(b"\n") else " (the last line: the file may be cut short)"
        if number == 1 and line.strip() in (b"[", b"{"):
            hint = " (the file is one JSON value over several lines; write each document as an object on a line of its own)"
        raise InputError(f"{file}:{number}: not JSON: {error.msg}{hint}") from None
    except RecursionError:
        raise InputError(f"{file}:{number}: not JSON: nested too deeply") from None
    except ValueError as error:  # a number of more digits than Python reads, or a key that is there twice
        raise InputError(f"{file}:{number}: not JSON that can be read: {error}; repair the line") from None
    if not isinstance(value, dict) or key not in value:
        found = f"the keys {', '.join(map(str, value))}" if isinstance(value, dict) else f"a {type(value).__name__}"
        raise InputError(f"{file}:{number}: an object with the key {key!r} is wanted, found {found}")
    return value[key]


def _open_lines(file: Path) -> io.BufferedReader:
    if file.name.endswith(".gz"):
        return io.BufferedReader(gzip.open(file, "rb"))
    if file.name.endswith(".zst"):
        import pyarrow

        return io.BufferedReader(pyarrow.input_stream(str(file), compression="zstd"))
    return file.open("rb")


def _parquet_texts(file: Path, key: str) -> Iterator[tuple[str, object]]:
    import pyarrow
    import pyarrow.parquet

    row = 0
    try:
        with pyarrow.parquet.ParquetFile(file) as table:
            columns = table.schema_arrow.names
            if key not in columns:
                raise InputError(f"{file}: no column {key!r}; found {', '.join(columns) or 'none'}")
            for batch in table.iter_batches(batch_size=256, columns=[key]):
                for value in batch.column(0):
                    row += 1
                    try:
                        text = value.as_py()
                    except UnicodeDecodeError as error:
                        raise InputError(f"{file}: row {row:,}: not UTF-8 text (byte {error.start})") from None
                    yield f"{file}: row {row}", text
    except (OSError, ValueError, KeyError, NotImplementedError, pyarrow.ArrowException) as error:
        raise error if isinstance(error, InputError) else _damage(file, f"row {row:,}", error) from None


def _damage(file: Path, where: str, error: Any) -> InputError:
    """What is wrong with a file that a library cannot read on after `where`, and what helps.

    Libraries tell their limits by the same exceptions as damage, so the words decide.
    """
    if isinstance(error, OSError) and error.errno is not None:
        return _unreadable(file, error)
    cause = (str(error) or type(error).__name__).splitlines()[0]
    words = cause.lower()
    if "too much memory" in words or "window" in words:
        remedy = f"it was compressed with a long window: compress it again without --long and --ultra (`zstd -dc --long=31 {file.name} | zstd -o NEW.jsonl.zst`)"
    elif "encrypt" in words or "decrypt" in words:
        remedy = "it is encrypted: write it without encryption"
    elif (
        isinstance(error, NotImplementedError) or "codec" in words or "not built" in words or "not implemented" in words
    ):
        remedy = "pyarrow here does not support this: write the file with compression='zstd' and plain columns"
    else:
        return InputError(f"{file}: truncated or damaged after {where} ({cause}); {AGAIN}")
    return InputError(f"{file}: cannot be read after {where} ({cause}); {remedy}")
