"""Any numbers -> the nearest weights whose groups keep their bounds, exactly and for many rows at once.

Groups are nested: the whole holds groups, which hold domains and further groups. A projection moves all domains of a
group by one level, clip(start + scale * level, low, high), until their sum is right. The sum of a group's weights is a
rising broken line of its level, and it stays one where the sums of the groups in it are held within their bounds.
Therefore all levels are found from the sorted places where these lines bend, without iterating.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mixture_config.geometry.limits import Group

_EXACT = 2e-12
"""In weight: how far a projection may miss its sums."""


@dataclass(frozen=True)
class GroupNode:
    """A group: the domains directly in it, the groups in it, and the bounds of its sum."""

    domains: np.ndarray
    inside: tuple["GroupNode", ...]
    lower: float
    upper: float
    index: int  # among all groups


def tree_of(groups: Sequence[Group], num_domains: int) -> GroupNode:
    """The whole, with the groups in it."""
    return _node(Group("", tuple(range(num_domains)), 1.0, 1.0), groups, itertools.count())


def _node(group: Group, inside: Sequence[Group], index: Iterator[int]) -> GroupNode:
    """A group with the groups in it, any two of which are apart or one within the other."""
    place = next(index)
    nodes: list[GroupNode] = []
    left = set(group.members)
    for inner in sorted(inside, key=lambda g: -len(g.members)):
        if set(inner.members) <= left:  # a group within a larger one belongs to that
            within = [g for g in inside if g is not inner and set(g.members) <= set(inner.members)]
            nodes.append(_node(inner, within, index))
            left -= set(inner.members)
    return GroupNode(np.array(sorted(left), dtype=int), tuple(nodes), group.lower, group.upper, place)


class Projection:
    """The weights nearest to `start` for a given pull towards the prior.

    With a pull, a weight rests at the prior's while start + scale * level is within scale * pull of it. This is the
    projection onto a ball in total variation, of which the pull is the multiplier.

    Args:
        start: Shape (num_rows, num_domains), as are `scale`, `low` and `high`.
        scale: Squared differences from `start` are divided by it.
        low: Floors.
        high: Caps.
        rest: The prior, shape (num_domains,).
        pull: Shape (num_rows,).
        tree: The whole.

    Attributes:
        weights: Shape (num_rows, num_domains).
    """

    def __init__(
        self,
        start: np.ndarray,
        scale: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        rest: np.ndarray,
        pull: np.ndarray,
        tree: GroupNode,
    ) -> None:
        self._arrays, self._pull = (start, scale, low, high, np.broadcast_to(rest, start.shape)), pull[:, None]
        self._pulls = bool(pull.any())
        self._lines: dict[int, _BrokenLines] = {}
        self._parts: dict[int, list[np.ndarray]] = {}
        self.weights = np.empty(start.shape)
        self._growth = np.empty(start.shape)  # of the weights with their level
        self._owner = np.empty(start.shape, dtype=int)  # the group whose level moves the weight
        self._lay_lines(tree)
        self._find_levels(tree, np.ones(len(start)), tree.index)

    def distance_slope(self) -> np.ndarray:
        """How fast the total variation from the prior changes with the pull, the levels following, shape (num_rows,)."""
        away = np.sign(self.weights - self._arrays[4]) * self._growth
        slope = -self._growth.sum(axis=1)
        for owner in self._lines:
            own = self._owner == owner
            speed = np.where(own, self._growth, 0.0).sum(axis=1)
            slope += np.where(own, away, 0.0).sum(axis=1) ** 2 / np.where(speed > 0, speed, 1.0)
        return 0.5 * slope

    def _lay_lines(self, node: GroupNode) -> "_BrokenLines":
        """The sums of a group, and of all groups in it, as lines of the level."""
        self._parts[node.index] = [array[:, node.domains] for array in self._arrays]
        start, scale, low, high, rest = self._parts[node.index]
        inner = [self._lay_lines(part).held(part.lower, part.upper) for part in node.inside]
        if self._pulls:
            still = np.clip(rest, low, high)
            ends = [
                ((end - start) / scale + side * self._pull)
                for end, side in ((low, -1), (still, -1), (still, 1), (high, 1))
            ]
            bends = [scale, -scale, scale, -scale]
        else:
            ends, bends = [(low - start) / scale, (high - start) / scale], [scale, -scale]
        self._lines[node.index] = _BrokenLines(
            np.hstack([*ends, *(part.kinks for part in inner)]),
            np.hstack([*bends, *(part.bends for part in inner)]),
            low.sum(axis=1) + sum((part.base for part in inner), np.zeros(len(low))),
        )
        return self._lines[node.index]

    def _find_levels(self, node: GroupNode, totals: np.ndarray, owner: np.ndarray | int) -> None:
        """Find the weights of a group that sum to `totals`: one level for all that no inner group's bound holds back."""
        level = self._lines[node.index].level(totals)
        for _ in range(4):  # Newton's steps remove what rounding left of long lines
            total, speed = self._total(node, level)
            missing = totals - total
            if not (np.abs(missing) > _EXACT).any():
                break
            level = level + np.where(speed > 0, missing / np.where(speed > 0, speed, 1.0), 0.0)
        self.weights[:, node.domains], self._growth[:, node.domains] = self._at(level, node)
        self._owner[:, node.domains] = np.reshape(owner, (-1, 1))
        for inner in node.inside:
            total, _ = self._total(inner, level)
            kept = np.clip(total, inner.lower, inner.upper)
            self._find_levels(inner, kept, np.where(kept == total, owner, inner.index))

    def _at(self, level: np.ndarray, node: GroupNode) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the domains directly in a group, and how fast they grow."""
        start, scale, low, high, rest = self._parts[node.index]
        moved = start + scale * level[:, None]
        growing = (moved > low) & (moved < high)
        if self._pulls:
            slack = scale * self._pull
            moved = np.clip(rest, moved - slack, moved + slack)
            growing = (moved > low) & (moved < high) & (moved != rest)
        return np.clip(moved, low, high), np.where(growing, scale, 0.0)

    def _total(self, node: GroupNode, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sum of a group's weights where all groups in it keep their bounds, and how fast the sum grows."""
        weights, growth = self._at(level, node)
        total, speed = weights.sum(axis=1), growth.sum(axis=1)
        for inner in node.inside:
            inner_total, inner_speed = self._total(inner, level)
            kept = np.clip(inner_total, inner.lower, inner.upper)
            total, speed = total + kept, speed + np.where(kept == inner_total, inner_speed, 0.0)
        return total, speed


