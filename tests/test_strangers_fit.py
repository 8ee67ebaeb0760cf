"""A fit that somebody else wrote is checked before it is used: any wrong key, type or text is a sentence that names it."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from planted import planted_runs, write_runs

from proxymix.errors import InputError
from proxymix.files import sha256
from regression.fit import fit
from regression.models.fit_files import load_fit


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    """A fit of every kind of text: processes, an ensemble would be of these, laws, trees, and one that is fitted again."""
    folder = tmp_path_factory.mktemp("strangers")
    tables = write_runs(folder, *planted_runs(24))
    for model in ("gp", "power", "lightgbm_small", "linear"):
        fit(*tables, folder / model, targets=["code", "poems"], model=model, num_folds=3, num_repeats=1, workers=1)
    return folder


@pytest.fixture
def folder(fits, tmp_path):
    return shutil.copytree(fits / "gp", tmp_path / "fit")


def sealed(folder: Path, name: str, text: str) -> Path:
    """A file of a fit replaced, with the hash that fit.json must have: as somebody who means it would."""
    (folder / name).write_text(text)
    content = json.loads((folder / "fit.json").read_text())
    content["files"][name] = sha256(folder / name)
    (folder / "fit.json").write_text(json.dumps(content))
    return folder


KEYS = [
    "model",
    "objective",
    "domains",
    "targets",
    "inputs",
    "files",
    "std_scale",
    "std_constant",
    "correlation",
    "ranks",
]
OTHERS = [
    None,
    True,
    3,
    -1.5,
    "text",
    "",
    [],
    {},
    [1],
    ["a"],
    [[1]],
    {"a": 1},
    {"a": {}},
    1e308,
    10**400,
    "gp/../..",
    [None],
]


@pytest.mark.parametrize("key", [*KEYS, "preset"])
def test_a_key_of_another_type_or_value_is_named(folder, key):
    path = folder / "fit.json"
    content = json.loads(path.read_text())
    refused = 0
    for other in OTHERS:
        path.write_text(json.dumps(content | {key: other}))
        try:
            load_fit(folder)
        except InputError as error:
            assert "fit.json" in str(error) or "runs.csv" in str(error) or "models.json" in str(error)
            refused += 1
    assert refused >= len(OTHERS) - (3 if key in ("ranks", "inputs", "preset") else 0)  # true, {} and null may be right


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_missing_is_named(folder, key):
    path = folder / "fit.json"
    content = json.loads(path.read_text())
    del content[key]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"fit\.json: {key} is missing.*proxymix fit"):
        load_fit(folder)


def changed(content, path=()):
    """The content with each of its places, however deep, removed or of another type."""
    places = content.items() if isinstance(content, dict) else enumerate(content[:2])
    for key, value in places:
        if isinstance(value, dict | list):
            for inner in changed(value):
                yield put(content, key, inner)
        yield put(content, key)
        for other in OTHERS:
            yield put(content, key, other)


def put(content, key, *value):
    if isinstance(content, dict):
        return {k: v for k, v in content.items() if k != key} | dict.fromkeys([key] if value else [], *value)
    return [*content[:key], *value, *content[key + 1 :]]


@pytest.mark.parametrize("key", ["objective", "inputs", "files", "correlation", "domains"])
def test_whatever_stands_below_a_key_is_refused_by_name_or_can_be_worked_with(folder, key):
    path = folder / "fit.json"
    content = json.loads(path.read_text())
    code, poems = content["targets"]
    content["objective"] = {"minimise": {code: 0.5, poems: 0.5}, "max_increase": {poems: 0.01}}
    for value in changed(content[key]):
        path.write_text(json.dumps(content | {key: value}))
        try:
            fitted = load_fit(folder)
        except InputError as error:
            assert str(folder) in str(error)
        else:
            X = fitted.runs.weights[:3]
            assert np.isfinite(fitted.gains(X[1:], X[0], fitted.objective)[0]).all()


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, "1" * 5000, '{"model": NaN}', "\x00"])
def test_a_fit_json_that_is_none_is_a_sentence(folder, text):
    (folder / "fit.json").write_text(text)
    with pytest.raises(InputError, match=r"fit\.json"):
        load_fit(folder)


@pytest.mark.parametrize("model", ["gp", "power", "lightgbm_small"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "null",
        "[1, 2]",
        "[[1], [2], [3], [4, 5]]",
        "[" * 5000,
        "NaN",
        "tree\n",
        '{"theta": [1]}',
        "[null, null]",
    ],
)
def test_a_text_that_no_regressor_wrote_is_named_with_its_target(fits, tmp_path, model, text):
    folder = shutil.copytree(fits / model, tmp_path / "fit")
    texts = json.loads((folder / "models.json").read_text())
    target = next(iter(texts))
    sealed(folder, "models.json", json.dumps(texts | {target: text}))
    with pytest.raises(InputError, match=r"models\.json: the text of metric/code_val_loss"):
        load_fit(folder)


@pytest.mark.parametrize("number", ["1e308", "-1e308", "NaN", "Infinity", "null", '"a"', "[]"])
@pytest.mark.parametrize("model", ["gp", "power"])
def test_numbers_of_a_text_that_overflow_are_refused_or_predict_finite_losses(fits, tmp_path, model, number):
    folder = shutil.copytree(fits / model, tmp_path / "fit")
    texts = json.loads((folder / "models.json").read_text())
    target = next(iter(texts))
    places = [m.span() for m in re.finditer(r"-?\d+\.\d+(e-?\d+)?", texts[target])]
    for start, end in places[:: max(len(places) // 12, 1)]:
        changed = texts[target][:start] + number + texts[target][end:]
        sealed(folder, "models.json", json.dumps(texts | {target: changed}))
        try:
            fitted = load_fit(folder)
        except InputError as error:
            assert "models.json" in str(error)
        else:
            assert np.isfinite(fitted.predict(fitted.runs.weights)[0]).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: text.split("\n")[0] + "\n",
        lambda text: text.replace("train_code", "train_other", 1),
        lambda text: text.replace("\n1,", "\n1,x", 1),
        lambda text: text[: len(text) // 2],
        lambda text: text.replace(text.split("\n")[1].split(",")[1], "7.5", 1),
        lambda text: text.replace(text.split("\n")[1].split(",")[1], "nan", 1),
    ],
)
def test_a_table_of_runs_that_no_fit_wrote_is_named(folder, change):
    sealed(folder, "runs.csv", change((folder / "runs.csv").read_text()))
    with pytest.raises(InputError, match=r"runs\.csv"):
        load_fit(folder)


@pytest.mark.parametrize("model", ["gp", "power", "lightgbm_small", "linear"])
def test_a_whole_fit_is_read_back(fits, model):
    fitted = load_fit(fits / model)
    assert fitted.model == model and np.isfinite(fitted.predict(fitted.runs.weights)).all()
