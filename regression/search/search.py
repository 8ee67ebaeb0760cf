"""A landscape (a predicted objective, with ceilings on other losses) and a region -> allowed mixtures of low value.

Three searches. `simulation` is RegMix's: draws around the prior, the mean of the best. `wide` also draws over the whole
simplex and around the best runs, and then ever closer around the best. `descend` follows the slopes of a smooth
landscape from many starts at once. The best single draw is never taken: it is the luckiest.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np

from mixture_config.geometry.simplex import dirichlet
from proxymix.errors import InputError
from proxymix.progress import progress
from regression.search.feasible_set import Linear, Region

Method = Literal["auto", "simulation", "wide", "gradient"]
KEPT = 1e-9  # how far a loss may be over its ceiling
NEGLIGIBLE = 1e-4  # of the range of values at the starts: what a domain less may cost
CELLS_AT_ONCE = 1_000_000  # draws times domains in memory
ROWS_AT_ONCE = 8192
NUM_STARTS = 64  # a landscape made of kernels costs as much for one row as for this many
NUM_POLISHED = 4
POLISH_STEPS = 100  # evaluations
SLSQP_DOMAINS = 100  # beyond, its dense matrices take minutes
MARGIN = 2e-10  # by which SLSQP keeps further below a ceiling
SAME = 1e-3  # total variation below which two results are one
STATIONARY = 1e-6  # of the range of values at the starts: what a last polish could gain is not worth its time
AT_ONE_TIME = 64  # trials in one batch
SMALL = 0.02  # a weight below this may be dropped when that costs next to nothing

Function = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Landscape(Protocol):
    """What is minimised, for rows of mixtures X of shape (num_rows, num_domains).

    Attributes:
        smooth: Whether the gradients are there.
        convex: Whether value and excess are convex functions of the weights.
        ceilings: Names of the C losses that have one.
    """

    smooth: bool
    convex: bool
    ceilings: Sequence[str]

    def value(self, X: np.ndarray) -> np.ndarray:
        """What is to be low, shape (num_rows,)."""

    def gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Value, and slopes of shape (num_rows, num_domains)."""

    def excess(self, X: np.ndarray) -> np.ndarray:
        """How far each loss is over its ceiling, shape (num_rows, C); at most 0 is allowed."""

    def excess_gradient(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Excess, and slopes of shape (num_rows, C, num_domains)."""


@dataclass(frozen=True)
class Found:
    """A mixture that a search found.

    Attributes:
        weights: Shape (num_domains,); allowed, and every ceiling kept.
        value: The landscape's, there.
        method: Which search found it.
        gap: For a convex landscape, how much lower any allowed mixture may be at most; None where that is unknown.
    """

    weights: np.ndarray
    value: float
    method: str
    gap: float | None = None


def search(
    landscape: Landscape,
    region: Region,
    prior: np.ndarray,
    best_runs: np.ndarray,
    method: Method,
    num: int,
    top: int,
    rng: np.random.Generator,
) -> list[Found]:
    """Mixtures of low value, best first.

    Args:
        landscape: What is minimised.
        region: Which mixtures are allowed.
        prior: Around which the draws are made, shape (num_domains,).
        best_runs: Mixtures of the best runs, shape (num_runs, num_domains).
        method: `auto` takes what fits the landscape: draws for trees, draws and slopes where it is smooth, slopes alone
            where it is convex.
        num: Mixtures drawn by each of simulation and wide.
        top: How many of the best draws are averaged.
        rng: Where the draws come from.

    Raises:
        InputError: If no mixture that was found keeps every ceiling, or slopes are asked of a landscape that has none.
    """
    if method == "gradient" and not landscape.smooth:
        raise InputError("search: gradient needs a smooth regressor, and this one is not (trees have steps); use wide")
    found: list[Found] = []
    smooth = landscape.smooth and method in ("auto", "gradient")
    drawn = method == "auto" and not (smooth and landscape.convex)
    if drawn or method == "simulation":
        found += simulation(landscape, region, prior, num, top, rng)
    if drawn or method == "wide":
        found += wide(landscape, region, prior, best_runs, num, top, rng)
    uniform = np.full(len(prior), 1 / len(prior))
    num_starts = max(NUM_STARTS // 4, min(NUM_STARTS, CELLS_AT_ONCE // 80 // len(prior)))
    starts = np.vstack([*(f.weights for f in found), prior, uniform, best_runs[: num_starts // 4]])
    if smooth:
        starts = np.vstack([starts, _draws(region, prior, best_runs, num_starts - len(starts), rng)])
        found += descend(landscape, region, starts)
    if not found:
        near = np.vstack([region.nearest(starts), _draws(region, prior, best_runs, ROWS_AT_ONCE, rng)])
        if landscape.smooth:
            near = np.vstack([near, _towards_ceilings(landscape, region, near[: len(starts)])])
        raise _missed(landscape, near)
    return sorted(found, key=lambda f: f.value)


def simulation(
    landscape: Landscape, region: Region, center: np.ndarray, num: int, top: int, rng: np.random.Generator
) -> list[Found]:
    """RegMix's simulation: Dirichlet(center) draws, the mean of those of lowest value.

    Args:
        landscape: What is minimised.
        region: Which mixtures are allowed; draws outside are scaled into it.
        center: The Dirichlet's parameters, summing to 1: the prior. Shape (num_domains,).
        num: How many are drawn; 1,000,000 need no more memory than 100,000.
        top: How many of the best are averaged.
        rng: Where the draws come from.

    Returns:
        The mean, or nothing if no draw keeps the ceilings.
    """
    center = np.maximum(center, 1e-9)
    center = center / center.sum()

    def draw(count: int) -> np.ndarray:
        return region.admit(dirichlet(rng, center, np.ones(count)))

    pool, _ = _best_draws(landscape, draw, len(center), num, top)
    return _mean(landscape, region, pool, "simulation")


def wide(
    landscape: Landscape,
    region: Region,
    prior: np.ndarray,
    best_runs: np.ndarray,
    num: int,
    top: int,
    rng: np.random.Generator,
) -> list[Found]:
    """Draws around the prior, over the whole simplex and around the best runs; the mean of the best.

    An optimum far from the prior is out of reach of RegMix's law: on its own runs that search gains nothing on the mean
    of 13 losses over the human mixture, 4.674 against 4.675, where a wide one reaches 4.62. On a smooth landscape closer
    and closer draws around the best follow; trees are flat between thresholds, so there these would only find edges.

    Args:
        landscape: What is minimised.
        region: Which mixtures are allowed.
        prior: Around which half of them are drawn, shape (num_domains,).
        best_runs: Around which a quarter are drawn, shape (num_runs, num_domains).
        num: How many are drawn.
        top: How many of the best are averaged.
        rng: Where the draws come from.

    Returns:
        The mean, or nothing if no draw keeps the ceilings.
    """

    def draw(count: int) -> np.ndarray:
        return _draws(region, prior, best_runs, count, rng)

    pool, values = _best_draws(landscape, draw, len(prior), num, top)
    if landscape.smooth and len(pool):
        pool = _closer(landscape, region, pool, values, rng)
    return _mean(landscape, region, pool, "wide")


def descend(landscape: Landscape, region: Region, starts: np.ndarray) -> list[Found]:
    """Gradient search from many starts at once.

    Spectral projected gradient (Birgin, Martinez, Raydan 2000) with steps scaled by the weights, so that small ones move
    by small amounts, and exact projections, so that every iterate is allowed and a weight can reach 0 and leave it.
    Ceilings by an augmented Lagrangian. The best few are polished with SLSQP, and domains of next to no use dropped.

    Args:
        landscape: What is minimised; smooth, but for kinks.
        region: Which mixtures are allowed.
        starts: Allowed or not, shape (num_starts, num_domains); at least one.

    Returns:
        Distinct mixtures that keep every ceiling, best first, none worse than the best start that does; nothing if no
        mixture was found that does.
    """
    starts = np.asarray(starts, dtype=float)
    allowed = region.nearest(starts)
    values = landscape.value(allowed)
    scale = float(np.ptp(values)) or float(np.abs(values).max()) or 1.0
    ends = _walked(landscape, region, region.project(starts), None, scale)
    if region.max_domains is not None:
        ends = _sparser(landscape, region, ends, allowed, scale)
    start_values, start_kept = _assess(landscape, allowed)
    limit = float(start_values[start_kept].min()) if start_kept.any() else np.inf
    pool = _Pool(landscape, region, ends)
    if not pool.any_kept or pool.kept()[1][0] > limit:
        pool.add(allowed[start_kept])
    if not pool.any_kept:
        pool.add(_towards_ceilings(landscape, region, allowed))
    if not pool.any_kept:
        return []
    pool.add(_between(pool.lowest(), pool.best()))
    found: list[Found] = []
    bounds: list[float] = []
    lowest, _ = pool.kept()
    polish = len(starts[0]) <= SLSQP_DOMAINS
    for weights in lowest[_apart(lowest, NUM_POLISHED)]:
        slack, bound = _slack(landscape, region, weights)
        if polish and slack > STATIONARY * scale:
            before, weights = slack, _polished(landscape, region, weights)
            slack, bound = _slack(landscape, region, weights)
            polish = slack < before / 2  # where slopes jump it is of no use
        if slack > NEGLIGIBLE / 10 * scale:
            weights, bound = _cut(landscape, region, weights, scale)
        tidy = _tidied(landscape, region, weights, NEGLIGIBLE * scale, limit)
        value = float(landscape.value(tidy[None])[0])
        if landscape.convex and region.max_domains is not None:
            _, bound = _slack(landscape, region, weights, everywhere=True)
        found.append(Found(tidy, value, "gradient"))
        bounds.append(bound)
    if landscape.convex:
        found = [replace(f, gap=max(f.value - max(bounds), 0.0)) for f in found]
    found.sort(key=lambda f: f.value)
    chosen = _apart(np.array([f.weights for f in found]), len(found))
    return [found[i] for i in chosen]


def walk(landscape: Landscape, region: Region, starts: np.ndarray, num_batches: int) -> np.ndarray:
    """Where some steps of `descend` lead from each start, without its polish; shape (num_starts, num_domains).

    What it comes to is allowed and, but for ceilings, no higher than where it began.
    """
    allowed = region.nearest(starts)
    scale = float(np.ptp(landscape.value(allowed))) or 1.0
    return region.nearest(_walked(landscape, region, allowed, None, scale, num_batches))


class _Pool:
    """Mixtures with what the landscape says of them, those that are not allowed left out."""

    def __init__(self, landscape: Landscape, region: Region, X: np.ndarray) -> None:
        self._landscape, self._region = landscape, region
        self.X, self.values, self._kept = np.empty((0, X.shape[1])), np.empty(0), np.empty(0, dtype=bool)
        self.add(X)

    def add(self, X: np.ndarray) -> None:
        """Assess more rows."""
        X = X[self._region.holds(X)]
        values, kept = _assess(self._landscape, X)
        self.X, self.values = np.vstack([self.X, X]), np.append(self.values, values)
        self._kept = np.append(self._kept, kept)

    @property
    def any_kept(self) -> bool:
        """Whether any keeps every ceiling."""
        return bool(self._kept.any())

    def kept(self) -> tuple[np.ndarray, np.ndarray]:
        """Those that keep every ceiling, and their values, lowest first."""
        order = np.argsort(self.values[self._kept], kind="stable")
        return self.X[self._kept][order], self.values[self._kept][order]

    def best(self) -> np.ndarray:
        """The best few that keep every ceiling."""
        return self.kept()[0][:4]

    def lowest(self) -> np.ndarray:
        """The lowest few that do not."""
        order = np.argsort(self.values[~self._kept], kind="stable")
        return self.X[~self._kept][order][:8]


def _assess(landscape: Landscape, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values, and whether every ceiling is kept."""
    if not len(X):
        return np.empty(0), np.empty(0, dtype=bool)
    values = landscape.value(X)
    if not landscape.ceilings:
        return values, np.ones(len(X), dtype=bool)
    return values, np.all(landscape.excess(X) <= KEPT, axis=1)


def _walked(
    landscape: Landscape, region: Region, W: np.ndarray, high: np.ndarray | None, scale: float, num_batches: int = 150
) -> np.ndarray:
    """Where descents end; with ceilings these of an augmented Lagrangian, whose multipliers grow row by row."""
    if not landscape.ceilings:
        return _walk(lambda X, rows: landscape.gradient(X), region, W, high, scale, num_batches)
    excess = landscape.excess(W)
    multipliers = np.zeros(excess.shape)
    spread = np.ptp(excess, axis=0)
    weight = np.tile(scale / np.where(spread > 0, spread, 1.0) ** 2, (len(W), 1))

    def lagrangian(X: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        value, slopes = landscape.gradient(X)
        over, over_slopes = landscape.excess_gradient(X)
        force = np.maximum(multipliers[rows] + weight[rows] * over, 0.0)
        value = value + ((force**2 - multipliers[rows] ** 2) / (2 * weight[rows])).sum(axis=1)
        return value, slopes + np.einsum("rc,rck->rk", force, over_slopes)

    rounds = 8
    for _ in range(rounds):
        W = _walk(lagrangian, region, W, high, scale, num_batches // rounds)
        before, excess = np.maximum(excess, 0.0), landscape.excess(W)
        multipliers = np.maximum(multipliers + weight * excess, 0.0)
        weight = np.where(excess > 0.25 * before, 4 * weight, weight)
    return W


def _walk(
    function: Function, region: Region, W: np.ndarray, high: np.ndarray | None, scale: float, num_batches: int
) -> np.ndarray:
    """Spectral projected gradient from every row of W at once; each batch of evaluations is one trial step of each.

    Args:
        function: Mixtures and which rows they are -> values and slopes.
        region: Whose limits and distance hold for W, and then for every iterate.
        W: Shape (num_rows, num_domains).
        high: Caps per row, where they are below the region's.
        scale: What counts as a difference in value.
        num_batches: How often `function` is called at most.

    Returns:
        The lowest mixture that each row came to.
    """
    num_rows, num_domains = W.shape
    everyone = np.arange(num_rows)
    W = W.copy()
    F, G = function(W, everyone)
    lowest, lowest_value = W.copy(), F.copy()
    recent = np.full((num_rows, 6), -np.inf)  # a step may rise above the last value, but not above the last six
    recent[:, 0] = F
    floor = 0.01 / num_domains  # added to the weights as the scale of steps, so that a weight can leave 0
    turn = np.abs(G - (G * W).sum(axis=1, keepdims=True)).max(axis=1)
    step = 0.5 / np.where(turn > 0, turn, 1.0)
    aims, slopes, lengths = W.copy(), np.zeros(num_rows), np.ones(num_rows)
    marks = F.copy()
    active = everyone

    def aim(rows: np.ndarray) -> None:
        metric = W[rows] + floor
        centered = metric * (G[rows] - (G[rows] * W[rows]).sum(axis=1, keepdims=True))
        far = np.abs(centered).max(axis=1)
        step[rows] = np.clip(step[rows], 1e-9, 1e2 / np.where(far > 0, far, 1.0))
        aims[rows] = region.project(W[rows] - step[rows, None] * centered, metric, None if high is None else high[rows])
        slopes[rows] = (G[rows] * (aims[rows] - W[rows])).sum(axis=1)
        lengths[rows] = 1.0

    aim(everyone)
    for count in range(1, num_batches):
        active = active[-slopes[active] > 1e-11 * scale]
        if count % 20 == 0:  # what has not moved for long is there
            moving = marks - lowest_value > 1e-8 * scale
            marks = lowest_value.copy()
            active = active[moving[active]]
        if not active.size:
            break
        length = lengths[active, None]
        trial = np.where(length == 1, aims[active], W[active] + length * (aims[active] - W[active]))
        value, gradient = function(trial, active)
        length = length[:, 0]
        good = value <= recent[active].max(axis=1) + 1e-4 * length * slopes[active]
        rows, old = active[good], active[~good]
        moved, turned = trial[good] - W[rows], gradient[good] - G[rows]
        metric = W[rows] + floor
        bend, size = (moved * turned).sum(axis=1), (moved**2 / metric).sum(axis=1)
        step[rows] = np.where(bend > 1e-300, size / np.where(bend > 1e-300, bend, 1.0), 10 * step[rows])
        W[rows], F[rows], G[rows] = trial[good], value[good], gradient[good]
        recent[rows, count % recent.shape[1]] = F[rows]
        better = rows[F[rows] < lowest_value[rows]]
        lowest[better], lowest_value[better] = W[better], F[better]
        if rows.size:
            aim(rows)
        if old.size:  # a shorter step along the same line: to the lowest point of the parabola
            rise = value[~good] - F[old] - length[~good] * slopes[old]
            shorter = -0.5 * slopes[old] * length[~good] ** 2 / np.where(rise > 0, rise, 1.0)
            lengths[old] = np.clip(shorter, 0.05 * length[~good], 0.5 * length[~good])
            active = active[lengths[active] > 1e-10]
    return lowest


def _polished(landscape: Landscape, region: Region, weights: np.ndarray) -> np.ndarray:
    """The same mixture moved by SLSQP, if that ends allowed and lower."""
    from scipy.optimize import minimize

    num_domains, program = len(weights), region.linear()
    extra = len(program.low) - num_domains
    high = program.high.copy()
    if region.max_domains is not None:
        high[:num_domains][weights == 0] = 0.0
    before = float(landscape.value(weights[None])[0])
    unit = float(np.abs(landscape.gradient(weights[None])[1]).max()) or 1.0

    seen = [weights]

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        if len(seen) > POLISH_STEPS or not np.isfinite(x).all():
            raise StopIteration
        seen.append(x[:num_domains].copy())
        values, slopes = landscape.gradient(x[None, :num_domains])
        return float(values[0]) / unit, np.append(slopes[0] / unit, np.zeros(extra))

    def over_slopes(x: np.ndarray) -> np.ndarray:
        slopes = landscape.excess_gradient(x[None, :num_domains])[1][0]
        return np.hstack([-slopes, np.zeros((len(slopes), extra))])

    constraints = [{"type": "eq", "fun": lambda x: program.whole @ x - 1, "jac": lambda x: program.whole}]
    if len(program.above):
        constraints += [
            {"type": "ineq", "fun": lambda x: program.bounds - program.above @ x, "jac": lambda x: -program.above}
        ]
    if landscape.ceilings:
        constraints += [
            {"type": "ineq", "fun": lambda x: -landscape.excess(x[None, :num_domains])[0] - MARGIN, "jac": over_slopes}
        ]
    start = np.append(weights, np.abs(weights - region.prior)[:extra])
    box = list(zip(program.low, high, strict=True))
    options = {"maxiter": POLISH_STEPS, "ftol": 1e-12}
    with contextlib.suppress(StopIteration):
        minimize(value, start, jac=True, bounds=box, constraints=constraints, method="SLSQP", options=options)
    trials = region.project(np.array(seen), high=np.tile(high[:num_domains], (len(seen), 1)))
    values, kept = _assess(landscape, trials)
    values = np.where(kept & region.holds(trials), values, np.inf)
    best = int(np.argmin(values))
    return trials[best] if values[best] < before else weights


def _tidied(landscape: Landscape, region: Region, weights: np.ndarray, negligible: float, limit: float) -> np.ndarray:
    """The same mixture without the domains that it can do without: more and more of the least useful, while that costs
    next to nothing."""
    value = float(landscape.value(weights[None])[0])
    most = max(value, min(value + negligible, limit))
    for _ in range(2):
        present = np.flatnonzero((weights > 0) & (region.low <= 0) & (weights < SMALL))
        order = present[np.argsort(weights[present], kind="stable")]
        if 0 < len(order) <= AT_ONE_TIME:
            _, costs = _without(landscape, region, weights, list(order[:, None]))
            order = order[np.argsort(costs, kind="stable")]
        counts = np.unique(np.linspace(0, len(order), AT_ONE_TIME + 1).astype(int))[1:]
        trials, values = _without(landscape, region, weights, [order[:count] for count in counts])
        fine = np.flatnonzero(values <= most)
        if not fine.size:
            break
        weights = trials[fine[-1]]
    return region.nearest(weights[None])[0]


def _without(
    landscape: Landscape, region: Region, weights: np.ndarray, dropped: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The mixture without each of these sets of domains, and the values: infinite where that is not allowed."""
    members = np.tile(weights > 0, (len(dropped), 1))
    if not len(dropped):
        return np.empty((0, len(weights))), np.empty(0)
    for row, domains in zip(members, dropped, strict=True):
        row[domains] = False
    fine = region.can_do_with(members)
    trials, values = np.tile(weights, (len(dropped), 1)), np.full(len(dropped), np.inf)
    if fine.any():
        start = trials[fine] * members[fine]
        start /= np.maximum(start.sum(axis=1, keepdims=True), 1e-300)
        trials[fine] = region.project(start, start + 1e-9, np.where(members[fine], region.high, 0.0))
        found, kept = _assess(landscape, trials[fine])
        values[fine] = np.where(kept, found, np.inf)
    return trials, values


def _sparser(landscape: Landscape, region: Region, W: np.ndarray, allowed: np.ndarray, scale: float) -> np.ndarray:
    """Descents -> descents of at most `max_domains`: the least useful domains go in a few rounds, with walks between.

    Least useful by weight in one half of the rows, by what dropping the domain costs in the other; in the end single
    domains of the best are exchanged.
    """
    assert region.max_domains is not None
    values = landscape.value(W)
    W = W[np.argsort(values, kind="stable")[:16]]
    most = max(int(np.count_nonzero(W, axis=1).max()), region.max_domains)
    sizes = np.unique(np.ceil(np.geomspace(most, region.max_domains, 5)).astype(int))[::-1]
    W = np.vstack([W, W])
    for size in sizes if len(sizes) == 1 else sizes[1:]:
        useful = W.copy()
        for row in range(len(W) // 2, len(W)):
            present = np.flatnonzero(W[row] > 0)
            if len(present) > size:
                _, costs = _without(landscape, region, W[row], list(present[:, None]))
                useful[row, present] = 1 + np.argsort(np.argsort(costs))
                useful[row] /= useful[row].sum()
        members = region.supports(useful, np.full(len(W), size))
        W = _within(landscape, region, W, members, scale, 40)
    W = np.vstack([W, _within(landscape, region, allowed, allowed > 0, scale, 60)])
    for _ in range(4):
        values, kept = _assess(landscape, W)
        best = int(np.argmin(np.where(kept, values, values + 1e3 * scale)))
        inside, outside = np.flatnonzero(W[best] > 0), np.flatnonzero(W[best] == 0)
        _, slopes = landscape.gradient(W[best : best + 1])
        inside = inside[np.argsort(W[best, inside], kind="stable")][:16]
        outside = outside[np.argsort(slopes[0, outside], kind="stable")][:16]
        members = np.array([_exchanged(W[best] > 0, int(i), int(j)) for i in inside for j in outside], dtype=bool)
        members = members[region.can_do_with(members)] if len(members) else members
        if not len(members):
            break
        trials = _within(landscape, region, np.tile(W[best], (len(members), 1)), members, scale, 6)
        order = np.argsort(landscape.value(trials), kind="stable")[:16]
        trials = _within(landscape, region, trials[order], members[order], scale, 60)
        W = np.vstack([W, trials])
        after, kept = _assess(landscape, trials)
        if not (kept & (after < values[best] - 1e-9 * scale)).any():
            break
    return W


def _exchanged(members: np.ndarray, out: int, into: int) -> np.ndarray:
    result = members.copy()
    result[out], result[into] = False, True
    return result


def _within(
    landscape: Landscape, region: Region, W: np.ndarray, members: np.ndarray, scale: float, num_batches: int
) -> np.ndarray:
    """Walks within faces: of each row, over its member domains."""
    high = np.where(members, region.high, 0.0)
    start = np.where(members, W, 0.0) + 1e-3 * members
    start /= start.sum(axis=1, keepdims=True)
    return _walked(landscape, region, region.project(start, start + 1e-9, high), high, scale, num_batches)


def _towards_ceilings(landscape: Landscape, region: Region, W: np.ndarray) -> np.ndarray:
    """Walks that only lower what is over its ceiling, until a little below it."""
    excess = landscape.excess(W)
    spread = np.ptp(excess, axis=0)
    unit = np.where(spread > 0, spread, 1.0)

    def miss(X: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        over, slopes = landscape.excess_gradient(X)
        force = np.maximum(over / unit + 1e-3, 0.0)
        return 0.5 * (force**2).sum(axis=1), np.einsum("rc,rck->rk", force / unit, slopes)

    high = None if region.max_domains is None else np.where(W > 0, region.high, 0.0)
    return _walk(miss, region, W, high, 1e-6, 150)


def _between(starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Mixtures on the lines from each of `starts` to each of `ends`."""
    shares = np.concatenate([np.geomspace(1e-6, 0.1, 6), np.linspace(0.2, 0.9, 8)])
    lines = [(1 - t) * a + t * b for a in starts for b in ends for t in shares]
    return np.reshape(lines, (-1, starts.shape[1]))


def _apart(X: np.ndarray, num: int) -> list[int]:
    """Positions of the first few rows that are not the same as an earlier one."""
    chosen: list[int] = []
    for i in range(len(X)):
        if all(0.5 * np.abs(X[i] - X[j]).sum() > SAME for j in chosen):
            chosen.append(i)
        if len(chosen) == num:
            break
    return chosen


def _program(landscape: Landscape, region: Region, weights: np.ndarray, everywhere: bool = False) -> Linear:
    """The region's rows, with the ceilings' tangents; with a number of domains, over those that have weight."""
    program = region.linear()
    if region.max_domains is not None and not everywhere:
        program.high[: len(weights)][weights == 0] = 0.0
    if not landscape.ceilings:
        return program
    excess, slopes = landscape.excess_gradient(weights[None])
    return program.with_rows(slopes[0], slopes[0] @ weights - excess[0] + KEPT)


def _slack(landscape: Landscape, region: Region, weights: np.ndarray, everywhere: bool = False) -> tuple[float, float]:
    """How much lower the tangent at a mixture is at its lowest allowed point, and its value there (Frank, Wolfe 1956).

    A convex function lies above its tangent, so no allowed mixture of a convex landscape is lower than that (with
    `everywhere`: of any number of domains). And there is no slack, on any landscape, where no small step gains anything.
    """
    value, slopes = landscape.gradient(weights[None])
    lowest = _program(landscape, region, weights, everywhere).lowest(slopes[0])
    slack = float(slopes[0] @ weights) - lowest
    return slack, float(value[0]) - slack


def _cut(landscape: Landscape, region: Region, weights: np.ndarray, scale: float) -> tuple[np.ndarray, float]:
    """Descent where slopes jump (the worst of several losses): a bundle of tangents within a trust region.

    The tangents of a convex landscape are planes below it, so that the lowest point of the largest of them is a bound.

    Returns:
        A mixture, no higher than `weights`, and the bound that the tangents there and around it prove.
    """
    center = weights
    value, slopes = landscape.gradient(center[None])
    values, planes, lowest = value - slopes @ center, slopes, float(value[0])
    radius = 0.3
    for _ in range(60 if len(center) <= SLSQP_DOMAINS else 6):
        program = _program(landscape, region, center)
        reach = [r * (center + 1 / len(center)) for r in (2 * radius, radius, radius / 4)]
        if not landscape.convex:  # a plane above the value at the center is of another slope of the landscape
            values = values - np.maximum(values + planes @ center - lowest, 0.0)
        models = [
            program.lowest_of_largest(
                values,
                planes,
                np.maximum(program.low[: len(center)], center - r),
                np.minimum(program.high[: len(center)], center + r),
            )
            for r in reach
        ]
        high = None if region.max_domains is None else np.where(center > 0, region.high, 0.0)[None]
        aims = [region.project(model[0][None], high=high) for model in models if model is not None]
        if not aims:
            break
        trials = np.vstack(aims)
        promised = lowest - (values + trials @ planes.T).max(axis=1)
        if promised.max() < 1e-9 * scale and radius > 0.01:
            break
        value, slopes = landscape.gradient(trials)
        values, planes = np.append(values, value - (slopes * trials).sum(axis=1)), np.vstack([planes, slopes])
        _, kept = _assess(landscape, trials)
        value = np.where(kept & region.holds(trials), value, np.inf)
        best = int(np.argmin(value))
        if value[best] < lowest:
            radius *= (2.0, 1.0, 0.5)[best] if len(value) == 3 else 1.0
            center, lowest = trials[best], float(value[best])
        else:
            radius /= 4
        if radius < 1e-7:
            break
    program = _program(landscape, region, center, everywhere=True)
    _, bound = _slack(landscape, region, center, everywhere=True)
    model = program.lowest_of_largest(values, planes, program.low[: len(center)], program.high[: len(center)])
    if model is not None:
        bound = max(bound, float(model[1] @ values) + program.lowest(model[1] @ planes))
    return center, bound


def _draws(region: Region, prior: np.ndarray, best_runs: np.ndarray, num: int, rng: np.random.Generator) -> np.ndarray:
    """Half around the prior (RegMix's law), a quarter over the whole simplex, a quarter around the best runs."""
    num_domains = len(prior)
    over, near = max(num, 0) // 4, max(num, 0) // 4 if len(best_runs) else 0
    uniform = np.full(num_domains, 1 / num_domains)
    center = np.maximum(prior, 1e-9)
    centers = 0.95 * best_runs[rng.integers(max(len(best_runs), 1), size=near)] + 0.05 * uniform

    def strengths(low: float, high: float, count: int) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), count))

    draws = [
        dirichlet(rng, center / center.sum(), strengths(0.1, 5, max(num, 0) - over - near)),
        dirichlet(rng, uniform, strengths(0.2 * num_domains, 5.0 * num_domains, over)),
        dirichlet(rng, centers, strengths(5, 500, near)),
    ]
    return region.admit(np.vstack(draws))


def _best_draws(
    landscape: Landscape, draw: Callable[[int], np.ndarray], num_domains: int, num: int, top: int
) -> tuple[np.ndarray, np.ndarray]:
    """The lowest of many draws that keep every ceiling, a few in memory at a time."""
    at_once = max(1, min(ROWS_AT_ONCE, CELLS_AT_ONCE // num_domains))
    pool, values = np.empty((0, num_domains)), np.empty(0)
    with progress("search", total=num, unit="mixtures") as bar:
        for done in range(0, num, at_once):
            X = draw(min(at_once, num - done))
            found, kept = _assess(landscape, X)
            pool, values = np.vstack([pool, X[kept]]), np.append(values, found[kept])
            order = np.argsort(values, kind="stable")[:top]
            pool, values = pool[order], values[order]
            bar.advance(len(X))
    return pool, values


def _closer(
    landscape: Landscape, region: Region, pool: np.ndarray, values: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw ever closer around the mean of the pool and keep the best: the cross-entropy method on the simplex."""
    uniform = np.full(pool.shape[1], 1 / pool.shape[1])
    for strength in np.geomspace(20, 20_000, 30):
        center = pool.mean(axis=0)
        draws = dirichlet(rng, 0.99 * center + 0.01 * uniform, np.full(256, strength))
        draws = np.vstack([region.nearest(center[None]), region.admit(draws)])
        found, kept = _assess(landscape, draws)
        pool, values = np.vstack([pool, draws[kept]]), np.append(values, found[kept])
        order = np.argsort(values, kind="stable")[:32]
        pool, values = pool[order], values[order]
    return pool


def _mean(landscape: Landscape, region: Region, pool: np.ndarray, method: str) -> list[Found]:
    """The mean of the pool (lowest first), or of fewer of it, or between that and the others, so that ceilings are kept."""
    if not len(pool):
        return []
    counts = [max(len(pool) >> halvings, min(2, len(pool))) for halvings in range(len(pool).bit_length())]
    means = region.nearest(np.array([pool[:count].mean(axis=0) for count in counts]))
    values, kept = _assess(landscape, means)
    if not kept.any():
        means = region.nearest(_between(means[:2], pool[:32]))
        values, kept = _assess(landscape, means)
        if not kept.any():
            return []
        kept &= values == values[kept].min()
    first = int(np.argmax(kept))
    return [Found(means[first], float(values[first]), method)]


def _missed(landscape: Landscape, X: np.ndarray) -> InputError:
    """Which ceiling the mixture that comes closest to keeping all still misses, and by how much."""
    excess = landscape.excess(X)
    best = excess[np.argmin(excess.max(axis=1))]
    worst = int(np.argmax(best))
    return InputError(
        f"search: no allowed mixture that was found keeps every ceiling: the closest is {best[worst]:.4g} over that of "
        f"{landscape.ceilings[worst]}; allow a larger rise, or loosen the limits"
    )
