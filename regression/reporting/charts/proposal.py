"""Charts of a proposal: its weights, what else is as good, what it is expected to gain, and what it asks of the data."""

from typing import TYPE_CHECKING

import numpy as np

from mixture_config.files.mixture import train_column
from proxymix.plots.figures import legend, marks
from proxymix.plots.palette import INK, MEASURED, MUTED, OTHER, PRIOR, PROPOSED, SMALL, SURFACE, is_wide
from proxymix.plots.rows import place_labels
from proxymix.plots.text import distinct_labels, epochs_text, percent, signed
from regression.reporting.charts.shared import NAMES, PRESENT, ROWS, fitting, largest_rows, left_out, unit_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

BASELINE_MARKS = "DP^vso"


def mixture_bars(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How does the optimum differ from the prior and the baselines, and how sure is each weight?

    Args:
        table: domain and weight (of the optimum); optional prior, low and high (an interval of the weight), and a column
            for each other baseline. Drawn in its order.
    """
    shown = largest_rows(table, table.drop(columns="domain").max(axis=1))
    rows, percents = np.arange(len(shown)), shown.drop(columns="domain") * 100
    axes.grid(axis="x")
    if "prior" in shown:
        axes.barh(
            rows, percents["prior"], height=0.74, color=PRIOR, alpha=0.45, linewidth=0, label="prior (token share)"
        )
    axes.barh(rows, percents["weight"], height=0.36, color=PROPOSED, linewidth=0, label="proposed optimum")
    if "low" in shown:
        axes.hlines(rows, percents["low"], percents["high"], color=INK, linewidth=1, zorder=3, label="its interval")
        for end in ("low", "high"):
            marks(axes, percents[end], rows, "|", 4.5, INK, zorder=3)
    others = [str(name) for name in percents if name not in ("prior", "weight", "low", "high", "uniform")]
    for position, name in enumerate(others):
        marker = BASELINE_MARKS[position % len(BASELINE_MARKS)]
        marks(axes, percents[name], rows, marker, 4.5, SURFACE, MEASURED, zorder=4, label=NAMES.get(name, name))
    uniform = 100 / len(table)
    axes.axvline(uniform, color=MUTED, linewidth=0.9, linestyle=(0, (2, 2)), label=f"uniform ({uniform:.3g}%)")
    axes.set_xlim(0, max(float(np.nanmax(percents)), uniform) * 1.04)
    _numbers(axes, [percent(value) for value in shown["weight"]], "optimum", [PROPOSED] * len(shown))
    axes.set_xlabel(fitting(axes, "weight in the mixture (%)" + left_out(len(table) - len(shown), "with less")))
    ROWS.label(axes, shown["domain"])
    columns = 5 if is_wide(axes) and len(others) < 2 else 2
    return legend(axes, columns, order=("prior", "proposed", "its", *others))


def near_optimal_ranges(near_optimal: "pd.DataFrame", weights: "pd.DataFrame") -> "pd.DataFrame":
    """near_optimal.csv and weights.csv -> a row per domain: domain, prior, weight, least, p10, median, p90, most.

    Args:
        near_optimal: The weights of every mixture that is statistically as good as the proposal, in RegMix's columns.
        weights: domain, prior and weight (of the proposal), in the order wanted.
    """
    columns = near_optimal[[train_column(domain) for domain in weights["domain"]]].to_numpy(dtype=float)
    quantiles = np.quantile(columns, [0, 0.1, 0.5, 0.9, 1], axis=0)
    table = weights[[c for c in ("domain", "prior", "weight") if c in weights]].reset_index(drop=True)
    return table.assign(**dict(zip(("least", "p10", "median", "p90", "most"), quantiles, strict=True)))


def near_optimal_set(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """Among the mixtures that are as good as the proposal, which weights are held and which are free?

    Args:
        table: As `near_optimal_ranges` gives it; prior is optional.
        axes: Where to draw. Blue: all of these mixtures hold the domain. Hollow: some do without it.
    """
    shown = largest_rows(table, table[["weight", "most"]].max(axis=1))
    rows = np.arange(len(shown))
    held = (shown["least"] >= PRESENT).to_numpy()
    axes.grid(axis="x")
    for chosen, colour, label in (
        (held, PROPOSED, f"all of these mixtures use it ({held.sum()})"),
        (~held, MUTED, f"some leave it out ({(~held).sum()})"),
    ):
        if chosen.any():
            part, at = 100 * shown.drop(columns="domain")[chosen], rows[chosen]
            axes.barh(
                at, part["most"] - part["least"], left=part["least"], height=0.5, linewidth=1, edgecolor=colour,
                facecolor=SURFACE, label="_",
            )  # fmt: skip
            axes.barh(
                at, part["p90"] - part["p10"], left=part["p10"], height=0.5, linewidth=0, color=colour, alpha=0.5,
                label=label,
            )  # fmt: skip
    if "prior" in shown:
        marks(axes, 100 * shown["prior"], rows, "d", 5, PRIOR, SURFACE, 0.8, label="prior", zorder=4)
    marks(axes, 100 * shown["weight"], rows, "s", 5, PROPOSED, SURFACE, 0.8, label="proposal", zorder=5)
    spreads = [f"{100 * spread:.1f}" if spread >= 0.0005 else "0" for spread in shown["most"] - shown["least"]]
    _numbers(axes, spreads, "range", [PROPOSED if all_hold else MUTED for all_hold in held])
    axes.set_xlim(0, None)
    label = "weight among mixtures as good (%; dark: middle 80%)"
    axes.set_xlabel(fitting(axes, label + left_out(len(table) - len(shown), "with less")))
    ROWS.label(axes, shown["domain"])
    return legend(axes, columns=4 if is_wide(axes) else 2, order=("proposal", "prior", "all of"))


def line_to_optimum(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """What happens to the loss on the way from the prior to the optimum?

    Args:
        table: step (from 0 at the prior to 1 at the optimum), mean, low and high (the interval of the prediction).
    """
    axes.grid(axis="y")
    rows = table.sort_values("step")
    step, mean = rows["step"], rows["mean"]
    axes.fill_between(step, rows["low"], rows["high"], color=PROPOSED, alpha=0.14, linewidth=0, label="its interval")
    axes.plot(step, mean, color=PROPOSED, linewidth=2.2, label="predicted by the regression")
    at_prior, at_optimum = float(mean.iloc[0]), float(mean.iloc[-1])
    marks(axes, [0], [at_prior], "^", 8, PRIOR, SURFACE, zorder=4, clip_on=False)
    marks(axes, [1], [at_optimum], "s", 8, PROPOSED, SURFACE, zorder=4, clip_on=False)
    axes.set_xlim(0, 1)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["prior", "25%", "halfway", "75%", "optimum"])
    axes.tick_params(axis="y", labelcolor=MUTED, labelsize=SMALL)
    axes.margins(y=0.08)
    axes.set_xlabel("mixtures on the line from the prior to the optimum")
    axes.set_ylabel(f"objective ({unit_of(table)})")
    change = at_optimum - at_prior
    axes.annotate(
        signed(change, 3 if abs(change) >= 0.00995 else 4), (1, at_optimum), xytext=(-9, -13), textcoords="offset points",
        ha="right", va="center", color=PROPOSED, weight="bold",
    )  # fmt: skip
    return legend(axes, columns=3 if is_wide(axes) else 1, order=("predicted by the", "its"))


def predicted_gains(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How much does the proposal gain over each baseline, and what do independent regressions see?

    Args:
        table: baseline, gain (how much lower the objective is at the proposal) with low and high; optional judged (the
            held-out gain: of proposals from half of the runs, by a regression of the other half) and feasible, whether the
            baseline keeps the limits.
    """
    rows = np.arange(len(table))
    clear = (table["low"] > 0).to_numpy()
    axes.grid(axis="x")
    axes.axvline(0, color=INK, linewidth=1)
    for chosen, colour, label in ((clear, PROPOSED, "above 0"), (~clear, MEASURED, "not shown to be above 0")):
        if chosen.any():
            ends = table["low"][chosen], table["high"][chosen]
            axes.hlines(rows[chosen], *ends, color=colour, linewidth=2.4, label=f"interval, {label}")
    marks(axes, table["gain"], rows, "o", 6.5, SURFACE, INK, 1.2, label="predicted", zorder=3)
    if "judged" in table and table["judged"].notna().any():
        marks(axes, table["judged"], rows, "D", 6, INK, label="half of the runs, scored by the other half", zorder=4)
    values = table[[c for c in ("gain", "judged", "low", "high") if c in table]].to_numpy(dtype=float)
    low, high = min(np.nanmin(values), 0.0), max(np.nanmax(values), 0.0)
    axes.set_xlim(low - 0.06 * (high - low), high + 0.06 * (high - low) or 0.01)
    names = distinct_labels([NAMES.get(name, name) for name in table["baseline"]], 22)
    feasible = table["feasible"] if "feasible" in table else [True] * len(table)
    place_labels(axes, [n if fed else f"{n}\n(outside the limits)" for n, fed in zip(names, feasible, strict=True)])
    axes.set_xlabel(fitting(axes, f"gain over it ({unit_of(table)}); right of 0 the proposal is better"))
    return legend(axes, columns=3 if is_wide(axes) else 1, order=("predicted", "half"))


def epochs_at_budget(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How often would the final training repeat each domain, and which domains are at their cap?

    Args:
        table: domain, tokens, weight, epochs, and cap (the most epochs allowed; empty where there is no cap, and as many as
            all of the training would make where a domain may have any weight).
    """
    shown = largest_rows(table, table["epochs"])
    rows, epochs = np.arange(len(shown)), shown["epochs"]
    budget = float((table["epochs"] * table["tokens"]).sum())
    # ---- 1. Bars, of another colour at the cap. A cap that all of the training cannot reach is none.
    cap = shown["cap"].astype(float).where(shown["cap"] * shown["tokens"] < budget * (1 - 1e-9))
    at_cap = (epochs >= cap * (1 - 1e-3)).to_numpy()
    below = "below the cap" if np.isfinite(cap).any() else "at the proposal"
    axes.grid(axis="x")
    for chosen, colour, label in ((~at_cap, PROPOSED, below), (at_cap, OTHER, f"at the cap ({at_cap.sum()})")):
        if chosen.any():
            axes.barh(rows[chosen], epochs[chosen], height=0.6, color=colour, linewidth=0, label=label)
    # ---- 2. One line for a cap that all share, else a tick for each.
    largest = float(np.nanmax(np.append(epochs, 0)))
    caps = np.unique([float(f"{value:.9g}") for value in cap[np.isfinite(cap)]])
    if len(caps) == 1:
        axes.axvline(caps[0], color=OTHER, linewidth=1.3, linestyle=(0, (5, 2)), label=f"cap, {caps[0]:g} epochs")
    elif len(caps):
        marks(axes, cap, rows, "|", 11, OTHER, edge_width=2, label="its own cap")
    largest = max(largest, *caps.tolist(), 0.0)
    # ---- 3. A line at the epochs of the prior, which are the same for every domain.
    tokens = float(table["tokens"].sum())
    if tokens > 0 and "weight" in table:
        prior = budget / tokens
        label = f"every domain at the prior ({epochs_text(prior)})"
        axes.axvline(prior, color=PRIOR, linewidth=1.3, linestyle=(0, (2, 2)), label=label)
        largest = max(largest, prior)
    axes.set_xlim(0, 1.04 * largest or 1)
    _numbers(axes, [epochs_text(value) for value in epochs], "epochs", [OTHER if full else PROPOSED for full in at_cap])
    rest = left_out(len(table) - len(shown), "with fewer epochs")
    axes.set_xlabel(fitting(axes, "epochs of the final training (passes over a domain's tokens)" + rest))
    ROWS.label(axes, shown["domain"])
    return legend(axes, columns=4 if is_wide(axes) else 2)


def _numbers(axes: "Axes", texts: list[str], head: str, colours: list[str]) -> None:
    ROWS.numbers(axes, texts, head, colours, [True] * len(texts))
