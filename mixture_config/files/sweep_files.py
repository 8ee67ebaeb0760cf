"""A sweep's mixtures in steps of a grid <-> DIR/mixtures/n00001.yaml and so on, and DIR/mixtures.csv.

The table comes last and goes first: while it is there, so is every mixture.
"""

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mixture_config.design.sampler_settings import RECORDED_AS, Design, SamplerSettings
from mixture_config.files.mixture import Mixture, train_column, train_domain, valid_column
from mixture_config.files.mixture_table import MixtureTable
from proxymix.errors import InputError
from proxymix.files import read_text, remove, replacing, write_text
from proxymix.progress import progress
from proxymix.schemas import run_id

_sampler = [RECORDED_AS.get(setting.name, setting.name) for setting in fields(SamplerSettings)]
DOMAINS_HASH = "domains_hash"
"""What a YAML calls the hash of what the sweep was drawn for. Older versions did not write it."""
RECORDED_NUMBERS = tuple(name for name in (*_sampler, "budget", "max_epochs") if name != "design")


@dataclass(frozen=True)
class SweepMixtures:
    """Mixtures to write, and what their YAMLs record.

    Args:
        names: Domain names.
        steps: Weights in steps of 1 / num_steps, shape (num_mixtures, num_domains).
        num_steps: Steps that make a weight of 1.
        settings: What every YAML records after its weights.
        labels: What the YAMLs of the first mixtures record after the settings.
    """

    names: Sequence[str]
    steps: np.ndarray
    num_steps: int
    settings: Mapping[str, Any]
    labels: Sequence[Mapping[str, Any]] = field(default=())

    def part(self, steps: np.ndarray, before: int, size: int) -> "SweepMixtures":
        """The mixtures with which a sweep of these settings grew from `before` (0 for the first ones) to `size`."""
        settings = {**self.settings, "num_mixtures": size}
        if before:
            settings.pop("holdout", None)
            settings["extended_from"] = before
        return replace(self, steps=steps, settings=settings)

    def write(self, out: Path) -> None:
        """Write OUT/mixtures/n00001.yaml and so on in the place of those that are there, then OUT/mixtures.csv."""
        remove(out / "mixtures.csv")
        with (
            replacing(out / "mixtures") as folder,
            progress("write mixtures", total=len(self.steps), unit="files") as bar,
        ):
            folder.mkdir()
            for number, text in enumerate(self.yamls(), start=1):
                (folder / f"{run_id(number)}.yaml").write_bytes(text.encode())
                bar.advance()
        write_text(out / "mixtures.csv", self.header() + self.rows(self.names, 1))

    def append(self, out: Path, first: int) -> None:
        """Write the mixtures beside those of OUT, the first of index `first`, then the longer table."""
        path = out / "mixtures.csv"
        old = read_text(path).removesuffix("\n") + "\n"
        order = [train_domain(column) or "" for column in old.partition("\n")[0].split(",")[1:]]
        with ThreadPoolExecutor(32) as pool:  # one after another, waiting for the disk takes 6 ms a file
            texts = enumerate(self.yamls(), start=first)
            list(pool.map(lambda item: write_text(out / "mixtures" / f"{run_id(item[0])}.yaml", item[1]), texts))
        remove_beyond(out, first + len(self.steps) - 1)
        write_text(path, old + self.rows(order, first))

    def yamls(self) -> Iterator[str]:
        """The text of every mixture's YAML. Composed here, since yaml.safe_dump takes 5 ms a mixture."""
        keys = [f"  {train_column(name)}: " for name in self.names]
        zeros = [f"{key}0.0\n" for key in keys]
        # YAML 1.1 takes 2e-05 for text, and 2.0e-05 for a number.
        numbers = [re.sub(r"^(\d+)e", r"\1.0e", text) + "\n" for text in self._numbers()]
        settings = self.text_of_settings()
        for number, row in enumerate(self.steps):
            lines = zeros.copy()
            weighted = np.flatnonzero(row)
            for domain, step in zip(weighted.tolist(), row[weighted].tolist(), strict=True):
                lines[domain] = keys[domain] + numbers[step]
            label = yaml.safe_dump(dict(self.labels[number]), allow_unicode=True) if number < len(self.labels) else ""
            yield f"train:\n{''.join(lines)}{settings}{label}"

    def text_of_settings(self) -> str:
        """What every YAML holds between its weights and its label."""
        content = {"valid": {valid_column(name): 1.0 for name in self.names}, **self.settings}
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)

    def header(self) -> str:
        """The first line of mixtures.csv."""
        return ",".join(["index", *map(train_column, self.names)]) + "\n"

    def rows(self, order: Sequence[str], first: int) -> str:
        """The lines of mixtures.csv with the domains in this order, the first of index `first`."""
        columns, numbers = [list(self.names).index(name) for name in order], self._numbers()
        rows = enumerate(self.steps[:, columns].tolist(), start=first)
        return "".join(f"{number},{','.join(map(numbers.__getitem__, row))}\n" for number, row in rows)

    def _numbers(self) -> list[str]:
        """Every weight of the grid at full precision: the text of step / num_steps."""
        return [repr(step / self.num_steps) for step in range(self.num_steps + 1)]


