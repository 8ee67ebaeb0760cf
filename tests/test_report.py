"""The report: one page that needs nothing else, says what it lacks, and shows what the files hold."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import Law, built_once, confirm_study, repeat_first, write_data, write_sweep

from mixture_config.files.mixture import Mixture
from proxymix.app.answer import answer
from proxymix.errors import InputError
from proxymix.files import read_yaml, write_json, write_text
from proxymix.plots.figures import Figure
from proxymix.plots.palette import ROLES
from proxymix.plots.text import percent, shorten, signed
from proxymix.schemas import Domains
from proxymix.tables import read_table
from regression.models.registry import REGRESSORS
from regression.report import MARKER, report
from regression.reporting import study_results
from regression.reporting.figures.fit import moved_weight
from regression.reporting.rendering import render
from regression.reporting.report_figures import FIGURES, report_figures
from regression.reporting.report_html import report_html
from regression.reporting.sections.fit import models_table
from regression.reporting.sections.limits import limits
from regression.reporting.sections.summary import headline
from regression.reporting.study_results import StudyResults
from regression.search.proposal import Proposal
from regression.selection.metrics import OBJECTIVE

ROOT = Path(__file__).parent.parent
LAW = Law(5)
OF_THE_SEARCH = {"near_optimal", "epochs", "gains", "line"}


@pytest.fixture(scope="session")
def finished_report(finished_study, tmp_path_factory):
    """The report of the finished study."""
    return built_once(tmp_path_factory.getbasetemp(), "finished_report", lambda folder: report(finished_study, folder))


@pytest.fixture
def page(finished_report):
    """The page of the finished study."""
    return (finished_report / "index.html").read_text()


@pytest.fixture
def study(finished_study, tmp_path):
    """The finished study, to be changed by a test."""
    return shutil.copytree(finished_study, tmp_path / "study")


@pytest.fixture
def tables(tmp_path):
    """Only the two tables, and their report."""
    write_sweep(tmp_path, Law(4), num_runs=12)
    report(tmp_path, tmp_path / "report")
    return tmp_path


@pytest.fixture
def undrawn(monkeypatch):
    """Pages without drawings, for tests of their words."""
    monkeypatch.setattr(Figure, "svg", lambda self, width: "")


def page_of(folder: Path) -> str:
    """The page of a study, without its PNGs and CSVs."""
    study = StudyResults(folder)
    return report_html(study, report_figures(study))


class Elements(HTMLParser):
    """Every element with its attributes; complains of tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert not self._open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag, f"{tag} closes something else"

    def handle_data(self, data):
        if self._open and self._open[-1] != "style":
            self.text.append(data)


def words(page: str) -> str:
    """What a reader sees, in one line."""
    return " ".join(" ".join(Elements(page).text).split())


def part(page: str, name: str) -> str:
    """What a reader sees of the header or of a section."""
    pattern = r"<header>.*?</header>" if name == "header" else rf'<section id="{name}">.*?</section>'
    return words(re.search(pattern, page, flags=re.DOTALL)[0])


def heading(page: str) -> str:
    """The verdict."""
    return words(re.search(r"<h1>.*?</h1>", page)[0])


# ---- The page as a file


@pytest.mark.slow
def test_the_page_needs_nothing_but_itself(finished_report, page):
    elements = Elements(page)
    assert not {tag for tag, _ in elements.found} & {"script", "link", "img", "iframe", "object"}
    assert "url(http" not in page
    assert "@import" not in page
    for tag, attributes in elements.found:
        target = attributes.get("href") or attributes.get("xlink:href")
        if tag == "a" and not str(target).startswith("#"):
            assert (finished_report / str(target)).is_file()
        elif target:
            assert target.startswith("#")


def test_ids_in_the_page_are_unique_and_those_referred_to_exist(page):
    found = Elements(page).found
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["xlink:href"][1:] for _, a in found if "xlink:href" in a} | set(re.findall(r"url\(#([^)]*)\)", page))
    contents = re.findall(r'<a href="#(\w+)"', page)
    assert wanted | set(contents) <= set(ids)
    assert contents == re.findall(r'<section id="(\w+)"', page)  # the table of contents has every section


