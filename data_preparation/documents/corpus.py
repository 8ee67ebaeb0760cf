"""A corpus folder in RegMix's layout -> its domains' files.

    CORPUS/train/<domain>_0.jsonl, <domain>_1.jsonl.gz, ...     CORPUS/valid/<domain>.jsonl

A file is .jsonl, .jsonl.gz, .jsonl.zst or .parquet; a document is the `text` of a line or row.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from data_preparation.documents.file_names import LAYOUT, domain_names, part_of, presumed_parts
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say_once
from proxymix.schemas import check_domain_name

EXTENSIONS = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".parquet")
OTHER_DATA = re.compile(
    r".+\.(jsonl?|ndjson|parquet|pq|txt|text|csv|tsv|arrow|feather|avro|orc|msgpack|tar|zip|warc|wet|ds|bin|npy)"
    r"(\.(gz|gzip|zst|zstd|bz2|xz|lz4|br|sz|snappy|lzma|zip))?",
    re.IGNORECASE,
)
"""Names of files that hold text or tokens in formats that are not read here."""
BESIDE_DATA = re.compile(
    r"(read.?me|licen[cs]e|copying|notice|changelog|dataset_infos?|state|stats|manifest|metadata|checksums?|sha\d*sums?|md5sums?|_.*)\W.*",
    re.IGNORECASE,
)
"""Names of files that come with data and hold none."""
LEFT_BEHIND = re.compile(r"(^|/)(\.[^/]*\.(tmp|old)([.-][^/]*)?(/|$)|\.DS_Store$|\.nfs)")
"""Temporary files of a killed command, and what systems leave in a folder."""

MEGABYTE = 1e6

Files = dict[str, list[Path]]  # domain -> its files


def corpus_files(corpus: Path) -> dict[str, Files]:
    """The files of every domain: {"train": {domain: [files]}, "valid": {domain: [files]}}, in order of name.

    Every domain of valid is in train. A domain that is only in train is split later (see `splitting.py`).

    Raises:
        InputError: If the folder is not laid out so, a domain is in valid and not in train, a text is there twice, or a
            file cannot be read.
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
    _check_links([*files["train"].values(), *files["valid"].values()])
    try:
        names = dict(zip(files, domain_names(list(files["train"]), list(files["valid"])), strict=True))
    except InputError as error:
        raise InputError(f"{corpus}/{error}") from None
    found_files: dict[str, Files] = {split: {} for split in files}
    for split, stems in files.items():
        for stem in sorted(stems, key=lambda stem: (names[split][stem], _number(stem))):
            found_files[split].setdefault(names[split][stem], []).append(stems[stem])
    _check_domains(corpus, found_files)
    _check_parts(corpus, names, list(files["valid"]))
    return found_files


def check_fraction(name: str, value: float) -> None:
    """Raise InputError unless 0 < value < 1."""
    if not 0 < value < 1:
        raise InputError(f"{name} is {value:g}; a number between 0 and 1 (both excluded) is wanted")


