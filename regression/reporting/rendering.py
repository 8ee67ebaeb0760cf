"""Data of the report's sections -> markup, by the templates; whatever data says is text there, never markup."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from proxymix.plots.figures import Figure
from proxymix.plots.palette import NARROW, WIDE

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Cell:
    """A table cell with a role (`proposed`, `text` for words, `wrap`), or with a dot of a role's colour before it."""

    text: str
    role: str = ""
    dot: str = ""


Row = Sequence[str | Cell]


@dataclass(frozen=True)
class Table:
    """A table: the first column names, the others hold numbers (a Cell says otherwise).

    Args:
        header: Column headings.
        rows: Of texts and cells.
        chosen: Index of a row to stress.
    """

    header: Sequence[str]
    rows: Sequence[Row]
    chosen: int | None = None

    @property
    def cells(self) -> list[list[Cell]]:
        """The rows, all of cells."""
        return [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in self.rows]


class Tile(NamedTuple):
    """One number with its unit and what it is."""

    value: str
    unit: str
    label: str
    role: str = ""


class Term(NamedTuple):
    """A term with its meaning, and an aside in a quieter colour."""

    name: str
    meaning: str
    aside: str = ""


def render(template: str, **data: Any) -> "Markup":
    """A template of `templates/` filled with data.

    Raises:
        jinja2.UndefinedError: If the template asks for what is not in the data.
    """
    from markupsafe import Markup

    return Markup(_environment().get_template(f"{template}.html").render(data))


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["drawings"] = drawings
    environment.globals["style_sheet"] = Markup((HERE / "style.css").read_text(encoding="utf-8"))
    return environment


def drawings(figure: Figure) -> "list[tuple[str, Markup]]":
    """A figure in the two widths that it is drawn for: (the class of the page that shows it, markup)."""
    from markupsafe import Markup

    widths = (("wide", WIDE), ("narrow", NARROW)) if figure.width < WIDE else (("", WIDE),)
    return [(kind, Markup(figure.svg(width))) for kind, width in widths]
