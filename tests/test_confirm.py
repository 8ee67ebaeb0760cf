"""The confirmation: fair pairs, honest statistics, and a verdict that may be "no better"."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import Law, confirm_study, repeat_first

from mixture_config.files.mixture import Mixture
from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from proxymix.messages import listed
from proxymix.tables import read_table
from regression.confirmation.candidates import repeated
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.paired import holm, paired_difference, t_interval, verdict


@pytest.fixture
def study(finished_study):
    """A confirmed study of five domains whose losses follow a planted law, to be read."""
    return finished_study


@pytest.fixture
def copy(finished_study, tmp_path):
    """The same study, to be changed by a test."""
    return shutil.copytree(finished_study, tmp_path / "study")


def sorted_by(differences):
    """The verdict over baselines that are all distinct."""
    return verdict(differences, holm({name: difference.p for name, difference in differences.items()}))


def test_a_paired_difference_by_hand():
    """Differences -1, -2, -3: mean -2, sd 1, and t(2) = 4.303 standard errors of 1/sqrt(3) to either side."""
    difference = paired_difference(np.array([10.0, 20.0, 30.0]), np.array([11.0, 22.0, 33.0]))
    assert (difference.mean, difference.sd, difference.wins, difference.num_seeds) == (-2, 1, 3, 3)
    assert difference.low == pytest.approx(-2 - 4.30265 / np.sqrt(3), abs=1e-4)
    assert difference.high == pytest.approx(-2 + 4.30265 / np.sqrt(3), abs=1e-4)
    assert difference.p == pytest.approx(0.0742, abs=1e-4)  # t = 3.464 on 2 degrees of freedom


def test_t_intervals_hold_the_mean_as_often_as_they_say_and_are_no_wider_than_that_takes():
    """Of 2,000 means of five draws 95% are held, by intervals of 2 x 2.776 x E[sd] / sqrt(5), with E[sd] = .94."""
    draws = np.random.default_rng(0).normal(3.0, 0.1, (2000, 5))
    low, high = np.array([t_interval(values) for values in draws]).T
    assert 0.94 < ((low <= 3) & (high >= 3)).mean() < 0.96
    assert (high - low).mean() == pytest.approx(2 * 2.776 * 0.94 * 0.1 / np.sqrt(5), rel=0.02)


def test_a_difference_has_the_interval_of_its_seeds_differences():
    one, other = np.random.default_rng(0).normal(3, 0.1, (2, 6))
    difference = paired_difference(one, other)
    assert (difference.low, difference.high) == pytest.approx(t_interval(one - other))


def test_a_difference_that_is_the_same_on_every_seed_is_certain():
    difference = paired_difference(np.full(4, 2.0), np.full(4, 2.5))
    assert (difference.low, difference.high, difference.p, difference.wins) == (-0.5, -0.5, 0, 4)
    assert sorted_by({"prior": difference}).better_than == ["prior"]


def test_what_a_seed_does_to_both_mixtures_cancels():
    seeds = np.array([0.0, 5.0, -3.0, 8.0])
    difference = paired_difference(seeds + 1, seeds + np.array([1.2, 1.1, 1.2, 1.1]))
    assert difference.mean == pytest.approx(-0.15)
    assert difference.sd < 0.06


def test_a_mixture_is_no_better_than_itself():
    difference = paired_difference(np.ones(5), np.ones(5))
    assert (difference.mean, difference.p, difference.wins) == (0, 1, 0)
    assert sorted_by({"prior": difference}).no_better_than == ["prior"]


def test_holm_by_hand():
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values):
    plain = {str(i): p for i, p in enumerate(p_values)}
    adjusted = holm(plain)
    assert all(adjusted[name] >= plain[name] for name in plain)
    by_plain = sorted(plain, key=plain.get)
    assert [adjusted[name] for name in by_plain] == sorted(adjusted.values())


def test_pure_noise_is_hardly_ever_called_better_or_worse():
    """Four baselines that equal the proposal: a claim in at most 5% of confirmations, not in 4 x 5%."""
    rng = np.random.default_rng(0)
    claims = 0
    for _ in range(600):
        proposal = rng.normal(size=5)
        found = sorted_by({str(i): paired_difference(proposal, rng.normal(size=5)) for i in range(4)})
        claims += bool(found.better_than or found.worse_than)
    assert 0.015 < claims / 600 < 0.075


def test_a_claim_always_has_an_interval_that_excludes_zero():
    rng = np.random.default_rng(1)
    for _ in range(200):
        differences = {
            str(i): paired_difference(rng.normal(size=5), rng.normal(rng.uniform(-2, 2), 1, 5)) for i in range(4)
        }
        found = sorted_by(differences)
        assert all(differences[name].high < 0 for name in found.better_than)
        assert all(differences[name].low > 0 for name in found.worse_than)
        assert sorted(found.better_than + found.no_better_than + found.worse_than) == sorted(differences)


def test_names_are_listed_as_a_sentence_has_them():
    assert [listed(["a"]), listed(["a", "b"]), listed(["a", "b", "c"])] == ["a", "a and b", "a, b and c"]


def test_mixtures_that_are_equal_are_found_whatever_their_names():
    mixtures = {"proposal": np.array([0.5, 0.5]), "prior": np.array([0.9, 0.1]), "heuristic": np.array([0.9, 0.1])}
    assert repeated({**mixtures, "uniform": np.array([0.5, 0.5 + 1e-12])}) == {
        "heuristic": "prior",
        "uniform": "proposal",
    }


@pytest.mark.slow
def test_the_fresh_seeds_are_none_of_a_repeated_mixtures(copy):
    """A sweep that has a mixture on the seeds 7, 8 and 9 has seen what they do."""
    repeat_first(copy, Law(5), seeds=(8, 9))
    assert {run.seed for run in confirm_study(copy, Law(5), num_seeds=2, seed=7)} == {10, 11}


def test_every_mixture_is_trained_on_the_same_fresh_seeds(copy):
    asked = confirm_study(copy, Law(5), num_seeds=3, seed=7)
    names = ["proposal", "prior", "heuristic", "uniform", "best_seen"]
    assert {run.id for run in asked} == {f"{name}-s{seed}" for name in names for seed in (8, 9, 10)}
    for run in asked:
        assert run.id.endswith(f"-s{run.seed}")
        assert sum(run.weights.values()) == pytest.approx(1)
    assert Confirmation.read(copy / "confirmation.yaml").seeds == [8, 9, 10]


def test_the_table_holds_the_losses_of_every_run_and_their_objective(study):
    table = read_table(study / "confirmation.csv")
    columns = [c for c in table.columns if c.startswith("metric/")]
    assert len(table) == 5 * 5
    assert len(columns) == 5
    np.testing.assert_allclose(table["mean"], table[columns].mean(axis=1), rtol=1e-12)
    np.testing.assert_allclose(table["objective"], table["mean"], rtol=1e-12)
    row = table[(table["mixture"] == "prior") & (table["seed"] == 2)].iloc[0]
    losses = read_table(study / "confirmation" / "prior-s2" / "losses.csv").set_index("domain")["loss_nats"]
    assert row["metric/c_headers_val_loss"] == losses["c_headers"]


def test_the_report_of_differences_is_that_of_the_table(study):
    table = read_table(study / "confirmation.csv").pivot(index="seed", columns="mixture", values="objective")
    found = Confirmation.read(study / "confirmation.yaml")
    for name, difference in found.differences.items():
        expected = table["proposal"] - table[name]
        assert difference.objective.mean == pytest.approx(expected.mean(), abs=1e-12)
        assert difference.objective.wins == (expected < 0).sum()
        assert difference.objective.p_holm >= difference.objective.p
        assert abs(difference.predicted.mean) > 0
    assert found.mixtures["best_seen"].origin.startswith("run ")


def test_the_planted_optimum_is_found_better_than_the_prior(study):
    found = Confirmation.read(study / "confirmation.yaml")
    assert "prior" in found.better_than
    assert found.differences["prior"].objective.high < 0
    assert found.verdict_on("prior") == "better" and "better than the prior (-0." in found.verdict


def test_the_prior_as_a_proposal_is_no_better_than_the_prior(copy):
    law = Law(5)
    Mixture(dict(zip(law.domains, law.prior.tolist(), strict=True))).write(copy / "optimal_mixture.yaml")
    asked = confirm_study(copy, law)
    found = Confirmation.read(copy / "confirmation.yaml")
    assert "prior" in found.no_better_than and found.verdict_on("prior") == "no better"
    assert not [run for run in asked if run.id.startswith("prior")]
    assert found.mixtures["prior"].same_as == "proposal"


def test_equal_mixtures_are_trained_once_and_shown_twice(copy):
    law = Law(5)
    Mixture(dict(zip(law.domains, law.prior.tolist(), strict=True))).write(copy / "heuristic_mixture.yaml")
    asked = confirm_study(copy, law)
    assert not [run for run in asked if run.id.startswith("heuristic")]
    table = read_table(copy / "confirmation.csv").drop(columns="seed").groupby("mixture").mean()
    assert table.loc["heuristic"].equals(table.loc["prior"])
    differences = Confirmation.read(copy / "confirmation.yaml").differences
    assert differences["heuristic"] == differences["prior"]
    smallest = min(differences.values(), key=lambda d: d.objective.p).objective
    assert smallest.p_holm == pytest.approx(3 * smallest.p)  # prior and heuristic are one comparison of three


def test_a_domain_order_of_its_own_does_not_move_weights(copy):
    mixture = Mixture.read(copy / "optimal_mixture.yaml")
    weights, extra = mixture.weights, mixture.extra
    before = (copy / "confirmation.csv").read_bytes()
    Mixture(dict(reversed(weights.items())), extra).write(copy / "optimal_mixture.yaml")
    confirm_study(copy, Law(5))
    assert (copy / "confirmation.csv").read_bytes() == before


def test_a_baseline_that_the_data_cannot_feed_is_said_to_be_so(copy):
    law, budget = Law(5), 20_000_000
    mixture = Mixture.read(copy / "optimal_mixture.yaml")
    weights, extra = mixture.weights, mixture.extra
    Mixture(weights, extra | {"budget": budget, "max_epochs": 4.0}).write(copy / "optimal_mixture.yaml")
    confirm_study(copy, law)
    found = Confirmation.read(copy / "confirmation.yaml")
    epochs = 0.2 * budget / law.tokens[-1]  # of the smallest domain in the uniform mixture
    assert epochs > 4
    assert f"type_stubs {epochs:.3g}" in found.mixtures["uniform"].over_the_cap
    assert found.mixtures["prior"].over_the_cap is None
    assert "the data cannot feed it" in found.verdict


def test_noise_is_told_apart_from_what_the_mixture_does(study):
    """The law's own noise is .006 per domain and run, and .008 shared by a seed: sd .010 over seeds."""
    noise = Confirmation.read(study / "confirmation.yaml").noise
    for entry in noise.targets.values():
        assert 0.004 < entry.over_seeds < 0.02
        assert entry.ratio == pytest.approx(entry.over_mixtures / entry.over_seeds)
    swept = read_table(study / "losses.csv").drop(columns="index")
    assert noise.mean.over_mixtures == pytest.approx(swept.mean(axis=1).std())


