"""A table and a function that draws it -> a figure, as markup for a page (SVG) and as a file (PNG).

`Figure.svg` gives markup whose colours are the page's (so a dark page has light lines), `Figure.png` the same on white.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxymix.files import replacing, write_text
from proxymix.plots.palette import EDGE, INK, LEADING, MUTED, NARROW, PIXEL, ROLES, SHARPNESS, SURFACE, WIDE, style
from proxymix.plots.text import wrapped

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NOTEBOOK_COLOURS = 48
"""Colours of a figure in a notebook: enough for a colour scale, and a quarter of the bytes."""


@dataclass(frozen=True)
class Figure:
    """A drawing that answers one question, and the table that it is drawn from.

    Attributes:
        name: Of its PNG and CSV.
        table: What it shows.
        draw: Draws the table into an Axes.
        alt: What it shows, in words, for those who do not see it.
        height: Its height in CSS pixels, without its title and note.
        width: Its smallest width in CSS pixels; the page scrolls sideways where it has less.
        narrow_height: Its height on a phone, where that is another.
        title: What it says, in a line above it; for a figure that stands without a page.
        note: How to read it, below the title.
    """

    name: str
    table: "pd.DataFrame"
    draw: "Callable[[pd.DataFrame, Axes], Axes]"
    alt: str
    height: int
    width: int = 0
    narrow_height: int = 0
    title: str = ""
    note: str = ""

    def __repr__(self) -> str:
        return f"Figure {self.name}: {self.alt}"

    def svg(self, width: int) -> str:
        """Markup to place in a page that defines the roles' colours as CSS variables; the same bytes every time."""
        buffer = io.StringIO()
        with style(f"{self.name}-{width}", margin=0.03):
            nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
            self.canvas(width).savefig(buffer, format="svg", transparent=True, metadata=nothing)
        return _inline(buffer.getvalue(), self.alt, f"{self.name}-{width}-")

    def png(self) -> bytes:
        """The figure at its desk width on white, at twice the resolution of a screen."""
        buffer = io.BytesIO()
        with style(self.name, margin=0.14):
            self.canvas(WIDE).savefig(buffer, format="png", dpi=SHARPNESS / PIXEL, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_png_(self) -> tuple[bytes, dict[str, int]]:
        """What a notebook shows, with its size in CSS pixels. Few colours, so that a notebook stays small."""
        from PIL import Image

        image, small = Image.open(io.BytesIO(self.png())), io.BytesIO()
        image.convert("RGB").quantize(NOTEBOOK_COLOURS, Image.Quantize.MAXCOVERAGE).save(
            small, format="png", optimize=True
        )
        return small.getvalue(), {"width": image.width // SHARPNESS, "height": image.height // SHARPNESS}

    def write(self, folder: Path) -> None:
        """FOLDER/NAME.png and FOLDER/NAME.csv."""
        write_text(folder / f"{self.name}.csv", self.table.to_csv(index=False, lineterminator="\n"))
        with replacing(folder / f"{self.name}.png") as temporary:
            temporary.write_bytes(self.png())

    def canvas(self, width: int) -> "Canvas":
        """The figure as matplotlib's own, `width` CSS pixels wide or its smallest width; call it within `style`."""
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas

        height = self.narrow_height or self.height if width == NARROW else self.height
        width = max(width, self.width)
        lines = [(line, 13, "bold", INK) for line in wrapped(self.title, width - 2 * EDGE, 13, "bold")]
        lines += [(line, 9, "normal", MUTED) for line in wrapped(self.note, width - 2 * EDGE, 9)]
        head = sum(LEADING * size for _, size, _, _ in lines) + (EDGE if lines else 0)
        figure = Canvas(figsize=(width * PIXEL, (height + head) * PIXEL), layout="constrained", facecolor=SURFACE)
        FigureCanvasAgg(figure)
        if not lines:
            self.draw(self.table, figure.add_subplot())
            return figure
        # Names on a map are placed by the size of their letters, so the resolution is that of the file from the start.
        figure.set_dpi(SHARPNESS / PIXEL)
        (top,), (body,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[head, height], hspace=0)
        down = float(EDGE)
        for line, size, weight, colour in lines:
            top.text(EDGE / width, 1 - down / head, line, va="top", fontsize=size, weight=weight, color=colour)
            down += LEADING * size
        # The legend starts below the title's first letter.
        with mpl.rc_context({"legend.borderaxespad": EDGE * PIXEL * 72 / mpl.rcParams["legend.fontsize"]}):
            self.draw(self.table, body.add_subplot())
        return figure


def marks(
    axes: "Axes",
    x: Any,
    y: Any,
    marker: str,
    size: float,
    face: str,
    edge: str = "",
    edge_width: float = 1,
    **more: Any,
) -> None:
    """Marks without a line between them; their edge has the colour of their face unless another is given."""
    axes.plot(
        x, y, linestyle="none", marker=marker, markersize=size, markerfacecolor=face, markeredgecolor=edge or face,
        markeredgewidth=edge_width, **more,
    )  # fmt: skip


def legend(axes: "Axes", columns: int, order: Sequence[str] = ()) -> "Axes":
    """A legend above the axes, from the figure's left edge, so that long labels have its whole width.

    Args:
        axes: Where the labelled things are.
        columns: Of the legend.
        order: How labels begin, in the order wanted; those that begin otherwise come last.
    """
    entries = list(zip(*axes.get_legend_handles_labels(), strict=True))
    entries.sort(key=lambda entry: next((i for i, start in enumerate(order) if entry[1].startswith(start)), len(order)))
    handles, labels = zip(*entries, strict=True)
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=columns, alignment="left")
    return axes


def _inline(svg: str, alt: str, prefix: str) -> str:
    """A matplotlib SVG file -> markup for a page: roles for colours, the page's font, ids of its own, a text for alt."""
    from html import escape

    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<(metadata|style).*?</\1>", "", svg, flags=re.DOTALL)  # a style would reach the whole page
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r'\bid="', f'id="{prefix}', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}", svg)
    svg = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", svg)
    svg = re.sub(r"font-family: [^;\"]*;? ?", "", svg)
    for colour, role in ROLES.items():
        svg = svg.replace(colour, f"var(--{role})")
    width, height = re.findall(r'(?:width|height)="([0-9.]+)pt"', svg)[:2]
    head = f'<svg role="img" aria-label="{escape(alt)}" viewBox="0 0 {width} {height}" class="figure" '
    head += f'style="width: {float(width) * 4 / 3:.0f}px" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return head + svg[svg.index(">") + 1 :].strip()
