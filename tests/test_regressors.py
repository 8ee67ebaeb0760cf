"""Every regressor is a scikit-learn estimator, says how sure it is, and a new one is a class and a row of the registry."""

import numpy as np
import pytest
from planted import DOMAINS, TARGETS, planted_losses, planted_runs, write_runs

from mixture_config.files.mixture import Mixture
from proxymix.tables import read_table
from regression.fit import fit
from regression.models import registry
from regression.models.averaged_gp import GP
from regression.models.ensemble import Ensemble
from regression.models.fit_files import load_fit
from regression.models.gaussian_process import RootGP, RootLogGP
from regression.models.hyperparameters import JITTER, kernel_of, negative_log_posterior, prior
from regression.models.kernel import LEVEL_VARIANCE
from regression.models.linear import Linear
from regression.models.registry import BASELINE, ENSEMBLE, REGRESSORS, Entry, label, make_regressor
from regression.models.regressor import Regressor
from regression.models.trees import LightGBM
from regression.propose import propose
from regression.search.settings import SearchSettings

each_regressor = pytest.mark.parametrize("key", [*REGRESSORS, BASELINE])


# ---- A new regressor: this class, and the row in the test below


class NearestRuns(Regressor):
    """The mean loss of the nearest runs."""

    def __init__(self, num_neighbours: int = 3) -> None:
        self.num_neighbours = num_neighbours

    def fit(self, X, y, warm_start_from=None):
        self.X_, self.y_ = X, y
        return self

    def predict(self, X, return_std=False):
        distances = np.abs(X[:, None] - self.X_[None]).sum(axis=-1)
        mean = self.y_[np.argsort(distances, axis=1)[:, : self.num_neighbours]].mean(axis=1)
        return (mean, np.zeros(len(X))) if return_std else mean


@pytest.mark.parametrize("model", ["nearest", pytest.param("auto", marks=pytest.mark.slow)])
def test_a_new_regressor_goes_from_fit_to_propose_and_to_the_labels_of_the_report(tmp_path, monkeypatch, model):
    entry = Entry("nearest", "nearest runs", "the mean loss of the nearest runs", lambda: NearestRuns(5))
    monkeypatch.setitem(REGRESSORS, "nearest", entry)
    files = write_runs(tmp_path, *planted_runs(40))
    fit(*files, tmp_path / "fit", model=model, num_repeats=1, workers=1)
    assert "nearest" in set(read_table(tmp_path / "fit" / "scores.csv")["model"])
    if model == "nearest":
        fitted = load_fit(tmp_path / "fit")
        assert fitted.model == "nearest" and isinstance(fitted.regressors[0], NearestRuns)
        assert fitted.regressors[0].num_neighbours == 5 and (fitted.std_constant > 0).all()
    propose(
        tmp_path / "fit",
        tmp_path / "best.yaml",
        search=SearchSettings(num_candidates=500),
        num_curves=2,
        num_splits=1,
        workers=1,
    )
    assert list(Mixture.read(tmp_path / "best.yaml").weights) == DOMAINS
    assert label("nearest") == "nearest runs"


# ---- scikit-learn


@each_regressor
def test_scikit_learn_clones_and_cross_validates_every_regressor(key):
    from sklearn.base import clone, is_regressor
    from sklearn.model_selection import cross_val_score

    X, losses = planted_runs(160)
    y = losses[:, 1]
    regressor = make_regressor(key)
    assert is_regressor(regressor)
    fitted = regressor.fit(X, y)
    copy = clone(fitted)
    assert type(copy) is type(fitted) and copy.get_params() == fitted.get_params()
    assert not [name for name in vars(copy) if name.endswith("_")]  # a clone is not fitted
    np.testing.assert_array_equal(copy.fit(X, y).predict(X), fitted.predict(X))
    scores = cross_val_score(make_regressor(key), X, y, cv=4)
    least, most = {BASELINE: (-0.2, 0.0), "linear": (0.8, 0.9), "lightgbm": (0.85, 0.95)}.get(key, (0.95, 1.0))
    assert len(scores) == 4 and least < scores.mean() <= most


