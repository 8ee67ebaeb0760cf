"""A table and a function that draws it -> a picture, as markup for a page (SVG) and as a file (PNG).

One colour per role throughout: prior grey, proposed blue, measured black; a mark is never told by its colour alone.
`Figure.svg` gives markup whose colours are the page's (so a dark page has light lines), `Figure.png` the same on white.
"""

import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxymix.files import replacing, write_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

# Every colour is a role; the page gives each another value in the dark, so no two may be equal.
INK, MUTED, RULE, FAINT, SURFACE = "#1b2026", "#5a646e", "#d5dade", "#b9c0c7", "#fefefe"
PRIOR, PROPOSED, MEASURED, OTHER = "#8b939b", "#0b66c3", "#12161a", "#b45309"
ROLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    FAINT: "faint",
    SURFACE: "surface",
    PRIOR: "prior",
    PROPOSED: "proposed",
    MEASURED: "measured",
    OTHER: "other",
}
"""Colour -> the name of the page's CSS variable for it."""

WIDE, NARROW = 680, 350  # CSS pixels, the widths of a figure on a desk and on a phone
PIXEL = 1 / 96  # inches
SHARPNESS = 2  # a PNG's pixels per CSS pixel
EDGE = 14  # CSS pixels around a title
LEADING = 1.9  # CSS pixels from line to line, per point of type


@dataclass(frozen=True)
class Figure:
    """A picture that answers one question, and the table it is drawn from.

    Attributes:
        name: Of its PNG and CSV.
        table: What it shows.
        draw: Draws the table into an Axes.
        alt: What it shows, in words, for those who do not see it.
        height: Its height in CSS pixels, without its title and note.
        width: Its smallest width in CSS pixels; the page scrolls sideways where it has less.
        narrow_height: Its height on a phone, where that is another.
        title: What it says, in a line above it; for a picture that stands without a page.
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

    def svg(self, width: int) -> str:
        """Markup to place in a page that defines the roles' colours as CSS variables; the same bytes every time."""
        buffer = io.StringIO()
        with style(f"{self.name}-{width}", margin=0.03):
            nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
            self.canvas(width).savefig(buffer, format="svg", transparent=True, metadata=nothing)
        return _inline(buffer.getvalue(), self.alt, f"{self.name}-{width}-")

    def png(self) -> bytes:
        """The picture at its desk width on white, at twice the resolution of a screen."""
        buffer = io.BytesIO()
        with style(self.name, margin=0.14):
            self.canvas(WIDE).savefig(buffer, format="png", dpi=SHARPNESS / PIXEL, metadata={"Software": None})
        return buffer.getvalue()

    def write(self, folder: Path) -> None:
        """FOLDER/NAME.png and FOLDER/NAME.csv."""
        write_text(folder / f"{self.name}.csv", self.table.to_csv(index=False, lineterminator="\n"))
        with replacing(folder / f"{self.name}.png") as temporary:
            temporary.write_bytes(self.png())

    def canvas(self, width: int) -> "Canvas":
        """The picture as matplotlib's own figure, `width` CSS pixels wide or its smallest width; within `style`."""
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
        figure.set_dpi(SHARPNESS / PIXEL)  # as it will be saved, for what is placed by the size of its letters
        (top,), (body,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[head, height], hspace=0)
        down = float(EDGE)
        for line, size, weight, colour in lines:
            top.text(EDGE / width, 1 - down / head, line, va="top", fontsize=size, weight=weight, color=colour)
            down += LEADING * size
        with mpl.rc_context({"legend.borderaxespad": EDGE * PIXEL * 72 / mpl.rcParams["legend.fontsize"]}):
            self.draw(self.table, body.add_subplot())  # with the legend below the title's first letter
        return figure


