"""The report: one page that needs nothing else, says what it lacks, and shows what the files hold."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_study import Law, confirm_study, repeat_first, write_data, write_study, write_sweep

from mixture_config.files.mixture import Mixture
from proxymix.app.answer import answer
from proxymix.errors import InputError
from proxymix.files import read_yaml, write_text
from proxymix.plots.figures import ROLES, percent, shorten, signed
from proxymix.tables import read_table
from regression.report import report
from regression.reporting.report_figures import correlations, moved_weight

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A confirmed study with its report."""
    folder = write_study(tmp_path_factory.mktemp("study"), Law(5))
    report(folder, folder / "report")
    return folder


@pytest.fixture(scope="module")
def page(study):
    """The report's page."""
    return (study / "report" / "index.html").read_text()


@pytest.fixture
def tables(tmp_path):
    """Only the two tables, and their report."""
    write_sweep(tmp_path, Law(4), num_runs=12)
    report(tmp_path, tmp_path / "report")
    return tmp_path


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


def test_the_page_needs_nothing_but_itself(study, page):
    elements = Elements(page)
    assert not {tag for tag, _ in elements.found} & {"script", "link", "img", "iframe", "object"}
    assert "url(http" not in page
    assert "@import" not in page
    for tag, attributes in elements.found:
        target = attributes.get("href") or attributes.get("xlink:href")
        if tag == "a":
            assert (study / "report" / str(target)).is_file()
        elif target:
            assert target.startswith("#")


def test_ids_in_the_page_are_unique_and_those_referred_to_exist(page):
    found = Elements(page).found
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    wanted = {a["xlink:href"][1:] for _, a in found if "xlink:href" in a} | set(re.findall(r"url\(#([^)]*)\)", page))
    assert wanted <= set(ids)


def test_every_figure_has_its_png_and_its_csv(study, page):
    names = {path.stem for path in (study / "report").glob("*.png")}
    assert names == {path.stem for path in (study / "report").glob("*.csv")}
    assert names == {
        "mixtures",
        "differences",
        "seeds",
        "domain_changes",
        "predicted",
        "learning_rank",
        "learning_regret",
        "sensitivity",
        "effects",
        "correlation",
        "curves",
        "noise",
    }
    for name in names:
        assert f'href="{name}.png"' in page


def test_the_csv_behind_a_figure_holds_the_studys_numbers(study):
    optimum = Mixture.read(study / "optimal_mixture.yaml").weights
    table = read_table(study / "report" / "mixtures.csv").set_index("domain")
    assert table["weight"].to_dict() == pytest.approx(optimum, abs=1e-15)
    seeds = read_table(study / "report" / "seeds.csv")
    assert len(seeds) == 25
    predicted = read_table(study / "report" / "predicted.csv")
    assert (predicted["kind"] == "out of fold").sum() == 40


def test_the_verdict_is_the_heading_and_says_no_more_than_was_found(page):
    heading = re.search(r"<h1>(.*?)</h1>", page)[1]
    assert heading.startswith("The proposed mixture beats")
    assert "the prior" in heading


def test_the_page_says_what_was_asked_and_how_sure(study, page):
    text = words(page)
    assert "validation loss averaged over 5 domains" in text
    assert "4 million tokens" in text
    assert "5 fresh seeds" in text
    assert "95% interval" in text
    for domain in Law(5).domains:
        assert domain in text


def test_nothing_in_the_page_is_empty_or_not_a_number(page):
    text = words(page)
    assert not re.search(r"\b(nan|None|inf|NaN)\b", text)


def test_the_page_holds_no_path_of_this_machine_and_no_clock(study, page):
    assert str(study) not in page
    assert str(Path.home()) not in page
    assert not re.search(r"\b20[2-9]\d-\d\d-\d\d\b", page)
    assert not re.search(r"\b\d\d:\d\d:\d\d\b", page)


def test_colours_of_the_figures_are_the_pages_own(page):
    """So that a dark page has light lines: no colour is written into a figure."""
    drawn = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert set(re.findall(r"var\(--(\w+)\)", drawn)) <= set(ROLES.values())
    assert not re.findall(r"(?:fill|stroke): #", drawn)


def test_every_picture_is_told_in_words(page):
    labels = [a["aria-label"] for tag, a in Elements(page).found if tag == "svg"]
    assert len(labels) == 24
    assert all(len(label) > 30 for label in labels)


