"""Charts of a fit: how well it ranks runs that it has not seen, with these runs and with more."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from proxymix.plots.figures import legend, marks
from proxymix.plots.palette import FAINT, INK, MEASURED, MUTED, PIXEL, PRIOR, PROPOSED, SMALL, SURFACE, is_wide
from proxymix.plots.text import text_width
from regression.reporting.charts.shared import NORMAL_95, ROWS, fitting, fitting_phone, largest_rows, left_out, unit_of
from regression.selection.metrics import spearman

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MAX_LARGE_DOTS = 200  # more runs than these are drawn small


def predicted_against_measured(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Does the regression rank mixtures that it has not seen, and does it know how far off it is?

    Args:
        table: measured and predicted, a row per run; optional std, a run's predicted standard deviation, and kind: "out of
            fold", or the name of a confirmed mixture. Its attrs may hold spearman, as text, and noise, the standard
            deviation of the measured over seeds of one mixture.
    """
    unseen = table[table["kind"] == "out of fold"] if "kind" in table else table
    both = table[["measured", "predicted"]].to_numpy(dtype=float)
    low, high = both.min(), both.max()
    room = 0.06 * (high - low) or 0.01
    ends = np.array([low - room, high + room])
    few = len(unseen) < MAX_LARGE_DOTS
    axes.grid()
    axes.plot(ends, ends, color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    if noise := table.attrs.get("noise"):
        axes.fill_between(
            ends, ends - NORMAL_95 * noise, ends + NORMAL_95 * noise, color=FAINT, alpha=0.35, linewidth=0,
            label="95% of runs by the noise over seeds alone",
        )  # fmt: skip
    rank = table.attrs.get("spearman") or f"{spearman(unseen['predicted'], unseen['measured']):.3f}"
    lines = [f"n = {len(unseen)}", f"Spearman {rank}"]
    if "std" in unseen and (unseen["std"] > 0).any():
        reach = NORMAL_95 * unseen["std"]
        axes.hlines(
            unseen["measured"], unseen["predicted"] - reach, unseen["predicted"] + reach, color=FAINT,
            linewidth=0.9 if few else 0.5, alpha=0.8 if few else 0.5, label="its 95% interval",
        )  # fmt: skip
        inside = ((unseen["measured"] - unseen["predicted"]).abs() <= reach).mean()
        lines.append(f"{100 * inside:.0f}% in their intervals")
    marks(
        axes, unseen["predicted"], unseen["measured"], "o", 5 if few else 3.5, MEASURED, edge_width=0, alpha=0.5,
        label="a run of the sweep, held out of the fit",
    )  # fmt: skip
    for kind, marker, colour in (("proposal", "s", PROPOSED), ("prior", "^", PRIOR)) if "kind" in table else ():
        rows = table[table["kind"] == kind]
        label = f"{kind}, confirmed" if len(rows) else "_"
        marks(axes, rows["predicted"], rows["measured"], marker, 8, colour, SURFACE, label=label)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.set_aspect("equal", anchor="W")
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=SMALL)
    axes.set_xlabel(fitting_phone(axes, f"predicted objective ({unit_of(table)})"))
    axes.set_ylabel(f"measured objective ({unit_of(table)})")
    axes.text(
        0.97, 0.04, "\n".join(lines), transform=axes.transAxes, ha="right", va="bottom", color=INK, fontsize=9.5, weight="bold",
        linespacing=1.5, bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 2, "alpha": 0.8},
    )  # fmt: skip
    return legend(axes, columns=2 if is_wide(axes) else 1, order=("a run",))


