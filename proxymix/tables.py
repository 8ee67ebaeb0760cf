"""Rows -> CSV files, and back."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from proxymix.errors import InputError
from proxymix.files import read_text, write_text

if TYPE_CHECKING:
    import pandas as pd


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


def read_table(path: Path) -> "pd.DataFrame":
    """A CSV as a DataFrame.

    Raises:
        InputError: If the file is missing, empty, or not a table, or two columns have one name.
    """
    import pandas as pd

    text = read_text(path)
    header = next(csv.reader(io.StringIO(text)), [])
    if twice := [name for name in header if name and header.count(name) > 1]:
        raise InputError(f"{path}: two columns are named {twice[0]!r}; rename or remove one")
    try:
        table = pd.read_csv(io.StringIO(text))
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise InputError(f"{path}: not a CSV table: {str(error).strip()}") from None
    if table.empty:
        raise InputError(f"{path}: the table has no rows")
    return table
