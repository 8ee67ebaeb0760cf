"""The proposal is near the planted optimum, always feasible, and says what it is and how sure."""

from unittest import mock

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import DOMAINS, PRIOR, TARGETS, planted_losses, planted_optimum, planted_runs, write_catalogue, write_runs

from mixture_config.files.mixture import Mixture
from mixture_config.geometry.constraints import Constraints
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import epoch_bounds
from proxymix.app.cli import main
from proxymix.errors import InputError
from proxymix.tables import read_table
from regression.data.objective import Objective
from regression.fit import fit
from regression.models.fit_files import load_fit
from regression.models.predicted_objective import PredictedObjective
from regression.propose import propose
from regression.search.compare import BETTER, SAME, WORSE, verdict
from regression.search.feasible_set import FeasibleSet
from regression.search.proposal import BaselinePrediction, Estimate, Halves, Prediction, Proposal
from regression.search.search import search
from regression.search.settings import SearchSettings
from regression.search.uncertainty import sample_interval

MEAN = np.full(4, 0.25)
QUICK = {
    "search": SearchSettings(num_candidates=2000, num_averaged=32),
    "num_curves": 6,
    "num_splits": 1,
    "workers": 1,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A fit of 48 planted runs, and a catalogue with the planted prior."""
    folder = tmp_path_factory.mktemp("planted")
    fit(*write_runs(folder, *planted_runs(48)), folder / "fit", model="gp", num_repeats=1, workers=1)
    write_catalogue(folder / "domains.csv", (1e6 * PRIOR).astype(int))
    return folder


@pytest.fixture(scope="module")
def fitted(folder):
    return load_fit(folder / "fit")


def mean_loss(weights):
    """The truth, without noise."""
    return float((planted_losses(weights) @ MEAN)[0])


# ---- What is found


@pytest.mark.parametrize("objective", ["mean", "poems", {"code": 0.5, "news": 0.5}])
def test_the_planted_optimum_is_found(folder, tmp_path, objective):
    out = tmp_path / "optimal.yaml"
    propose(folder / "fit", out, folder / "domains.csv", objective=objective, num_curves=0, num_splits=0)
    proposal = np.array(list(Proposal.read(out).weights.values()))
    wanted = Objective.of(objective, TARGETS, planted_losses(PRIOR)).weights

    def loss(w):
        return float((planted_losses(w) @ wanted)[0])

    best = loss(planted_optimum(wanted))
    assert loss(proposal) - best < 0.07 * (loss(PRIOR) - best)
    runs, _ = planted_runs(48)
    assert loss(proposal) < (planted_losses(runs) @ wanted).min() + 0.005


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_the_prediction_and_the_gain_hold_the_truth_and_not_much_else(tmp_path, seed):
    """Intervals are some 0.01 to either side where the noise of a run's mean loss is 0.0025: not infinitely wide."""
    runs = write_runs(tmp_path, *planted_runs(48, seed))
    fit(*runs, tmp_path / "fit", model="gp", num_repeats=1, workers=1)
    domains = write_catalogue(tmp_path / "domains.csv", (1e6 * PRIOR).astype(int))
    propose(tmp_path / "fit", tmp_path / "o.yaml", domains, **QUICK | {"num_curves": 40})
    found = Proposal.read(tmp_path / "o.yaml")
    truth = mean_loss(np.array(list(found.weights.values())))
    gains = [
        (found.baselines["prior"].gain, mean_loss(PRIOR) - truth),
        (found.baselines["uniform"].gain, mean_loss(MEAN) - truth),
    ]
    for estimate, true in [(found.predicted, truth), *gains]:
        reach = (estimate.high - estimate.low) / 2  # how often it holds is measured by benchmarks/planted_laws.py
        assert abs(true - estimate.mean) < 2 * reach and 0.002 < reach < 0.024
    assert found.baselines["prior"].gain.low > 0.15
    optimum = planted_optimum(MEAN)
    low, high = np.array(list(found.weight_intervals.values())).T
    assert ((low - 0.06 <= optimum) & (optimum <= high + 0.06)).all() and (high - low).max() < 0.26


def test_the_interval_of_samples_is_as_wide_as_the_normal_distribution_is():
    """95% of 2,000 draws lie within 1.96 standard deviations of the mean."""
    samples = np.random.default_rng(0).normal([0.0, 5.0], [1.0, 0.1], (2000, 2))
    low, high = sample_interval(samples)
    np.testing.assert_allclose(low, [-1.96, 5 - 0.196], atol=0.12)
    np.testing.assert_allclose(high, [1.96, 5 + 0.196], atol=0.12)
    assert ((low <= samples) & (samples <= high)).mean() == pytest.approx(0.95, abs=0.002)


def lowest(fitted, prior, upper, risk_aversion, rng, num=2000):
    feasible = FeasibleSet(Limits(DOMAINS, 0.0, upper), prior)
    function = PredictedObjective(fitted, fitted.objective, prior, risk_aversion)
    return search(function, feasible, prior, fitted.runs.weights[:3], "auto", num, 16, rng)[0].weights


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    tokens=st.lists(st.integers(1, 10**9), min_size=4, max_size=4),
    tightness=st.floats(0.01, 1.0),
    max_epochs=st.floats(0.5, 8.0),
    seed=st.integers(0, 5),
)
def test_a_proposal_is_feasible_whatever_the_data_can_feed(fitted, tokens, tightness, max_epochs, seed):
    counts = np.array(tokens, dtype=float)
    budget = max(1, int(tightness * max_epochs * counts.sum()))
    try:
        upper = epoch_bounds(counts, budget, max_epochs)
    except InputError:
        return
    rng = np.random.default_rng(seed)
    prior = counts / counts.sum()
    proposal = lowest(fitted, prior, upper, risk_aversion=0.5, rng=rng, num=200)
    assert abs(proposal.sum() - 1) < 1e-9
    assert (proposal >= 0).all()
    assert (proposal <= upper + 1e-9).all()


