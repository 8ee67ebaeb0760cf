"""Limits, a distance from the prior, a number of domains -> which mixtures are allowed, and the nearest that is.

Bounds of domains and of groups (mixture_config/geometry/limits.py) and the distance make a polytope; a largest number of domains
makes it a union of faces. Projections are exact and for many rows at once, so that a search can step anywhere and land
on an allowed mixture.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixture_config.geometry.limits import Group, Limits
from mixture_config.geometry.simplex import enough
from proxymix.errors import InputError

FEASIBLE = 1e-9  # how far an allowed mixture may be off a demand
ZERO = 1e-9  # a weight below this becomes 0
_EXACT = 2e-12  # how far a projection is off its sums
_NEARLY = 2e-10  # how far off the ball's surface a projection onto it may be


@dataclass(frozen=True)
class _Node:
    """A group: the domains directly in it, the groups in it, and the bounds of its sum."""

    domains: np.ndarray
    inside: tuple["_Node", ...]
    lower: float
    upper: float
    index: int  # among all groups


class _Path:
    """Weights of every row that grow with a level: clip(start + scale * level, low, high), one level for each group.

    With a pull, a weight rests at the prior's while start + scale * level is within scale * pull of it: the projection
    onto a ball in total variation, of which `pull` is the multiplier. The sum of a group's weights is a rising broken
    line of the level, and stays one where the sums of the groups in it are held within their bounds, so all levels are
    found exactly, from the sorted places where these lines bend.

    Args:
        start: Shape (num_rows, num_domains), as are `scale`, `low` and `high`.
        rest: The prior, shape (num_domains,).
        pull: Shape (num_rows,).
        tree: The whole.
    """

    def __init__(
        self,
        start: np.ndarray,
        scale: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        rest: np.ndarray,
        pull: np.ndarray,
        tree: _Node,
    ) -> None:
        self._arrays, self._pull = (start, scale, low, high, np.broadcast_to(rest, start.shape)), pull[:, None]
        self._pulls = bool(pull.any())
        self._lines: dict[int, _Lines] = {}
        self._parts: dict[int, list[np.ndarray]] = {}
        self.weights = np.empty(start.shape)
        self._growth = np.empty(start.shape)  # of the weights with their level
        self._owner = np.empty(start.shape, dtype=int)  # the group whose level it is
        self._bend(tree)
        self._settle(tree, np.ones(len(start)), tree.index)

    def slope(self) -> np.ndarray:
        """How fast the total variation from the prior changes with the pull, the levels following, shape (num_rows,)."""
        away = np.sign(self.weights - self._arrays[4]) * self._growth
        slope = -self._growth.sum(axis=1)
        for owner in self._lines:
            own = self._owner == owner
            speed = np.where(own, self._growth, 0.0).sum(axis=1)
            slope += np.where(own, away, 0.0).sum(axis=1) ** 2 / np.where(speed > 0, speed, 1.0)
        return 0.5 * slope

    def _bend(self, node: _Node) -> "_Lines":
        """The sums of a group, and of all groups in it, as lines of the level."""
        self._parts[node.index] = [array[:, node.domains] for array in self._arrays]
        start, scale, low, high, rest = self._parts[node.index]
        inner = [self._bend(part).held(part.lower, part.upper) for part in node.inside]
        if self._pulls:
            still = np.clip(rest, low, high)
            ends = [
                ((end - start) / scale + side * self._pull)
                for end, side in ((low, -1), (still, -1), (still, 1), (high, 1))
            ]
            bends = [scale, -scale, scale, -scale]
        else:
            ends, bends = [(low - start) / scale, (high - start) / scale], [scale, -scale]
        self._lines[node.index] = _Lines(
            np.hstack([*ends, *(part.kinks for part in inner)]),
            np.hstack([*bends, *(part.bends for part in inner)]),
            low.sum(axis=1) + sum((part.base for part in inner), np.zeros(len(low))),
        )
        return self._lines[node.index]

    def _settle(self, node: _Node, totals: np.ndarray, owner: np.ndarray | int) -> None:
        """Find the weights of a group that sum to `totals`: one level for all that no group's bound holds back."""
        level = self._lines[node.index].level(totals)
        for _ in range(4):  # what rounding left of long lines
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
            self._settle(inner, kept, np.where(kept == total, owner, inner.index))

    def _at(self, level: np.ndarray, node: _Node) -> tuple[np.ndarray, np.ndarray]:
        """Weights of the domains directly in a group, and how fast they grow."""
        start, scale, low, high, rest = self._parts[node.index]
        moved = start + scale * level[:, None]
        growing = (moved > low) & (moved < high)
        if self._pulls:
            slack = scale * self._pull
            moved = np.clip(rest, moved - slack, moved + slack)
            growing = (moved > low) & (moved < high) & (moved != rest)
        return np.clip(moved, low, high), np.where(growing, scale, 0.0)

    def _total(self, node: _Node, level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sum of a group's weights where all of its groups keep their bounds, and how fast it grows."""
        weights, growth = self._at(level, node)
        total, speed = weights.sum(axis=1), growth.sum(axis=1)
        for inner in node.inside:
            inner_total, inner_speed = self._total(inner, level)
            kept = np.clip(inner_total, inner.lower, inner.upper)
            total, speed = total + kept, speed + np.where(kept == inner_total, inner_speed, 0.0)
        return total, speed


class _Lines:
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

    def held(self, lower: float, upper: float) -> "_Lines":
        """The lines held within bounds: nothing bends before the lower is reached, nor after the upper."""
        rows = np.ones(len(self.base))
        first = np.where(self.base < lower, self.level(lower * rows), -np.inf)[:, None]
        last = np.where(self._sums[:, -1] > upper, self.level(upper * rows), np.inf)[:, None]
        return _Lines(np.clip(self.kinks, first, last), self.bends, np.maximum(self.base, lower))


class Region:
    """The mixtures that keep every demand.

    Args:
        limits: Bounds of domains and of groups.
        prior: Where distances are measured from, shape (num_domains,); at any scale.
        max_distance: Largest total variation from the prior, half the sum of |weight - prior|.
        max_domains: Most weights above 0.

    Raises:
        InputError: If no mixture keeps them; the message says which clash and what would do.
    """

    def __init__(
        self, limits: Limits, prior: np.ndarray, max_distance: float | None = None, max_domains: int | None = None
    ) -> None:
        self.limits = limits
        self.prior = np.asarray(prior, dtype=float) / np.sum(prior)
        if self.prior.shape != (len(limits.names),) or not (self.prior >= 0).all():
            raise InputError(f"the prior has {np.size(prior)} shares for {len(limits.names)} domains, or one below 0")
        self.low = np.array(limits.lower, dtype=float)
        self.high = np.maximum(np.minimum(limits.upper, 1.0), self.low)
        self.max_distance, self.max_domains = max_distance, max_domains
        everything = Group("", tuple(range(len(self.low))), 1.0, 1.0)
        self._tree = _node(everything, limits.groups, itertools.count())
        self._closest = self._closest_of(self.low[None], self.high[None])
        self._check_distance()
        self._few: np.ndarray | None = None
        if max_domains is not None:
            self._few = self._check_domains(max_domains)

    def holds(self, X: np.ndarray, tolerance: float = FEASIBLE) -> np.ndarray:
        """Whether rows of weights keep every demand to `tolerance`, shape (num_rows,)."""
        kept = self._holds_sums(X, self.low, self.high, tolerance)
        if self.max_domains is not None:
            kept &= np.count_nonzero(tolerance < X, axis=1) <= self.max_domains
        return kept

    def nearest(self, X: np.ndarray) -> np.ndarray:
        """The nearest allowed mixtures (Euclidean), equal to X where X is allowed.

        Weights below 1e-9 become 0 where their floor allows it. With `max_domains` the largest weights stay: the
        nearest of the face they span, which need not be the nearest of all.

        Args:
            X: Any finite numbers, shape (num_rows, num_domains).
        """
        W = np.array(X, dtype=float)
        off = np.flatnonzero(~self.holds(W))
        if off.size:
            W[off] = self.project(W[off])
            if self.max_domains is not None:
                W[off] = self._thin(W[off])
        return self._without_dust(W)

    def admit(self, draws: np.ndarray) -> np.ndarray:
        """Draws made allowed, cheaply, and so that they stay spread out; those allowed are untouched.

        Outside the bounds they are filled in proportion (`Limits.fill`), too far from the prior they are pulled straight
        towards it, and of too many domains the largest stay.
        """
        W = np.array(draws, dtype=float)
        out = ~self.limits.hold(W)
        if out.any():
            W[out] = self.limits.fill(W[out])
        W = self._pulled(W, self._closest)
        if self.max_domains is not None:
            many = np.flatnonzero(~self.holds(W))
            if many.size:
                W[many] = self._thin(W[many])
        return W

    def project(self, X: np.ndarray, scale: np.ndarray | None = None, high: np.ndarray | None = None) -> np.ndarray:
        """The nearest mixtures within limits and distance, whatever the number of domains.

        Args:
            X: Any finite numbers, shape (num_rows, num_domains).
            scale: Squared differences are divided by it: where it is large, weights move freely. Shape as X.
            high: Caps per row below those of the limits; 0 keeps a domain out. Shape as X; some mixture must keep them.
        """
        scale = np.ones_like(X) if scale is None else scale
        return self._settle(X, scale, self.low, self.high if high is None else high)

    def can_do_with(self, members: np.ndarray) -> np.ndarray:
        """Whether some mixture of these domains alone is within limits and distance, (num_rows, num_domains) -> (num_rows,)."""
        low, high = np.broadcast_to(self.low, members.shape), np.where(members, self.high, 0.0)
        kept = np.asarray(np.all(members | (low <= 0), axis=1))
        kept[kept] = self._holds_sums(self._closest_of(low[kept], high[kept]), low[kept], high[kept], FEASIBLE / 10)
        return kept

    def distance(self, X: np.ndarray) -> np.ndarray:
        """Total variation from the prior, shape (num_rows,)."""
        return 0.5 * np.abs(X - self.prior).sum(axis=1)

    def linear(self) -> "Linear":
        """The same demands, but for `max_domains`, as rows of a linear program."""
        num_domains, eye = len(self.low), np.eye(len(self.low))
        rows: list[np.ndarray] = []
        bounds: list[float] = []
        for group in self.limits.groups:
            member = np.zeros(num_domains)
            member[list(group.members)] = 1.0
            if group.upper < 1:
                rows, bounds = [*rows, member], [*bounds, group.upper]
            if group.lower > 0:
                rows, bounds = [*rows, -member], [*bounds, -group.lower]
        above = np.reshape(rows, (len(rows), num_domains))
        low, high, whole = self.low.copy(), self.high.copy(), np.ones((1, num_domains))
        if self.max_distance is not None and self.max_distance < 1:  # a slack each, at least |weight - prior|
            above = np.block([
                [above, np.zeros_like(above)],
                [eye, -eye],
                [-eye, -eye],
                [np.zeros((1, num_domains)), np.full((1, num_domains), 0.5)],
            ])  # fmt: skip
            bounds = [*bounds, *self.prior, *-self.prior, self.max_distance]
            low, high = np.append(low, np.zeros(num_domains)), np.append(high, np.ones(num_domains))
            whole = np.hstack([whole, np.zeros((1, num_domains))])
        return Linear(above, np.array(bounds, dtype=float), whole, low, high)

    def _settle(self, X: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The nearest mixtures within bounds (which may differ by row) and distance; some mixture must be."""
        low, high = np.broadcast_to(low, X.shape), np.broadcast_to(high, X.shape)

        W = self._within(X, scale, low, high)
        if self.max_distance is None:
            return W
        rows = np.flatnonzero(self.distance(W) > self.max_distance + _EXACT)
        if rows.size:
            low, high = low[rows], high[rows]
            near = self._in_ball(X[rows], W[rows], scale[rows], low, high)
            near = self._within(near, np.ones(near.shape), low, high)  # what a strong pull rounded off
            W[rows] = self._pulled(near, self._closest_of(low, high))
        return W

    def _within(self, X: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The nearest mixtures within bounds, at any distance from the prior."""
        return self._path(X, scale, low, high, np.zeros(len(X))).weights

    def _path(self, X: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray, pull: np.ndarray) -> _Path:
        return _Path(X, scale, low, high, self.prior, pull, self._tree)

    def _closest_of(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The mixtures within bounds (per row) of least total variation from the prior.

        These are the Euclidean projections of the prior: what bounds on nested groups leave is a base polytope, on which
        one point is nearest by every symmetric separable convex measure.
        """
        start = np.broadcast_to(self.prior, low.shape)
        return self._within(start, np.ones(low.shape), low, high)

    def _in_ball(
        self, X: np.ndarray, W: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """Projections onto the ball: the least pull towards the prior that brings each row in (nearly).

        The distance is a falling broken line of the pull: Newton's steps, kept in a bracket.

        Args:
            X: What is projected, shape (num_rows, num_domains).
            W: Its projection without a ball, outside it.
            scale: As for `project`.
            low: Floors per row.
            high: Caps per row.
        """
        assert self.max_distance is not None
        result = W.copy()
        over = self.distance(W) - self.max_distance
        weak, strong = np.zeros(len(X)), np.full(len(X), np.inf)
        # beyond, nothing moves any more, and rounding would count
        most = 1e3 * (1 + np.abs(X).max(axis=1)) / scale.min(axis=1)
        pull = 2 * over / scale.sum(axis=1)
        rows = np.arange(len(X))
        for count in range(100):
            path = self._path(X[rows], scale[rows], low[rows], high[rows], pull[rows])
            over = self.distance(path.weights) - self.max_distance
            out = over > 0
            result[rows] = path.weights
            weak[rows[out]], strong[rows[~out]] = pull[rows[out]], pull[rows[~out]]
            slope = path.slope()
            falling = slope < -1e-12 * scale[rows].max(axis=1)
            step = pull[rows] - over / np.where(falling, slope, -1.0)
            bounded = np.isfinite(strong[rows])
            halved = np.where(bounded, (weak[rows] + np.where(bounded, strong[rows], 0.0)) / 2, 8 * pull[rows])
            newton = falling & (step > weak[rows]) & (step < strong[rows]) & (count % 4 < 3)
            pull[rows] = np.minimum(np.where(newton, step, halved), most[rows])
            open_ = (np.abs(over) > _NEARLY / 2) & (weak[rows] < most[rows])
            rows = rows[open_ & ~(strong[rows] - weak[rows] < 1e-12 * strong[rows])]
            if not rows.size:
                break
        return result

    def _pulled(self, W: np.ndarray, closest: np.ndarray) -> np.ndarray:
        """Rows that are too far from the prior, moved straight towards the closest mixture until they are not."""
        if self.max_distance is None:
            return W
        over = self.distance(W) - self.max_distance
        room = self.distance(W) - self.distance(closest)
        share = np.clip(np.where(over > _NEARLY, over, 0.0) / np.where(room > 0, room, 1.0), 0.0, 1.0)[:, None]
        return np.where(share > 0, W + share * (closest - W), W)

    def _holds_sums(self, X: np.ndarray, low: np.ndarray, high: np.ndarray, tolerance: float) -> np.ndarray:
        kept = np.all(np.abs(X - np.clip(X, low, high)) <= tolerance, axis=1)
        kept &= np.abs(X.sum(axis=1) - 1) <= tolerance
        for group in self.limits.groups:
            total = X[:, list(group.members)].sum(axis=1)
            kept &= (total >= group.lower - tolerance) & (total <= group.upper + tolerance)
        if self.max_distance is not None:
            kept &= self.distance(X) <= self.max_distance + tolerance
        return np.asarray(kept)

    def _thin(self, W: np.ndarray) -> np.ndarray:
        """Mixtures within limits and distance -> of at most `max_domains`: the largest that suffice."""
        members = self.supports(W)
        return self.project(W, high=np.where(members, self.high, 0.0))

    def supports(self, W: np.ndarray, num_domains: np.ndarray | None = None) -> np.ndarray:
        """The domains that each row keeps, shape (num_rows, num_domains): those with floors, then the largest.

        Where these do not suffice, a mixture known to be allowed is mixed in until they do.

        Args:
            W: Mixtures within limits and distance.
            num_domains: How many each row may keep, at least `max_domains`, which it is when left out.
        """
        assert self.max_domains is not None and self._few is not None
        wanted = np.full(len(W), self.max_domains) if num_domains is None else num_domains
        members = np.zeros(W.shape, dtype=bool)
        left = np.arange(len(W))
        for share in (0.0, 0.1, 0.3, 0.6, 1.0):
            mixed = (1 - share) * W[left] + share * self._few + 10.0 * (self.low > 0)
            if share == 1.0:
                mixed = mixed + (self._few > 0)
            ranks = np.argsort(np.argsort(-mixed, axis=1, kind="stable"), axis=1, kind="stable")
            members[left] = (ranks < wanted[left, None]) & (mixed > ZERO)
            left = left[~self.can_do_with(members[left])]
            if not left.size:
                break
        return members

    def _without_dust(self, W: np.ndarray) -> np.ndarray:
        dust = (W > 0) & (W < ZERO) & (self.low <= 0)
        rows = np.flatnonzero(dust.any(axis=1))
        if rows.size:
            members = (W[rows] > 0) & ~dust[rows]
            fine = self.can_do_with(members)
            rows, members = rows[fine], members[fine]
            W[rows] = self.project(W[rows], high=np.where(members, self.high, 0.0))
        return W

    def _check_distance(self) -> None:
        if self.max_distance is None:
            return
        if not self.max_distance >= 0:
            raise InputError(f"max_distance is {self.max_distance:g}; 0 (the prior itself) to 1 is wanted")
        least = float(self.distance(self._closest)[0])
        if least > self.max_distance + FEASIBLE / 2:
            off = np.argmax(np.abs(self._closest[0] - self.prior))
            raise InputError(
                f"max_distance is {self.max_distance:g}, and the limits keep every mixture at least {_up(least)} from the "
                f"prior (most of all {self.limits.names[off]}: {self.prior[off]:.4g} in the prior, "
                f"{self._closest[0, off]:.4g} at the nearest); allow {_up(least)}, or loosen the limits"
            )

    def _check_domains(self, max_domains: int) -> np.ndarray:
        """A mixture of at most `max_domains`, near the prior."""
        names = self.limits.names
        if max_domains < 1:
            raise InputError(f"max_domains is {max_domains}; at least 1 is wanted")
        floors = np.flatnonzero(self.low > 0)
        if len(floors) > max_domains:
            listed = ", ".join(names[i] for i in floors[:3]) + (", ..." if len(floors) > 3 else "")
            raise InputError(
                f"max_domains is {max_domains}, and {len(floors)} domains have a floor ({listed}); "
                f"allow {len(floors)}, or remove floors"
            )
        found = self._fewest(max_domains)
        if found is not None:
            return found
        too_few, least = max_domains, len(names)
        while least - too_few > 1:
            middle = (too_few + least) // 2
            too_few, least = (too_few, middle) if self._fewest(middle) is not None else (middle, least)
        why = "the limits" if self.max_distance is None else f"the limits and max_distance {self.max_distance:g}"
        raise InputError(f"max_domains is {max_domains}, and no mixture of so few keeps {why}; allow {least}")

    def _fewest(self, max_domains: int) -> np.ndarray | None:
        """A mixture of at most `max_domains` within limits and distance, near the prior; None where there is none.

        The largest weights of the closest mixture often suffice; otherwise an integer program decides.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        def fits(weights: np.ndarray) -> np.ndarray | None:
            members = np.zeros((1, len(weights)), dtype=bool)
            members[0, np.argsort(-(weights + 10.0 * (self.low > 0)), kind="stable")[:max_domains]] = True
            if not self.can_do_with(members)[0]:
                return None
            return self._closest_of(self.low[None], np.where(members, self.high, 0.0))[0]

        found = fits(self._closest[0])
        if found is not None:
            return found
        program, num_domains = self.linear(), len(self.low)
        num, eye = len(program.low), np.eye(num_domains)
        room = np.zeros((len(program.above), num_domains))
        constraints = [
            LinearConstraint(np.hstack([program.above, room]), -np.inf, program.bounds),
            LinearConstraint(np.append(program.whole, np.zeros(num_domains))[None], 1.0, 1.0),
            LinearConstraint(
                np.hstack([eye, np.zeros((num_domains, num - num_domains)), -np.diag(self.high)]), -np.inf, 0
            ),
            LinearConstraint(np.append(np.zeros(num), np.ones(num_domains))[None], 0, max_domains),
        ]
        box = Bounds(np.append(program.low, self.low > 0), np.append(program.high, np.ones(num_domains)))
        cost, whole = np.append(np.zeros(num), -self.prior), np.append(np.zeros(num), np.ones(num_domains))
        answer = milp(cost, integrality=whole, bounds=box, constraints=constraints)
        return None if answer.x is None else fits(answer.x[:num_domains] + np.rint(answer.x[num:]))


@dataclass(frozen=True)
class Linear:
    """A polytope of x = (weights, slacks): above @ x <= bounds, whole @ x = 1, low <= x <= high."""

    above: np.ndarray
    bounds: np.ndarray
    whole: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def with_rows(self, slopes: np.ndarray, most: np.ndarray) -> "Linear":
        """The same with slopes @ weights <= most, shapes (num_rows, num_domains) and (num_rows,), as well."""
        rows = np.hstack([slopes, np.zeros((len(slopes), len(self.low) - slopes.shape[1]))])
        return replace(self, above=np.vstack([self.above, rows]), bounds=np.append(self.bounds, most))

    def lowest(self, slopes: np.ndarray) -> float:
        """A number that slopes @ weights, slopes of shape (num_domains,), nowhere falls below; but for rounding the lowest.

        Any multipliers of the right sign prove a bound, so that of the solver's multipliers stands however they rounded.
        """
        from scipy.optimize import linprog

        cost = np.append(slopes, np.zeros(len(self.low) - len(slopes)))
        box = np.stack([self.low, self.high], axis=1)
        answer = linprog(cost, self.above, self.bounds, self.whole, [1.0], box, method="highs")
        if answer.x is None:
            return -math.inf
        prices, price = np.minimum(answer.ineqlin.marginals, 0.0), answer.eqlin.marginals
        reduced = cost - self.above.T @ prices - self.whole.T @ price
        return float(prices @ self.bounds + price.sum() + np.minimum(reduced * self.low, reduced * self.high).sum())

    def lowest_of_largest(
        self, values: np.ndarray, slopes: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the largest of several planes, values + slopes @ weights, is lowest, and how each plane bears on that.

        Args:
            values: Shape (num_planes,).
            slopes: Shape (num_planes, num_domains).
            low: Floors within those of the region, shape (num_domains,).
            high: Caps.

        Returns:
            Weights (to the solver's precision), and shares of the planes, which sum to 1; None if the solver fails.
        """
        from scipy.optimize import linprog

        num_domains, num = slopes.shape[1], len(self.low)
        above = np.block([
            [self.above, np.zeros((len(self.above), 1))],
            [slopes, np.zeros((len(slopes), num - num_domains)), np.full((len(slopes), 1), -1.0)],
        ])  # fmt: skip
        box = np.stack([np.append(self.low, -np.inf), np.append(self.high, np.inf)], axis=1)
        box[:num_domains] = np.stack([low, high], axis=1)
        cost, whole = np.append(np.zeros(num), 1.0), np.hstack([self.whole, [[0.0]]])
        answer = linprog(cost, above, np.append(self.bounds, -values), whole, [1.0], box, method="highs")
        if answer.x is None:
            return None
        shares = np.maximum(-answer.ineqlin.marginals[len(self.above) :], 0.0)
        total = shares.sum()
        return answer.x[:num_domains], shares / total if total > 0 else np.full(len(values), 1 / len(values))


def _node(group: Group, inside: Sequence[Group], index: Iterator[int]) -> _Node:
    """A group with the groups in it, two of which are apart or one within the other."""
    place = next(index)
    nodes: list[_Node] = []
    left = set(group.members)
    for inner in sorted(inside, key=lambda g: -len(g.members)):
        if set(inner.members) <= left:  # otherwise within a larger one, which takes it in
            within = [g for g in inside if g is not inner and set(g.members) <= set(inner.members)]
            nodes.append(_node(inner, within, index))
            left -= set(inner.members)
    return _Node(np.array(sorted(left), dtype=int), tuple(nodes), group.lower, group.upper, place)


def _up(value: float) -> str:
    """Four digits, rounded up."""
    return enough(math.ceil(value * 1e4) / 1e4)
