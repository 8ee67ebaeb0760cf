"""Limits, a distance from the prior, a number of domains -> which mixtures are allowed, and the nearest one that is.

The bounds of domains and of groups (mixture_config/geometry/limits.py) and the distance make a polytope; a largest number
of domains makes a union of its faces. Projections are exact and for many rows at once, so that a search can step
anywhere and land on an allowed mixture.
"""

import math
from collections.abc import Sequence

import numpy as np

from mixture_config.geometry.constraints import Constraints
from mixture_config.geometry.limits import Limits, rounded_up
from mixture_config.geometry.tolerances import FEASIBLE
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say
from regression.search.linear_program import LinearProgram
from regression.search.projection import Projection, tree_of

MIN_WEIGHT = 1e-9
"""A weight below it becomes 0."""
_ON_BALL, _INSIDE_BALL = 2e-12, 2e-10
"""In total variation: how far a projection onto the ball around the prior may be outside it, and off its surface."""


class FeasibleSet:
    """The mixtures that are allowed.

    Args:
        limits: Bounds of domains and of groups.
        prior: Where distances are measured from, shape (num_domains,); at any scale.
        max_distance: Largest total variation from the prior, half the sum of |weight - prior|.
        max_domains: Most weights above 0.

    Raises:
        InputError: If no mixture is allowed; the message says which demands clash and what would do.
    """

    def __init__(
        self, limits: Limits, prior: np.ndarray, max_distance: float | None = None, max_domains: int | None = None
    ) -> None:
        self.limits = limits
        self.prior = np.asarray(prior, dtype=float) / np.sum(prior)
        if self.prior.shape != (len(limits.names),) or not (self.prior >= 0).all():
            raise InputError(f"the prior has {np.size(prior)} weights for {len(limits.names)} domains, or one below 0")
        self.low = np.array(limits.lower, dtype=float)
        self.high = np.maximum(np.minimum(limits.upper, 1.0), self.low)
        self.max_distance, self.max_domains = max_distance, max_domains
        self._tree = tree_of(limits.groups, len(self.low))
        self._closest = self._closest_of(self.low[None], self.high[None])
        self._check_distance()
        self._few_domains = None if max_domains is None else self._check_domains(max_domains)

    @classmethod
    def of(
        cls, constraints: Constraints, names: Sequence[str], prior: np.ndarray, counts: np.ndarray | None, where: object
    ) -> "FeasibleSet":
        """The mixtures that keep what was asked for, and that the data can feed.

        Args:
            prior: Where distances are measured from, shape (num_domains,).
            counts: Unique training tokens per domain, shape (num_domains,); needed only for a budget.

        Raises:
            InputError: If no mixture is allowed.
        """
        bounds = constraints.bounds(names, counts, where)
        if counts is not None and (empty := [name for name, count in zip(names, counts, strict=True) if count == 0]):
            say(
                f"{where}: {some(empty)} {'has' if len(empty) == 1 else 'have'} 0 tokens, so no mixture gives weight to it"
            )
        return cls(bounds, prior, constraints.max_distance, constraints.max_domains)

    # ---- What is allowed

    def holds(self, X: np.ndarray, tolerance: float = FEASIBLE) -> np.ndarray:
        """Whether rows of weights are allowed, each demand kept to `tolerance`; shape (num_rows,)."""
        kept = self._holds_sums(X, self.low, self.high, tolerance)
        if self.max_domains is not None:
            kept &= np.count_nonzero(tolerance < X, axis=1) <= self.max_domains
        return kept

    # ---- The nearest allowed mixtures

    def nearest(self, X: np.ndarray) -> np.ndarray:
        """The nearest allowed mixtures (Euclidean), equal to X where X is allowed.

        Weights below 1e-9 become 0 where their floor allows 0. With `max_domains` the largest weights stay, and the
        result is the nearest mixture of these domains, which need not be the nearest of all.
        """
        W = np.array(X, dtype=float)
        outside = np.flatnonzero(~self.holds(W))
        if outside.size:
            W[outside] = self.project(W[outside])
            if self.max_domains is not None:
                W[outside] = self._of_few_domains(W[outside])
        return self._without_tiny_weights(W)

    def admit(self, draws: np.ndarray) -> np.ndarray:
        """Draws made allowed, cheaply, and so that they stay spread out. Those that are allowed stay as they are.

        A draw outside the bounds is filled in proportion (`Limits.fill`). One too far from the prior is moved straight
        towards the prior. Of too many domains the largest stay.
        """
        W = np.array(draws, dtype=float)
        out = ~self.limits.hold(W)
        if out.any():
            W[out] = self.limits.fill(W[out])
        W = self._pulled(W, self._closest)
        if self.max_domains is not None:
            many = np.flatnonzero(~self.holds(W))
            if many.size:
                W[many] = self._of_few_domains(W[many])
        return W

    def project(self, X: np.ndarray, scale: np.ndarray | None = None, high: np.ndarray | None = None) -> np.ndarray:
        """The nearest mixtures within limits and distance, whatever the number of domains.

        Args:
            X: Any finite numbers, shape (num_rows, num_domains).
            scale: Squared differences are divided by it, so weights move freely where the scale is large. Shape as X.
            high: Caps per row below those of the limits; 0 keeps a domain out. Some mixture must keep them. Shape as X.
        """
        scale = np.ones_like(X) if scale is None else scale
        return self._projected(X, scale, self.low, self.high if high is None else high)

    def suffices(self, members: np.ndarray) -> np.ndarray:
        """Whether some mixture of these domains alone is within limits and distance.

        Returns:
            Shape (num_rows,).
        """
        low, high = np.broadcast_to(self.low, members.shape), np.where(members, self.high, 0.0)
        kept = np.asarray(np.all(members | (low <= 0), axis=1))
        kept[kept] = self._holds_sums(self._closest_of(low[kept], high[kept]), low[kept], high[kept], FEASIBLE / 10)
        return kept

    def distance(self, X: np.ndarray) -> np.ndarray:
        """Total variation from the prior, shape (num_rows,)."""
        return 0.5 * np.abs(X - self.prior).sum(axis=1)

    def linear_program(self) -> LinearProgram:
        """The same demands as rows of a linear program, without `max_domains`."""
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
        if (
            self.max_distance is not None and self.max_distance < 1
        ):  # a slack for each domain, at least |weight - prior|
            above = np.block([
                [above, np.zeros_like(above)],
                [eye, -eye],
                [-eye, -eye],
                [np.zeros((1, num_domains)), np.full((1, num_domains), 0.5)],
            ])  # fmt: skip
            bounds = [*bounds, *self.prior, *-self.prior, self.max_distance]
            low, high = np.append(low, np.zeros(num_domains)), np.append(high, np.ones(num_domains))
            whole = np.hstack([whole, np.zeros((1, num_domains))])
        return LinearProgram(above, np.array(bounds, dtype=float), whole, low, high)

    def _projected(self, X: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The nearest mixtures within bounds (which may differ by row) and distance, which some mixture must keep."""
        low, high = np.broadcast_to(low, X.shape), np.broadcast_to(high, X.shape)
        W = self._within(X, scale, low, high)
        if self.max_distance is None:
            return W
        rows = np.flatnonzero(self.distance(W) > self.max_distance + _ON_BALL)
        if rows.size:
            low, high = low[rows], high[rows]
            near = self._in_ball(X[rows], W[rows], scale[rows], low, high)
            near = self._within(near, np.ones(near.shape), low, high)  # a strong pull leaves rounding in the sums
            W[rows] = self._pulled(near, self._closest_of(low, high))
        return W

    def _within(self, X: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The nearest mixtures within bounds, at any distance from the prior."""
        return self._projection(X, scale, low, high, np.zeros(len(X))).weights

    def _projection(
        self, X: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray, pull: np.ndarray
    ) -> Projection:
        return Projection(X, scale, low, high, self.prior, pull, self._tree)

    def _closest_of(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """The mixtures within bounds (per row) of least total variation from the prior.

        These are the Euclidean projections of the prior, because bounds on nested groups leave a base polytope, and on
        such a polytope one point is the nearest by every symmetric separable convex measure.
        """
        start = np.broadcast_to(self.prior, low.shape)
        return self._within(start, np.ones(low.shape), low, high)

    def _in_ball(
        self, X: np.ndarray, W: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> np.ndarray:
        """Projections onto the ball around the prior: the least pull towards the prior that brings each row inside.

        The distance is a falling broken line of the pull, so Newton's method finds the pull. A bracket keeps the steps
        where slopes are rounded.

        Args:
            X: What is projected, shape (num_rows, num_domains).
            W: Its projection without a ball, outside it.
        """
        assert self.max_distance is not None
        result = W.copy()
        over = self.distance(W) - self.max_distance
        weak, strong = np.zeros(len(X)), np.full(len(X), np.inf)
        # Cap the pull: beyond it the projection is constant up to rounding.
        most = 1e3 * (1 + np.abs(X).max(axis=1)) / scale.min(axis=1)
        pull = 2 * over / scale.sum(axis=1)
        rows = np.arange(len(X))
        for count in range(100):
            projection = self._projection(X[rows], scale[rows], low[rows], high[rows], pull[rows])
            over = self.distance(projection.weights) - self.max_distance
            out = over > 0
            result[rows] = projection.weights
            weak[rows[out]], strong[rows[~out]] = pull[rows[out]], pull[rows[~out]]
            slope = projection.distance_slope()
            falling = slope < -1e-12 * scale[rows].max(axis=1)
            step = pull[rows] - over / np.where(falling, slope, -1.0)
            bounded = np.isfinite(strong[rows])
            halved = np.where(bounded, (weak[rows] + np.where(bounded, strong[rows], 0.0)) / 2, 8 * pull[rows])
            newton = falling & (step > weak[rows]) & (step < strong[rows]) & (count % 4 < 3)
            pull[rows] = np.minimum(np.where(newton, step, halved), most[rows])
            open_ = (np.abs(over) > _INSIDE_BALL / 2) & (weak[rows] < most[rows])
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
        step = np.clip(np.where(over > _INSIDE_BALL, over, 0.0) / np.where(room > 0, room, 1.0), 0.0, 1.0)[:, None]
        return np.where(step > 0, W + step * (closest - W), W)

    def _holds_sums(self, X: np.ndarray, low: np.ndarray, high: np.ndarray, tolerance: float) -> np.ndarray:
        kept = np.all(np.abs(X - np.clip(X, low, high)) <= tolerance, axis=1)
        kept &= np.abs(X.sum(axis=1) - 1) <= tolerance
        for group in self.limits.groups:
            total = X[:, list(group.members)].sum(axis=1)
            kept &= (total >= group.lower - tolerance) & (total <= group.upper + tolerance)
        if self.max_distance is not None:
            kept &= self.distance(X) <= self.max_distance + tolerance
        return np.asarray(kept)

    def _of_few_domains(self, W: np.ndarray) -> np.ndarray:
        """Mixtures within limits and distance -> the nearest ones of the domains that `supports` keeps."""
        members = self.supports(W)
        return self.project(W, high=np.where(members, self.high, 0.0))

    def supports(self, W: np.ndarray) -> np.ndarray:
        """The domains that mixtures within limits and distance keep, shape (num_rows, num_domains): those with floors, then those of most weight.

        Where these do not suffice, a mixture that is known to be allowed is mixed in until they do.
        """
        assert self.max_domains is not None and self._few_domains is not None
        members = np.zeros(W.shape, dtype=bool)
        left = np.arange(len(W))
        for step in (0.0, 0.1, 0.3, 0.6, 1.0):
            mixed = (1 - step) * W[left] + step * self._few_domains + 10.0 * (self.low > 0)
            if step == 1.0:
                mixed = mixed + (self._few_domains > 0)
            ranks = np.argsort(np.argsort(-mixed, axis=1, kind="stable"), axis=1, kind="stable")
            members[left] = (ranks < self.max_domains) & (mixed > MIN_WEIGHT)
            left = left[~self.suffices(members[left])]
            if not left.size:
                break
        return members

    def _without_tiny_weights(self, W: np.ndarray) -> np.ndarray:
        tiny = (W > 0) & (W < MIN_WEIGHT) & (self.low <= 0)
        rows = np.flatnonzero(tiny.any(axis=1))
        if rows.size:
            members = (W[rows] > 0) & ~tiny[rows]
            fine = self.suffices(members)
            rows, members = rows[fine], members[fine]
            W[rows] = self.project(W[rows], high=np.where(members, self.high, 0.0))
        return W

    # ---- Whether anything is allowed

    def _check_distance(self) -> None:
        if self.max_distance is None:
            return
        if not self.max_distance >= 0:
            raise InputError(f"max_distance is {self.max_distance:g}; 0 (the prior itself) to 1 is wanted")
        least = float(self.distance(self._closest)[0])
        if least > self.max_distance + FEASIBLE / 2:
            worst = np.argmax(np.abs(self._closest[0] - self.prior))
            raise InputError(
                f"max_distance is {self.max_distance:g}, and the limits keep every mixture at least {_up(least)} from the "
                f"prior (most of all {self.limits.names[worst]}: {self.prior[worst]:.4g} in the prior, "
                f"{self._closest[0, worst]:.4g} at the nearest); allow {_up(least)}, or loosen the limits"
            )

    def _check_domains(self, max_domains: int) -> np.ndarray:
        """A mixture of at most `max_domains`, near the prior."""
        names = self.limits.names
        if max_domains < 1:
            raise InputError(f"max_domains is {max_domains}; at least 1 is wanted")
        floors = np.flatnonzero(self.low > 0)
        if len(floors) > max_domains:
            raise InputError(
                f"max_domains is {max_domains}, and {len(floors)} domains have a floor ({some(names[i] for i in floors)}); "
                f"allow {len(floors)}, or remove floors"
            )
        if (found := self._mixture_of(max_domains)) is not None:
            return found
        too_few, least = max_domains, len(names)
        while least - too_few > 1:
            middle = (too_few + least) // 2
            too_few, least = (too_few, middle) if self._mixture_of(middle) is not None else (middle, least)
        why = "the limits" if self.max_distance is None else f"the limits and max_distance {self.max_distance:g}"
        raise InputError(f"max_domains is {max_domains}, and no mixture of so few keeps {why}; allow {least}")

    def _mixture_of(self, max_domains: int) -> np.ndarray | None:
        """A mixture of at most `max_domains` within limits and distance, near the prior; None where there is none.

        The largest weights of the closest mixture often suffice. Where they do not, an integer program decides.
        """
        from scipy.optimize import Bounds, LinearConstraint, milp

        def fits(weights: np.ndarray) -> np.ndarray | None:
            members = np.zeros((1, len(weights)), dtype=bool)
            members[0, np.argsort(-(weights + 10.0 * (self.low > 0)), kind="stable")[:max_domains]] = True
            if not self.suffices(members)[0]:
                return None
            return self._closest_of(self.low[None], np.where(members, self.high, 0.0))[0]

        if (found := fits(self._closest[0])) is not None:
            return found
        program, num_domains = self.linear_program(), len(self.low)
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


def _up(value: float) -> str:
    """Four digits, rounded up."""
    return rounded_up(math.ceil(value * 1e4) / 1e4)