@dataclass(frozen=True)
class ExistingSweep:
    """The mixtures of a sweep that grows; their files stay as they are.

    Attributes:
        weights: Shape (num_mixtures, num_domains), in the order of the table of domains.
        held: The held-out ones, shape (any, num_domains).
        settings: What the first mixture's YAML records.
        last: The largest index.
    """

    weights: np.ndarray
    held: np.ndarray
    settings: dict[str, Any]
    last: int

    def __len__(self) -> int:
        return len(self.weights)

    @classmethod
    def read(cls, out: Path, names: Sequence[str]) -> "ExistingSweep":
        """The sweep in a folder.

        Raises:
            InputError: If there is none, it is not one of `proxymix synthesize`, or its domains are others.
        """
        path, held_path = out / "mixtures.csv", out / "holdout" / "mixtures.csv"
        if not path.exists():
            raise InputError(f"{path}: no such file, so there is no sweep to extend; leave out --extend to draw one")
        table = MixtureTable.read(path)
        indices = [key for key in table.index if isinstance(key, int)]
        if len(indices) < len(table.index):
            raise InputError(
                f"{path}: its rows have no whole-number index, so they are not ours; it cannot be extended"
            )
        weights = table.aligned(names, path)
        held = MixtureTable.read(held_path).aligned(names, held_path) if held_path.exists() else weights[:0]
        first = out / "mixtures" / f"{run_id(min(indices))}.yaml"
        if not first.exists():
            raise InputError(
                f"{first}: no such file, so the sweep is not ours and its settings are not known; draw another"
            )
        settings = recorded_settings(first).extra
        if settings.get("design", "dirichlet") not in typing.get_args(Design):
            raise InputError(
                f"{first}: design is {settings['design']!r:.60}, none of {', '.join(typing.get_args(Design))}"
            )
        return cls(weights, held, settings, max(indices))


def sizes_drawn(out: Path, mixtures: SweepMixtures) -> list[int]:
    """The numbers of mixtures to which the sweep in a folder grew, such as [24, 32]; none if it is of other settings.

    The settings of most of its files decide, so that damage to some does not make it another sweep.

    Args:
        out: The sweep's folder.
        mixtures: With the settings in question, and any steps.
    """
    files = _numbered(out)
    recorded = (re.search(r"^num_mixtures: (\d{1,9})$", _text(path), re.M) for path in files.values())
    sizes: list[int] = []
    for size in sorted({int(found[1]) for found in recorded if found}):
        before = sizes[-1] if sizes else 0
        settings = mixtures.part(mixtures.steps, before, size).text_of_settings()
        texts = (_text(path) for index, path in files.items() if before < index <= size)
        same = sum(_as_recorded(settings, text) in text for text in texts)
        if 2 * same >= size - before:
            sizes.append(size)
    return sizes