def test_two_tables_are_enough_and_what_is_missing_is_said(tables):
    text = words((tables / "report" / "index.html").read_text())
    assert "12 proxy runs, and no proposal yet" in text
    assert "No mixture has been proposed yet" in text
    assert "token counts not given" in text
    assert {path.name for path in (tables / "report").iterdir()} == {"index.html", "correlation.png", "correlation.csv"}


def test_without_a_confirmation_the_page_claims_nothing(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "study")
    for name in ("confirmation.yaml", "confirmation.csv"):
        (copy / name).unlink()
    report(copy, copy / "report")
    text = words((copy / "report" / "index.html").read_text())
    assert "not yet confirmed by training" in text
    assert "beats" not in text
    assert "What the regression predicts" in text


def test_a_worst_case_is_reported_in_its_unit_and_which_ceilings_were_kept(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "study")
    law, first = Law(5), Law(5).domains[0]
    weights = dict.fromkeys(law.domains, 0.02) | {first: 0.92}
    spec = {"minimise": "worst", "max_increase": "1%"}
    Mixture(weights, {"objective": spec}).write(copy / "optimal_mixture.yaml")
    confirm_study(copy, law)
    report(copy, copy / "report")
    text = words((copy / "report" / "index.html").read_text())
    kept = {target: entry["kept"] for target, entry in read_yaml(copy / "confirmation.yaml")["ceilings"].items()}
    broken = [target.split("/")[1].removesuffix("_val_loss") for target, ok in kept.items() if not ok]
    assert len(kept) == 5 and kept[f"metric/{first}_val_loss"] and broken
    assert "no target more than 1% above the prior" in text
    assert "worst z-score over 5 domains" in text and "standard deviations of the sweep against the prior" in text
    assert f"breaks the ceilings on {broken[0]}" in text
    assert text.count(" broken ") >= len(broken)
    assert "NOT kept (0 of 5 seeds)" in answer(copy)


def test_what_the_search_found_is_shown_of_the_mixture_at_hand_and_of_no_other(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "study", ignore=shutil.ignore_patterns("report", "proxies"))
    if (copy / "optimal_mixture").exists():
        (copy / "optimal_mixture").rename(copy / "proposal")
    for name in ("confirmation.yaml", "confirmation.csv"):
        (copy / name).unlink()
    report(copy, copy / "report")
    text = words((copy / "report" / "index.html").read_text())
    found = {"near_optimal", "epochs", "gains", "line"}
    assert {path.stem for path in (copy / "report").glob("*.png")} >= found
    assert "low" in read_table(copy / "report" / "mixtures.csv")
    assert "By the regression, the proposal is" in text
    assert "What else was close" in text
    assert not re.search(r"\b(nan|None|inf|NaN)\b", text)
    mixture = Mixture.read(copy / "optimal_mixture.yaml")
    weights, extra = mixture.weights, mixture.extra
    Mixture(dict.fromkeys(weights, 0.2), extra).write(copy / "optimal_mixture.yaml")
    report(copy, copy / "report")
    assert not {path.stem for path in (copy / "report").glob("*.png")} & found


def test_the_noise_floor_is_shown_where_a_mixture_was_repeated(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "study")
    assert "noise over seeds (nats" not in words((copy / "report" / "index.html").read_text())
    repeat_first(copy, Law(5), seeds=(1, 2, 3))
    report(copy, copy / "report")
    scores = read_table(copy / "regression" / "scores.csv")
    floor = scores[scores["model"] == "noise floor"].set_index("target")["rmse"]
    text = words((copy / "report" / "index.html").read_text())
    assert f"apart by {floor['objective']:.4f} (standard deviation), which no regression can foresee" in text
    assert "noise over seeds (nats/token)" in text and "95% of runs by the noise over seeds alone" in text
    assert len(floor) == 6 and all(f"{sd:.4f}" in text for sd in floor)


def test_a_confirmation_of_another_proposal_is_not_shown(study, tmp_path):
    copy = shutil.copytree(study, tmp_path / "study")
    law = Law(5)
    uniform = dict.fromkeys(law.domains, 0.2)
    Mixture(uniform, {"objective": "mean"}).write(copy / "optimal_mixture.yaml")
    shutil.rmtree(copy / "regression")  # so that there is less to draw
    report(copy, copy / "report")
    text = words((copy / "report" / "index.html").read_text())
    assert "of another proposal" in text
    assert "not yet confirmed by training" in text


