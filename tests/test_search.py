"""Planted optima are found, every constraint is kept, and no result is worse than where the search began."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_feasible_set import demands

from mixture_config.geometry.limits import Group, Limits
from proxymix.errors import InputError
from regression.search.feasible_set import FeasibleSet
from regression.search.gradient_search import gradient_search
from regression.search.random_search import simulation, wide_search
from regression.search.refinement import polish, prune_small_weights
from regression.search.search import search


@dataclass
class Law:
    """An objective function from functions of rows: (value, slopes), and the same of each loss with a ceiling of 0."""

    of: object
    convex: bool = True
    capped: tuple = ()
    smooth: bool = True
    has_kinks: bool = False
    rows: list = field(default_factory=list)
    num_gradients: int = 0

    @property
    def ceilings(self):
        return [f"loss {i}" for i in range(len(self.capped))]

    def value(self, X):
        self.rows.append(len(X))
        return self.of(X)[0]

    def gradient(self, X):
        self.rows.append(len(X))
        self.num_gradients += 1
        return self.of(X)

    def excess(self, X):
        return np.stack([one(X)[0] for one in self.capped], axis=1)

    def excess_gradient(self, X):
        self.num_gradients += 1
        pairs = [one(X) for one in self.capped]
        return np.stack([p[0] for p in pairs], axis=1), np.stack([p[1] for p in pairs], axis=1)


def linear(c):
    return lambda X: (X @ c, np.tile(c, (len(X), 1)))


def log_linear(t):
    return lambda X: (2 + np.exp(X @ t), np.exp(X @ t)[:, None] * t)


def powers(c, eps=0.01):
    """sum_i c_i (eps + w_i)^-.4, lowest (inside) where c_i (eps + w_i)^-1.4 is the same for all."""
    return lambda X: ((eps + X) ** -0.4 @ c, -0.4 * (eps + X) ** -1.4 * c)


def power_lowest(c, eps=0.01):
    w = c ** (1 / 1.4)
    return w / w.sum() * (1 + eps * len(c)) - eps


def bumps(seed, num_domains):
    """Kernels on sqrt(w), as a Gaussian process has them: several minima, and steep slopes near 0."""
    rng = np.random.default_rng(seed)
    centers, heights = np.sqrt(rng.dirichlet(np.full(num_domains, 0.5), 40)), rng.normal(0, 1, 40)

    def of(X):
        root = np.sqrt(X)
        kernel = np.exp(-((root[:, None] - centers) ** 2).sum(axis=2) / 0.5) * heights
        slopes = -(root * kernel.sum(axis=1)[:, None] - kernel @ centers) / 0.25
        return kernel.sum(axis=1), slopes * 0.5 / np.maximum(root, 1e-4)

    return of


def worst(seed, num_domains, num_losses=5):
    """The largest of several exponential laws: convex, with kinks."""
    rng = np.random.default_rng(seed)
    slopes, levels = rng.normal(0, 1, (num_losses, num_domains)), rng.normal(0, 0.1, num_losses)

    def of(X):
        losses = levels + np.exp(X @ slopes.T)
        top = losses.argmax(axis=1)
        return losses.max(axis=1), np.exp((X * slopes[top]).sum(axis=1))[:, None] * slopes[top]

    return of


def free(num_domains, upper=1.0, groups=(), **demanded):
    prior = np.full(num_domains, 1 / num_domains)
    return FeasibleSet(Limits([f"domain {i + 1}" for i in range(num_domains)], 0.0, upper, groups), prior, **demanded)


def starts(num_domains, num=24, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(num_domains, 0.7), num)


# ---- What is found


@pytest.mark.parametrize("num_domains", [4, 17, 40])
@pytest.mark.parametrize("law", [linear, log_linear])
def test_a_law_of_one_direction_ends_where_a_linear_program_does(law, num_domains):
    from scipy.optimize import linprog

    slopes = np.random.default_rng(num_domains).normal(0, 1, num_domains)
    half, upper = num_domains // 2, 3 / num_domains
    feasible = free(num_domains, upper, [Group("half", tuple(range(half)), 0.1, 0.2)])
    first = (np.arange(num_domains) < half).astype(float)
    truth = linprog(slopes, [first, -first], [0.2, -0.1], [np.ones(num_domains)], [1], (0, upper)).x
    found = gradient_search(Law(law(slopes)), feasible, starts(num_domains))[0]
    assert found.value == pytest.approx(law(slopes)(truth[None])[0][0], abs=1e-6)
    assert found.gap < 2e-4 and feasible.holds(found.weights[None])[0]


@pytest.mark.parametrize("num_domains", [4, 17, 64])
def test_the_lowest_of_a_sum_of_powers_is_found_inside(num_domains):
    c = np.random.default_rng(0).uniform(0.2, 1, num_domains)
    found = gradient_search(Law(powers(c)), free(num_domains), starts(num_domains))[0]
    np.testing.assert_allclose(found.weights, power_lowest(c), atol=1e-4)
    assert 0 <= found.gap < 1e-5


def test_domains_of_no_use_get_exactly_nothing():
    c = np.where(np.arange(20) < 5, 1.0, 0.0)
    found = gradient_search(Law(powers(c)), free(20), starts(20))[0]
    np.testing.assert_allclose(found.weights, np.where(np.arange(20) < 5, 0.2, 0.0), atol=1e-4)
    assert (found.weights[5:] == 0).all()


def test_a_weight_can_leave_zero():
    c = np.array([1.0, 1.0, 1.0])
    found = gradient_search(Law(powers(c)), free(3), np.array([[1.0, 0.0, 0.0]]))[0]
    np.testing.assert_allclose(found.weights, 1 / 3, atol=1e-4)


@pytest.mark.parametrize("num_domains", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_the_lowest_of_several_minima_is_found(num_domains):
    of = bumps(num_domains, num_domains)
    found = gradient_search(Law(of, convex=False), free(num_domains), starts(num_domains, 64))
    draws = np.random.default_rng(1).dirichlet(np.full(num_domains, 0.5), 200_000)
    assert found[0].value <= of(draws)[0].min() and found[0].gap is None
    assert [f.value for f in found] == sorted(f.value for f in found)


@pytest.mark.parametrize(
    "law",
    [
        Law(powers(np.random.default_rng(1).uniform(0, 1, 12))),
        Law(bumps(2, 12), convex=False),
        Law(worst(2, 12), has_kinks=True),
    ],
)
@pytest.mark.parametrize("demanded", [{}, {"max_distance": 0.3}])
def test_no_start_of_scipys_slsqp_ends_lower(law, demanded):
    feasible, begun = free(12, **demanded), starts(12)
    ends = [polish(law, feasible, start) for start in feasible.nearest(begun)]
    found = gradient_search(law, feasible, begun)[0]
    assert found.value <= law.value(np.array(ends)).min() + 1e-4 * np.ptp(law.value(feasible.nearest(begun)))


def test_pruning_costs_next_to_nothing_and_leaves_no_needless_domain():
    """Domains that lower the loss by a millionth each: all of them go, and the value rises by less than that."""
    c = np.where(np.arange(12) < 4, 1.0, 1e-6)
    law, feasible = Law(powers(c)), free(12)
    exact = np.maximum(power_lowest(c), 0.0)
    spread = feasible.nearest((0.999 * exact + 0.001 / 12)[None])[0]
    pruned = prune_small_weights(law, feasible, spread, negligible=1e-3, limit=np.inf)
    assert np.flatnonzero(pruned).tolist() == [0, 1, 2, 3]
    assert law.value(pruned[None])[0] <= law.value(spread[None])[0] + 1e-3
    kept = prune_small_weights(law, feasible, spread, negligible=0.0, limit=np.inf)
    assert law.value(kept[None])[0] <= law.value(spread[None])[0]


def test_kinks_do_not_stop_the_search():
    """The worst of several losses: slopes jump, and the tangents around the lowest point together prove it lowest."""
    of = worst(0, 10)
    found = gradient_search(Law(of, has_kinks=True), free(10), starts(10))[0]
    draws = np.random.default_rng(1).dirichlet(np.full(10, 0.3), 200_000)
    assert found.value <= of(draws)[0].min() and found.gap < 1e-4


@pytest.mark.parametrize(
    ("of", "has_kinks"),
    [(powers(np.linspace(0.1, 1, 8)), False), (log_linear(np.linspace(-1, 1, 8)), False), (worst(1, 8), True)],
)
@pytest.mark.parametrize("demanded", [{}, {"max_distance": 0.2}, {"max_domains": 3}])
def test_no_allowed_mixture_is_lower_than_the_gap_says(of, has_kinks, demanded):
    feasible = free(8, 0.5, [Group("pair", (0, 1), 0.1, 0.3)], **demanded)
    found = gradient_search(Law(of, has_kinks=has_kinks), feasible, starts(8, 4))
    X = feasible.admit(np.random.default_rng(1).dirichlet(np.full(8, 0.5), 20_000))
    for f in found:
        assert f.value - f.gap <= of(X)[0].min()
    assert demanded.get("max_domains") or found[0].gap < 1e-3


def test_a_thousand_domains_take_seconds():
    c = np.random.default_rng(0).uniform(0, 1, 1000)
    law, feasible = Law(powers(c, 1e-4)), free(1000, 0.02)
    found = search(law, feasible, feasible.prior, starts(1000, 8), "auto", 100, 10, np.random.default_rng(0))[0]
    assert feasible.holds(found.weights[None])[0]
    assert found.gap < 2e-3 * np.ptp(law.value(starts(1000)))


@pytest.mark.parametrize(
    "of", [linear(np.random.default_rng(0).normal(0, 1, 8)), bumps(1, 8), powers(np.linspace(0, 1, 8))]
)
def test_of_few_domains_the_best_are_found(of):
    """All 56 sets of three domains, each descended on its own, are no better."""
    feasible, few = free(8, 0.45), free(8, 0.45, max_domains=3)
    found = gradient_search(Law(of, convex=False), few, starts(8))[0]
    assert (found.weights > 0).sum() <= 3 and few.holds(found.weights[None])[0]
    for members in itertools.combinations(range(8), 3):
        upper = np.where(np.isin(np.arange(8), members), 0.45, 0.0)
        alone = FeasibleSet(Limits(feasible.limits.names, 0.0, upper), feasible.prior)
        assert found.value < gradient_search(Law(of, convex=False), alone, starts(8, 6))[0].value + 1e-3


# ---- Ceilings


def own_losses(num_domains):
    """Each domain's loss falls with its own weight."""

    def one(i):
        return powers(np.eye(num_domains)[i])

    return [one(i) for i in range(num_domains)]


