"""Figures of mixtures: the numbers behind them, what their texts say, and that every text can be read."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from readable import assert_readable, texts_on

from mixture_config.files.mixture_table import MixtureTable
from mixture_config.plots.corpus import Corpus, Sweep
from mixture_config.plots.coverage_chart import coverage_map
from mixture_config.plots.mixture_figures import mixture_figures
from mixture_config.plots.sweep_figures import nearest_others, principal_plane, sweep_bounds, sweep_figures
from mixture_config.visualize import visualize
from proxymix.app.cli import main
from proxymix.errors import InputError
from proxymix.plots.figures import Figure
from proxymix.plots.palette import WIDE, style
from proxymix.plots.text import distinct_labels, epochs_text, percent_whole, text_width, wrapped

TOKENS = {"web": 600, "code": 300, "math": 100}
ROWS = [{"web": 0.5, "code": 0.5}, {"web": 1.0}, {"web": 0.6, "code": 0.3, "math": 0.1}, {"web": 0.2, "code": 0.8}]


def write_domains(folder: Path, tokens: dict[str, int] = TOKENS) -> Path:
    path = folder / "domains.csv"
    path.write_text("domain,tokens\n" + "".join(f"{name},{count}\n" for name, count in tokens.items()))
    return path


def write_sweep(folder: Path, more: str = "") -> Path:
    """The four mixtures as YAMLs that leave zeros out, the third of them an anchor."""
    (folder / "mixtures").mkdir(parents=True)
    for number, row in enumerate(ROWS, start=1):
        text = "train:\n" + "".join(f"  train_{name}: {weight}\n" for name, weight in row.items()) + more
        (folder / "mixtures" / f"n{number:05d}.yaml").write_text(text + ("anchor: prior\n" if number == 3 else ""))
    return folder / "mixtures"


def write_csv(folder: Path) -> Path:
    rows = [",".join(str(row.get(name, 0.0)) for name in TOKENS) for row in ROWS]
    header = "index," + ",".join(f"train_{name}" for name in TOKENS)
    (folder / "mixtures.csv").write_text("\n".join([header, *(f"{i},{row}" for i, row in enumerate(rows, 1))]) + "\n")
    return folder / "mixtures.csv"


def write_mixture(path: Path, row: dict[str, float]) -> str:
    path.write_text("train:\n" + "".join(f"  train_{name}: {weight}\n" for name, weight in row.items()))
    return str(path)


@pytest.fixture
def unpainted(monkeypatch):
    """Figures without pixels, for tests of what is in the tables."""
    monkeypatch.setattr(Figure, "png", lambda self: b"")


def table(folder: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(folder / f"{name}.csv", index_col=0)


def random_sweep(num_domains: int, num_mixtures: int = 60, long_names: bool = True) -> tuple[Sweep, Corpus]:
    """A sparse sweep over domains of Zipf's sizes, whose names have up to 40 letters."""
    rng = np.random.default_rng(0)
    names = [
        f"{'a_rather_long_name_of_a_domain_' if long_names else ''}{'wide' * (i % 3)}_{i}"[-40:]
        for i in range(num_domains)
    ]
    names[0] = "W" * 40
    tokens = (1e9 / np.arange(1, num_domains + 1)).astype(int).astype(float)
    weights = rng.dirichlet(0.3 * num_domains * tokens / tokens.sum(), size=num_mixtures)
    weights = np.where(weights < 2e-4, 0, weights)
    weights /= weights.sum(axis=1, keepdims=True)
    anchors = ["prior", "temperature", f"vertex {names[0]}"] + [""] * (num_mixtures - 3)
    sweep = Sweep(MixtureTable(list(range(1, num_mixtures + 1)), names, weights), anchors, {"maximum_usage": 15.0})
    return sweep, Corpus(names, tokens, 10**9, 4.0)


