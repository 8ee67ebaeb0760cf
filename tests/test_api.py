"""`import proxymix`: calls return what the commands write, take tables in memory, and write only where they are told to."""

import inspect
import pydoc
import re
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic_study import BUDGET, Law, write_data, write_sweep

import proxymix
from proxymix.app.calls import flags
from proxymix.app.results import FitResult, SweepResult
from proxymix.app.shown import html_page, html_table
from proxymix.errors import InputError
from proxymix.tables import read_table
from regression.fit import fit as fit_stage
from regression.propose import propose as propose_stage

LAW = Law(3)
DOMAINS = dict(zip(LAW.domains, LAW.tokens.tolist(), strict=True))
FUNCTIONS = [getattr(proxymix, name) for name in proxymix.__all__ if name.islower()]
QUICK = {"model": "gp", "num_repeats": 1, "workers": 1}
SEARCH = {"num_curves": 2, "num_splits": 1, "workers": 1, "num_candidates": 500, "num_averaged": 8}


@pytest.fixture(scope="module")
def tables(tmp_path_factory) -> Path:
    """A folder with the two tables, domains.csv, and the fit of the command."""
    folder = tmp_path_factory.mktemp("tables")
    write_sweep(folder, LAW, num_runs=12)
    write_data(folder, LAW)
    fit_stage(folder / "mixtures.csv", folder / "losses.csv", folder / "fit", **QUICK)
    return folder


@pytest.fixture(scope="module")
def fitted(tables) -> FitResult:
    return proxymix.fit(tables / "mixtures.csv", tables / "losses.csv", **QUICK)


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    """The working directory and the folder for temporary files; neither may hold anything in the end."""
    scratch, here = tmp_path / "scratch", tmp_path / "here"
    scratch.mkdir()
    here.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    monkeypatch.chdir(here)
    yield
    assert not list(scratch.iterdir()) and not list(here.iterdir())


def test_a_fit_is_that_of_the_command_byte_by_byte(tables, fitted):
    assert fitted.files == {name: (tables / "fit" / name).read_bytes() for name in fitted.files}
    assert {"fit.json", "models.json", "scores.csv", "runs.csv"} <= fitted.files.keys()
    assert fitted.model == "gp" and fitted.domains == LAW.domains and "mean of 3 targets" in repr(fitted)


@pytest.mark.parametrize("index", ["column", "index", "unnamed index"])
def test_data_frames_give_what_their_files_give(tables, fitted, index):
    frames = [read_table(tables / f"{name}.csv") for name in ("mixtures", "losses")]
    frames[1] = frames[1].iloc[::-1]  # rows meet by key
    if index != "column":
        frames = [frame.set_index("index") for frame in frames]
    if index == "unnamed index":
        frames = [frame.rename_axis(None) for frame in frames]
    assert proxymix.fit(*frames, **QUICK).files["models.json"] == fitted.files["models.json"]


def test_a_proposal_is_that_of_the_command_and_is_saved_as_the_command_writes_it(tables, fitted, tmp_path):
    settings = {"num_curves": 2, "num_splits": 1, "workers": 1}
    ours = proxymix.propose(fitted, DOMAINS, **settings)
    propose_stage(tables / "fit", tmp_path / "theirs.yaml", tables / "domains.csv", **settings)
    saved = ours.save(tmp_path / "ours.yaml")
    assert saved.read_bytes() == (tmp_path / "theirs.yaml").read_bytes()
    names = sorted(path.name for path in (tmp_path / "theirs").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "ours").iterdir())
    assert all((tmp_path / "ours" / n).read_bytes() == (tmp_path / "theirs" / n).read_bytes() for n in names)


def test_what_is_returned_goes_into_the_next_call(fitted):
    heuristic = proxymix.baseline(DOMAINS, method="temperature", temperature=0.5, budget=BUDGET)
    found = proxymix.propose(fitted, DOMAINS, budget=float(BUDGET), heuristic=heuristic, num_next=3, **SEARCH)
    assert {"prior", "heuristic", "uniform"} <= set(found.gains.index)
    assert list(found.table.index) == LAW.domains and {"weight", "prior", "epochs", "epochs_cap"} <= set(
        found.table.columns
    )
    assert found.table["weight"].sum() == pytest.approx(1) and found.proposal.budget == BUDGET
    predicted = proxymix.predict(fitted, found)
    assert list(predicted.columns[::2]) == fitted.targets and len(predicted) == 1
    assert list(proxymix.predict(fitted, found.next).index) == [13, 14, 15]
    sweep = proxymix.synthesize(DOMAINS, 4, design="around", around=found, seed=np.int64(7), holdout=2)
    assert sweep.table.shape == (4, 3) and len(sweep.holdout) == 2 and sweep.settings["seed"] == 7
    text = proxymix.export(found, "olmo_core", {d: Path("data") / d for d in DOMAINS}, domains=DOMAINS)
    assert all(f"data/{domain}" in text for domain in DOMAINS)
    assert "x.npy" in proxymix.export({"a": 1.0}, "olmo_core", {"a": ["w.npy", "x.npy"]}, budget=5, domains={"a": 9})
    shown = [value._repr_html_() + repr(value) for value in (fitted, heuristic, found, sweep)]
    assert all(LAW.domains[0] in text or "gp" in text for text in shown)
    assert found.verdict in shown[2]