def test_every_figure_has_its_png_and_its_csv(finished_report, page):
    assert {path.stem for path in finished_report.glob("*.png")} == set(FIGURES)
    assert {path.stem for path in finished_report.glob("*.csv")} == set(FIGURES)
    assert all(f'href="{name}.png"' in page for name in FIGURES)


def test_the_csv_behind_a_figure_holds_the_studys_numbers(finished_study, finished_report):
    optimum = Mixture.read(finished_study / "optimal_mixture.yaml").weights
    table = read_table(finished_report / "mixtures.csv").set_index("domain")
    assert table["weight"].to_dict() == pytest.approx(optimum, abs=1e-15)
    assert len(read_table(finished_report / "seeds.csv")) == 25
    assert (read_table(finished_report / "predicted.csv")["kind"] == "out of fold").sum() == 40


def test_nothing_in_the_page_is_empty_or_not_a_number(page):
    assert not re.search(r"\b(nan|None|inf|NaN)\b", words(page))


def test_the_page_holds_no_path_of_this_machine_and_no_clock_but_the_day_of_its_results(finished_study, page):
    assert str(finished_study) not in page
    assert str(Path.home()) not in page
    assert not re.search(r"\b20[2-9]\d-\d\d-\d\d\b", page)
    assert not re.search(r"\b\d\d:\d\d:\d\d\b", page)


def test_colours_of_the_figures_are_the_pages_own(page):
    """So that a dark page has light lines: no colour is written into a figure."""
    drawings = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    used = set(re.findall(r"var\(--(\w+)\)", drawings))
    assert used and used <= set(ROLES.values())
    assert all(page.count(f"--{role}:") == 2 for role in ROLES.values())  # in the light and in the dark
    assert not re.findall(r"(?:fill|stroke): #", drawings)


def test_every_figure_is_told_in_words(page):
    labels = [a["aria-label"] for tag, a in Elements(page).found if tag == "svg"]
    assert len(labels) == 2 * len(FIGURES)
    assert all(len(label) > 30 for label in labels)


def test_names_from_the_tables_are_text_not_markup(tmp_path):
    rng = np.random.default_rng(0)
    evil = '<script>alert("x")</script> & $a_b$ {{ 7 * 7 }} loss'
    rows = [f"{i},{a},{1 - a},{b}" for i, (a, b) in enumerate(rng.uniform(size=(12, 2)), start=1)]
    write_text(
        tmp_path / "mixtures.csv",
        "index,train_a,train_b,train_c\n" + "".join(f"{r.rsplit(',', 1)[0]},0\n" for r in rows),
    )
    quoted = evil.replace('"', '""')
    losses = f'index,"{quoted}"\n' + "".join(f"{r.split(',')[0]},{r.rsplit(',', 1)[1]}\n" for r in rows)
    write_text(tmp_path / "losses.csv", losses)
    page = page_of(tmp_path)
    assert "<script" not in page
    assert evil in words(page)


def test_whatever_a_template_is_given_is_escaped_and_what_it_lacks_is_an_error():
    from jinja2 import UndefinedError

    data = {"title": "<b>", "finding": "a & b", "terms": []}
    assert "&lt;b&gt;" in render("question", **data) and "a &amp; b" in render("question", **data)
    del data["title"]
    with pytest.raises(UndefinedError, match="title"):
        render("question", **data)