class _BrokenLines:
    """Per row a rising broken line of a level, flat at both ends: base + sum_j bends_j * max(level - kinks_j, 0)."""

    def __init__(self, kinks: np.ndarray, bends: np.ndarray, base: np.ndarray) -> None:
        self._offsets = kinks.shape[1] * np.arange(len(kinks))
        order = np.argsort(kinks, axis=1) + self._offsets[:, None]
        self.kinks, self.bends, self.base = kinks.take(order), bends.take(order), base
        self._slopes = np.cumsum(self.bends, axis=1)
        self._sums = np.zeros(kinks.shape)  # at the kinks
        np.cumsum(self._slopes[:, :-1] * np.diff(self.kinks, axis=1), axis=1, out=self._sums[:, 1:])
        self._sums += base[:, None]

    def level(self, totals: np.ndarray) -> np.ndarray:
        """Where the lines reach `totals`, shape (num_rows,)."""
        place = np.maximum((self._sums <= totals[:, None]).sum(axis=1) - 1, 0)
        here, after = self._offsets + place, self._offsets + np.minimum(place + 1, self.kinks.shape[1] - 1)
        kink, slope = self.kinks.take(here), self._slopes.take(here)
        ahead = (totals - self._sums.take(here)) / np.where(slope > 0, slope, np.inf)
        return np.asarray(kink + np.clip(ahead, 0.0, self.kinks.take(after) - kink))

    def held(self, lower: float, upper: float) -> "_BrokenLines":
        """The lines held within bounds: nothing bends before the lower is reached, nor after the upper."""
        rows = np.ones(len(self.base))
        first = np.where(self.base < lower, self.level(lower * rows), -np.inf)[:, None]
        last = np.where(self._sums[:, -1] > upper, self.level(upper * rows), np.inf)[:, None]
        return _BrokenLines(np.clip(self.kinks, first, last), self.bends, np.maximum(self.base, lower))