def ceilings(laws, reference, rise):
    def of(law):
        limit = (1 + rise) * law(reference[None])[0][0]
        return lambda X: (law(X)[0] - limit, law(X)[1])

    return tuple(of(law) for law in laws)


@pytest.mark.parametrize("rise", [0.0, 0.01, 0.1])
def test_a_loss_falls_as_far_as_the_ceilings_of_the_others_allow(rise):
    """At the optimum the others are all at their ceilings: (eps + w)^-.4 = (1 + rise) (eps + .2)^-.4."""
    laws, reference = own_losses(5), np.full(5, 0.2)
    law = Law(laws[0], capped=ceilings(laws[1:], reference, rise))
    found = gradient_search(law, free(5), np.vstack([reference, starts(5)]))[0]
    other = 0.21 * (1 + rise) ** -2.5 - 0.01
    np.testing.assert_allclose(found.weights, [1 - 4 * other, *[other] * 4], atol=1e-5)
    assert law.excess(found.weights[None]).max() <= 1e-9 and found.gap < 1e-4


def test_ceilings_are_kept_among_several_minima_and_few_domains():
    law = Law(bumps(3, 8), convex=False, capped=ceilings([bumps(4, 8), bumps(5, 8)], np.full(8, 1 / 8), -0.05))
    for feasible in (free(8), free(8, max_domains=4), free(8, max_distance=0.3)):
        results = search(law, feasible, feasible.prior, starts(8, 5), "auto", 2000, 50, np.random.default_rng(0))
        X = np.array([f.weights for f in results])
        assert feasible.holds(X).all() and (law.excess(X) <= 1e-9).all()


