"""A corpus folder in RegMix's layout -> its domains' files, and a file -> its documents.

    CORPUS/train/<domain>_0.jsonl, <domain>_1.jsonl.gz, ...     CORPUS/valid/<domain>.jsonl

A file is .jsonl, .jsonl.gz, .jsonl.zst or .parquet; a document is the `text` of a line or row.
"""

import gzip
import io
import json
import re
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from proxymix.errors import InputError
from proxymix.files import read_json
from proxymix.progress import say
from proxymix.schemas import check_domain_name

EXTENSIONS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
LAYOUT = "train/<domain>_0.jsonl and valid/<domain>.jsonl (or .jsonl.gz, .jsonl.zst, .parquet)"

MEGABYTE = 1e6

Files = dict[str, list[Path]]  # domain -> its files


def corpus_files(corpus: Path) -> dict[str, Files]:
    """The files of every domain: {"train": {domain: [files]}, "valid": {domain: [files]}}, in order of name.

    Every domain of valid is in train. A domain that is only in train is split later (see `splitting.py`).

    Raises:
        InputError: If the folder is not laid out so, or a domain is in valid and not in train.
    """
    corpus = Path(corpus)
    if not corpus.is_dir():
        raise InputError(f"{corpus}: no such folder; a corpus is a folder with {LAYOUT}")
    if not (corpus / "train").is_dir():
        found = ", ".join(sorted(p.name + "/" * p.is_dir() for p in corpus.iterdir())[:8]) or "nothing"
        raise InputError(f"{corpus}: no folder 'train' (found {found}); lay the corpus out as {LAYOUT}")
    files = {split: _by_stem(corpus / split) for split in ("train", "valid")}
    if not files["train"]:
        raise InputError(f"{corpus}/train: no corpus file; lay the corpus out as {LAYOUT}")
    names = {split: domain_names(list(files["train"]), list(files["valid"]), split) for split in files}
    found_files: dict[str, Files] = {split: {} for split in files}
    for split, stems in files.items():
        for stem in sorted(stems, key=lambda stem: (names[split][stem], _number(stem))):
            found_files[split].setdefault(names[split][stem], []).extend(stems[stem])
    for domain in found_files["train"]:
        check_domain_name(domain, f"{corpus}/train")
    unknown = sorted(set(found_files["valid"]) - set(found_files["train"]))
    if unknown:
        raise InputError(
            f"{found_files['valid'][unknown[0]][0]}: the domain {unknown[0]!r} is in valid and not in train "
            f"(train has {', '.join(found_files['train'])}); add train/{unknown[0]}_0.jsonl or remove the file"
        )
    return found_files


def domain_names(train: Collection[str], valid: Collection[str], split: str) -> dict[str, str]:
    """The domain that each file of a split belongs to, by the files' names without extension.

    `web_0` is the first part of `web`, but `gutenberg_pg_19` may be a domain of its own. RegMix's layout decides: a
    validation file has the name of its domain, a training file has that name or the name and a number. So a validation
    name is a domain if training files have it, with a number or without; other numbers are those of parts.

    Args:
        train: Names of the training files.
        valid: Names of the validation files.
        split: The split whose files are asked about.

    Raises:
        InputError: If some numbered names are in both splits and some in one, so that there are two readings.
    """
    bases = {_base(name) for name in train}  # domains that have numbered training files
    domains = {name for name in valid if name in train or name in bases}
    for name in sorted(domains & set(train) - bases):
        siblings = {other for other in train if _base(other) == _base(name) is not None and other not in bases}
        if not siblings <= set(valid):
            odd = sorted(siblings - set(valid), key=_number)[0]
            raise InputError(
                f"train/{odd} and valid/{name}: is {odd!r} a domain without validation, or a part of the domain {_base(name)!r}? "
                f"Name validation files as the domain, and training files as the domain and a number: {LAYOUT}"
            )

    def domain_of(name: str) -> str:
        base = _base(name)
        if name in domains or base is None:
            return name
        if split == "valid":
            return base if base in bases or base in train else name
        return name if name in bases else base

    return {name: domain_of(name) for name in (train if split == "train" else valid)}


