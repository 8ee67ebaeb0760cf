"""Sizes that rank mixtures alike are told from those that do not, and a planted law of size is found again."""

import csv
from pathlib import Path

import numpy as np
import pytest
import yaml

from mixture_config.files.mixture_table import MixtureTable
from proxymix.app.cli import main
from proxymix.errors import InputError
from proxymix.files import read_json, write_text, write_yaml
from proxymix.schemas import loss_column
from proxymix.tables import write_table
from regression.data.runs_table import read_runs
from regression.scales import scales
from regression.scaling.agreement import rank_agreement
from regression.scaling.law_trials import lasting_residuals
from regression.scaling.matching import match_scales
from regression.scaling.scale import read_scales
from regression.scaling.size_laws import LAWS, Points, SizeLaw

DOMAINS = ["code", "law", "news", "poems"]
NUM = 40
SIZES = {"small": (1e6, 1e8), "middle": (1e7, 1e9), "large": (6e7, 3e9)}
TARGET = (1_000_000_000, 20_000_000_000)
QUICK = {"num_bootstrap": 20, "workers": 1}


def mixtures(num: int = NUM, seed: int = 0) -> np.ndarray:
    weights = np.random.default_rng(seed).dirichlet(np.full(4, 0.7), num)
    weights[weights < 2e-3] = 0
    return weights / weights.sum(axis=1, keepdims=True)


def additive(weights: np.ndarray, params: float, tokens: float) -> np.ndarray:
    """The planted law: every domain helps its own loss most. Losses of code and news."""
    inner = [(weights ** [0.5, 0.7, 0.4, 0.6]) @ c for c in ([2.0, 0.3, 0.5, 0.6], [0.2, 0.7, 2.5, 1.0])]
    size = 0.5 * (params / 1e7) ** -0.33 + 0.4 * (tokens / 1e9) ** -0.27
    return np.column_stack([1.5 + 0.7 / part + size for part in inner])


def write_scale(folder: Path, name: str, weights: np.ndarray, losses: np.ndarray, index=None, domains=DOMAINS) -> dict:
    keys = list(index if index is not None else range(1, len(weights) + 1))
    paths = {"mixtures": folder / f"{name}_mixtures.csv", "losses": folder / f"{name}_losses.csv"}
    header = ["index", *(f"train_{d}" for d in domains)]
    write_table(paths["mixtures"], header, [[k, *map(float, w)] for k, w in zip(keys, weights, strict=True)])
    header = ["index", *map(loss_column, ["code", "news"][: losses.shape[1]])]
    write_table(paths["losses"], header, [[k, *map(float, y)] for k, y in zip(keys, losses, strict=True)])
    params, tokens = SIZES.get(name, (1e6, 1e9))
    return {key: str(path) for key, path in paths.items()} | {"params": params, "tokens": tokens}


def planted(folder: Path, names=tuple(SIZES), noise: float = 0.005) -> dict[str, dict]:
    rng, weights = np.random.default_rng(1), mixtures()
    return {
        name: write_scale(folder, name, weights, additive(weights, *SIZES[name]) + rng.normal(0, noise, (NUM, 2)))
        for name in names
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open()))


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """Three planted scales, and what the command makes of them."""
    folder = tmp_path_factory.mktemp("three")
    entries = planted(folder)
    scales(entries, folder / "out", *TARGET, **QUICK)
    return folder / "out"


def test_a_planted_law_is_found_again_at_the_target_size(three):
    """Sixteen times the parameters of the largest scale: the planted losses are within the intervals, and a hundredth off."""
    truth = additive(mixtures(), *TARGET)
    rows = rows_of(three / "predictions.csv")
    values = np.array([[float(r[key]) for key in ("predicted", "low", "high")] for r in rows]).reshape(2, NUM, 3)
    error = values[:, :, 0].T - truth
    assert np.abs(error).mean() < 0.03 and error.std(axis=0).max() < 0.01 < 0.1 * truth.std(axis=0).min()
    held = (truth >= values[:, :, 1].T) & (truth <= values[:, :, 2].T)
    assert held.mean() > 0.8
    naive = np.array([float(r["largest_scale"]) for r in rows]).reshape(2, NUM).T
    assert np.abs(error).mean() < 0.1 * np.abs(naive - truth).mean()


