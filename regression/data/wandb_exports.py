"""The CSVs that wandb's pages export -> a table with one row a run and a column for each metric.

The table of runs has `Name`, `State`, configuration and summary columns. A chart has `Step`, and for each run and metric the
columns `<run> - <metric>`, `<run> - <metric>__MIN` and `<run> - <metric>__MAX`.
"""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mixture_config.files.mixture_table import run_key
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say

if TYPE_CHECKING:
    import pandas as pd

AXES = ("Step", "_step", "Relative Time (Process)", "Relative Time (Wall)", "Wall Time", "trainer/global_step")
ENDS = ("__MIN", "__MAX")
SERIES = re.compile(r"(?P<run>.+?) - (?P<metric>.+)")
UNFINISHED = ("failed", "crashed", "running", "killed", "preempted")


def from_export(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """A table of losses as it is, unless it is one of wandb's exports.

    A name such as n00001 becomes the index of the run, 1. Where a run did not come to its end, words that say so stand in
    the place of its numbers.

    Raises:
        InputError: If a chart's columns hold no numbers, or none is a run's.
    """
    columns = [str(column) for column in table.columns]
    if columns[0] in AXES and any(column.endswith(ENDS) or SERIES.fullmatch(column) for column in columns[1:]):
        return _last_values(table, path)
    if "Name" in columns and "name" not in columns:
        return _runs_table(table, path)
    return table


def _runs_table(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    if "State" in table.columns:
        state = table["State"].astype(str).str.strip().str.lower()
        unfinished = state.isin(UNFINISHED)
        results = [column for column in table.columns if column not in ("Name", "State")]
        whole = {column: table[column].astype(object).where(~unfinished, state) for column in results}
        table = table.assign(**whole)  # the summary of such a run is not a result, and the word says why
    return _with_run_keys(table.rename(columns={"Name": "name"}))


def _last_values(table: "pd.DataFrame", path: Path) -> "pd.DataFrame":
    """The value of each run's last step, for each metric of a chart."""
    import pandas as pd

    series: dict[str, dict[str, object]] = {}
    ends: dict[str, object] = {}
    axis = table.columns[0]
    rows = table.sort_values(axis, kind="stable")
    for column in map(str, table.columns[1:]):
        match = SERIES.fullmatch(column)
        if column.endswith(ENDS) or match is None or match["metric"] in AXES:
            continue
        present = rows[pd.to_numeric(rows[column], errors="coerce").notna()]
        if present.empty:
            raise InputError(f"{path}: {column!r} holds no number; remove the column, or export the chart again")
        series.setdefault(match["run"], {})[match["metric"]] = present[column].iloc[-1]
        ends[match["run"]] = present[axis].iloc[-1]
    if not series:
        raise InputError(
            f"{path}: a chart of wandb's without a run (`<run> - <metric>`); group the chart by nothing and export it again, "
            "or export the table of runs"
        )
    metrics = {metric for values in series.values() for metric in values}
    last = max(ends.values(), key=float)  # type: ignore[arg-type]
    for run, end in ends.items():
        if end != last:
            series[run] = dict.fromkeys(series[run], f"of {axis} {end}, before the last")
    say(f"{path}: a chart of wandb's; the values at {axis} {last} are taken for {some(sorted(metrics))}")
    found = pd.DataFrame([{"name": run, **values} for run, values in series.items()])
    return _with_run_keys(found)


def _with_run_keys(table: "pd.DataFrame") -> "pd.DataFrame":
    """With `index` where every name is that of a sweep's run (n00001); the name stays where it is not."""
    keys = [run_key(str(name).strip()) for name in table["name"]]
    if "index" in table.columns or not all(isinstance(key, int) for key in keys):
        return table
    return table.drop(columns="name").assign(index=keys)
