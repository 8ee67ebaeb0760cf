"""Tables of what was measured -> the report's figures: each function takes a table and an Axes, and returns the Axes.

The look, colours by role, and what makes a picture of a table are those of `proxymix.plots.figures`; pictures of what a
regression says are in `regression.reporting.pictures`.
"""

from typing import TYPE_CHECKING, Any

import numpy as np

from proxymix.plots.figures import (
    FAINT,
    INK,
    MEASURED,
    MUTED,
    OTHER,
    PRIOR,
    PROPOSED,
    SURFACE,
    beside,
    domain_rows,
    is_wide,
    legend,
    signed,
)
from regression.reporting.pictures import NAMES

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def paired_differences(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Which baselines does the proposal beat, and by how much?

    Args:
        table: A row per baseline: baseline, mean, low, high (of the 95% interval), better (whether the verdict says so),
            and seed_<n>, the difference on each seed; proposal minus baseline.
        axes: Where to draw.
    """
    seeds = [c for c in table.columns if c.startswith("seed_")]
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    for row, entry in enumerate(table.to_dict("records")):
        colour = PROPOSED if entry["better"] else MEASURED
        axes.plot(
            [entry[c] for c in seeds],
            [row + 0.2] * len(seeds),
            linestyle="none",
            marker="o",
            markersize=4,
            markerfacecolor="none",
            markeredgecolor=colour,
            markeredgewidth=0.9,
            alpha=0.8,
        )
        axes.plot([entry["low"], entry["high"]], [row, row], color=colour, linewidth=2.4, solid_capstyle="butt")
        marker = "s" if entry["better"] else "D"
        axes.plot([entry["mean"]], [row], linestyle="none", marker=marker, markersize=6, color=colour)
        axes.annotate(
            f"{signed(entry['mean'])}  [{signed(entry['low'])}, {signed(entry['high'])}]",
            (entry["mean"], row),
            xytext=(0, 8),
            textcoords="offset points",
            ha="center",
            color=colour,
            fontsize=8.5,
            bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5},
        )
    drawn = table[["low", "high", *seeds]].to_numpy()
    low, high = min(drawn.min(), 0.0), max(drawn.max(), 0.0)
    room = (0.14 if is_wide(axes) else 0.34) * (high - low)
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(len(table) - 0.5, -0.65)
    axes.set_yticks(range(len(table)), [f"vs {NAMES.get(name, name)}" for name in table["baseline"]])
    axes.spines["left"].set_visible(False)
    between = "; " if is_wide(axes) else "\n"
    axes.set_xlabel(f"proposal − baseline ({_unit(table)}){between}left of 0 the proposal is better")
    return axes


def seed_dots(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """What was measured at each mixture on each seed, and what had the regression predicted?

    Args:
        table: A row per mixture and seed: mixture, seed, measured, predicted (the same on every seed; empty if unknown).
        axes: Where to draw.
    """
    names = list(dict.fromkeys(table["mixture"]))
    axes.grid(axis="x")
    for row, name in enumerate(names):
        rows = table[table["mixture"] == name]
        colour = {"proposal": PROPOSED, "prior": PRIOR}.get(name, MEASURED)
        axes.plot(
            rows["measured"],
            [row] * len(rows),
            linestyle="none",
            marker="o",
            markersize=5.5,
            color=colour,
            alpha=0.6,
            markeredgewidth=0,
        )
        mean = rows["measured"].mean()
        axes.plot([mean, mean], [row - 0.26, row + 0.26], color=colour, linewidth=2)
        predicted = rows["predicted"].iloc[0]
        if np.isfinite(predicted):
            axes.plot(
                [predicted],
                [row],
                linestyle="none",
                marker="D",
                markersize=6,
                markerfacecolor="none",
                markeredgecolor=INK,
                markeredgewidth=1.1,
            )
    axes.plot([], [], "o", color=MEASURED, alpha=0.6, markeredgewidth=0, label="a seed")
    axes.plot([], [], "|", color=MEASURED, markersize=9, markeredgewidth=2, label="mean over seeds")
    if table["predicted"].notna().any():
        axes.plot([], [], "D", markerfacecolor="none", markeredgecolor=INK, label="predicted")
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_yticks(range(len(names)), [NAMES.get(name, name) for name in names])
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.05)
    _label(axes, "objective", _unit(table))
    return legend(axes, columns=3)


def loss_curves(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Do the proxies learn, and when do mixtures separate?

    Args:
        table: run, group ("sweep", "prior" or "proposal"), tokens, objective; a row per evaluation.
        axes: Where to draw.
    """
    from matplotlib.collections import LineCollection

    axes.grid(axis="y")
    sweep = table[table["group"] == "sweep"]
    lines = [run[["tokens", "objective"]].to_numpy() / [1e6, 1] for _, run in sweep.groupby("run", sort=False)]
    axes.add_collection(LineCollection(lines, colors=FAINT, linewidths=0.8, alpha=0.8))
    axes.plot([], [], color=FAINT, linewidth=1.4, label=f"runs of the sweep ({len(lines)})")
    for group, colour, style in (("prior", PRIOR, (0, (4, 1.5))), ("proposal", PROPOSED, "-")):
        runs = table[table["group"] == group]
        if len(runs):
            mean = runs.groupby("tokens")["objective"].mean()
            label = f"{group}, mean of {runs['run'].nunique()} seeds"
            axes.plot(mean.index / 1e6, mean, color=colour, linewidth=2.2, linestyle=style, label=label, zorder=3)
    # The first evaluation is far above the rest; what tells mixtures apart is below.
    axes.set_xlim(0, table["tokens"].max() / 1e6 * 1.02)
    low, high = table["objective"].min(), table["objective"].max()
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=8.5)
    axes.set_xlabel("training tokens (millions)")
    axes.set_ylabel(f"objective ({_unit(table)})")
    return legend(axes, columns=3 if is_wide(axes) else 1)