@pytest.mark.parametrize("num_domains", [6, pytest.param(64, marks=pytest.mark.slow)])
def test_no_text_covers_another_or_leaves_the_figure(num_domains):
    sweep, corpus = random_sweep(num_domains)
    rows = sweep.mixtures.weights[3:7]
    given = {f"mixture_{i}": dict(zip(corpus.domains, row, strict=True)) for i, row in enumerate(rows)}
    figures = sweep_figures(sweep, corpus, {"optimal_mixture": given["mixture_0"]}) + mixture_figures(given, corpus)
    assert [f.name for f in figures] == [
        "weights", "active", "coverage", "distances", "epochs", "mixture", "mixture_epochs",
    ]  # fmt: skip
    for figure in figures:
        assert_readable(figure)


def test_names_are_whole_up_to_40_letters_and_stay_apart_beyond():
    sweep, corpus = random_sweep(6)
    weights = sweep_figures(sweep, corpus, {})[0]
    assert "W" * 40 in [text for text, _ in texts_on(weights)[1]]
    alike = ["x" * 30 + "a" + "x" * 30, "x" * 30 + "b" + "x" * 30]
    labels = distinct_labels(alike, 40)
    assert len(set(labels)) == 2 and max(map(len, labels)) < 61
    assert max(map(len, distinct_labels(["y" * 90, "z" * 90], 40))) <= 40


@pytest.mark.slow
def test_a_figure_of_many_domains_shows_the_largest_and_says_what_it_leaves_out():
    weights = sweep_figures(*random_sweep(200), {})[0]
    assert_readable(weights)
    shown = [text for text, _ in texts_on(weights)[1]]
    assert len(weights.table) == 200 and "W" * 40 in shown
    assert sum(name in shown for name in weights.table["domain"]) == 64
    assert "other 136" in weights.note and "% of the tokens" in weights.note


@pytest.mark.parametrize("num_mixtures", [3, 5_000])
def test_few_and_many_mixtures_are_readable_too(num_mixtures):
    for figure in sweep_figures(*random_sweep(8, num_mixtures), {}):
        assert_readable(figure)


def test_the_tables_hold_the_numbers(tmp_path, capsys):
    out = tmp_path / "figures"
    visualize(
        out, write_sweep(tmp_path, "maximum_usage: 2\n"), domains=write_domains(tmp_path), budget=1_000, max_epochs=1
    )
    names = ["weights", "active", "coverage", "distances", "epochs"]
    assert sorted(p.name for p in out.iterdir()) == sorted(f"{n}.{kind}" for n in names for kind in ("csv", "png"))
    printed = capsys.readouterr().out
    assert all(str(out / f"{name}.png") in printed for name in names)

    weights = table(out, "weights")
    assert list(weights.index) == ["web", "code", "math"]
    np.testing.assert_allclose(weights["prior"], [0.6, 0.3, 0.1])
    np.testing.assert_allclose(weights["largest_allowed"], [1, 0.6, 0.2])
    np.testing.assert_allclose(weights["epoch_limit"], [0.6, 0.3, 0.1])
    np.testing.assert_allclose(weights["used"], [1, 0.75, 0.25])
    np.testing.assert_allclose(weights["mean"], [0.575, 0.4, 0.025])
    np.testing.assert_allclose(weights["median"], [0.55, 0.5, 0.1])
    np.testing.assert_allclose(weights["highest"], [1, 0.8, 0.1])

    active = table(out, "active")
    assert list(active["active_domains"]) == [2, 1, 3, 2]
    np.testing.assert_allclose(active["effective_domains"][[1, 2]], [2, 1])
    assert list(active["largest_domain"]) == ["web", "web", "web", "code"]

    distances = table(out, "distances")
    np.testing.assert_allclose(distances["distance"], [0.2, 0.4, 0.2, 0.3])
    assert list(distances["nearest"]) == [3, 3, 1, 1]

    epochs = table(out, "epochs")
    np.testing.assert_allclose(epochs["highest"], [1 / 0.6, 0.8 / 0.3, 1])
    np.testing.assert_allclose(epochs["over"], [0.25, 0.5, 0])

    coverage = pd.read_csv(out / "coverage.csv")
    assert coverage.groupby("kind").size().to_dict() == {"anchor": 2, "domain": 3, "mixture": 4}
    at = coverage.set_index(["kind", "name"])[["x", "y"]]
    np.testing.assert_allclose(at.loc[("anchor", "prior")], at.loc[("mixture", "3")])