def is_whole(out: Path, mixtures: SweepMixtures, sizes: Sequence[int]) -> bool:
    """Whether the files of a sweep hold what these settings wrote.

    Args:
        out: The sweep's folder.
        mixtures: The sweep's settings and labels, with the steps of the mixtures that it begins with.
        sizes: The numbers of mixtures to which it grew.
    """
    try:
        steps = _steps_in(out, mixtures)
        held = _steps_in(out / "holdout", mixtures) if mixtures.settings.get("holdout") else steps[:0]
    except InputError:
        return False
    begins_so = np.array_equal(steps[: len(mixtures.steps)], mixtures.steps)
    if len(steps) != sizes[-1] or len(held) != mixtures.settings.get("holdout", 0) or not begins_so:
        return False
    unlabelled = replace(mixtures, labels=())
    parts = [unlabelled.part(steps[start:end], start, end) for start, end in pairwise([0, *sizes])]
    held_out = [replace(parts[0], steps=held)] if len(held) else []
    return _holds(out, [replace(parts[0], labels=mixtures.labels), *parts[1:]]) and _holds(out / "holdout", held_out)


def remove_beyond(out: Path, last: int) -> None:
    """Remove the mixtures of larger numbers than the table's last, which a growth that was killed left in OUT."""
    for index, path in _numbered(out).items():
        if index > last:
            remove(path)


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def _as_recorded(text: str, found: str) -> str:
    """The text as the version that wrote `found` would have written it: without the hash if it has none."""
    return text if DOMAINS_HASH in found else re.sub(rf"^{DOMAINS_HASH}: .*\n", "", text, flags=re.M)


def _numbered(out: Path) -> dict[int, Path]:
    return {int(path.stem[1:]): path for path in (out / "mixtures").glob("n*.yaml") if path.stem[1:].isdecimal()}


def _steps_in(out: Path, mixtures: SweepMixtures) -> np.ndarray:
    """The steps of a folder's table, shape (num_mixtures, num_domains)."""
    path = out / "mixtures.csv"
    return np.rint(MixtureTable.read(path).aligned(mixtures.names, path) * mixtures.num_steps).astype(np.int32)


def _holds(out: Path, parts: Sequence[SweepMixtures]) -> bool:
    """Whether a folder's table and YAMLs are those of these mixtures."""
    if not parts:
        return True
    files, first, table = _numbered(out), 1, parts[0].header()
    for part in parts:
        for number, text in enumerate(part.yamls(), start=first):
            found = _text(files[number]) if number in files else ""
            if found != _as_recorded(text, found):
                return False
        table += part.rows(part.names, first)
        first += len(part.steps)
    return (out / "mixtures.csv").read_bytes() == table.encode()


def recorded_settings(path: Path) -> Mixture:
    """A mixture of a sweep; `extra` holds what its YAML records of how the mixture was drawn.

    Raises:
        InputError: If a setting is of another kind than the sampler writes.
    """
    mixture = Mixture.read(path)
    settings = mixture.extra
    for key in RECORDED_NUMBERS:
        value = settings.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
            raise InputError(f"{path}: {key} is {value!r:.60}; a number above 0 is wanted")
    for key in ("limits", "groups"):
        if not isinstance(settings.get(key) or {}, Mapping):
            raise InputError(f"{path}: {key} is {settings[key]!r:.60}; a mapping is wanted")
    return mixture


def check_folders(out: Path) -> None:
    """Check that only mixtures are where a sweep's and its held-out ones will be written.

    Raises:
        InputError: If something else is there.
    """
    for folder in (out / "mixtures", out / "holdout" / "mixtures"):
        for place in (out, out / "holdout", folder):
            if place.exists() and not place.is_dir():
                raise InputError(f"{place}: is a file where a folder is to be; choose another folder with --out")
        others = [p.name for p in folder.glob("[!.]*") if not re.fullmatch(r"n\d+\.yaml", p.name)]
        if others:
            raise InputError(f"{folder}: holds {others[0]}, which is no mixture; choose another folder with --out")
