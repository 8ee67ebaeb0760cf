"""Charts of domains by losses: squares, blue where more of the domain lowers the loss, orange where it raises the loss."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from proxymix.plots.palette import INK, MUTED, NARROW, OTHER, PROPOSED, SURFACE, WIDE, is_wide
from proxymix.plots.rows import MAX_LOOSE_ROWS, MAX_ROWS
from proxymix.plots.text import distinct_labels, minus, text_width
from proxymix.schemas import loss_domain
from regression.reporting.charts.shared import fitting, largest_rows, left_out, unit_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MAX_NUMBERED = 20  # columns whose cells have room for a number
MAX_LETTERS = (26, 14)  # of a domain beside a heat map, on a desk and on a phone


def correlation_map(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Which domain goes with which loss, over the sweep?

    Args:
        table: target, domain and correlation (rank correlation between the domain's weight and the target), a row per pair;
            drawn in the order in which domains and targets come.
    """
    return _heat_map(table, "correlation", axes, np.abs, correlation_text, "darkest: 1")


def effect_map(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """What does each domain do to each loss, as the regression has learnt it?

    Args:
        table: target, domain and effect (predicted change of the target when the domain goes from nothing to its mean share
            in the sweep, the others shrinking in proportion), a row per pair; drawn in the order in which they come.
        axes: Where to draw. Shades grow with the square root, so that one strong effect does not hide the others.
    """
    largest = float(np.nanmax(np.abs(table["effect"]), initial=0.0)) or 1.0
    unit, scale = (unit_of(table), 1.0) if largest >= 9.5 else (f"1/1000 {unit_of(table)}", 1000.0)
    scaled = table.assign(effect=table["effect"] * scale)
    key = (
        f"in {unit}, darkest: {largest * scale:,.0f}"
        if largest * scale >= 100
        else f"in {unit}, darkest: {largest * scale:.3g}"
    )
    return _heat_map(scaled, "effect", axes, lambda values: np.sqrt(np.abs(values) / scale / largest), whole_text, key)


def wide_table(table: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Rows of (target, domain, value) -> values with a row per domain and a column per target, both in their order."""
    wide = table.pivot(index="domain", columns="target", values=column)
    return wide.loc[list(dict.fromkeys(table["domain"])), list(dict.fromkeys(table["target"]))]


def heat_map_size(table: "pd.DataFrame") -> tuple[int, int]:
    """CSS pixels of a heat map of this table (target, domain, ...): its height, and its smallest width."""
    names, num_targets = list(dict.fromkeys(table["domain"])), table["target"].nunique()
    rows = min(len(names), MAX_ROWS)

    def width(letters: int, cell: int) -> int:
        widest = max(text_width(label, 9) for label in distinct_labels(names, letters))
        return math.ceil(widest) + 30 + (cell if num_targets <= MAX_NUMBERED else 14) * num_targets

    narrow = width(MAX_LETTERS[1], 25)
    height = 200 + (25 if rows <= MAX_LOOSE_ROWS else 17) * rows
    return height, narrow if narrow < (WIDE + NARROW) / 2 else width(MAX_LETTERS[0], 29) + 20


def correlation_text(value: float) -> str:
    """A correlation in a small cell: -0.46 -> '−.46'."""
    text = f"{value:.2f}"
    return "0" if float(text) == 0 else minus(text.replace("0.", ".", 1).removesuffix(".00"))


def whole_text(value: float) -> str:
    """A whole number in a small cell: -34.2 -> '−34', and 0 for what rounds to it."""
    return minus(f"{round(value)}")


def _heat_map(
    table: "pd.DataFrame",
    column: str,
    axes: "Axes",
    shade: Callable[[np.ndarray], np.ndarray],
    text: Callable[[float], str],
    key: str,
) -> "Axes":
    """Squares of domains by targets.

    Args:
        table: target, domain and the column to draw.
        column: Its name.
        shade: Values -> 0 (white) to 1 (darkest).
        text: A value -> the text of its cell.
        key: What the numbers are, for the label.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    # ---- 1. The squares. They are one collection of rectangles, since an image would be pixels in an SVG.
    wide = wide_table(table, column)
    shown, targets = largest_rows(wide, np.nanmax(np.nan_to_num(np.abs(wide)), axis=1)), list(wide.columns)
    values = shown.to_numpy(dtype=float)
    depth = shade(values)
    cells = [(int(row), int(place)) for row, place in np.argwhere(np.isfinite(values))]
    colours = [to_rgba(PROPOSED if values[c] < 0 else OTHER, round(0.72 * float(min(depth[c], 1.0)), 3)) for c in cells]
    squares = [Rectangle((place - 0.5, row - 0.5), 1, 1) for row, place in cells]
    axes.add_collection(PatchCollection(squares, facecolors=colours, linewidths=0))
    axes.set_xlim(-0.5, len(targets) - 0.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    for position in np.arange(0.5, len(targets) - 1):
        axes.axvline(position, color=SURFACE, linewidth=1)
    for position in np.arange(0.5, len(shown) - 1):
        axes.axhline(position, color=SURFACE, linewidth=1)
    # ---- 2. The numbers in them.
    if len(targets) <= MAX_NUMBERED:
        size = 8 if is_wide(axes) or len(targets) <= 8 else 6.5
        for row, place in cells:
            number = text(float(values[row, place]))
            cell = axes.text(place, row, number, ha="center", va="center", fontsize=size, color=INK)
            cell.set_in_layout(False)  # exclude the cell text from layout: it always fits its square
    # ---- 3. The names on both sides.
    axes.xaxis.tick_top()
    first = 1 if targets[0] == "objective" else 0  # the objective shares no prefix with the losses
    names = [*targets[:first], *distinct_labels([loss_domain(target) for target in targets[first:]], 22)]
    axes.set_xticks(range(len(targets)), names, rotation=90, color=INK)
    axes.tick_params(length=0)
    axes.set_yticks(range(len(shown)), distinct_labels(shown.index, MAX_LETTERS[0 if is_wide(axes) else 1]))
    rest = left_out(len(wide) - len(shown), "all fainter")
    axes.set_xlabel(fitting(axes, f"loss on … (blue: lower, orange: higher; {key}){rest}"), color=MUTED)
    axes.xaxis.set_label_position("top")
    if is_wide(axes):
        axes.set_ylabel("more of …", color=MUTED)
    axes.spines[:].set_visible(False)
    return axes
