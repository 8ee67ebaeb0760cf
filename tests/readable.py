"""Whether every text of a figure can be read: none covers another, and none leaves the figure."""

from itertools import combinations

from matplotlib.text import Text

from proxymix.plots.figures import Figure
from proxymix.plots.palette import WIDE, style

Box = tuple[float, float, float, float]
"""Left, bottom, right, top."""


def texts(artist) -> list[Text]:
    """Texts that are drawn; a tick beyond the limits is not."""
    beyond = set()
    for axes in [artist] if hasattr(artist, "xaxis") else artist.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            ticks = [tick for tick in axis.get_major_ticks() if not low - 1e-9 <= tick.get_loc() <= high + 1e-9]
            beyond |= {label for tick in ticks for label in (tick.label1, tick.label2)}
    found = artist.findobj(Text)
    return [text for text in found if text.get_visible() and text.get_text().strip() and text not in beyond]


def texts_on(figure: Figure, width: int = WIDE) -> tuple[Box, list[tuple[str, Box]]]:
    """The frame of a figure, and every text on it with its box as drawn."""
    with style(figure.name, margin=0.14):
        canvas = figure.canvas(width)
        canvas.draw_without_rendering()
        boxes = [(text.get_text(), tuple(text.get_window_extent().extents)) for text in texts(canvas)]
        return tuple(canvas.bbox.extents), boxes


def assert_readable(figure: Figure, width: int = WIDE) -> None:
    """Every text of the figure lies within it, says something, and covers no other."""
    frame, boxes = texts_on(figure, width)
    assert len(boxes) > 5
    for text, (left, bottom, right, top) in boxes:
        assert "nan" not in text
        inside = left > frame[0] - 1 and bottom > frame[1] - 1 and right < frame[2] + 1 and top < frame[3] + 1
        assert inside, f"{figure.name}: {text!r} leaves the figure"
    x, y = 2, 3  # letters do not fill their boxes
    for (one, a), (other, b) in combinations(boxes, 2):
        apart = a[0] + x >= b[2] or b[0] + x >= a[2] or a[1] + y >= b[3] or b[1] + y >= a[3]
        assert apart, f"{figure.name}: {one!r} covers {other!r}"
