"""The next mixtures are worth training, and rounds of them end at a better optimum than they began with."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from planted import DOMAINS, PRIOR, TARGETS, planted_losses, planted_optimum, planted_runs, write_catalogue, write_runs

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from mixture_config.geometry.constraints import Constraints
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.tolerances import GRID_STEP
from proxymix.errors import InputError
from proxymix.tables import read_table
from regression.data.runs import Runs
from regression.fit import fit
from regression.models.fit_files import load_fit
from regression.models.fitted import FittedModel
from regression.propose import propose
from regression.search.feasible_set import FeasibleSet
from regression.search.next_runs import NextRuns
from regression.search.settings import SearchSettings
from regression.selection.model_choice import fit_runs

WHOLE = FeasibleSet(Limits(DOMAINS, 0.0, np.ones(4)), PRIOR)
MEAN = np.full(4, 0.25)


def fitted_to(weights: np.ndarray, losses: np.ndarray, model: str = "gp", objective: object = "mean") -> FittedModel:
    runs = Runs(list(range(1, len(weights) + 1)), DOMAINS, TARGETS, weights, losses)
    return fit_runs(runs, model, objective)


@pytest.fixture(scope="module")
def fitted() -> FittedModel:
    return fitted_to(*planted_runs(24))


def truth(X: np.ndarray) -> np.ndarray:
    """The mean loss without noise."""
    return planted_losses(X).mean(axis=1)


def apart(X: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Total variation of every row of X from every one of the others."""
    return 0.5 * np.abs(X[:, None] - others[None]).sum(axis=2)


@pytest.mark.parametrize("acquisition", ["improvement", "climb"])
def test_rounds_approach_the_planted_optimum(acquisition):
    weights, losses = planted_runs(16, seed=3, noise=0.02)
    best = truth(planted_optimum(MEAN)[None])[0]
    gain = truth(PRIOR[None])[0] - best
    missed, tried = [], []
    for number in range(3):
        round_fit = fitted_to(weights, losses)
        missed.append((truth(NextRuns(round_fit, round_fit.objective, WHOLE).lowest[None])[0] - best) / gain)
        X = NextRuns(round_fit, round_fit.objective, WHOLE).mixtures(12, np.random.default_rng(number), acquisition)
        noise = np.random.default_rng([4, number]).normal(0, 0.02, (12, 4))
        weights, losses = np.vstack([weights, X]), np.vstack([losses, planted_losses(X) + noise])
        tried.append(np.mean((truth(X) - best) / gain))
    assert missed[2] < 0.05 and missed[2] <= missed[0]
    assert tried[0] < np.mean((truth(planted_runs(16, seed=3)[0]) - best) / gain)


@settings(max_examples=10, deadline=None)
@given(
    caps=st.lists(st.floats(0.2, 1.0), min_size=4, max_size=4).filter(lambda caps: sum(caps) > 1.1),
    floor=st.sampled_from([0.0, 0.03]),
    reach=st.sampled_from([None, 0.3, 0.6]),
    num=st.integers(1, 20),
    acquisition=st.sampled_from(["improvement", "climb"]),
)
def test_next_mixtures_are_allowed_different_and_new(fitted, caps, floor, reach, num, acquisition):
    limits = Limits(DOMAINS, floor, np.array(caps))
    feasible = FeasibleSet(limits, PRIOR, None if reach is None else reach + 0.6)
    X = NextRuns(fitted, fitted.objective, feasible).mixtures(num, np.random.default_rng(0), acquisition)
    assert X.shape == (num, 4)
    assert np.abs(X.sum(axis=1) - 1).max() < 1e-9
    assert feasible.holds(X).all()
    assert apart(X, fitted.runs.weights).min() >= GRID_STEP
    assert (apart(X, X) + np.eye(num)).min() >= GRID_STEP
    assert not ((X > 0) & (X < GRID_STEP / 2)).any(), "weights too small to train"