def read_documents(file: Path, text_key: str = "text") -> Iterator[str]:
    """The documents of a file, one at a time.

    Raises:
        InputError: If the file is empty, truncated or damaged, or a line holds no text; the message names the line.
    """
    file = Path(file)
    if not file.is_file():
        raise InputError(f"{file}: no such file")
    if file.stat().st_size == 0:
        raise InputError(f"{file}: the file is empty; remove it or write it again")
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


def check_fraction(name: str, value: float) -> None:
    """Raise InputError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise InputError(f"{name} is {value:g}; a number between 0 and 1 (both excluded) is wanted")


def check_replaceable(out: Path, key: str) -> None:
    """Refuse to replace a folder of somebody else's: `out` is absent, empty, or has a manifest.json with `key` in it.

    Raises:
        InputError: If it is a file or holds other things.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / "manifest.json").is_file() or key not in read_json(out / "manifest.json"):
        raise InputError(
            f"{out}: exists and is not from an earlier run of this command; choose another folder or remove it"
        )


def _by_stem(folder: Path) -> dict[str, list[Path]]:
    """Corpus files by their names without extension. Other files are reported and not read."""
    stems: dict[str, list[Path]] = {}
    if not folder.is_dir():
        return stems
    for path in sorted(folder.iterdir()):
        extension = next((e for e in EXTENSIONS if path.name.endswith(e)), None)
        if path.name.startswith("."):
            continue
        if extension is None or not path.is_file():
            say(f"{path}: not read, because corpus files are named {', '.join('*' + e for e in EXTENSIONS)}")
            continue
        stems.setdefault(path.name.removesuffix(extension), []).append(path)
    return stems


def _base(name: str) -> str | None:
    """web_12 -> web; None where no number ends the name."""
    match = re.fullmatch(r"(.+)_\d+", name)
    return match[1] if match else None


def _number(name: str) -> tuple[int, str]:
    """Sorts web_2 before web_10."""
    match = re.search(r"_(\d+)$", name)
    return (int(match[1]) if match else -1, name)


def _jsonl_texts(file: Path, key: str) -> Iterator[tuple[str, object]]:
    number = 0
    try:
        with _open_lines(file) as lines:
            for number, line in enumerate(lines, start=1):
                if line.isspace():
                    continue
                try:
                    value = json.loads(line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line)
                except UnicodeDecodeError as error:
                    raise InputError(f"{file}:{number}: not UTF-8 text (byte {error.start} of the line)") from None
                except (json.JSONDecodeError, RecursionError) as error:
                    cause = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply"
                    hint = "" if line.endswith(b"\n") else " (the last line: the file may be cut short)"
                    raise InputError(f"{file}:{number}: not JSON: {cause}{hint}") from None
                if not isinstance(value, dict) or key not in value:
                    found = (
                        f"the keys {', '.join(map(str, value))}"
                        if isinstance(value, dict)
                        else f"a {type(value).__name__}"
                    )
                    raise InputError(f"{file}:{number}: an object with the key {key!r} is wanted, found {found}")
                yield f"{file}:{number}", value[key]
    except (
        EOFError,
        OSError,
        zlib.error,
    ) as error:  # gzip.BadGzipFile and Arrow's "Truncated compressed stream" are OSErrors
        raise InputError(
            f"{file}: truncated or damaged after line {number:,} ({error}); write or download it again"
        ) from None


def _open_lines(file: Path) -> BinaryIO:
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
                for text in batch.column(0).to_pylist():
                    row += 1
                    yield f"{file}: row {row}", text
    except (OSError, pyarrow.ArrowInvalid) as error:
        cause = str(error).splitlines()[0]
        raise InputError(
            f"{file}: truncated or damaged after row {row:,} ({cause}); write or download it again"
        ) from None
