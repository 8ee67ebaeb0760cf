"""Names and lists as messages say them."""

import difflib
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def nearest(name: str, names: Iterable[str]) -> str:
    """'; did you mean X?' for the nearest of `names`, also by the last part or the initials of one; else the empty string."""
    names = list(names)
    initials = {other: "".join(word[:1] for word in other.rpartition(".")[2].split("_")) for other in names}
    match = [other for other in names if len(initials[other]) > 1 and initials[other] == name.rpartition(".")[2]][:1]
    match = match or difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not match:
        last = {other.rpartition(".")[2]: other for other in names}
        match = [last[m] for m in difflib.get_close_matches(name.rpartition(".")[2], list(last), n=1, cutoff=0.7)]
    return f"; did you mean {match[0]}?" if match else ""


def some(values: Iterable[Any], limit: int = 5) -> str:
    """The first few of some values, and how many more there are."""
    items = [str(v) for v in values]
    more = f" and {len(items) - limit} more" if len(items) > limit else ""
    return ", ".join(items[:limit]) + more


def listed(names: Sequence[str]) -> str:
    """'the prior, the heuristic and the uniform mixture'."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the header first, as lines of a table: the first and the last column flush left, the others right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others, last in rows:
        cells = [first.ljust(widths[0]), *(c.rjust(w) for c, w in zip(others, widths[1:-1], strict=True)), last]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def study_of(path: Path) -> Path | None:
    """The study in whose folder a file or folder lies, so that a command needs no more than `--study`; None elsewhere."""
    return path.parent if (path.parent / "study.yaml").exists() else None


def next_command(out: Path, stage: str, flags: str) -> str:
    """The command of the stage that comes after what was written to `out`: for its study, or with flags outside of one."""
    study = study_of(out)
    return f"proxymix {stage} {flags if study is None else f'--study {shlex.quote(str(study))}'}"