def test_the_same_study_gives_the_same_bytes_in_any_process(tables):
    code = "import sys, pathlib; from regression.report import report; p = pathlib.Path(sys.argv[1]); report(p, p / 'again')"
    environment = {**os.environ, "PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "SOURCE_DATE_EPOCH": "1"}
    subprocess.run(
        [sys.executable, "-c", code, str(tables)], check=True, env=environment, cwd=ROOT, capture_output=True
    )
    for path in sorted((tables / "report").iterdir()):
        assert (tables / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_users_matplotlibrc_does_not_change_a_figure(tables, monkeypatch):
    import matplotlib as mpl

    before = (tables / "report" / "correlation.png").read_bytes()
    with mpl.rc_context({"font.size": 22, "savefig.dpi": 30, "axes.facecolor": "red"}):
        report(tables, tables / "again")
    assert (tables / "again" / "correlation.png").read_bytes() == before


def test_names_from_the_tables_are_text_not_markup(tmp_path):
    rng = np.random.default_rng(0)
    evil = '<script>alert("x")</script> & $a_b$'
    rows = [f"{i},{a},{1 - a},{b}" for i, (a, b) in enumerate(rng.uniform(size=(12, 2)), start=1)]
    write_text(
        tmp_path / "mixtures.csv",
        "index,train_a,train_b,train_c\n" + "".join(f"{r.rsplit(',', 1)[0]},0\n" for r in rows),
    )
    quoted = evil.replace('"', '""')
    losses = f'index,"{quoted}"\n' + "".join(f"{r.split(',')[0]},{r.rsplit(',', 1)[1]}\n" for r in rows)
    write_text(tmp_path / "losses.csv", losses)
    report(tmp_path, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "<script" not in page
    assert evil in words(page)


def test_many_domains_make_a_page_too(tmp_path):
    law = Law(24)
    write_sweep(tmp_path, law, num_runs=12)
    write_data(tmp_path, law)
    Mixture(dict.fromkeys(law.domains, 1 / 24), {"objective": "mean"}).write(tmp_path / "optimal_mixture.yaml")
    report(tmp_path, tmp_path / "report")
    table = read_table(tmp_path / "report" / "correlation.csv")
    assert len(table) == 24 * 25
    assert list(table["domain"][:24]) == [d for _, d in sorted(zip(-law.prior, law.domains, strict=True))]


def test_a_study_without_runs_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"no mixtures\.csv.*proxymix sweep"):
        report(tmp_path, tmp_path / "report")
    assert not (tmp_path / "report").exists()


def test_a_report_replaces_the_one_before(tables):
    (tables / "report" / "old.png").write_bytes(b"")
    report(tables, tables / "report")
    assert not (tables / "report" / "old.png").exists()


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


def test_correlations_are_spearmans():
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    weights, losses = rng.integers(0, 5, (30, 3)).astype(float), rng.normal(size=(30, 2))
    found = correlations(weights, losses)
    for row in range(3):
        for column in range(2):
            assert found[row, column] == pytest.approx(spearmanr(weights[:, row], losses[:, column]).statistic)
    assert np.isnan(correlations(np.ones((30, 1)), losses)).all()


def test_labels_lose_a_shared_prefix_only_where_they_are_too_long():
    assert shorten(["topic_1", "topic_2"], 10) == ["topic_1", "topic_2"]
    assert shorten(["the_pile_pile_cc", "the_pile_arxiv"], 10) == ["pile_cc", "arxiv"]
    assert shorten(["language_reference"], 9) == ["langu…nce"]


def test_numbers_are_written_as_a_reader_has_them():
    assert [percent(v) for v in (0, 1e-6, 0.0123, 0.456)] == ["0%", "< 0.01%", "1.23%", "45.6%"]
    assert [signed(v) for v in (-0.0841, 0.002)] == ["−0.084", "+0.002"]


def test_a_folder_that_is_no_report_is_not_replaced(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="is no earlier report"):
        report(tmp_path, tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_the_page_says_how_the_mixtures_were_drawn_as_their_files_record_it(tables):
    settings = {"design": "space_filling", "temperature": 0.3, "min_strength": 2.0, "max_strength": 16.0}
    Mixture({"a": 0.5, "b": 0.5}, settings).write(tables / "mixtures" / "n00001.yaml")
    report(tables, tables / "report")
    text = (tables / "report" / "index.html").read_text()
    assert "far from each other among Dirichlet draws around the prior to the power 0.3, concentration 2 to 16" in text
    assert "picked" not in text
    Mixture({"a": 0.5, "b": 0.5}, {"round": 2}).write(tables / "rounds" / "mixtures" / "n00002.yaml")
    report(tables, tables / "report")
    assert "drawn, 1 picked in further rounds" in (tables / "report" / "index.html").read_text()