def test_the_same_call_writes_the_same_bytes(copy):
    before = [(copy / name).read_bytes() for name in ("confirmation.csv", "confirmation.yaml")]
    confirm_study(copy, Law(5))
    assert [(copy / name).read_bytes() for name in ("confirmation.csv", "confirmation.yaml")] == before


def test_an_objective_of_one_domain_decides_by_that_domain(copy):
    confirm_study(copy, Law(5), objective={"javascript": 1.0})
    table = read_table(copy / "confirmation.csv")
    np.testing.assert_allclose(table["objective"], table["metric/javascript_val_loss"], rtol=1e-12)
    best = read_table(copy / "losses.csv").set_index("index")["metric/javascript_val_loss"].idxmin()
    assert Confirmation.read(copy / "confirmation.yaml").mixtures["best_seen"].origin == f"run {best} of the sweep"


def test_a_worst_case_is_measured_in_the_spread_of_the_sweep(copy):
    confirm_study(copy, Law(5), objective="worst")
    table, swept = read_table(copy / "confirmation.csv"), read_table(copy / "losses.csv").drop(columns="index")
    scores = (table[swept.columns] - swept.mean()) / swept.std(ddof=0)
    np.testing.assert_allclose(table["objective"], scores.max(axis=1), rtol=1e-9)
    found = Confirmation.read(copy / "confirmation.yaml")
    assert found.objective.unit == "standard deviations of the sweep"
    assert found.objective.spec == "worst" and found.ceilings is None
    assert found.objective.name in found.verdict and found.objective.unit in found.verdict
    best = ((swept - swept.mean()) / swept.std(ddof=0)).max(axis=1).idxmin() + 1
    assert found.mixtures["best_seen"].origin == f"run {best} of the sweep"


