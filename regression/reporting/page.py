"""Parts of the report -> one self-contained HTML page: its style, and the building blocks that escape what data says."""

from collections.abc import Iterable, Sequence
from html import escape

from proxymix.plots.figures import NARROW, WIDE, Figure

STYLE = """
:root {
  color-scheme: light dark;
  --page: #ffffff; --panel: #f5f7f9; --ink: #1b2026; --muted: #5a646e; --rule: #d5dade; --faint: #b9c0c7;
  --surface: #ffffff; --prior: #8b939b; --proposed: #0b66c3; --measured: #12161a; --other: #b45309; --tint: #e8f1fb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12161b; --panel: #1b2128; --ink: #e9ecef; --muted: #a2acb6; --rule: #333b44; --faint: #56606a;
    --surface: #12161b; --prior: #99a2ab; --proposed: #6bb1ff; --measured: #f3f5f7; --other: #f0a04b; --tint: #16283c;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; text-size-adjust: 100%; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif;
}
main { max-width: 1100px; margin: 0 auto; padding: 56px 32px 96px; }
.kicker { margin: 0 0 12px; font-size: 13px; font-weight: 600; letter-spacing: .06em; text-transform: uppercase;
  color: var(--proposed); }
h1 { margin: 0 0 16px; max-width: 27em; font-size: clamp(25px, 3.1vw, 36px); line-height: 1.2; font-weight: 680;
  letter-spacing: -.018em; text-wrap: balance; }
h2 { margin: 0 0 8px; font-size: 23px; line-height: 1.25; font-weight: 660; letter-spacing: -.01em; }
h3 { margin: 40px 0 8px; font-size: 16.5px; line-height: 1.35; font-weight: 640; }
p { margin: 0 0 12px; max-width: 44em; }
.lede { font-size: 17.5px; color: var(--muted); max-width: 42em; }
section { margin-top: 64px; padding-top: 28px; border-top: 1px solid var(--rule); }
section > p.finding { font-size: 17.5px; margin-bottom: 24px; max-width: 42em; }
a { color: var(--proposed); text-underline-offset: 2px; }
b, strong { font-weight: 640; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(200px, 1fr)); gap: 1px; margin: 32px 0 0;
  background: var(--rule); border: 1px solid var(--rule); border-radius: 10px; overflow: hidden; }
.tile { background: var(--page); padding: 18px 20px 16px; }
.tile .value { font-size: 27px; line-height: 1.15; font-weight: 660; letter-spacing: -.015em;
  font-variant-numeric: tabular-nums; }
.tile.proposed .value { color: var(--proposed); }
.tile .value small { font-size: 14px; font-weight: 500; letter-spacing: 0; color: var(--muted); margin-left: 3px; }
.tile .label { margin-top: 6px; font-size: 13.5px; line-height: 1.4; color: var(--muted); }
.pair { display: grid; grid-template-columns: 680px minmax(0, 1fr); gap: 16px 40px; align-items: start; margin: 20px 0 8px; }
.note { font-size: 14px; line-height: 1.5; color: var(--muted); }
.note p { margin-bottom: 10px; }
.note .files { font-size: 13px; }
.note b { color: var(--ink); }
.scroll { overflow-x: auto; max-width: 100%; }
.figure { display: block; max-width: none; height: auto; overflow: visible; }
.figure * { stroke-linejoin: round; }
.figure text { font-family: inherit; font-variant-numeric: tabular-nums; }
.narrow { display: none; }
table { border-collapse: collapse; font-size: 14.5px; font-variant-numeric: tabular-nums; margin: 4px 0; }
th, td { padding: 6px 0 6px 22px; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--rule); }
th { font-weight: 600; font-size: 13px; color: var(--muted); vertical-align: bottom; line-height: 1.3; }
th:first-child, td:first-child { padding-left: 0; text-align: left; position: sticky; left: 0; background: var(--page); }
td.text, th.text { text-align: left; }
td.wrap { white-space: normal; min-width: 12em; }
tbody tr:last-child td { border-bottom-color: var(--faint); }
tr.chosen td { font-weight: 640; }
td.proposed { color: var(--proposed); font-weight: 640; }
td .of { color: var(--muted); font-weight: 400; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 8px; background: var(--measured); }
.dot.prior { background: var(--prior); } .dot.proposal { background: var(--proposed); border-radius: 1px; }
dl { display: grid; grid-template-columns: minmax(120px, 170px) minmax(0, 1fr); gap: 10px 28px; margin: 16px 0 0;
  max-width: 900px; }
dt { color: var(--muted); font-size: 14.5px; padding-top: 1px; }
dd { margin: 0; overflow-wrap: anywhere; }
dd .aside { color: var(--muted); }
.caution { margin: 16px 0; padding: 12px 16px; border-left: 3px solid var(--other); background: var(--panel);
  border-radius: 0 6px 6px 0; font-size: 14.5px; max-width: 50em; }
.caution p:last-child, .caution ul { margin-bottom: 0; }
.caution ul { margin-top: 4px; padding-left: 18px; }
pre { margin: 8px 0 16px; padding: 14px 16px; background: var(--panel); border-radius: 8px; overflow-x: auto;
  font: 13px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; tab-size: 2; }
code { font: 13.5px ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
pre.wrap { white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: 14px 0; }
summary { cursor: pointer; font-weight: 600; }
td code { font-size: 12.5px; }
footer { margin-top: 72px; padding-top: 20px; border-top: 1px solid var(--rule); font-size: 13.5px; color: var(--muted); }
@media (max-width: 1080px) { .pair { grid-template-columns: minmax(0, 1fr); } .note { max-width: 680px; } }
@media (max-width: 760px) {
  main { padding: 32px 20px 64px; }
  section { margin-top: 44px; padding-top: 22px; }
  .wide { display: none; } .narrow { display: block; }
  .lede, section > p.finding { font-size: 16.5px; }
  .tiles { grid-template-columns: 1fr 1fr; }
  .tile { padding: 14px 14px 12px; } .tile .value { font-size: 23px; } .tile .value small { display: block; margin: 2px 0 0; }
  .tile .label { font-size: 12.5px; }
  dl { grid-template-columns: 1fr; gap: 2px; } dd { margin-bottom: 12px; }
  table { font-size: 13.5px; } th, td { padding-left: 14px; } th { font-size: 12px; }
}
@media print { section { break-inside: avoid-page; } details { display: none; } }
"""


