"""Floors, caps and fixed weights, of domains and of groups of domains -> weights that keep all of them.

A group is a source whose members are its topics; groups may hold groups. The whole is the outermost group, whose
weights sum to 1, so everything goes from the whole downwards: what a group gets is shared among its parts within
their bounds.
"""

import fnmatch
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixture_config.geometry.simplex import enough, round_to_grid, water_fill
from mixture_config.geometry.tolerances import STEP_ROUNDOFF, WEIGHT_ROUNDOFF
from proxymix.errors import InputError
from proxymix.messages import nearest

Split = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Group:
    """Domains whose weights have a sum with bounds of its own; `members` are positions of domains."""

    name: str
    members: tuple[int, ...]
    lower: float = 0.0
    upper: float = 1.0


@dataclass(frozen=True)
class _Part:
    """A group with its parts: the domains directly in it, then the groups in it. Bounds are those that can be reached."""

    name: str
    domains: np.ndarray
    groups: tuple["_Part", ...]
    members: np.ndarray
    lower: float
    upper: float
    low: np.ndarray  # of every part
    high: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Values of the parts, shape (num_rows, num_parts)."""
        inner = [values[:, group.members].sum(axis=1, keepdims=True) for group in self.groups]
        return np.hstack([values[:, self.domains], *inner])


class Limits:
    """Bounds that hold at least one mixture.

    Args:
        names: Domain names, for messages.
        lower: Smallest weights, for all or per domain.
        upper: Largest weights, for all or per domain.
        groups: Groups of domains, any two of which are apart or one within the other.

    Raises:
        InputError: If no weights that sum to 1 keep all bounds; the message says which and what could be met.
    """

    def __init__(
        self,
        names: Sequence[str],
        lower: np.ndarray | float = 0.0,
        upper: np.ndarray | float = 1.0,
        groups: Sequence[Group] = (),
    ) -> None:
        self.names = tuple(names)
        self.lower = np.broadcast_to(np.asarray(lower, dtype=float), len(self.names))
        self.upper = np.broadcast_to(np.asarray(upper, dtype=float), len(self.names))
        self.groups = tuple(groups)
        for name, low, high in zip(self.names, self.lower, self.upper, strict=True):
            _check_range(name, float(low), float(high))
        self._whole = self._part(Group("", tuple(range(len(self.names))), 1.0, 1.0), list(self.groups))

    def hold(self, weights: np.ndarray) -> np.ndarray:
        """Whether rows of weights keep all bounds to 1e-12, shape (num_rows,)."""
        kept = np.all((weights >= self.lower - WEIGHT_ROUNDOFF) & (weights <= self.upper + WEIGHT_ROUNDOFF), axis=1)
        for group in self.groups:
            total = weights[:, list(group.members)].sum(axis=1)
            kept &= (total >= group.lower - WEIGHT_ROUNDOFF) & (total <= group.upper + WEIGHT_ROUNDOFF)
        return kept

    def fill(self, shares: np.ndarray) -> np.ndarray:
        """Weights in proportion to `shares` wherever no bound binds, from the whole down to the domains.

        Args:
            shares: Non-negative; zeros stay at their floors unless nothing else can take the weight.
                Shape (num_rows, num_domains).

        Returns:
            Weights: rows sum to 1 and keep the bounds to 1e-12.
        """
        shares = shares / shares.sum(axis=1, keepdims=True)
        room = np.minimum(self.upper, 1.0)
        shares = np.maximum(shares, 1e-12 * room / room.sum())  # so that what others cannot hold goes somewhere

        def split(parts: np.ndarray, low: np.ndarray, high: np.ndarray, totals: np.ndarray) -> np.ndarray:
            totals = np.clip(totals, low.sum(), high.sum())
            return water_fill(parts, low, high, totals)

        return self._shared(shares, split, np.ones(len(shares)))

    def on_grid(self, num_steps: int) -> "Limits":
        """The same bounds in whole steps of 1 / num_steps, rounded inwards.

        Raises:
            InputError: If no mixture on this grid keeps them; with a grid that would do.
        """
        try:
            return self._inwards(num_steps)
        except InputError as error:
            finer = next((n for n in _round_grids(num_steps) if self._fits(n)), None)
            between = np.floor(self.lower * num_steps + STEP_ROUNDOFF), np.ceil(self.upper * num_steps - STEP_ROUNDOFF)
            if (
                off := np.flatnonzero((between[1] - between[0] == 1) & (self.upper - self.lower < WEIGHT_ROUNDOFF))
            ).size:
                i = int(off[0])
                low, high = (float(bound[i]) / num_steps for bound in between)
                raise InputError(
                    f"{self.names[i]} must take {self.upper[i]:.10g}, which is not on the grid of {1 / num_steps:g}: make it "
                    f"{low:.10g} or {high:.10g}" + (f", or the grid (`minimum`) {1 / finer:g}" if finer else "")
                ) from None
            looser = next((f for f in _looser(num_steps) if self._fits(num_steps, f)), None)
            ways = [f"a grid of {1 / finer:g}" if finer else "", f"caps {looser:.10g} times as high" if looser else ""]
            raise InputError(
                f"no mixture on a grid of {1 / num_steps:.3g} fits the bounds (rounded to it: {error}); "
                f"{' or '.join(filter(None, ways)) or 'other bounds'} would do"
            ) from None

    def round(self, weights: np.ndarray, num_steps: int) -> np.ndarray:
        """Weights -> whole steps of 1 / num_steps that sum to num_steps (largest remainder), within these bounds.

        Args:
            weights: Within the bounds (nearly), shape (num_rows, num_domains).
            num_steps: Steps that make a weight of 1; the bounds must be `on_grid` of it.

        Returns:
            Steps, int64, shape (num_rows, num_domains).
        """

        def split(parts: np.ndarray, low: np.ndarray, high: np.ndarray, totals: np.ndarray) -> np.ndarray:
            low, high = (np.rint(bound * num_steps).astype(np.int64) for bound in (low, high))
            return round_to_grid(parts, num_steps, low, high, totals)

        return self._shared(weights, split, np.full(len(weights), num_steps))

    def _shared(self, values: np.ndarray, split: Split, totals: np.ndarray) -> np.ndarray:
        result = np.zeros(values.shape, dtype=totals.dtype)

        def share(part: _Part, totals: np.ndarray) -> None:
            shares = split(part.sums(values), part.low, part.high, totals)
            result[:, part.domains] = shares[:, : len(part.domains)]
            for group, total in zip(part.groups, shares.T[len(part.domains) :], strict=True):
                share(group, total)

        share(self._whole, totals)
        return result

    def _part(self, group: Group, inside: list[Group]) -> _Part:
        """A group's parts, with bounds that can be reached: those of its members bound it, too."""
        groups: list[_Part] = []
        left = list(group.members)
        for inner in sorted(inside, key=lambda g: -len(g.members)):
            if not set(inner.members) <= set(left):
                continue  # within a larger one, which takes it in
            within = [g for g in inside if g is not inner and set(g.members) <= set(inner.members)]
            groups.append(self._part(inner, within))
            left = [member for member in left if member not in set(inner.members)]
        domains = np.array(left, dtype=int)
        low = np.concatenate([self.lower[domains], [g.lower for g in groups]])
        high = np.concatenate([self.upper[domains], [g.upper for g in groups]])
        lower, upper = _reachable(group, low, high, [*(self.names[i] for i in domains), *(g.name for g in groups)])
        return _Part(group.name, domains, tuple(groups), np.array(group.members), lower, upper, low, high)

    def _inwards(self, num_steps: int, looser: float = 1.0) -> "Limits":
        def inwards(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            low = np.ceil(np.maximum(low, 0) * num_steps - STEP_ROUNDOFF)
            return low / num_steps, np.floor(np.minimum(high * looser, 1) * num_steps + STEP_ROUNDOFF) / num_steps

        groups = [
            Group(g.name, g.members, *map(float, inwards(np.array(g.lower), np.array(g.upper)))) for g in self.groups
        ]
        return Limits(self.names, *inwards(self.lower, self.upper), groups)

    def _fits(self, num_steps: int, looser: float = 1.0) -> bool:
        try:
            self._inwards(num_steps, looser)
        except InputError:
            return False
        return True


def _check_range(name: str, lower: float, upper: float) -> None:
    if not (math.isfinite(lower) and math.isfinite(upper)):
        raise InputError(f"{name}: a bound is not a finite number")
    if lower < 0:
        raise InputError(f"{name} must take at least {lower:g}; weights are at least 0")
    if lower > upper + WEIGHT_ROUNDOFF:
        raise InputError(
            f"{name} must take at least {lower:.6g} and at most {upper:.6g}; lower the first to {upper:.6g}"
        )


def _reachable(group: Group, low: np.ndarray, high: np.ndarray, parts: Sequence[str]) -> tuple[float, float]:
    """What the sum of a group's parts can be, within its own bounds."""

    def largest(bounds: np.ndarray) -> str:
        first = np.argsort(-bounds, kind="stable")[:3]
        return f" (the largest: {', '.join(f'{parts[i]} {bounds[i]:.6g}' for i in first)})"

    _check_range(group.name or "the whole", group.lower, group.upper)
    floors, caps = math.fsum(low), math.fsum(high)
    if floors > group.upper + WEIGHT_ROUNDOFF:
        whose, limit = (f"in {group.name} ", f"its {group.upper:.6g}") if group.name else ("", "1")
        raise InputError(
            f"the lower bounds {whose}sum to {floors:.6g}, over {limit}"
            + (f"; divided by {enough(floors / group.upper)} they could be met" if group.upper > 0 else "")
            + largest(low)
        )
    if caps < group.lower - WEIGHT_ROUNDOFF:
        whose, limit = (f"in {group.name} ", f"its {group.lower:.6g}") if group.name else ("", "1")
        what = f"; multiplied by {enough(group.lower / caps)} they could be met" if caps > 0 else ""
        raise InputError(f"the upper bounds {whose}sum to {caps:.6g}, under {limit}{what}{largest(high)}")
    return max(group.lower, min(floors, group.upper)), min(group.upper, max(caps, group.lower))


def _round_grids(num_steps: int) -> list[int]:
    return [n * 10**k for k in range(6) for n in (2, 5, 10) if n * 10**k > num_steps]


def _looser(num_steps: int) -> list[float]:
    return [math.ceil(1e4 + 1e4 * 2.0**k / num_steps) / 1e4 for k in range(40)]


def limits_of(
    names: Sequence[str],
    limits: Mapping[str, Any],
    groups: Mapping[str, Sequence[str]],
    epochs: np.ndarray,
    usage: np.ndarray,
) -> Limits:
    """What a user's bounds and the data's allow.

    Args:
        names: Domain names.
        limits: Domain or group -> {min, max}, or the number at which its weight is fixed.
        groups: Group -> its domains, other groups, or patterns of domain names such as code_*.
        epochs: Largest weights that the data can feed, shape (num_domains,); nothing passes them.
        usage: Further caps, which a min may pass, shape (num_domains,).

    Raises:
        InputError: For an unknown name, a bound that is no share, groups that overlap, and bounds that hold no mixture.
    """
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
    lower, upper = np.zeros(len(names)), np.minimum(epochs, usage)
    bounds = dict.fromkeys(members, (0.0, 1.0))
    known = [*names, *members]
    for name, value in limits.items():
        if name not in known:
            raise InputError(f"limits: {name}: no such domain or group{nearest(str(name), known)}")
        low, high = _range(name, value)
        if name in members:
            bounds[name] = (low, high)
            continue
        i = list(names).index(name)
        if low > 0 == epochs[i]:
            raise InputError(f"limits: {name} must take at least {low:g}, and it has no tokens; leave it out")
        if low > epochs[i] + WEIGHT_ROUNDOFF:
            raise InputError(
                f"limits: {name} must take at least {low:g}, and its tokens feed {epochs[i]:.6g} of the budget at max_epochs; "
                f"lower its min to {math.floor(epochs[i] * 1e6) / 1e6:g}, or the budget to {epochs[i] / low:.4g} of it, "
                f"or raise max_epochs {math.ceil(1e3 * low / epochs[i]) / 1e3:g} times"
            )
        lower[i], upper[i] = low, min(epochs[i], max(usage[i], low), high)
    return Limits(names, lower, upper, [Group(name, members[name], *bounds[name]) for name in members])


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
            raise InputError(f"groups: {name}: no domain is named {member}{nearest(member, names)}")
        found += matching
    return tuple(dict.fromkeys(found))


def _range(name: str, value: Any) -> tuple[float, float]:
    """The smallest and the largest weight that an entry of `limits` says."""
    if isinstance(value, Mapping):
        if odd := set(value) - {"min", "max"}:
            raise InputError(f"limits: {name}: {sorted(odd)[0]} is none of min, max")
        low, high = value.get("min", 0.0), value.get("max", 1.0)
    else:
        low = high = value
    for bound in (low, high):
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not 0 <= bound <= 1:
            raise InputError(f"limits: {name}: {bound!r} is no share from 0 to 1")
    return float(low), float(high)
