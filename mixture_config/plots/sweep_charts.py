"""Tables of a sweep -> charts: each function draws a table into an Axes, answers one question, and returns the Axes."""

import math
from typing import TYPE_CHECKING

import numpy as np

from mixture_config.plots.scales import ROWS, fitting_legend, log_to_zero
from proxymix.plots.figures import marks
from proxymix.plots.palette import FAINT, INK, MUTED, OTHER, PRIOR, SMALL, SURFACE
from proxymix.plots.rows import MAX_LOOSE_ROWS, MAX_ROWS
from proxymix.plots.text import epochs_text, percent, percent_tick, percent_whole

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

QUANTILES = {"p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}


def weight_ranges(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much of each domain do the mixtures hold, beside its prior and its bounds?

    Args:
        table: domain; used, the share of the mixtures that hold it; p05, p25, median, p75 and p95 of the weights that are
            not zero; and where they are known prior, smallest_allowed, largest_allowed and epoch_limit. Its attrs hold the
            labels of these bounds.
    """
    shown, rows = _draw_ranges(table, axes)
    bounds = {"smallest_allowed": (5, INK, 0), "largest_allowed": (4, INK, 0), "epoch_limit": ("|", OTHER, 2.2)}
    for name, (marker, colour, edge_width) in bounds.items():
        if name in shown:
            inside = shown[name].where((shown[name] > 0) & (shown[name] < 1))
            label = table.attrs[name]
            marks(axes, inside, rows, marker, 7, colour, "", edge_width, label=label, zorder=4, clip_on=False)  # type: ignore[arg-type]
    if "prior" in shown:
        size = 5.2 if len(rows) <= MAX_LOOSE_ROWS else 4.4
        marks(axes, shown["prior"], rows, "D", size, SURFACE, INK, 1.1, label="prior (token share)", zorder=5)
    _share_column(axes, shown["used"], "in … of\nmixtures")
    axes.set_xlabel("weight in the mixtures that hold the domain (log scale down to zero)")
    log_to_zero(axes, shown[[c for c in (*QUANTILES, "prior", *bounds) if c in shown]], percent_tick)
    return fitting_legend(axes)


def epoch_ranges(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How often would the mixtures repeat each domain?

    Args:
        table: As for `weight_ranges`, in epochs at the budget instead of weights, and with over, the share of the mixtures
            that repeat the domain more than max_epochs times. Its attrs hold max_epochs, and prior_epochs, the epochs of
            every domain at the prior.
    """
    limit, prior = float(table.attrs["max_epochs"]), float(table.attrs["prior_epochs"])
    shown, _ = _draw_ranges(table, axes)
    draw_epoch_lines(axes, limit, prior)
    _share_column(axes, shown["over"], f"over {limit:g}\nepochs in")
    axes.set_xlabel("epochs in the mixtures that hold the domain (log scale down to zero)")
    log_to_zero(axes, shown[[*QUANTILES]], lambda value: f"{value:,.10g}", limit, prior)
    return fitting_legend(axes)


def draw_epoch_lines(axes: "Axes", limit: float, prior: float) -> None:
    """Lines at the most epochs allowed, and at those of every domain at the prior."""
    label = f"at the prior ({epochs_text(prior, 3)})"
    axes.axvline(prior, color=INK, linewidth=1, linestyle=(0, (2, 2)), label=label)
    axes.axvline(limit, color=OTHER, linewidth=1.3, linestyle=(0, (5, 2)), label=f"{limit:g} epochs")


def active_counts(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Over how many domains does a mixture spread?

    Args:
        table: active_domains (weights above zero) and effective_domains (e to the entropy), a row per mixture.
    """
    active, effective = table["active_domains"].to_numpy(), table["effective_domains"].to_numpy()
    largest, usual = int(active.max()), math.ceil(np.quantile(active, 0.98))
    # One uniform mixture among sparse ones would stretch the axis, so the last bin may be "more".
    last = usual + 1 if largest > 2 * usual else largest
    step = _round_step(last, 60)
    edges = 0.5 + step * np.arange(math.ceil(last / step) + 1)
    centers = (edges[:-1] + edges[1:]) / 2
    axes.grid(axis="y")
    in_bins = [np.histogram(np.minimum(values, centers[-1]), edges)[0] for values in (active, effective)]
    heights = in_bins[0] / len(table)
    axes.bar(centers, heights, width=0.86 * step, color=PRIOR, alpha=0.6, label="domains with any weight")
    axes.stairs(in_bins[1] / len(table), edges, color=INK, linewidth=1.6, label="effective number of domains")
    axes.set_xlim(edges[0] - 0.3 * step, edges[-1] + 0.3 * step)
    ticks = [tick for tick in _tick_numbers(last) if last == largest or tick < usual]
    more = {} if last == largest else {float(centers[-1]): f"> {math.floor(edges[-2])}"}
    axes.set_xticks([*ticks, *more], [*map(str, ticks), *more.values()])
    axes.set_xlabel("domains" + (f" (in bins of {step})" if step > 1 else ""))
    _share_axis(axes)
    return fitting_legend(axes)


def distances(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How far is a mixture from the nearest other one?

    Args:
        table: distance, a row per mixture: half the sum of absolute differences of weights.
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
        f"median {percent(median)}", (median, 0.97), xycoords=axes.get_xaxis_transform(), xytext=(-6 if right else 6, 0),
        textcoords="offset points", ha="right" if right else "left", va="top", weight="bold",
        bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5},
    )  # fmt: skip
    axes.set_xlim(0, top)
    axes.set_ylim(0, counts.max() / len(found) * 1.15)
    axes.xaxis.set_major_formatter(lambda value, _: percent_tick(value))
    axes.set_xlabel("distance to the nearest other mixture (share of the weight that differs)")
    _share_axis(axes)
    return axes


def _draw_ranges(table: "pd.DataFrame", axes: "Axes") -> "tuple[pd.DataFrame, np.ndarray]":
    """The rows shown and their places, with their quantiles drawn, and a circle at zero for the mixtures without."""
    shown = table.head(MAX_ROWS)
    rows, loose = np.arange(len(shown)), len(shown) <= MAX_LOOSE_ROWS
    axes.grid(axis="x")
    thick = 0.62 if loose else 0.7
    for low, high, height, colour, order, label in (
        ("p25", "p75", thick, MUTED, 3, "middle half, with the median"),
        ("p05", "p95", thick * 0.55, FAINT, 1, "5% to 95%"),
    ):
        axes.barh(
            rows, shown[high] - shown[low], left=shown[low], height=height, color=colour, linewidth=0, zorder=order,
            label=label,
        )  # fmt: skip
    single = shown["p25"] == shown["p75"]  # a bar without width: its median is drawn dark
    for median, colour in ((shown["median"].where(~single), SURFACE), (shown["median"].where(single), MUTED)):
        axes.vlines(median, rows - thick / 2, rows + thick / 2, color=colour, linewidth=2, zorder=3)
    axes.scatter(
        np.zeros(len(rows)), rows, s=(64 if loose else 40) * (1 - shown["used"]), facecolors=SURFACE, edgecolors=INK,
        linewidths=0.9, clip_on=False, zorder=3,
    )  # fmt: skip
    marks(axes, [], [], "o", 6, SURFACE, INK, 0.9, label="zero (area: in how many)")
    ROWS.label(axes, shown["domain"])
    return shown, rows


def _share_column(axes: "Axes", shares: "pd.Series[float]", head: str) -> None:
    ROWS.numbers(axes, ["none" if share == 0 else percent_whole(share) for share in shares], head)


def _share_axis(axes: "Axes") -> None:
    axes.set_ylabel("share of the mixtures")
    axes.yaxis.set_major_formatter(lambda value, _: percent_tick(value))
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=SMALL)


def _round_step(largest: int, max_parts: int) -> int:
    """The least of 1, 2, 5, 10 ... that cuts `largest` into at most `max_parts` parts."""
    return next(n * 10**k for k in range(9) for n in (1, 2, 5) if largest <= max_parts * n * 10**k)


def _tick_numbers(largest: int) -> list[int]:
    """Round whole numbers from 1 to `largest`, at most twenty."""
    step = _round_step(largest, 20)
    return list(range(1, largest + 1)) if step == 1 else list(range(0, largest + 1, step))