def test_one_mixture_is_predicted_by_its_weights(fitted):
    uniform = dict.fromkeys(LAW.domains, 1 / 3)
    rows = [proxymix.predict(fitted, given) for given in (uniform, pd.Series(uniform), pd.DataFrame([uniform]))]
    mean, std = fitted.fitted.predict(np.full((1, 3), 1 / 3))
    assert all(np.allclose(row.to_numpy()[0, ::2], mean[0]) for row in rows)
    assert np.allclose(rows[0].to_numpy()[0, 1::2], std[0])


def test_files_are_written_where_out_says_so(tables, fitted, tmp_path):
    saved = fitted.save(tmp_path / "saved")
    assert proxymix.fit(tables / "mixtures.csv", tables / "losses.csv", out=tmp_path / "fit", **QUICK)
    assert {p.name for p in saved.iterdir()} == {p.name for p in (tmp_path / "fit").iterdir()} == set(fitted.files)
    sweep = proxymix.synthesize(DOMAINS, 4, out=str(tmp_path / "sweep"))
    assert (tmp_path / "sweep" / "mixtures" / "n00004.yaml").read_bytes() == sweep.files["mixtures/n00004.yaml"]
    assert SweepResult.read(sweep.save(tmp_path / "copy")).files == sweep.files
    with pytest.raises(InputError, match=r"copy: holds mixtures"):
        sweep.save(tmp_path / "copy")
    baseline = proxymix.baseline(DOMAINS, out=tmp_path / "b.yaml")
    assert yaml.safe_load((tmp_path / "b.yaml").read_text())["train"] == {
        f"train_{k}": v for k, v in baseline.weights.items()
    }
    assert proxymix.export(baseline, "megatron", "data/{domain}", out=tmp_path / "x") == (tmp_path / "x").read_text()
    assert (
        read_table(tmp_path / "predictions.csv") is not None
        if proxymix.predict(fitted, baseline, out=tmp_path / "predictions.csv").size
        else False
    )


@pytest.mark.parametrize(
    ("call", "texts"),
    [
        (lambda t, f: proxymix.fit(t / "mixtures.csv", t / "losses.csv", modle="gp"), ["modle", "did you mean model"]),
        (lambda t, f: proxymix.fit(t / "mixtures.csv", 3), ["losses is 3", "DataFrame"]),
        (lambda t, f: proxymix.fit(t / "mixtures.csv", read_table(t / "losses.csv").head(9)), ["losses", "index 10, 11, 12"]),
        (lambda t, f: proxymix.propose(f, {"c_headers": 5}), ["domains: lacks", "python_source"]),
        (lambda t, f: proxymix.propose(f, DOMAINS, budget="many"), ["budget: 'many' is not a whole number"]),
        (lambda t, f: proxymix.propose(f, DOMAINS, details="x"), ["details: no such setting"]),
        (lambda t, f: proxymix.propose(3), ["fit is 3", "proxymix.fit"]),
        (lambda t, f: proxymix.predict("nowhere", {"a": 1.0}), ["nowhere", "no finished fit"]),
        (lambda t, f: proxymix.predict(f, {"a": 0.3}), ["mixtures", "sum to 0.3"]),
        (lambda t, f: proxymix.export({"a": 1.0}, "megatrn"), ["megatrn", "megatron"]),
        (lambda t, f: proxymix.synthesize({"a": 1, "b": 2}, 4, limits={"c": 0.1}), ["domains", "limits", "c"]),
        (lambda t, f: proxymix.figures("fit"), ["'fit' is no fit, sweep or study"]),
        (lambda t, f: proxymix.figures(f, budget=5), ["budget is not for a FitResult"]),
        (lambda t, f: proxymix.study("nowhere"), ["nowhere", "proxymix run"]),
    ],
)  # fmt: skip
def test_a_mistake_is_an_error_that_names_the_parameter(tables, fitted, call, texts):
    with pytest.raises(InputError) as caught:
        call(tables, fitted)
    assert all(text in str(caught.value) for text in texts), caught.value
    assert "scratch" not in str(caught.value) and "proxymix-" not in str(caught.value)


