"""Names and lists as messages say them."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any


def nearest(name: str, names: Iterable[str]) -> str:
    """'; did you mean X?' for the nearest of `names`, also by the last part of a dotted one; else the empty string."""
    names = list(names)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
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
