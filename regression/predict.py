"""A regression + mixtures -> the losses that proxies trained on them would have, with standard deviations.

python regression/predict.py --fit regression --mixtures new.csv --out predictions.csv
"""

import shlex
from pathlib import Path

import numpy as np

from mixture_config.files.mixture_table import MixtureTable
from proxymix.progress import say
from proxymix.tables import write_table
from regression.models.fit_files import load_fit


def predict(fit: Path, mixtures: Path, out: Path) -> None:
    """Predict every target's loss for every mixture of a table.

    Args:
        fit: Folder of the regression (`proxymix fit`).
        mixtures: Table of mixtures to predict: index, and a column train_<domain> for every domain of the fit.
        out: The table to write: index, and per target its loss column and <loss column>_std, a run's standard
            deviation around the prediction.

    Raises:
        InputError: If the folder holds no fit, or the mixtures name other domains.
    """
    fitted = load_fit(fit)
    table = MixtureTable.read(mixtures)
    X = table.aligned(fitted.domains, str(mixtures))
    mean, std = fitted.predict(X)
    header = ["index", *(column for target in fitted.targets for column in (target, f"{target}_std"))]
    rows = [
        [index, *(float(v) for pair in zip(m, s, strict=True) for v in pair)]
        for index, m, s in zip(table.index, mean, std, strict=True)
    ]
    write_table(out, header, rows)
    value, spread = fitted.predict_objective(X, fitted.objective)
    best = int(np.argmin(value))
    say(
        f"{len(X)} mixture{'s' * (len(X) != 1)} predicted by {fitted.model}; the lowest {fitted.objective.describe()} "
        f"is {value[best]:.4f} +- {spread[best]:.4f}, at {table.index[best]}"
    )
    say(f"Written: {out}")
    say(f"Next, the best of all mixtures: proxymix propose --fit {shlex.quote(str(fit))} --out optimal_mixture.yaml")


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(predict)