def page(title: str, parts: Sequence[str]) -> str:
    """The whole page; `parts` are HTML."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{chr(10).join(part for part in parts if part)}
</main>
</body>
</html>
"""


def section(name: str, title: str, finding: str, *parts: str) -> str:
    """A section: its heading, one sentence that says what it shows, then its parts (HTML)."""
    lead = f'<p class="finding">{escape(finding)}</p>' if finding else ""
    return (
        f'<section id="{escape(name)}">\n<h2>{escape(title)}</h2>\n{lead}\n'
        + "\n".join(filter(None, parts))
        + "\n</section>"
    )


def prose(text: str) -> str:
    """Text as markup; what stands in `backquotes` is code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def paragraph(text: str) -> str:
    """Text as a paragraph."""
    return f"<p>{prose(text)}</p>"


def remark(text: str) -> str:
    """Text in a quieter voice, under a table."""
    return f'<p class="note">{escape(text)}</p>'


def caution(texts: Sequence[str]) -> str:
    """What a reader must not overlook; nothing when there is none."""
    if not texts:
        return ""
    inner = (
        paragraph(texts[0]) if len(texts) == 1 else f"<ul>{''.join(f'<li>{prose(text)}</li>' for text in texts)}</ul>"
    )
    return f'<div class="caution">{inner}</div>'


def tile(value: str, unit: str, label: str, role: str = "") -> str:
    """One number with its unit and what it is."""
    small = f"<small>{escape(unit)}</small>" if unit else ""
    return (
        f'<div class="tile {escape(role)}"><div class="value">{escape(value)}{small}</div>'
        f'<div class="label">{escape(label)}</div></div>'
    )


def picture(figure: Figure, title: str, *notes: str) -> str:
    """A figure in the two widths it is drawn for, with its heading, how to read it, and the files behind it."""
    widths = (("wide", WIDE), ("narrow", NARROW)) if figure.width < WIDE else (("", WIDE),)
    drawn = "".join(f'<div class="scroll {kind}">{figure.svg(width)}</div>' for kind, width in widths)
    files = f'<p class="files"><a href="{figure.name}.png">PNG</a> · <a href="{figure.name}.csv">CSV</a></p>'
    text = "".join(paragraph(note) for note in notes if note)
    return f'<h3>{escape(title)}</h3>\n<div class="pair"><div>{drawn}</div><div class="note">{text}{files}</div></div>'


def table(header: Sequence[str], rows: Iterable[Sequence["str | Cell"]], chosen: int | None = None) -> str:
    """A table: the first column names, the others hold numbers (a Cell says otherwise).

    Args:
        header: Column headings.
        rows: Text, or a Cell.
        chosen: Index of a row to stress.
    """
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = []
    for number, row in enumerate(rows):
        cells = "".join(cell.html() if isinstance(cell, Cell) else f"<td>{escape(cell)}</td>" for cell in row)
        stressed = ' class="chosen"' if number == chosen else ""
        body.append(f"<tr{stressed}>{cells}</tr>")
    return (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>\n'
        + "\n".join(body)
        + "\n</tbody></table></div>"
    )


class Cell:
    """A table cell with a role: `proposed`, `text` (left), `wrap`; or with a dot of a role's colour before it."""

    def __init__(self, text: str, role: str = "", dot: str = "") -> None:
        self.text, self.role, self.dot = text, role, dot

    def html(self) -> str:
        """The cell's markup."""
        role = f' class="{escape(self.role)}"' if self.role else ""
        dot = f'<span class="dot {escape(self.dot)}"></span>' if self.dot else ""
        return f"<td{role}>{dot}{escape(self.text)}</td>"


def definitions(items: Iterable[tuple[str, str, str]]) -> str:
    """Terms with their meaning, and an aside in a quieter colour."""
    return (
        "<dl>\n"
        + "\n".join(
            f"<dt>{escape(term)}</dt><dd>{escape(text)}"
            + (f' <span class="aside">{escape(aside)}</span>' if aside else "")
            + "</dd>"
            for term, text, aside in items
        )
        + "\n</dl>"
    )


def code(text: str, wrap: bool = False) -> str:
    """Text as it is written in a file or a terminal."""
    kind = ' class="wrap"' if wrap else ""
    return f"<pre{kind}>{escape(text.rstrip())}</pre>"


def details(summary: str, *parts: str) -> str:
    """Parts (HTML) that are folded until asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n" + "\n".join(parts) + "\n</details>"
