"""The look of every figure: one colour per role, sizes, and matplotlib's settings.

One colour per role throughout: prior grey, proposed blue, measured black. A mark differs from others by its shape too, never
by its colour alone.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
"""Colour -> the CSS variable that a page has for it. A dark page gives each role another colour, so no two may be equal."""

WIDE, NARROW = 680, 350  # CSS pixels, the widths of a figure on a desk and on a phone
PIXEL = 1 / 96  # inches
SHARPNESS = 2  # a PNG's pixels per CSS pixel
EDGE = 14  # CSS pixels around a title
LEADING = 1.9  # CSS pixels from line to line, per point of type
SMALL = 8.5  # points: labels of ticks, legends and numbers beside rows


def style(salt: str, margin: float) -> ExitStack:
    """Matplotlib's settings for one figure, in force until the context ends.

    They start from matplotlib's defaults, because a user's matplotlibrc must not change a report.

    Args:
        salt: Text that the ids of an SVG are made from.
        margin: Inches around the figure.
    """
    import matplotlib as mpl

    stack = ExitStack()
    stack.enter_context(_restored_settings())
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
            "xtick.labelsize": SMALL,
            "ytick.labelsize": 9,
            "xtick.major.size": 3,
            "ytick.major.size": 0,
            "figure.constrained_layout.h_pad": margin,
            "figure.constrained_layout.w_pad": margin,
            "legend.frameon": False,
            "legend.fontsize": SMALL,
            "legend.handlelength": 1.4,
            "legend.handletextpad": 0.6,
            "legend.columnspacing": 1.4,
            "legend.borderpad": 0,
            "legend.borderaxespad": 0.3,
        }
    )
    return stack


@contextmanager
def _restored_settings() -> Iterator[None]:
    """Matplotlib's settings are the caller's again when the context ends, except for `interactive`.

    A notebook loads its backend with the first figure, perhaps within this context, and that turns `interactive` on. If it
    were turned off again, the notebook would show no figure from then on.
    """
    import matplotlib as mpl

    with ExitStack() as afterwards, mpl.rc_context():
        try:
            yield
        finally:
            afterwards.callback(mpl.interactive, mpl.is_interactive())


def is_wide(axes: "Axes") -> bool:
    """Whether the figure is as wide as a desk's."""
    return float(axes.figure.bbox.width / axes.figure.dpi) > 0.5 * (WIDE + NARROW) * PIXEL
