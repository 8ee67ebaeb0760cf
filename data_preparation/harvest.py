"""This machine's Python installation and packages -> a corpus of real text in domains of their own kinds.

python data_preparation/harvest.py --out studies/mine/corpus
"""

import platform
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_preparation.documents.corpus import MEGABYTE, check_fraction, check_replaceable
from data_preparation.documents.gathering import bytes_to_take, gather, write_domain
from data_preparation.documents.installed_files import DOMAINS, Source, dependencies, package_files, standard_library
from proxymix import __version__
from proxymix.errors import InputError
from proxymix.files import replacing, write_json
from proxymix.messages import aligned, next_command
from proxymix.progress import say

OWN_FILES = rf"manifest\.json|train/({'|'.join(DOMAINS)})_0\.jsonl|valid/({'|'.join(DOMAINS)})\.jsonl"
"""Pattern of the files that are written."""


def harvest(
    out: Path,
    megabytes: float = 26.0,
    minimum_megabytes: float = 1.0,
    valid_fraction: float = 0.1,
) -> None:
    """Gather real text of distinct kinds from the Python installation and from the packages that proxymix depends on.

    The same environment gives the same corpus, byte for byte, whatever else is installed beside it. A kind of text that
    an installation lacks (some ship no tests) makes a smaller domain or none.

    Args:
        out: Folder to write: train/<domain>_0.jsonl, valid/<domain>.jsonl and manifest.json.
        megabytes: Text to gather in all, shared among the domains by how much there is of each.
        minimum_megabytes: Text that a rare kind keeps all the same, where there is that much.
        valid_fraction: Share of each domain's bytes for validation, chosen by document hash.

    Raises:
        InputError: If a setting is out of range, or this installation holds no text.
    """
    check_fraction("valid_fraction", valid_fraction)
    if not 0 < minimum_megabytes <= megabytes:
        raise InputError(
            f"minimum_megabytes is {minimum_megabytes:g}; a number above 0 and up to megabytes ({megabytes:g}) is wanted"
        )
    check_replaceable(out, OWN_FILES)
    versions = dependencies("proxymix")
    sources = _sources(versions)
    available = {domain: sum(source.bytes for source in found) for domain, found in sources.items() if found}
    gathered = gather(sources, bytes_to_take(available, megabytes * MEGABYTE, minimum_megabytes * MEGABYTE))
    if not gathered:
        raise InputError(
            "no text to harvest: this Python installation holds none; give a corpus of your own (corpus.path)"
        )
    settings = {"megabytes": megabytes, "minimum_megabytes": minimum_megabytes, "valid_fraction": valid_fraction}
    with replacing(out) as folder:
        manifest: dict[str, Any] = {
            "settings": settings,
            "versions": {"proxymix": __version__, "python": platform.python_version(), **versions},
            "domains": {
                domain: {"content": DOMAINS[domain], **write_domain(folder, domain, found, valid_fraction)}
                for domain, found in gathered.items()
            },
        }
        write_json(folder / "manifest.json", manifest)
    _say_table(manifest["domains"])
    say(f"Written: {out}")
    say(f"Next: {next_command(out, 'tokenize', f'--input {shlex.quote(str(out))} --out tokens')}")


def _sources(packages: Iterable[str]) -> dict[str, list[Source]]:
    """Domain -> its files, in the Python installation and in some packages."""
    sources: dict[str, list[Source]] = {domain: [] for domain in DOMAINS}
    for files in (standard_library(), *map(package_files, packages)):
        for source in files:
            sources[source.domain].append(source)
    return sources


def _say_table(domains: Mapping[str, Any]) -> None:
    total = sum(entry["train"]["bytes"] for entry in domains.values())
    rows = [("domain", "MB to train on", "share", "documents", "MB to validate on", "what it is")]
    for domain, entry in sorted(domains.items(), key=lambda item: -item[1]["train"]["bytes"]):
        train, valid = (entry[split]["bytes"] for split in ("train", "valid"))
        numbers = f"{train / MEGABYTE:.2f}", f"{train / total:.1%}", f"{entry['train']['documents']:,}"
        rows.append((domain, *numbers, f"{valid / MEGABYTE:.2f}", entry["content"]))
    say(aligned(rows))


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(harvest)