@pytest.mark.parametrize("smooth", [True, False])
def test_ceilings_that_nothing_keeps_say_by_how_much_they_are_missed(smooth):
    """All five losses 10% below those of equal weights cannot be: at best all are, and each is 10% over."""
    laws, reference = own_losses(5), np.full(5, 0.2)
    law = Law(laws[0], capped=ceilings(laws, reference, -0.1), smooth=smooth)
    with pytest.raises(InputError, match=r"keeps every ceiling: the closest is 0\.[12]\d* over that of loss \d"):
        search(law, free(5), reference, starts(5), "auto", 500, 20, np.random.default_rng(0))


# ---- Draws


def test_simulation_is_the_mean_of_the_best_draws_around_the_prior():
    """RegMix's procedure, draw by draw."""
    from mixture_config.geometry.simplex import dirichlet

    prior, of = np.array([0.5, 0.3, 0.15, 0.05]), powers(np.ones(4))
    found = simulation(Law(of), FeasibleSet(Limits(list("abcd")), prior), prior, 1000, 20, np.random.default_rng(3))[0]
    draws = dirichlet(np.random.default_rng(3), prior, np.ones(1000))
    best = draws[np.argsort(of(draws)[0])[:20]]
    np.testing.assert_allclose(found.weights, best.mean(axis=0), atol=1e-12)


