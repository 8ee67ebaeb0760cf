"""A fitted model -> its folder, and back: runs.csv, models.json and last fit.json, beside the tables that describe it."""

import csv
import importlib.metadata
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture import train_column
from proxymix.errors import InputError
from proxymix.files import read_json, read_text, remove, sha256, write_json
from proxymix.tables import write_table
from regression.data.runs import Runs
from regression.models.ensemble import Ensemble
from regression.models.fitted import FittedModel
from regression.models.registry import ENSEMBLE, make_regressor
from regression.models.regressor import Regressor
from regression.models.threads import single_thread

KEYS: tuple[str, ...] = ("model", "preset", "objective", "domains", "targets", "inputs", "files")
KEYS += ("std_scale", "std_constant", "correlation", "ranks")
"""Keys of fit.json that `load_fit` needs."""
NEEDED = ("runs.csv", "models.json")
"""The files that a fitted model is rebuilt from. The hashes of the other tables are for those who read them."""


def load_fit(folder: Path) -> FittedModel:
    """The fitted model of a folder, rebuilt from its tables and texts.

    Raises:
        InputError: If the folder holds no finished fit, or one whose files were changed.
    """
    folder = Path(folder)
    if not (folder / "fit.json").exists():
        raise InputError(f"{folder / 'fit.json'}: no such file, so {folder} holds no finished fit; run `proxymix fit`")
    content = read_json(folder / "fit.json")
    if lacking := [key for key in KEYS if key not in content]:
        raise InputError(
            f"{folder / 'fit.json'}: no {lacking[0]}, so another version wrote it; run `proxymix fit` again"
        )
    for name in NEEDED:
        if not (folder / name).exists() or sha256(folder / name) != content["files"].get(name):
            raise InputError(f"{folder / name}: not as `proxymix fit` wrote it; run `proxymix fit` again")
    runs = _read_runs_table(folder / "runs.csv", content["domains"], content["targets"])
    texts = json.loads(read_text(folder / "models.json"))
    model = content["model"]
    with single_thread():
        regressors = [
            _unfitted(model).loads(texts[t], runs.weights, y) for t, y in zip(runs.targets, runs.losses.T, strict=True)
        ]
    return FittedModel(
        model,
        content["preset"],
        content["objective"],
        runs,
        regressors,
        np.array(content["std_scale"]),
        np.array(content["std_constant"]),
        np.array(content["correlation"]),
        content["inputs"],
        content["ranks"],
    )


def save_fit(
    folder: Path,
    fitted: FittedModel,
    tables: Mapping[str, Sequence[dict[str, Any]]],
    predictions: Sequence[tuple[object, ...]],
    settings: dict[str, Any],
) -> None:
    """Write a fit's folder, fit.json last. Other files in the folder are left alone.

    Args:
        folder: The folder.
        fitted: The fitted model.
        tables: Name of a table -> its rows. A table without rows is removed if an earlier fit left one.
        predictions: Rows of predictions.csv.
        settings: What the fit was asked for.
    """
    runs = fitted.runs
    written = [
        "runs.csv",
        "models.json",
        "predictions.csv",
        *(f"{name}.csv" for name, table in tables.items() if table),
    ]
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


def _unfitted(model: str) -> Regressor:
    return Ensemble({}, {}) if model == ENSEMBLE else make_regressor(model)


def _read_runs_table(path: Path, domains: list[str], targets: list[str]) -> Runs:
    """runs.csv to the last bit, which the fast path of a CSV reader misses at times."""
    header, *rows = csv.reader(io.StringIO(read_text(path)))
    assert header == ["index", *map(train_column, domains), *targets]
    values = np.array([[float(v) for v in row[1:]] for row in rows])
    index = [int(row[0]) if row[0].lstrip("-").isdigit() else row[0] for row in rows]
    return Runs(index, domains, targets, values[:, : len(domains)], values[:, len(domains) :])