def test_a_number_of_domains_and_a_distance_are_kept(fitted):
    feasible = FeasibleSet(Limits(DOMAINS, 0.0, np.ones(4)), PRIOR, 0.5, 3)
    X = NextRuns(fitted, fitted.objective, feasible).mixtures(12, np.random.default_rng(0))
    assert feasible.holds(X).all()
    assert ((X > 0).sum(axis=1) <= 3).all() and (0.5 * np.abs(X - PRIOR).sum(axis=1) <= 0.5 + 1e-9).all()


def test_limits_that_hold_too_few_mixtures_say_so(fitted):
    fixed = FeasibleSet(Limits(DOMAINS, np.array([0.4, 0.3, 0.2, 0.1]), np.array([0.4, 0.3, 0.2, 0.1])), PRIOR)
    with pytest.raises(InputError, match=r"num_next is 2.*limits"):
        NextRuns(fitted, fitted.objective, fixed).mixtures(2, np.random.default_rng(0))
    with pytest.raises(InputError, match="num_next is 0"):
        NextRuns(fitted, fitted.objective, WHOLE).mixtures(0, np.random.default_rng(0))


def test_a_narrow_region_is_filled_with_what_it_holds(fitted):
    low = np.array([0.395, 0.295, 0.19, 0.09])
    narrow = FeasibleSet(Limits(DOMAINS, low, low + 0.01), PRIOR)
    X = NextRuns(fitted, fitted.objective, narrow).mixtures(8, np.random.default_rng(0))
    assert narrow.holds(X).all() and (apart(X, X) + np.eye(8)).min() >= GRID_STEP


def test_mixtures_over_a_ceiling_come_last():
    weights, losses = planted_runs(32)
    fit_ = fitted_to(weights, losses, objective={"minimise": "poems", "max_increase": {"code": 0.02}})
    X = NextRuns(fit_, fit_.objective, WHOLE).mixtures(8, np.random.default_rng(0))
    rise = planted_losses(X)[:, 0] / planted_losses(PRIOR)[:, 0] - 1
    assert (rise < 0.03).all()


@pytest.mark.slow
def test_trees_are_asked_by_bootstrap():
    """How unsure trees are is how far refits to bootstrap samples differ, and that decides what is worth training."""
    fit_ = fitted_to(*planted_runs(32), model="lightgbm_small")
    X = NextRuns(fit_, fit_.objective, WHOLE).mixtures(6, np.random.default_rng(0))
    expected = NextRuns(fit_, fit_.objective, WHOLE).expectation(X)
    samples = fit_.posterior_samples(12, np.random.default_rng(0))
    spread = np.std([sample.mean_objective(X, fit_.objective) for sample in samples], axis=0)
    np.testing.assert_allclose(expected.std, np.maximum(spread, 1e-12))
    assert len(X) == 6 and (expected.std > 1e-3).all() and (expected.improvement > 0).all()


def test_the_expected_improvement_is_the_mean_of_what_draws_improve(fitted):
    """200,000 draws of the objective at each mixture, against the lowest prediction."""
    best = NextRuns(fitted, fitted.objective, WHOLE).lowest
    X = np.vstack([best, 0.9 * best + 0.1 * PRIOR, 0.5 * best + 0.5 * PRIOR])
    expected = NextRuns(fitted, fitted.objective, WHOLE).expectation(X)
    at_best = fitted.mean_objective(best[None], fitted.objective)[0]
    draws = expected.predicted + expected.std * np.random.default_rng(0).standard_normal((200_000, 1))
    improved = np.maximum(at_best - draws, 0.0).mean(axis=0)
    np.testing.assert_allclose(expected.improvement, improved, rtol=0.03, atol=1e-5)
    np.testing.assert_allclose(expected.predicted, fitted.mean_objective(X, fitted.objective))


