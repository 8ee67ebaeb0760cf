"""Tables of a fit and of a proposal -> pictures: each function takes a table and an Axes, answers one question, returns the Axes.

Columns are those of the files that `fit` and `propose` write, so each may be given a file as pandas reads it; a column
that is called optional may be missing. Units come from the table's attrs ("unit"; nats per token when missing). What has
rows or columns without end is cut at what a page can show, and then says so; the CSV beside a picture has it all.
Pictures of what was measured after a proposal are in `regression.reporting.figures`.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from proxymix.plots.figures import (
    FAINT,
    INK,
    MEASURED,
    MUTED,
    NARROW,
    OTHER,
    PIXEL,
    PRIOR,
    PROPOSED,
    RULE,
    SURFACE,
    WIDE,
    beside,
    is_wide,
    legend,
    percent,
    shorten,
    signed,
    text_width,
    wrapped,
)
from proxymix.schemas import loss_domain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MOST_ROWS = 64  # domains in a picture
MOST_NUMBERED = 20  # columns of a heat map whose cells have room for a number
MANY_LETTERS, FEW_LETTERS = 26, 14  # of a domain beside a heat map, on a desk and on a phone
MOST_DOTS = 200  # runs that are drawn large and with their intervals
NORMAL_95 = 1.959964  # standard deviations to either side that hold 95% of a normal distribution
PRESENT = 0.001  # a weight that a mixture can do without, for a reader
BASELINE_MARKS = {
    "heuristic": "D",
    "best_seen": "P",
    "temperature": "^",
    "unimax": "v",
    "capped": "s",
    "proportional": "o",
}
NAMES = {
    "proposal": "proposal",
    "prior": "prior",
    "heuristic": "heuristic",
    "uniform": "uniform",
    "best_seen": "best of sweep",
    "sweep_mean": "mean of sweep",
}


def predicted_against_measured(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Does the regression rank mixtures that it has not seen, and does it know how far off it is?

    Args:
        table: measured and predicted, a row per run; optional std, a run's predicted standard deviation, and kind: "out of
            fold", or the name of a confirmed mixture. Its attrs may hold spearman, as text, and noise, the standard
            deviation of the measured over seeds of one mixture.
        axes: Where to draw.
    """
    unseen = table[table["kind"] == "out of fold"] if "kind" in table else table
    both = table[["measured", "predicted"]].to_numpy(dtype=float)
    low, high = both.min(), both.max()
    room = 0.06 * (high - low) or 0.01
    few = len(unseen) < MOST_DOTS
    axes.grid()
    axes.plot([low - room, high + room], [low - room, high + room], color=MUTED, linewidth=0.9, linestyle=(0, (3, 3)))
    if noise := table.attrs.get("noise"):
        ends = np.array([low - room, high + room])
        axes.fill_between(
            ends, ends - NORMAL_95 * noise, ends + NORMAL_95 * noise, color=FAINT, alpha=0.35, linewidth=0,
            label="95% of runs by the noise over seeds alone",
        )  # fmt: skip
    lines = [f"n = {len(unseen)}", f"Spearman {table.attrs.get('spearman') or _spearman(unseen)}"]
    if "std" in unseen and (unseen["std"] > 0).any():
        reach = NORMAL_95 * unseen["std"]
        axes.hlines(
            unseen["measured"], unseen["predicted"] - reach, unseen["predicted"] + reach, color=FAINT,
            linewidth=0.9 if few else 0.5, alpha=0.8 if few else 0.5, label="its 95% interval",
        )  # fmt: skip
        inside = ((unseen["measured"] - unseen["predicted"]).abs() <= reach).mean()
        lines.append(f"{100 * inside:.0f}% in their intervals")
    axes.plot(
        unseen["predicted"], unseen["measured"], linestyle="none", marker="o", markersize=5 if few else 3.5, color=MEASURED,
        alpha=0.5, markeredgewidth=0, label="a run of the sweep, predicted out of fold",
    )  # fmt: skip
    marks = {"proposal": ("s", PROPOSED), "prior": ("^", PRIOR)}
    for kind, (marker, colour) in marks.items() if "kind" in table else ():
        rows = table[table["kind"] == kind]
        axes.plot(
            rows["predicted"], rows["measured"], marker=marker, markersize=8, color=colour, markeredgecolor=SURFACE,
            linestyle="none", label=f"{kind}, confirmed" if len(rows) else "_",
        )  # fmt: skip
    axes.set_xlim(low - room, high + room)
    axes.set_ylim(low - room, high + room)
    axes.set_aspect("equal", anchor="W")
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=8.5)
    axes.set_xlabel(f"predicted objective ({_unit(table)})")
    axes.set_ylabel(f"measured objective ({_unit(table)})")
    axes.text(
        0.97, 0.04, "\n".join(lines), transform=axes.transAxes, ha="right", va="bottom", color=INK, fontsize=9.5, weight="bold",
        linespacing=1.5, bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 2, "alpha": 0.8},
    )  # fmt: skip
    return legend(axes, columns=2 if is_wide(axes) else 1, order=("a run",))