def domain_changes(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Which domains gain and which pay, at the proposal against one baseline?

    Args:
        table: domain, mean, low, high: measured change of the validation loss and its 95% interval.
        axes: Where to draw.
    """
    rows = np.arange(len(table))
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    better, worse = (table["high"] < 0).to_numpy(), (table["low"] > 0).to_numpy()
    kinds = (
        (better, "s", PROPOSED, PROPOSED, "lower"),
        (~better & ~worse, "D", SURFACE, MEASURED, "no clear change"),
        (worse, "^", OTHER, OTHER, "higher"),
    )
    for chosen, marker, face, edge, label in kinds:
        if chosen.any():
            axes.hlines(rows[chosen], table["low"][chosen], table["high"][chosen], color=edge, linewidth=2)
            axes.plot(
                table["mean"][chosen],
                rows[chosen],
                linestyle="none",
                marker=marker,
                markersize=6,
                markerfacecolor=face,
                markeredgecolor=edge,
                label=label,
            )
    axes.margins(x=0.06)
    _label(axes, "change of the validation loss", _unit(table))
    domain_rows(axes, table["domain"])
    return legend(axes, columns=3)


def noise_ratio(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Do losses vary with the mixture far beyond what another seed changes?

    Args:
        table: target, spread (over the mixtures of the sweep), noise (over seeds), both standard deviations, and ratio.
        axes: Where to draw.
    """
    rows = np.arange(len(table))
    axes.set_xscale("log")
    axes.grid(axis="x")
    axes.hlines(rows, table["noise"], table["spread"], color=FAINT, linewidth=1.2)
    axes.plot(
        table["noise"],
        rows,
        linestyle="none",
        marker="o",
        markersize=6.5,
        markerfacecolor=SURFACE,
        markeredgecolor=MEASURED,
        markeredgewidth=1.3,
        label="over seeds (noise)",
    )
    axes.plot(
        table["spread"],
        rows,
        linestyle="none",
        marker="o",
        markersize=6.5,
        color=MEASURED,
        label="over mixtures (signal)",
    )
    for row, ratio in enumerate(table["ratio"]):
        beside(axes, row, f"×{ratio:.3g}", color=INK, weight="bold" if row == 0 else "normal")
    both = table[["noise", "spread"]].to_numpy()
    both = both[both > 0]
    axes.set_xlim(both.min() / 1.4, both.max() * 1.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter("")
    _label(axes, "standard deviation of the loss", f"{_unit(table)}, log scale")
    domain_rows(axes, table["target"])
    return legend(axes, columns=2)


def spearman(a: Any, b: Any) -> float:
    """Rank correlation; not a number where there is nothing to rank."""
    import pandas as pd

    return float(pd.Series(np.asarray(a)).corr(pd.Series(np.asarray(b)), method="spearman"))


def _unit(table: "pd.DataFrame") -> str:
    return str(table.attrs.get("unit", "nats/token"))


def _label(axes: "Axes", quantity: str, unit: str) -> None:
    axes.set_xlabel(f"{quantity}{' ' if is_wide(axes) else chr(10)}({unit})")
