"""Figures of a proposal: its weights, what else is as good, the epochs that it asks for, and its expected gain."""

import numpy as np

from proxymix.plots.figures import Figure
from proxymix.plots.text import percent, signed
from regression.confirmation.compared import BASELINE_PHRASES
from regression.reporting.charts import proposal as charts
from regression.reporting.charts.shared import ROWS
from regression.reporting.figures.shared import by_domain
from regression.reporting.study_results import StudyResults


def mixtures_figure(study: StudyResults) -> Figure | None:
    """The optimum beside the prior and the heuristic, with intervals where `propose` gave them."""
    import pandas as pd

    if not study.optimum:
        return None
    columns = {"prior": study.prior, "weight": study.optimum}
    if (proposed := study.proposed("weights")) is not None:
        columns |= {end: dict(zip(proposed["domain"], proposed[end], strict=True)) for end in ("low", "high")}
    columns["heuristic"] = study.heuristic
    table = pd.DataFrame({"domain": study.domains})
    for name, weights in columns.items():
        if weights:
            table[name] = [weights.get(d, 0.0) for d in study.domains]
    largest = max(study.optimum, key=lambda d: study.optimum[d])
    alt = f"Weights per domain. The largest of the optimum is {largest} with {percent(study.optimum[largest])}."
    return Figure("mixtures", table, charts.mixture_bars, alt, ROWS.pixels(len(table)))


def near_optimal_figure(study: StudyResults) -> Figure | None:
    """Which weights the mixtures as good as the proposal share, and which differ among them."""
    near, weights = study.proposed("near_optimal"), study.proposed("weights")
    if near is None or weights is None:
        return None
    table = charts.near_optimal_ranges(near, by_domain(weights, study))
    table.attrs["num_mixtures"] = len(near)
    widest = table.iloc[int((table["most"] - table["least"]).argmax())]
    alt = f"Ranges of weights over {len(near)} mixtures as good as the proposal; the widest is that of {widest['domain']}, "
    alt += f"{percent(widest['least'])} to {percent(widest['most'])}."
    height = ROWS.pixels(len(table))
    return Figure("near_optimal", table, charts.near_optimal_set, alt, height, narrow_height=height + 40)


def epochs_figure(study: StudyResults) -> Figure | None:
    """How often the final training would repeat each domain."""
    table = study.proposed("epochs")
    if table is None:
        return None
    table = by_domain(table, study)
    most = table.iloc[int(table["epochs"].argmax())]
    alt = (
        f"Epochs of the final training over each domain; {most['domain']} is repeated most, {most['epochs']:.2f} times."
    )
    return Figure("epochs", table, charts.epochs_at_budget, alt, ROWS.pixels(len(table)))


def gains_figure(study: StudyResults) -> Figure | None:
    """What the proposal is predicted to gain over each baseline, and what independent regressions see."""
    table = study.proposed("gains")
    if table is None:
        return None
    gains = "; ".join(
        f"over {BASELINE_PHRASES.get(row['baseline'], row['baseline'])} {signed(row['gain'])}"
        + (f", {signed(row['judged'])} as judged" if np.isfinite(row["judged"]) else "")
        for row in table.to_dict("records")
    )
    height, alt = 96 + 44 * len(table), f"Predicted gain {gains}."
    return Figure("gains", table, charts.predicted_gains, alt, height, narrow_height=height + 50)


def line_figure(study: StudyResults) -> Figure | None:
    """The predicted objective on the way from the prior to the optimum."""
    table = study.proposed("line")
    if table is None:
        return None
    first, last = table.sort_values("step")["mean"].iloc[[0, -1]]
    alt = f"Predicted objective along the line from the prior, {first:.3f}, to the optimum, {last:.3f}."
    return Figure("line", table, charts.line_to_optimum, alt, 320)
