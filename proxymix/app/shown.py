"""Tables and weights -> text for a terminal, and HTML for a notebook. Names from data are escaped."""

from collections.abc import Mapping
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

BAR_CHARACTERS, BAR_PIXELS = 40, 300
"""How long the bar of the weight 1 is."""
BAR_STYLE = "display:inline-block;height:0.7em;background:#0b66c3"


def bars(weights: Mapping[str, float]) -> list[str]:
    """A line for every domain, the largest weight first."""
    widest = max(map(len, weights))
    ordered = sorted(weights.items(), key=lambda item: -item[1])
    return [
        f"  {name:<{widest}}{weight:8.4f}  {'#' * round(BAR_CHARACTERS * weight)}".rstrip() for name, weight in ordered
    ]


def html_page(headline: str, table: str, *remarks: str) -> str:
    """A headline above a table, and remarks below it."""
    lines = "".join(f"<div>{escape(remark)}</div>" for remark in remarks)
    return f"<div><p><b>{escape(headline)}</b></p>{table}{lines}</div>"


def html_table(frame: "pd.DataFrame", marked: str = "", bar_of: str = "") -> str:
    """A table with its index.

    Args:
        frame: The table.
        marked: The row, by its index, that is set in bold.
        bar_of: The column beside whose numbers a bar is drawn.
    """
    head = "".join(f"<th>{escape(str(name))}</th>" for name in (frame.index.name or "", *frame.columns))
    rows = []
    for key, row in zip(frame.index, frame.itertuples(index=False, name=None), strict=True):
        cells = [f"<td style='text-align:left'>{_bold(str(key), marked)}</td>"]
        for name, value in zip(frame.columns, row, strict=True):
            bar = f" <span style='{BAR_STYLE};width:{BAR_PIXELS * value:.0f}px'></span>" if name == bar_of else ""
            cells.append(f"<td style='text-align:{'left' if bar else 'right'}'>{escape(_text(value))}{bar}</td>")
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _bold(text: str, marked: str) -> str:
    return f"<b>{escape(text)}</b>" if text == marked else escape(text)


def _text(value: Any) -> str:
    """A number to four decimals, a whole one with commas, and nothing for one that is not known."""
    if isinstance(value, float):
        return "" if value != value else f"{value:,.0f}" if value.is_integer() and abs(value) > 1 else f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
