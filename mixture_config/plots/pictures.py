"""Tables of mixtures -> pictures: each function takes a table and an Axes, answers one question, returns the Axes.

Weights span five orders of magnitude and most are zero. So ranges are drawn on a logarithmic axis that ends in a zero
(`symlog`), bars on a square-root axis, and how many weights are zero is always said in numbers.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from proxymix.plots.figures import (
    EDGE,
    FAINT,
    INK,
    MEASURED,
    MUTED,
    OTHER,
    PIXEL,
    PRIOR,
    PROPOSED,
    SURFACE,
    legend,
    percent,
    shorten,
    text_width,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

QUANTILES = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
LEGEND_ORDER = ("a mixture of", "middle half", "5% to", "zero", "domains with", "(", "prior", "at the prior")
MOST_ROWS = 64  # domains in a picture; its table has them all
MOST_LETTERS = 40  # of a domain's name
LABEL_SIZE = 8.5  # points
COLUMN = 50  # CSS pixels, of a column of numbers beside the rows
NAME_PLACES = tuple((right, above) for right in (-1, 0, 1) for above in (-1, 0, 1) if right or above)
MOST_MIXTURES = 4  # that a picture can tell apart
BASELINE_MARKS = {"temperature": "^", "unimax": "v", "capped": "s", "proportional": "o"}
ANCHOR_MARKS = "DsP*vphd"
GIVEN_MARKS = "X<>8"
MIXTURE_STYLES = ((PROPOSED, ""), (OTHER, "////"), (MEASURED, ""), (SURFACE, ""))
"""Colour and hatching of the first, second ... mixture; the last is an outline."""


def weight_ranges(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much of each domain do the mixtures hold, beside its prior and its bounds?

    Args:
        table: domain; used, the share of the mixtures that hold it; p05, p25, median, p75 and p95 of the weights that are
            not zero; and where they are known prior, and smallest_allowed, largest_allowed and epoch_limit, whose names its
            attrs hold.
        axes: Where to draw.
    """
    shown, rows = _ranges(table, axes)
    limits = {"smallest_allowed": (5, INK), "largest_allowed": (4, INK), "epoch_limit": ("|", OTHER)}
    for name, (marker, colour) in limits.items():
        if name in shown:
            axes.plot(
                shown[name].where((shown[name] > 0) & (shown[name] < 1)), rows, linestyle="none", marker=marker, color=colour, markersize=7,
                markeredgewidth=2.2 if marker == "|" else 0, label=table.attrs[name], zorder=4, clip_on=False,
            )  # fmt: skip
    if "prior" in shown:
        axes.plot(
            shown["prior"], rows, linestyle="none", marker="D", markersize=5.2 if len(rows) <= 24 else 4.4,
            markerfacecolor=SURFACE, markeredgecolor=INK, markeredgewidth=1.1, label="prior (token share)", zorder=5,
        )  # fmt: skip
    _number_column(axes, shown["used"], "in … of\nmixtures", lambda used: "none" if used == 0 else percent_whole(used))
    axes.set_xlabel("weight in the mixtures that hold the domain (log scale down to zero)")
    _log_to_zero(axes, shown[[c for c in (*QUANTILES, "prior", *limits) if c in shown]], percent_tick)
    return _legend(axes)


