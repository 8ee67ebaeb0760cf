"""Labelled rows: a name on the left, what is drawn in the axes, and columns of numbers on the right; the first row is on top."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from proxymix.plots.palette import INK, MUTED, RULE, SMALL, is_wide
from proxymix.plots.text import distinct_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_ROWS = 64  # domains in a figure; its table has them all
MAX_LOOSE_ROWS = 24  # more rows than these stand closer together
COLUMN = 38  # points from the axes to the right end of the first column of numbers, and from column to column
MAX_LARGE_LABELS = 32  # more labels than these are smaller


@dataclass(frozen=True)
class Rows:
    """How the rows of a figure look.

    Attributes:
        max_letters: Of a label, on a desk and on a phone.
        spine: Colour of the line left of the rows; empty for none.
        label_size: Points of the labels; 0 for matplotlib's setting, and 8 where there are many.
        label_pad: Points between labels and axes; 0 for matplotlib's setting.
        height: CSS pixels of a row; rows that stand close have 17.
        around: CSS pixels for the axis and the legend.
    """

    max_letters: tuple[int, int] = (30, 17)
    spine: str = RULE
    label_size: float = 0
    label_pad: float = 0
    height: int = 25
    around: int = 104

    def label(self, axes: "Axes", names: Iterable[str]) -> None:
        """A row per name, each with a label of its own."""
        labels = distinct_labels(names, self.max_letters[0 if is_wide(axes) else 1])
        place_labels(axes, labels, 0.6)
        if self.label_size or len(labels) > MAX_LARGE_LABELS:
            axes.tick_params(axis="y", labelsize=self.label_size or 8)
        if self.label_pad:
            axes.tick_params(axis="y", pad=self.label_pad)
        if self.spine:
            axes.spines["left"].set(visible=True, color=self.spine)

    def numbers(
        self,
        axes: "Axes",
        texts: Sequence[str],
        head: str = "",
        colours: Sequence[str] = (),
        bold: Sequence[bool] = (),
        column: int = 0,
    ) -> None:
        """A column of numbers right of the axes, aligned on the right, under a head."""
        right = COLUMN * (column + 1)
        for row, text in enumerate(texts):
            axes.annotate(
                text, (1, row), xycoords=axes.get_yaxis_transform(), xytext=(right, 0), textcoords="offset points", ha="right",
                va="center_baseline", fontsize=SMALL, color=colours[row] if colours else INK,
                weight="bold" if bold and bold[row] else "normal",
            )  # fmt: skip
        if head:
            axes.annotate(
                head, (1, -0.6), xycoords=axes.get_yaxis_transform(), xytext=(right, 3),
                textcoords="offset points", ha="right", va="bottom", fontsize=8, color=MUTED,
            )  # fmt: skip

    def pixels(self, num_rows: int, max_rows: int = MAX_ROWS) -> int:
        """CSS pixels for so many rows, of which at most `max_rows` are drawn, their axis and their legend."""
        return self.around + (self.height if num_rows <= MAX_LOOSE_ROWS else 17) * min(num_rows, max_rows)


def place_labels(axes: "Axes", labels: Sequence[str], below: float = 0.5, above: float = 0) -> None:
    """A row per label, without a line on their left.

    Args:
        labels: As they are to be read.
        below: Room below the last row, in rows.
        above: Room above the first row, in rows; as much as below unless given.
    """
    axes.set_ylim(len(labels) - 1 + below, -(above or below))
    axes.set_yticks(range(len(labels)), labels)
    axes.spines["left"].set_visible(False)
