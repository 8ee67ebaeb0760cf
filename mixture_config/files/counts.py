"""Datasets in groups -> some of them dropped or merged, and the groups' fixed weights. Drop and merge mean what ml-dist-gen's do."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mixture_config.geometry.simplex import percent_hint
from proxymix.errors import InputError
from proxymix.messages import nearest, some
from proxymix.token_counts import Dataset


def regroup(
    datasets: Sequence[Dataset], drop: Mapping[str, Sequence[str]], merge: Mapping[str, Sequence[str]]
) -> list[Dataset]:
    """Leave out what is dropped, then move what is merged into its new group. The order stays.

    A group without datasets disappears. A new group may have the name of another one, whose datasets it then joins.

    Args:
        datasets: All of them.
        drop: Group -> names of its datasets to leave out.
        merge: New group -> names of datasets, whose groups lose them.

    Raises:
        InputError: If a name is not in the data, a dataset is in two merges, or no tokens are left.
    """
    groups = {d.group for d in datasets}
    for group, names in drop.items():
        if group not in groups:
            raise InputError(f"drop: no group {group!r}{_hint(group, groups)}")
        known = {d.dataset for d in datasets if d.group == group}
        for name in names:
            if name not in known:
                raise InputError(f"drop: no dataset {name!r} in the group {group!r}{_hint(name, known)}")
    known = {d.dataset for d in datasets}
    into: dict[str, str] = {}
    for group, names in merge.items():
        for name in names:
            if name not in known:
                raise InputError(f"merge: {group}: no dataset {name!r}{_hint(name, known)}")
            if into.setdefault(name, group) != group:
                raise InputError(f"merge: the dataset {name!r} is in both {into[name]!r} and {group!r}; remove one")
    kept = [replace(d, group=into.get(d.dataset, d.group)) for d in datasets if d.dataset not in drop.get(d.group, ())]
    if not any(d.tokens for d in kept):
        raise InputError("drop: no dataset with tokens is left; drop fewer")
    return kept


def fixed_weights(fixed: Mapping[str, float], groups: Sequence[str]) -> list[float]:
    """The fixed weight of every group, NaN where it has none.

    Raises:
        InputError: If a weight is not from 0 to 1, or there is no such group.
    """
    for group, weight in fixed.items():
        if not 0 <= weight <= 1:
            raise InputError(f"fixed: {group} is {weight!r}; a share from 0 to 1 is wanted{percent_hint(weight)}")
        if group not in groups:
            raise InputError(f"fixed: no group {group!r}{_hint(group, groups)}")
    return [fixed.get(group, math.nan) for group in groups]


def _hint(name: str, names: Any) -> str:
    return nearest(str(name), sorted(names)) or f"; there are {some(sorted(names))}"