@pytest.mark.slow
def test_the_same_study_gives_the_same_bytes_in_any_process(tables):
    code = "import sys, pathlib; from regression.report import report; p = pathlib.Path(sys.argv[1]); report(p, p / 'again')"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1"}
    subprocess.run(
        [sys.executable, "-c", code, str(tables)], check=True, env=environment, cwd=ROOT, capture_output=True
    )
    for path in sorted((tables / "report").iterdir()):
        assert (tables / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_users_matplotlibrc_does_not_change_a_figure(tables):
    import matplotlib as mpl

    before = (tables / "report" / "correlation.png").read_bytes()
    with mpl.rc_context({"font.size": 22, "savefig.dpi": 30, "axes.facecolor": "red"}):
        report(tables, tables / "again")
    assert (tables / "again" / "correlation.png").read_bytes() == before


def test_a_report_replaces_the_one_before_and_says_where_it_is(tables, capsys):
    (tables / "report" / "noise.png").write_bytes(b"")
    report(tables, tables / "report")
    assert not (tables / "report" / "noise.png").exists()
    assert str(tables / "report" / "index.html") in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["", "\0", "<html>"])
def test_a_report_that_is_damaged_is_replaced(tables, damage):
    whole = (tables / "report" / "index.html").read_bytes()
    (tables / "report" / "index.html").write_text(damage)
    report(tables, tables / "report")
    assert (tables / "report" / "index.html").read_bytes() == whole


@pytest.mark.parametrize("page", [None, "", "<html>"])
def test_a_report_of_an_older_version_is_replaced_and_a_damaged_one_at_the_studys_own_place(tables, tmp_path, page):
    (tables / "report" / MARKER).unlink()
    if page is not None:
        (tables / "report" / "index.html").write_text(page)
        shutil.copytree(tables / "report", tmp_path / "elsewhere")
        with pytest.raises(InputError, match="no earlier report"):
            report(tables, tmp_path / "elsewhere")
    report(tables, tables / "report")
    assert (tables / "report" / MARKER).exists()


@pytest.mark.parametrize(
    "names", [["thesis.tex"], ["index.html"], ["mixtures.csv"], ["index.html", "style.css"], ["site/index.html"]]
)
def test_a_folder_that_is_no_report_is_not_replaced(tables, tmp_path, names):
    for name in names:
        write_text(tmp_path / name, "precious")
    with pytest.raises(InputError, match=re.escape(str(tmp_path))):
        report(tables, tmp_path)
    assert all((tmp_path / name).read_text() == "precious" for name in names)


def test_what_a_user_laid_beside_a_report_is_not_lost(tables):
    note = tables / "report" / "notes.txt"
    note.write_text("precious")
    try:
        with pytest.raises(InputError, match=r"notes\.txt"):
            report(tables, tables / "report")
        assert note.read_text() == "precious"
    finally:
        note.unlink()