def test_messages_name_the_parameter_and_no_file_that_is_gone(tables, capsys):
    mixtures = read_table(tables / "mixtures.csv").set_index("index")
    proxymix.fit(mixtures * 1.005, tables / "losses.csv", **QUICK)
    printed = capsys.readouterr()
    assert re.search(r"^mixtures: 12 of 12 rows sum to 1.005", printed.err, re.M)
    assert not printed.out and "scratch" not in printed.err and not re.search("^(Next|Written)", printed.err, re.M)


def test_messages_say_where_the_files_are_that_were_asked_for(tmp_path, capsys):
    proxymix.synthesize(DOMAINS, 4, out=tmp_path / "sweep")
    assert str(tmp_path / "sweep") in capsys.readouterr().err


@pytest.mark.slow
def test_figures_of_what_was_found_show_themselves_and_are_written_when_asked(fitted, tmp_path):
    found = proxymix.propose(fitted, DOMAINS, budget=BUDGET, **SEARCH)
    sweep = proxymix.synthesize(DOMAINS, 8)
    of_fit, of_sweep = (
        proxymix.figures(fitted, found, domains=DOMAINS),
        proxymix.figures(sweep, mixtures={"mine": found}),
    )
    assert {"predicted", "effects", "gains", "mixtures", "epochs"} <= of_fit.keys()
    assert {"coverage", "distances", "mixture"} <= of_sweep.keys()
    image, size = of_fit["gains"]._repr_png_()
    assert image.startswith(b"\x89PNG") and size["width"] == 680 and len(image) < 60_000
    of_sweep["distances"].write(tmp_path / "figures")
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"distances.png", "distances.csv"}


def test_names_from_data_are_escaped_in_html():
    table = pd.DataFrame({"<i>weight": [0.25, float("nan")]}, index=pd.Index(["<b>a", "b&c"], name="<u>domain"))
    html = html_page("<p>", html_table(table, marked="<b>a", bar_of="<i>weight"), "<script>")
    assert not re.search(r"<(i|u|script|b>a)", html)
    assert "&lt;b&gt;a" in html and "b&amp;c" in html and "&lt;script&gt;" in html and "width:75px" in html


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_help_explains_every_parameter(function):
    text = inspect.getdoc(function)
    assert "SETTINGS" not in text
    for name, parameter in inspect.signature(function).parameters.items():
        assert re.search(rf"^ +{name}: \w", text, re.M), name
        assert parameter.annotation is not inspect.Parameter.empty
    assert function.__name__ in dir(proxymix) and f"{function.__name__}(" in pydoc.plain(pydoc.render_doc(proxymix))


def test_a_name_that_is_not_offered_is_answered_with_those_that_are():
    with pytest.raises(AttributeError, match=r"'fitt'; it offers .*fit"):
        proxymix.fitt  # noqa: B018


def test_settings_of_a_study_are_flags_of_the_command():
    settings = {
        "budget": 25e9,
        "train": {"tokens": 5, "models_per_process": None},
        "propose": {"limits": {"a": 0.1}},
        "sweep": {"save": True},
    }
    assert flags(settings) == [
        "--budget=25000000000.0", "--train.tokens=5", "--train.models_per_process=null", '--propose.limits={"a": 0.1}', "--sweep.save=true",
    ]  # fmt: skip
    assert flags({"fit": {"targets": ["a", "b"]}}) == ["--fit.targets", "a", "b"]


def test_a_study_is_read(finished_study):
    study = proxymix.study(finished_study)
    assert study.config["budget"] == BUDGET and study.config["train.tokens"] == 409_600
    assert list(study.mixtures.index) == list(study.losses.index) == list(range(1, 41))
    assert study.proposal.weights.keys() == set(study.domains.index) == set(study.fit.domains)
    assert study.confirmation.verdict in study._repr_html_()
    assert f"{max(study.proposal.weights.values()):.4f}" in repr(study)
    assert "weights" in study.proposal.tables and study.status.loc["harvest", "state"] == "missing"


def test_a_study_that_is_not_finished_says_what_is_missing(tmp_path):
    (tmp_path / "study.yaml").write_text("budget: 5\n")
    study = proxymix.study(tmp_path)
    assert "optimal_mixture.yaml" in repr(study) and "sweep" in study._repr_html_()
    with pytest.raises(InputError, match=r"domains.csv"):
        study.domains  # noqa: B018
