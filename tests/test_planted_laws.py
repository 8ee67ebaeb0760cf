"""Laws whose optimum is known: the regression finds it, says how sure it is, and finds nothing where there is nothing."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.planted_laws import Kind, PlantedLaw, Trial, permuted_is_better, trial

KINDS: dict[Kind, int] = {"power": 2, "exponential": 2, "interaction": 2}
"""Law -> sweeps of 48 runs over six domains, with noise of a tenth of the spread of the losses."""


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    laws = [PlantedLaw(kind, 6, seed, 2) for kind, num_seeds in KINDS.items() for seed in range(num_seeds)]
    return [trial(law, 0.1, law.seed, "gp") for law in laws]


@pytest.mark.slow
def test_the_proposal_has_nearly_all_of_the_gain_that_there_is(trials: list[Trial]):
    missed = [each.missed for each in trials]
    assert min(missed) >= -1e-9 and np.mean(missed) < 0.06 and max(missed) < 0.12


@pytest.mark.slow
def test_the_error_is_far_under_that_of_predicting_the_mean(trials: list[Trial]):
    errors = [each.error for each in trials]
    assert np.mean(errors) < 0.3 and max(errors) < 0.5


@pytest.mark.slow
def test_what_is_better_is_called_so_and_by_about_how_much(trials: list[Trial]):
    """The stated gain is off by about as much as its interval says: by no more, and by no less."""
    assert all(each.better and each.truly_better for each in trials)
    off = np.array([each.z for each in trials])
    assert sum(each.gain_held for each in trials) >= len(trials) - 1
    assert 0.4 < np.sqrt(np.mean(off**2)) < 1.5 and abs(off.mean()) < 1


@pytest.mark.slow
def test_intervals_of_the_weights_hold_the_optimum_and_leave_most_weights_out(trials: list[Trial]):
    assert np.mean([each.weights_held for each in trials]) > 0.8
    assert np.mean([each.weights_width for each in trials]) < 0.3


@pytest.mark.slow
def test_losses_of_other_runs_show_nothing_to_be_better():
    called = [permuted_is_better(PlantedLaw("power", 6, seed, 2), 0.1, seed, "gp") for seed in range(3)]
    assert not any(called)


@pytest.mark.parametrize("kind", ["power", "exponential", "interaction"])
def test_nothing_allowed_is_lower_than_the_planted_optimum(kind: Kind):
    law = PlantedLaw(kind, 12, 0)
    feasible, optimum = law.feasible(), law.optimum()
    assert feasible.holds(optimum[None])[0]
    others = np.vstack(
        [law.mixtures(2000, 5), feasible.nearest(optimum + np.random.default_rng(0).normal(0, 0.02, (500, 12)))]
    )
    assert law.objective(optimum)[0] <= law.objective(others).min() + 1e-9


def test_a_sweep_is_allowed_and_its_noise_is_as_large_as_asked():
    law = PlantedLaw("power", 12, 0)
    runs = law.runs(4000, 0.3, 0)
    assert law.feasible().holds(runs.weights).all()
    clean = law.losses(runs.weights)
    np.testing.assert_allclose((runs.losses - clean).std(axis=0) / clean.std(axis=0), 0.3, rtol=0.05)