def check_replaceable(out: Path, own_files: str) -> None:
    """Refuse to replace what is not this command's: `out` is absent or empty, or holds its files and nothing else.

    What the files hold does not matter, so that a damaged result can be made again. `own_files` is a pattern of their paths
    relative to the folder.

    Raises:
        InputError: If it is a file or holds other things.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    found = [path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()] if out.is_dir() else []
    left = [name for name in found if not re.search(LEFT_BEHIND, name)]
    foreign = sorted(name for name in left if not re.fullmatch(own_files, name))
    if foreign or not {"manifest.json", "tokenizer.json"} & set(left):
        raise InputError(
            f"{out}: exists and is not from an earlier run of this command (it holds {some(foreign, 3) or 'no manifest.json'}); "
            "choose another folder or remove it"
        )


def _by_stem(folder: Path) -> dict[str, Path]:
    """Corpus files by their names without extension. Files that hold no data are reported and not read.

    Raises:
        InputError: If a file of data cannot be read: it is not there, or has a format that is not known. Then text would
            be lost. Or if two files have one name and two extensions: then it would be read twice.
    """
    stems: dict[str, Path] = {}
    if not folder.is_dir():
        if folder.is_symlink() or folder.exists():
            raise InputError(f"{folder}: not a folder that can be read{_link(folder)}; lay the corpus out as {LAYOUT}")
        return stems
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        extension = next((e for e in EXTENSIONS if path.name.endswith(e)), None)
        if extension is None:
            _pass_over(path)
        elif not path.is_file():
            raise InputError(
                f"{path}: not a file that can be read{_link(path)}; bring it back, or remove it to do without"
            )
        else:
            stem = path.name.removesuffix(extension)
            if stem in stems:
                raise InputError(
                    f"{path} and {stems[stem].name}: one name with two extensions, so the same text would be read twice; "
                    "remove one, or give it another number"
                )
            stems[stem] = path
    return stems


def _pass_over(path: Path) -> None:
    """Report a file that is not read; raise InputError if it holds data."""
    wanted = f"corpus files are named {', '.join('*' + e for e in EXTENSIONS)}"
    if path.is_dir():
        inside = next(
            (p for p in sorted(path.rglob("*")) if p.name.endswith(EXTENSIONS) and not p.name.startswith(".")), None
        )
        if inside is not None:
            raise InputError(
                f"{inside}: corpus files lie in {path.parent} itself; move it there as {path.name}_0.jsonl, or remove it"
            )
    elif not BESIDE_DATA.fullmatch(path.name) and (OTHER_DATA.fullmatch(path.name) or _begins_with_an_object(path)):
        remedy = "convert it, or give it another name if it holds no text"
        if not OTHER_DATA.fullmatch(path.name):  # web_aa or web.jsonl.aa, as `split` names parts
            remedy = f"if each line is an object, call it {path.name.replace('.jsonl', '')}.jsonl"
        if re.search(r"\.(json|ndjson)(\.(gz|zst))?$", path.name):
            remedy = f"if each line is an object, call it {re.sub(r'[.](json|ndjson)', '.jsonl', path.name)}"
        elif path.name.lower().endswith(EXTENSIONS):
            remedy = f"call it {path.name.lower()}"
        raise InputError(f"{path}: {wanted}, and this file would be left out; {remedy}")
    say_once(f"{path}: not read, because {wanted}")


def _begins_with_an_object(path: Path) -> bool:
    """Whether a file begins as a line of JSON does."""
    try:
        with path.open("rb") as file:
            return file.read(2) in (b'{"', b"{ ")
    except OSError:
        return False


def _link(path: Path) -> str:
    return f" (a link to {path.readlink()}, which is not there)" if path.is_symlink() and not path.exists() else ""


def _check_links(files: list[Path]) -> None:
    """Raise InputError if two names lead to one file: the text would be read twice."""
    seen: dict[tuple[int, int], Path] = {}
    for file in files:
        status = file.stat()
        other = seen.setdefault((status.st_dev, status.st_ino), file)
        if other is not file:
            raise InputError(
                f"{file} and {other}: one file under two names (a link), so its text would be read twice; remove one"
            )


def _check_domains(corpus: Path, files: dict[str, Files]) -> None:
    """Raise InputError if a domain has no usable name, or is in valid and not in train."""
    for domain in files["train"]:
        check_domain_name(domain, f"{corpus}/train")
    unknown = sorted(set(files["valid"]) - set(files["train"]))
    if unknown:
        raise InputError(
            f"{files['valid'][unknown[0]][0]}: the domain {unknown[0]!r} is in valid and not in train "
            f"(train has {', '.join(files['train'])}); add train/{unknown[0]}_0.jsonl or remove the file"
        )


def _check_parts(corpus: Path, names: dict[str, dict[str, str]], valid: list[str]) -> None:
    """Say what was taken for parts and which parts are not there; raise InputError if a part is there twice."""
    for split, named in names.items():
        seen: dict[tuple[str, int], str] = {}
        for stem, domain in named.items():
            part = part_of(stem)
            if part and stem != domain and (other := seen.setdefault((domain, part.number), stem)) != stem:
                raise InputError(
                    f"{corpus}/{split}: {other} and {stem} are both part {part.number} of the domain {domain!r}; remove the one "
                    "that is an older copy, or give it another number"
                )
        for domain, missing in _missing_parts(named):
            say_once(
                f"{corpus}/{split}: {domain} is not complete; by the names of its parts, {some(missing)} should be there"
            )
    for domain, stems in presumed_parts(names["train"], valid).items():
        say_once(
            f"{corpus}/train: {some(sorted(stems, key=_number), 3)} are read as parts of one domain, {domain}; name files "
            f"<name>_0.jsonl where each is a domain of its own"
        )


def _missing_parts(named: dict[str, str]) -> Iterator[tuple[str, list[str]]]:
    """Domain -> the names that are wanting among its `web-00000-of-00003`."""
    families: dict[tuple[str, str, str], list[str]] = {}
    for stem, domain in named.items():
        if match := re.fullmatch(r"(.+[-_.])(\d+)([-_]of[-_]\d+)", stem):
            families.setdefault((domain, match[1], match[3]), []).append(match[2])
    for (domain, before, after), numbers in families.items():
        total = int(re.findall(r"\d+", after)[-1])
        first = 0 if total not in map(int, numbers) else 1  # some tools count from 1
        expected = [str(number).zfill(len(numbers[0])) for number in range(first, first + min(total, 100_000))]
        if missing := [f"{before}{number}{after}" for number in expected if number not in set(numbers)]:
            yield domain, missing


def _number(stem: str) -> tuple[int, str]:
    """Sorts web_2 before web_10."""
    part = part_of(stem)
    return (part.number if part else -1, stem)
