"""Floors and caps of domains and of groups of domains -> weights that keep all of them. Pure numpy, no files.

A group is a source, and its members are the source's topics. Groups may hold groups. The domains and groups form a tree:
its root is the whole, whose weights sum to 1. Weights are found from the root downwards: the sum of each group is divided
among its parts within their bounds.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mixture_config.geometry.simplex import round_to_grid, water_fill
from mixture_config.geometry.tolerances import STEP_ROUNDOFF, WEIGHT_ROUNDOFF
from proxymix.errors import InputError

Split = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Group:
    """Domains of which the sum of weights is bounded.

    Args:
        name: The group's name, for messages.
        members: Positions of its domains.
        lower: Smallest sum of their weights.
        upper: Largest sum of their weights.
    """

    name: str
    members: tuple[int, ...]
    lower: float = 0.0
    upper: float = 1.0


@dataclass(frozen=True)
class _Node:
    """A group in the tree. Its parts are the domains directly in it, then the groups directly in it.

    Args:
        domains: Positions of the domains directly in it.
        groups: The groups directly in it.
        members: Positions of all its domains.
        lower: Smallest sum of its weights that its own bounds and those of its parts allow.
        upper: Largest such sum.
        low: Smallest weight of every part, shape (num_parts,).
        high: Largest weight of every part, shape (num_parts,).
    """

    domains: np.ndarray
    groups: tuple["_Node", ...]
    members: np.ndarray
    lower: float
    upper: float
    low: np.ndarray
    high: np.ndarray

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Values of the parts, shape (num_rows, num_parts)."""
        inner = [values[:, group.members].sum(axis=1, keepdims=True) for group in self.groups]
        return np.hstack([values[:, self.domains], *inner])