def test_the_law_is_chosen_on_a_scale_held_out_beside_naive_guesses(three):
    rows = rows_of(three / "scaling_laws.csv")
    error = {law: np.mean([float(r["rmse"]) for r in rows if r["law"] == law]) for law in {r["law"] for r in rows}}
    assert {"additive", "joint", "bimix", "shifted", "same_drop"} == set(error)
    assert min(error["additive"], error["joint"]) < 0.2 * min(error["bimix"], error["same_drop"])
    assert {r["law"] for r in rows if r["chosen"] == "yes"} <= {"additive", "joint"}
    assert all(r["held_out_scale"] == "large" and r["fitted_runs"] in ("0", "80") for r in rows)
    content = read_json(three / "scales.json")
    assert content["law"] == next(r["law"] for r in rows if r["chosen"] == "yes") and content["intervals_widened"] >= 1
    assert set(content["parameters"][loss_column("code")]["C"]) == set(DOMAINS)


def test_the_losses_of_the_target_size_are_runs_that_a_fit_reads(three):
    runs = read_runs(three / "target_mixtures.csv", three / "target_losses.csv")
    assert (
        runs.domains == DOMAINS
        and len(runs.index) == NUM
        and runs.targets == [loss_column("code"), loss_column("news")]
    )
    np.testing.assert_allclose(runs.weights, mixtures())


def test_the_same_settings_write_the_same_bytes(tmp_path):
    entries = planted(tmp_path, ["small", "large"])
    for out in ("once", "again"):
        scales(entries, tmp_path / out, *TARGET, **QUICK)
    files = sorted((tmp_path / "once").iterdir())
    assert len(files) == 6 and all(f.read_bytes() == (tmp_path / "again" / f.name).read_bytes() for f in files)


def test_scales_that_agree_are_said_to(three):
    rows = rows_of(three / "agreement.csv")
    assert [(r["smaller"], r["larger"]) for r in rows[::3]] == [
        ("small", "middle"),
        ("small", "large"),
        ("middle", "large"),
    ]
    assert {r["target"] for r in rows} == {"objective", loss_column("code"), loss_column("news")}
    for r in rows:
        assert float(r["spearman_low"]) <= float(r["spearman"]) <= float(r["spearman_high"])
        assert float(r["spearman"]) > 0.97 and r["verdict"] == "good" and r["num_mixtures"] == str(NUM)


def test_a_planted_reversal_of_ranks_is_warned_of_and_no_failure(tmp_path, capsys):
    """The larger scale likes what the smaller one does not: exit status 0, a loud warning, and the cost of picking by it."""
    entries, weights = planted(tmp_path, ["small", "middle"]), mixtures()
    entries["middle"] = write_scale(tmp_path, "middle", weights, 5 - additive(weights, *SIZES["middle"]))
    write_text(tmp_path / "c.yaml", yaml.safe_dump({"scales": entries, "num_bootstrap": 20, "workers": 1}))
    assert main(["scales", "--config", str(tmp_path / "c.yaml"), "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().err
    assert "WARNING: rank agreement IS LOW (Spearman under 0.8)" in said and "small -> middle -" in said
    for row in rows_of(tmp_path / "out" / "agreement.csv"):
        assert row["verdict"] == "low" and float(row["spearman"]) < -0.9 and float(row["kendall"]) < -0.7
        assert float(row["top_tenth"]) == 0 and float(row["regret"]) > 0.3


def test_agreement_of_a_few_noisy_mixtures_is_called_uncertain_or_low():
    rng = np.random.default_rng(0)
    small = rng.normal(size=12)
    draws = rng.integers(0, 12, (500, 12))
    found = rank_agreement(small, small + rng.normal(0, 0.5, 12), draws)
    assert found["verdict"] == "uncertain" and found["spearman_low"] < 0.8 < found["spearman"]
    assert rank_agreement(small, rng.normal(size=12), draws)["verdict"] == "low"


def test_agreement_by_hand():
    """The smaller scale picks the mixture of rank 2, .5 above the best; one pair of six is swapped."""
    small, large = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 1.0, 3.0, 4.0])
    found = rank_agreement(small, large, np.arange(4)[None])
    assert found["regret"] == pytest.approx(0.5) and found["top_tenth"] == 0 and found["top_tenth_by_chance"] == 0.25
    assert found["spearman"] == pytest.approx(0.8) and found["kendall"] == pytest.approx(4 / 6)