def epoch_ranges(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How often would the mixtures repeat each domain?

    Args:
        table: As for `weight_ranges`, in epochs at the budget instead of weights, and with over, the share of the mixtures
            that repeat the domain more than max_epochs times; its attrs hold max_epochs, and prior_epochs, those of every
            domain at the prior.
        axes: Where to draw.
    """
    limit, prior = float(table.attrs["max_epochs"]), float(table.attrs["prior_epochs"])
    shown, _ = _ranges(table, axes)
    _epoch_lines(axes, limit, prior)
    head = f"over {limit:g}\nepochs in"
    _number_column(axes, shown["over"], head, lambda over: "none" if over == 0 else percent_whole(over))
    axes.set_xlabel("epochs in the mixtures that hold the domain (log scale down to zero)")
    _log_to_zero(axes, shown[[*QUANTILES]], lambda value: f"{value:,.10g}", limit, prior)
    return _legend(axes)


def _epoch_lines(axes: "Axes", limit: float, prior: float) -> None:
    axes.axvline(prior, color=INK, linewidth=1, linestyle=(0, (2, 2)), label=f"at the prior ({epochs_text(prior)})")
    axes.axvline(limit, color=OTHER, linewidth=1.3, linestyle=(0, (5, 2)), label=f"{limit:g} epochs")


def active_counts(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Over how many domains does a mixture spread?

    Args:
        table: active_domains (weights above zero) and effective_domains (e to the entropy), a row per mixture.
        axes: Where to draw.
    """
    active, effective = table["active_domains"].to_numpy(), table["effective_domains"].to_numpy()
    most, usual = int(active.max()), math.ceil(np.quantile(active, 0.98))
    last = usual + 1 if most > 2 * usual else most  # a uniform anchor among sparse mixtures takes no room: "more"
    step = bin_width(last)
    edges = 0.5 + step * np.arange(math.ceil(last / step) + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    axes.grid(axis="y")
    in_bins = [np.histogram(np.minimum(values, centers[-1]), edges)[0] for values in (active, effective)]
    axes.bar(  # drawn and named first
        centers, in_bins[0] / len(table), width=0.86 * step, color=PRIOR, alpha=0.6, label="domains with any weight"
    )
    axes.stairs(in_bins[1] / len(table), edges, color=INK, linewidth=1.6, label="effective number of domains")
    axes.set_xlim(edges[0] - 0.3 * step, edges[-1] + 0.3 * step)
    ticks = [tick for tick in tick_numbers(last) if last == most or tick < usual]
    more = {} if last == most else {float(centers[-1]): f"> {math.floor(edges[-2])}"}
    axes.set_xticks([*ticks, *more], [*map(str, ticks), *more.values()])
    axes.set_xlabel("domains" + (f" (in bins of {step})" if step > 1 else ""))
    axes.set_ylabel("share of the mixtures")
    axes.yaxis.set_major_formatter(lambda value, _: percent_tick(value))
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=LABEL_SIZE)
    return _legend(axes)


def distances(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How far is a mixture from the nearest other one?

    Args:
        table: distance, a row per mixture: half the sum of absolute differences of weights.
        axes: Where to draw.
    """
    found = table["distance"].to_numpy()
    top = max(math.ceil(found.max() * 20) / 20, 0.05)
    counts, edges = np.histogram(found, bins=40, range=(0, top))
    axes.grid(axis="y")
    axes.stairs(counts / len(found), edges, fill=True, color=PRIOR, alpha=0.6)
    axes.stairs(counts / len(found), edges, color=INK, linewidth=0.9)
    median = float(np.median(found))
    axes.axvline(median, color=INK, linewidth=1.2, linestyle=(0, (4, 2)))
    right = median > 0.6 * top
    axes.annotate(
        f"median {percent(median)}",
        (median, 0.97),
        xycoords=axes.get_xaxis_transform(),
        xytext=(-6 if right else 6, 0),
        textcoords="offset points",
        ha="right" if right else "left",
        va="top",
        weight="bold",
        bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5},
    )
    axes.set_xlim(0, top)
    axes.set_ylim(0, counts.max() / len(found) * 1.15)
    axes.xaxis.set_major_formatter(lambda value, _: percent_tick(value))
    axes.yaxis.set_major_formatter(lambda value, _: percent_tick(value))
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=LABEL_SIZE)
    axes.set_xlabel("distance to the nearest other mixture (share of the weight that differs)")
    axes.set_ylabel("share of the mixtures")
    return axes


def coverage_map(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Where do the mixtures lie, and is anything between them?

    Args:
        table: kind ("mixture", "single domain", "anchor", "given" or "domain"), name, x and y; its attrs hold explained, the
            shares of the variance along x and y.
        axes: Where to draw. Domains are named where there is room, the furthest out first.
    """
    import pandas as pd

    groups = dict(list(table.groupby("kind", sort=False)))
    sweep = groups["mixture"]
    few = len(sweep) < 100
    axes.grid()
    axes.plot(
        sweep["x"],
        sweep["y"],
        linestyle="none",
        marker="o",
        markersize=5 if few else 3.5 if len(sweep) < 2000 else 2,
        color=MEASURED,
        alpha=0.5 if len(sweep) < 2000 else 0.25,
        markeredgewidth=0,
        label=f"a mixture of the sweep (n = {len(sweep):,})",
    )
    if "single domain" in groups:
        rows = groups["single domain"]
        axes.plot(
            rows["x"], rows["y"], "x", color=OTHER, markersize=6, markeredgewidth=1.8, label="an anchor on one domain"
        )
    for kind, marks, colour in (("anchor", ANCHOR_MARKS, OTHER), ("given", GIVEN_MARKS, PROPOSED)):
        rows = groups.get(kind, table.head(0))
        for position, (name, x, y) in enumerate(rows[["name", "x", "y"]].itertuples(index=False)):
            marker = marks[min(position, len(marks) - 1)]
            axes.plot(
                [x],
                [y],
                linestyle="none",
                marker=marker,
                markersize=10 if marker in "*PX" else 8,
                color=colour,
                markeredgecolor=SURFACE,
                markeredgewidth=1.2,
                zorder=4,
                label=name if position < len(marks) - 1 or len(rows) == len(marks) else "_",
            )
        if len(rows) > len(marks):
            label = f"{len(rows) - len(marks) + 1} more"
            axes.plot([], [], linestyle="none", marker=marks[-1], markersize=8, color=colour, label=label)
    explained = table.attrs["explained"]
    axes.set_xlabel(f"first direction ({percent_whole(explained[0])} of the variance)")
    axes.set_ylabel(f"second direction ({percent_whole(explained[1])})")
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.08)
    axes.tick_params(axis="both", labelbottom=False, labelleft=False, length=0)
    axes.spines["left"].set_visible(False)
    axes.spines["bottom"].set_visible(False)
    _legend(axes)
    named = pd.concat([groups[kind] for kind in ("anchor", "given") if kind in groups] or [table.head(0)])
    _name_corners(axes, groups.get("domain", table.head(0)), _places(sweep), _places(named))
    return axes


def _places(rows: "pd.DataFrame") -> np.ndarray:
    return rows[["x", "y"]].to_numpy(dtype=float)


def _name_corners(axes: "Axes", corners: "pd.DataFrame", dots: np.ndarray, marks: np.ndarray) -> None:
    """The places of single domains, with names that cover neither each other, nor a mark, nor the edge, and few dots."""
    from matplotlib.patheffects import withStroke

    axes.figure.canvas.figure.draw_without_rendering()  # so that the axes have their final place
    axes.set_autoscale_on(False)  # and keep it: a triangle near the edge would move what is already placed
    pixel = axes.figure.dpi * PIXEL
    to_pixels = axes.transData.transform
    frame = axes.bbox.extents
    dots = to_pixels(dots)
    taken = [_box(place, 9 * pixel, 9 * pixel) for place in to_pixels(marks)] if len(marks) else []
    reach = np.hypot(*_places(corners).T)
    for name, x, y in corners[["name", "x", "y"]].head(MOST_ROWS).itertuples(index=False):
        place = to_pixels((x, y))
        triangle = _box(place, 6 * pixel, 6 * pixel)
        if math.hypot(x, y) < reach.max() / 3 or not _inside(triangle, frame) or any(_meet(triangle, b) for b in taken):
            continue
        wide, high = (text_width(name, 8) / 2 + 2) * pixel, 8 * pixel
        found = []
        for right, above in NAME_PLACES:
            center = place + np.array([right * (wide + 6 * pixel), above * 11 * pixel])
            box = _box(center, wide, high)
            if _inside(box, frame) and not any(_meet(box, other) for other in taken):
                covered = int(((np.abs(dots - center) < (wide, high)).all(axis=1)).sum())
                found.append((covered, -float(np.dot((right, above), (x, y))), right, above, box))
        if not found:
            continue
        _, _, right, above, box = min(found)
        taken += [triangle, box]
        axes.plot([x], [y], "^", markersize=5, markerfacecolor=SURFACE, markeredgecolor=INK, zorder=5)
        text = axes.annotate(
            name,
            (x, y),
            xytext=(right * 8 * 0.75, above * 11 * 0.75),
            textcoords="offset points",
            ha=("right", "center", "left")[right + 1],
            va="center",
            fontsize=8,
            color=INK,
            path_effects=[withStroke(linewidth=2.5, foreground=SURFACE)],
            zorder=5,
        )
        text.set_in_layout(False)


def _box(center: np.ndarray, half_width: float, half_height: float) -> tuple[float, float, float, float]:
    return center[0] - half_width, center[1] - half_height, center[0] + half_width, center[1] + half_height


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _inside(box: Sequence[float], frame: Sequence[float]) -> bool:
    return box[0] > frame[0] and box[1] > frame[1] and box[2] < frame[2] and box[3] < frame[3]


def mixture_bars(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How do a few mixtures differ from the prior and the baselines?

    Args:
        table: domain, the mixtures' weights in the columns that its attrs call mixtures, and prior and other baselines.
        axes: Where to draw.
    """
    shown, names = table.head(MOST_ROWS), list(table.attrs["mixtures"])
    rows = np.arange(len(shown))
    axes.grid(axis="x")
    if "prior" in shown:
        axes.barh(rows, shown["prior"], height=0.9, color=PRIOR, alpha=0.4, linewidth=0, label="prior (token share)")
    _grouped_bars(axes, shown, names)
    for name in (c for c in BASELINE_MARKS if c in shown):
        axes.plot(
            shown[name], rows, linestyle="none", marker=BASELINE_MARKS[name], markersize=5, markerfacecolor=SURFACE,
            markeredgecolor=INK, markeredgewidth=0.9, label=name, zorder=4,
        )  # fmt: skip
    if "uniform" in shown:
        level = float(shown["uniform"].iloc[0])
        axes.axvline(level, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), label=f"uniform ({percent(level)})")
    values = shown.drop(columns="domain").to_numpy(dtype=float)
    _square_root(axes, values.max(), percent_tick)
    axes.set_xlabel("weight in the mixture (square-root scale)")
    name_rows(axes, shown["domain"])
    for column, name in enumerate(names):
        _number_column(axes, shown[name], f"({column + 1})" if len(names) > 1 else "weight", percent, column)
    return _legend(axes, *names)


def epoch_bars(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How often do a few mixtures repeat each domain?

    Args:
        table: domain, and epochs at the budget in the columns that its attrs call mixtures; its attrs hold max_epochs, and
            prior_epochs, which are those of every domain at the prior.
        axes: Where to draw.
    """
    shown, names = table.head(MOST_ROWS), list(table.attrs["mixtures"])
    limit, prior = float(table.attrs["max_epochs"]), float(table.attrs["prior_epochs"])
    axes.grid(axis="x")
    _grouped_bars(axes, shown, names)
    _epoch_lines(axes, limit, prior)
    _square_root(axes, max(float(shown[names].to_numpy().max()), limit, prior), lambda value: f"{value:,.10g}")
    axes.set_xlabel("epochs at the budget (square-root scale)")
    name_rows(axes, shown["domain"])
    for column, name in enumerate(names):
        _number_column(axes, shown[name], f"({column + 1})" if len(names) > 1 else "epochs", epochs_text, column)
    return _legend(axes, *names)


def _grouped_bars(axes: "Axes", shown: "pd.DataFrame", names: Sequence[str]) -> None:
    rows, height = np.arange(len(shown)), 0.74 / (len(names) + (len(names) == 1))
    for position, (name, (colour, hatch)) in enumerate(zip(names, MIXTURE_STYLES, strict=False)):
        axes.barh(
            rows + (position - (len(names) - 1) / 2) * height,
            shown[name].where(shown[name] > 0),
            height=height,
            facecolor=SURFACE if hatch else colour,
            edgecolor=INK if colour == SURFACE else colour,
            hatch=hatch,
            linewidth=0.8,
            label=f"({position + 1}) {name}" if len(names) > 1 else name,
        )


def _square_root(axes: "Axes", most: float, text: Callable[[float], str]) -> None:
    axes.set_xscale("function", functions=(lambda x: np.sqrt(np.maximum(x, 0)), np.square))
    axes.set_xlim(0, 1.04 * most)
    ticks = [0.0]
    for tick in (m * 10.0**k for k in range(-6, 6) for m in (1, 2, 5)):
        if tick <= 1.04 * most and math.sqrt(tick / most) - math.sqrt(ticks[-1] / most) > 0.08:
            ticks.append(tick)
    axes.set_xticks(ticks, [text(tick) for tick in ticks])


def _ranges(table: "pd.DataFrame", axes: "Axes") -> "tuple[pd.DataFrame, np.ndarray]":
    """The rows shown and their places, with their quantiles drawn, and a circle at zero for the mixtures without."""
    shown = table.head(MOST_ROWS)
    rows = np.arange(len(shown))
    axes.grid(axis="x")
    thick = 0.62 if len(rows) <= 24 else 0.7
    axes.barh(
        rows, shown["p75"] - shown["p25"], left=shown["p25"], height=thick, color=MUTED, linewidth=0, zorder=3,
        label="middle half, with the median",
    )  # fmt: skip
    axes.barh(
        rows, shown["p95"] - shown["p05"], left=shown["p05"], height=thick * 0.55, color=FAINT, linewidth=0,
        label="5% to 95%",
    )  # fmt: skip
    single = shown["p25"] == shown["p75"]  # a bar without width: its median is drawn dark
    for median, colour in ((shown["median"].where(~single), SURFACE), (shown["median"].where(single), MUTED)):
        axes.vlines(median, rows - thick / 2, rows + thick / 2, color=colour, linewidth=2, zorder=3)
    full = 64 if len(rows) <= 24 else 40  # square points
    axes.scatter(
        np.zeros(len(rows)), rows, s=full * (1 - shown["used"]), facecolors=SURFACE, edgecolors=INK, linewidths=0.9,
        clip_on=False, zorder=3,
    )  # fmt: skip
    axes.plot(
        [], [], "o", markersize=6, markerfacecolor=SURFACE, markeredgecolor=INK, markeredgewidth=0.9,
        label="zero (area: in how many)",
    )  # fmt: skip
    name_rows(axes, shown["domain"])
    return shown, rows


def _log_to_zero(axes: "Axes", shown: "pd.DataFrame", text: Callable[[float], str], *more: float) -> None:
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


def _legend(axes: "Axes", *first: str) -> "Axes":
    """A legend with as many columns as fit the picture; the labels `first` begin it."""
    labels = axes.get_legend_handles_labels()[1]
    width = axes.figure.bbox.width / axes.figure.dpi / PIXEL - 2 * EDGE
    each = max(text_width(label, LABEL_SIZE) for label in labels) + 46
    room = sum(text_width(label, LABEL_SIZE) + 46 for label in labels)
    return legend(axes, len(labels) if room <= width else max(int(width / each), 1), [*first, *LEGEND_ORDER])


def name_rows(axes: "Axes", names: "pd.Series[str]") -> None:
    """A row per domain, the first on top, with its whole name."""
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), row_labels(names))
    axes.tick_params(axis="y", labelsize=LABEL_SIZE, pad=9)
    axes.spines["left"].set_visible(False)


