"""What is allowed holds to 1e-9, projections are the nearest, and demands that clash say what would do."""

import re

import numpy as np
import pytest
from bounds import bounded, inside
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture_config.geometry.limits import Group, Limits
from proxymix.errors import InputError
from regression.search.feasible_set import FeasibleSet

FOUR = ["code", "law", "news", "poems"]
PRIOR = np.array([0.6, 0.25, 0.1, 0.05])
UNIFORM = np.full(4, 0.25)


def feasible_set(lower=0.0, upper=1.0, groups=(), **demands):
    return FeasibleSet(Limits(FOUR, lower, upper, groups), PRIOR, **demands)


@st.composite
def demands(draw, max_domains=8):
    """Limits around a mixture, in groups that hold groups, a prior, a distance and a number of domains."""
    lower, upper = draw(bounded(max_domains))
    num_domains = len(lower)
    middle = inside(lower, upper)
    order = draw(st.permutations(range(num_domains)))
    cut, inner = sorted(draw(st.tuples(st.integers(0, num_domains), st.integers(0, num_domains))), reverse=True)
    groups = []
    for name, members in (("source", order[:cut]), ("topic", order[: inner // 2]), ("other", order[cut:])):
        if members:
            total, slack = middle[list(members)].sum(), draw(st.sampled_from([0.0, 0.01, 0.3]))
            groups.append(Group(name, tuple(members), max(total - slack, 0.0), min(total + slack, 1.0)))
    proportions = st.lists(st.sampled_from([0.0, 0.01, 0.2, 1.0]), min_size=num_domains, max_size=num_domains)
    prior = np.array(draw(proportions.filter(any)))
    distance = draw(st.sampled_from([None, 0.01, 0.1, 0.5, 1.0]))
    few = draw(st.none() | st.integers(1, num_domains))
    limits = Limits([f"domain {i + 1}" for i in range(num_domains)], lower, upper, groups)
    return limits, prior, distance, few


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(demands(), st.integers(0, 99))
def test_whatever_is_demanded_the_nearest_is_allowed_or_an_error_says_what_would_do(demanded, seed):
    limits, prior, distance, few = demanded
    for _ in range(5):  # each error says how to go on
        try:
            allowed = FeasibleSet(limits, prior, distance, few)
            break
        except InputError as error:
            if found := re.search(r"max_distance is .*; allow ([\d.e-]+),", str(error)):
                assert float(found[1]) > distance
                distance = float(found[1])
            else:
                found = re.search(r"max_domains is .*; allow (\d+)", str(error))
                assert int(found[1]) > few
                few = int(found[1])
    rng = np.random.default_rng(seed)
    X = np.vstack([rng.normal(0, 0.5, (4, len(prior))), rng.dirichlet(np.full(len(prior), 0.3), 4)])
    W = allowed.nearest(X)
    assert allowed.holds(W).all() and allowed.holds(allowed.admit(X[4:])).all()
    np.testing.assert_array_equal(allowed.nearest(W), W)


@settings(max_examples=60, deadline=None)
@given(demands(6), st.integers(0, 99))
def test_a_projection_is_the_nearest_point(demanded, seed):
    """At the nearest point W of X no direction into the set leads towards X: (X - W) @ (S - W) <= 0 for all S."""
    limits, prior, distance, _ = demanded
    try:
        allowed = FeasibleSet(limits, prior, distance)
    except InputError:
        return
    rng = np.random.default_rng(seed)
    X, scale = rng.normal(0.2, 0.4, (3, len(prior))), np.exp(rng.normal(0, 1.5, (3, len(prior))))
    W = allowed.project(X, scale)
    assert allowed.holds(W).all()
    for x, w, s in zip(X, W, scale, strict=True):
        slopes = (w - x) / s
        assert slopes @ w - allowed.linear_program().lower_bound(slopes) < 1e-6 * (1 + np.abs(slopes).max())


def test_an_allowed_mixture_is_left_as_it_is():
    weights = np.array([[0.5, 0.3, 0.2, 0.0]])
    np.testing.assert_array_equal(feasible_set(max_distance=0.3, max_domains=3).nearest(weights), weights)


def test_the_nearest_within_a_distance_lies_between():
    """Uniform is .35 from the prior; .1 from it code, the largest, gives .1 and the two smallest rise to the same."""
    nearest = feasible_set(max_distance=0.1).nearest(UNIFORM[None])
    np.testing.assert_allclose(nearest, [[0.5, 0.25, 0.125, 0.125]], atol=1e-9)


def test_a_distance_is_from_the_prior_even_where_the_limits_exclude_it():
    """With code capped at .4 every mixture moves .2 of the weight, so .1 cannot be met and .25 leaves .05 to choose."""
    with pytest.raises(InputError, match=r"max_distance is 0\.1.*code: 0\.6 .*0\.4.*allow 0\.2"):
        feasible_set(upper=[0.4, 1, 1, 1], max_distance=0.1)
    allowed = feasible_set(upper=[0.4, 1, 1, 1], max_distance=0.25)
    W = allowed.nearest(np.random.default_rng(0).dirichlet(np.ones(4), 20))
    assert allowed.holds(W).all() and (allowed.distance(W) >= 0.2 - 1e-9).all()


def test_of_too_many_domains_the_largest_stay():
    np.testing.assert_allclose(feasible_set(max_domains=2).nearest(PRIOR[None]), [[0.675, 0.325, 0, 0]])


def test_a_domain_with_a_floor_stays_among_the_few():
    nearest = feasible_set(lower=[0, 0, 0, 0.1], max_domains=2).nearest(PRIOR[None])
    assert nearest[0, 3] >= 0.1 and (nearest > 0).sum() == 2 and nearest[0, 0] > 0


def test_too_few_domains_for_their_caps_say_how_many_would_do():
    with pytest.raises(InputError, match=r"max_domains is 2.*the limits.*allow 3"):
        feasible_set(upper=0.4, max_domains=2)


def test_too_many_floors_are_named():
    with pytest.raises(InputError, match=r"max_domains is 1.*\(code, poems\).*allow 2"):
        feasible_set(lower=[0.1, 0, 0, 0.1], max_domains=1)


def test_the_few_are_found_even_where_the_largest_do_not_suffice():
    """Caps of .2 .2 .2 .9 and two domains: only poems with another reaches 1, whatever is largest in the prior."""
    allowed = feasible_set(upper=[0.2, 0.2, 0.2, 0.9], max_domains=2)
    W = allowed.nearest(np.random.default_rng(0).dirichlet([9, 9, 9, 0.1], 20))
    assert allowed.holds(W).all()


def test_a_group_and_a_number_of_domains_hold_together():
    """news and poems must have at least .3 together, and of two domains one is theirs."""
    allowed = feasible_set(groups=[Group("rest", (2, 3), 0.3, 1.0)], max_domains=2)
    W = allowed.nearest(np.random.default_rng(0).dirichlet([9, 9, 1, 1], 50))
    assert allowed.holds(W).all() and (W[:, 2:].sum(axis=1) >= 0.3 - 1e-9).all()


def test_a_tiny_weight_becomes_zero_but_a_floor_stays():
    tiny = np.array([[0.5, 0.5 - 7e-10, 7e-10, 0.0]])
    assert feasible_set().nearest(tiny)[0, 2] == 0
    kept = feasible_set(lower=[0, 0, 5e-10, 0]).nearest(tiny)
    assert kept[0, 2] > 0


def test_the_lowest_of_a_plane_is_a_true_bound():
    allowed = feasible_set(lower=0.05, groups=[Group("rest", (2, 3), 0.3, 0.4)], max_distance=0.3)
    rng = np.random.default_rng(0)
    W = allowed.admit(rng.dirichlet(np.full(4, 0.3), 2000))
    for slopes in rng.normal(0, 1, (20, 4)):
        bound = allowed.linear_program().lower_bound(slopes)
        reached = float((allowed.project(-1e3 * slopes[None]) @ slopes)[0])
        assert bound <= (W @ slopes).min() + 1e-15 and bound == pytest.approx(reached, abs=1e-7)


@pytest.mark.parametrize("distance", [None, 0.2])
def test_a_thousand_domains_take_moments(distance):
    rng = np.random.default_rng(0)
    prior = rng.dirichlet(np.ones(1000))
    limits = Limits(
        [f"d{i}" for i in range(1000)], 0.0, np.minimum(20 * prior, 1), [Group("half", tuple(range(500)), 0.1, 0.3)]
    )
    allowed = FeasibleSet(limits, prior, max_distance=None if distance is None else 0.4, max_domains=300)
    assert allowed.holds(allowed.nearest(rng.dirichlet(np.full(1000, 0.5), 8))).all()


def test_a_prior_of_another_length_is_refused():
    with pytest.raises(InputError, match=r"prior.* 3 .* 4 domains"):
        FeasibleSet(Limits(FOUR), np.ones(3))
