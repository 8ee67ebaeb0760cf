"""This machine's Python installation and packages -> files of text, each with the domain it belongs to."""

import os
import re
import stat
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from proxymix.progress import say

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
"""Domain -> what its files are. Short texts that others quote come first, because of two copies the later is dropped."""
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


@dataclass(frozen=True)
class Source:
    """A file to harvest."""

    path: Path
    origin: str  # the name it goes by in the corpus
    bytes: int
    domain: str


def dependencies(name: str) -> dict[str, str]:
    """The installed packages that a package depends on, directly or not: name -> version, without the package itself.

    CUDA libraries are left out, so that the CPU and the GPU build of torch give almost the same corpus.
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
    """The files of the Python installation, without its site-packages."""
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