def style(salt: str, margin: float) -> Any:
    """Matplotlib's settings for one figure, on top of its defaults: a user's matplotlibrc must not change a report."""
    from contextlib import ExitStack

    import matplotlib as mpl

    stack = ExitStack()
    stack.enter_context(mpl.rc_context())
    mpl.rcdefaults()
    mpl.rcParams.update(
        {
            "svg.fonttype": "none",
            "svg.hashsalt": salt,
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "text.color": INK,
            "axes.edgecolor": FAINT,
            "axes.labelcolor": MUTED,
            "axes.labelsize": 9,
            "axes.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.axisbelow": True,
            "axes.facecolor": "none",
            "axes.unicode_minus": True,
            "text.parse_math": False,  # a name may hold a dollar sign
            "grid.color": RULE,
            "grid.linewidth": 0.6,
            "xtick.color": FAINT,
            "ytick.color": FAINT,
            "xtick.labelcolor": MUTED,
            "ytick.labelcolor": INK,
            "xtick.labelsize": 8.5,
            "ytick.labelsize": 9,
            "xtick.major.size": 3,
            "ytick.major.size": 0,
            "figure.constrained_layout.h_pad": margin,
            "figure.constrained_layout.w_pad": margin,
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "legend.handlelength": 1.4,
            "legend.handletextpad": 0.6,
            "legend.columnspacing": 1.4,
            "legend.borderpad": 0,
            "legend.borderaxespad": 0.3,
        }
    )
    return stack


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


def text_width(text: str, size: float, weight: str = "normal") -> float:
    """CSS pixels that a line of text takes, at a size in points."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    return float(text_to_path.get_text_width_height_descent(text, font, ismath=False)[0]) / 72 / PIXEL


def wrapped(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    """Text as lines of at most `width` CSS pixels (a longer word has a line of its own)."""
    lines: list[str] = []
    for word in text.split():
        if lines and text_width(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


def signed(value: float, digits: int = 3) -> str:
    """-0.0841 -> '−0.084', with a sign that is as wide as the plus."""
    return f"{value:+.{digits}f}".replace("-", "−")


def percent(weight: float) -> str:
    """A weight for a reader: 0.0823 -> '8.23%', 0.136 -> '13.6%'."""
    if weight < 5e-5:
        return "0%" if weight == 0 else "< 0.01%"
    return f"{100 * weight:.2f}%" if weight < 0.0995 else f"{100 * weight:.1f}%"


def shorten(names: Iterable[str], most: int) -> list[str]:
    """Names as labels: where one is too long, all lose the prefix that they share, and then their middle."""
    kept = [str(name) for name in names]
    if len(kept) > 1 and max(map(len, kept)) > most:
        alike = next((i for i, letters in enumerate(zip(*kept, strict=False)) if len(set(letters)) > 1), 0)
        cut = max(kept[0].rfind(mark, 0, alike) for mark in "_-./") + 1
        kept = [name[cut:] for name in kept]
    return [name if len(name) <= most else f"{name[: most - most // 3 - 1]}…{name[-(most // 3) :]}" for name in kept]


def domain_rows(axes: "Axes", names: Iterable[str]) -> None:
    """A row per name, the first on top, labelled on the left."""
    labels = shorten(names, 30 if is_wide(axes) else 17)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels)
    if len(labels) > 32:
        axes.tick_params(axis="y", labelsize=8)


def beside(axes: "Axes", row: int, text: str, **style: Any) -> None:
    """Text of a row in a column right of the axes, where nothing is drawn."""
    axes.annotate(
        text,
        (1, row),
        xycoords=axes.get_yaxis_transform(),
        xytext=(38, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8.5,
        **style,
    )


def legend(axes: "Axes", columns: int, order: Sequence[str] = ()) -> "Axes":
    """A legend above the axes, from the figure's left edge, so that long labels have its whole width."""
    entries = list(zip(*axes.get_legend_handles_labels(), strict=True))
    entries.sort(key=lambda entry: next((i for i, start in enumerate(order) if entry[1].startswith(start)), len(order)))
    handles, labels = zip(*entries, strict=True)
    axes.figure.legend(handles, labels, loc="outside upper left", ncols=columns, alignment="left")
    return axes


def is_wide(axes: "Axes") -> bool:
    """Whether the figure is as wide as a desk's."""
    return float(axes.figure.bbox.width / axes.figure.dpi) > 0.5 * (WIDE + NARROW) * PIXEL
