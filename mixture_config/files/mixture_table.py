"""A sweep on disk <-> weights, one row a mixture: a CSV, a folder of mixture YAMLs, a study, or a single YAML.

The sweeps of `proxymix synthesize` are read, those of RegMix (`train_<domain>` columns, a folder of n1.yaml), and those of
Olmix (plain columns beside `run` and `name`, launch configurations, a JSON of mixes). The rows of a table are told apart by
its key: `index`, else `run`, else `name`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixture_config.files import olmix_files
from mixture_config.files.mixture import Mixture, domain_of, train_column, train_domain
from mixture_config.geometry.simplex import percent_hint
from mixture_config.geometry.tolerances import SUM_ROUNDOFF, SUM_TOLERANCE
from proxymix.errors import InputError
from proxymix.files import read_yaml
from proxymix.messages import some
from proxymix.progress import progress, say
from proxymix.schemas import positions
from proxymix.tables import line_of, read_table, write_table

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("index", "run", "run_id", "name")
Key = int | str


@dataclass(frozen=True)
class MixtureTable:
    """The weights of many mixtures.

    Attributes:
        index: The key of each mixture, such as the number of its run.
        domains: Their domains.
        weights: Shape (num_mixtures, num_domains). Rows sum to 1.
    """

    index: list[Key]
    domains: list[str]
    weights: np.ndarray

    @property
    def columns(self) -> list[str]:
        """The names of the weights' columns in a file: train_<domain>."""
        return [train_column(domain) for domain in self.domains]

    @classmethod
    def read(cls, path: Path) -> "MixtureTable":
        """The mixtures of a CSV, a folder (of YAMLs, or a study's), a YAML, or a JSON, in the file's or the names' order.

        Raises:
            InputError: If there is none, a key repeats, or weights do not sum to 1 within 1e-2.
        """
        path = Path(path)
        if path.is_dir() and (path / "mixtures.csv").exists():
            path = path / "mixtures.csv"
        if not path.is_dir() and path.suffix.lower() not in (".yaml", ".yml", ".json"):
            table = read_table(path)
            key = next((k for k in KEYS if k in table.columns), None)
            if key is None:
                raise InputError(
                    f"{path}: no key column; one of {', '.join(KEYS)} is needed (found {some(table.columns)})"
                )
            return cls.from_frame(table, row_keys(table, key, path), key, path)
        if path.suffix.lower() == ".json":
            rows = olmix_files.read_mixes(path)
            index: list[Key] = list(range(len(rows)))
        else:
            files = mixture_files(path) if path.is_dir() else [path]
            with progress("read mixtures", total=len(files), unit="files") as bar:
                rows = []
                for file in files:
                    rows.append(_read_yaml(file))
                    bar.advance()
            index = [run_key(file.stem) for file in files]
            counts = Counter(index)
            if twice := [file for file, key in zip(files, index, strict=True) if counts[key] > 1]:
                raise InputError(f"{some(twice)} name the same run; remove or rename one")
        domains = list(dict.fromkeys(domain for row in rows for domain in row))
        return cls(index, domains, np.array([[row.get(domain, 0.0) for domain in domains] for row in rows]))

    @classmethod
    def from_frame(
        cls, table: "pd.DataFrame", index: Sequence[Key], key: str, path: Path, renormalise: bool = True
    ) -> "MixtureTable":
        """The weights of a table that was read: its columns train_<domain>, else all columns that are no key.

        Args:
            table: One mixture a row.
            index: The key of each row.
            key: The name of the key column, for messages.
            path: The table's file, for messages.
            renormalise: Whether rows that were rounded to a sum near 1 are scaled to sum 1, which is said on stderr.

        Raises:
            InputError: If there are no weights, two columns name one domain, a weight is no finite number >= 0, or a
                row's sum is further than 1e-2 from 1.
        """
        columns = [c for c in table.columns if train_domain(str(c)) is not None]
        if not columns:
            columns = [c for c in table.columns if c not in KEYS and not str(c).startswith("Unnamed:")]
        domains = [domain_of(str(column), path) for column in columns]
        if twice := [domain for domain, count in Counter(domains).items() if count > 1]:
            raise InputError(f"{path}: two columns are the weights of {some(twice)}; rename or remove one")
        if not domains:
            raise InputError(f"{path}: no columns of weights (train_<domain>); found {some(table.columns)}")
        weights = _numbers(table, columns, index, key, path)
        for row, column in np.argwhere(weights < 0):
            raise InputError(
                f"{path}: {columns[column]} of {key} {index[row]} is {weights[row, column]:g}, below 0; correct it"
            )
        sums = weights.sum(axis=1)
        off = np.flatnonzero(np.abs(sums - 1) > SUM_TOLERANCE)
        if len(off) and np.allclose(sums[off], 100, atol=100 * SUM_TOLERANCE):
            raise InputError(
                f"{path}: the weights of {len(off)} of {len(index)} rows sum to 100: they are in percent; divide them by "
                f"100 ({key} {some([index[int(row)] for row in off])})"
            )
        if len(off):
            raise InputError(
                f"{path}: the weights of {len(off)} of {len(index)} rows do not sum to 1 ({key} {index[off[0]]} sums to "
                f"{sums[off[0]]:.6g} over {len(domains)} columns, {columns[0]} to {columns[-1]}); correct the rows, or "
                "remove columns that are no domain's"
            )
        rounded = np.abs(sums - 1) > SUM_ROUNDOFF
        if rounded.any() and renormalise:
            low, high = sums[rounded].min(), sums[rounded].max()
            say(f"{path}: {rounded.sum()} of {len(index)} rows sum to {low:.4g} to {high:.4g}; renormalised to 1")
            weights = np.where(rounded[:, None], weights / sums[:, None], weights)
        return cls(list(index), domains, weights)

    def write(self, path: Path) -> None:
        """Write a CSV with RegMix's header, `index` and the weights' columns, at full precision."""
        rows = [(key, *map(float, row)) for key, row in zip(self.index, self.weights, strict=True)]
        write_table(path, ("index", *self.columns), rows)

    def aligned(self, domains: Sequence[str], where: object) -> np.ndarray:
        """The weights with their columns in the order of `domains`, shape (num_mixtures, num_domains).

        Raises:
            InputError: If the table has other domains than these. The message begins with `where`.
        """
        return self.weights[:, positions(self.domains, domains, where)]