@each_regressor
def test_the_constructor_stores_its_parameters_and_only_them(key):
    regressor = make_regressor(key)
    assert {name: getattr(regressor, name) for name in regressor.get_params()} == regressor.get_params()
    assert not [name for name in vars(regressor) if name not in regressor.get_params()]
    with pytest.raises(ValueError, match="no parameter 'absent'"):
        regressor.set_params(absent=1)


def test_parameters_that_are_set_are_fitted_with_and_kept_by_a_refit():
    from sklearn.base import clone

    X, losses = planted_runs(60)
    trees = LightGBM().set_params(num_iterations=7, min_data_in_leaf=3)
    assert clone(trees).fit(X, losses[:, 0]).booster_.num_trees() == 7
    again = trees.fit(X, losses[:, 0]).refit_from_scratch(X[:50], losses[:50, 0])
    assert again.booster_.num_trees() == 7


def test_an_ensemble_is_an_estimator_of_estimators():
    from sklearn.base import clone

    X, losses = planted_runs(40)
    members = {"gp": GP(), "linear": Linear()}
    ensemble = Ensemble(members, {"gp": 0.75, "linear": 0.25}).fit(X, losses[:, 0])
    expected = 0.75 * GP().fit(X, losses[:, 0]).predict(X) + 0.25 * Linear().fit(X, losses[:, 0]).predict(X)
    np.testing.assert_allclose(ensemble.predict(X), expected)
    copy = clone(ensemble)
    assert not hasattr(copy, "members_")
    np.testing.assert_allclose(copy.fit(X, losses[:, 0]).predict(X), expected)
    loaded = Ensemble({}, {}).loads(ensemble.dumps(), X, losses[:, 0])
    np.testing.assert_allclose(loaded.predict(X, return_std=True), ensemble.predict(X, return_std=True))


def test_every_model_has_a_label_and_no_two_the_same():
    labels = [label(key) for key in (*REGRESSORS, ENSEMBLE, BASELINE)]
    assert len(set(labels)) == len(labels) and not set(labels) & {"log_linear", "lightgbm_small", ENSEMBLE, BASELINE}
    assert all(entry.key == key and entry.help for key, entry in registry.REGRESSORS.items())


# ---- Gaussian processes