def test_a_study_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no mixtures\.csv.*proxymix sweep"):
        report(tmp_path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


# ---- What the page says


@pytest.mark.parametrize(
    ("optimum", "confirmation", "sentence"),
    [
        ({}, None, "12 proxy runs, and no proposal yet"),
        ({"a": 1}, None, "A mixture proposed by the regression, not yet confirmed by training"),
        ({"a": 1}, SimpleNamespace(verdict="The proposed mixture is worse"), "The proposed mixture is worse"),
    ],
)
def test_the_heading_says_how_far_the_study_is(optimum, confirmation, sentence):
    runs = SimpleNamespace(index=range(12))
    assert headline(SimpleNamespace(optimum=optimum, confirmation=confirmation, runs=runs)) == sentence


def test_the_page_says_what_was_asked_and_how_sure(finished_study, page):
    assert heading(page) == headline(StudyResults(finished_study))
    asked, sure = part(page, "question"), part(page, "confidence")
    assert "averaged over 5 domains" in asked and "4 million tokens" in asked and "5 of 5 measured losses" in asked
    prior = read_yaml(finished_study / "confirmation.yaml")["differences"]["prior"]["objective"]
    assert all(signed(prior[key]) in sure for key in ("mean", "low", "high"))
    assert all(signed(prior[key]) in part(page, "header") for key in ("mean", "low", "high"))
    assert all(domain in part(page, "answer") for domain in LAW.domains)


def test_two_tables_are_enough_and_what_is_missing_is_said_with_the_command_that_makes_it(tables):
    page = (tables / "report" / "index.html").read_text()
    assert heading(page).startswith("12 proxy runs")
    assert "proxymix propose" in part(page, "answer") and "proxymix fit" in part(page, "regression")
    assert "no prior" in part(page, "question")
    assert not {"limits", "confidence", "use", "proxies"} & set(re.findall(r'<section id="(\w+)"', page))
    assert {path.name for path in (tables / "report").iterdir()} == {
        MARKER,
        "index.html",
        "correlation.png",
        "correlation.csv",
    }


def test_without_a_confirmation_the_page_claims_nothing(study, undrawn):
    for name in ("confirmation.yaml", "confirmation.csv"):
        (study / name).unlink()
    page = page_of(study)
    assert "better than" not in heading(page)
    assert "proxymix confirm" in part(page, "confidence") and "proxymix confirm" in part(page, "header")
    predicted = Mixture.read(study / "optimal_mixture.yaml").extra["predicted"]
    assert f"{predicted['mean']:.3f} ({predicted['low']:.3f} to {predicted['high']:.3f})" in part(page, "confidence")


def test_the_first_screen_says_which_study_what_was_found_and_at_which_scale(finished_study, page):
    header = part(page, "header")
    assert re.search(r"report · finished_study · \d{1,2} [A-Z][a-z]+ 20\d\d", header)
    num_parameters = read_yaml(finished_study / "proxies" / "n00001" / "manifest.yaml")["num_parameters"]
    assert f"at proxy scale ({num_parameters:,} parameters, 409,600 tokens each)" in header
    assert header.index("The proposed mixture is") < header.index("weight in the mixture")  # the verdict, then the bars
    assert "finished_study" in re.search("<title>.*?</title>", page)[0]


def test_a_mixture_has_one_prediction_and_a_page_one_level_of_intervals(finished_study, page):
    proposal = Proposal.read(finished_study / "optimal_mixture.yaml")
    measured = part(page, "confidence").split("Measured and predicted")[1].split("Objective in")[0]
    assert f" {proposal.predicted.mean:.3f} " in measured
    assert all(f"{entry.predicted.mean:.3f}" in measured for entry in proposal.baselines.values())
    assert "What the regression predicts" not in page
    assert set(re.findall(r"(\d+)% (?:t )?interval", words(page))) == {"95"}


def limits_of(folder, changes):
    """What the page says of its limits after a change of the proposal's file."""
    mixture = Mixture.read(folder / "optimal_mixture.yaml")
    Mixture(mixture.weights, mixture.extra | changes).write(folder / "optimal_mixture.yaml")
    results = StudyResults(folder)
    return {limit.name: limit.meaning for limit in limits(results, report_figures(results))["limits"]}


def test_limits_that_do_not_hold_are_not_said(study):
    said = limits_of(study, {"budget": 100_000})
    assert not {"Far from every run", "The budget is assumed", "Repetition was never tested", "A sample"} & set(said)
    assert "409,600 tokens each" in said["Proxy scale"] and "corpus.counts" in said["Sizes"]


def test_limits_are_said_where_they_hold(study):
    domains = Domains.read(study / "domains.csv")
    Domains(domains.names, domains.tokens, domains.documents, domains.bytes, 2 * domains.tokens).write(
        study / "domains.csv"
    )
    last = LAW.domains[-1]
    far = {"distance": 0.34, "between_runs": {"median": 0.05, "largest": 0.2}, "untrained_domains": [last]}
    extra = Mixture.read(study / "optimal_mixture.yaml").extra
    extra["baselines"]["prior"]["gain"] |= {"mean": 9.0, "low": 8.5, "high": 9.5}
    assumed = {"support": far, "budget": 40_000_000, "budget_assumed": True}
    said = limits_of(study, assumed | {"baselines": extra["baselines"]})
    assert all(fact in said["Far from every run"] for fact in ("34.0%", "20.0%", last))
    assert "40 million" in said["The budget is assumed"]
    results = StudyResults(study)
    most = max(results.epochs, key=results.epochs.get)
    assert most in said["Repetition was never tested"] and "simulated_budget" in said["Repetition was never tested"]
    assert "against the prior (predicted −9.500 to −8.500)" in said["The prediction missed"]
    assert "Sizes" not in said and f"corpus of {2 * sum(LAW.tokens.tolist()) / 1e6:.3g} million" in said["A sample"]


def test_what_other_domains_pay_is_said(study):
    first = LAW.domains[0]
    Mixture(dict.fromkeys(LAW.domains, 0.02) | {first: 0.92}, {"objective": first}).write(
        study / "optimal_mixture.yaml"
    )
    confirm_study(study, LAW)
    paid = limits_of(study, {})["Other domains pay"]
    table = report_figures(StudyResults(study))["domain_changes"].table
    assert (
        f"on {(table['low'] > 0).sum()} of 5 domains" in paid
        and "mean over all domains, which was not the objective" in paid
    )


@pytest.mark.slow
def test_a_worst_case_is_reported_in_its_unit_and_which_limits_of_increase_were_kept(study, undrawn):
    first = LAW.domains[0]
    weights = dict.fromkeys(LAW.domains, 0.02) | {first: 0.92}
    spec = {"minimise": "worst", "max_increase": "1%"}
    Mixture(weights, {"objective": spec}).write(study / "optimal_mixture.yaml")
    confirm_study(study, LAW)
    page = page_of(study)
    kept = {target: entry["kept"] for target, entry in read_yaml(study / "confirmation.yaml")["ceilings"].items()}
    broken = [target.split("/")[1].removesuffix("_val_loss") for target, ok in kept.items() if not ok]
    assert len(kept) == 5 and kept[f"metric/{first}_val_loss"] and broken
    assert "1%" in part(page, "question") and "worst z-score over 5 domains" in part(page, "question")
    assert "standard deviations of the sweep" in part(page, "header").lower()
    assert all(name in heading(page) for name in broken) and first not in heading(page)
    assert part(page, "confidence").count(" broken ") == len(broken)
    assert "NOT kept (0 of 5 seeds)" in answer(study)


def test_what_the_search_found_is_shown_of_the_mixture_at_hand_and_of_no_other(study, undrawn):
    figures = report_figures(StudyResults(study))
    assert set(figures) >= OF_THE_SEARCH and "low" in figures["mixtures"].table
    page = report_html(StudyResults(study), figures)
    assert f"of {len(read_table(study / 'proposal' / 'candidates.csv'))} candidates" in part(page, "answer")
    mixture = Mixture.read(study / "optimal_mixture.yaml")
    Mixture(dict.fromkeys(mixture.weights, 0.2), mixture.extra).write(study / "optimal_mixture.yaml")
    assert not set(report_figures(StudyResults(study))) & OF_THE_SEARCH


@pytest.mark.slow
def test_the_noise_floor_is_shown_where_a_mixture_was_repeated(study, page, undrawn):
    assert "noise over seeds" not in part(page, "regression")
    repeat_first(study, LAW, seeds=(1, 2, 3))
    scores = read_table(study / "regression" / "scores.csv")
    floor = scores[scores["model"] == "noise floor"].set_index("target")["rmse"]
    results = StudyResults(study)
    figures = report_figures(results)
    assert figures["predicted"].table.attrs["noise"] == pytest.approx(floor[OBJECTIVE])
    text = part(report_html(results, figures), "regression")
    assert "noise over seeds (nats/token)" in text and len(floor) == 6 and all(f"{sd:.4f}" in text for sd in floor)


def test_a_confirmation_of_another_proposal_is_not_shown(study, undrawn):
    Mixture(dict.fromkeys(LAW.domains, 0.2), {"objective": "mean"}).write(study / "optimal_mixture.yaml")
    page = page_of(study)
    assert "better than" not in heading(page) and "of another proposal" in part(page, "confidence")
    assert "differences" not in report_figures(StudyResults(study))


@pytest.mark.slow
def test_many_domains_make_a_page_too(tmp_path):
    law = Law(24)
    write_sweep(tmp_path, law, num_runs=12)
    write_data(tmp_path, law)
    Mixture(dict.fromkeys(law.domains, 1 / 24), {"objective": "mean"}).write(tmp_path / "optimal_mixture.yaml")
    report(tmp_path, tmp_path / "report")
    table = read_table(tmp_path / "report" / "correlation.csv")
    assert len(table) == 24 * 25
    assert list(table["domain"][:24]) == [d for _, d in sorted(zip(-law.prior, law.domains, strict=True))]


def test_the_page_says_how_the_mixtures_were_drawn_as_their_files_record_it(tables):
    settings = {"design": "space_filling", "temperature": 0.3, "min_strength": 2.0, "max_strength": 16.0}
    Mixture({"a": 0.5, "b": 0.5}, settings).write(tables / "mixtures" / "n00001.yaml")
    asked = part(page_of(tables), "question")
    assert all(fact in asked for fact in ("12 drawn", "far from each other", "power 0.3", "concentration 2 to 16"))
    Mixture({"a": 0.5, "b": 0.5}, {"round": 2}).write(tables / "rounds" / "mixtures" / "n00002.yaml")
    assert "11 drawn, 1 picked" in part(page_of(tables), "question")


def test_every_model_is_named_as_the_registry_names_it():
    rows = [(key, OBJECTIVE, rank / 10, 0.0, 0.1, 0.5, 0.01) for rank, key in enumerate(REGRESSORS)]
    columns = ["model", "target", "spearman", "spearman_sd", "rmse", "r2", "regret"]
    scores, unit = pd.DataFrame(rows, columns=columns), SimpleNamespace(unit="nats/token")
    best = list(REGRESSORS)[-1]
    table = models_table(SimpleNamespace(scores=scores, fit=SimpleNamespace(model=best), objective=unit))
    labels = [entry.label for entry in reversed(REGRESSORS.values())]
    assert [row[0] for row in table.rows] == [f"{labels[0]}, chosen", *labels[1:]] and table.chosen == 0


# ---- The numbers behind it


def test_every_table_of_a_study_is_read_once(finished_study, monkeypatch, undrawn):
    read = Counter()

    def counting(path: Path) -> pd.DataFrame:
        read[path] += 1
        return read_table(path)

    monkeypatch.setattr(study_results, "read_table", counting)
    page_of(finished_study)
    assert len(read) >= 8 and set(read.values()) == {1}


def test_versions_of_all_stages_are_shown_and_both_where_they_differ(tables):
    for name, versions in (("a", {"x": "2", "y": "1"}), ("b", {"x": "1"})):
        write_json(tables / "stages" / f"{name}.json", {"inputs": {}, "outputs": {}, "versions": versions})
    assert StudyResults(tables).versions == {"x": "1 and 2", "y": "1"}


@given(st.lists(st.floats(0.001, 1), min_size=2, max_size=8), st.floats(-0.5, 0.5), st.data())
def test_moving_one_weight_keeps_a_mixture_and_the_others_proportions(parts, step, data):
    weights = np.array(parts) / sum(parts)
    position = data.draw(st.integers(0, len(parts) - 1))
    moved = moved_weight(weights, position, step)
    assert moved.sum() == pytest.approx(1)
    assert (moved >= 0).all()
    assert moved[position] == pytest.approx(np.clip(weights[position] + step, 0, 1))
    others = np.arange(len(parts)) != position
    if moved[others].sum() > 1e-9:
        np.testing.assert_allclose(moved[others] / moved[others].sum(), weights[others] / weights[others].sum())


def test_labels_lose_a_shared_prefix_only_where_they_are_too_long():
    assert shorten(["topic_1", "topic_2"], 10) == ["topic_1", "topic_2"]
    assert shorten(["the_pile_pile_cc", "the_pile_arxiv"], 10) == ["pile_cc", "arxiv"]
    assert shorten(["language_reference"], 9) == ["langu…nce"]


def test_numbers_are_written_as_a_reader_has_them():
    assert [percent(v) for v in (0, 1e-6, 0.0123, 0.456)] == ["0%", "< 0.01%", "1.23%", "45.6%"]
    assert [signed(v) for v in (-0.0841, 0.002)] == ["−0.084", "+0.002"]
