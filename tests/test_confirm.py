"""The confirmation: fair pairs, honest statistics, and a verdict that may be "not better" or "undecided"."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import Law, confirm_study, repeat_first

from mixture_config.files.mixture import Mixture
from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from proxymix.tables import read_table
from regression.confirmation.candidates import repeated
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.paired import (
    BETTER,
    MAX_MORE_SEEDS,
    NOT_BETTER,
    UNDECIDED,
    VERDICTS,
    WORSE,
    Difference,
    corrected,
    holm,
    paired_difference,
    seeds_to_decide,
    t_interval,
    verdict,
)
from regression.confirmation.statements import confirmation_lines, verdict_sentence


@pytest.fixture
def study(finished_study):
    """A confirmed study of five domains whose losses follow a planted law, to be read."""
    return finished_study


@pytest.fixture
def copy(finished_study, tmp_path):
    """The same study, to be changed by a test."""
    return shutil.copytree(finished_study, tmp_path / "study")


def verdicts(differences, min_gain=0.0):
    """The verdicts over baselines that are all distinct."""
    return [verdict(difference, min_gain) for difference in corrected(differences).values()]


def propose_prior(folder, name="optimal_mixture.yaml"):
    """The prior as the proposal, or as another mixture."""
    law = Law(5)
    Mixture(dict(zip(law.domains, law.prior.tolist(), strict=True))).write(folder / name)


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


def test_a_difference_that_is_the_same_on_every_seed_is_certain():
    difference = paired_difference(np.full(4, 2.0), np.full(4, 2.5))
    assert (difference.low, difference.high, difference.p, difference.wins) == (-0.5, -0.5, 0, 4)
    assert verdicts({"prior": difference}) == [BETTER]


def test_what_a_seed_does_to_both_mixtures_cancels():
    seeds = np.array([0.0, 5.0, -3.0, 8.0])
    difference = paired_difference(seeds + 1, seeds + np.array([1.2, 1.1, 1.2, 1.1]))
    assert difference.mean == pytest.approx(-0.15)
    assert difference.sd < 0.06


def test_a_mixture_is_no_better_than_itself():
    difference = paired_difference(np.ones(5), np.ones(5))
    assert (difference.mean, difference.p, difference.wins) == (0, 1, 0)
    assert verdicts({"prior": difference}) == [NOT_BETTER]


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
        found = verdicts({str(i): paired_difference(proposal, rng.normal(size=5)) for i in range(4)})
        claims += bool({BETTER, WORSE} & {*found})
    assert 0.015 < claims / 600 < 0.075


@pytest.mark.parametrize(
    ("gain", "bounds"),
    [
        # A gain of 0 is claimed or denied wrongly in 5%: 2.5% better and as much worse. With a spread of half of the gain
        # that matters and 8 seeds, most intervals exclude that gain.
        (0, {BETTER: (0.01, 0.04), WORSE: (0.01, 0.04), NOT_BETTER: (0.93, 0.98)}),
        (2, {BETTER: (0.99, 1), WORSE: (0, 0), NOT_BETTER: (0, 0.01)}),
        (1, {BETTER: (0.95, 1), NOT_BETTER: (0, 0.03)}),
        (-2, {BETTER: (0, 0), WORSE: (0.99, 1), NOT_BETTER: (0, 0.01)}),
    ],
)
def test_planted_gains_get_the_verdicts_that_the_levels_promise(gain, bounds):
    rng = np.random.default_rng(0)
    seeds = rng.normal(-gain, 0.5, (1500, 8))
    found = [verdicts({"prior": paired_difference(row, np.zeros(8))}, min_gain=1.0)[0] for row in seeds]
    shares = {verdict: found.count(verdict) / len(found) for verdict in VERDICTS}
    assert all(low <= shares[verdict] <= high for verdict, (low, high) in bounds.items()), shares


def test_few_noisy_seeds_leave_it_undecided_and_more_of_them_decide():
    """With the spread of the gain that matters and 3 seeds hardly anything can be said; what is asked for then decides."""
    rng, asked = np.random.default_rng(0), []
    for truth in rng.choice([-1.0, 0.0, 1.0], 300):
        seeds = rng.normal(truth, 1.0, 3 + MAX_MORE_SEEDS)
        few = corrected({"prior": paired_difference(seeds[:3], np.zeros(3))})["prior"]
        if verdict(few, 1.0) == UNDECIDED and (more := seeds_to_decide(few, 1.0)):
            then = corrected({"prior": paired_difference(seeds[: 3 + more], np.zeros(3 + more))})["prior"]
            asked.append(verdict(then, 1.0))
    assert len(asked) > 200
    assert asked.count(UNDECIDED) / len(asked) < 0.5  # the mean and the spread seen are no more than estimates


def test_the_seeds_that_would_decide_by_hand():
    """Six seeds of sd .054 around -.040 leave 0 inside; with ten, t(9) = 2.262 standard errors are .0389 and do not."""
    six = Difference(-0.03985, 0.05443, -0.097, 0.0173, 0.133, 5, 6, 0.133)
    assert seeds_to_decide(six, min_gain=0.033) == 4
    assert seeds_to_decide(six, min_gain=0.033, num_open=3) > 4
    assert seeds_to_decide(Difference(-0.001, 0.054, -0.06, 0.06, 0.9, 3, 6, 0.9), min_gain=0.001) is None


def test_a_claim_always_has_an_interval_that_excludes_zero_and_not_better_one_that_excludes_the_gain():
    rng = np.random.default_rng(1)
    for _ in range(200):
        one, others = rng.normal(size=5), rng.normal(rng.uniform(-2, 2), 1, (4, 5))
        differences = {str(i): paired_difference(one, other) for i, other in enumerate(others)}
        for difference, found in zip(differences.values(), verdicts(differences, 0.5), strict=True):
            excluded = {BETTER: difference.high < 0, WORSE: difference.low > 0, NOT_BETTER: difference.low >= -0.5}
            assert excluded.get(found, difference.low < -0.5)


def comparison(verdict, more=None):
    return SimpleNamespace(verdict=verdict, seeds_to_decide=more)


@pytest.mark.parametrize(
    ("found", "infeasible", "broken", "sentence"),
    [
        (
            {"prior": (BETTER,), "heuristic": (BETTER,), "uniform": (UNDECIDED, 4), "best_seen": (UNDECIDED, 4)},
            ["heuristic"],
            [],
            "The proposed mixture is better than the prior and the heuristic, undecided against the uniform mixture and the best "
            "mixture of the sweep (about 4 more seeds would decide)",
        ),
        (
            {"prior": (BETTER,), "uniform": (BETTER,)},
            [],
            ["web"],
            "The proposed mixture is better than every baseline: the prior and the uniform mixture; it raises the loss on web by "
            "more than is allowed",
        ),
        (
            {"prior": (WORSE,), "heuristic": (NOT_BETTER,), "uniform": (UNDECIDED, 1), "best_seen": (UNDECIDED,)},
            ["heuristic"],
            [],
            "The proposed mixture is worse than the prior, not better than the heuristic (which the data cannot supply), undecided "
            "against the uniform mixture and the best mixture of the sweep (about 1 more seed would decide 1 of 2)",
        ),
        (
            {"prior": (UNDECIDED,)},
            [],
            [],
            f"The proposed mixture is undecided against the prior ({MAX_MORE_SEEDS} more seeds would hardly decide)",
        ),
    ],
)
def test_the_verdict_says_no_more_than_was_found(found, infeasible, broken, sentence):
    """The snapshot of this family of sentences."""
    assert verdict_sentence({name: comparison(*told) for name, told in found.items()}, infeasible, broken) == sentence


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
    prior = found.differences["prior"]
    assert prior.verdict == BETTER and prior.objective.high < 0 and "prior" in found.baselines(BETTER)
    assert "better than" in found.verdict and any("better" in line for line in confirmation_lines(found))


def test_the_gain_worth_having_decides_between_undecided_and_not_better(copy, capsys):
    """Without one it is the spread of a run over seeds; a huge one leaves nothing undecided but what is better or worse."""
    own = Confirmation.read(copy / "confirmation.yaml")
    assert own.min_gain == own.noise.objective.over_seeds
    Mixture.read(copy / "heuristic_mixture.yaml").write(copy / "optimal_mixture.yaml")
    first, last = Law(5).domains[0], Law(5).domains[-1]
    weights = Mixture.read(copy / "heuristic_mixture.yaml").weights
    nearly = weights | {first: weights[first] + 0.001, last: weights[last] - 0.001}
    Mixture(nearly).write(copy / "heuristic_mixture.yaml")
    for min_gain, expected in ((1.0, NOT_BETTER), (0.0, UNDECIDED)):
        confirm_study(copy, Law(5), num_seeds=3, min_gain=min_gain)
        assert Confirmation.read(copy / "confirmation.yaml").differences["heuristic"].verdict == expected
        said = capsys.readouterr().err
        assert ("Next: proxymix report" in said) == (expected == NOT_BETTER)
    found = Confirmation.read(copy / "confirmation.yaml")
    assert "undecided" in said and str(copy / "confirmation.yaml") in said
    assert f"--study {copy} --confirm.num_seeds {3 + found.seeds_to_decide}" in said


def test_more_seeds_begin_with_those_that_are_there(copy):
    few = confirm_study(copy, Law(5), num_seeds=2, min_gain=0.0)
    more = confirm_study(copy, Law(5), num_seeds=4, min_gain=0.0)
    assert {run.id for run in few} < {run.id for run in more}  # runs that are done are not trained again


def test_a_gain_below_zero_is_refused(copy):
    with pytest.raises(InputError, match=r"min_gain is -1"):
        confirm_study(copy, Law(5), min_gain=-1.0)


def test_the_prior_as_a_proposal_is_not_better_than_the_prior(copy):
    propose_prior(copy)
    asked = confirm_study(copy, Law(5))
    found = Confirmation.read(copy / "confirmation.yaml")
    assert found.differences["prior"].verdict == NOT_BETTER
    assert not [run for run in asked if run.id.startswith("prior")]
    assert found.mixtures["prior"].same_as == "proposal"


def test_equal_mixtures_are_trained_once_and_shown_twice(copy):
    propose_prior(copy, "heuristic_mixture.yaml")
    asked = confirm_study(copy, Law(5))
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
    if found.differences["uniform"].verdict != BETTER:
        assert "the data cannot supply" in found.verdict


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
    assert f"({found.objective.name}, {found.objective.unit})" in confirmation_lines(found)[0]
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
    assert f"raises the loss on {law.domains[1]} by" in found.verdict
    assert f"  {law.domains[1]}" in confirmation_lines(found)[-2] and "NOT kept" in confirmation_lines(found)[-2]


def test_the_prior_keeps_every_ceiling(copy):
    propose_prior(copy)
    confirm_study(copy, Law(5), objective={"minimise": "worst", "max_increase": 0})
    found = Confirmation.read(copy / "confirmation.yaml")
    assert {entry.excess.mean for entry in found.ceilings.values()} == {0.0}
    assert all(entry.kept for entry in found.ceilings.values()) and "raises" not in found.verdict


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