def row_labels(names: Iterable[str]) -> list[str]:
    """Names as labels, cut only beyond 40 letters, and only where they stay apart."""
    whole = [str(name) for name in names]
    short = shorten(whole, MOST_LETTERS)
    return short if len(set(short)) == len(short) else whole


def rows_width(names: Sequence[str], columns: int = 1) -> int:
    """CSS pixels for rows with these names, a panel that is wide enough, and columns of numbers."""
    widest = max(text_width(label, LABEL_SIZE) for label in row_labels(names))
    return math.ceil(widest + 430 + columns * COLUMN)


def rows_height(num_rows: int, num_mixtures: int = 1) -> int:
    """CSS pixels for so many rows, their axis and legend."""
    return 110 + max(((26 if num_rows <= 24 else 17) + 7 * (num_mixtures - 1)) * min(num_rows, MOST_ROWS), 78)


def _number_column(
    axes: "Axes", values: "pd.Series[Any]", head: str, text: Callable[[float], str], column: int = 0, **style: Any
) -> None:
    """Numbers right of the rows, right-aligned, under a head."""
    for row, label in [(-0.6, head), *enumerate(map(text, values))]:
        axes.annotate(
            label,
            (1, row),
            xycoords=axes.get_yaxis_transform(),
            xytext=((column + 1) * COLUMN * 0.75, 3 if row < 0 else 0),
            textcoords="offset points",
            ha="right",
            va="bottom" if row < 0 else "center_baseline",
            fontsize=8 if row < 0 else LABEL_SIZE,
            color=MUTED if row < 0 else INK,
            **style,
        )


