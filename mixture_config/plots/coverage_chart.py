"""A table of places -> a map of a sweep, with the names of single domains where there is room for them."""

import math
from typing import TYPE_CHECKING

import numpy as np

from mixture_config.plots.scales import fitting_legend
from proxymix.plots.figures import marks
from proxymix.plots.palette import INK, MEASURED, OTHER, PIXEL, PROPOSED, SURFACE
from proxymix.plots.rows import MAX_ROWS
from proxymix.plots.text import percent_whole, text_width

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

NAME_PLACES = tuple((right, above) for right in (-1, 0, 1) for above in (-1, 0, 1) if right or above)
ANCHOR_MARKS = "DsP*vphd"
GIVEN_MARKS = "X<>8"


def coverage_map(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Where do the mixtures lie, and is anything between them?

    Args:
        table: kind ("mixture", "single domain", "anchor", "given" or "domain"), name, x and y; its attrs hold explained, the
            shares of the variance along x and y.
        axes: Where to draw. Domains are named where there is room, the furthest out first.
    """
    import pandas as pd

    groups = dict(list(table.groupby("kind", sort=False)))
    none = table.head(0)
    sweep = groups["mixture"]
    many = len(sweep) >= 2000
    axes.grid()
    marks(
        axes, sweep["x"], sweep["y"], "o", 5 if len(sweep) < 100 else 2 if many else 3.5, MEASURED, edge_width=0,
        alpha=0.25 if many else 0.5, label=f"a mixture of the sweep (n = {len(sweep):,})",
    )  # fmt: skip
    if "single domain" in groups:
        rows = groups["single domain"]
        marks(axes, rows["x"], rows["y"], "x", 6, OTHER, edge_width=1.8, label="an anchor on one domain")
    _draw_named(axes, groups.get("anchor", none), ANCHOR_MARKS, OTHER)
    _draw_named(axes, groups.get("given", none), GIVEN_MARKS, PROPOSED)
    explained = table.attrs["explained"]
    axes.set_xlabel(f"first direction ({percent_whole(explained[0])} of the variance)")
    axes.set_ylabel(f"second direction ({percent_whole(explained[1])})")
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.tick_params(axis="both", labelbottom=False, labelleft=False, length=0)
    axes.spines[["left", "bottom"]].set_visible(False)
    fitting_legend(axes)
    named = pd.concat([groups[kind] for kind in ("anchor", "given") if kind in groups] or [none])
    _name_corners(axes, groups.get("domain", none), _places(sweep), _places(named))
    return axes


def _draw_named(axes: "Axes", rows: "pd.DataFrame", markers: str, colour: str) -> None:
    """Mixtures that have names, each with a marker of its own; those beyond the last marker share it."""
    beyond = len(rows) > len(markers)
    for position, (name, x, y) in enumerate(rows[["name", "x", "y"]].itertuples(index=False)):
        marker = markers[min(position, len(markers) - 1)]
        label = "_" if beyond and position >= len(markers) - 1 else name
        marks(axes, [x], [y], marker, 10 if marker in "*PX" else 8, colour, SURFACE, 1.2, zorder=4, label=label)
    if beyond:
        marks(axes, [], [], markers[-1], 8, colour, label=f"{len(rows) - len(markers) + 1} more")


def _places(rows: "pd.DataFrame") -> np.ndarray:
    return rows[["x", "y"]].to_numpy(dtype=float)


def _name_corners(axes: "Axes", corners: "pd.DataFrame", dots: np.ndarray, taken_places: np.ndarray) -> None:
    """The places of single domains, with names that cover neither each other, nor a mark, nor the edge, and few dots."""
    from matplotlib.patheffects import withStroke

    # ---- 1. The axes take their final place and keep it: a triangle near the edge would move what is already placed.
    axes.figure.canvas.figure.draw_without_rendering()
    axes.set_autoscale_on(False)
    pixel = axes.figure.dpi * PIXEL
    to_pixels = axes.transData.transform
    frame = axes.bbox
    dots = to_pixels(dots)
    taken = [_box(place, 9 * pixel, 9 * pixel) for place in to_pixels(taken_places)] if len(taken_places) else []
    furthest = np.hypot(*_places(corners).T).max(initial=0.0)
    for name, x, y in corners[["name", "x", "y"]].head(MAX_ROWS).itertuples(index=False):
        # ---- 2. A triangle, where it is far from the center and covers nothing.
        place = to_pixels((x, y))
        triangle = _box(place, 6 * pixel, 6 * pixel)
        if math.hypot(x, y) < furthest / 3 or not _inside(triangle, frame) or triangle.count_overlaps(taken):
            continue
        # ---- 3. Its name, at the free place beside it that covers the fewest dots; outwards where places are equal.
        wide, high = (text_width(name, 8) / 2 + 2) * pixel, 8 * pixel
        found = []
        for right, above in NAME_PLACES:
            center = place + np.array([right * (wide + 6 * pixel), above * 11 * pixel])
            box = _box(center, wide, high)
            if _inside(box, frame) and not box.count_overlaps(taken):
                covered = int(((np.abs(dots - center) < (wide, high)).all(axis=1)).sum())
                found.append((covered, -float(np.dot((right, above), (x, y))), right, above, box))
        if not found:
            continue
        _, _, right, above, box = min(found)
        taken += [triangle, box]
        axes.plot([x], [y], "^", markersize=5, markerfacecolor=SURFACE, markeredgecolor=INK, zorder=5)
        text = axes.annotate(
            name, (x, y), xytext=(right * 8 * 0.75, above * 11 * 0.75), textcoords="offset points",
            ha=("right", "center", "left")[right + 1], va="center", fontsize=8, color=INK,
            path_effects=[withStroke(linewidth=2.5, foreground=SURFACE)], zorder=5,
        )  # fmt: skip
        text.set_in_layout(False)


def _box(center: np.ndarray, half_width: float, half_height: float) -> "Bbox":
    from matplotlib.transforms import Bbox

    half = np.array([half_width, half_height])
    return Bbox([center - half, center + half])


def _inside(box: "Bbox", frame: "Bbox") -> bool:
    return bool(frame.fully_contains(*box.min) and frame.fully_contains(*box.max))
