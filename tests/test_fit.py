"""Fits are judged on held-out runs, say how uncertain they are, and come back from disk as they were."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from planted import DOMAINS, TARGETS, planted_losses, planted_runs, write_runs
from scipy.stats import chi2

from proxymix.errors import InputError
from proxymix.tables import read_table
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.fit import fit
from regression.models import fit_files
from regression.models.averaged_gp import GP
from regression.models.fit_files import load_fit
from regression.models.gaussian_process import RootGP, RootLogGP
from regression.models.hyperparameters import negative_log_posterior, prior
from regression.models.registry import REGRESSORS, make_regressor
from regression.models.trees import LightGBM
from regression.predict import predict
from regression.selection.cross_validation import split
from regression.selection.learning_curve import Point, learning_curve, num_more, sentence
from regression.selection.metrics import OBJECTIVE, measures, spearman, spearman_of_columns, spearman_of_rows
from regression.selection.model_choice import choose, fit_runs
from regression.selection.repeats import best_runs, same_mixtures
from regression.selection.summary import say_fit, say_next

SWEEPS = Path(os.environ.get("PROXYMIX_SWEEPS", Path(__file__).parent.parent.parent / "shared" / "data"))
ONE = {"num_repeats": 1, "workers": 1}


@pytest.fixture(scope="module")
def fitted_folder(tmp_path_factory):
    """A fit of 40 planted runs with every model tried."""
    folder = tmp_path_factory.mktemp("planted")
    fit(*write_runs(folder, *planted_runs(40)), folder / "fit", num_repeats=2, workers=1)
    return folder / "fit"


def scores_of(folder: Path, target: str = "objective") -> dict[str, dict]:
    table = read_table(folder / "scores.csv")
    return {row["model"]: row for row in table[table["target"] == target].to_dict("records")}


def test_a_planted_law_is_learnt_far_better_than_by_its_mean(fitted_folder):
    fitted = load_fit(fitted_folder)
    around_prior, _ = planted_runs(200, seed=7)
    anywhere = np.random.default_rng(7).dirichlet(np.ones(4), 200)
    for weights, most in ((around_prior, 0.2), (anywhere, 0.35)):
        truth = planted_losses(weights)
        error = np.sqrt(np.mean((fitted.predict(weights)[0] - truth) ** 2, axis=0))
        assert (error < most * truth.std(axis=0)).all()


def test_auto_prefers_the_process_that_bends_to_a_line_on_a_law_that_bends(fitted_folder):
    scores = scores_of(fitted_folder)
    chosen = scores[load_fit(fitted_folder).model]
    assert "mean" in scores
    assert chosen["spearman"] > 0.95
    assert chosen["rmse"] < 0.3 * scores["mean"]["rmse"]
    table = read_table(fitted_folder / "scores.csv")
    assert set(REGRESSORS) <= set(table["model"])  # those far behind on a few targets are out, and shown there
    by_model = table[table["target"] == "metric/poems_val_loss"].set_index("model")["spearman"]
    assert by_model["gp"] > by_model["linear"]


def test_a_model_that_cannot_rank_scores_zero_and_never_nan(fitted_folder):
    table = read_table(fitted_folder / "scores.csv")
    assert table.select_dtypes("number").notna().all().all()
    assert scores_of(fitted_folder)["mean"]["spearman"] == 0
    assert (
        scores_of(fitted_folder, "metric/poems_val_loss")["lightgbm"]["spearman"] == 0
    )  # a leaf of 20 does not split 32


def test_held_out_predictions_are_those_of_models_that_never_saw_the_run(tmp_path):
    """Losses shuffled over the runs: a model that saw its own runs would rank them anyway."""
    weights, losses = planted_runs(40)
    losses = np.random.default_rng(3).permutation(losses)
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", model="gp", **ONE)
    assert abs(scores_of(tmp_path / "fit")["gp"]["spearman"]) < 0.4
    table = read_table(tmp_path / "fit" / "predictions.csv")
    own = table[table["target"] == TARGETS[0]]
    assert own["std"].mean() > 0.7 * losses[:, 0].std()


def test_intervals_hold_what_they_promise_and_are_as_wide_as_the_errors():
    """90% intervals of runs that were not fitted, over six sweeps: of every loss, and of their mean."""
    inside, of_objective, ratios = [], [], []
    for seed in range(6):
        weights, losses = planted_runs(40, seed)
        fitted = fit_runs(Runs(list(range(40)), DOMAINS, TARGETS, weights, losses), "gp", "mean", seed)
        new, measured = planted_runs(200, seed + 11)
        mean, std = fitted.predict(new)
        inside.append(np.mean(np.abs(measured - mean) < 1.645 * std))
        ratios.append(np.sqrt(np.mean((measured - mean) ** 2) / np.mean(std**2)))
        objective, objective_std = fitted.predict_objective(new, fitted.objective)
        np.testing.assert_allclose(objective, mean.mean(axis=1))
        of_objective.append(np.mean(np.abs(measured.mean(axis=1) - objective) < 1.645 * objective_std))
    assert 0.85 < np.mean(inside) < 0.95
    assert 0.85 < np.mean(of_objective) < 0.95
    assert 0.8 < np.mean(ratios) < 1.25


def test_errors_that_targets_share_do_not_average_out(tmp_path):
    weights, losses = planted_runs(32)
    losses[:, 1] = losses[:, 0] - 1
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", targets=["code", "law"], model="gp", **ONE)
    fitted = load_fit(tmp_path / "fit")
    _, one = fitted.predict_objective(weights, fitted.objective_of("code"))
    _, both = fitted.predict_objective(weights, fitted.objective)
    np.testing.assert_allclose(both, one, rtol=1e-3)


def test_a_mixture_gains_nothing_over_itself(fitted_folder):
    fitted = load_fit(fitted_folder)
    gain, std = fitted.gains(fitted.runs.weights[:3], fitted.runs.weights[1], fitted.objective)
    assert gain[1] == pytest.approx(0, abs=1e-12)
    assert std[1] == pytest.approx(0, abs=1e-6)
    assert (std[[0, 2]] > 1e-3).all()
    mean = fitted.mean_objective(fitted.runs.weights[:3], fitted.objective)
    np.testing.assert_allclose(gain, mean - mean[1], atol=1e-9)


@pytest.mark.parametrize("model", REGRESSORS)
def test_a_fit_comes_back_from_disk_as_it_was(tmp_path, model):
    weights, losses = planted_runs(48)
    mixtures, measured = write_runs(tmp_path, weights, losses)
    fit(mixtures, measured, tmp_path / "fit", targets=["code", "poems"], model=model, **ONE)
    runs = read_runs(mixtures, measured, ["code", "poems"])
    new = np.random.default_rng(1).dirichlet(np.ones(4), 30)
    expected = np.column_stack([make_regressor(model).fit(runs.weights, y).predict(new) for y in runs.losses.T])
    mean, std = load_fit(tmp_path / "fit").predict(new)
    np.testing.assert_allclose(mean, expected, atol=1e-9, rtol=0)
    assert (std > 0).all()


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes_in_one_process_or_two(tmp_path):
    files = write_runs(tmp_path, *planted_runs(24))
    for workers in (1, 2):
        fit(*files, tmp_path / f"fit{workers}", model="gp", num_repeats=1, workers=workers)
    written = sorted(path.name for path in (tmp_path / "fit1").iterdir())
    assert written == [
        "effects.csv",
        "fit.json",
        "learning_curve.csv",
        "models.json",
        "predictions.csv",
        "runs.csv",
        "scores.csv",
    ]
    for name in written:
        assert (tmp_path / "fit1" / name).read_bytes() == (tmp_path / "fit2" / name).read_bytes()


def test_other_files_in_the_folder_survive_a_fit(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    fit(*write_runs(tmp_path, *planted_runs(16)), tmp_path, model="linear", **ONE)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_an_unfinished_or_edited_fit_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no finished fit; run `proxymix fit`"):
        load_fit(tmp_path)
    fit(*write_runs(tmp_path, *planted_runs(16)), tmp_path / "fit", model="linear", **ONE)
    runs = tmp_path / "fit" / "runs.csv"
    runs.write_text(runs.read_text().replace("0.", "1.", 1))
    with pytest.raises(InputError, match=r"runs\.csv: not as `proxymix fit` wrote it"):
        load_fit(tmp_path / "fit")
    (tmp_path / "fit" / "runs.csv").unlink()
    with pytest.raises(InputError, match=r"runs\.csv: not as `proxymix fit` wrote it"):
        load_fit(tmp_path / "fit")


def test_a_fit_that_is_killed_leaves_no_finished_one(tmp_path, monkeypatch):
    files = write_runs(tmp_path, *planted_runs(16))
    fit(*files, tmp_path / "fit", model="linear", **ONE)
    monkeypatch.setattr(fit_files, "write_json", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        fit(*files, tmp_path / "fit", model="lightgbm_small", **ONE)
    with pytest.raises(InputError, match="no finished fit"):
        load_fit(tmp_path / "fit")


def test_the_record_names_inputs_model_and_objective(fitted_folder):
    content = json.loads((fitted_folder / "fit.json").read_text())
    assert content["model"] == "gp"
    assert content["objective"] == "mean"
    assert content["domains"] == DOMAINS
    assert set(content["inputs"]) == {"mixtures", "losses"}
    assert all(len(digest) == 64 for digest in content["inputs"].values())


def test_predictions_are_written_per_target_with_their_spread(tmp_path, fitted_folder):
    weights, _ = planted_runs(5, seed=2)
    mixtures, _ = write_runs(tmp_path, weights[:, ::1], planted_losses(weights))
    predict(fitted_folder, mixtures, tmp_path / "predictions.csv")
    table = read_table(tmp_path / "predictions.csv")
    assert list(table.columns)[:3] == ["index", TARGETS[0], f"{TARGETS[0]}_std"]
    mean, std = load_fit(fitted_folder).predict(weights)
    np.testing.assert_allclose(table[TARGETS], mean, atol=1e-9)
    np.testing.assert_allclose(table[[f"{t}_std" for t in TARGETS]], std, atol=1e-9)


def test_mixtures_of_other_domains_are_not_predicted(tmp_path, fitted_folder):
    (tmp_path / "other.csv").write_text("index,train_code,train_law,train_news,train_verse\n1,0.25,0.25,0.25,0.25\n")
    with pytest.raises(InputError, match=r"other\.csv: lacks poems and has the unknown verse"):
        predict(fitted_folder, tmp_path / "other.csv", tmp_path / "out.csv")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "gpp"}, "model: no 'gpp'; nearest: gp"),
        ({"preset": "regmix", "model": "gp"}, "preset regmix is LightGBM"),
        ({"num_folds": 1}, "num_folds is 1"),
        ({"num_repeats": 0}, "num_repeats is 0"),
        ({"objective": "lwa"}, "no target 'lwa'; nearest: law"),
        ({"targets": ["nwes"]}, r"losses\.csv: no target 'nwes'; nearest: news"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        fit(*write_runs(tmp_path, *planted_runs(16)), tmp_path / "fit", **change)


def test_runs_that_teach_nothing_are_refused(tmp_path):
    weights, losses = planted_runs(16)
    flat = losses.copy()
    flat[:, 1] = 3.0
    for rows, message in (
        ((weights[:5], losses[:5]), "5 runs; a fit needs at least 8"),
        ((weights, flat), "metric/law_val_loss is 3 for all 16 runs"),
        ((np.tile(weights[0], (16, 1)), losses), "all 16 runs have one and the same mixture"),
    ):
        with pytest.raises(InputError, match=message):
            fit(*write_runs(tmp_path, *rows), tmp_path / "fit", **ONE)


def test_the_regmix_preset_is_lightgbm_with_a_thousand_rounds(tmp_path):
    fit(*write_runs(tmp_path, *planted_runs(60)), tmp_path / "fit", targets=["code"], preset="regmix", **ONE)
    fitted = load_fit(tmp_path / "fit")
    assert (fitted.model, fitted.preset) == ("lightgbm", "regmix")
    assert fitted.regressors[0].booster_.current_iteration() == 1000


def test_lightgbm_stops_early_on_a_validation_split():
    weights, losses = planted_runs(120)
    held = (weights[80:], losses[80:, 0] * 0 + losses[:80, 0].mean())  # nothing to learn for the validation split
    assert LightGBM().fit(weights[:80], losses[:80, 0], validation=held).booster_.current_iteration() < 20


@pytest.mark.parametrize("kind", [RootGP, RootLogGP])
def test_the_gradient_of_the_likelihood_is_exact(kind):
    from scipy.optimize import approx_fprime

    weights, losses = planted_runs(20)
    process = kind().fit(weights, losses[:, 0])
    mean, _ = prior(process.Z_.shape[1])
    for seed in range(3):
        theta = mean + np.random.default_rng(seed).normal(0, 0.7, len(mean))
        _, gradient = negative_log_posterior(theta, process.Z_, process.y_)
        numeric = approx_fprime(theta, lambda t: negative_log_posterior(t, process.Z_, process.y_)[0], 1e-6)
        np.testing.assert_allclose(gradient, numeric, rtol=1e-3, atol=1e-3)


def test_folds_are_equal_and_drawn_anew():
    folds = split(np.arange(11), num_folds=3, num_repeats=2, seed=0)
    assert [np.bincount(row).tolist() for row in folds] == [[4, 4, 3], [4, 4, 3]]
    assert (folds[0] != folds[1]).any()
    np.testing.assert_array_equal(folds, split(np.arange(11), 3, 2, seed=0))


def test_runs_of_one_mixture_are_in_one_fold_and_give_the_noise_floor(tmp_path):
    weights, losses = planted_runs(30, noise=0.0)
    weights, losses = np.vstack([weights, weights[:6], weights[:6]]), np.vstack([losses] + 2 * [losses[:6]])
    losses = losses + np.random.default_rng(1).normal(0, 0.02, losses.shape)
    same = same_mixtures(weights)
    np.testing.assert_array_equal(same, [*range(30), *range(6), *range(6)])
    for fold_of in split(same, 5, 3, seed=0):
        np.testing.assert_array_equal(fold_of[:6], fold_of[30:36])
        np.testing.assert_array_equal(fold_of[:6], fold_of[36:])
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", model="linear", **ONE)
    table = read_table(tmp_path / "fit" / "scores.csv")
    floor = table[(table["model"] == "noise floor") & (table["target"] != "objective")]
    assert 0.014 < floor["rmse"].mean() < 0.026


def test_the_noise_floor_of_every_target_is_that_of_its_own_seeds(tmp_path, capsys):
    """Over k repeats, k (floor / noise)^2 is a chi-square of k degrees of freedom; 99.9% of them lie in these bounds."""
    weights, losses = planted_runs(30, noise=0.0)
    weights, losses = np.vstack([weights, *[weights[:4]] * 5]), np.vstack([losses, *[losses[:4]] * 5])
    noise = np.array([0.04, 0.005, 0.02, 0.01])
    losses = losses + np.random.default_rng(3).normal(size=losses.shape) * noise
    fit(*write_runs(tmp_path, weights, losses), tmp_path / "fit", model="linear", **ONE)
    table = read_table(tmp_path / "fit" / "scores.csv")
    floor = table[table["model"] == "noise floor"].set_index("target")["rmse"]
    assert list(floor.index) == ["objective", *TARGETS]
    low, high = noise * np.sqrt(chi2.ppf([[0.0005], [0.9995]], 20) / 20)
    assert ((low < floor[TARGETS]) & (floor[TARGETS] < high)).all()
    mean = np.sqrt((noise**2).sum()) / 4
    assert mean * low[0] / noise[0] < floor["objective"] < mean * high[0] / noise[0]
    said = next(line for line in capsys.readouterr().err.splitlines() if "Noise over seeds" in line)
    assert "from 20 repeats" in said and all(
        f"{domain} {floor[t]:.4g} (" in said for domain, t in zip(DOMAINS, TARGETS, strict=True)
    )
    parts = list(map(int, re.findall(r"\((\d+)%\)", said)))
    assert parts == sorted(parts, reverse=True)


def test_the_best_runs_name_a_repeated_mixture_once():
    weights = np.array([[0.5, 0.5], [0.2, 0.8], [0.5, 0.5], [0.9, 0.1]])
    runs = Runs([1, 2, 3, 4], ["a", "b"], ["loss"], weights, np.array([[2.0], [3.0], [1.0], [1.5]]))
    assert best_runs(runs, Objective.of("mean", runs.targets, runs.losses)).tolist() == [2, 3, 1]


def test_spearmans_of_pairs_of_rows_and_of_columns_are_one():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    A, B = rng.integers(0, 8, (30, 3)), rng.normal(size=(30, 2))  # with ties
    for a, column in zip(A.T, spearman_of_columns(A, B), strict=True):
        expected = [spearmanr(a, b).statistic for b in B.T]
        np.testing.assert_allclose([spearman(a, b) for b in B.T], expected)
        np.testing.assert_allclose(spearman_of_rows(np.tile(a, (2, 1)), B.T), expected)
        np.testing.assert_allclose(column, expected)
    still = np.ones(30)
    assert spearman(still, B[:, 0]) == 0 == spearman_of_rows(still[None], B.T[:1])[0]
    assert np.isnan(spearman_of_columns(still[:, None], B)).all()


def test_regret_is_what_the_pick_of_a_fold_loses():
    y = np.array([1.0, 2.0, 3.0, 1.0, 5.0, 9.0])
    predicted = np.array([2.0, 1.0, 3.0, 0.0, 1.0, 2.0])  # picks the 2 (regret 1), then the 1 (regret 0)
    folds = np.array([0, 0, 0, 1, 1, 1])
    assert measures(y, predicted, folds)[3] == pytest.approx(0.5)
    assert measures(y, np.zeros(6), folds)[3] == pytest.approx((1 + 4) / 2)  # ties: the fold's mean


def test_models_that_rank_alike_are_told_apart_by_regret():
    def row(model, spearman, regret):
        return {"model": model, "target": "objective", "spearman": spearman, "regret": regret}

    rows = [row("gp", 0.9505, 0.3), row("ensemble", 0.95, 0.1), row("lightgbm", 0.9, 0.0)]
    names = ["gp", "ensemble", "lightgbm"]
    assert choose(rows, names, 1000) == "ensemble"
    rows[1] = row("ensemble", 0.93, 0.1)
    assert choose(rows, names, 1000) == "gp"


@pytest.mark.parametrize(("num_runs", "chosen"), [(30, "gp"), (1000, "lightgbm")])
def test_trees_are_chosen_only_where_they_are_better_by_more_than_chance(num_runs, chosen):
    """No curves can be drawn of trees, so little is known of their optimum."""
    scores = {"gp": 0.92, "lightgbm": 0.93}
    rows = [{"model": m, "target": "objective", "spearman": s, "regret": 0.0} for m, s in scores.items()]
    assert choose(rows, list(scores), num_runs) == chosen


@pytest.mark.skipif(not (SWEEPS / "regmix").exists(), reason="the published sweeps are not here")
def test_64_of_regmix_runs_rank_its_test_runs():
    from scipy.stats import spearmanr

    column = "metric/the_pile_pile_cc_val_loss"
    train, test = (
        read_runs(SWEEPS / f"regmix/{s}_mixture_1m.csv", SWEEPS / f"regmix/{s}_pile_loss_1m.csv", [column])
        for s in ("train", "test")
    )
    assert isinstance(train, Runs)
    correlations = []
    for seed in range(3):
        rows = np.random.default_rng(1000 + seed).permutation(512)[:64]
        process = GP().fit(train.weights[rows], train.losses[rows, 0])
        correlations.append(spearmanr(process.predict(test.weights), test.losses[:, 0]).statistic)
    assert np.mean(correlations) > 0.97


def test_a_model_that_does_not_exist_is_answered_with_all_that_do(tmp_path):
    with pytest.raises(InputError) as error:
        fit(*write_runs(tmp_path, *planted_runs(16)), tmp_path / "fit", model="?")
    listed = {line.split()[0] for line in str(error.value).splitlines()[1:]}
    assert listed == {*REGRESSORS, "auto", "ensemble"}


def test_scores_of_large_losses_stay_in_their_columns(tmp_path, capsys):
    weights, losses = planted_runs(24)
    fit(*write_runs(tmp_path, weights, 1e9 * losses), tmp_path / "fit", model="linear", **ONE)
    row = next(line for line in capsys.readouterr().err.splitlines() if "predict the mean" in line)
    assert len(row.split()) == 9  # predict the mean 0.000 +- 0.000 error regret recall, none run into another


def score_row(spearman, rmse, regret):
    return {
        "target": OBJECTIVE,
        "spearman": spearman,
        "spearman_sd": 0.0,
        "rmse": rmse,
        "regret": regret,
        "recall": 1.0,
    }


def test_the_table_of_models_says_what_was_dropped_what_is_far_off_and_why_the_first_is_not_chosen(tmp_path, capsys):
    found = fit(*write_runs(tmp_path, *planted_runs(24)), tmp_path / "fit", model="gp", **ONE)
    of_objective = {"gp": (0.95, 0.1, 0.0), "power": (0.97, 575.0, 0.01), "mean": (0.0, 0.5, 0.3)}
    scores = [{"model": name, **score_row(*values)} for name, values in of_objective.items()]
    scores += [{"model": "linear", "target": target, "spearman": 0.99} for target in TARGETS[:3]]
    capsys.readouterr()
    say_fit(replace(found, tables={**found.tables, "scores": scores}))
    said = capsys.readouterr().err.splitlines()
    assert said[0].startswith("Chosen: gp, Spearman 0.950")
    lines = {line.split()[0]: line for line in reversed(said) if line.strip()}
    assert "<- chosen" in lines["gp"] and "far off" not in lines["gp"] and "far off" in lines["power"]
    assert "linear" not in lines, "its number is of other targets, and does not stand among the others"
    assert any("Dropped after 3 of 4 targets" in line and "linear" in line for line in said)
    assert any("power ranks" in line and "laws are not taken alone" in line for line in said)


@pytest.mark.parametrize("in_study", [True, False])
def test_fit_ends_with_where_it_is_and_the_commands_that_come_next(tmp_path, capsys, in_study):
    if in_study:
        (tmp_path / "study.yaml").write_text("{}")
    found = fit(*write_runs(tmp_path, *planted_runs(24)), tmp_path / "regression", model="linear", **ONE)
    curve = [Point(num, 0, rank, 0.1) for num, rank in ((6, 0.5), (12, 0.7), (18, 0.78))]
    assert num_more(curve, 24) == 24 and "24 more are worth training" in sentence(curve, 24, "nats/token")
    capsys.readouterr()
    say_next(replace(found, curve=curve), tmp_path / "regression")
    said = capsys.readouterr().err
    assert f"Written: {tmp_path / 'regression'}" in said
    if in_study:
        assert f"proxymix run --study {tmp_path} --synthesize.num_mixtures 48" in said
        assert f"Next: proxymix propose --study {tmp_path}\n" in said
    else:
        assert f"proxymix propose --fit {tmp_path / 'regression'} --num_next 24 --out" in said


def test_predict_names_the_lowest_mixture_and_its_file(tmp_path, capsys):
    mixtures, losses = write_runs(tmp_path, *planted_runs(24))
    found = fit(mixtures, losses, tmp_path / "fit", model="linear", **ONE)
    predict(tmp_path / "fit", mixtures, tmp_path / "p.csv")
    said = capsys.readouterr().err
    value, _ = found.fitted.predict_objective(found.fitted.runs.weights, found.fitted.objective)
    assert f"{value.min():.4f}" in said and f"at {found.fitted.runs.index[int(value.argmin())]}\n" in said
    assert f"Written: {tmp_path / 'p.csv'}" in said and "Next" in said


def test_a_learning_curve_learns_nothing_from_the_other_seed_of_a_mixture():
    weights, _ = planted_runs(24)
    chance = np.random.default_rng(0).normal(3, 1, (24, 1))  # a loss for each mixture, the same on both seeds
    runs = Runs(list(range(48)), DOMAINS, ["loss"], np.vstack([weights, weights]), np.vstack([chance, chance]))
    points = learning_curve(runs, "lightgbm_small", Objective.of("mean", ["loss"], runs.losses), seed=0, workers=1)
    assert np.mean([point.spearman for point in points]) < 0.2  # .44 where the other seed may be among the runs fitted


def test_two_mixtures_on_many_seeds_have_no_learning_curve_beyond_one_of_them():
    weights, losses = planted_runs(2)
    runs = Runs(list(range(40)), DOMAINS, TARGETS, np.repeat(weights, 20, axis=0), np.repeat(losses, 20, axis=0))
    points = learning_curve(runs, "linear", Objective.of("mean", TARGETS, runs.losses), seed=0, workers=1)
    assert {point.num_runs for point in points} == {10, 20}
