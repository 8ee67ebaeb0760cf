"""This machine's Python installation and packages -> a corpus of real text in domains of their own kinds.

python data_preparation/harvest.py --out studies/mine/corpus
"""

import ast
import hashlib
import inspect
import json
import os
import platform
import re
import stat
import sysconfig
import warnings
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from data_preparation.documents.corpus import check_fraction, check_replaceable, document_hash, split_threshold
from data_preparation.documents.near_duplicates import SeenText
from proxymix import __version__
from proxymix.errors import InputError
from proxymix.files import replacing, sha256, write_json, write_text
from proxymix.progress import progress, say

MEGABYTE = 1e6
MIN_DOCUMENT_BYTES = 200
DOCUMENT_LENGTH = 16_000  # a longer text becomes several documents
TURN_LENGTH = 32_000  # what a file gives before it waits for all others to have had their turn
MIN_DOMAIN_BYTES = 50_000

# Domain -> what its files are. Short texts that others quote come first, since a duplicate is dropped where it comes later.
DOMAINS = {
    "licences": "licence texts",
    "language_reference": "the Python language reference of pydoc",
    "package_descriptions": "README and changelog files, and the descriptions of packages (Markdown, reStructuredText)",
    "docstrings": "the documentation inside Python source, taken out of it",
    "python_source": "Python source without its docstrings",
    "python_tests": "Python test suites",
    "type_stubs": "Python type stubs",
    "cython": "Cython source and declarations",
    "c_and_cpp": "C, C++ and CUDA headers and source",
    "web_markup": "HTML, CSS, JavaScript, XML and SVG",
    "structured_data": "JSON, YAML, TOML and Protocol Buffers",
    "number_tables": "CSV and other tables of measurements",
    "decimal_arithmetic": "test vectors of decimal arithmetic",
}
BY_EXTENSION = {
    ".py": "python_source",
    ".pyi": "type_stubs",
    **dict.fromkeys((".pyx", ".pxd", ".pxi", ".tp"), "cython"),
    **dict.fromkeys((".h", ".hpp", ".hh", ".cuh", ".c", ".cc", ".cpp", ".cxx", ".cu"), "c_and_cpp"),
    **dict.fromkeys((".md", ".rst"), "package_descriptions"),
    **dict.fromkeys((".html", ".htm", ".css", ".js", ".xml", ".xsl", ".svg"), "web_markup"),
    **dict.fromkeys((".json", ".yaml", ".yml", ".toml", ".proto"), "structured_data"),
    **dict.fromkeys((".csv", ".tsv", ".dat", ".arff"), "number_tables"),
    ".dectest": "decimal_arithmetic",
}


def harvest(
    out: Path,
    megabytes: float = 26.0,
    minimum_megabytes: float = 1.0,
    valid_fraction: float = 0.1,
) -> None:
    """Gather real text of distinct kinds from the Python installation and from the packages that proxymix depends on.

    The same environment gives the same corpus, byte for byte, whatever else is installed beside it. Kinds of text that
    are not there (some installations ship no tests) make smaller domains or none.

    Args:
        out: Folder to write: train/<domain>_0.jsonl, valid/<domain>.jsonl and manifest.json.
        megabytes: Text to gather in all, shared among the domains by how much there is of each.
        minimum_megabytes: What the rarer kinds of text keep nonetheless, where they have it.
        valid_fraction: Share of each domain's bytes for validation, chosen by document hash.
    """
    check_fraction("valid_fraction", valid_fraction)
    if not 0 < minimum_megabytes <= megabytes:
        raise InputError(
            f"minimum_megabytes is {minimum_megabytes:g}; a number above 0 and up to megabytes ({megabytes:g}) is wanted"
        )
    check_replaceable(out, "domains")
    distributions = dependencies("proxymix")
    sources: dict[str, list[Source]] = {domain: [] for domain in DOMAINS}
    for source in [*standard_library(), *(source for name in distributions for source in package_files(name))]:
        sources[source.domain].append(source)
    available = {domain: sum(source.bytes for source in found) for domain, found in sources.items() if found}
    targets = shares(available, megabytes * MEGABYTE, minimum_megabytes * MEGABYTE)
    gathered = gather(sources, targets)
    if not gathered:
        raise InputError(
            "no text to harvest: this Python installation holds none; give a corpus of your own (corpus.path)"
        )
    with replacing(out) as folder:
        manifest: dict[str, Any] = {
            "settings": {
                "megabytes": megabytes,
                "minimum_megabytes": minimum_megabytes,
                "valid_fraction": valid_fraction,
            },
            "versions": {"proxymix": __version__, "python": platform.python_version(), **distributions},
            "domains": {},
        }
        for domain, found in gathered.items():
            manifest["domains"][domain] = {
                "content": DOMAINS[domain],
                **write_domain(folder, domain, found, valid_fraction),
            }
        write_json(folder / "manifest.json", manifest)
    _say_table(manifest)


