"""Charts of a fit and of a proposal: every label can be read, and what is drawn is what the table says."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.figure import Figure as Canvas
from readable import assert_readable, texts

from proxymix.plots.figures import Figure
from proxymix.plots.palette import MEASURED, MUTED, NARROW, OTHER, PROPOSED, ROLES, WIDE, style
from proxymix.plots.rows import MAX_ROWS
from proxymix.plots.text import distinct_labels
from regression.reporting.charts import confirmation, fit, heat_maps, proposal
from regression.reporting.charts.shared import ROWS

LONG = [
    "common_crawl_high_quality_finance_and_business",
    "s2pdf_science_math_and_technology",
    "stackexchange",
    "wikipedia_(en)",
]


def names(num: int) -> list[str]:
    """Names as corpora have them: long, and alike at both ends."""
    return [*LONG, *(f"common_crawl_{i:03d}_{('law', 'sports_and_outdoors', 'code')[i % 3]}" for i in range(num))][:num]


def weights_table(num: int) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    prior = np.sort(rng.dirichlet(np.full(num, 0.4)))[::-1]
    weight = rng.dirichlet(6 * prior + 0.15)
    half = 0.3 * weight + 0.004
    heuristic = prior**0.7 / (prior**0.7).sum()
    return pd.DataFrame(
        {
            "domain": names(num),
            "prior": prior,
            "weight": weight,
            "low": np.maximum(weight - half, 0),
            "high": np.minimum(weight + half, 1),
            "heuristic": heuristic,
        }
    )


def near_table(num: int) -> pd.DataFrame:
    table = weights_table(num)
    weights = np.random.default_rng(1).dirichlet(60 * table["weight"] + 0.05, 50)
    near = pd.DataFrame(weights, columns=[f"train_{name}" for name in table["domain"]])
    return proposal.near_optimal_ranges(near, table)


def effects_table(num: int) -> pd.DataFrame:
    rng = np.random.default_rng(2)
    targets = ["objective", *(f"metric/{name}_val_loss" for name in names(min(num, 13 if num < 100 else 5)))]
    rows = [(t, d, *rng.uniform(-1, 1, 2)) for t in targets for d in names(num)]
    table = pd.DataFrame(rows, columns=["target", "domain", "correlation", "effect"])
    return table.assign(effect=0.2 * table["effect"])


def epochs_table(num: int) -> pd.DataFrame:
    table = weights_table(num)
    tokens = (2e10 * table["prior"]).astype(int) + 1
    epochs = np.minimum(2.5e10 * table["weight"] / tokens, 4.0)
    return pd.DataFrame(
        {"domain": names(num), "tokens": tokens, "weight": table["weight"], "epochs": epochs, "cap": 4.0}
    )


def line_table(num: int) -> pd.DataFrame:
    step = np.linspace(0, 1, 11)
    mean = 3.2 - 0.09 * step * (2 - step)
    return pd.DataFrame({"step": step, "mean": mean, "low": mean - 0.02, "high": mean + 0.02})


def gains_table(num: int) -> pd.DataFrame:
    rows = [
        ("prior", 0.09, 0.07, 0.04, 0.1, True),
        ("heuristic", 0.06, 0.03, -0.01, 0.07, True),
        ("uniform", 0.2, 0.2, 0.1, 0.2, False),
    ]
    return pd.DataFrame(rows, columns=["baseline", "gain", "judged", "low", "high", "feasible"])


def learning_table(num: int) -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = [
        (n, r, 1 - 3 / n * rng.uniform(0.5, 1.5), 1 / n * rng.uniform(0.5, 2), "gp")
        for n in (64, 128, 256, 384, 448)
        for r in range(3)
    ]
    rows += [(n, np.nan, 1 - 3 / n, 1 / n, "gp") for n in (512, 1024, 2048)]
    return pd.DataFrame(rows, columns=["num_runs", "repeat", "spearman", "regret", "model"])


def predicted_table(num: int) -> pd.DataFrame:
    rng = np.random.default_rng(4)
    measured = 3 + rng.gamma(2, 0.05, 60)
    return pd.DataFrame({"measured": measured, "predicted": measured + rng.normal(0, 0.02, 60), "std": 0.02})


CHARTS = {
    "predicted": (predicted_table, fit.predicted_against_measured),
    "correlation": (effects_table, heat_maps.correlation_map),
    "effects": (effects_table, heat_maps.effect_map),
    "weights": (weights_table, proposal.mixture_bars),
    "near_optimal": (near_table, proposal.near_optimal_set),
    "line": (line_table, proposal.line_to_optimum),
    "gains": (gains_table, proposal.predicted_gains),
    "epochs": (epochs_table, proposal.epochs_at_budget),
    "rank": (learning_table, fit.rank_against_runs),
    "regret": (learning_table, fit.regret_against_runs),
}
PAIRED = ["baseline", "mean", "low", "high", "verdict", "seed_1"]
NOISE = ["target", "spread", "noise", "ratio"]
BY_DOMAIN = ("correlation", "effects", "weights", "near_optimal", "epochs")


def figure(name: str, num: int = 6) -> Figure:
    """A chart as the report shows it."""
    table, draw = CHARTS[name]
    size: tuple[int, ...] = (320,)
    if name in ("correlation", "effects"):
        size = heat_maps.heat_map_size(table(num))
    elif name in BY_DOMAIN:
        size = (ROWS.pixels(num),)
    return Figure(name, table(num), draw, "words", *size)


def axes_of(table: pd.DataFrame, draw) -> "Canvas":
    with style("test", 0.1):
        axes = Canvas(figsize=(7, 6), layout="constrained").add_subplot()
        assert draw(table, axes) is axes
        axes.figure.draw_without_rendering()
    return axes


@pytest.mark.parametrize(
    ("name", "num", "width"),
    [
        *((name, 6, width) for name in CHARTS for width in (WIDE, NARROW)),
        *(pytest.param(name, 24, width, marks=pytest.mark.slow) for name in BY_DOMAIN for width in (WIDE, NARROW)),
        *(pytest.param(name, 100, WIDE, marks=pytest.mark.slow) for name in BY_DOMAIN),
    ],
)
def test_no_label_covers_another_or_is_cut_off(name, num, width):
    assert_readable(figure(name, num), width)


@pytest.mark.parametrize(
    ("draw", "table"),
    [
        (fit.predicted_against_measured, predicted_table(6)),
        (confirmation.paired_differences, pd.DataFrame([("prior", -0.1, -0.2, -0.05, "better", -0.1)], columns=PAIRED)),
        (confirmation.noise_ratio, pd.DataFrame([("web", 0.2, 0.02, 10.0)], columns=NOISE)),
    ],
)
def test_the_axis_label_of_a_long_unit_fits_a_phone(draw, table):
    table.attrs["unit"] = "standard deviations of the sweep"
    with style("test", 0.03):
        canvas = Figure("test", table, draw, "words", 300).canvas(NARROW)
        canvas.draw_without_rendering()
        box = canvas.axes[0].xaxis.label.get_window_extent()
    assert box.x0 >= 0 and box.x1 <= canvas.bbox.x1


@pytest.mark.parametrize("name", CHARTS)
def test_colours_are_roles(name):
    drawing = figure(name).svg(WIDE)
    assert set(re.findall(r"var\(--(\w+)\)", drawing)) <= set(ROLES.values())
    assert not re.findall(r"(?:fill|stroke): #", drawing)


def test_a_figure_is_written_with_the_whole_table_beside_it(tmp_path):
    figure("weights", 100).write(tmp_path)
    assert (tmp_path / "weights.png").read_bytes().startswith(b"\x89PNG")
    assert len(pd.read_csv(tmp_path / "weights.csv")) == 100


@pytest.mark.parametrize("name", BY_DOMAIN)
def test_more_domains_than_a_page_shows_are_said_to_be_left_out(name):
    axes = axes_of(figure(name, 100).table, CHARTS[name][1])
    assert len(axes.get_yticks()) == MAX_ROWS
    assert any("36 more domains" in text.get_text() for text in texts(axes))


def test_a_large_weight_is_shown_wherever_its_row_is():
    table = weights_table(100)
    table.loc[99, ["weight", "high"]] = 0.9
    axes = axes_of(table, proposal.mixture_bars)
    assert "90.0%" in [text.get_text() for text in axes.texts]


def test_the_bars_and_numbers_are_the_weights():
    table = pd.DataFrame({"domain": ["web", "code"], "prior": [0.9, 0.1], "weight": [0.25, 0.75]})
    axes = axes_of(table, proposal.mixture_bars)
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([90, 10, 25, 75])
    assert [text.get_text() for text in axes.texts] == ["25.0%", "75.0%", "optimum"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["web", "code"]


def test_near_optimal_ranges_are_over_the_mixtures_and_in_the_order_of_the_weights():
    near = pd.DataFrame({"index": [1, 2, 3], "train_web": [0.5, 0.6, 0.7], "train_code": [0.5, 0.4, 0.3]})
    weights = pd.DataFrame({"domain": ["code", "web"], "prior": [0.2, 0.8], "weight": [0.4, 0.6], "low": 0, "high": 1})
    table = proposal.near_optimal_ranges(near, weights)
    assert list(table["domain"]) == ["code", "web"]
    np.testing.assert_allclose(table["least"], [0.3, 0.5])
    np.testing.assert_allclose(table["median"], [0.4, 0.6])
    np.testing.assert_allclose(table["most"], [0.5, 0.7])
    np.testing.assert_allclose(table["p10"], [0.32, 0.52])


def test_a_domain_that_a_near_optimal_mixture_does_without_is_marked_as_free():
    rows = [("web", 0.5, 0.4, 0.45, 0.5, 0.55, 0.6), ("code", 0.5, 0.0, 0.3, 0.5, 0.55, 0.6)]
    columns = ["domain", "weight", "least", "p10", "median", "p90", "most"]
    axes = axes_of(pd.DataFrame(rows, columns=columns), proposal.near_optimal_set)
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert colours == {"20.0": PROPOSED, "60.0": MUTED, "range": MUTED}


def test_epochs_say_which_domains_are_at_the_cap_and_what_the_prior_would_take():
    table = pd.DataFrame(
        {"domain": ["web", "code"], "tokens": [900, 100], "weight": [0.8, 0.2], "epochs": [16 / 9, 4.0], "cap": 4.0}
    )
    axes = axes_of(table, proposal.epochs_at_budget)
    labels = axes.get_legend_handles_labels()[1]
    assert "at the cap (1)" in labels
    assert "every domain at the prior (2.00)" in labels  # 2,000 tokens of training over 1,000
    assert [to_hex(bar.get_facecolor()) for bar in axes.patches] == [PROPOSED, OTHER]


def test_epochs_without_a_cap_speak_of_none():
    axes = axes_of(epochs_table(6).assign(cap=np.nan), proposal.epochs_at_budget)
    assert not any("cap" in label for label in axes.get_legend_handles_labels()[1])


def test_a_gain_whose_interval_holds_zero_is_not_called_one():
    axes = axes_of(gains_table(6), proposal.predicted_gains)
    bars = dict(zip(axes.get_legend_handles_labels()[1], axes.get_legend_handles_labels()[0], strict=True))
    clear, unclear = bars["interval, above 0"], bars["interval, not shown to be above 0"]
    assert [line[0, 1] for line in clear.get_segments()] == [0, 2]
    assert [line[0, 1] for line in unclear.get_segments()] == [1]
    assert to_hex(unclear.get_color()[0]) == MEASURED
    assert "uniform\n(outside the limits)" in [tick.get_text() for tick in axes.get_yticklabels()]


def test_predicted_against_measured_counts_runs_ranks_and_runs_within_their_intervals():
    table = pd.DataFrame({"measured": [1.0, 2.0, 3.0, 4.0], "predicted": [1.1, 2.1, 2.9, 5.0], "std": 0.1})
    found = axes_of(table, fit.predicted_against_measured).texts[0].get_text()
    assert found == "n = 4\nSpearman 1.000\n75% in their intervals"


def test_the_noise_over_seeds_is_a_band_around_a_right_prediction():
    table = predicted_table(6)
    assert (
        not axes_of(table, fit.predicted_against_measured).get_legend_handles_labels()[1][0].startswith("95% of runs")
    )
    table.attrs["noise"] = 0.01
    handles, labels = axes_of(table, fit.predicted_against_measured).get_legend_handles_labels()
    band = handles[labels.index("95% of runs by the noise over seeds alone")].get_paths()[0].vertices
    assert np.abs(band[:, 1] - band[:, 0]).max() == pytest.approx(0.0196, rel=1e-3)


def test_confirmed_mixtures_are_no_runs_of_the_sweep():
    table = predicted_table(6).assign(kind="out of fold")
    table.loc[len(table)] = [3.05, 3.0, np.nan, "proposal"]
    table.attrs["spearman"] = "0.95 ± 0.01"
    axes = axes_of(table, fit.predicted_against_measured)
    assert axes.texts[0].get_text().startswith("n = 60\nSpearman 0.95 ± 0.01\n")
    assert "proposal, confirmed" in axes.get_legend_handles_labels()[1]


def test_effects_are_whole_numbers_of_thousandths_and_one_colour_per_direction():
    table = pd.DataFrame(
        [("metric/web_val_loss", "web", -0.0342), ("metric/web_val_loss", "code", 0.0121)],
        columns=["target", "domain", "effect"],
    )
    axes = axes_of(table, heat_maps.effect_map)
    assert [text.get_text() for text in axes.texts] == ["−34", "12"]
    assert "in 1/1000 nats/token, darkest: 34.2" in axes.get_xlabel().replace("\n", " ")
    faces = axes.collections[0].get_facecolor()
    assert [to_hex(face[:3]) for face in faces] == [PROPOSED, OTHER]
    assert faces[0, 3] > faces[1, 3]


def test_effects_of_zero_and_correlations_that_are_not_numbers_are_drawn_as_nothing():
    table = pd.DataFrame({"target": "t", "domain": ["a", "b"], "effect": [0.0, 0.0], "correlation": [np.nan, np.nan]})
    assert [text.get_text() for text in axes_of(table, heat_maps.effect_map).texts] == ["0", "0"]
    assert not axes_of(table, heat_maps.correlation_map).texts


def test_the_line_names_what_the_optimum_is_predicted_to_change():
    axes = axes_of(line_table(6), proposal.line_to_optimum)
    assert [text.get_text() for text in axes.texts] == ["−0.090"]
    assert axes.get_legend_handles_labels()[1] == ["its interval", "predicted by the regression"]


def test_the_learning_curve_goes_on_where_it_is_extrapolated():
    table = learning_table(6)
    axes = axes_of(table, fit.rank_against_runs)
    ahead = next(line for line in axes.lines if line.get_label() == "extrapolated")
    assert list(ahead.get_xdata()) == [512, 1024, 2048]
    assert list(ahead.get_ydata()) == list(table["spearman"].tail(3))
    assert axes.get_ylim()[1] <= 1
    measured = axes_of(table.dropna(), fit.regret_against_runs)
    assert "extrapolated" not in measured.get_legend_handles_labels()[1]
    assert measured.get_ylim()[0] <= 0


@given(st.lists(st.text("abc_", min_size=1, max_size=40), min_size=1, max_size=12, unique=True), st.integers(5, 30))
def test_labels_are_short_where_that_keeps_them_apart(whole, most):
    labels = distinct_labels(whole, most)
    assert len(set(labels)) == len(whole)
    if max(map(len, whole)) <= most:
        assert labels == whole


def test_numbers_in_cells_are_short():
    assert [heat_maps.correlation_text(v) for v in (-0.456, 0.004, -1.0, 0.5)] == ["−.46", "0", "−1", ".50"]
    assert [heat_maps.whole_text(v) for v in (-34.2, 0.3, -0.3)] == ["−34", "0", "0"]


def test_more_runs_are_expected_to_go_on_as_runs_did():
    sizes = np.array([16, 32, 64])
    table = pd.DataFrame(
        {"num_runs": sizes, "repeat": 0, "spearman": 1 - 3.2 / sizes, "regret": 0.8 / sizes, "model": "gp"}
    )
    ahead = fit.with_extrapolation(table, 64).tail(3)
    assert list(ahead["num_runs"]) == [64, 128, 256]
    assert ahead["repeat"].isna().all()
    np.testing.assert_allclose(ahead["spearman"], 1 - 3.2 / np.array([64, 128, 256]))
    np.testing.assert_allclose(ahead["regret"], 0.8 / np.array([64, 128, 256]), rtol=1e-6)


def test_runs_that_did_not_help_are_not_extrapolated():
    table = pd.DataFrame(
        {"num_runs": [16, 32], "repeat": 0, "spearman": [0.9, 0.8], "regret": [0.01, 0.02], "model": "gp"}
    )
    assert len(fit.with_extrapolation(table, 64)) == 2


def test_a_domain_that_may_have_any_weight_has_no_cap():
    table = pd.DataFrame(
        {
            "domain": ["web", "code"],
            "tokens": [4000, 100],
            "weight": [0.8, 0.2],
            "epochs": [0.4, 4.0],
            "cap": [0.5, 4.0],
        }
    )
    axes = axes_of(table, proposal.epochs_at_budget)
    assert "cap, 4 epochs" in axes.get_legend_handles_labels()[1]
    assert "its own cap" not in axes.get_legend_handles_labels()[1]
