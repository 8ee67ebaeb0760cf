"""Tables of a few mixtures -> charts beside the prior and the baselines: each function takes a table and an Axes."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixture_config.plots.scales import ROWS, fitting_legend
from mixture_config.plots.sweep_charts import draw_epoch_lines
from proxymix.plots.figures import marks
from proxymix.plots.palette import INK, MEASURED, OTHER, PRIOR, PROPOSED, SURFACE
from proxymix.plots.rows import MAX_ROWS
from proxymix.plots.text import epochs_text, percent, percent_tick

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

MAX_MIXTURES = 4  # that a chart can tell apart
BASELINE_MARKS = {"temperature": "^", "unimax": "v", "capped": "s", "proportional": "o"}
MIXTURE_STYLES = ((PROPOSED, ""), (OTHER, "////"), (MEASURED, ""), (SURFACE, ""))
"""Colour and hatching of the first, second ... mixture; the last is an outline."""


def mixture_bars(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How do a few mixtures differ from the prior and the baselines?

    Args:
        table: domain, the mixtures' weights in the columns that its attrs call mixtures, and prior and other baselines.
    """
    shown, names = table.head(MAX_ROWS), list(table.attrs["mixtures"])
    rows = np.arange(len(shown))
    axes.grid(axis="x")
    if "prior" in shown:
        axes.barh(rows, shown["prior"], height=0.9, color=PRIOR, alpha=0.4, linewidth=0, label="prior (token share)")
    _draw_bars(axes, shown, names)
    for name in (c for c in BASELINE_MARKS if c in shown):
        marks(axes, shown[name], rows, BASELINE_MARKS[name], 5, SURFACE, INK, 0.9, label=name, zorder=4)
    if "uniform" in shown:
        level = float(shown["uniform"].iloc[0])
        axes.axvline(level, color=INK, linewidth=0.9, linestyle=(0, (2, 2)), label=f"uniform ({percent(level)})")
    axes.set_xlim(0, 1.04 * shown.drop(columns="domain").to_numpy(dtype=float).max())
    axes.xaxis.set_major_formatter(lambda value, _: percent_tick(value))
    axes.set_xlabel("weight in the mixture")
    return _with_names_and_numbers(axes, shown, names, "weight", percent)


def epoch_bars(table: "pd.DataFrame", axes: "Axes") -> "Axes":
    """How often do a few mixtures repeat each domain?

    Args:
        table: domain, and epochs at the budget in the columns that its attrs call mixtures. Its attrs hold max_epochs, and
            prior_epochs, the epochs of every domain at the prior.
    """
    shown, names = table.head(MAX_ROWS), list(table.attrs["mixtures"])
    limit, prior = float(table.attrs["max_epochs"]), float(table.attrs["prior_epochs"])
    axes.grid(axis="x")
    _draw_bars(axes, shown, names)
    draw_epoch_lines(axes, limit, prior)
    axes.set_xlim(0, 1.04 * max(float(shown[names].to_numpy().max()), limit, prior))
    axes.set_xlabel("epochs at the budget")
    return _with_names_and_numbers(axes, shown, names, "epochs", lambda epochs: epochs_text(epochs, 3))


def _with_names_and_numbers(
    axes: "Axes", shown: "pd.DataFrame", names: Sequence[str], what: str, text: Callable[[float], str]
) -> "Axes":
    """The chart with the domains on the left, each mixture's numbers on the right, and a legend."""
    ROWS.label(axes, shown["domain"])
    for column, name in enumerate(names):
        head = f"({column + 1})" if len(names) > 1 else what
        ROWS.numbers(axes, [text(value) for value in shown[name]], head, column=column)
    return fitting_legend(axes, *names)


def _draw_bars(axes: "Axes", shown: "pd.DataFrame", names: Sequence[str]) -> None:
    """Thin bars, one for each mixture, side by side in each row."""
    rows, height = np.arange(len(shown)), 0.74 / (len(names) + (len(names) == 1))
    for position, (name, (colour, hatch)) in enumerate(zip(names, MIXTURE_STYLES, strict=False)):
        axes.barh(
            rows + (position - (len(names) - 1) / 2) * height, shown[name].where(shown[name] > 0), height=height,
            facecolor=SURFACE if hatch else colour, edgecolor=INK if colour == SURFACE else colour, hatch=hatch,
            linewidth=0.8, label=f"({position + 1}) {name}" if len(names) > 1 else name,
        )  # fmt: skip
