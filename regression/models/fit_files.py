"""A fitted model -> its folder, and back: runs.csv, models.json and last fit.json, beside the tables that describe it."""

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture import train_column
from mixture_config.geometry.tolerances import SUM_TOLERANCE
from proxymix.errors import InputError
from proxymix.files import read_json, remove, sha256, write_json
from proxymix.messages import some
from proxymix.records import from_mapping
from proxymix.tables import Cells, write_table
from regression.data.objective import WORDS, Spec
from regression.data.runs import Runs
from regression.models.ensemble import Ensemble
from regression.models.fitted import FittedModel
from regression.models.registry import BASELINE, ENSEMBLE, REGRESSORS, make_regressor
from regression.models.regressor import Regressor
from regression.models.threads import single_thread

MAX_STD = 1e100
"""Standard deviations and correlations of a larger magnitude are mistakes, and would overflow."""
UNREADABLE = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a text that no regressor wrote can raise where it is read."""
NEEDED = ("runs.csv", "models.json")
"""The files that a fitted model is rebuilt from. The hashes of the other tables are for those who read them."""


@dataclass(frozen=True)
class FitFile:
    """What fit.json must hold for `load_fit`, beside what is there for the reader. See `FittedModel` for what it means."""

    model: str
    preset: str | None
    objective: Spec
    domains: list[str]
    targets: list[str]
    inputs: dict[str, str]
    files: dict[str, str]
    std_scale: list[float]
    std_constant: list[float]
    correlation: list[list[float]]
    ranks: bool

    @classmethod
    def read(cls, path: Path) -> "FitFile":
        """The file's keys, with the types and sizes that they must have.

        Raises:
            InputError: If one is missing, or is not what `proxymix fit` writes.
        """
        found = from_mapping(cls, read_json(path), str(path))
        num_targets = len(found.targets)
        if found.model not in (*REGRESSORS, ENSEMBLE, BASELINE):
            raise InputError(f"{path}: model is {found.model!r:.60}; there are {some((*REGRESSORS, ENSEMBLE), 20)}")
        if found.preset not in (None, "regmix"):
            raise InputError(f"{path}: preset is {found.preset!r:.60}; regmix or null is wanted")
        for key, names, least in (("domains", found.domains, 2), ("targets", found.targets, 1)):
            if len(names) < least or len(set(names)) < len(names):
                raise InputError(
                    f"{path}: {key} names {len(names)} ({some(names)}); {least} or more different ones are wanted"
                )
        for key, rows in (
            ("std_scale", [found.std_scale]),
            ("std_constant", [found.std_constant]),
            ("correlation", found.correlation),
        ):
            if any(len(row) != num_targets for row in rows) or len(rows) != (
                num_targets if key == "correlation" else 1
            ):
                raise InputError(f"{path}: {key} has not the {num_targets} numbers (or rows) of {num_targets} targets")
            low = -MAX_STD if key == "correlation" else 0
            if not all(low <= value <= MAX_STD for row in rows for value in row):
                raise InputError(f"{path}: {key} has a number that is not finite, too large, or below 0")
        if not isinstance(found.objective, str | dict):
            raise InputError(f"{path}: objective is {found.objective!r:.60}; a word, a target or weights are wanted")
        if isinstance(found.objective, str) and found.objective not in WORDS:  # a path or a bare name is never written
            raise InputError(f"{path}: objective is {found.objective!r:.60}; {', '.join(WORDS)} or weights are wanted")
        return found


def load_fit(folder: Path) -> FittedModel:
    """The fitted model of a folder, rebuilt from its tables and texts. Nothing in them is run, and all of it is checked.

    Raises:
        InputError: If the folder holds no finished fit, or one whose files were changed or are not what `fit` writes.
    """
    folder = Path(folder)
    path, again = folder / "fit.json", "run `proxymix fit` again"
    if not path.exists():
        raise InputError(f"{path}: no such file, so {folder} holds no finished fit; run `proxymix fit`")
    try:
        content = FitFile.read(path)
    except InputError as error:
        raise InputError(f"{error}; it is damaged, or another version wrote it: {again}") from None
    for name in NEEDED:
        if not (folder / name).exists() or sha256(folder / name) != content.files.get(name):
            raise InputError(f"{folder / name}: not as `proxymix fit` wrote it; {again}")
    runs = _read_runs_table(folder / "runs.csv", content.domains, content.targets)
    texts = read_json(folder / "models.json")
    fitted = FittedModel(
        content.model,
        content.preset,
        content.objective,
        runs,
        [_load_regressor(folder / "models.json", content.model, texts, runs, t) for t in range(len(runs.targets))],
        np.array(content.std_scale, dtype=float),
        np.array(content.std_constant, dtype=float),
        np.array(content.correlation, dtype=float),
        content.inputs,
        content.ranks,
    )
    try:
        fitted.objective  # noqa: B018  # whether the spec is one of these targets
    except InputError as error:
        raise InputError(f"{path}: {error}; {again}") from None
    return fitted


def _load_regressor(path: Path, model: str, texts: Mapping[str, Any], runs: Runs, t: int) -> Regressor:
    """The regressor of a target, which must predict finite losses of the runs.

    Raises:
        InputError: If its text is not what the regressor writes.
    """
    target = runs.targets[t]
    text = texts.get(target)
    if not isinstance(text, str):
        raise InputError(f"{path}: no text for the target {target}; run `proxymix fit` again")
    try:
        with single_thread(), np.errstate(all="ignore"):
            unfitted = Ensemble({}, {}) if model == ENSEMBLE else make_regressor(model)
            found = unfitted.loads(text, runs.weights, runs.losses[:, t])
            predicted = np.array(found.predict(runs.weights[:8], return_std=True), dtype=float)
        problem = "" if np.isfinite(predicted).all() else "it predicts losses that are no finite numbers"
    except UNREADABLE as error:
        problem = f"{error}" or type(error).__name__
    if problem:
        raise InputError(
            f"{path}: the text of {target} is not what {model} writes ({problem:.200}); run `proxymix fit` again"
        )
    return found


def save_fit(
    folder: Path,
    fitted: FittedModel,
    tables: Mapping[str, Sequence[dict[str, Any]]],
    predictions: Sequence[tuple[object, ...]],
    settings: dict[str, Any],
) -> None:
    """Write a fit's folder, fit.json last. Other files in the folder are left alone.

    Args:
        tables: Name of a table -> its rows. A table without rows is removed if an earlier fit left one.
    """
    runs = fitted.runs
    written = [*NEEDED, "predictions.csv", *(f"{name}.csv" for name, table in tables.items() if table)]
    remove(folder / "fit.json")
    for name, table in tables.items():
        if table:
            write_table(folder / f"{name}.csv", list(table[0]), [tuple(row.values()) for row in table])
        else:
            remove(folder / f"{name}.csv")
    write_table(folder / "predictions.csv", ("index", "target", "measured", "predicted", "std"), predictions)
    header = ["index", *runs.mixtures.columns, *runs.targets]
    rows = [
        [run, *map(float, w), *map(float, y)] for run, w, y in zip(runs.index, runs.weights, runs.losses, strict=True)
    ]
    write_table(folder / "runs.csv", header, rows)
    models = {target: regressor.dumps() for target, regressor in zip(runs.targets, fitted.regressors, strict=True)}
    write_json(folder / "models.json", models)
    content = {
        "model": fitted.model,
        "preset": fitted.preset,
        "objective": fitted.objective_spec,
        "num_runs": len(runs.index),
        "left_out": [list(map(str, astuple(run))) for run in runs.left_out],
        "domains": runs.domains,
        "targets": runs.targets,
        "settings": settings,
        "inputs": fitted.inputs,
        "files": {name: sha256(folder / name) for name in written},
        "versions": {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "scikit-learn", "lightgbm")},
        "std_scale": fitted.std_scale.tolist(),
        "std_constant": fitted.std_constant.tolist(),
        "correlation": fitted.correlation.tolist(),
        "ranks": fitted.ranks,
    }
    write_json(folder / "fit.json", content)


def _read_runs_table(path: Path, domains: list[str], targets: list[str]) -> Runs:
    """runs.csv to the last bit, which the fast path of a CSV reader misses at times.

    Raises:
        InputError: If it has other columns, or something else than finite numbers, or weights that do not sum to 1.
    """
    cells = Cells.read(path)
    if cells.header != ["index", *map(train_column, domains), *targets] or not cells.rows:
        raise InputError(f"{path}: not the domains and targets of fit.json; run `proxymix fit` again")
    try:
        values = np.array([[float(v) for v in row[1:]] for row in cells.rows])
    except ValueError as error:
        raise InputError(f"{path}: {error}; run `proxymix fit` again") from None
    weights = values[:, : len(domains)]
    if not np.isfinite(values).all() or (weights < 0).any() or (np.abs(weights.sum(axis=1) - 1) > SUM_TOLERANCE).any():
        raise InputError(
            f"{path}: a number that is not finite, or weights that do not sum to 1; run `proxymix fit` again"
        )
    index = [int(row[0]) if re.fullmatch(r"-?\d{1,18}", row[0]) else row[0] for row in cells.rows]
    return Runs(index, domains, targets, weights, values[:, len(domains) :])
