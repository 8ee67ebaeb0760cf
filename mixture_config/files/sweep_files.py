"""A sweep's mixtures in steps of a grid <-> DIR/mixtures/n00001.yaml and so on, and DIR/mixtures.csv.

The table comes last and goes first: while it is there, so is every mixture.
"""

import re
import typing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mixture_config.design.sampler_settings import RECORDED_AS, Design, SamplerSettings
from mixture_config.files.mixture import Mixture, train_column, valid_column
from mixture_config.files.mixture_table import MixtureTable
from proxymix.errors import InputError
from proxymix.files import read_text, remove, replacing, write_text
from proxymix.progress import progress
from proxymix.schemas import run_id

_sampler = [RECORDED_AS.get(setting.name, setting.name) for setting in fields(SamplerSettings)]
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
        header = ",".join(["index", *map(train_column, self.names)]) + "\n"
        _write_lines(out / "mixtures.csv", header, self.table_lines(self.names, 1))

    def yamls(self) -> Iterator[str]:
        """The text of every mixture's YAML. Composed here, since yaml.safe_dump takes 5 ms a mixture."""
        valid = yaml.safe_dump({"valid": {valid_column(name): 1.0 for name in self.names}}, sort_keys=False)
        rest = yaml.safe_dump(dict(self.settings), sort_keys=False, allow_unicode=True)
        keys = [f"  {train_column(name)}: " for name in self.names]
        zeros = [f"{key}0.0\n" for key in keys]
        # YAML 1.1 takes 2e-05 for text, and 2.0e-05 for a number.
        numbers = [re.sub(r"^(\d+)e", r"\1.0e", text) + "\n" for text in self._numbers()]
        for number, row in enumerate(self.steps):
            lines = zeros.copy()
            weighted = np.flatnonzero(row)
            for domain, step in zip(weighted.tolist(), row[weighted].tolist(), strict=True):
                lines[domain] = keys[domain] + numbers[step]
            label = yaml.safe_dump(dict(self.labels[number]), allow_unicode=True) if number < len(self.labels) else ""
            yield f"train:\n{''.join(lines)}{valid}{rest}{label}"

    def table_lines(self, order: Sequence[str], first: int) -> Iterator[str]:
        """The lines of mixtures.csv with the domains in this order, the first of index `first`."""
        columns = [list(self.names).index(name) for name in order]
        numbers = self._numbers()
        for number, row in enumerate(self.steps[:, columns], start=first):
            yield f"{number},{','.join(map(numbers.__getitem__, row.tolist()))}\n"

    def _numbers(self) -> list[str]:
        """Every weight of the grid at full precision: the text of step / num_steps."""
        return [repr(step / self.num_steps) for step in range(self.num_steps + 1)]


@dataclass(frozen=True)
class ExistingSweep:
    """The mixtures of a sweep that is extended; an extension leaves their files as they are.

    Attributes:
        out: The sweep's folder.
        weights: Shape (num_mixtures, num_domains), in the order of the table of domains.
        all_weights: Those and the held-out ones.
        settings: What the first mixture's YAML records.
        last: The largest index.
        header: The domains in the order of mixtures.csv, in which new rows come.
    """

    out: Path
    weights: np.ndarray
    all_weights: np.ndarray
    settings: dict[str, Any]
    last: int
    header: list[str]

    def __len__(self) -> int:
        return len(self.weights)

    @classmethod
    def read(cls, out: Path, names: Sequence[str]) -> "ExistingSweep":
        """The sweep in a folder.

        Raises:
            InputError: If there is none, it is not one of `proxymix synthesize`, or its domains are others.
        """
        path = out / "mixtures.csv"
        if not path.exists():
            raise InputError(f"{path}: no such file, so there is no sweep to extend; leave out --extend to draw one")
        table = MixtureTable.read(path)
        if not all(isinstance(key, int) for key in table.index):
            raise InputError(
                f"{path}: its rows have no whole-number index, so they are not ours; it cannot be extended"
            )
        weights = all_weights = table.aligned(names, path)
        held = out / "holdout" / "mixtures.csv"
        if held.exists():
            all_weights = np.concatenate([weights, MixtureTable.read(held).aligned(names, held)])
        first = out / "mixtures" / f"{run_id(min(map(int, table.index)))}.yaml"
        if not first.exists():
            raise InputError(
                f"{first}: no such file, so the sweep is not ours and its settings are not known; draw another"
            )
        settings = recorded_settings(first).extra
        if settings.get("design", "dirichlet") not in typing.get_args(Design):
            raise InputError(
                f"{first}: design is {settings['design']!r:.60}, none of {', '.join(typing.get_args(Design))}"
            )
        return cls(out, weights, all_weights, settings, max(map(int, table.index)), table.domains)

    def append(self, mixtures: SweepMixtures) -> None:
        """Write further mixtures beside those that are there, then the longer table."""
        folder, path = self.out / "mixtures", self.out / "mixtures.csv"
        with ThreadPoolExecutor(32) as pool:  # one after another, waiting for the disk takes 6 ms a file
            texts = enumerate(mixtures.yamls(), start=self.last + 1)
            list(pool.map(lambda item: write_text(folder / f"{run_id(item[0])}.yaml", item[1]), texts))
        old = read_text(path)
        _write_lines(path, old if old.endswith("\n") else old + "\n", mixtures.table_lines(self.header, self.last + 1))


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


def _write_lines(path: Path, beginning: str, lines: Iterator[str]) -> None:
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(beginning)
        file.writelines(lines)