def test_two_scales_leave_the_exponent_to_the_prior_and_the_intervals_say_so(tmp_path, capsys):
    scales(planted(tmp_path, ["middle", "large"]), tmp_path / "out", *TARGET, law="additive", **QUICK)
    truth = additive(mixtures(), *TARGET)
    rows = rows_of(tmp_path / "out" / "predictions.csv")
    low, high = (np.array([float(r[key]) for r in rows]).reshape(2, NUM).T for key in ("low", "high"))
    assert ((low < truth) & (truth < high)).mean() > 0.8
    assert 0.03 < np.median(high - low) < 0.6
    said = capsys.readouterr().err
    assert "16.7 times the parameters and 6.67 times the tokens of large" in said and "WARNING: a step of 16.7" in said
    assert "The intervals rest on what exponents of size are usual" in said


def test_without_a_target_nothing_is_predicted(tmp_path):
    scales(planted(tmp_path, ["small", "middle"]), tmp_path / "out", **QUICK)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["agreement.csv", "scales.json", "scaling_laws.csv"]


@pytest.mark.parametrize("name", LAWS)
@pytest.mark.parametrize("varies", [(True, True), (True, False), (False, False)])
def test_slopes_of_the_laws_are_those_of_their_values(name, varies):
    rng = np.random.default_rng(0)
    weights = np.vstack([mixtures(6), np.eye(4)])
    points = Points(weights, rng.uniform(0.1, 10, 10), rng.uniform(0.1, 10, 10))
    law = SizeLaw(name, own=1, reference_=(1.0, 1.0), varies_=varies)
    law._set_priors(points, rng.uniform(2, 3, 10))
    theta = law._center + 0.3 * rng.normal(size=len(law._center))
    steps = 1e-6 * np.eye(len(theta))
    slopes = [(law.predict(points, theta + s) - law.predict(points, theta - s)) / 2e-6 for s in steps]
    np.testing.assert_allclose(law._value(theta, points)[1](), np.column_stack(slopes), atol=1e-5, rtol=1e-5)
    assert len(law._names(DOMAINS)) == len(theta)


def test_laws_find_their_own_kind():
    """The joint law where the best mixture moves with size, BiMix where a loss is of its own domain's weight alone."""
    weights = np.tile(mixtures(60), (3, 1))
    params = np.repeat([1e6, 8e6, 6e7], 60)
    points = Points(weights, params, np.full(180, 1e9))
    goal = Points(mixtures(200, 5), np.full(200, 4e8), np.full(200, 1e9))
    rng = np.random.default_rng(0)

    def joint(p: Points) -> np.ndarray:
        mixed = p.weights @ [0.2, 1.0, 1.0, 3.0]
        return 1.5 + 0.5 / ((p.weights**0.5) @ [2.0, 1.0, 0.4, 1.0]) + 0.5 * mixed * (p.params / 1e7) ** -0.3

    def bimix(p: Points) -> np.ndarray:
        return (p.weights[:, 0] + 0.01) ** -0.15 * (0.4 * (p.params / 1e7) ** -0.3 + 1.6)

    for name, truth in (("joint", joint), ("bimix", bimix)):
        error = {}
        for law in LAWS:
            losses = truth(points) + rng.normal(0, 0.004, 180)
            fitted = SizeLaw(law, own=0).fit(points, losses, np.random.default_rng(1))
            error[law] = np.sqrt(np.mean((fitted.predict(goal) - truth(goal)) ** 2))
        assert (
            error[name] == min(error.values())
            and error[name] < 0.25 * np.std(truth(goal))
            and error["additive"] > 2 * error[name]
        )


