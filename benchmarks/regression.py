"""How well each regressor ranks mixtures that it never saw, on two published sweeps.

python benchmarks/regression.py --data DIR [--quick]

DIR holds regmix/{train,test}_{mixture_1m,pile_loss_1m}.csv and olmix_dclm/{dclm_ratios,dclm_metrics}.csv, as RegMix and Olmix
published them.

RegMix: from n of its 512 training runs to its 256 test runs, means over random subsets (s = 0..4, permutation of
default_rng(1000 + s)). Spearman x 100 on Pile-CC / the median over the 13 targets / the mean of the 13; on that mean the
regret (how much higher the run is that the model would pick than the best of the test runs, nats) and the share of the best
tenth that is in the predicted best tenth; CPU seconds of the fit to all 13 targets.

- "notebook" is RegMix's LightGBM as its notebook fits it: it stops early on the test runs, so its figures are kind to it.
  "least_squares" is RegMix's linear regression. Both take the weights as published, whose sums are off by rounding.
- "linear" is ours, with a ridge; "log_linear" is Olmix's law.
- "auto" is the whole choice of `proxymix fit`: every model cross-validated on the n runs, the best few stacked, one chosen.

Olmix: 127 runs, 5 folds, 3 repeats; Spearman on the mean of its 110 metrics, fitted on that mean and metric by metric.
There "auto" chooses anew from the runs outside of each fold.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder's regression.py is not the package

import numpy as np

from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.models.ensemble import Ensemble
from regression.models.registry import REGRESSORS, make_regressor
from regression.models.regressor import Regressor
from regression.models.threads import single_thread
from regression.models.trees import LightGBM
from regression.selection.cross_validation import CrossValidation, cross_validate, split
from regression.selection.metrics import measures
from regression.selection.model_choice import fit_runs
from regression.selection.repeats import same_mixtures
from regression.selection.stacking import stacked_predictions

NUM_SUBSETS = 5
REGMIX = ("notebook", "least_squares")
QUICK = ("notebook", "lightgbm", "gp", "auto")


def main() -> None:
    """Print the tables, row by row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128, 512])
    parser.add_argument("--models", nargs="+", default=["notebook", "least_squares", *REGRESSORS, "auto"])
    parser.add_argument("--sweeps", nargs="+", default=["regmix", "olmix"], choices=["regmix", "olmix"])
    parser.add_argument("--quick", action="store_true", help="two subsets of 32 and 64 runs, and few models")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.models = [32, 64], list(QUICK)
    num_subsets = 2 if options.quick else NUM_SUBSETS
    with single_thread():
        if "regmix" in options.sweeps:
            regmix(options.data / "regmix", options.sizes, options.models, num_subsets)
        if "olmix" in options.sweeps:
            olmix(options.data / "olmix_dclm", options.models, 1 if options.quick else 3, not options.quick)


def regmix(data: Path, sizes: Sequence[int], models: Sequence[str], num_subsets: int) -> None:
    """Print RegMix's table."""
    train, test = read_regmix(data)
    as_published = read_regmix(data, renormalise=False)
    print(
        "| n | model | Pile-CC / median / mean | regret | best tenth | CPU s | chosen |\n|---|---|---|---|---|---|---|"
    )
    for size in sizes:
        for model in models:
            subsets = range(num_subsets if size < len(train.index) else 1)
            source, unseen = as_published if model in REGMIX else (train, test)
            results = [trial(model, subset_of(source, size, s), unseen) for s in subsets]
            pile_cc, median, mean, regret, recall, seconds = np.mean([values for values, _ in results], axis=0)
            chosen = ", ".join(name for _, name in results if name)
            cells = [f"{pile_cc:.2f} / {median:.2f} / {mean:.2f}", f"{regret:.4f}", f"{recall:.0%}", f"{seconds:.1f}"]
            print(f"| {size} | {model} | {' | '.join(cells)} | {chosen} |", flush=True)


def read_regmix(data: Path, renormalise: bool = True) -> tuple[Runs, Runs]:
    """Training and test runs."""
    train, test = (
        read_runs(data / f"{split}_mixture_1m.csv", data / f"{split}_pile_loss_1m.csv", renormalise=renormalise)
        for split in ("train", "test")
    )
    assert (train.domains, train.targets) == (test.domains, test.targets)
    return train, test


def subset_of(runs: Runs, size: int, subset: int) -> Runs:
    """Some of the runs."""
    return rows_of(runs, np.random.default_rng(1000 + subset).permutation(len(runs.index))[:size])


def rows_of(runs: Runs, rows: np.ndarray) -> Runs:
    """The runs in these rows."""
    return Runs([runs.index[i] for i in rows], runs.domains, runs.targets, runs.weights[rows], runs.losses[rows])


