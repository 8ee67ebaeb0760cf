"""Rows -> CSV files, and back.

There is one reader. It compares the width of every row with that of the header, so that no field moves to another column,
and it takes names as they are written: a run called NA or 007e1 keeps its name.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from proxymix.errors import InputError
from proxymix.files import read_text, write_text
from proxymix.messages import some

if TYPE_CHECKING:
    import pandas as pd

KEY_COLUMNS = ("index", "run", "run_id", "name", "id")
"""Columns that name rows, in any case: whole numbers if all cells are, else text."""
NAME_COLUMNS = ("domain", "target", "mixture", "baseline", "model", "group")
"""Columns that hold names, in any case: text, whatever it looks like."""
LONGEST_FIELD = 2**31 - 1
"""Characters of a field. The library's own limit is 131,072."""

DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+([eE][+-]?\d+)?")
DECIMAL_POINT = re.compile(r"[+-]?\d+\.[\d.]*(,\d*)?([eE][+-]?\d+)?")
WHOLE = re.compile(r"([+-]?\d{1,18})(\.0*)?")


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """CSV text; floats in the shortest form that reads back to the same number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([[repr(float(v)) if isinstance(v, float) else v for v in row] for row in rows])
    return text.getvalue()


def write_table(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV whole or not at all."""
    write_text(path, format_table(header, rows))


@dataclass(frozen=True)
class Cells:
    """A CSV as text: fields without spaces around, and rows of one width.

    Attributes:
        header: Names of the columns.
        rows: Those that are not blank, each as wide as the header.
        lines: The line of the file that each row begins in.
    """

    header: list[str]
    rows: list[list[str]]
    lines: list[int]

    @classmethod
    def read(cls, path: Path) -> "Cells":
        """Read a CSV: its fields are separated by commas, or as spreadsheets do, by semicolons or tabs.

        Where they are separated by semicolons, numbers may have a decimal comma, which becomes a point.

        Raises:
            InputError: If the file is missing, empty, or not a table, two columns have one name, a row has more or fewer
                fields than the header, or decimal commas and points are both there.
        """
        text = read_text(path)
        first = next((line for line in text.split("\n") if line.strip()), "")
        delimiter = max(",;\t", key=first.count)
        rows, lines, line = [], [], 1
        reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=delimiter != "\t", strict=True)
        csv.field_size_limit(LONGEST_FIELD)
        try:
            for fields in reader:
                row = [field.strip() for field in fields]
                if any(row):
                    rows.append(row)
                    lines.append(line)
                line = reader.line_num + 1
        except csv.Error as error:
            raise InputError(f"{path}:{line}: not a CSV table: {error}; correct the quotes of this row") from None
        if not rows:
            raise InputError(f"{path}: the file is empty; a table with a header is wanted")
        header, rows, lines = rows[0], rows[1:], lines[1:]
        while not header[-1]:  # commas at the ends of lines
            header.pop()
        if twice := [name for name in header if name and header.count(name) > 1]:
            raise InputError(f"{path}: two columns are named {twice[0]!r}; rename or remove one")
        cells = cls(header, [_of_width(row, header, f"{path}:{n}") for row, n in zip(rows, lines, strict=True)], lines)
        return cells._with_decimal_points(path) if delimiter == ";" else cells

    def column(self, name: str) -> list[str]:
        """The fields of a column."""
        position = self.header.index(name)
        return [row[position] for row in self.rows]

    def _with_decimal_points(self, path: Path) -> "Cells":
        """Decimal commas as points. A point in such a table may separate thousands, so it is not guessed at."""
        if not any(DECIMAL_COMMA.fullmatch(cell) for row in self.rows for cell in row):
            return self
        for row, line in zip(self.rows, self.lines, strict=True):
            for name, cell in zip(self.header, row, strict=True):
                if DECIMAL_POINT.fullmatch(cell) and name.lower() not in (*KEY_COLUMNS, *NAME_COLUMNS):
                    raise InputError(
                        f"{path}:{line}: {name} is {cell!r}, and other numbers have a decimal comma; write all numbers "
                        "without thousands separators, and with one sign for decimals"
                    )
        rows = [[c.replace(",", ".") if DECIMAL_COMMA.fullmatch(c) else c for c in row] for row in self.rows]
        return Cells(self.header, rows, self.lines)


def read_table(path: Path) -> "pd.DataFrame":
    """A CSV as a DataFrame. Columns that name something are text as written; keys that are all whole numbers are int64.

    Raises:
        InputError: As `Cells.read`, or if there are no rows.
    """
    import pandas as pd

    cells = Cells.read(path)
    if not cells.rows:
        raise InputError(f"{path}: the table has no rows")
    table = pd.read_csv(io.StringIO(format_table(cells.header, cells.rows)), index_col=False, skip_blank_lines=False)
    for name in cells.header:
        if name.lower() in KEY_COLUMNS:
            table[name] = _keys(cells.column(name))
        elif name.lower() in NAME_COLUMNS:
            table[name] = _texts(cells.column(name))
    if cells.lines != list(range(2, len(cells.lines) + 2)):
        table.attrs["lines"] = cells.lines
    return table


def line_of(table: "pd.DataFrame", row: int) -> int:
    """The line of its file that a row of a table, as `read_table` gave it, begins in."""
    return int(table.attrs["lines"][row]) if "lines" in table.attrs else row + 2


def _keys(cells: Sequence[str]) -> "pd.Series":
    """Keys: whole numbers if all are, else all as text; what is empty is missing."""
    import pandas as pd

    numbers = [WHOLE.fullmatch(cell) for cell in cells]
    if not all(number or not cell for number, cell in zip(numbers, cells, strict=True)) or not any(numbers):
        return _texts(cells)
    values = [int(number[1]) if number else None for number in numbers]
    return pd.Series(values, dtype="int64" if None not in values else "Int64")


def _texts(cells: Sequence[str]) -> "pd.Series":
    import pandas as pd

    return pd.Series([cell or None for cell in cells], dtype=object)


def _of_width(row: list[str], header: Sequence[str], where: str) -> list[str]:
    """The row, if it is as wide as the header; empty fields at its end count for nothing.

    Raises:
        InputError: If it is wider or narrower.
    """
    width = len(header)
    if len(row) < width:
        raise InputError(
            f"{where}: {len(row)} fields, and the header has {width} ({some(header)}); write the missing ones, empty where "
            "there is nothing"
        )
    if any(row[width:]):
        raise InputError(
            f"{where}: {len(row)} fields, and the header has {width} ({some(header)}); the first too many is "
            f"{row[width]!r}. Write numbers without thousands separators, and put text that holds a comma in quotes"
        )
    return row[:width]
