"""Bounds of domains and of groups hold after filling and after rounding, or an error says what could be met."""

import re

import numpy as np
import pytest
from bounds import bounded, inside
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture_config.geometry.constraints import Constraints, limits_of
from mixture_config.geometry.limits import Group, Limits
from mixture_config.geometry.simplex import grid_steps, water_fill
from proxymix.errors import InputError

FOUR = ["code", "law", "news", "poems"]


def named(count):
    return [f"domain {i + 1}" for i in range(count)]


# the grid


def rounded(weights, num_steps, lower=0.0, upper=1.0):
    limits = Limits(named(len(weights)), lower, upper).on_grid(num_steps)
    return limits.round(np.atleast_2d(weights), num_steps)


def test_the_largest_remainders_get_the_steps_left_over():
    """6.7, 2.6 and 0.7 tenths: 6 + 2 + 0 leaves two steps, for the remainders of .7."""
    np.testing.assert_array_equal(rounded([0.67, 0.26, 0.07], 10), [[7, 2, 1]])


def test_equal_remainders_get_steps_from_the_first_on():
    np.testing.assert_array_equal(rounded([0.25] * 4, 10), [[3, 3, 2, 2]])


def test_a_cap_holds_after_rounding():
    """The cap of .65 is 6 tenths on the grid, so its step goes to the next remainder."""
    np.testing.assert_array_equal(rounded([0.65, 0.28, 0.07], 10, upper=[0.65, 1, 1]), [[6, 3, 1]])


def test_a_floor_holds_after_rounding():
    """.11 must be at least 2 tenths; a step is taken where it exceeds its due most."""
    np.testing.assert_array_equal(rounded([0.11, 0.445, 0.445], 10, lower=[0.11, 0, 0]), [[2, 4, 4]])


def test_a_weight_of_zero_gets_a_step_only_where_no_other_can_take_it():
    np.testing.assert_array_equal(rounded([0.65, 0.35, 0.0], 10, upper=[0.65, 0.4, 1]), [[6, 4, 0]])
    np.testing.assert_array_equal(rounded([0.65, 0.35, 0.0], 10, upper=[0.65, 0.35, 1]), [[6, 3, 1]])


@given(bounded(), st.integers(0, 99), st.sampled_from([7, 100, 5000, 10**6]))
def test_rounded_mixtures_sum_to_one_within_the_bounds(bounds, seed, num_steps):
    lower, upper = bounds
    try:
        limits = Limits(named(len(lower)), lower, upper).on_grid(num_steps)
    except InputError:
        return
    weights = water_fill(np.random.default_rng(seed).uniform(0.01, 1, len(lower)), lower, upper)
    steps = limits.round(weights[None], num_steps)[0]
    assert steps.sum() == num_steps
    assert (steps / num_steps >= lower - 1e-12).all() and (steps / num_steps <= upper + 1e-12).all()
    low, high = limits.lower * num_steps, limits.upper * num_steps
    if (high - low > 2).all() and ((weights * num_steps - low > 1) & (high - weights * num_steps > 1)).all():
        assert (np.abs(steps - weights * num_steps) < 1).all()


@given(bounded(), st.sampled_from([3, 10, 5000]))
def test_what_bounds_too_tight_for_the_grid_suggest_can_be_done(bounds, num_steps):
    lower, upper = bounds
    limits = Limits(named(len(lower)), lower, upper)
    try:
        limits.on_grid(num_steps)
    except InputError as error:
        ways = re.split(r"\); |make it", str(error))[-1]
        if finer := re.search(r"(?:a grid of|the grid \(`min_weight`\)) ([\d.e-]+)", ways):
            limits.on_grid(grid_steps(float(finer[1])))
        if factor := re.search(r"caps ([\d.]+) times", ways):
            Limits(limits.names, lower, np.minimum(upper * float(factor[1]), 1)).on_grid(num_steps)


# groups


def test_a_group_takes_its_share_and_its_members_share_that():
    """web (code and law) may take .4 of the .6 due to it; its members keep their proportion of 2 : 1, the others theirs."""
    limits = Limits(FOUR, groups=[Group("web", (0, 1), 0.0, 0.4)])
    np.testing.assert_allclose(limits.fill(np.array([[0.4, 0.2, 0.3, 0.1]])), [[0.4 * 2 / 3, 0.4 / 3, 0.45, 0.15]])


def test_a_member_at_its_cap_leaves_the_rest_to_its_group():
    limits = Limits(FOUR, 0.0, [0.1, 1, 1, 1], [Group("web", (0, 1), 0.5, 0.5)])
    np.testing.assert_allclose(limits.fill(np.array([[0.6, 0.2, 0.1, 0.1]])), [[0.1, 0.4, 0.25, 0.25]])