def trial(model: str, train: Runs, test: Runs) -> tuple[tuple[float, ...], str]:
    """Spearman x 100 on Pile-CC, in the median, on the mean; its regret and recall; CPU seconds. And what was chosen."""
    start = time.process_time()
    regressors, chosen = fitted(model, train, test)
    seconds = time.process_time() - start
    predicted = np.column_stack([regressor.predict(test.weights) for regressor in regressors])
    fold = np.zeros(len(test.index))
    each = [100 * measures(y, p, fold)[0] for y, p in zip(test.losses.T, predicted.T, strict=True)]
    pile_cc = next(t for t, target in enumerate(test.targets) if "pile_cc" in target)
    spearman, _, _, regret, recall = measures(test.losses.mean(axis=1), predicted.mean(axis=1), fold)
    return (each[pile_cc], float(np.median(each)), 100 * spearman, regret, recall, seconds), chosen


def fitted(model: str, train: Runs, test: Runs) -> tuple[list[Regressor], str]:
    """A regressor per target, and for auto what was chosen."""
    if model == "auto":
        fit = fit_runs(train, "auto", "mean")
        first = fit.regressors[0]
        return fit.regressors, f"({members_of(first.weights)})" if isinstance(first, Ensemble) else fit.model
    regressors = []
    for t, losses in enumerate(train.losses.T):
        if model == "notebook":
            one: Regressor = LightGBM().fit(train.weights, losses, validation=(test.weights, test.losses[:, t]))
        else:
            one = (LeastSquares() if model == "least_squares" else make_regressor(model)).fit(train.weights, losses)
        regressors.append(one)
    return regressors, ""


def members_of(weights: Mapping[str, float]) -> str:
    """Of an ensemble's members, largest first."""
    return " + ".join(f"{weight:.2f} {name}" for name, weight in sorted(weights.items(), key=lambda item: -item[1]))


class LeastSquares(Regressor):
    """RegMix's linear regression: scikit-learn's, no ridge."""

    def fit(self, X: np.ndarray, y: np.ndarray, warm_start_from: Regressor | None = None) -> "LeastSquares":
        """The line."""
        from sklearn.linear_model import LinearRegression

        self.line_ = LinearRegression().fit(X, y)
        return self

    def predict(self, X: np.ndarray, return_std: bool = False) -> np.ndarray:
        """Its values."""
        return np.asarray(self.line_.predict(X))


def olmix(data: Path, models: Sequence[str], num_repeats: int, by_metric: bool) -> None:
    """Print Olmix's table."""
    runs = read_runs(data / "dclm_ratios.csv", data / "dclm_metrics.csv")
    objective = Objective.of("mean", runs.targets, runs.losses)
    value = objective.value(runs.losses)
    of_mean = Runs(runs.index, runs.domains, ["mean"], runs.weights, value[:, None])
    folds = split(same_mixtures(runs.weights), 5, num_repeats, 0)
    print(
        f"\n| model | fitted on | Spearman over {num_repeats} repeats | regret | best tenth | CPU s |\n|---|---|---|---|---|---|"
    )

    def show(model: str, way: str, mean: np.ndarray, seconds: float) -> None:
        each = [measures(value, guess, fold) for guess, fold in zip(objective_of(mean), folds, strict=True)]
        spearman, _, _, regret, recall = np.mean(each, axis=0)
        spread = float(np.std([row[0] for row in each]))
        cells = f"{spearman:.3f} +- {spread:.3f} | {regret:.4f} | {recall:.0%} | {seconds:.0f}"
        print(f"| {model} | {way} | {cells} |", flush=True)

    def objective_of(mean: np.ndarray) -> np.ndarray:
        return mean[..., 0] if mean.shape[-1] == 1 else objective.value(mean)

    names = [name for name in models if name in REGRESSORS]
    for name in names:
        start = time.process_time()
        validation, _ = cross_validate(of_mean, [name], folds, 1)
        show(name, "the mean", validation.mean[name], time.process_time() - start)
    if "auto" in models:
        start = time.process_time()
        mean, chosen = nested(of_mean, folds)
        show(f"auto ({chosen})", "the mean", mean, time.process_time() - start)
    if not by_metric:
        return
    every = CrossValidation(folds, {}, {})
    for name in names:
        start = time.process_time()
        validation, _ = cross_validate(runs, [name], folds, 1)
        show(name, "each metric", validation.mean[name], time.process_time() - start)
        every.mean[name], every.std[name] = validation.mean[name], validation.std[name]
    start = time.process_time()
    if len(names) > 1 and (stacked := stacked_predictions(runs, every, names, objective)):
        show(f"ensemble ({members_of(stacked[2])})", "each metric", stacked[0], time.process_time() - start)


def nested(runs: Runs, folds: np.ndarray) -> tuple[np.ndarray, str]:
    """Predictions of held-out runs by what `auto` chooses without them, shape of folds and targets; and its choices."""
    mean, chosen = np.empty((*folds.shape, len(runs.targets))), []
    for repeat, fold_of in enumerate(folds):
        for fold in np.unique(fold_of):
            out = fold_of == fold
            fit = fit_runs(rows_of(runs, np.flatnonzero(~out)), "auto", "mean")
            mean[repeat, out], _ = fit.predict(runs.weights[out])
            chosen.append(fit.model)
    return mean, ", ".join(f"{name} {chosen.count(name)}" for name in dict.fromkeys(chosen))


if __name__ == "__main__":
    main()