def mixture_files(folder: Path) -> list[Path]:
    """The mixture YAMLs of a folder, or of its mixtures/, by their numbers (n2 before n10).

    Raises:
        InputError: If it holds none.
    """
    for place in (Path(folder), Path(folder) / "mixtures"):
        files = [f for f in place.glob("*.y*ml") if f.suffix in (".yaml", ".yml") and f.name != "study.yaml"]
        if files and (place.name == "mixtures" or not (place / "mixtures").is_dir()):
            return sorted(files, key=lambda file: [int(p) if p.isdigit() else p for p in re.split(r"(\d+)", file.stem)])
    raise InputError(
        f"{folder}: no mixtures.csv and no mixture YAMLs; run `proxymix synthesize`, or name another folder"
    )


def _read_yaml(path: Path) -> dict[str, float]:
    """A mixture's YAML: RegMix's keys, or a launch configuration of Olmix with the weights in `mix`."""
    content = read_yaml(path)
    if "train" in content or not isinstance(content.get("mix"), dict):
        return Mixture.of_content(content, path).weights
    return olmix_files.read_launch_mix(content["mix"], f"{path}: mix")


def run_key(stem: str) -> Key:
    """The key of the run that a file belongs to: n00012 -> 12, another name as it is."""
    return int(stem[1:]) if re.fullmatch(r"n\d+", stem) else stem


def row_keys(table: "pd.DataFrame", key: str, path: Path) -> list[Key]:
    """The column `key` of a table of `read_table`, if it tells its rows apart."""
    column = table[key]
    if column.isna().any():
        raise InputError(
            f"{path}: {_rows(table, np.flatnonzero(column.isna()))} no {key!r}; fill it in or remove the row"
        )
    index: list[Key] = [int(v) for v in column] if column.dtype.kind in "iu" else [str(v).strip() for v in column]
    twice = [run for run, count in Counter(index).items() if count > 1]
    if twice:
        raise InputError(f"{path}: {key} {some(twice)} is there more than once; keep one row a run")
    return index


def _numbers(table: "pd.DataFrame", columns: Sequence[str], index: Sequence[Key], key: str, path: Path) -> np.ndarray:
    """The columns as finite floats, or an error that names the column and its first bad rows."""
    import pandas as pd

    values = np.column_stack([pd.to_numeric(table[c], errors="coerce").to_numpy(dtype=float) for c in columns])
    for position, column in enumerate(columns):
        bad = np.flatnonzero(~np.isfinite(values[:, position]))
        if len(bad):
            value = table[column].iloc[bad[0]]
            found = "empty" if pd.isna(value) else repr(value) if isinstance(value, str) else str(value)
            hint = percent_hint(value) if isinstance(value, str) and "%" in value else "; correct it"
            raise InputError(
                f"{path}: {column} of {key} {some([index[int(row)] for row in bad])} is {found}, "
                f"not a finite number{hint}, or remove the run from both files"
            )
    return values


def _rows(table: "pd.DataFrame", rows: np.ndarray) -> str:
    lines = [line_of(table, int(row)) for row in rows]
    return f"line {some(lines)} has" if len(lines) == 1 else f"lines {some(lines)} have"
