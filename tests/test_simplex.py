"""Proportions become weights that sum to 1 and keep every bound."""

import re

import numpy as np
import pytest
from bounds import bounded
from hypothesis import given
from hypothesis import strategies as st

from mixture_config.geometry.simplex import dirichlet, epoch_bounds, water_fill
from proxymix.errors import InputError


def numbers(num_domains, high, seed):
    return 10.0 ** np.random.default_rng(seed).uniform(-6, np.log10(high), num_domains)


# epoch bounds


def test_a_domain_is_never_asked_for_more_than_its_epochs():
    np.testing.assert_allclose(epoch_bounds(np.array([1_000, 9_000]), budget=20_000, max_epochs=4), [0.2, 1.0])


def test_a_budget_the_corpus_cannot_fill_says_what_would():
    with pytest.raises(ValueError, match=r"raise max_epochs to 2\.00 or lower the budget to 10,000"):
        epoch_bounds(np.array([1_000, 9_000]), budget=20_000, max_epochs=1)


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.floats(0.1, 10))
def test_what_an_unfillable_budget_suggests_can_be_done(tokens, budget, max_epochs):
    try:
        epoch_bounds(np.array([tokens, 2 * tokens]), budget, max_epochs)
    except InputError as error:
        found = re.search(r"max_epochs to ([\d.]+) or lower the budget to ([\d,]+)", str(error))
        assert found is not None
        epoch_bounds(np.array([tokens, 2 * tokens]), budget, float(found[1]))
        if smaller := int(found[2].replace(",", "")):
            epoch_bounds(np.array([tokens, 2 * tokens]), smaller, max_epochs)


# water filling


def test_floors_are_filled_until_the_rest_shares_in_proportion():
    """11 / 114 is over the floor of 0.09 at first, and under it once the three small ones were lifted."""
    np.testing.assert_allclose(
        water_fill(np.array([100.0, 11, 1, 1, 1]), 0.09), [0.64, 0.09, 0.09, 0.09, 0.09], rtol=0, atol=1e-15
    )


def test_caps_hand_on_what_they_hold_back():
    """The cap leaves 0.6 to share 3 : 1."""
    np.testing.assert_allclose(water_fill(np.array([6.0, 3, 1]), 0.0, np.array([0.4, 1, 1])), [0.4, 0.45, 0.15])


def test_a_floor_that_pushes_others_under_their_cap_releases_them():
    """Alone the cap of .5 would bind (6/10); lifting the last to .4 leaves .6, shared 6 : 3 as .4 and .2."""
    np.testing.assert_allclose(
        water_fill(np.array([6.0, 3, 1]), np.array([0, 0, 0.4]), np.array([0.5, 1, 1])), [0.4, 0.2, 0.4]
    )


def test_a_proportion_of_zero_stays_zero():
    np.testing.assert_array_equal(water_fill(np.array([0.0, 2, 2])), [0, 0.5, 0.5])
    with pytest.raises(AssertionError):
        water_fill(np.array([0.0, 2, 2]), 0.0, 0.4)


@given(bounded(), st.integers(0, 99))
def test_water_filling_keeps_proportions_between_bounds(bounds, seed):
    lower, upper = bounds
    proportions = numbers(len(lower), 1e6, seed)
    weights = water_fill(proportions, lower, upper)
    assert abs(weights.sum() - 1) < 1e-12
    assert (weights >= lower).all() and (weights <= upper).all()
    scale = weights / proportions
    inside, floored, capped = (weights > lower) & (weights < upper), weights == lower, weights == upper
    if inside.any():
        level = scale[inside].mean()
        np.testing.assert_allclose(scale[inside], level, rtol=1e-6)
        assert (scale[floored & ~capped] >= level * (1 - 1e-6)).all()
        assert (scale[capped & ~floored] <= level * (1 + 1e-6)).all()


def test_rows_are_filled_one_by_one():
    proportions = np.random.default_rng(0).exponential(size=(50, 6)) ** 4
    upper = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    together = water_fill(proportions, 0.05, upper)
    np.testing.assert_allclose(together, [water_fill(row, 0.05, upper) for row in proportions], rtol=0, atol=1e-15)


# draws


def test_dirichlet_draws_have_the_laws_mean_and_variance():
    center, concentration = np.array([0.7, 0.2, 0.1]), 3.0
    draws = dirichlet(np.random.default_rng(0), center, np.full(40_000, concentration))
    np.testing.assert_allclose(draws.mean(axis=0), center, atol=0.01)
    np.testing.assert_allclose(draws.var(axis=0), center * (1 - center) / (concentration + 1), rtol=0.05)


def test_shapes_too_small_for_a_double_still_give_draws():
    """Gamma variates of shape 1e-6 are below 1e-308 nearly always; one domain must still win, each as often."""
    draws = dirichlet(np.random.default_rng(0), np.full(1000, 1e-3), np.full(2000, 1e-3))
    assert np.isfinite(draws).all()
    np.testing.assert_allclose(draws.sum(axis=1), 1)
    assert len(np.unique(draws.argmax(axis=1))) > 700