def test_a_repeat_of_an_anchor_is_no_mark_of_its_own_on_the_map(tmp_path, unpainted):
    folder = write_sweep(tmp_path)
    (folder / "n00005.yaml").write_text((folder / "n00003.yaml").read_text() + "repeat: 1\n")
    visualize(tmp_path / "figures", folder)
    coverage = pd.read_csv(tmp_path / "figures" / "coverage.csv")
    assert coverage[coverage["kind"] == "anchor"]["name"].tolist() == ["prior", "uniform"]
    assert (coverage["kind"] == "mixture").sum() == 5
    assert set(pd.read_csv(tmp_path / "figures" / "distances.csv")["index"]) == {1, 2, 3, 4}


def test_a_mixture_is_drawn_beside_the_prior_and_the_baselines(tmp_path, unpainted):
    out = tmp_path / "figures"
    given = [
        write_mixture(tmp_path / "optimal_mixture.yaml", {"web": 0.4, "code": 0.4, "math": 0.2}),
        write_mixture(tmp_path / "prior.yaml", {"code": 1.0}),
    ]
    visualize(out, mixture=given, domains=write_domains(tmp_path), budget=1_000, max_epochs=3)
    weights = table(out, "mixture")
    assert {"prior", "uniform", "temperature", "optimal_mixture", "prior.yaml"} <= set(weights.columns)
    np.testing.assert_allclose(weights["optimal_mixture"], [0.4, 0.4, 0.2])
    np.testing.assert_allclose(weights["prior"], [0.6, 0.3, 0.1])
    np.testing.assert_allclose(weights["prior.yaml"], [0, 1, 0])
    np.testing.assert_allclose(table(out, "mixture_epochs")["optimal_mixture"], [0.4 / 0.6, 0.4 / 0.3, 2])
    assert not (out / "weights.png").exists()


def test_without_a_table_nothing_is_claimed_about_the_prior(tmp_path, capsys, unpainted):
    out = tmp_path / "figures"
    visualize(out, write_sweep(tmp_path), mixture=[str(tmp_path / "mixtures" / "n00001.yaml")], budget=1_000)
    assert "prior" not in table(out, "weights").columns and "prior" not in table(out, "mixture").columns
    assert not (out / "epochs.png").exists() and "no --domains" in capsys.readouterr().err


@pytest.mark.slow
def test_same_input_same_bytes(tmp_path):
    sweep = write_sweep(tmp_path)
    for name in ("a", "b"):
        visualize(tmp_path / name, sweep, [str(sweep / "n00001.yaml")])
    files = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert len(files) == 10
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)


def test_a_csv_finds_its_settings_in_the_folder_beside_it_unless_that_is_of_another_sweep(tmp_path, capsys, unpainted):
    write_sweep(tmp_path, "maximum_usage: 2\nbudget: 1000\nmax_epochs: 1\n")
    sweep, domains = write_csv(tmp_path), write_domains(tmp_path)
    visualize(tmp_path / "own", sweep, domains=domains)
    np.testing.assert_allclose(table(tmp_path / "own", "weights")["largest_allowed"], [0.6, 0.3, 0.1])
    assert (tmp_path / "own" / "epochs.png").exists()
    sweep.write_text(sweep.read_text().replace("1,0.5,0.5", "1,0.4,0.6"))
    visualize(tmp_path / "other", sweep, domains=domains)
    assert "largest_allowed" not in table(tmp_path / "other", "weights")
    assert str(tmp_path / "mixtures") in capsys.readouterr().err