@dataclass(frozen=True)
class Source:
    """A file to harvest: where it lies, the name it goes by in the corpus, its size and its domain."""

    path: Path
    origin: str
    bytes: int
    domain: str


@dataclass
class Gathered:
    """The documents of a domain, by hash, with the file each came from, and what was left out."""

    documents: dict[int, tuple[str, str]] = field(default_factory=dict)  # hash -> text, origin
    bytes: int = 0
    files: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


def dependencies(name: str) -> dict[str, str]:
    """What a package depends on, directly or not, as far as installed: name -> version, without itself.

    CUDA libraries are left out, so that a CPU and a GPU build of torch give like corpora.
    """
    from packaging.requirements import Requirement

    found: dict[str, str] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    waiting = [(name, frozenset[str]())]
    while waiting:
        package, extras = waiting.pop()
        if (package, extras) in done or package.startswith(("nvidia-", "cuda-")):
            continue
        done.add((package, extras))
        try:
            distribution = metadata.distribution(package)
        except metadata.PackageNotFoundError:
            continue
        found[package] = distribution.version
        for requirement in map(Requirement, distribution.requires or ()):
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                child = re.sub(r"[-_.]+", "-", requirement.name).lower()
                waiting.append((child, frozenset(requirement.extras)))
    return {package: found[package] for package in sorted(found) if package != name}


def standard_library() -> Iterator[Source]:
    """The files of the Python installation, its site-packages apart."""
    root = sysconfig.get_path("stdlib")
    for folder, folders, names in os.walk(root):
        # config-* and _sysconfigdata hold this machine's own paths
        folders[:] = [
            f for f in folders if not f.startswith(("site-packages", "dist-packages", "config-", "__pycache__"))
        ]
        relative = Path(folder).relative_to(root).as_posix()
        for name in names:
            if not name.startswith("_sysconfigdata"):
                yield from _sources(Path(folder), name, f"python/{relative}/{name}".replace("/./", "/"))


def package_files(name: str) -> Iterator[Source]:
    """The files that an installed package lists as its own."""
    distribution = metadata.distribution(name)
    files = distribution.files
    if files is None:
        say(f"{name}: its installation lists no files, so none are harvested")
    root = Path(str(distribution.locate_file("")))
    for file in map(str, files or ()):
        if not file.startswith((".", "/")):  # ../../bin/...
            yield from _sources(root, file, file.replace(os.sep, "/"))


def _sources(root: Path, name: str, origin: str) -> Iterator[Source]:
    domain = classify(origin)
    if domain:
        path = root / name
        try:
            status = path.lstat()
        except OSError:  # listed and no longer there
            return
        if stat.S_ISREG(status.st_mode):
            yield Source(path, origin, status.st_size, domain)


def classify(origin: str) -> str | None:
    """The domain of a file, by its name alone; None for what is not harvested.

    >>> classify("numpy/linalg/tests/test_linalg.py"), classify("scipy-1.0.dist-info/METADATA"), classify("a/b.so")
    ('python_tests', 'package_descriptions', None)
    """
    *folders, name = origin.lower().split("/")
    stem, dot, extension = name.rpartition(".")
    extension = dot + extension if stem else ""
    if re.match(r"licen[cs]e|copying|notice|copyright", name) and extension not in BY_EXTENSION.keys() - {
        ".md",
        ".rst",
    }:
        return "licences"
    if folders and folders[0].endswith(".dist-info"):
        return "package_descriptions" if name == "metadata" else None
    if origin.endswith("pydoc_data/topics.py"):
        return "language_reference"
    domain = BY_EXTENSION.get(extension)
    is_test = name.startswith("test_") or not {"test", "tests", "testing"}.isdisjoint(folders)
    return "python_tests" if domain == "python_source" and is_test else domain