def test_one_diverged_run_bends_no_law():
    weights = np.tile(mixtures(), (3, 1))
    sizes = np.repeat(list(SIZES.values()), NUM, axis=0)
    points = Points(weights, sizes[:, 0], sizes[:, 1])
    losses = np.vstack([additive(mixtures(), *size) for size in SIZES.values()])[:, 0]
    spoiled = losses + np.random.default_rng(0).normal(0, 0.005, len(losses))
    spoiled[7] = 11.0
    fitted = SizeLaw("additive").fit(points, spoiled, np.random.default_rng(1))
    assert np.abs(np.delete(fitted.predict(points) - losses, 7)).max() < 0.03


def test_what_a_law_misses_everywhere_stays_and_noise_does_not():
    rng = np.random.default_rng(0)
    own, mixture = rng.normal(0, 0.1, 200), np.tile(np.arange(200), 3)
    stays = lasting_residuals(own[mixture] + rng.normal(0, 0.02, 600), mixture, 201)
    assert np.corrcoef(stays.mean[:200], own)[0, 1] > 0.98 and stays.mean[200] == 0 and stays.std[200] > 0.08
    noise = lasting_residuals(rng.normal(0, 0.02, 600), mixture, 201)
    assert np.abs(noise.mean).max() < 0.012
    single = lasting_residuals(own, np.arange(200), 200)
    assert not single.mean.any()


def test_runs_numbered_otherwise_meet_by_their_weights(tmp_path, capsys):
    weights = mixtures()
    losses = additive(weights, 1e6, 1e9)
    some = np.arange(5, 25)[::-1]
    entries = {
        "small": write_scale(tmp_path, "small", weights, losses),
        "large": write_scale(tmp_path, "large", np.round(weights[some], 3), losses[some]),
    }
    sweep = match_scales(read_scales(entries, None))
    assert len(sweep.keys) == NUM and sweep.mixture[NUM:].tolist() == some.tolist()
    assert (
        "its keys name other mixtures than before, so runs meet by their weights: 20 of 20" in capsys.readouterr().err
    )
    by_key = write_scale(tmp_path, "large", weights[some], losses[some], index=some + 1)
    assert match_scales(read_scales(entries | {"large": by_key}, None)).mixture[NUM:].tolist() == sorted(some)
    assert "by their weights" not in capsys.readouterr().err


def test_a_mixture_that_only_one_scale_has_still_counts(tmp_path):
    weights = mixtures()
    entries = planted(tmp_path, ["small"])
    entries["large"] = write_scale(tmp_path, "large", weights[:20], additive(weights[:20], *SIZES["large"]))
    scales(entries, tmp_path / "out", *TARGET, **QUICK)
    assert {r["num_mixtures"] for r in rows_of(tmp_path / "out" / "agreement.csv")} == {"20"}
    assert len(MixtureTable.read(tmp_path / "out" / "target_mixtures.csv").index) == NUM
    empty = [r["index"] for r in rows_of(tmp_path / "out" / "predictions.csv") if r["largest_scale"] == ""]
    assert len(empty) == 2 * (NUM - 20)