def test_bounds_are_those_the_sweep_was_drawn_within():
    corpus = Corpus(["web", "code", "math"], np.array([600.0, 300.0, 100.0]), None, 4.0)
    lower, upper = sweep_bounds(corpus, {"maximum_usage": 2.0, "budget": 4_000, "max_epochs": 3})
    np.testing.assert_allclose(upper, [0.45, 0.225, 0.075])
    np.testing.assert_allclose(lower, 0)
    lower, upper = sweep_bounds(corpus, {"maximum_usage": 2.0, "limits": {"code": {"min": 0.1, "max": 0.5}}})
    np.testing.assert_allclose((lower[1], upper[1], upper[2]), (0.1, 0.5, 0.2))


def test_one_mixture_or_equal_ones_have_no_map(tmp_path, capsys, unpainted):
    for number in (1, 2, 3):
        write_mixture(tmp_path / f"n{number}.yaml", {"web": 0.5, "code": 0.5})
    visualize(tmp_path / "figures", tmp_path)
    assert not (tmp_path / "figures" / "coverage.png").exists() and "no map" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "settings", "facts"),
    [
        ({"web": 0.5, "cod": 0.5}, {}, ("m.yaml", "cod", "domains.csv", "did you mean code?")),
        ({"web": 1.0}, {"budget": 0}, ("--budget 0",)),
        ({"web": 1.0}, {"max_epochs": -1.0}, ("--max_epochs -1",)),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(tmp_path, rows, settings, facts):
    given = write_mixture(tmp_path / "m.yaml", rows)
    with pytest.raises(InputError) as error:
        visualize(tmp_path / "figures", mixture=[given], domains=write_domains(tmp_path), **settings)
    assert all(fact in str(error.value) for fact in facts)
    assert not (tmp_path / "figures").exists()


def test_a_domain_of_another_corpus_is_refused_with_the_nearest_name(tmp_path, monkeypatch):
    """The one snapshot of this family of messages."""
    monkeypatch.chdir(tmp_path)
    write_mixture(Path("m.yaml"), {"web": 0.5, "cod": 0.5})
    write_domains(Path())
    with pytest.raises(InputError) as error:
        visualize(Path("figures"), mixture=["m.yaml"], domains=Path("domains.csv"))
    assert str(error.value) == (
        "m.yaml: cod is not in domains.csv; did you mean code?; give the mixtures and the table of one corpus"
    )


def test_a_sweep_and_a_table_of_two_corpora_are_refused(tmp_path):
    sweep = write_csv(tmp_path)
    with pytest.raises(InputError, match=r"mixtures\.csv: math .*domains\.csv"):
        visualize(tmp_path / "figures", sweep, domains=write_domains(tmp_path, {"web": 1, "code": 1}))
    with pytest.raises(InputError, match=r"mixtures\.csv: .*books, law.*domains\.csv"):
        visualize(tmp_path / "figures", sweep, domains=write_domains(tmp_path, {**TOKENS, "books": 1, "law": 1}))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: .*proxymix synthesize"):
        visualize(tmp_path / "figures", tmp_path / "empty")
    assert not (tmp_path / "figures").exists()


def test_what_cannot_be_drawn_together_is_said(tmp_path):
    given = write_mixture(tmp_path / "m.yaml", {"web": 1.0})
    with pytest.raises(InputError, match=r"--mixtures.*--mixture"):
        visualize(tmp_path)
    with pytest.raises(InputError, match=r"--mixture: 5 .* 4 .*--mixtures"):
        visualize(tmp_path, mixture=[given] * 5)
    with pytest.raises(InputError, match=r"--mixture: .*m\.yaml.* twice"):
        visualize(tmp_path, mixture=[given, given, given, given])


def test_the_command_takes_a_studys_files(tmp_path, unpainted):
    write_sweep(tmp_path)
    write_csv(tmp_path)
    write_domains(tmp_path)
    assert main(["visualize", "--study", str(tmp_path)]) == 0
    assert (tmp_path / "figures" / "epochs.png").exists()  # a study has a budget
    assert main(["visualize", "--mixtures", str(tmp_path / "nowhere"), "--out", str(tmp_path / "x")]) == 2


def test_the_nearest_other_mixture_is_found_for_the_chosen_ones():
    weights = np.array([[1, 0, 0], [0.9, 0.1, 0], [0, 0, 1], [0, 0.05, 0.95]])
    other, distance = nearest_others(weights, np.array([0, 3]))
    assert list(other) == [1, 2]
    np.testing.assert_allclose(distance, [0.1, 0.05])


def test_the_map_keeps_what_lies_in_a_plane():
    rng = np.random.default_rng(0)
    flat = rng.normal(size=(20, 2)) @ rng.normal(size=(2, 5))
    plane, explained = principal_plane(flat)
    assert sum(explained) == pytest.approx(1)
    places = plane(flat)
    for a, b in ((0, 1), (3, 9)):
        assert np.linalg.norm(places[a] - places[b]) == pytest.approx(np.linalg.norm(flat[a] - flat[b]))
    assert principal_plane(np.array([[0.0], [1.0]]))[0](np.array([[1.0]])).shape == (1, 2)


def test_titles_are_cut_at_words_into_lines_that_fit():
    lines = wrapped("a sentence of several words that is too long for one line", 120, 9)
    assert len(lines) > 1 and " ".join(lines) == "a sentence of several words that is too long for one line"
    assert all(text_width(line, 9) <= 120 for line in lines)


def test_numbers_are_never_rounded_to_what_they_are_not():
    assert [percent_whole(v) for v in (0, 1e-5, 0.004, 0.37, 0.9999, 1)] == [
        "0%", "< 0.1%", "0.4%", "37%", "> 99%", "100%",
    ]  # fmt: skip
    assert [epochs_text(v, 3) for v in (0, 1e-5, 0.0312, 1.5, 12.34)] == ["0", "< 0.001", "0.031", "1.50", "12.3"]


def test_names_on_the_map_stay_within_it():
    """A triangle at one edge used to move those that were placed before: y is tight here, and x has room to move."""
    ends = [(-0.7, 0.2), (1.2, 0.2)]
    places = [(0, -1), (0, 1), (0.1, 0), (-0.1, 0), *ends]
    kinds, names = ["mixture"] * 4 + ["domain"] * 2, ["1", "2", "3", "4", "encyclopedias_and_more", "code"]
    table = pd.DataFrame({"kind": kinds, "name": names, "x": [x for x, _ in places], "y": [y for _, y in places]})
    table.attrs["explained"] = (0.5, 0.3)
    figure = Figure("coverage", table, coverage_map, "", height=560, title="Where 4 mixtures lie")
    with style(figure.name, margin=0.14):
        canvas = figure.canvas(WIDE)
        canvas.draw_without_rendering()
        axes = canvas.subfigs[1].axes[0]
        boxes = [text.get_window_extent(canvas.canvas.get_renderer()) for text in axes.texts]
    assert boxes and all(axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 for box in boxes)


def test_one_domain_has_room_for_its_row():
    sweep, corpus = random_sweep(1)
    assert_readable(sweep_figures(sweep, corpus, {})[0])


@pytest.mark.parametrize("wrong", ["maximum_usage: lots", "budget: many", "budget: 0", "limits: [1]"])
def test_a_recorded_setting_that_cannot_be_drawn_is_named(tmp_path, wrong):
    (tmp_path / "mixtures").mkdir()
    text = f"train: {{train_web: 0.5, train_code: 0.5}}\n{wrong}\n"
    (tmp_path / "mixtures" / "n00001.yaml").write_text(text)
    (tmp_path / "mixtures.csv").write_text("index,train_web,train_code\n1,0.5,0.5\n")
    with pytest.raises(InputError, match=rf"n00001\.yaml: {wrong.partition(':')[0]} is"):
        visualize(tmp_path / "figures", tmp_path)