def shares(available: dict[str, int], total: float, minimum: float) -> dict[str, float]:
    """Bytes to take of each kind: one fraction of what there is, but no less than `minimum` where there is that much.

    Args:
        available: Bytes there are.
        total: Bytes wanted in all; everything is taken where there is less.
        minimum: Bytes a kind keeps.

    Returns:
        Bytes to take, with the fraction chosen so that they sum to `total` (or to as little as the minimum allows).
    """

    def taken(fraction: float) -> dict[str, float]:
        return {kind: min(size, max(minimum, fraction * size)) for kind, size in available.items()}

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(taken(middle).values()) < total else (low, middle)
    return taken(high)


def gather(sources: dict[str, list[Source]], targets: dict[str, float]) -> dict[str, Gathered]:
    """Read files until each domain has the bytes it is to have, leaving out duplicates.

    Files are taken in the order of a hash of their names, so every package has its chance and no listing order matters:
    first the beginning of each (32 kB), then, as far as the domain still wants text, the next 32 kB of each, and so on.
    Python source gives two domains at once, code and docstrings.
    """
    gathered = {domain: Gathered() for domain in DOMAINS}
    seen = SeenText()
    with progress("harvest text", sum(targets.values()) / MEGABYTE, "MB") as bar:
        for domain, target in targets.items():
            fed = [gathered[d] for d in (("python_source", "docstrings") if domain == "python_source" else (domain,))]
            queue = deque((0, source) for source in sorted(sources[domain], key=_name_hash))
            have = 0
            while queue and have < target:
                turn, source = queue.popleft()
                text = read_source(source.path)
                if text is None:
                    gathered[domain].left_out["not text"] += 1
                    continue
                documents = documents_in(source, text)
                for kind, its_turn, document in documents:
                    if its_turn == turn:
                        _take(gathered[kind], document, source.origin, seen)
                if any(its_turn > turn for _, its_turn, _ in documents):
                    queue.append((turn + 1, source))
                before, have = have, sum(found.bytes for found in fed)
                bar.advance((have - before) / MEGABYTE)
            bar.advance(max(target - have, 0) / MEGABYTE)
    return {domain: found for domain, found in gathered.items() if _worth_having(domain, found)}


def _name_hash(source: Source) -> bytes:
    return hashlib.sha256(source.origin.encode("utf-8", "surrogateescape")).digest()


def _take(gathered: Gathered, text: str, origin: str, seen: SeenText) -> None:
    size = len(text.encode("utf-8"))
    verdict = "short" if size < MIN_DOCUMENT_BYTES else seen.judge(text)
    if verdict != "new":
        gathered.left_out[verdict] += 1
        return
    gathered.documents[document_hash(text)] = (text, origin)
    gathered.bytes += size


def _worth_having(domain: str, found: Gathered) -> bool:
    if found.bytes >= MIN_DOMAIN_BYTES and len(found.documents) >= 2:
        return True
    say(f"{domain}: left out, since this installation has {found.bytes:,} bytes of it ({DOMAINS[domain]})")
    return False


def read_source(path: Path) -> str | None:
    """A file's text with plain line ends; None if it is not UTF-8 text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (UnicodeDecodeError, OSError):
        return None
    return None if "\0" in text else text.replace("\r\n", "\n").replace("\r", "\n")


def documents_in(source: Source, text: str) -> list[tuple[str, int, str]]:
    """The documents that a file holds, as (domain, the turn at which it gives it, text)."""
    texts = [(source.domain, [text])]
    if source.domain == "python_source":
        code, docstrings = split_docstrings(text)
        texts = [("python_source", [code]), ("docstrings", [docstrings])]
    elif source.domain == "language_reference":
        texts = [(source.domain, [section for topic in pydoc_topics(text) for section in sections(topic)])]
    elif source.domain == "package_descriptions":
        texts = [(source.domain, sections(text.partition("\n\n")[2] if source.path.name == "METADATA" else text))]
    elif source.domain == "c_and_cpp" and "Generated by Cython" in text[:200]:
        texts = []
    documents = []
    for domain, long_texts in texts:
        length = 0
        for document in (part for long_text in long_texts for part in parts(long_text)):
            documents.append((domain, length // TURN_LENGTH, document))
            length += len(document)
    return documents


def split_docstrings(text: str) -> tuple[str, str]:
    """Python source -> (the code without its docstrings, the docstrings in order). Code that does not parse stays whole."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes in others' code
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return text, ""
    lines = text.split("\n")  # not splitlines: a form feed ends no line of Python's
    docstrings, removed = list[tuple[int, str]](), set[int]()
    blocks: list[Any] = [tree]
    while blocks:
        node = blocks.pop()
        for name in ("body", "orelse", "finalbody", "handlers", "cases"):
            inner = getattr(node, name, ())
            blocks.extend(inner if isinstance(inner, list) else ())
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
            continue
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
            docstrings.append((first.lineno, inspect.cleandoc(first.value.value)))
            end = first.end_lineno or first.lineno
            if not lines[first.lineno - 1][: first.col_offset].strip() and lines[end - 1].rstrip().endswith(("'", '"')):
                removed.update(range(first.lineno - 1, end))
    code = "\n".join(line for number, line in enumerate(lines) if number not in removed)
    return code, "\n\n".join(text for _, text in sorted(docstrings) if text)