class Limits:
    """Bounds on weights that at least one mixture keeps.

    Args:
        names: Domain names, for messages.
        lower: Smallest weights, for all or per domain.
        upper: Largest weights, for all or per domain.
        groups: Groups of domains. Any two are apart, or one is within the other.

    Raises:
        InputError: If no weights that sum to 1 keep all bounds. The message says which bounds, and what could be met.
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
        self._root = self._node(Group("", tuple(range(len(self.names))), 1.0, 1.0), list(self.groups))

    def hold(self, weights: np.ndarray) -> np.ndarray:
        """Whether rows of weights keep all bounds to 1e-12, shape (num_rows,)."""
        kept = np.all((weights >= self.lower - WEIGHT_ROUNDOFF) & (weights <= self.upper + WEIGHT_ROUNDOFF), axis=1)
        for group in self.groups:
            total = weights[:, list(group.members)].sum(axis=1)
            kept &= (total >= group.lower - WEIGHT_ROUNDOFF) & (total <= group.upper + WEIGHT_ROUNDOFF)
        return kept

    def fill(self, proportions: np.ndarray) -> np.ndarray:
        """Weights in the given proportions wherever no bound binds, from the whole down to the domains.

        Args:
            proportions: Non-negative, shape (num_rows, num_domains). A 0 stays at its floor unless no other domain can
                take the weight.

        Returns:
            Weights: rows sum to 1 and keep the bounds to 1e-12.
        """
        proportions = proportions / proportions.sum(axis=1, keepdims=True)
        room = np.minimum(self.upper, 1.0)
        # Where the capped domains leave weight that no other domain wants, it is divided by the room under the caps.
        proportions = np.maximum(proportions, 1e-12 * room / room.sum())

        def split(parts: np.ndarray, low: np.ndarray, high: np.ndarray, totals: np.ndarray) -> np.ndarray:
            totals = np.clip(totals, low.sum(), high.sum())
            return water_fill(parts, low, high, totals)

        return self._divided(proportions, split, np.ones(len(proportions)))

    def on_grid(self, num_steps: int) -> "Limits":
        """The same bounds in whole steps of 1 / num_steps, rounded inwards.

        Raises:
            InputError: If no mixture on this grid keeps them. The message says which grid or which caps would do.
        """
        try:
            return self._inwards(num_steps)
        except InputError as error:
            raise InputError(self._why_not_on_grid(num_steps, error)) from None

    def round(self, weights: np.ndarray, num_steps: int) -> np.ndarray:
        """Weights -> whole steps of 1 / num_steps that sum to num_steps, by the largest remainder within these bounds.

        Args:
            weights: Within the bounds up to rounding, shape (num_rows, num_domains).
            num_steps: Steps that make a weight of 1. These bounds must be on that grid (`on_grid`).

        Returns:
            Steps, int64, shape (num_rows, num_domains).
        """

        def split(parts: np.ndarray, low: np.ndarray, high: np.ndarray, totals: np.ndarray) -> np.ndarray:
            low, high = (np.rint(bound * num_steps).astype(np.int64) for bound in (low, high))
            return round_to_grid(parts, num_steps, low, high, totals)

        return self._divided(weights, split, np.full(len(weights), num_steps))

    def _divided(self, values: np.ndarray, split: Split, totals: np.ndarray) -> np.ndarray:
        """The totals, shape (num_rows,), divided by `split` among the parts of the whole, then of each group in it."""
        result = np.zeros(values.shape, dtype=totals.dtype)

        def divide(node: _Node, totals: np.ndarray) -> None:
            parts = split(node.sums(values), node.low, node.high, totals)
            result[:, node.domains] = parts[:, : len(node.domains)]
            for group, total in zip(node.groups, parts.T[len(node.domains) :], strict=True):
                divide(group, total)

        divide(self._root, totals)
        return result

    def _node(self, group: Group, inside: list[Group]) -> _Node:
        """The tree of a group and of the groups `inside` it."""
        groups: list[_Node] = []
        names: list[str] = []
        left = list(group.members)
        for inner in sorted(inside, key=lambda g: -len(g.members)):
            if not set(inner.members) <= set(left):
                continue  # it is within a larger group, whose node holds it
            within = [g for g in inside if g is not inner and set(g.members) <= set(inner.members)]
            groups.append(self._node(inner, within))
            names.append(inner.name)
            left = [member for member in left if member not in set(inner.members)]
        domains = np.array(left, dtype=int)
        low = np.concatenate([self.lower[domains], [g.lower for g in groups]])
        high = np.concatenate([self.upper[domains], [g.upper for g in groups]])
        lower, upper = _reachable(group, low, high, [*(self.names[i] for i in domains), *names])
        return _Node(domains, tuple(groups), np.array(group.members), lower, upper, low, high)

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

    def _why_not_on_grid(self, num_steps: int, error: InputError) -> str:
        finer_grids = [n * 10**k for k in range(6) for n in (2, 5, 10) if n * 10**k > num_steps]
        finer = next((n for n in finer_grids if self._fits(n)), None)
        below = np.floor(self.lower * num_steps + STEP_ROUNDOFF)
        above = np.ceil(self.upper * num_steps - STEP_ROUNDOFF)
        fixed = self.upper - self.lower < WEIGHT_ROUNDOFF
        if (between := np.flatnonzero(fixed & (above - below == 1))).size:
            i = int(between[0])
            return (
                f"{self.names[i]} must take {self.upper[i]:.10g}, which is not on the grid of {1 / num_steps:g}: make it "
                f"{below[i] / num_steps:.10g} or {above[i] / num_steps:.10g}"
            ) + (f", or the grid (`min_weight`) {1 / finer:g}" if finer else "")
        factors = [math.ceil(1e4 + 1e4 * 2.0**k / num_steps) / 1e4 for k in range(40)]
        looser = next((factor for factor in factors if self._fits(num_steps, factor)), None)
        ways = [f"a grid of {1 / finer:g}" if finer else "", f"caps {looser:.10g} times as high" if looser else ""]
        return (
            f"no mixture on a grid of {1 / num_steps:.3g} fits the bounds (rounded to it: {error}); "
            f"{' or '.join(filter(None, ways)) or 'other bounds'} would do"
        )


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
    """The smallest and the largest sum of a group's parts, of bounds `low` and `high`, within its own bounds."""

    def largest(bounds: np.ndarray) -> str:
        first = np.argsort(-bounds, kind="stable")[:3]
        return f" (the largest: {', '.join(f'{parts[i]} {bounds[i]:.6g}' for i in first)})"

    _check_range(group.name or "the whole", group.lower, group.upper)
    floors, caps = math.fsum(low), math.fsum(high)
    if floors > group.upper + WEIGHT_ROUNDOFF:
        whose, limit = (f"in {group.name} ", f"its {group.upper:.6g}") if group.name else ("", "1")
        raise InputError(
            f"the lower bounds {whose}sum to {floors:.6g}, over {limit}"
            + (f"; divided by {rounded_up(floors / group.upper)} they could be met" if group.upper > 0 else "")
            + largest(low)
        )
    if caps < group.lower - WEIGHT_ROUNDOFF:
        whose, limit = (f"in {group.name} ", f"its {group.lower:.6g}") if group.name else ("", "1")
        what = f"; multiplied by {rounded_up(group.lower / caps)} they could be met" if caps > 0 else ""
        raise InputError(f"the upper bounds {whose}sum to {caps:.6g}, under {limit}{what}{largest(high)}")
    return max(group.lower, min(floors, group.upper)), min(group.upper, max(caps, group.lower))


def rounded_up(factor: float) -> str:
    """A factor rounded up to six digits, so that what an error suggests is never too little."""
    text = f"{factor:.6g}"
    return text if float(text) >= factor else f"{factor * (1 + 1e-5):.6g}"
