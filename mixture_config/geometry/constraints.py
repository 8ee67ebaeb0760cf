"""What a user asks of a mixture, and what the data can feed -> `Limits` on the weights."""

import fnmatch
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mixture_config.geometry.limits import Group, Limits
from mixture_config.geometry.simplex import epoch_bounds, percent_hint
from mixture_config.geometry.tolerances import WEIGHT_ROUNDOFF
from proxymix.errors import InputError
from proxymix.messages import nearest, some
from proxymix.schemas import plain_name, plain_names


@dataclass(frozen=True)
class Constraints:
    """What must be true of a mixture that is proposed or trained next.

    Args:
        budget: Tokens of the final training; with max_epochs it caps what a domain can take.
        max_epochs: Most passes of the final training over a domain's tokens (4 costs little, arXiv:2305.16264).
        limits: Smallest and largest weights, {domain or group: {min, max}}, or the number at which a weight is fixed.
        groups: Names for sets of domains (patterns such as code_* too) that limits may bound as a whole.
        max_distance: Largest share of the tokens that may be moved away from the prior (total variation).
        max_domains: Most domains that may have a weight.
    """

    FLAT: ClassVar[bool] = True  # each field is a flag and a configuration key of the stage that takes the constraints

    budget: int | None = None
    max_epochs: float | None = 4.0
    limits: dict[str, float | dict[str, float]] | None = None
    groups: dict[str, list[str]] | None = None
    max_distance: float | None = None
    max_domains: int | None = None

    def bounds(self, names: Sequence[str], counts: np.ndarray | None = None, where: object = "") -> Limits:
        """The bounds on the weights: what was asked for, within what the data can feed.

        `max_distance` and `max_domains` are not bounds of single weights, and are left to the search.

        Args:
            names: The domains.
            counts: Unique training tokens per domain, shape (num_domains,). They are needed only for a budget.
                A domain of 0 tokens can take no weight.
            where: The file that holds the counts, for messages.

        Raises:
            InputError: If there is a budget and no counts, a name in the limits or groups is unknown, or no mixture is
                within the bounds.
        """
        epochs = np.ones(len(names))
        if self.budget is not None and counts is None:
            raise InputError(
                f"budget is {self.budget:,} tokens, and the tokens of the domains are unknown; give --domains"
            )
        if self.budget is not None and counts is not None and self.max_epochs is not None:
            try:
                epochs = epoch_bounds(counts, self.budget, self.max_epochs)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        if counts is not None:
            epochs = np.where(np.asarray(counts) > 0, epochs, 0.0)  # a domain without tokens feeds no weight
        return limits_of(names, self.limits or {}, self.groups or {}, epochs, np.ones(len(names)))


def limits_of(
    names: Sequence[str],
    limits: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    epochs: np.ndarray,
    usage: np.ndarray,
) -> Limits:
    """The bounds that a user writes, within what the data allow.

    Args:
        names: Domain names.
        limits: Domain or group -> {min, max}, or the number at which its weight is fixed.
        groups: Group -> its domains, other groups, or patterns of domain names such as code_*.
        epochs: Largest weights that the data can feed, shape (num_domains,). No bound may pass them.
        usage: Further caps, which a min may pass, shape (num_domains,).

    Raises:
        InputError: For an unknown name, a bound that is not from 0 to 1, groups that overlap, and bounds that hold no
            mixture.
    """
    limits = {plain_name(str(name)): value for name, value in limits.items()}
    groups = plain_names(groups)
    members = _members_of_groups(groups, names)
    lower, upper = np.zeros(len(names)), np.minimum(epochs, usage)
    bounds = dict.fromkeys(members, (0.0, 1.0))
    known = [*names, *members]
    for name, value in limits.items():
        if name not in known:
            raise InputError(f"limits: {name}: no such domain or group{_hint(name, known)}")
        low, high = _range(name, value)
        if name in members:
            bounds[name] = (low, high)
            continue
        i = list(names).index(name)
        if low > 0 == epochs[i]:
            raise InputError(f"limits: {name} must take at least {low:g}, and it has no tokens; leave it out")
        if low > epochs[i] + WEIGHT_ROUNDOFF:
            raise InputError(
                f"limits: {name} must take at least {low:g}, and its tokens feed {epochs[i]:.6g} of the budget at "
                f"max_epochs; lower its min to {math.floor(epochs[i] * 1e6) / 1e6:g}, or the budget to "
                f"{epochs[i] / low:.4g} of it, or raise max_epochs {math.ceil(1e3 * low / epochs[i]) / 1e3:g} times"
            )
        lower[i], upper[i] = low, min(epochs[i], max(usage[i], low), high)
    return Limits(names, lower, upper, [Group(name, members[name], *bounds[name]) for name in members])


def _members_of_groups(groups: Mapping[str, Sequence[str]], names: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Group -> positions of its domains, where any two groups are apart or one is within the other."""
    members = {name: _members(name, groups, names, ()) for name in groups}
    for name in members:
        if not members[name]:
            raise InputError(f"groups: {name} is empty; name its domains, or remove it")
        if name in names:
            raise InputError(f"groups: {name} is a domain's name; give the group another")
    for (one, first), (other, second) in itertools.combinations(members.items(), 2):
        both, smaller = set(first) & set(second), min(len(first), len(second))
        if both and len(both) < smaller:
            raise InputError(
                f"groups: {names[min(both)]} is in {one} and in {other}; groups must be apart, or one within the other"
            )
    return members


def _members(
    name: str, groups: Mapping[str, Sequence[str]], names: Sequence[str], above: tuple[str, ...]
) -> tuple[int, ...]:
    if name in above:
        raise InputError(f"groups: {name} holds itself ({' > '.join([*above, name])})")
    found: list[int] = []
    for member in groups[name]:
        if member in groups:
            found += _members(member, groups, names, (*above, name))
            continue
        matching = [i for i, domain in enumerate(names) if fnmatch.fnmatchcase(domain, member)]
        if not matching:
            raise InputError(f"groups: {name}: no domain is named {member}{_hint(member, names)}")
        found += matching
    return tuple(dict.fromkeys(found))


def _hint(name: str, names: Sequence[str]) -> str:
    return nearest(name, names) or f"; there are {some(names, 12)}"


def _range(name: str, value: Any) -> tuple[float, float]:
    """The smallest and the largest weight that an entry of `limits` allows."""
    if isinstance(value, Mapping):
        if odd := set(value) - {"min", "max"}:
            raise InputError(f"limits: {name}: {sorted(odd)[0]} is none of min, max")
        low, high = value.get("min", 0.0), value.get("max", 1.0)
    else:
        low = high = value
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound <= 1:
            raise InputError(f"limits: {name}: {bound!r} is no share from 0 to 1{percent_hint(bound)}")
    return float(low), float(high)