def test_risk_aversion_keeps_a_proposal_nearer_to_the_runs(tmp_path):
    """A loss that falls along a direction no run explored far: without risk aversion the search follows it out."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(PRIOR * 60, 32)
    losses = planted_losses(weights) + rng.normal(0, 0.02, (32, 4))
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", model="gp", num_repeats=1, workers=1)
    fitted = load_fit(tmp_path / "fit")
    averse, bold = (lowest(fitted, PRIOR, np.ones(4), k, np.random.default_rng(0)) for k in (2.0, 0.0))
    std = fitted.predict_objective(np.array([averse, bold]), fitted.objective, noise=False)[1]
    assert std[0] < 0.8 * std[1]
    distance = 0.5 * np.abs(weights[None] - np.array([averse, bold])[:, None]).sum(axis=2).min(axis=1)
    assert distance[0] < 0.8 * distance[1]


@pytest.mark.slow
def test_noise_gives_no_certain_gain(tmp_path):
    weights, _ = planted_runs(40)
    losses = np.random.default_rng(5).normal(3, 0.1, (40, 4))
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", model="gp", num_repeats=1, workers=1)
    propose(tmp_path / "fit", tmp_path / "o.yaml", **QUICK)
    found = Proposal.read(tmp_path / "o.yaml")
    for name in ("sweep_mean", "uniform"):
        gain = found.baselines[name].gain
        assert gain.low < 0 < gain.high and gain.high - gain.low < 0.15
    assert found.verdict.startswith("not better than any baseline")


@pytest.mark.slow
def test_trees_are_searched_by_draws_alone(tmp_path):
    """No slopes are followed, neither by the search nor by the halves or the posterior samples."""
    runs = write_runs(tmp_path, *planted_runs(60))
    domains = write_catalogue(tmp_path / "domains.csv", (1e6 * PRIOR).astype(int))
    for preset, methods in ((None, {"simulation", "wide"}), ("regmix", {"simulation"})):
        model = "lightgbm" if preset else "lightgbm_small"
        fit(*runs, tmp_path / "fit", model=model, preset=preset, num_repeats=1, workers=1)
        for name in ("a.yaml", "b.yaml")[: 1 if preset else 2]:
            with mock.patch.object(PredictedObjective, "gradient", side_effect=AssertionError("slopes of trees")):
                caps = Constraints(budget=1_000_000, max_epochs=2)
                propose(tmp_path / "fit", tmp_path / name, domains, caps, **QUICK)
        found = Proposal.read(tmp_path / "a.yaml")
        assert found.weights["poems"] <= 0.1 + 1e-9 and found.search["found_by"] in methods
        candidates = read_table(tmp_path / "a" / "candidates.csv")
        assert set(candidates["method"]) == {*methods, "half of the runs"}
        assert preset or (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()
        assert found.search["num_candidates"] == 2000
        assert found.search["risk_aversion"] == (0.0 if preset else 0.5)


# ---- What the data can feed


def test_caps_bind_and_epochs_are_told(folder, tmp_path):
    caps = Constraints(budget=1_000_000, max_epochs=2)
    propose(folder / "fit", tmp_path / "o.yaml", folder / "domains.csv", caps, **QUICK)
    found = Proposal.read(tmp_path / "o.yaml")
    assert found.caps == pytest.approx({"code": 1.0, "law": 0.5, "news": 0.2, "poems": 0.1})
    assert found.weights["poems"] == pytest.approx(0.1, abs=1e-6)  # the free optimum takes more
    assert found.epochs["poems"] == pytest.approx(2, abs=1e-4)
    assert found.epochs["code"] == pytest.approx(found.weights["code"] / 0.6)
    assert max(found.epochs.values()) <= 2 + 1e-9
    assert not found.baselines["uniform"].feasible
    assert found.baselines["prior"].feasible


def test_a_domain_without_tokens_gets_no_weight_under_a_budget(folder, tmp_path):
    domains = write_catalogue(tmp_path / "domains.csv", np.array([10**6, 10**6, 0, 10**6]))
    propose(folder / "fit", tmp_path / "o.yaml", domains, Constraints(budget=1_000_000), **QUICK)
    found = Proposal.read(tmp_path / "o.yaml")
    assert found.weights["news"] == 0
    assert found.epochs["news"] == 0


def test_a_budget_the_data_cannot_feed_says_what_it_can(folder, tmp_path):
    with pytest.raises(InputError, match=r"domains\.csv: .*9,000,000.*4,000,000"):
        propose(folder / "fit", tmp_path / "o.yaml", folder / "domains.csv", Constraints(budget=9_000_000))
    assert not (tmp_path / "o.yaml").exists()


def test_domains_meet_by_name_whatever_their_order(folder, tmp_path):
    header, *rows = (folder / "domains.csv").read_text().splitlines()
    (tmp_path / "domains.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    caps = Constraints(budget=1_000_000, max_epochs=2)
    for name, domains in (("a.yaml", folder / "domains.csv"), ("b.yaml", tmp_path / "domains.csv")):
        propose(folder / "fit", tmp_path / name, domains, caps, **QUICK)
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_domains_that_lack_a_prefix_are_told_so_and_not_listed_thrice(folder, tmp_path):
    rows = "".join(f"pile_{domain},1000\n" for domain in DOMAINS)
    (tmp_path / "domains.csv").write_text("domain,tokens\n" + rows)
    with pytest.raises(
        InputError, match=rf"domains\.csv: pile_{DOMAINS[0]} is named {DOMAINS[0]} elsewhere; name all 4"
    ):
        propose(folder / "fit", tmp_path / "o.yaml", tmp_path / "domains.csv")


# ---- What is asked, and what the file says


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"constraints": Constraints(budget=1000)}, "--domains"),
        ({"num_splits": -1}, "num_splits"),
        ({"num_next": -1}, "num_next"),
        ({"num_curves": -1}, "num_curves"),
    ],
)
def test_a_wrong_setting_is_named(folder, tmp_path, wrong, key):
    with pytest.raises(InputError, match=key):
        propose(folder / "fit", tmp_path / "o.yaml", **wrong)


@pytest.mark.parametrize(
    ("wrong", "key"),
    [
        ({"num_candidates": 200, "num_averaged": 300}, "num_candidates is 200; at least num_averaged, 300"),
        ({"num_candidates": 0}, "num_candidates is 0"),
        ({"num_averaged": 1}, "num_averaged is 1"),
        ({"risk_aversion": -1}, "risk_aversion is -1"),
        ({"risk_aversion": float("nan")}, "risk_aversion is nan"),
    ],
)
def test_wrong_search_settings_are_named(wrong, key):
    with pytest.raises(InputError, match=key):
        SearchSettings(**wrong)


def test_other_domains_than_the_fits_are_refused(folder, tmp_path):
    (tmp_path / "domains.csv").write_text("domain,tokens\ncode,5\nlaw,5\nnews,5\nverse,5\n")
    with pytest.raises(InputError, match=r"domains\.csv: lacks poems and has the unknown verse"):
        propose(folder / "fit", tmp_path / "o.yaml", tmp_path / "domains.csv")


def test_the_file_says_what_was_asked_and_from_what(folder, tmp_path):
    Mixture(dict(zip(DOMAINS, [0.4, 0.3, 0.2, 0.1], strict=True))).write(tmp_path / "heuristic.yaml")
    propose(
        folder / "fit",
        tmp_path / "o.yaml",
        folder / "domains.csv",
        Constraints(limits={"law": {"min": 0.1}}, max_domains=4),
        objective={"code": 3, "law": 1},
        heuristic=tmp_path / "heuristic.yaml",
        seed=3,
        **QUICK,
    )
    found = Proposal.read(tmp_path / "o.yaml")
    assert Mixture.read(tmp_path / "o.yaml").extra["valid"] == {f"valid_{domain}": 1.0 for domain in DOMAINS}
    assert found.objective == {TARGETS[0]: 0.75, TARGETS[1]: 0.25}
    assert list(found.baselines) == ["prior", "heuristic", "uniform", "best_seen"]
    assert found.regression["model"] == "gp"
    assert set(found.regression["inputs"]) == {"mixtures", "losses"}
    asked = {"method": "auto", "num_candidates": 2000, "num_averaged": 32, "risk_aversion": 0.5, "seed": 3}
    asked |= {"limits": {"law": {"min": 0.1}}, "max_domains": 4}
    assert asked.items() <= found.search.items()
    assert found.epochs is None and found.budget is None


def test_without_token_counts_the_mean_of_the_sweep_stands_for_the_prior(folder, tmp_path):
    propose(folder / "fit", tmp_path / "o.yaml", **QUICK)
    assert list(Proposal.read(tmp_path / "o.yaml").baselines) == ["sweep_mean", "uniform", "best_seen"]


def test_a_proposal_is_read_as_it_was_written(tmp_path):
    estimate = Estimate(1.0, 0.5, 1.5)
    proposal = Proposal(
        weights={"code": 0.25, "law": 0.75},
        objective={"minimise": "mean", "max_increase": 0.01},
        predicted=Prediction(1.0, 0.5, 1.5, Halves(0.9, 1.1, 0.2), 0.95),
        baselines={"best_seen": BaselinePrediction(estimate, estimate, True, 0.1, run=7, measured=1.2)},
        weight_intervals={"code": [0.2, 0.3], "law": [0.7, 0.8]},
        budget=1000,
        max_epochs=None,
        search={"method": "auto", "gap": 0.0},
    )
    proposal.write(tmp_path / "a.yaml")
    assert Proposal.read(tmp_path / "a.yaml") == proposal
    content = yaml.safe_load((tmp_path / "a.yaml").read_text())
    assert list(content)[:4] == ["train", "valid", "model_name", "objective"] and content["max_epochs"] is None
    assert content["baselines"]["best_seen"]["judged_gain"] == 0.1 and content["predicted"]["halves"]["judged"] == 1.1
    assert "verdict" not in content


def test_a_mixture_that_a_person_wrote_is_a_proposal_of_weights_alone(tmp_path):
    (tmp_path / "mine.yaml").write_text("train: {train_code: 0.5, train_law: 0.5}\nbudget: 100\nnotes: mine\n")
    assert Proposal.read(tmp_path / "mine.yaml") == Proposal({"code": 0.5, "law": 0.5}, budget=100)
    (tmp_path / "mine.yaml").write_text("train: {train_code: 0.5, train_law: 0.5}\nbaselines: none of them\n")
    with pytest.raises(InputError, match=r"mine\.yaml: baselines"):
        Proposal.read(tmp_path / "mine.yaml")


def test_the_old_names_of_settings_are_still_read(folder, tmp_path, capsys):
    arguments = ["propose", "--fit", str(folder / "fit"), "--out", str(tmp_path / "o.yaml"), "--num_candidates", "1000"]
    arguments += ["--num_curves", "0", "--num_splits", "0", "--top", "16", "--caution", "1", "--next", "2"]
    assert main([*arguments, "--pick", "climb"]) == 0
    assert len(list((tmp_path / "next" / "mixtures").iterdir())) == 2
    found = Proposal.read(tmp_path / "o.yaml").search
    assert (found["num_averaged"], found["risk_aversion"]) == (16, 1.0) and not {"top", "caution"} & set(found)
    told = capsys.readouterr().err
    assert all(name in told for name in ("num_averaged", "risk_aversion", "num_next", "acquisition"))


def predicted_gain(low, high, verdict):
    return BaselinePrediction(Estimate(0.0, 0.0, 0.0), Estimate((low + high) / 2, low, high), True, verdict=verdict)


def test_the_verdict_is_a_sentence_whatever_was_shown():
    better, worse = predicted_gain(0.1, 0.3, BETTER), predicted_gain(-0.49, -0.25, WORSE)
    same = predicted_gain(-0.1, 0.1, SAME)
    assert verdict({"prior": better, "uniform": same, "heuristic": same, "best_seen": worse}, True) == (
        "predicted to be better than the prior; predicted to be worse than the best mixture of the sweep; "
        "not distinguishable from the uniform mixture and the heuristic"
    )
    assert verdict({"prior": better}, True) == "predicted to be better than the prior"
    assert verdict({"prior": better}, False).startswith("not better than any baseline")


def test_what_is_predicted_to_be_worse_is_called_worse(folder, tmp_path):
    """A domain is fixed at a weight that is bad for all others, so the best run is better than any allowed mixture."""
    limits = Constraints(limits={DOMAINS[0]: 0.9})
    propose(folder / "fit", tmp_path / "p.yaml", folder / "domains.csv", limits, **QUICK)
    found = Proposal.read(tmp_path / "p.yaml")
    best = found.baselines["best_seen"]
    assert best.gain.high < 0 and best.verdict == WORSE and best.missed is not None
    assert "predicted to be worse than" in found.verdict and "better" not in found.verdict


def test_the_terminal_has_the_mixture_the_gains_the_path_and_the_next_command(folder, tmp_path, capsys):
    caps = Constraints(budget=1_000_000, max_epochs=2, limits={"code": {"max": 0.3}})
    out = tmp_path / "p.yaml"
    found = propose(folder / "fit", out, folder / "domains.csv", caps, budget_assumed=True, **QUICK)
    said = capsys.readouterr().err
    row = {line.split()[0]: line.split(maxsplit=4) for line in said.splitlines() if line.strip()}
    for domain, prior in zip(DOMAINS, PRIOR, strict=True):
        if found.weights[domain]:
            shown = [f"{found.weights[domain]:.4f}", f"{prior:.4f}", f"{found.epochs[domain]:.2f}"]
            assert row[domain][1:4] == shown
    capped = [d for d in DOMAINS if found.weights[d] > 0 and abs(found.weights[d] - found.caps[d]) < 1e-6]
    assert capped and all("capped by" in row[domain][4] for domain in capped)
    assert "1,000,000 tokens (ASSUMED" in said and "--budget" in said
    assert f"Written: {out}" in said and f"Next: proxymix export --mixture {out}" in said
    assert all(f"{entry.gain.mean:+.4f}" in said and entry.verdict in said for entry in found.baselines.values())


def test_an_assumed_budget_and_what_the_runs_do_not_know_are_facts_of_the_file(folder, tmp_path):
    caps = Constraints(budget=1_000_000, max_epochs=2)
    for name, assumed in (("a.yaml", True), ("b.yaml", False)):
        propose(folder / "fit", tmp_path / name, folder / "domains.csv", caps, budget_assumed=assumed, **QUICK)
    said, plain = (yaml.safe_load((tmp_path / name).read_text()) for name in ("a.yaml", "b.yaml"))
    assert said.pop("budget_assumed") is True and said == plain
    assert said["support"]["far_from_runs"] in (True, False) and said["support"]["untrained_domains"] == []
    assert max(said["epochs"].values()) == 2.0  # and not 2.0000000000000004


def test_a_sample_is_capped_by_the_true_sizes(folder, tmp_path):
    """The tokens on disk are a thousandth of the corpus: a budget that they could not feed is fed by what they stand for."""
    tokens = (1e3 * PRIOR[::-1]).astype(int)
    sizes = (1e6 * PRIOR).astype(int)
    rows = "".join(f"{d},{t},{a}\n" for d, t, a in zip(DOMAINS, tokens, sizes, strict=True))
    (tmp_path / "domains.csv").write_text("domain,tokens,available_tokens\n" + rows)
    caps = Constraints(budget=1_000_000, max_epochs=2)
    for name, domains in (("sample", tmp_path / "domains.csv"), ("whole", folder / "domains.csv")):
        propose(folder / "fit", tmp_path / f"{name}.yaml", domains, caps, **QUICK)
    assert (tmp_path / "sample.yaml").read_text() == (tmp_path / "whole.yaml").read_text()
    assert (tmp_path / "sample/epochs.csv").read_text() == (tmp_path / "whole/epochs.csv").read_text()


@pytest.mark.parametrize("budget", [None, 10_000])
def test_a_domain_without_tokens_gets_no_weight_and_is_named(folder, tmp_path, capsys, budget):
    write_catalogue(tmp_path / "domains.csv", np.where(np.arange(4) == 1, 0, 1_000_000))
    propose(
        folder / "fit",
        tmp_path / "p.yaml",
        tmp_path / "domains.csv",
        Constraints(budget=budget),
        num_curves=0,
        num_splits=0,
    )
    assert Mixture.read(tmp_path / "p.yaml").weights[DOMAINS[1]] == 0
    assert f"{DOMAINS[1]} has 0 tokens" in capsys.readouterr().err
