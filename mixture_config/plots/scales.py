"""What the charts of mixtures share: their rows, axes that reach down to zero, and legends that fit.

Weights span five orders of magnitude and most are zero. So ranges are drawn on a logarithmic axis that ends in a zero
(`symlog`), and a number says how many weights are zero. Bars are drawn on a linear axis: their lengths can be compared.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from proxymix.plots.figures import legend
from proxymix.plots.palette import EDGE, FAINT, PIXEL, SMALL
from proxymix.plots.rows import COLUMN, MAX_ROWS, Rows
from proxymix.plots.text import distinct_labels, text_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ROWS = Rows((40, 40), "", SMALL, 9, height=26, around=110)
LEGEND_ORDER = ("a mixture of", "middle half", "5% to", "zero", "domains with", "(", "prior", "at the prior")
PANEL = 430  # CSS pixels: wide enough to compare bars
LEGEND_KEY = 46  # CSS pixels of a legend's entry beside its text


def log_to_zero(axes: "Axes", shown: "pd.DataFrame", text: Callable[[float], str], *more: float) -> None:
    """A logarithmic axis from a zero to the largest of the values shown.

    Args:
        shown: Values; what is zero or missing sets no limit.
        text: A tick's value -> its label.
        more: Further values to show.
    """
    values = np.append(shown.to_numpy(dtype=float).ravel(), more)
    values = values[np.isfinite(values) & (values > 0)]
    low, high = math.floor(math.log10(values.min()) + 1e-9), math.ceil(math.log10(values.max()) - 1e-9)
    high = max(high, low + 1)
    axes.set_xscale("symlog", linthresh=10.0**low, linscale=0.4)
    axes.set_xlim(0, 10.0**high if values.max() < 0.93 * 10.0**high or high == 0 else 1.3 * 10.0**high)
    ticks = [0.0, *(10.0**k for k in range(low, high + 1))]
    axes.set_xticks(ticks, [text(tick) for tick in ticks])
    axes.set_xticks([m * 10.0**k for k in range(low, high) for m in range(2, 10)], minor=True)
    axes.tick_params(which="minor", length=1.5, color=FAINT)


def fitting_legend(axes: "Axes", *first: str) -> "Axes":
    """A legend with as many columns as the figure has room for; the labels `first` begin it."""
    labels = axes.get_legend_handles_labels()[1]
    width = axes.figure.bbox.width / axes.figure.dpi / PIXEL - 2 * EDGE
    widths = [text_width(label, SMALL) + LEGEND_KEY for label in labels]
    columns = len(labels) if sum(widths) <= width else max(int(width / max(widths)), 1)
    return legend(axes, columns, [*first, *LEGEND_ORDER])


def rows_width(names: Sequence[str], num_columns: int = 1) -> int:
    """CSS pixels for rows with these names, a panel that is wide enough, and columns of numbers."""
    widest = max(text_width(label, SMALL) for label in distinct_labels(names, ROWS.max_letters[0]))
    return math.ceil(widest + PANEL + num_columns * COLUMN * 4 / 3)


def rows_height(num_rows: int, num_mixtures: int = 1) -> int:
    """CSS pixels for so many rows with a bar for each mixture, their axis and legend."""
    return max(ROWS.pixels(num_rows) + 7 * (num_mixtures - 1) * min(num_rows, MAX_ROWS), 188)