def test_whether_ceilings_were_kept_is_measured_against_the_prior_on_the_same_seeds(copy):
    law = Law(5)
    weights = np.full(5, 0.02)
    weights[0] = 0.92  # all for one domain: the others pay
    Mixture(dict(zip(law.domains, weights.tolist(), strict=True))).write(copy / "optimal_mixture.yaml")
    spec = {"minimise": law.domains[0], "max_increase": {law.domains[0]: "1%", law.domains[1]: 0.02}}
    confirm_study(copy, law, objective=spec)
    found = Confirmation.read(copy / "confirmation.yaml")
    table = read_table(copy / "confirmation.csv").set_index(["mixture", "seed"])
    assert list(found.ceilings) == [f"metric/{d}_val_loss" for d in law.domains[:2]]
    for (target, entry), allowed in zip(found.ceilings.items(), (0.01, 0.02), strict=True):
        at = {name: table.loc[name, target] for name in ("proposal", "prior")}
        excess = at["proposal"] - (1 + allowed) * at["prior"]
        assert entry.excess.mean == pytest.approx(excess.mean())
        assert entry.excess.low < excess.mean() < entry.excess.high
        assert entry.rise == pytest.approx(at["proposal"].mean() / at["prior"].mean() - 1)
        assert (entry.kept, entry.seeds_kept) == (excess.mean() <= 0, (excess <= 0).sum())
    assert [entry.kept for entry in found.ceilings.values()] == [True, False]
    assert f"Not kept: the ceilings on {law.domains[1]} (+" in found.verdict


