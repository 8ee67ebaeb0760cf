"""Charts of what was measured: the proposal against every baseline, each seed, each domain, and training itself."""

from typing import TYPE_CHECKING

import numpy as np

from proxymix.plots.figures import legend, marks
from proxymix.plots.palette import FAINT, INK, MEASURED, MUTED, OTHER, PRIOR, PROPOSED, SMALL, SURFACE, is_wide
from proxymix.plots.rows import Rows, place_labels
from proxymix.plots.text import signed
from regression.confirmation.paired import BETTER, NOT_BETTER, UNDECIDED, WORSE
from regression.reporting.charts.shared import NAMES, fitting_phone, unit_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

VERDICT_MARKS = {
    BETTER: ("s", PROPOSED, PROPOSED),
    WORSE: ("^", OTHER, OTHER),
    NOT_BETTER: ("D", MEASURED, MEASURED),
    UNDECIDED: ("D", MEASURED, SURFACE),
}
"""Verdict -> marker, its colour, and that of its face."""
ROWS = Rows(spine=FAINT, height=24, around=96)


def paired_differences(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Which baselines does the proposal beat, and by how much?

    Args:
        table: A row per baseline: baseline, mean, low, high (of the 95% interval), verdict, and seed_<n>, the difference on
            each seed; proposal minus baseline.
    """
    seeds = [c for c in table.columns if c.startswith("seed_")]
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    for row, entry in enumerate(table.to_dict("records")):
        marker, colour, face = VERDICT_MARKS[entry["verdict"]]
        marks(axes, [entry[c] for c in seeds], [row + 0.2] * len(seeds), "o", 4, "none", colour, 0.9, alpha=0.8)
        axes.plot([entry["low"], entry["high"]], [row, row], color=colour, linewidth=2.4, solid_capstyle="butt")
        marks(axes, [entry["mean"]], [row], marker, 6, face, colour, 1.4)
        axes.annotate(
            f"{signed(entry['mean'])}  [{signed(entry['low'])}, {signed(entry['high'])}]", (entry["mean"], row),
            xytext=(0, 8), textcoords="offset points", ha="center", color=colour, fontsize=SMALL,
            bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
    shown = table[["low", "high", *seeds]].to_numpy()
    low, high = min(shown.min(), 0.0), max(shown.max(), 0.0)
    room = (0.14 if is_wide(axes) else 0.34) * (high - low)
    axes.set_xlim(low - room, high + room)
    place_labels(axes, [f"vs {NAMES.get(name, name)}" for name in table["baseline"]], above=0.65)
    between = "; " if is_wide(axes) else "\n"
    label = f"proposal − baseline ({unit_of(table)}){between}left of 0 the proposal is better"
    axes.set_xlabel(fitting_phone(axes, label))
    return axes


def seed_dots(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """What was measured at each mixture on each seed, and what had the regression predicted?

    Args:
        table: A row per mixture and seed: mixture, seed, measured, predicted (the same on every seed; empty if unknown).
    """
    names = list(dict.fromkeys(table["mixture"]))
    axes.grid(axis="x")
    for row, name in enumerate(names):
        rows = table[table["mixture"] == name]
        colour = {"proposal": PROPOSED, "prior": PRIOR}.get(name, MEASURED)
        marks(axes, rows["measured"], [row] * len(rows), "o", 5.5, colour, edge_width=0, alpha=0.6)
        mean = rows["measured"].mean()
        axes.plot([mean, mean], [row - 0.26, row + 0.26], color=colour, linewidth=2)
        predicted = rows["predicted"].iloc[0]
        if np.isfinite(predicted):
            marks(axes, [predicted], [row], "D", 6, "none", INK, 1.1)
    marks(axes, [], [], "o", 6, MEASURED, edge_width=0, alpha=0.6, label="a seed")
    marks(axes, [], [], "|", 9, MEASURED, edge_width=2, label="mean over seeds")
    if table["predicted"].notna().any():
        marks(axes, [], [], "D", 6, "none", INK, label="predicted")
    place_labels(axes, [NAMES.get(name, name) for name in names])
    axes.margins(x=0.05)
    _name_quantity(axes, "objective", unit_of(table))
    return legend(axes, columns=3)


def loss_curves(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Do the proxies learn, and when do mixtures separate?

    Args:
        table: run, group ("sweep", "prior" or "proposal"), tokens, objective; a row per evaluation.
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
    axes.set_xlim(0, table["tokens"].max() / 1e6 * 1.02)
    low, high = table["objective"].min(), table["objective"].max()
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=SMALL)
    axes.set_xlabel("training tokens (millions)")
    axes.set_ylabel(f"objective ({unit_of(table)})")
    return legend(axes, columns=3 if is_wide(axes) else 1)


def domain_changes(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Which domains gain and which pay, at the proposal against one baseline?

    Args:
        table: domain, mean, low, high: measured change of the validation loss and its 95% interval.
    """
    rows = np.arange(len(table))
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    better, worse = (table["high"] < 0).to_numpy(), (table["low"] > 0).to_numpy()
    for chosen, marker, face, edge, label in (
        (better, "s", PROPOSED, PROPOSED, "lower"),
        (~better & ~worse, "D", SURFACE, MEASURED, "no clear change"),
        (worse, "^", OTHER, OTHER, "higher"),
    ):
        if chosen.any():
            axes.hlines(rows[chosen], table["low"][chosen], table["high"][chosen], color=edge, linewidth=2)
            marks(axes, table["mean"][chosen], rows[chosen], marker, 6, face, edge, label=label)
    axes.margins(x=0.06)
    _name_quantity(axes, "change of the validation loss", unit_of(table))
    ROWS.label(axes, table["domain"])
    return legend(axes, columns=3)


def noise_ratio(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Do losses vary with the mixture far beyond what another seed changes?

    Args:
        table: target, spread (over the mixtures of the sweep), noise (over seeds), both standard deviations, and ratio.
    """
    rows = np.arange(len(table))
    axes.set_xscale("log")
    axes.grid(axis="x")
    axes.hlines(rows, table["noise"], table["spread"], color=FAINT, linewidth=1.2)
    marks(axes, table["noise"], rows, "o", 6.5, SURFACE, MEASURED, 1.3, label="over seeds (noise)")
    marks(axes, table["spread"], rows, "o", 6.5, MEASURED, label="over mixtures (signal)")
    ROWS.numbers(axes, [f"×{ratio:.3g}" for ratio in table["ratio"]], bold=[row == 0 for row in rows])
    both = table[["noise", "spread"]].to_numpy()
    both = both[both > 0]
    axes.set_xlim(both.min() / 1.4, both.max() * 1.4)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter("")
    _name_quantity(axes, "standard deviation of the loss", f"{unit_of(table)}, log scale")
    ROWS.label(axes, table["target"])
    return legend(axes, columns=2)


def _name_quantity(axes: "Axes", quantity: str, unit: str) -> None:
    axes.set_xlabel(fitting_phone(axes, f"{quantity}{' ' if is_wide(axes) else chr(10)}({unit})"))