@pytest.mark.parametrize("kind", [RootGP, RootLogGP])
def test_the_process_is_the_one_of_scikit_learn(kind):
    """With the same kernel and hyperparameters: means, standard deviations, covariances and the likelihood."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct, Matern

    X, losses = planted_runs(40)
    process = kind().fit(X, losses[:, 0])
    frame, num_features = process.frame_, process.Z_.shape[1]

    def theirs(theta):
        ours, noise = kernel_of(theta)
        smooth = ConstantKernel(ours.amplitude) * Matern(ours.lengths, nu=2.5)
        line = ConstantKernel(ours.slope / num_features) * DotProduct(0.0, "fixed")
        kernel = smooth + line + ConstantKernel(LEVEL_VARIANCE)
        return GaussianProcessRegressor(kernel, alpha=noise + JITTER, optimizer=None).fit(process.Z_, process.y_)

    reference = theirs(process.theta_)
    new = np.random.default_rng(0).dirichlet(np.ones(4), 30)
    logs, covariance = reference.predict(process.features(new), return_cov=True)
    level = np.exp(frame.shift + frame.scale * logs)
    mean, std = process.predict(new, return_std=True)
    np.testing.assert_allclose(mean, frame.floor + level, rtol=1e-9)
    curve = frame.scale * level * np.sqrt(np.diag(covariance))
    np.testing.assert_allclose(std, np.hypot(curve, process.noise_), rtol=1e-6)
    scaled = np.outer(frame.scale * level, frame.scale * level) * covariance
    np.testing.assert_allclose(process.covariance(new), scaled, atol=1e-8 * scaled.max())

    def misses(theta):  # what of the negative log posterior is not the likelihood, and must be the prior
        return negative_log_posterior(theta, process.Z_, process.y_)[0] + theirs(theta).log_marginal_likelihood_value_

    center, width = prior(num_features)
    other = center + 0.5
    expected = 0.5 * (((process.theta_ - center) / width) ** 2).sum() - 0.5 * (((other - center) / width) ** 2).sum()
    assert misses(process.theta_) - misses(other) == pytest.approx(expected, rel=1e-6)


def test_the_process_agrees_with_its_own_covariance():
    weights, losses = planted_runs(30)
    process = GP().fit(weights, losses[:, 0])
    new = np.random.default_rng(0).dirichlet(np.ones(4), 6)
    _, std = process.predict(new, return_std=True)
    np.testing.assert_allclose(np.diag(process.covariance(new)), std**2 - process.noise_**2, rtol=1e-6, atol=1e-12)


def test_samples_of_the_posterior_have_its_mean_and_its_covariance():
    from regression.models.regressor import JointRandomness

    X, losses = planted_runs(24)
    process, new = RootGP().fit(X, losses[:, 0]), np.random.default_rng(0).dirichlet(np.ones(4), 5)
    rng, one = np.random.default_rng(1), np.eye(1)
    curves = [process.posterior_sample(JointRandomness(rng, one), 0, 1.0).predict(new) for _ in range(2000)]
    covariance = process.covariance(new)
    std = np.sqrt(np.diag(covariance))
    assert (np.abs(np.mean(curves, axis=0) - process.predict(new)) < 0.12 * std).all()
    np.testing.assert_allclose(
        np.cov(np.transpose(curves)) / np.outer(std, std), covariance / np.outer(std, std), atol=0.12
    )


# ---- Uncertainty


def test_intervals_of_a_line_are_as_wide_as_least_squares_says_and_hold_what_they_promise():
    """90% intervals of single runs around a planted line, over 600 sweeps: coverage, and width against the formula."""
    rng, noise = np.random.default_rng(1), 0.1
    slopes = np.array([1.0, -0.5, 0.3, 0.0])
    inside, widths, analytic = [], [], []
    for _ in range(600):
        X, new = rng.dirichlet(np.ones(4), 40), rng.dirichlet(np.ones(4), 1)
        fitted = Linear().fit(X, X @ slopes + rng.normal(0, noise, 40))
        mean, std = fitted.predict(new, return_std=True)
        inside.append(abs(new @ slopes + rng.normal(0, noise) - mean)[0] < 1.645 * std[0])
        widths.append(std[0])
        analytic.append(noise * np.sqrt(1 + (new @ np.linalg.pinv(X.T @ X) @ new.T)[0, 0]))
    assert 0.85 < np.mean(inside) < 0.95
    assert np.mean(widths) == pytest.approx(np.mean(analytic), rel=0.05)


def test_intervals_of_the_process_hold_what_they_promise_and_are_no_wider_than_that():
    """Over 50 sweeps of a planted law, whose noise is known: 200 runs among the trained mixtures."""
    standard, noises = [], []
    for seed in range(50):
        X, losses = planted_runs(40, seed, noise=0.02)
        fresh, _ = planted_runs(4, seed + 1000)
        measured = planted_losses(fresh)[:, 0] + np.random.default_rng(seed).normal(0, 0.02, 4)
        fitted = GP().fit(X, losses[:, 0])
        mean, std = fitted.predict(fresh, return_std=True)
        standard.append((measured - mean) / std)
        noises.append(fitted.noise_)
    assert 0.85 < np.mean(np.abs(standard) < 1.645) < 0.95
    assert np.mean(noises) == pytest.approx(0.02, rel=0.15)


def test_far_from_the_runs_the_uncertainty_is_as_large_as_the_errors():
    """At the corners of the simplex, which no run is near: errors in units of the standard deviation, over 30 sweeps."""
    ratios, growth = [], []
    for seed in range(30):
        X, losses = planted_runs(40, seed)
        center, corners = X.mean(axis=0, keepdims=True), np.eye(4)
        for t in range(len(TARGETS)):
            fitted = GP().fit(X, losses[:, t])
            mean, std = fitted.predict(corners, return_std=True)
            ratios.append((planted_losses(corners)[:, t] - mean) / std)
            growth.append(std / fitted.predict(center, return_std=True)[1])
    assert 0.6 < np.sqrt(np.mean(np.square(ratios))) < 1.4
    assert np.mean(growth) > 3
