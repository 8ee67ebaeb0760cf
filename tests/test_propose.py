"""The proposal is near the planted optimum, always feasible, and says what it is and how sure."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import DOMAINS, PRIOR, TARGETS, planted_losses, planted_optimum, planted_runs, write_catalogue, write_runs

from mixture_config.files.mixture import Mixture
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import epoch_bounds
from proxymix.errors import InputError
from regression.data.objective import Objective
from regression.fit import fit
from regression.models.fit_files import load_fit
from regression.models.predicted_objective import PredictedObjective
from regression.propose import propose, verdict
from regression.search.feasible_set import Region
from regression.search.search import search

MEAN = np.full(4, 0.25)
QUICK = {"num_candidates": 2000, "top": 32, "num_curves": 6, "num_splits": 1, "workers": 1}


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


@pytest.mark.parametrize("objective", ["mean", "poems", {"code": 0.5, "news": 0.5}])
def test_the_planted_optimum_is_found(folder, tmp_path, objective):
    propose(
        folder / "fit",
        tmp_path / "optimal.yaml",
        folder / "domains.csv",
        objective=objective,
        num_curves=0,
        num_splits=0,
    )
    weights = Mixture.read(tmp_path / "optimal.yaml").weights
    proposal = np.array([weights[domain] for domain in DOMAINS])
    wanted = Objective.of(objective, TARGETS, planted_losses(PRIOR)).weights

    def loss(w):
        return float((planted_losses(w) @ wanted)[0])

    best = loss(planted_optimum(wanted))
    assert loss(proposal) - best < 0.2 * (loss(PRIOR) - best)
    runs, _ = planted_runs(48)
    assert loss(proposal) < (planted_losses(runs) @ wanted).min() + 0.005


def test_the_prediction_and_the_gain_hold_the_truth(folder, tmp_path):
    propose(folder / "fit", tmp_path / "optimal.yaml", folder / "domains.csv", **QUICK)
    mixture = Mixture.read(tmp_path / "optimal.yaml")
    weights, extra = mixture.weights, mixture.extra
    truth = float((planted_losses(np.array(list(weights.values()))) @ MEAN)[0])
    reach = extra["predicted"]["high"] - extra["predicted"]["mean"]
    assert abs(truth - extra["predicted"]["mean"]) < 2 * reach
    for name, baseline in (("prior", PRIOR), ("uniform", MEAN)):
        gain = extra["baselines"][name]["gain"]
        reach = (gain["high"] - gain["low"]) / 2  # how often it holds is measured by benchmarks/planted_laws.py
        assert abs(float((planted_losses(baseline) @ MEAN)[0]) - truth - gain["mean"]) < 2.5 * reach
    assert extra["baselines"]["prior"]["gain"]["low"] > 0


def lowest(fitted, prior, upper, caution, rng, num=2000):
    region = Region(Limits(DOMAINS, 0.0, upper), prior)
    surface = PredictedObjective(fitted, fitted.objective, prior, caution)
    return search(surface, region, prior, fitted.runs.weights[:3], "auto", num, 16, rng)[0].weights


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
    proposal = lowest(fitted, prior, upper, caution=0.5, rng=rng, num=200)
    assert abs(proposal.sum() - 1) < 1e-9
    assert (proposal >= 0).all()
    assert (proposal <= upper + 1e-9).all()


def test_caps_bind_and_epochs_are_told(folder, tmp_path):
    propose(folder / "fit", tmp_path / "o.yaml", folder / "domains.csv", budget=1_000_000, max_epochs=2, **QUICK)
    mixture = Mixture.read(tmp_path / "o.yaml")
    weights, extra = mixture.weights, mixture.extra
    assert extra["caps"] == pytest.approx({"code": 1.0, "law": 0.5, "news": 0.2, "poems": 0.1})
    assert weights["poems"] == pytest.approx(0.1, abs=1e-6)  # the free optimum takes more
    assert extra["epochs"]["poems"] == pytest.approx(2, abs=1e-4)
    assert extra["epochs"]["code"] == pytest.approx(weights["code"] / 0.6)
    assert max(extra["epochs"].values()) <= 2 + 1e-9
    assert not extra["baselines"]["uniform"]["feasible"]
    assert extra["baselines"]["prior"]["feasible"]


def test_a_domain_without_tokens_gets_no_weight_under_a_budget(folder, tmp_path):
    domains = write_catalogue(tmp_path / "domains.csv", np.array([10**6, 10**6, 0, 10**6]))
    propose(folder / "fit", tmp_path / "o.yaml", domains, budget=1_000_000, **QUICK)
    mixture = Mixture.read(tmp_path / "o.yaml")
    weights, extra = mixture.weights, mixture.extra
    assert weights["news"] == 0
    assert extra["epochs"]["news"] == 0


def test_a_budget_the_data_cannot_feed_says_what_it_can(folder, tmp_path):
    with pytest.raises(
        InputError, match=r"domains\.csv: 1,000,000 tokens at 4 epochs cannot fill 9,000,000.*4,000,000"
    ):
        propose(folder / "fit", tmp_path / "o.yaml", folder / "domains.csv", budget=9_000_000)
    assert not (tmp_path / "o.yaml").exists()


def test_wrong_settings_are_named(folder, tmp_path):
    out = tmp_path / "o.yaml"
    with pytest.raises(InputError, match="give --domains"):
        propose(folder / "fit", out, budget=1000)
    with pytest.raises(InputError, match="at least top, 300, is wanted"):
        propose(folder / "fit", out, num_candidates=200, top=300)
    with pytest.raises(InputError, match="num_candidates is 0; at least top, 128, is wanted"):
        propose(folder / "fit", tmp_path / "optimal.yaml", num_candidates=0)
    with pytest.raises(InputError, match="top is 1; 2 or more is wanted, since the single best draw is the luckiest"):
        propose(folder / "fit", tmp_path / "optimal.yaml", top=1)
    with pytest.raises(InputError, match="caution is -1"):
        propose(folder / "fit", out, caution=-1)
    (tmp_path / "domains.csv").write_text("domain,tokens\ncode,5\nlaw,5\nnews,5\nverse,5\n")
    with pytest.raises(InputError, match=r"domains\.csv: lacks poems and has the unknown verse"):
        propose(folder / "fit", out, tmp_path / "domains.csv")


def test_domains_meet_by_name_whatever_their_order(folder, tmp_path):
    header, *rows = (folder / "domains.csv").read_text().splitlines()
    (tmp_path / "domains.csv").write_text("\n".join([header, *reversed(rows)]) + "\n")
    for name, domains in (("a.yaml", folder / "domains.csv"), ("b.yaml", tmp_path / "domains.csv")):
        propose(folder / "fit", tmp_path / name, domains, budget=1_000_000, max_epochs=2, **QUICK)
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_the_file_says_what_was_asked_and_from_what(folder, tmp_path):
    Mixture(dict(zip(DOMAINS, [0.4, 0.3, 0.2, 0.1], strict=True))).write(tmp_path / "heuristic.yaml")
    propose(
        folder / "fit",
        tmp_path / "o.yaml",
        folder / "domains.csv",
        objective={"code": 3, "law": 1},
        heuristic=tmp_path / "heuristic.yaml",
        seed=3,
        **QUICK,
    )
    extra = Mixture.read(tmp_path / "o.yaml").extra
    assert extra["valid"] == {f"valid_{domain}": 1.0 for domain in DOMAINS}
    assert extra["objective"] == {TARGETS[0]: 0.75, TARGETS[1]: 0.25}
    assert list(extra["baselines"]) == ["prior", "heuristic", "uniform", "best_seen"]
    assert extra["regression"]["model"] == "gp"
    assert set(extra["regression"]["inputs"]) == {"mixtures", "losses"}
    assert extra["search"]["seed"] == 3
    assert "epochs" not in extra


def test_without_token_counts_the_mean_of_the_sweep_stands_for_the_prior(folder, tmp_path):
    propose(folder / "fit", tmp_path / "o.yaml", **QUICK)
    extra = Mixture.read(tmp_path / "o.yaml").extra
    assert list(extra["baselines"]) == ["sweep_mean", "uniform", "best_seen"]


def test_caution_keeps_a_proposal_nearer_to_the_runs(tmp_path):
    """A loss that falls along a direction no run explored far: without caution the search follows it out."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(PRIOR * 60, 32)
    losses = planted_losses(weights) + rng.normal(0, 0.02, (32, 4))
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", model="gp", num_repeats=1, workers=1)
    fitted = load_fit(tmp_path / "fit")

    def spread(caution):
        found = lowest(fitted, PRIOR, np.ones(4), caution, np.random.default_rng(0))
        return fitted.predict_objective(found[None], fitted.objective, noise=False)[1][0]

    assert spread(2.0) < 0.8 * spread(0.0)


