"""How well each regressor ranks RegMix's 256 test runs, from n of its 512 training runs.

python benchmarks/regmix_runs.py --data DIR [--sizes 32 64 128] [--subsets 3] [--models gp lightgbm_small lightgbm linear]

DIR holds train_mixture_1m.csv, train_pile_loss_1m.csv, test_mixture_1m.csv and test_pile_loss_1m.csv of RegMix's repository.
Prints Spearman x 100 on Pile-CC / the median over the 13 targets / the mean of the 13 losses, averaged over subsets.
"""

import argparse
import os
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import joblib
import numpy as np
from scipy.stats import spearmanr

from regression.regressor import single_thread
from regression.regressors import make_regressor
from regression.table import Runs, read_runs


def ranks(name: str, train: Runs, test: Runs, size: int, subset: int) -> tuple[float, float, float]:
    """Spearman x 100 on Pile-CC, the median over targets, and on the mean of all targets."""
    rows = np.random.default_rng(1000 + subset).permutation(len(train.index))[:size]
    with single_thread():
        columns = [
            make_regressor(name).fit(train.weights[rows], train.losses[rows, t]).predict(test.weights)
            for t in range(len(train.targets))
        ]
    predicted = np.column_stack(columns)

    def rank(measured: np.ndarray, guess: np.ndarray) -> float:
        return 100 * float(spearmanr(measured, guess).statistic) if np.ptp(guess) > 0 else 0.0

    each = [rank(test.losses[:, t], predicted[:, t]) for t in range(len(train.targets))]
    pile_cc = next(i for i, target in enumerate(train.targets) if "pile_cc" in target)
    return each[pile_cc], float(np.median(each)), rank(test.losses.mean(axis=1), predicted.mean(axis=1))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--subsets", type=int, default=3)
    parser.add_argument("--models", nargs="+", default=["gp", "lightgbm_small", "lightgbm", "linear"])
    options = parser.parse_args()
    train, test = (
        read_runs(options.data / f"{split}_mixture_1m.csv", options.data / f"{split}_pile_loss_1m.csv")
        for split in ("train", "test")
    )
    assert (train.domains, train.targets) == (test.domains, test.targets)
    print(
        "| model | "
        + " | ".join(f"n = {size}" for size in options.sizes)
        + " |\n"
        + "|---" * (len(options.sizes) + 1)
        + "|"
    )
    for name in options.models:
        cells = []
        for size in options.sizes:
            jobs = (joblib.delayed(ranks)(name, train, test, size, subset) for subset in range(options.subsets))
            mean = np.mean(joblib.Parallel(2)(jobs), axis=0)
            cells.append(" / ".join(f"{value:.1f}" for value in mean))
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