def sensitivity(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much does the predicted objective lose when one domain moves away from the optimum?

    Args:
        table: domain, more, less: the change of the predicted objective; and step, the weight moved, in its attrs.
    """
    shown = largest_rows(table, table[["more", "less"]].abs().max(axis=1))
    rows, moves = np.arange(len(shown)), shown[["more", "less"]]
    step = table.attrs.get("step", 0.05) * 100
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    axes.hlines(rows, moves.min(axis=1), moves.max(axis=1), color=FAINT, linewidth=1.2)
    marks(axes, shown["less"], rows, "o", 6.5, SURFACE, PROPOSED, 1.4, label=f"{step:.3g} points less of it (or none)")
    marks(axes, shown["more"], rows, "o", 6.5, PROPOSED, label=f"{step:.3g} points more of it")
    axes.margins(x=0.06)
    rest = left_out(len(table) - len(shown), "with less change")
    axes.set_xlabel(fitting(axes, f"change of the predicted objective ({unit_of(table)}){rest}"))
    ROWS.label(axes, shown["domain"])
    return legend(axes, columns=2 if is_wide(axes) else 1)


def rank_against_runs(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much better would the regression rank mixtures with more runs?

    Args:
        table: num_runs, repeat and spearman (of runs held out of the fit), a row per repeat; rows without a repeat are
            extrapolated.
    """
    _learning_curve(table, axes, "spearman")
    low, high = axes.get_ylim()
    axes.set_ylim(max(low, -1), min(high, 1.0) if high > 1 else high)
    axes.set_ylabel("Spearman on runs held out")
    return axes


def regret_against_runs(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much less would the regression's pick lose against the best run, with more runs?

    Args:
        table: As for `rank_against_runs`, with regret (how much worse than the best held-out run is the one that the model
            would have picked) in place of spearman.
    """
    _learning_curve(table, axes, "regret")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), None)
    axes.set_ylabel(f"regret ({unit_of(table)})")
    return axes


def with_extrapolation(table: "pd.DataFrame", num_runs: int) -> "pd.DataFrame":
    """learning_curve.csv, and rows without a repeat for what all runs, twice and four times as many would bring."""
    import pandas as pd

    from regression.selection.learning_curve import Point, extrapolated

    sizes = [num_runs, 2 * num_runs, 4 * num_runs]
    points = [Point(*row) for row in table[["num_runs", "repeat", "spearman", "regret"]].itertuples(index=False)]
    # Mean regret falls by the law of what is missing from a Spearman of 1, so it takes that place. The regret of many picks
    # is 0 because they are the best run itself, so the mean of logarithms would not do.
    regrets = table.groupby("num_runs")["regret"].mean()
    at = zip(regrets.index.to_numpy(), regrets.to_numpy(), strict=True)
    missing = [Point(int(size), 0, 1 - float(regret), float(regret)) for size, regret in at]
    ranks, left = extrapolated(points, sizes), extrapolated(missing, sizes)
    ahead = pd.DataFrame({"num_runs": sizes, "spearman": ranks, "regret": None if left is None else 1 - left})
    ahead = ahead.dropna(subset=["spearman", "regret"], how="all")
    return pd.DataFrame([*table.to_dict("records"), *ahead.to_dict("records")], columns=table.columns)


def _learning_curve(table: "pd.DataFrame", axes: "Axes", column: str) -> None:
    seen, ahead = table[table["repeat"].notna()], table[table["repeat"].isna()].dropna(subset=column)
    by_size = seen.groupby("num_runs")[column]
    mean = by_size.mean()
    axes.set_xscale("log", base=2)
    axes.grid(axis="y")
    axes.fill_between(
        mean.index, by_size.min(), by_size.max(), color=PROPOSED, alpha=0.13, linewidth=0, label="range over repeats"
    )
    marks(axes, seen["num_runs"], seen[column], "o", 3.5, PROPOSED, edge_width=0, alpha=0.45)
    axes.plot(mean.index, mean, color=PROPOSED, marker="o", markersize=5, linewidth=1.8, label="mean over repeats")
    if len(ahead):
        axes.plot(
            ahead["num_runs"], ahead[column], color=PROPOSED, linestyle=(0, (1, 1.5)), marker="o", markersize=4.5,
            markerfacecolor=SURFACE, linewidth=1.4, label="extrapolated",
        )  # fmt: skip
    sizes = _spaced(sorted({int(n) for n in table["num_runs"]}), axes)
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.minorticks_off()
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=SMALL)
    axes.margins(x=0.04, y=0.06)
    axes.set_xlabel("runs in the fit (log scale)")
    legend(axes, columns=4 if is_wide(axes) else 2, order=("mean", "range"))


def _spaced(sizes: Sequence[int], axes: "Axes") -> list[int]:
    """Of rising numbers on a logarithmic axis, those whose labels have room."""
    kept = [sizes[0]]
    per_octave = 0.8 * axes.figure.bbox.width / axes.figure.dpi / PIXEL / max(math.log2(sizes[-1] / sizes[0]), 1e-9)
    for size in sizes[1:]:
        if math.log2(size / kept[-1]) * per_octave > text_width(f"{size:,}", SMALL) + 8:
            kept.append(size)
    return kept