def test_noise_gives_no_certain_gain(tmp_path):
    weights, _ = planted_runs(40)
    losses = np.random.default_rng(5).normal(3, 0.1, (40, 4))
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", model="gp", num_repeats=1, workers=1)
    propose(tmp_path / "fit", tmp_path / "o.yaml", **QUICK)
    extra = Mixture.read(tmp_path / "o.yaml").extra
    for name in ("sweep_mean", "uniform"):
        assert extra["baselines"][name]["gain"]["low"] < 0


@pytest.mark.parametrize("preset", [None, "regmix"])
def test_trees_are_searched_by_simulation_alone_and_stay_feasible(tmp_path, preset):
    fit(
        *write_runs(tmp_path, *planted_runs(60)),
        tmp_path / "fit",
        model="lightgbm",
        preset=preset,
        num_repeats=1,
        workers=1,
    )
    domains = write_catalogue(tmp_path / "domains.csv", (1e6 * PRIOR).astype(int))
    for name in ("a.yaml", "b.yaml"):
        propose(tmp_path / "fit", tmp_path / name, domains, budget=1_000_000, max_epochs=2, **QUICK)
    weights = Mixture.read(tmp_path / "a.yaml").weights
    assert weights["poems"] <= 0.1 + 1e-9
    assert (tmp_path / "a.yaml").read_bytes() == (tmp_path / "b.yaml").read_bytes()


def test_the_verdict_is_a_sentence_whatever_was_shown():
    assert verdict(["prior"], [], True) == "predicted to be better than the prior"
    assert verdict([], ["prior", "uniform"], True) == "not shown to be better than the prior and the uniform mixture"
    both = verdict(["prior"], ["uniform"], True)
    assert both == "predicted to be better than the prior; not shown to be better than the uniform mixture"
    assert verdict(["prior"], [], False).startswith("not better than any baseline")
