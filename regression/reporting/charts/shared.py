"""What several charts share: their rows, the names of baselines, units, and labels that fit."""

from typing import TYPE_CHECKING, Any

import numpy as np

from proxymix.plots.palette import PIXEL, is_wide
from proxymix.plots.rows import MAX_ROWS, Rows
from proxymix.plots.text import wrapped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ROWS = Rows()
NORMAL_95 = 1.959964  # standard deviations to either side that hold 95% of a normal distribution
PRESENT = 0.001  # a smaller weight counts as none to a reader
NAMES = {
    "proposal": "proposal",
    "prior": "prior",
    "heuristic": "heuristic",
    "uniform": "uniform",
    "best_seen": "best of sweep",
    "sweep_mean": "mean of sweep",
}
"""Mixtures as a label names them."""


def unit_of(table: "pd.DataFrame") -> str:
    """The unit of a table's losses."""
    return str(table.attrs.get("unit", "nats/token"))


def largest_rows(table: "pd.DataFrame", size: Any) -> "pd.DataFrame":
    """As many rows as a figure shows, those of the largest size, in the table's order."""
    largest = np.sort(np.argsort(-np.nan_to_num(np.asarray(size, dtype=float)), kind="stable")[:MAX_ROWS])
    return table.iloc[largest]


def left_out(number: int, which: str) -> str:
    """A line of a label about rows that are not shown; empty where there are none."""
    return f"\n{number} more domains, {which}, are in the CSV" if number else ""


def fitting(axes: "Axes", text: str, share: float = 0.58) -> str:
    """An axis label in lines that take at most a share of the figure's width: less beside long names of rows."""
    room = share * axes.figure.bbox.width / axes.figure.dpi / PIXEL
    return "\n".join(line for part in text.split("\n") for line in wrapped(part, room, 9))


def fitting_phone(axes: "Axes", text: str) -> str:
    """An axis label that a desk's figure has room for in one line, and a phone's in several."""
    return text if is_wide(axes) else fitting(axes, text, 0.65)