def test_a_study_stands_for_its_files_and_its_size(tmp_path):
    entries = planted(tmp_path, ["small", "middle"])
    study = tmp_path / "study"
    for name in ("mixtures", "losses"):
        write_text(study / f"{name}.csv", Path(entries["small"][name]).read_text())
    manifest = {"num_parameters": 53_000, "settings": {"tokens": 400_000}}
    write_yaml(study / "proxies" / "n00001" / "manifest.yaml", manifest)
    found = read_scales({"middle": entries["middle"], "study": str(study)}, None)
    assert [(s.name, s.params, s.tokens) for s in found] == [("study", 53_000, 400_000), ("middle", 1e7, 1e9)]
    assert read_scales({"a": {"study": study, "params": 7}, "b": entries["small"]}, None)[0].params == 7
    write_yaml(study / "proxies" / "n00002" / "manifest.yaml", manifest | {"num_parameters": 1})
    with pytest.raises(InputError, match="runs of 2 different sizes"):
        read_scales({"middle": entries["middle"], "study": str(study)}, None)


def changed(entries, folder, what):
    """One mistake in the entries."""
    weights = mixtures()
    losses = additive(weights, 1e7, 1e9)
    if what == "one":
        return {"small": entries["small"]}
    if what == "same size":
        return {"small": entries["small"], "middle": entries["middle"] | {"params": 1e6, "tokens": "1e8"}}
    if what == "no mixtures in common":
        return entries | {"middle": write_scale(folder, "middle", mixtures(seed=9), losses)}
    if what == "domains":
        return entries | {
            "middle": write_scale(folder, "middle", weights, losses, domains=["code", "law", "news", "math"])
        }
    if what == "targets":
        return entries | {"middle": write_scale(folder, "middle", weights, losses[:, :1])}
    return entries | {"middle": {**entries["middle"], **what}}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("one", r"scales: 1 given \(small\); two or more"),
        ("same size", r"small and middle are of one size"),
        ("no mixtures in common", r"have 0 mixtures in common"),
        ("domains", r"scales\.middle: its domains.*lacks poems and has math beside.*proxymix reuse"),
        ("targets", r"scales\.middle: its targets.*lacks news; name shared ones with --targets"),
        ({"parms": 3}, r"scales\.middle: no key 'parms'; did you mean params\?"),
        ({"params": "many"}, r"scales\.middle\.params is 'many'"),
        ({"tokens": None}, r"scales\.middle: tokens is missing"),
        ({"study": "nowhere"}, r"scales\.middle: nowhere: no such study"),
    ],
)
def test_what_is_wrong_with_the_scales_is_named_and_nothing_is_written(tmp_path, what, message):
    entries = planted(tmp_path, ["small", "middle"])
    with pytest.raises(InputError, match=message):
        scales(changed(entries, tmp_path, what), tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_a_size_that_never_varied_is_not_extrapolated(tmp_path):
    entries = planted(tmp_path, ["small", "middle"])
    entries["middle"]["tokens"] = entries["small"]["tokens"]
    with pytest.raises(InputError, match=r"target_tokens is 20,000,000,000, and all scales have tokens 100,000,000"):
        scales(entries, tmp_path / "out", *TARGET, **QUICK)
    assert not (tmp_path / "out").exists()


def test_bimix_needs_the_loss_of_a_domain_that_is_trained_on(tmp_path):
    weights = mixtures()
    entries = {}
    for name in ("small", "middle"):
        entries[name] = write_scale(tmp_path, name, weights, additive(weights, *SIZES[name]))
        text = Path(entries[name]["losses"]).read_text().replace("metric/code_val_loss", "bpb_of_a_benchmark")
        write_text(Path(entries[name]["losses"]), text.replace("metric/news_val_loss", "another"))
    scales(entries, tmp_path / "out", **QUICK)
    assert {r["law"] for r in rows_of(tmp_path / "out" / "scaling_laws.csv")} == {"additive", "joint", "shifted"}
    with pytest.raises(InputError, match="bimix is of a target's own domain"):
        scales(entries, tmp_path / "out2", law="bimix", **QUICK)