def test_where_nothing_is_unsure_no_improvement_is_expected(fitted):
    """Nothing is expected of a mixture that is surely worse, and of the lowest itself only what is unsure about it."""
    best = NextRuns(fitted, fitted.objective, WHOLE).lowest
    expected = NextRuns(fitted, fitted.objective, WHOLE).expectation(np.vstack([best, [0.97, 0.01, 0.01, 0.01]]))
    assert expected.improvement[1] < 1e-3 * expected.improvement[0]
    assert expected.improvement[0] == pytest.approx(expected.std[0] / np.sqrt(2 * np.pi))


def test_the_same_seed_chooses_the_same_mixtures(fitted):
    first, again, other = (
        NextRuns(fitted, fitted.objective, WHOLE).mixtures(8, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again) and not np.array_equal(first, other)


QUICK = {
    "search": SearchSettings(num_candidates=2000, num_averaged=32),
    "num_curves": 4,
    "num_splits": 0,
    "workers": 1,
}


def test_propose_writes_a_sweep_that_continues_the_runs(tmp_path):
    fit(*write_runs(tmp_path, *planted_runs(24)), tmp_path / "fit", model="gp", num_repeats=1, workers=1)
    domains = write_catalogue(tmp_path / "domains.csv", (1e6 * PRIOR).astype(int))
    caps = Constraints(budget=1_000_000, max_epochs=3.0)
    propose(tmp_path / "fit", tmp_path / "o.yaml", domains, caps, num_next=5, **QUICK)
    table = MixtureTable.read(tmp_path / "next" / "mixtures.csv")
    assert table.index == [25, 26, 27, 28, 29] and table.domains == DOMAINS
    assert (table.weights <= 3 * PRIOR + 1e-9).all()
    for row, key in enumerate(table.index):
        mixture = Mixture.read(tmp_path / "next" / "mixtures" / f"n{key:05d}.yaml")
        weights, extra = mixture.weights, mixture.extra
        assert list(weights.values()) == table.weights[row].tolist()
        assert extra["expected"]["improvement"] >= 0 and extra["pick"] == "improvement"
    before = (tmp_path / "next" / "mixtures.csv").read_bytes()
    propose(tmp_path / "fit", tmp_path / "o.yaml", domains, caps, num_next=5, **QUICK)
    assert (tmp_path / "next" / "mixtures.csv").read_bytes() == before
    runs = load_fit(tmp_path / "fit").runs
    assert apart(table.weights, runs.weights).min() >= GRID_STEP


def test_mixtures_of_another_sweep_are_not_overwritten(tmp_path):
    fit(*write_runs(tmp_path, *planted_runs(24)), tmp_path / "fit", model="gp", num_repeats=1, workers=1)
    (tmp_path / "sweep" / "mixtures").mkdir(parents=True)
    (tmp_path / "sweep" / "mixtures" / "n00001.yaml").write_text("train: {train_code: 1.0}\n")
    with pytest.raises(InputError, match=r"holds n00001\.yaml.*--next_out"):
        propose(tmp_path / "fit", tmp_path / "o.yaml", num_next=5, next_out=tmp_path / "sweep", **QUICK)
    assert not (tmp_path / "o.yaml").exists()
    assert [p.name for p in (tmp_path / "sweep" / "mixtures").iterdir()] == ["n00001.yaml"]


STUDY = """
seed: 7
budget: 30_000
wandb: disabled
workers: 2
objective: mean
tokenize: {vocab_size: 320, tokenizer_megabytes: 1.0}
synthesize: {num_mixtures: 8}
rounds: {num_rounds: 3, num_mixtures: 3}
train: {model: 50k, sequence_length: 16, tokens: 2048, batch_size: 8, valid_tokens: 128, evaluations: 2}
fit: {model: gp, num_folds: 4, num_repeats: 1}
propose: {num_candidates: 1000, num_curves: 4, num_splits: 0, limits: {law: {min: 0.1}}}
confirm: {num_seeds: 2}
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> list[str]:
    """The study's command line, on three domains of made-up text."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = {"law": "shall warrant party", "code": "def return self (x)", "poems": "rose moon thou art"}
    for (domain, vocabulary), size in zip(words.items(), (150, 400, 60), strict=True):
        for split, count in (("train", size), ("valid", 40)):
            path = folder / split / (f"{domain}_0.jsonl" if split == "train" else f"{domain}.jsonl")
            path.parent.mkdir(exist_ok=True)
            lines = [json.dumps({"text": " ".join(rng.choice(vocabulary.split(), 30))}) for _ in range(count)]
            path.write_text("\n".join(lines) + "\n")
    config = folder.parent / f"{folder.name}.yaml"
    config.write_text(STUDY)
    return [sys.executable, "-m", "proxymix", "run", "--config", str(config), "--corpus.path", str(folder)]


@pytest.fixture(scope="module")
def finished(command, tmp_path_factory) -> Path:
    """A study that nothing disturbed."""
    study = tmp_path_factory.mktemp("studies") / "undisturbed"
    done = subprocess.run([*command, "--study", str(study)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return study


def contents(study: Path) -> dict[str, str]:
    files = [path for path in sorted(study.rglob("*")) if path.is_file()]
    named = {path.relative_to(study): path for path in files}
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in named.items()
        if not any(part == "wandb" or part.startswith(".") for part in name.parts)
    }


@pytest.mark.slow
def test_an_iterative_study_trains_its_rounds_and_answers_from_all_runs(finished):
    rounds = read_table(finished / "rounds" / "rounds.csv")
    assert rounds["index"].tolist() == [9, 10, 11, 12, 13, 14] and rounds["round"].tolist() == [2, 2, 2, 3, 3, 3]
    assert (rounds["improvement"] >= 0).all()
    table, losses = (read_table(finished / "rounds" / name) for name in ("mixtures.csv", "losses.csv"))
    assert table["index"].tolist() == losses["index"].tolist() == list(range(1, 15))
    assert rounds["measured"].tolist() == pytest.approx(losses.iloc[8:, 1:].mean(axis=1).tolist())
    assert (table["train_law"][8:] >= 0.1 - 1e-9).all(), "the rounds keep to the proposal's limits"
    sweep = read_table(finished / "mixtures.csv")
    assert sweep["index"].tolist() == list(range(1, 9)) and table.iloc[:8].equals(sweep)
    fitted = json.loads((finished / "regression" / "fit.json").read_text())
    assert fitted["num_runs"] == 14
    optimum = yaml.safe_load((finished / "optimal_mixture.yaml").read_text())
    assert optimum["regression"]["num_runs"] == 14


@pytest.mark.slow
def test_its_status_counts_the_rounds_and_knows_what_a_change_touches(finished, command, capsys):
    from proxymix.app.cli import main

    assert main(["status", str(finished)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert lines["rounds"] == "done     6 of 6 runs" and lines["sweep"] == "done     8 of 8 runs"
    assert all(state.startswith("done") for state in lines.values())
    fewer, none = (
        subprocess.run([*command, "--study", str(finished), *flags, "--dry_run"], capture_output=True, text=True).stderr
        for flags in (["--rounds.num_rounds", "2"], ["--rounds.num_rounds", "1"])
    )
    assert re.search(r"collect +done", fewer) and re.search(r"rounds +stale", fewer)
    assert re.search(r"sweep +done", none) and re.search(r"fit +stale", none) and not re.search("^rounds", none, re.M)


@pytest.mark.slow
def test_rounds_killed_in_the_second_one_end_with_the_same_bytes(finished, command, tmp_path):
    study = tmp_path / "killed"
    run = [*command, "--study", str(study)]
    with subprocess.Popen(run, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as job:
        deadline = time.monotonic() + 120
        while not list(study.glob("rounds/proxies/*/manifest.yaml")) and job.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert job.poll() is None, "the study ended before its second round"
        os.kill(job.pid, signal.SIGKILL)
    assert not (study / "rounds" / "mixtures.csv").exists()
    done = subprocess.run([*command[:3], "rounds", "--study", str(study)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "the best of all 14 is" in done.stderr and f"Next: proxymix fit --study {study}" in done.stderr
    assert contents(study / "rounds") == contents(finished / "rounds")