def _spearman(rows: "pd.DataFrame") -> str:
    return f"{rows['predicted'].corr(rows['measured'], method='spearman'):.3f}"


def correlation_map(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Which domain goes with which loss, over the sweep?

    Args:
        table: target, domain and correlation (rank correlation between the domain's weight and the target), a row per pair;
            drawn in the order in which domains and targets come.
        axes: Where to draw.
    """
    return _heat_map(table, "correlation", axes, np.abs, short, "darkest: 1")


def effect_map(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """What does each domain do to each loss, as the regression has learnt it?

    Args:
        table: target, domain and effect (predicted change of the target when the domain goes from nothing to its mean share
            in the sweep, the others shrinking in proportion), a row per pair; drawn in the order in which they come.
        axes: Where to draw. Shades grow with the square root, so that one strong effect does not hide the others.
    """
    largest = float(np.nanmax(np.abs(table["effect"]), initial=0.0)) or 1.0
    unit, scale = (_unit(table), 1.0) if largest >= 9.5 else (f"1/1000 {_unit(table)}", 1000.0)
    scaled = table.assign(effect=table["effect"] * scale)
    key = f"in {unit}, darkest: {largest * scale:.3g}"
    return _heat_map(scaled, "effect", axes, lambda values: np.sqrt(np.abs(values) / scale / largest), whole, key)


def _heat_map(
    table: "pd.DataFrame",
    column: str,
    axes: "Axes",
    shade: Callable[[np.ndarray], np.ndarray],
    text: Callable[[float], str],
    key: str,
) -> "Axes":
    """Squares of domains by targets: blue lowers a loss, orange raises it.

    Args:
        table: target, domain and the column to draw.
        column: Its name.
        axes: Where to draw.
        shade: Values -> 0 (white) to 1 (darkest).
        text: A value -> the text of its cell.
        key: What the numbers are, for the label.
    """
    from matplotlib.collections import PatchCollection
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    wide = wide_table(table, column)
    shown, targets = _most(wide, np.nanmax(np.nan_to_num(np.abs(wide)), axis=1)), list(wide.columns)
    values, depth = shown.to_numpy(dtype=float), shade(shown.to_numpy(dtype=float))
    cells = [(int(row), int(place)) for row, place in np.argwhere(np.isfinite(values))]
    colours = [to_rgba(PROPOSED if values[c] < 0 else OTHER, round(0.72 * float(min(depth[c], 1.0)), 3)) for c in cells]
    squares = [Rectangle((place - 0.5, row - 0.5), 1, 1) for row, place in cells]
    axes.add_collection(PatchCollection(squares, facecolors=colours, linewidths=0))
    if len(targets) <= MOST_NUMBERED:
        size = 8 if is_wide(axes) or len(targets) <= 8 else 6.5
        for row, place in cells:
            cell = axes.text(
                place, row, text(float(values[row, place])), ha="center", va="center", fontsize=size, color=INK
            )
            cell.set_in_layout(False)  # it takes no room that its square has not
    axes.set_xlim(-0.5, len(targets) - 0.5)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    for position in np.arange(0.5, len(targets) - 1):
        axes.axvline(position, color=SURFACE, linewidth=1)
    for position in np.arange(0.5, len(shown) - 1):
        axes.axhline(position, color=SURFACE, linewidth=1)
    axes.xaxis.tick_top()
    first = 1 if targets[0] == "objective" else 0  # which shares no prefix with the losses
    names = [*targets[:first], *apart([loss_domain(target) for target in targets[first:]], 22)]
    axes.set_xticks(range(len(targets)), names, rotation=90, color=INK)
    axes.tick_params(length=0)
    axes.set_yticks(range(len(shown)), apart(shown.index, MANY_LETTERS if is_wide(axes) else FEW_LETTERS))
    colours_mean = "blue: lower, orange: higher"
    left_out = _left_out(len(wide) - len(shown), "all fainter")
    axes.set_xlabel(_label(axes, f"loss on … ({colours_mean}; {key}){left_out}"), color=MUTED)
    axes.xaxis.set_label_position("top")
    if is_wide(axes):
        axes.set_ylabel("more of …", color=MUTED)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return axes


def wide_table(table: "pd.DataFrame", column: str) -> "pd.DataFrame":
    """Rows of (target, domain, value) -> values with a row per domain and a column per target, both in their order."""
    wide = table.pivot(index="domain", columns="target", values=column)
    return wide.loc[list(dict.fromkeys(table["domain"])), list(dict.fromkeys(table["target"]))]


def mixture_bars(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How does the optimum differ from the prior and the baselines, and how sure is each weight?

    Args:
        table: domain and weight (of the optimum); optional prior, low and high (an interval of the weight), and a column
            for each other baseline. Drawn in its order.
        axes: Where to draw.
    """
    weights = table.drop(columns="domain")
    shown = _most(table, weights.max(axis=1))
    rows, shares = np.arange(len(shown)), shown.drop(columns="domain") * 100
    axes.grid(axis="x")
    if "prior" in shown:
        axes.barh(rows, shares["prior"], height=0.74, color=PRIOR, alpha=0.45, linewidth=0, label="prior (token share)")
    axes.barh(rows, shares["weight"], height=0.36, color=PROPOSED, linewidth=0, label="proposed optimum")
    if "low" in shown:
        axes.hlines(rows, shares["low"], shares["high"], color=INK, linewidth=1, zorder=3, label="its interval")
        for end in ("low", "high"):
            axes.plot(
                shares[end], rows, linestyle="none", marker="|", markersize=4.5, color=INK, markeredgewidth=1, zorder=3
            )
    others = [str(name) for name in shares if name not in ("prior", "weight", "low", "high", "uniform")]
    for position, name in enumerate(others):
        axes.plot(
            shares[name], rows, linestyle="none", marker=BASELINE_MARKS.get(name, "<>*Xph"[position % 6]), markersize=4.5,
            markerfacecolor=SURFACE, markeredgecolor=MEASURED, markeredgewidth=1, zorder=4, label=NAMES.get(name, name),
        )  # fmt: skip
    uniform = 100 / len(table)
    axes.axvline(uniform, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label=f"uniform ({uniform:.3g}%)")
    axes.set_xlim(0, max(float(np.nanmax(shares)), uniform) * 1.04)
    numbers(axes, "optimum", [percent(value) for value in shown["weight"]], [PROPOSED] * len(shown))
    axes.set_xlabel(_label(axes, "weight in the mixture (%)" + _left_out(len(table) - len(shown), "with less")))
    name_rows(axes, shown["domain"])
    return legend(
        axes, columns=5 if is_wide(axes) and len(others) < 2 else 2, order=("prior", "proposed", "its", *others)
    )


def near_optimal_ranges(near_optimal: "pd.DataFrame", weights: "pd.DataFrame") -> "pd.DataFrame":
    """near_optimal.csv and weights.csv -> a row per domain: domain, prior, weight, least, p10, median, p90, most.

    Args:
        near_optimal: train_<domain> of every mixture that is statistically as good as the proposal.
        weights: domain, prior and weight (of the proposal), in the order wanted.
    """
    columns = near_optimal[[f"train_{domain}" for domain in weights["domain"]]].to_numpy(dtype=float)
    shares = np.quantile(columns, [0, 0.1, 0.5, 0.9, 1], axis=0)
    table = weights[[c for c in ("domain", "prior", "weight") if c in weights]].reset_index(drop=True)
    return table.assign(**dict(zip(("least", "p10", "median", "p90", "most"), shares, strict=True)))


def near_optimal_set(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Among the mixtures that are as good as the proposal, which weights are held and which are free?

    Args:
        table: As `near_optimal_ranges` gives it; prior is optional.
        axes: Where to draw. Blue: all of these mixtures hold the domain. Hollow: some do without it.
    """
    shown = _most(table, table[["weight", "most"]].max(axis=1))
    rows = np.arange(len(shown))
    held = (shown["least"] >= PRESENT).to_numpy()
    axes.grid(axis="x")
    for chosen, colour, label in (
        (held, PROPOSED, f"range where all hold it ({held.sum()})"),
        (~held, MUTED, f"range where some do without ({(~held).sum()})"),
    ):
        if not chosen.any():
            continue
        part, at = shown[chosen], rows[chosen]
        axes.barh(
            at, 100 * (part["most"] - part["least"]), left=100 * part["least"], height=0.5, linewidth=1, edgecolor=colour,
            facecolor=SURFACE, label="_",
        )  # fmt: skip
        axes.barh(
            at, 100 * (part["p90"] - part["p10"]), left=100 * part["p10"], height=0.5, linewidth=0, color=colour,
            alpha=0.5, label=label,
        )  # fmt: skip
    if "prior" in shown:
        axes.plot(
            100 * shown["prior"], rows, linestyle="none", marker="d", markersize=5, markerfacecolor=PRIOR, markeredgecolor=SURFACE,
            markeredgewidth=0.8, label="prior", zorder=4,
        )  # fmt: skip
    axes.plot(
        100 * shown["weight"], rows, linestyle="none", marker="s", markersize=5, markerfacecolor=PROPOSED, markeredgecolor=SURFACE,
        markeredgewidth=0.8, label="proposal", zorder=5,
    )  # fmt: skip
    spreads = [f"{100 * spread:.1f}" if spread >= 0.0005 else "0" for spread in shown["most"] - shown["least"]]
    numbers(axes, "range", spreads, [PROPOSED if all_hold else MUTED for all_hold in held])
    axes.set_xlim(0, None)
    label = "weight among mixtures as good (%; dark: middle 80%)"
    axes.set_xlabel(_label(axes, label + _left_out(len(table) - len(shown), "with less")))
    name_rows(axes, shown["domain"])
    return legend(axes, columns=4 if is_wide(axes) else 2, order=("proposal", "prior", "range where all"))


def sensitivity(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much does the predicted objective lose when one domain moves away from the optimum?

    Args:
        table: domain, more, less: the change of the predicted objective; and step, the weight moved, in its attrs.
        axes: Where to draw.
    """
    num_all, table = len(table), _most(table, table[["more", "less"]].abs().max(axis=1))
    rows = np.arange(len(table))
    step = table.attrs.get("step", 0.05) * 100
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    axes.hlines(
        rows, table[["more", "less"]].min(axis=1), table[["more", "less"]].max(axis=1), color=FAINT, linewidth=1.2
    )
    axes.plot(
        table["less"],
        rows,
        linestyle="none",
        marker="o",
        markersize=6.5,
        markerfacecolor=SURFACE,
        markeredgecolor=PROPOSED,
        markeredgewidth=1.4,
        label=f"{step:.3g} points less of it (or none)",
    )
    axes.plot(
        table["more"],
        rows,
        linestyle="none",
        marker="o",
        markersize=6.5,
        color=PROPOSED,
        label=f"{step:.3g} points more of it",
    )
    axes.margins(x=0.06)
    left_out = _left_out(num_all - len(table), "with less change")
    axes.set_xlabel(_label(axes, f"change of the predicted objective ({_unit(table)}){left_out}"))
    name_rows(axes, table["domain"])
    return legend(axes, columns=2 if is_wide(axes) else 1)


def line_to_optimum(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """What happens to the loss on the way from the prior to the optimum?

    Args:
        table: step (0 at the prior, 1 at the optimum), mean, low and high (the interval of the prediction); optional judged,
            the prediction of regressions of runs that the proposal never saw.
        axes: Where to draw.
    """
    axes.grid(axis="y")
    rows = table.sort_values("step")
    axes.fill_between(
        rows["step"], rows["low"], rows["high"], color=PROPOSED, alpha=0.14, linewidth=0, label="its interval"
    )
    axes.plot(rows["step"], rows["mean"], color=PROPOSED, linewidth=2.2, label="predicted by the regression")
    if "judged" in rows and rows["judged"].notna().any():
        axes.plot(
            rows["step"], rows["judged"], color=MEASURED, linewidth=1.5, linestyle=(0, (4, 1.5)),
            label="predicted by independent judges",
        )  # fmt: skip
    for at, marker, colour in ((0, "^", PRIOR), (1, "s", PROPOSED)):
        value = float(np.interp(at, rows["step"], rows["mean"]))
        axes.plot(
            [at], [value], marker=marker, markersize=8, color=colour, markeredgecolor=SURFACE, linestyle="none", zorder=4,
            clip_on=False,
        )  # fmt: skip
    first, last = float(rows["step"].min()), float(rows["step"].max())
    axes.set_xlim(first, last)
    ticks = {0.0: "prior", 0.25: "25%", 0.5: "halfway", 0.75: "75%", 1.0: "optimum"}
    axes.set_xticks([t for t in ticks if first <= t <= last], [name for t, name in ticks.items() if first <= t <= last])
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=8.5)
    axes.margins(y=0.08)
    axes.set_xlabel("mixtures on the line from the prior to the optimum")
    axes.set_ylabel(f"objective ({_unit(table)})")
    change = float(np.interp(1, rows["step"], rows["mean"]) - np.interp(0, rows["step"], rows["mean"]))
    axes.annotate(
        signed(change, 3 if abs(change) >= 0.00995 else 4), (1, float(np.interp(1, rows["step"], rows["mean"]))), xytext=(-9, -13),
        textcoords="offset points", ha="right", va="center", color=PROPOSED, weight="bold",
    )  # fmt: skip
    return legend(axes, columns=3 if is_wide(axes) else 1, order=("predicted by the", "its"))


def predicted_gains(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much does the proposal gain over each baseline, and what do independent regressions see?

    Args:
        table: baseline, gain (how much lower the objective is at the proposal) with low and high; optional judged (the
            same of proposals from half of the runs, by the other half) and feasible, whether the baseline keeps the limits.
        axes: Where to draw.
    """
    rows = np.arange(len(table))
    clear = (table["low"] > 0).to_numpy()
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    for chosen, colour, label in ((clear, PROPOSED, "above 0"), (~clear, MEASURED, "not shown to be above 0")):
        if chosen.any():
            axes.hlines(
                rows[chosen],
                table["low"][chosen],
                table["high"][chosen],
                color=colour,
                linewidth=2.4,
                label=f"interval, {label}",
            )
    axes.plot(
        table["gain"], rows, linestyle="none", marker="o", markersize=6.5, markerfacecolor=SURFACE, markeredgecolor=INK,
        markeredgewidth=1.2, label="predicted", zorder=3,
    )  # fmt: skip
    if "judged" in table and table["judged"].notna().any():
        axes.plot(
            table["judged"],
            rows,
            linestyle="none",
            marker="D",
            markersize=6,
            color=INK,
            label="halves, judged by the other half",
            zorder=4,
        )
    drawn = table[[c for c in ("gain", "judged", "low", "high") if c in table]].to_numpy(dtype=float)
    low, high = min(np.nanmin(drawn), 0.0), max(np.nanmax(drawn), 0.0)
    axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low) or 0.01)
    axes.set_ylim(len(table) - 0.5, -0.5)
    feasible = table["feasible"] if "feasible" in table else [True] * len(table)
    names = [NAMES.get(name, name) for name in table["baseline"]]
    labels = [
        name if fed else f"{name}\n(outside the limits)" for name, fed in zip(apart(names, 22), feasible, strict=True)
    ]
    axes.set_yticks(rows, labels)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel(_label(axes, f"gain over it ({_unit(table)}); right of 0 the proposal is better"))
    return legend(axes, columns=3 if is_wide(axes) else 1, order=("predicted", "halves"))


def epochs_at_budget(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How often would the final training repeat each domain, and which domains are at their cap?

    Args:
        table: domain, tokens, weight, epochs, and cap (the most epochs allowed; empty where there is no cap, and as many as
            all of the training would make where a domain may have any weight).
        axes: Where to draw.
    """
    shown = _most(table, table["epochs"])
    rows, epochs = np.arange(len(shown)), shown["epochs"]
    budget = float((table["epochs"] * table["tokens"]).sum())
    cap = shown["cap"].astype(float).where(shown["cap"] * shown["tokens"] < budget * (1 - 1e-9))
    at_cap = (epochs >= cap * (1 - 1e-3)).to_numpy()
    below = "below the cap" if np.isfinite(cap).any() else "at the proposal"
    axes.grid(axis="x")
    for chosen, colour, label in ((~at_cap, PROPOSED, below), (at_cap, OTHER, f"at the cap ({at_cap.sum()})")):
        if chosen.any():
            axes.barh(rows[chosen], epochs[chosen], height=0.6, color=colour, linewidth=0, label=label)
    most = float(np.nanmax(np.append(epochs, 0)))
    caps = np.unique([float(f"{value:.9g}") for value in cap[np.isfinite(cap)]])
    if len(caps) == 1:
        axes.axvline(caps[0], color=OTHER, linewidth=1.3, linestyle=(0, (5, 2)), label=f"cap, {caps[0]:g} epochs")
        most = max(most, float(caps[0]))
    elif len(caps):
        axes.plot(
            cap, rows, linestyle="none", marker="|", markersize=11, color=OTHER, markeredgewidth=2, label="its own cap"
        )
        most = max(most, float(caps.max()))
    tokens = float(table["tokens"].sum())
    if tokens > 0 and "weight" in table:
        prior = budget / tokens
        axes.axvline(
            prior,
            color=PRIOR,
            linewidth=1.3,
            linestyle=(0, (2, 2)),
            label=f"every domain at the prior ({_epochs(prior)})",
        )
        most = max(most, prior)
    axes.set_xlim(0, 1.04 * most or 1)
    numbers(axes, "epochs", [_epochs(value) for value in epochs], [OTHER if full else PROPOSED for full in at_cap])
    left_out = _left_out(len(table) - len(shown), "with fewer epochs")
    axes.set_xlabel(_label(axes, "epochs of the final training (passes over a domain's tokens)" + left_out))
    name_rows(axes, shown["domain"])
    return legend(axes, columns=4 if is_wide(axes) else 2)


def rank_against_runs(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much better would the regression rank mixtures with more runs?

    Args:
        table: num_runs, repeat and spearman (of runs held out of the fit), a row per repeat; rows without a repeat are
            extrapolated. Optional model: where a size has several, a line for each.
        axes: Where to draw.
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
        axes: Where to draw.
    """
    _learning_curve(table, axes, "regret")
    axes.set_ylim(min(0.0, axes.get_ylim()[0]), None)
    axes.set_ylabel(f"regret ({_unit(table)})")
    return axes


def with_extrapolation(table: "pd.DataFrame", num_runs: int) -> "pd.DataFrame":
    """learning_curve.csv, and rows without a repeat for what all runs, twice and four times as many would bring."""
    import pandas as pd

    from regression.selection.learning_curve import Point, extrapolated

    sizes = [num_runs, 2 * num_runs, 4 * num_runs]
    points = [Point(*row) for row in table[["num_runs", "repeat", "spearman", "regret"]].itertuples(index=False)]
    # Mean regret falls by the law of what is missing from a Spearman of 1, so it takes its place. (Many picks are the best
    # run itself; the mean of the logarithms would be theirs.)
    regrets = table.groupby("num_runs")["regret"].mean()
    at = zip(regrets.index.to_numpy(), regrets.to_numpy(), strict=True)
    missing = [Point(int(size), 0, 1 - float(regret), float(regret)) for size, regret in at]
    spearman, left = extrapolated(points, sizes), extrapolated(missing, sizes)
    ahead = pd.DataFrame({"num_runs": sizes, "spearman": spearman, "regret": None if left is None else 1 - left})
    ahead = ahead.dropna(subset=["spearman", "regret"], how="all")
    return pd.DataFrame([*table.to_dict("records"), *ahead.to_dict("records")], columns=table.columns)


def _learning_curve(table: "pd.DataFrame", axes: "Axes", column: str) -> None:
    seen, beyond = table[table["repeat"].notna()], table[table["repeat"].isna()]
    several = "model" in table and seen.groupby("num_runs")["model"].nunique().max() > 1
    groups = list(seen.groupby("model", sort=False)) if several else [("", seen)]
    styles = ((PROPOSED, "-", "o"), (MEASURED, (0, (4, 1.5)), "s"), (OTHER, (0, (1, 1)), "D"), (MUTED, "-.", "^"))
    axes.set_xscale("log", base=2)
    axes.grid(axis="y")
    for (name, rows), (colour, line, marker) in zip(groups, styles, strict=False):
        by_size = rows.groupby("num_runs")[column]
        mean, least, most = by_size.mean(), by_size.min(), by_size.max()
        axes.fill_between(
            mean.index,
            least,
            most,
            color=colour,
            alpha=0.13,
            linewidth=0,
            label="range over repeats" if not several else "_",
        )
        if not several:
            axes.plot(rows["num_runs"], rows[column], "o", color=colour, markersize=3.5, alpha=0.45, markeredgewidth=0)
        axes.plot(
            mean.index,
            mean,
            color=colour,
            linestyle=line,
            marker=marker,
            markersize=5,
            linewidth=1.8,
            label=str(name) or "mean over repeats",
        )
        ahead = (beyond[beyond["model"] == name] if several else beyond).dropna(subset=column)
        if len(ahead):
            axes.plot(
                ahead["num_runs"], ahead[column], color=colour, linestyle=(0, (1, 1.5)), marker="o", markersize=4.5, markerfacecolor=SURFACE, linewidth=1.4,
                label="extrapolated" if not several else "_",
            )  # fmt: skip
    sizes = _spaced(sorted({int(n) for n in table["num_runs"]}), axes)
    axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
    axes.minorticks_off()
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=8.5)
    axes.margins(x=0.04, y=0.06)
    axes.set_xlabel("runs in the fit (log scale)")
    legend(axes, columns=4 if is_wide(axes) else 2, order=("mean", "range"))


def _spaced(sizes: Sequence[int], axes: "Axes") -> list[int]:
    """Of rising numbers on a logarithmic axis, those whose labels have room."""
    kept = [sizes[0]]
    per_octave = 0.8 * axes.figure.bbox.width / axes.figure.dpi / PIXEL / max(math.log2(sizes[-1] / sizes[0]), 1e-9)
    for size in sizes[1:]:
        if math.log2(size / kept[-1]) * per_octave > text_width(f"{size:,}", 8.5) + 8:
            kept.append(size)
    return kept


def numbers(axes: "Axes", head: str, texts: Sequence[str], colours: Sequence[str]) -> None:
    """A column of numbers right of the rows, under a head."""
    for row, (text, colour) in enumerate(zip(texts, colours, strict=True)):
        beside(axes, row, text, color=colour, weight="bold")
    axes.annotate(
        head, (1, -0.6), xycoords=axes.get_yaxis_transform(), xytext=(38, 2), textcoords="offset points", ha="right",
        va="bottom", fontsize=8, color=MUTED,
    )  # fmt: skip


def rows_height(num_rows: int) -> int:
    """CSS pixels for so many rows, their axis and legend."""
    return 104 + (25 if num_rows <= 24 else 17) * min(num_rows, MOST_ROWS)


def heat_map_size(table: "pd.DataFrame") -> tuple[int, int]:
    """CSS pixels of a heat map of this table (target, domain, ...): its height, and its smallest width."""
    names, num_targets = list(dict.fromkeys(table["domain"])), table["target"].nunique()
    rows, numbered = min(len(names), MOST_ROWS), num_targets <= MOST_NUMBERED

    def width(letters: int, cell: int) -> int:
        widest = max(text_width(label, 9) for label in apart(names, letters))
        return math.ceil(widest) + 30 + (cell if numbered else 14) * num_targets

    narrow = width(FEW_LETTERS, 25)
    height = 200 + (25 if rows <= 24 else 17) * rows
    return height, narrow if narrow < (WIDE + NARROW) / 2 else width(MANY_LETTERS, 29) + 20


def name_rows(axes: "Axes", names: Iterable[str]) -> None:
    """A row per name, the first on top, labelled on the left; labels are never alike."""
    labels = apart(names, 30 if is_wide(axes) else 17)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.spines["left"].set_color(RULE)
    if len(labels) > 32:
        axes.tick_params(axis="y", labelsize=8)


def apart(names: Iterable[str], most: int) -> list[str]:
    """Names as labels of at most `most` letters, or of as many more as keep them apart."""
    whole = [str(name) for name in names]
    longest = max(map(len, whole), default=0)
    labels = (shorten(whole, letters) for letters in range(most, max(longest, most) + 1))
    return next((found for found in labels if len(set(found)) == len(set(whole))), whole)


def short(value: float) -> str:
    """A correlation in a small cell: -0.46 -> '−.46'."""
    text = f"{value:.2f}"
    text = "0" if float(text) == 0 else text.replace("0.", ".", 1).removesuffix(".00")
    return text.replace("-", "−")


def whole(value: float) -> str:
    """A whole number in a small cell: -34.2 -> '−34', and 0 for what rounds to it."""
    return f"{round(value)}".replace("-", "−")


def _most(table: "pd.DataFrame", size: Any) -> "pd.DataFrame":
    """The MOST_ROWS rows of the largest size, in the table's order."""
    largest = np.sort(np.argsort(-np.nan_to_num(np.asarray(size, dtype=float)), kind="stable")[:MOST_ROWS])
    return table.iloc[largest]


def _left_out(number: int, which: str) -> str:
    return f"\n{number} more domains, {which}, are in the CSV" if number else ""


def _label(axes: "Axes", text: str) -> str:
    """An axis label in lines that its figure has room for."""
    room = 0.58 * axes.figure.bbox.width / axes.figure.dpi / PIXEL
    return "\n".join(line for part in text.split("\n") for line in wrapped(part, room, 9))


def _epochs(value: float) -> str:
    return "0" if value == 0 else "< 0.01" if value < 0.005 else f"{value:.2f}" if value < 10 else f"{value:,.1f}"


def _unit(table: "pd.DataFrame") -> str:
    return str(table.attrs.get("unit", "nats/token"))