def test_without_groups_filling_is_water_filling():
    shares = np.random.default_rng(0).dirichlet(np.ones(4), 50)
    upper = np.array([0.3, 0.3, 0.3, 0.3])
    np.testing.assert_allclose(Limits(FOUR, 0.05, upper).fill(shares), water_fill(shares, 0.05, upper), atol=1e-9)


def test_what_nothing_else_can_hold_goes_to_domains_of_share_zero():
    filled = Limits(FOUR, 0.0, 0.4).fill(np.array([[1.0, 0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(filled, [[0.4, 0.2, 0.2, 0.2]])


@st.composite
def grouped(draw):
    """Domains with bounds around a mixture, in groups that hold groups, with bounds around the same mixture."""
    lower, upper = draw(bounded(9))
    middle = inside(lower, upper)
    order = draw(st.permutations(range(len(lower))))
    cut, inner = sorted(draw(st.tuples(st.integers(0, len(lower)), st.integers(0, len(lower)))), reverse=True)
    groups = []
    for name, members in (("source", order[:cut]), ("topic", order[: inner // 2]), ("other", order[cut:])):
        if members:
            total = middle[list(members)].sum()
            slack = draw(st.sampled_from([0.0, 0.01, 0.3]))
            groups.append(Group(name, tuple(members), max(total - slack, 0.0), min(total + slack, 1.0)))
    return lower, upper, groups


@settings(max_examples=200)
@given(grouped(), st.integers(0, 99), st.sampled_from([20, 5000, 10**6]))
def test_grouped_mixtures_keep_every_bound_before_and_after_rounding(bounds, seed, num_steps):
    lower, upper, groups = bounds
    limits = Limits(named(len(lower)), lower, upper, groups)
    shares = np.random.default_rng(seed).dirichlet(np.full(len(lower), 0.3), 5)
    weights = limits.fill(shares)
    assert (np.abs(weights.sum(axis=1) - 1) < 1e-12).all() and limits.hold(weights).all()
    try:
        grid = limits.on_grid(num_steps)
    except InputError:
        return
    steps = grid.round(grid.fill(shares), num_steps)
    assert (steps.sum(axis=1) == num_steps).all() and limits.hold(steps / num_steps).all()


def test_what_is_within_the_bounds_stays_as_it_is():
    limits = Limits(FOUR, 0.0, 0.7, [Group("web", (0, 1), 0.1, 0.9)])
    shares = np.array([[0.3, 0.2, 0.4, 0.1]])
    assert limits.hold(shares).all()
    np.testing.assert_allclose(limits.fill(shares), shares, atol=1e-12)


@pytest.mark.parametrize(
    ("lower", "upper", "groups", "message"),
    [
        ([0.5, 0.6, 0, 0], 1, [], r"lower bounds sum to 1\.1, over 1; divided by 1\.1 they could be met"),
        (0, 0.2, [], r"upper bounds sum to 0\.8, under 1; multiplied by 1\.25 they could be met"),
        ([0.3, 0, 0, 0], [0.2, 1, 1, 1], [], r"code must take at least 0\.3 and at most 0\.2; lower the first to 0\.2"),
        ([0.3, 0.3, 0, 0], 1, [Group("web", (0, 1), 0, 0.5)], r"in web sum to 0\.6, over its 0\.5; divided by 1\.2"),
        (
            0,
            0.2,
            [Group("web", (0, 1), 0.5, 1)],
            r"upper bounds in web sum to 0\.4, under its 0\.5; multiplied by 1\.25",
        ),
        (0, 1, [Group("web", (0, 1), 0, 0.4), Group("rest", (2, 3), 0, 0.4)], r"upper bounds sum to 0\.8, under 1"),
        (-0.1, 1, [], r"code must take at least -0\.1; weights are at least 0"),
        (0, [1, np.nan, 1, 1], [], "law: a bound is not a finite number"),
    ],
)
def test_bounds_that_hold_no_mixture_say_which_and_what_could_be_met(lower, upper, groups, message):
    with pytest.raises(InputError, match=message):
        Limits(FOUR, lower, upper, groups)


# what a user writes


def parsed(limits, groups=None, epochs=1.0, usage=1.0):
    return limits_of(FOUR, limits, groups or {}, np.full(4, epochs), np.full(4, usage))


def test_a_number_fixes_a_weight_and_a_mapping_bounds_it():
    limits = parsed({"code": 0.2, "law": {"min": 0.1, "max": 0.3}, "news": {"max": 0.5}})
    np.testing.assert_array_equal(limits.lower, [0.2, 0.1, 0, 0])
    np.testing.assert_array_equal(limits.upper, [0.2, 0.3, 0.5, 1])


def test_a_floor_may_pass_the_usage_cap_and_nothing_passes_the_epochs():
    limits = parsed({"code": {"min": 0.4}}, epochs=0.6, usage=0.3)
    np.testing.assert_array_equal(limits.upper, [0.4, 0.3, 0.3, 0.3])
    with pytest.raises(
        InputError, match=r"code must take at least 0\.7, and its tokens feed 0\.6 .* lower its min to 0\.6"
    ):
        parsed({"code": 0.7}, epochs=0.6)


def test_a_floor_of_a_domain_without_tokens_is_named():
    with pytest.raises(InputError, match=r"code must take at least 0\.1, and it has no tokens; leave it out"):
        parsed({"code": 0.1}, epochs=0.0)


@pytest.mark.parametrize("total", [0.75, 0.7, 0.3])
def test_caps_as_many_times_as_high_as_an_error_says_can_be_met(total):
    """1 / 0.75 is 1.33333 in six digits, with which the caps would sum to 0.9999975."""
    with pytest.raises(InputError) as error:
        Limits(FOUR, 0.0, total / 4)
    Limits(FOUR, 0.0, total / 4 * float(re.search(r"multiplied by ([\d.]+)", str(error.value))[1]))


@pytest.mark.parametrize("total", [1.2345643, 4 / 3])
def test_floors_divided_by_what_an_error_says_can_be_met(total):
    with pytest.raises(InputError) as error:
        Limits(FOUR, total / 4)
    Limits(FOUR, total / 4 / float(re.search(r"divided by ([\d.]+)", str(error.value))[1]))


def test_groups_take_patterns_and_groups():
    limits = parsed({"text": {"max": 0.5}}, {"text": ["short", "la*"], "short": ["news", "poems"]})
    assert {group.name: set(group.members) for group in limits.groups} == {"text": {1, 2, 3}, "short": {2, 3}}
    np.testing.assert_allclose(limits.fill(np.full((1, 4), 0.25)), [[0.5, 0.5 / 3, 0.5 / 3, 0.5 / 3]])


@pytest.mark.parametrize(
    ("limits", "groups", "message"),
    [
        ({"cod": 0.1}, {}, r"limits: cod: no such domain or group; did you mean code\?"),
        ({"code": 1.1}, {}, r"limits: code: 1\.1 is no share from 0 to 1$"),
        ({"code": 30}, {}, r"limits: code: 30 is no share from 0 to 1; .* in the place of percent, here 0\.3"),
        ({"code": {"max": "0.5%"}}, {}, r"'0\.5%' is no share .* here 0\.005"),
        ({"code": True}, {}, r"limits: code: True is no share"),
        ({"code": "much"}, {}, r"limits: code: 'much' is no share"),
        ({"code": {"least": 0.1}}, {}, "limits: code: least is none of min, max"),
        ({}, {"web": ["newz"]}, r"groups: web: no domain is named newz; did you mean news\?"),
        ({}, {"code": ["news"]}, "groups: code is a domain's name"),
        ({}, {"a": ["code", "law"], "b": ["law", "news"]}, "groups: law is in a and in b; groups must be apart"),
        ({}, {"a": ["b"], "b": ["a"]}, "groups: a holds itself"),
        ({"a": {"max": 0.5}}, {"a": []}, "groups: a is empty"),
        ({2024: 0.1}, {}, "limits: 2024: no such domain or group; there are code, law, news, poems"),
    ],
)
def test_what_cannot_be_meant_is_said(limits, groups, message):
    with pytest.raises(InputError, match=message):
        parsed(limits, groups)


# constraints


def test_constraints_are_the_users_limits_within_what_the_budget_can_feed():
    """4 passes over 100 tokens are 400 of 1,000."""
    constraints = Constraints(budget=1000, limits={"web": {"max": 0.3}}, groups={"web": ["law", "news"]})
    bounds = constraints.bounds(FOUR, np.array([100, 500, 500, 500]))
    np.testing.assert_array_equal(bounds.upper, [0.4, 1, 1, 1])
    assert [(group.name, group.members, group.upper) for group in bounds.groups] == [("web", (1, 2), 0.3)]
    np.testing.assert_array_equal(Constraints(max_epochs=0.1).bounds(FOUR).upper, 1)


def test_a_budget_without_counts_or_with_too_few_is_refused():
    with pytest.raises(InputError, match=r"budget is 1,000 tokens, and the tokens .* unknown; give --domains"):
        Constraints(budget=1000).bounds(FOUR)
    with pytest.raises(InputError, match=r"^domains\.csv: 40 tokens at 4 epochs cannot fill 1,000"):
        Constraints(budget=1000).bounds(FOUR, np.full(4, 10), "domains.csv")
