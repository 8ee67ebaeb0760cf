"""mixtures.csv + losses.csv -> a regression of every target on the mixture, the model chosen by cross-validation.

python regression/fit.py --mixtures mixtures.csv --losses losses.csv --out regression
"""

from pathlib import Path
from typing import Any, Literal

from regression.selection.fit_table import FitResult, fit_table
from regression.selection.summary import say_fit, say_next


def fit(
    mixtures: Path,
    losses: Path,
    out: Path,
    targets: list[str] | None = None,
    model: str = "auto",
    preset: Literal["regmix"] | None = None,
    objective: str | dict[str, Any] = "mean",
    num_folds: int = 5,
    num_repeats: int | None = None,
    allow_missing: bool = False,
    proxies: Path | None = None,
    further_proxies: Path | None = None,
    test_mixtures: Path | None = None,
    test_losses: Path | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> FitResult:
    """Fit every target's loss as a function of the mixture.

    Models are compared on held-out runs, by repeated cross-validation. The model that ranks them best on the objective is
    taken; of two that rank alike, the one whose pick is closer to the best run. Models that are far behind on a few
    targets are not tried on the others, and the best few are stacked into an ensemble. Curves of a given shape (laws,
    lines) are not taken alone, because they do not know where their shape is wrong: a Gaussian process has at least a
    quarter of the ensemble. The scores of predicting the mean stand beside the others, and so does the noise floor of
    every target where mixtures were trained on several seeds (`synthesize --repeat_seeds`).

    Args:
        mixtures: Table of the runs' mixtures: index, train_<domain>, ...
        losses: Table of the runs' losses: index, metric/<domain>_val_loss, ... or columns that are losses by their names
            (bpb, loss, perplexity); other columns are named in targets. wandb's exports of runs or of a chart are read too.
        out: Folder for the fit.
        targets: Loss columns or their domains to fit; all losses that the table holds when left out.
        model: auto tries every regressor and takes the best, ensemble stacks the best few, and a name such as gp, power
            or lightgbm takes that one (a name that does not exist is answered with a list of all).
        preset: regmix fits as RegMix's notebook does: LightGBM, 1000 rounds at 0.01, one model per target, stopped early
            on the test runs where those are given.
        objective: What is to be low, by which the model is chosen: mean, zscore, worst, a loss column or its domain,
            {domain: weight}, or a YAML of weights, or of minimise and max_increase; {maximise: any of these} for scores.
        num_folds: Parts into which the runs are split for cross-validation.
        num_repeats: How often the runs are split anew; 3 when left out, and 2 from 256 runs on.
        allow_missing: Leave out runs without a loss or a mixture, and diverged ones, instead of stopping; they are listed.
        proxies: Folder of the run folders. Every run must have been fed the mixture that the table declares.
        further_proxies: Folder of the run folders of further rounds (`proxymix rounds`), if there were any.
        test_mixtures: Mixtures of test runs, which are scored and never fitted or chosen by (the preset stops on them).
        test_losses: Losses of the test runs.
        seed: Seed of the splits.
        workers: Processes that fit at a time; one per core when left out.

    Raises:
        InputError: If the tables do not match, hold too few runs or losses that never vary, or a run was fed another
            mixture than its table declares.
    """
    folders = [] if proxies is None else [proxies, *([] if further_proxies is None else [further_proxies])]
    tests, splits = (test_mixtures, test_losses), (num_folds, num_repeats)
    found = fit_table(
        mixtures, losses, targets, model, preset, objective, *splits, allow_missing, folders, *tests, seed, workers
    )
    found.save(out)
    say_fit(found)
    say_next(found, out)
    return found


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(fit)