def percent_whole(share: float) -> str:
    """A share of many for a reader: '37%', '0.4%', and never 0% or 100% for what is not."""
    value = 100 * share
    if value in (0, 100):
        return f"{value:.0f}%"
    if 99.5 <= value < 100:
        return "> 99%"
    return f"{value:.0f}%" if value >= 0.95 else f"{value:.1f}%" if value >= 0.05 else "< 0.1%"


def percent_tick(value: float) -> str:
    """A weight on an axis: '0', '0.01%', '10%'."""
    return "0" if value == 0 else f"{100 * value:.10g}%"


def bin_width(most: int) -> int:
    """The least of 1, 2, 5, 10 ... that cuts `most` into at most 60 bins."""
    return next(n * 10**k for k in range(9) for n in (1, 2, 5) if most <= 60 * n * 10**k)


def tick_numbers(most: int) -> list[int]:
    """Round whole numbers from 1 to `most`, at most twenty."""
    step = next(n * 10**k for k in range(9) for n in (1, 2, 5) if most <= 20 * n * 10**k)
    return list(range(1, most + 1)) if step == 1 else list(range(0, most + 1, step))


def epochs_text(epochs: float) -> str:
    """Epochs for a reader: 0.0312 -> '0.031', 12.34 -> '12.3'."""
    return (
        "0"
        if epochs == 0
        else "< 0.001"
        if epochs < 0.0005
        else f"{epochs:,.{3 if epochs < 0.1 else 2 if epochs < 10 else 1}f}"
    )