def test_wide_reaches_an_optimum_far_from_the_prior():
    prior, c = np.array([0.97, 0.01, 0.01, 0.01]), np.array([0.0, 1.0, 1.0, 1.0])
    law, feasible = Law(powers(c)), FeasibleSet(Limits(list("abcd")), prior)
    near = simulation(law, feasible, prior, 2000, 50, np.random.default_rng(0))[0]
    found = wide_search(law, feasible, prior, np.empty((0, 4)), 2000, 50, np.random.default_rng(0))[0]
    np.testing.assert_allclose(found.weights, [0, 1 / 3, 1 / 3, 1 / 3], atol=0.02)
    assert found.value < near.value


def test_memory_does_not_grow_with_the_draws():
    law, feasible = Law(linear(np.arange(17.0))), free(17)
    simulation(law, feasible, feasible.prior, 100_000, 100, np.random.default_rng(0))
    assert max(law.rows) <= 10_000 and sum(law.rows) >= 100_000


def test_the_best_single_draw_is_never_taken():
    """Values of pure noise: the draw of lowest value is luck, and the mean of the best is something else."""
    drawn = []

    def noise(X):
        drawn.append(X)
        return np.random.default_rng(len(X)).normal(size=len(X)), np.zeros_like(X)

    law, feasible = Law(noise, smooth=False, convex=False), free(5)
    for found in search(law, feasible, feasible.prior, starts(5), "auto", 500, 20, np.random.default_rng(0)):
        others = np.vstack([X for X in drawn if len(X) > 50])
        assert np.abs(others - found.weights).sum(axis=1).min() > 1e-3


# ---- What is used when


@pytest.mark.parametrize(
    ("law", "methods"),
    [
        (Law(powers(np.ones(5))), {"gradient"}),
        (Law(bumps(0, 5), convex=False), {"simulation", "wide", "gradient"}),
        (Law(bumps(0, 5), convex=False, smooth=False), {"simulation", "wide"}),
    ],
)
def test_auto_takes_what_fits_the_function(law, methods):
    feasible = free(5)
    found = search(law, feasible, feasible.prior, starts(5), "auto", 500, 20, np.random.default_rng(0))
    assert {f.method for f in found} == methods
    assert (law.num_gradients > 0) == ("gradient" in methods)
    assert found[0].value == min(f.value for f in found)


@pytest.mark.parametrize("method", ["simulation", "wide"])
def test_draws_ask_for_no_slopes(method):
    law = Law(bumps(0, 5), convex=False)
    found = search(law, free(5), np.full(5, 0.2), starts(5), method, 500, 20, np.random.default_rng(0))
    assert {f.method for f in found} == {method} and not law.num_gradients


def test_slopes_cannot_be_asked_of_trees():
    law = Law(bumps(0, 5), convex=False, smooth=False)
    with pytest.raises(InputError, match=r"smooth.*use wide"):
        search(law, free(5), np.full(5, 0.2), starts(5), "gradient", 10, 2, np.random.default_rng(0))


def test_the_same_seed_finds_the_same():
    def once():
        law, feasible = Law(bumps(0, 6), convex=False), free(6)
        return search(law, feasible, feasible.prior, starts(6), "auto", 500, 20, np.random.default_rng(7))

    for one, other in zip(once(), once(), strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)


@settings(max_examples=40, deadline=None)
@given(demands(6), st.integers(0, 99), st.sampled_from(["simulation", "wide", "gradient", "auto"]), st.booleans())
def test_whatever_is_demanded_every_result_keeps_it(demanded, seed, method, capped):
    limits, prior, distance, few = demanded
    prior = prior / prior.sum()
    try:
        feasible = FeasibleSet(limits, prior, distance, few)
    except InputError:
        return
    num_domains = len(prior)
    caps = ceilings([bumps(seed + 1, num_domains)], np.full(num_domains, 1 / num_domains), 0.05) if capped else ()
    law = Law(bumps(seed, num_domains), convex=False, capped=caps)
    best_runs = starts(num_domains, 5, seed)
    try:
        results = search(law, feasible, prior, best_runs, method, 200, 10, np.random.default_rng(seed))
    except InputError as error:
        assert capped and "keeps every ceiling" in str(error)
        return
    X = np.array([f.weights for f in results])
    assert feasible.holds(X).all() and not ((X > 0) & (X < 1e-9) & (limits.lower <= 0)).any()
    assert not capped or (law.excess(X) <= 1e-9).all()
    np.testing.assert_allclose([f.value for f in results], law.value(X))
    if method in ("gradient", "auto"):
        begun = feasible.nearest(np.vstack([prior, best_runs]))
        values = law.value(begun)[(law.excess(begun) <= 1e-9).all(axis=1)] if capped else law.value(begun)
        assert results[0].value <= values.min(initial=np.inf) + 1e-12