def test_the_prior_keeps_every_ceiling(copy):
    law = Law(5)
    Mixture(dict(zip(law.domains, law.prior.tolist(), strict=True))).write(copy / "optimal_mixture.yaml")
    confirm_study(copy, law, objective={"minimise": "worst", "max_increase": 0})
    found = Confirmation.read(copy / "confirmation.yaml")
    assert {entry.excess.mean for entry in found.ceilings.values()} == {0.0}
    assert all(entry.kept for entry in found.ceilings.values()) and "Not kept" not in found.verdict


def test_a_confirmation_is_read_as_it_was_written(study, tmp_path):
    found = Confirmation.read(study / "confirmation.yaml")
    found.write(tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_bytes() == (study / "confirmation.yaml").read_bytes()
    assert Confirmation.read(tmp_path / "again.yaml") == found


def test_a_confirmation_that_lacks_something_names_it(study, tmp_path):
    content = read_yaml(study / "confirmation.yaml")
    del content["differences"]["prior"]["objective"]["low"]
    write_yaml(tmp_path / "c.yaml", content)
    with pytest.raises(InputError, match=r"c\.yaml: differences: prior: objective: low"):
        Confirmation.read(tmp_path / "c.yaml")


def test_one_seed_is_not_enough(copy):
    with pytest.raises(InputError, match=r"num_seeds is 1.*2"):
        confirm_study(copy, Law(5), num_seeds=1)


def test_a_proposal_for_other_domains_is_refused(copy):
    Mixture({"poetry": 1.0}).write(copy / "optimal_mixture.yaml")
    with pytest.raises(InputError, match=r"optimal_mixture\.yaml: lacks .* poetry"):
        confirm_study(copy, Law(5))


def test_an_objective_that_the_tokens_do_not_measure_is_refused(copy):
    text = (copy / "tokens" / "manifest.json").read_text()
    head, valid = text.split('"valid"')
    (copy / "tokens" / "manifest.json").write_text(head + '"valid"' + valid.replace("javascript", "typescript"))
    with pytest.raises(InputError, match="metric/javascript_val_loss"):
        confirm_study(copy, Law(5))