def pydoc_topics(text: str) -> list[str]:
    """The values of the `topics` dictionary in pydoc_data/topics.py."""
    for node in ast.parse(text).body:
        value = getattr(node, "value", None)
        if isinstance(value, ast.Dict):
            return [str(topic) for topic in ast.literal_eval(value).values()]
    return []


def sections(text: str) -> list[str]:
    """Markdown or reStructuredText cut before its headings, short sections joined to the next."""
    pieces = re.split(r"\n(?=#{1,3} \S)|\n(?=[^\n]{3,}\n(?:={3,}|-{3,}|\*{3,}|~{3,})\n)", text)
    joined, current = [], ""
    for piece in pieces:
        current = f"{current}\n{piece}" if current else piece
        if len(current) >= 2000:
            joined.append(current)
            current = ""
    return [*joined, current] if current else joined


def parts(text: str) -> list[str]:
    """A text in pieces of whole lines, each the shortest of 16,000 characters or more; the last may be short."""
    text = text.strip("\n")
    if len(text) <= DOCUMENT_LENGTH:
        return [text]
    found, current, size = [], list[str](), 0
    for line in text.splitlines(keepends=True):
        current.append(line)
        size += len(line)
        if size >= DOCUMENT_LENGTH:
            found.append("".join(current).strip("\n"))
            current, size = [], 0
    return [*found, "".join(current).strip("\n")] if current else found


def write_domain(folder: Path, domain: str, gathered: Gathered, valid_fraction: float) -> dict[str, Any]:
    """Write a domain's two files, documents in the order of their hashes, and return its entry in the manifest."""
    hashes = np.array(sorted(gathered.documents), dtype=np.uint64)
    sizes = np.array([len(gathered.documents[int(key)][0].encode("utf-8")) for key in hashes])
    threshold = split_threshold(hashes, sizes, valid_fraction)
    is_valid = hashes <= np.uint64(threshold)
    entry: dict[str, Any] = {}
    for split, path, rows in (
        ("train", f"train/{domain}_0.jsonl", ~is_valid),
        ("valid", f"valid/{domain}.jsonl", is_valid),
    ):
        documents = [gathered.documents[int(key)] for key in hashes[rows]]
        lines = [json.dumps({"text": text, "source": origin}, ensure_ascii=False) + "\n" for text, origin in documents]
        write_text(folder / path, "".join(lines))
        entry[split] = {
            "path": path,
            "documents": len(lines),
            "bytes": int(sizes[rows].sum()),
            "sha256": sha256(folder / path),
        }
    return {**entry, "left_out": dict(sorted(gathered.left_out.items()))}


def _say_table(manifest: dict[str, Any]) -> None:
    domains = manifest["domains"]
    total = sum(entry["train"]["bytes"] for entry in domains.values())
    width = max(map(len, domains))
    for domain, entry in sorted(domains.items(), key=lambda item: -item[1]["train"]["bytes"]):
        say(
            f"  {domain:<{width}} {entry['train']['bytes'] / MEGABYTE:7.2f} MB to train on ({entry['train']['bytes'] / total:5.1%}), "
            f"{entry['valid']['bytes'] / MEGABYTE:5.2f} MB to validate on, {entry['train']['documents']:,} documents: {entry['content']}"
        )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(harvest)
