"""The sampler draws RegMix's law, keeps every bound after rounding, and writes all of it or nothing."""

import csv
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from mixture_config.design import designs
from mixture_config.design.dirichlet_ladder import stick_breaking
from mixture_config.design.heuristics import temperature_weights
from mixture_config.design.sampling import draw_mixtures
from mixture_config.files import sweep_files
from mixture_config.files.mixture import Mixture
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import dirichlet, grid_steps
from mixture_config.synthesize import synthesize
from proxymix.app.cli import main
from proxymix.app.parameters import parameters
from proxymix.app.stages import stage_named
from proxymix.app.study import Study
from proxymix.errors import InputError

GROWING = [
    {"include": ["prior", "uniform"]},
    {"design": "dirichlet", "include": ["prior", "uniform"], "repeat_seeds": 2},
    {"preset": "regmix", "holdout": 3},
    {"holdout": 3, "budget": 2 * 10**9},
]
# A prior of 17 domains as unlike as the Pile's: the largest has 135 times the tokens of the smallest.
TOKENS = np.array([237, 185, 113, 102, 80, 67, 51, 46, 39, 27, 16, 12, 8, 8, 4, 4, 2]) * 10.0**6


def regmix_loop(tokens, num_mixtures, seed, multiplier, min_weight=2e-4, usage=15, temperature=0.5):
    """RegMix's law one draw at a time, from its description; rounding to the nearest, so sums are only near 1."""
    rng = np.random.default_rng(seed)
    prior = tokens / tokens.sum()
    caps = [min(usage * share, 1.0) for share in prior]
    center = prior**temperature / (prior**temperature).sum()
    ladder = np.logspace(np.log10(0.1), np.log10(5.0), 15)
    kept = []
    for _ in range(num_mixtures * multiplier):
        weights = rng.dirichlet(center * ladder[rng.integers(15)])
        if all(weight <= cap for weight, cap in zip(weights, caps, strict=True)):
            weights[weights < min_weight] = 0
            kept.append(tuple(np.round(weights / weights.sum() / min_weight) * min_weight))
    distinct = []
    for row in sorted(kept):
        if not distinct or sum(abs(a - b) for a, b in zip(row, distinct[-1], strict=True)) > 1e-5:
            distinct.append(row)
    return np.array(distinct)[rng.permutation(len(distinct))[:num_mixtures]]


def drawn(tokens, num_mixtures, seed, multiplier, upper=None, **changes):
    upper = np.minimum(15 * tokens / tokens.sum(), 1) if upper is None else upper
    limits = Limits([f"domain-{i}" for i in range(len(tokens))], 0.0, upper)
    rng = np.random.default_rng(seed)
    arguments = {"limits": limits, "sample_multiplier": multiplier} | changes
    return draw_mixtures(temperature_weights(tokens, 0.5), num_mixtures, rng, **arguments)


def p_values(ours, theirs):
    """Two-sample Kolmogorov-Smirnov on every domain's weight, and on how many and how large the weights of a row are."""
    columns = [ks_2samp(ours[:, i], theirs[:, i], method="asymp").pvalue for i in range(ours.shape[1])]
    active = ks_2samp((ours > 0).sum(axis=1), (theirs > 0).sum(axis=1), method="asymp").pvalue
    largest = ks_2samp(ours.max(axis=1), theirs.max(axis=1), method="asymp").pvalue
    return np.array([*columns, active, largest])


@pytest.fixture(scope="module")
def reference():
    return regmix_loop(TOKENS, 3000, seed=1, multiplier=12)


def test_the_marginals_are_those_of_regmixs_own_settings():
    theirs = regmix_loop(TOKENS, 512, seed=0, multiplier=100)
    assert p_values(drawn(TOKENS, 512, seed=42, multiplier=100).weights, theirs).min() > 0.01


def test_the_marginals_are_those_of_regmix_on_a_larger_sample(reference):
    assert p_values(drawn(TOKENS, 3000, seed=2, multiplier=12).weights, reference).min() > 0.01


@pytest.mark.parametrize(
    "wrong",
    [
        {"upper": np.minimum(15 * temperature_weights(TOKENS, 0.5), 1)},  # caps from the flattened prior
        {"min_concentration": 0.3},
        {"min_weight": 1e-3},
        {"max_concentration": 8.0},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_comparison_would_notice_another_law(reference, wrong):
    assert p_values(drawn(TOKENS, 3000, 2, 12, **wrong).weights, reference).min() < 1e-4


def test_the_marginals_are_those_of_regmix_over_many_domains():
    """Most concentrations are drawn by breaking sticks here, of which a few hold nearly everything."""
    tokens = np.random.default_rng(3).permutation(1e9 / np.arange(1, 121))
    theirs = regmix_loop(tokens, 400, seed=0, multiplier=30)
    ours = drawn(tokens, 400, seed=1, multiplier=30).weights
    most = np.argsort(-theirs.mean(axis=0))[:20]
    assert p_values(ours[:, most], theirs[:, most]).min() > 0.01
    assert ks_2samp((ours > 0).sum(axis=1), (theirs > 0).sum(axis=1), method="asymp").pvalue > 0.01


def test_broken_sticks_are_dirichlet_draws():
    """Compared with draws made of gamma variates, domain by domain; what is below the tail is left out by both."""
    center = np.array([0.4, 0.3, 0.15, 0.1, 0.04, 0.01])
    rows = stick_breaking(np.random.default_rng(0), center, 2.0, 20_000, tail=1e-3, upper=1.0)
    sticks = rows.dense(len(center)).astype(float)
    gammas = dirichlet(np.random.default_rng(1), center, np.full(20_000, 2.0))
    assert (1 - sticks.sum(axis=1) < 1e-3 + 1e-6).all()
    for domain in range(len(center)):
        ours, theirs = (np.where(draws[:, domain] < 1e-3, 0, draws[:, domain]) for draws in (sticks, gammas))
        assert ks_2samp(ours, theirs, method="asymp").pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef(sticks.T), np.corrcoef(gammas.T), atol=0.03)


@pytest.mark.parametrize(
    ("min_weight", "steps"), [(2e-4, 5000), (0.1, 10), (0.3, 3), (1, 1), (1e-6, 10**6), (0.07, 14)]
)
def test_the_grid_is_that_of_the_smallest_weight_or_the_next_larger_that_divides_one(min_weight, steps):
    assert grid_steps(min_weight) == steps


@pytest.fixture(scope="module")
def fewer_candidates():
    """A space-filling choice among 100 candidates rather than 4,000."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(designs, "MIN_CANDIDATES", 100)
        yield


@settings(max_examples=150, deadline=None)
@given(
    design=st.sampled_from(["dirichlet", "space_filling"]),
    exponents=st.lists(st.floats(0, 9), min_size=1, max_size=9),
    min_weight=st.sampled_from([2e-4, 1e-3, 3e-3, 0.05]),
    usage=st.sampled_from([1.0, 1.01, 1.5, 15.0, 1e9]),
    epochs=st.sampled_from([0.5, 1.0, 1.001, 1.2, 4.0]),
    seed=st.integers(0, 9),
)
def test_every_mixture_keeps_every_bound_or_there_is_an_error(
    tmp_path_factory, fewer_candidates, design, exponents, min_weight, usage, epochs, seed
):
    """`epochs` passes over all tokens are in the budget, so under 1 pass it cannot be filled."""
    tokens = np.round(10.0 ** np.array(exponents))
    out = tmp_path_factory.mktemp("drawn")
    budget, max_epochs = int(tokens.sum()) * 2, 2 * epochs
    domains = catalogue(out / "domains.csv", tokens)
    keywords = {
        "min_weight": min_weight,
        "maximum_usage": usage,
        "sample_multiplier": 5,
        "seed": seed,
        "design": design,
    }
    caps = np.minimum(np.minimum(usage, max_epochs * tokens.sum() / budget) * tokens / tokens.sum(), 1)
    room = np.floor(caps * grid_steps(min_weight) + 1e-9)
    try:
        synthesize(domains, out, num_mixtures=4, budget=budget, max_epochs=max_epochs, **keywords)
    except InputError as error:
        assert str(error).startswith(str(domains))
        assert sorted(path.name for path in out.iterdir()) == ["domains.csv"]
        roomy = (room >= 40).sum() >= 2 and room.sum() > 1.1 * grid_steps(min_weight)
        assert not roomy, "two domains can move by 40 steps, and that is room for 4 mixtures"
        return
    assert epochs >= 1
    weights = read_csv(out)
    assert weights.shape == (4, len(tokens)) and len(np.unique(weights, axis=0)) == 4
    assert (np.abs(weights.sum(axis=1) - 1) < 1e-12).all()
    assert (weights >= 0).all() and (weights <= caps + 1e-12).all()
    steps = weights * grid_steps(min_weight)
    assert (np.abs(steps - np.round(steps)) < 1e-12 * grid_steps(min_weight)).all()


def catalogue(path: Path, tokens) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"domain-{i},{int(count)}\n" for i, count in enumerate(tokens)]
    path.write_text("domain,tokens\n" + "".join(rows))
    return path


def read_csv(out: Path) -> np.ndarray:
    with (out / "mixtures.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[0] for row in rows[1:]] == [str(i) for i in range(1, len(rows))]
    return np.array([row[1:] for row in rows[1:]], dtype=float)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def domains(tmp_path):
    return catalogue(tmp_path / "domains.csv", [6_000, 3_000, 1_000])


def test_the_files_are_regmixs(domains, tmp_path):
    synthesize(domains, tmp_path / "out", num_mixtures=3, seed=7, preset="regmix")
    names = sorted(path.name for path in (tmp_path / "out" / "mixtures").iterdir())
    assert names == ["n00001.yaml", "n00002.yaml", "n00003.yaml"]
    content = yaml.safe_load((tmp_path / "out" / "mixtures" / "n00001.yaml").read_text())
    assert list(content) == [
        *("train", "valid", "seed", "design", "temperature", "min_strength", "max_strength", "minimum"),
        *("maximum_usage", "sample_multiplier", "model_name", "num_mixtures", "preset", "domains_hash"),
    ]
    assert content["valid"] == {"valid_domain-0": 1.0, "valid_domain-1": 1.0, "valid_domain-2": 1.0}
    settings = {key: content[key] for key in ("seed", "temperature", "minimum", "min_strength", "max_strength")}
    assert settings == {"seed": 7, "temperature": 0.5, "minimum": 2e-4, "min_strength": 0.1, "max_strength": 5.0}
    assert (content["sample_multiplier"], content["maximum_usage"]) == (100, 15.0)
    header, first = (tmp_path / "out" / "mixtures.csv").read_text().splitlines()[:2]
    assert header == "index,train_domain-0,train_domain-1,train_domain-2"
    assert first == "1," + ",".join(repr(weight) for weight in content["train"].values())


def test_a_mixture_file_is_what_the_schema_writes_and_reads(tmp_path):
    """Weights of 1e-05 and 2e-05 are the trap: YAML 1.1 takes them for text without a point."""
    domains = catalogue(tmp_path / "domains.csv", [6e6, 3e6, 2e4, 1e4])
    synthesize(domains, tmp_path, num_mixtures=20, min_weight=1e-5)
    rows = read_csv(tmp_path)
    assert ((rows > 0) & (rows < 1e-4)).any()
    for index, row in enumerate(rows, start=1):
        path = tmp_path / "mixtures" / f"n{index:05d}.yaml"
        mixture = Mixture.read(path)
        assert list(mixture.weights.values()) == row.tolist()
        mixture.write(tmp_path / "again.yaml")
        assert (tmp_path / "again.yaml").read_text() == path.read_text()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(domains, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        synthesize(domains, tmp_path / name, num_mixtures=20, seed=seed)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert contents(tmp_path / "a")["mixtures.csv"] != contents(tmp_path / "c")["mixtures.csv"]


def test_fewer_mixtures_leave_none_of_the_older_ones(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=9)
    synthesize(domains, tmp_path, num_mixtures=4)
    assert len(list((tmp_path / "mixtures").iterdir())) == 4


def test_the_table_is_there_only_when_all_mixtures_are(domains, tmp_path, monkeypatch):
    synthesize(domains, tmp_path, num_mixtures=9)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep_files.SweepMixtures, "rows", killed)
    with pytest.raises(KeyboardInterrupt):
        synthesize(domains, tmp_path, num_mixtures=4)
    assert not (tmp_path / "mixtures.csv").exists()


def test_a_mistake_leaves_what_was_there_untouched(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=4)
    before = contents(tmp_path)
    with pytest.raises(InputError):
        synthesize(domains, tmp_path, num_mixtures=4, budget=10**9)
    assert contents(tmp_path) == before


def test_a_domain_without_tokens_has_weight_zero_and_is_mentioned(tmp_path, capsys):
    domains = catalogue(tmp_path / "domains.csv", [5, 0, 5])
    synthesize(domains, tmp_path, num_mixtures=30, include=["uniform"])
    weights = read_csv(tmp_path)
    assert (weights[:, 1] == 0).all() and weights[0].tolist() == [0.5, 0, 0.5]
    assert "no tokens in domain-1: weight 0 in every mixture" in capsys.readouterr().err


def test_a_domain_that_is_never_drawn_is_mentioned(tmp_path, capsys):
    """15 times a prior of 1e-5 is under the smallest weight of 2e-4."""
    domains = catalogue(tmp_path / "domains.csv", [60_000, 39_999, 1])
    synthesize(domains, tmp_path, num_mixtures=30)
    assert "never drawn: domain-2;" in capsys.readouterr().err


def test_reference_mixtures_come_first_and_count_among_the_mixtures(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=10, temperature=0.5, include=["prior", "uniform", "temperature"])
    weights = read_csv(tmp_path)
    assert len(np.unique(weights, axis=0)) == len(weights) == 10
    np.testing.assert_allclose(weights[0], [0.6, 0.3, 0.1], rtol=0, atol=1e-12)
    np.testing.assert_allclose(weights[1], [1 / 3] * 3, rtol=0, atol=2e-4)
    np.testing.assert_allclose(weights[2], np.sqrt([6, 3, 1]) / np.sqrt([6, 3, 1]).sum(), rtol=0, atol=2e-4)
    assert [Mixture.read(tmp_path / "mixtures" / f"n0000{i}.yaml").extra.get("anchor") for i in (1, 2, 3, 4)] == [
        *("prior", "uniform", "temperature", None)
    ]


def test_a_reference_mixture_keeps_to_the_epochs(domains, tmp_path):
    """4 passes over 1,000 tokens are a fifth of 20,000, so the others share .8 of the uniform mixture."""
    synthesize(domains, tmp_path, num_mixtures=2, include=["uniform"], budget=20_000, max_epochs=4)
    np.testing.assert_allclose(read_csv(tmp_path)[0], [0.4, 0.4, 0.2], rtol=0, atol=1e-12)


def test_no_draw_repeats_a_reference_mixture(tmp_path):
    """Two domains on a grid of .5 have three mixtures; with the uniform one first, the draws are the other two."""
    domains = catalogue(tmp_path / "domains.csv", [5, 5])
    synthesize(domains, tmp_path, num_mixtures=3, min_weight=0.5, include=["uniform", "prior"])
    assert sorted(map(tuple, read_csv(tmp_path))) == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]


def labels_of(folder: Path, number: int) -> tuple[str | None, int | None]:
    extra = Mixture.read(folder / "mixtures" / f"n{number:05d}.yaml").extra
    return extra.get("anchor"), extra.get("repeat")


def test_repeated_references_are_mixtures_of_their_own_that_only_their_number_tells_apart(domains, tmp_path):
    given = {"include": ["prior", "uniform"], "budget": 20_000, "max_epochs": 4, "holdout": 4}
    for name, repeat_seeds in (("once", 1), ("thrice", 3)):
        synthesize(domains, tmp_path / name, num_mixtures=12, repeat_seeds=repeat_seeds, **given)
    weights, folder = read_csv(tmp_path / "thrice"), tmp_path / "thrice" / "mixtures"
    np.testing.assert_array_equal(weights[:6], np.tile(weights[:2], (3, 1)))
    assert len(np.unique(np.vstack([weights, read_csv(tmp_path / "thrice" / "holdout")]), axis=0)) == 2 + 6 + 4
    assert [labels_of(tmp_path / "thrice", number) for number in range(1, 8)] == [
        *(("prior", None), ("uniform", None), ("prior", 1), ("uniform", 1), ("prior", 2), ("uniform", 2)),
        (None, None),
    ]
    for name in ("n00001.yaml", "n00002.yaml"):
        once = (tmp_path / "once" / "mixtures" / name).read_text()
        assert (folder / name).read_text().replace("repeat_seeds: 3\n", "") == once
    assert (folder / "n00005.yaml").read_text() == (folder / "n00001.yaml").read_text() + "repeat: 2\n"


def test_the_prior_is_repeated_where_nothing_is_included(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=5, repeat_seeds=2)
    np.testing.assert_allclose(read_csv(tmp_path)[:2], [[0.6, 0.3, 0.1]] * 2, rtol=0, atol=1e-12)
    assert [labels_of(tmp_path, number) for number in (1, 2, 3)] == [("prior", None), ("prior", 1), (None, None)]


def test_repeats_leave_a_mixture_to_draw(domains, tmp_path):
    with pytest.raises(InputError, match=r"num_mixtures is 6, and include alone gives 6 \(3 of each\); .* to 7"):
        synthesize(domains, tmp_path, num_mixtures=6, include=["prior", "uniform"], repeat_seeds=3)
    with pytest.raises(InputError, match="repeat_seeds is 0; a number at least 1 is wanted"):
        synthesize(domains, tmp_path, repeat_seeds=0)
    assert not (tmp_path / "mixtures.csv").exists()


def test_an_extension_brings_references_to_their_number_of_seeds_and_counts_on(domains, tmp_path):
    """A number that came twice would be the same run twice, and its noise zero."""
    synthesize(domains, tmp_path, num_mixtures=10, include=["prior", "uniform"], repeat_seeds=2)
    before = contents(tmp_path)
    synthesize(domains, tmp_path, extend=3, include=["prior", "uniform"], repeat_seeds=2)  # both are there twice
    assert [labels_of(tmp_path, number) for number in (11, 12, 13)] == [(None, None)] * 3
    synthesize(domains, tmp_path, extend=5, include=["temperature", "prior"], repeat_seeds=3)
    assert [labels_of(tmp_path, number) for number in range(14, 19)] == [
        *(("temperature", None), ("temperature", 1), ("temperature", 2), ("prior", 2)),
        (None, None),
    ]
    weights = read_csv(tmp_path)
    np.testing.assert_array_equal(weights[16], weights[0])
    assert len(np.unique(weights, axis=0)) == 3 + 6 + 3 + 1
    assert before.items() - contents(tmp_path).items() == {("mixtures.csv", before["mixtures.csv"])}
    with pytest.raises(InputError, match="repeat_seeds: prior is there on a finer grid; leave min_weight as it is"):
        synthesize(domains, tmp_path, extend=1, repeat_seeds=4, min_weight=0.3)


def test_caps_too_tight_for_rejection_still_give_all_mixtures(tmp_path, capsys):
    """5% over the prior leaves nearly no draw; the mixtures asked for come nevertheless, within the caps."""
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    synthesize(domains, tmp_path, num_mixtures=64, budget=int(TOKENS.sum()), max_epochs=1.05, preset="regmix")
    weights = read_csv(tmp_path)
    assert weights.shape == (64, 17)
    assert (weights <= 1.05 * TOKENS / TOKENS.sum() + 1e-12).all()
    assert "scaled into the bounds" in capsys.readouterr().err


def test_many_domains_of_equal_size_are_drawn_too():
    """With 400 equal domains no draw of RegMix's fits 15 times the prior (3.75%): a domain takes more in all of them."""
    draw = drawn(np.ones(400), 32, seed=0, multiplier=10)
    assert draw.weights.max() <= 15 / 400 + 1e-12
    assert len(np.unique(draw.steps, axis=0)) == 32


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_mixtures": 0}, "num_mixtures is 0; a number at least 1"),
        ({"temperature": 0}, "temperature is 0; a number above 0"),
        (
            {"min_concentration": 2, "max_concentration": 1},
            "max_concentration is 1; a number at least min_concentration",
        ),
        ({"min_weight": 0}, "min_weight is 0; a number from 1e-6 to 1"),
        ({"maximum_usage": 0.9}, r"maximum_usage is 0\.9; a number at least 1"),
        ({"budget": 80_000}, r"10,000 tokens at 4 epochs cannot fill 80,000; raise max_epochs to 8\.00"),
        ({"budget": 0}, "budget is 0 and max_epochs 4"),
        ({"include": ["unifrom"]}, r"include: 'unifrom' is none of .*did you mean uniform\?"),
        ({"include": ["unimax"]}, "unimax needs a budget"),
        ({"design": "around"}, "design around and the mixture to draw around go together"),
        ({"extend": 4}, "no such file, so there is no sweep to extend"),
        ({"limits": {"domain-0": {"max": 0.5}, "domain-1": {"max": 0.3}, "domain-2": 0.1}}, r"sum to 0\.9, under 1"),
        (
            {"limits": {"domain-2": 0.3}, "budget": 20_000},
            r"domain-2 must take at least 0\.3, and its tokens feed 0\.2",
        ),
        (
            {"limits": {"domain-0": 0.12345}},
            r"domain-0 must take 0\.12345, which is not on the grid of 0\.0002: make it 0\.1234 or 0\.1236, or the grid .* 5e-05",
        ),
        ({"include": ["prior", "uniform"], "num_mixtures": 1}, "num_mixtures is 1, and include alone gives 2"),
        ({"extend": 0}, "no such file, so there is no sweep to extend"),
        (
            {"min_weight": 0.5, "num_mixtures": 50},
            r"only 6 distinct mixtures .* 50 were asked for: 3 of 3 domains can move",
        ),
        ({"budget": 40_000}, r"only 1 distinct mixtures .* within caps such as domain-2 at 0\.1, domain-1 at 0\.3"),
        (
            {"min_weight": 0.3, "maximum_usage": 1.0},
            r"no mixture on a grid of 0\.333.*a grid of 0\.1 or caps .* would do",
        ),
    ],
)
def test_settings_that_cannot_be_met_say_what_can(domains, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        synthesize(domains, tmp_path / "out", **{"num_mixtures": 8, **changes})
    assert not (tmp_path / "out").exists()


def test_the_fixed_call_and_its_help_work(domains, tmp_path):
    root = Path(__file__).parent.parent
    command = [sys.executable, str(root / "mixture_config" / "synthesize.py")]
    flags = ["--domains", str(domains), "--num_mixtures", "16", "--seed", "42", "--out", str(tmp_path / "out")]
    done = subprocess.run([*command, *flags], capture_output=True, text=True, check=True)
    assert done.stdout == "" and "16 mixtures of 3 domains" in done.stderr
    assert len(read_csv(tmp_path / "out")) == 16
    explained = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True).stdout
    assert "--maximum_usage" in explained and "Dirichlet concentration" in explained


def test_where_the_mixtures_are_and_the_next_command_come_last(domains, tmp_path, capsys):
    synthesize(domains, tmp_path, num_mixtures=4, holdout=2)
    *_, written, following = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "mixtures.csv") in written and str(tmp_path / "holdout" / "mixtures.csv") in written
    assert following == f"Next: proxymix sweep --mixtures {tmp_path}/mixtures --tokens TOKENS --out PROXIES"
    (tmp_path / "study.yaml").write_text("study: x\n")
    synthesize(domains, tmp_path, num_mixtures=4, holdout=2)
    assert capsys.readouterr().err.splitlines()[-1] == f"Next: proxymix sweep --study {tmp_path}"


def test_a_folder_with_other_things_in_it_is_not_replaced(tmp_path):
    (tmp_path / "domains.csv").write_text("domain,tokens\na,10\nb,20\n")
    (tmp_path / "mixtures").mkdir()
    (tmp_path / "mixtures" / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds thesis\.tex"):
        synthesize(tmp_path / "domains.csv", tmp_path, num_mixtures=4)
    assert (tmp_path / "mixtures" / "thesis.tex").read_text() == "precious"
    assert not (tmp_path / "mixtures.csv").exists()


# limits and groups


def test_a_fixed_weight_is_that_weight_in_every_mixture_and_the_others_vary(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=40, limits={"domain-1": 0.25}, include=["prior", "vertices"])
    weights = read_csv(tmp_path)
    assert (weights[:, 1] == 0.25).all() and np.ptp(weights[:, 0]) > 0.5


def test_floors_and_group_bounds_hold_in_every_mixture(tmp_path):
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    limits = {"domain-3": {"min": 0.1, "max": 0.12}, "small": {"min": 0.2, "max": 0.4}}
    groups = {"small": [f"domain-{i}" for i in range(8, 17)]}
    synthesize(domains, tmp_path, num_mixtures=50, limits=limits, groups=groups, include=["uniform", "vertices"])
    weights = read_csv(tmp_path)
    small = weights[:, 8:].sum(axis=1)
    assert (weights[:, 3] >= 0.1 - 1e-12).all() and (weights[:, 3] <= 0.12 + 1e-12).all()
    assert (small >= 0.2 - 1e-12).all() and (small <= 0.4 + 1e-12).all() and np.ptp(small) > 0.05


def test_draws_with_floors_share_out_what_the_floors_leave():
    """The mean stays at the center where the center is above the floors (.1 each of .6, .3 and .1: 0 above the last)."""
    limits = Limits(["a", "b", "c"], 0.1)
    draw = draw_mixtures(
        np.array([0.6, 0.3, 0.1]),
        400,
        np.random.default_rng(0),
        limits=limits,
        sample_multiplier=1,
        min_concentration=5.0,
        max_concentration=20.0,
    )
    assert draw.num_fitting == draw.num_drawn
    np.testing.assert_allclose(draw.weights.mean(axis=0), [0.6, 0.3, 0.1], atol=0.02)


# designs


def nearest_root(weights):
    """Hellinger's distance (squared, halved) of every mixture to the nearest other one."""
    roots = np.sqrt(weights)
    return (1 - roots @ roots.T + 2 * np.eye(len(roots))).min(axis=1)


def nearest_other(weights):
    distances = np.abs(weights[:, None] - weights[None]).sum(axis=2) / 2
    return np.where(np.eye(len(weights)) == 1, np.inf, distances).min(axis=1)


def test_a_space_filling_design_keeps_mixtures_apart(tmp_path):
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    for design in ("dirichlet", "space_filling"):
        synthesize(domains, tmp_path / design, num_mixtures=48, design=design, include=["prior"])
    random, filling = (nearest_other(read_csv(tmp_path / design)) for design in ("dirichlet", "space_filling"))
    assert filling.min() > 1.5 * random.min() and np.median(filling) > np.median(random)


def test_a_design_around_a_mixture_stays_near_it_and_may_leave_its_zeros(tmp_path):
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    best = {f"domain-{i}": weight for i, weight in enumerate([0.5, 0.0, 0.3, 0.2])}
    Mixture(best).write(tmp_path / "best.yaml")
    synthesize(domains, tmp_path, num_mixtures=100, design="around", around=tmp_path / "best.yaml")
    weights = read_csv(tmp_path)
    target = np.array([0.5, 0, 0.3, 0.2] + [0.0] * 13)
    distance = np.abs(weights - target).sum(axis=1) / 2
    assert 0.05 < np.median(distance) < 0.35 and (weights[:, 1] > 0).mean() > 0.5
    assert Mixture.read(tmp_path / "mixtures" / "n00001.yaml").extra["around"] == "best.yaml"


def test_vertices_take_a_domain_as_far_as_its_bounds_allow(domains, tmp_path):
    """domain-2 has 1,000 tokens: at 4 epochs of 20,000 it may take .2, and the others share the rest 6 : 3;
    domain-1 may take .6, and the rest goes 6 : 1."""
    synthesize(domains, tmp_path, num_mixtures=6, budget=20_000, include=["vertices"])
    np.testing.assert_allclose(
        read_csv(tmp_path)[:3], [[1, 0, 0], [0.4 * 6 / 7, 0.6, 0.4 / 7], [0.8 * 2 / 3, 0.8 / 3, 0.2]], atol=2e-4
    )
    names = [Mixture.read(tmp_path / "mixtures" / f"n0000{i}.yaml").extra.get("anchor") for i in (1, 2, 3, 4)]
    assert names == ["vertex domain-0", "vertex domain-1", "vertex domain-2", None]


def test_a_mixture_of_ones_own_can_be_a_reference(domains, tmp_path):
    Mixture({"domain-1": 0.75, "domain-0": 0.25}).write(tmp_path / "mine.yaml")
    synthesize(domains, tmp_path / "out", num_mixtures=4, include=[str(tmp_path / "mine.yaml")])
    np.testing.assert_allclose(read_csv(tmp_path / "out")[0], [0.25, 0.75, 0])
    Mixture({"domian-1": 1.0}).write(tmp_path / "mine.yaml")
    with pytest.raises(InputError, match=r"no domain 'domian-1' in the table; did you mean domain-1\?"):
        synthesize(domains, tmp_path / "out", num_mixtures=4, include=[str(tmp_path / "mine.yaml")])


# held-out mixtures and extensions


def test_held_out_mixtures_are_further_ones_of_the_same_law(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=30, holdout=10)
    both = np.concatenate([read_csv(tmp_path), read_csv(tmp_path / "holdout")])
    assert len(both) == 40 and len(np.unique(both, axis=0)) == 40
    assert len(list((tmp_path / "holdout" / "mixtures").iterdir())) == 10
    synthesize(domains, tmp_path, num_mixtures=30)
    assert not (tmp_path / "holdout" / "mixtures.csv").exists()


@pytest.mark.parametrize("design", ["dirichlet", "space_filling"])
def test_extending_touches_nothing_that_is_there_and_keeps_away_from_it(tmp_path, design):
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    synthesize(domains, tmp_path, num_mixtures=60, design=design, temperature=0.7, include=["prior"], holdout=5)
    before, rows = contents(tmp_path), (tmp_path / "mixtures.csv").read_text()
    synthesize(domains, tmp_path, extend=30, include=["prior"])
    after = contents(tmp_path)
    assert {name: data for name, data in after.items() if name in before and name != "mixtures.csv"} == {
        name: data for name, data in before.items() if name != "mixtures.csv"
    }
    assert (tmp_path / "mixtures.csv").read_text().startswith(rows)
    old, new = np.split(read_csv(tmp_path), [60])
    assert len(new) == 30 and sorted(after)[-2] == "mixtures/n00089.yaml"
    held = read_csv(tmp_path / "holdout")
    away = np.abs(new[:, None] - np.concatenate([old, held])[None]).sum(axis=2).min(axis=1) / 2
    assert away.min() >= 0.02
    settings = Mixture.read(tmp_path / "mixtures" / "n00090.yaml").extra
    assert (settings["temperature"], settings["design"], settings["num_mixtures"]) == (0.7, design, 90)
    assert settings["extended_from"] == 60


def test_extensions_differ_from_each_other_and_repeat_with_their_seed(domains, tmp_path):
    for name in ("a", "b"):
        synthesize(domains, tmp_path / name, num_mixtures=10)
        synthesize(domains, tmp_path / name, extend=5)
        synthesize(domains, tmp_path / name, extend=5)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    weights = read_csv(tmp_path / "a")
    assert len(np.unique(weights, axis=0)) == 20


# growth


def grown(out: Path, domains: Path, *sizes: int, **settings) -> dict[str, bytes]:
    for size in sizes:
        synthesize(domains, out, num_mixtures=size, **settings)
    return contents(out)


@pytest.mark.parametrize("given", GROWING, ids=lambda given: " ".join(map(str, given.values())))
def test_a_sweep_grows_and_keeps_every_byte_of_what_is_there(tmp_path, given):
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    first = grown(tmp_path / "out", domains, 24, **given)
    second = grown(tmp_path / "out", domains, 32, **given)
    third = grown(tmp_path / "out", domains, 40, **given)
    for before, after, added in ((first, second, 8), (second, third, 8)):
        assert {name: after[name] for name in before if name != "mixtures.csv"} == {
            name: data for name, data in before.items() if name != "mixtures.csv"
        }
        assert after["mixtures.csv"].startswith(before["mixtures.csv"])
        assert len(after) == len(before) + added
    weights = read_csv(tmp_path / "out")
    assert len(np.unique(weights, axis=0)) == 40 - 2 * (given.get("repeat_seeds", 1) - 1)
    assert grown(tmp_path / "out", domains, 40, **given) == third
    assert grown(tmp_path / "again", domains, 24, 32, 40, **given) == third


def test_a_space_filling_sweep_grows_to_the_one_drawn_at_once(tmp_path, monkeypatch):
    """Up to a hundred mixtures are chosen from the same candidates, one after another."""
    monkeypatch.setattr(designs, "MIN_CANDIDATES", 4000)
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    grown(tmp_path / "grown", domains, 24, 32, 40, include=["prior"])
    synthesize(domains, tmp_path / "whole", num_mixtures=40, include=["prior"])
    np.testing.assert_array_equal(read_csv(tmp_path / "grown"), read_csv(tmp_path / "whole"))


def test_a_large_space_filling_sweep_that_grew_is_spread_as_one_drawn_at_once(tmp_path, fewer_candidates):
    """The candidates of 12 and of 24 mixtures are not the same here. The measure is the design's own: how near the nearest two are."""
    domains = catalogue(tmp_path / "domains.csv", TOKENS)
    ratios = []
    for seed in range(4):
        for name, sizes in (("grown", (12, 24)), ("whole", (24,))):
            grown(tmp_path / f"{name}-{seed}", domains, *sizes, seed=seed)
        least = [nearest_root(read_csv(tmp_path / f"{name}-{seed}")).min() for name in ("grown", "whole")]
        ratios.append(least[0] / least[1])
    assert np.mean(ratios) > 0.9


@pytest.mark.parametrize("design", ["dirichlet", "space_filling"])
def test_a_growth_that_was_killed_ends_as_one_that_was_not(domains, tmp_path, monkeypatch, design):
    whole = grown(tmp_path / "whole", domains, 10, 18, design=design)
    first = grown(tmp_path / "killed", domains, 10, design=design)
    written = sweep_files.write_text

    def killed(path, text):
        if path.name in ("n00014.yaml", "mixtures.csv"):
            raise KeyboardInterrupt
        written(path, text)

    monkeypatch.setattr(sweep_files, "write_text", killed)
    with pytest.raises(KeyboardInterrupt):
        synthesize(domains, tmp_path / "killed", num_mixtures=18, design=design)
    assert first.items() <= contents(tmp_path / "killed").items()
    monkeypatch.undo()
    copy = shutil.copytree(tmp_path / "killed", tmp_path / "back")
    assert grown(tmp_path / "killed", domains, 18, design=design) == whole
    assert grown(copy, domains, 10, design=design) == first, "what is in no table must not be trained"


@pytest.mark.parametrize(
    "file", ["mixtures/n00003.yaml", "mixtures/n00012.yaml", "mixtures.csv", "holdout/mixtures.csv"]
)
@pytest.mark.parametrize("damage", [lambda data: data[:-9], lambda data: data.replace(b"0.1", b"0.2"), None])
def test_a_damaged_sweep_is_mended_to_the_byte_and_grows(domains, tmp_path, file, damage):
    given = {"design": "dirichlet", "preset": "regmix", "holdout": 2}
    whole = grown(tmp_path, domains, 10, 14, **given)
    path = tmp_path / file
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
        assert contents(tmp_path) != whole
    assert grown(tmp_path, domains, 14, **given) == whole


def test_a_sweep_of_an_older_version_grows_too(domains, tmp_path, capsys):
    """Its files do not say for which domains it was drawn."""
    synthesize(domains, tmp_path, num_mixtures=6)
    for path in (tmp_path / "mixtures").iterdir():
        path.write_text(re.sub("domains_hash: .*\n", "", path.read_text()))
    before = contents(tmp_path / "mixtures")
    for size in (9, 12):
        synthesize(domains, tmp_path, num_mixtures=size)
        assert before.items() <= contents(tmp_path / "mixtures").items()
    assert "do not record their domains" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changed",
    [
        *(
            {"num_mixtures": 5},
            {"seed": 1},
            {"temperature": 0.5},
            {"limits": {"domain-2": {"max": 0.1}}},
            {"budget": 9000},
        ),
        *({"include": ["uniform"]}, {"holdout": 1}, {"preset": "regmix"}, {"repeat_seeds": 2}),
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_fewer_mixtures_or_other_settings_are_another_sweep(domains, tmp_path, changed):
    """It is the one that these settings give in an empty folder."""
    given = {"num_mixtures": 12, **changed}
    kept = {"num_mixtures": 10, "design": "dirichlet"}
    synthesize(domains, tmp_path / "old", **kept)
    synthesize(domains, tmp_path / "old", **{"design": "dirichlet", **given})
    synthesize(domains, tmp_path / "new", **{"design": "dirichlet", **given})
    assert contents(tmp_path / "old") == contents(tmp_path / "new")


def test_other_domains_or_another_mixture_to_draw_around_are_another_sweep(domains, tmp_path):
    best = tmp_path / "best.yaml"
    Mixture({"domain-0": 0.5, "domain-1": 0.5}).write(best)
    around = {"design": "around", "around": best}
    first = grown(tmp_path / "out", domains, 6, **around)["mixtures.csv"]
    second = grown(tmp_path / "out", domains, 8, **around)["mixtures.csv"]
    assert second.startswith(first)
    Mixture({"domain-0": 0.4, "domain-1": 0.6}).write(best)
    assert not grown(tmp_path / "out", domains, 8, **around)["mixtures.csv"].startswith(first)
    first = grown(tmp_path / "out", domains, 6)["mixtures.csv"]
    for text in ("domain-0,6001\ndomain-1,3000\ndomain-2,1000\n", "domain-0,5\nnews,5\n"):
        (tmp_path / "others.csv").write_text("domain,tokens\n" + text)
        assert not grown(tmp_path / "out", tmp_path / "others.csv", 8)["mixtures.csv"].startswith(first)
        assert grown(tmp_path / "out", domains, 6)["mixtures.csv"] == first


def test_a_reference_that_changed_or_is_repeated_is_another_sweep(domains, tmp_path):
    best = tmp_path / "best.yaml"
    Mixture({"domain-0": 0.5, "domain-1": 0.5}).write(best)
    given = {"include": [str(best)], "design": "dirichlet"}
    for change in ({"repeat_seeds": 2}, {}):
        synthesize(domains, tmp_path / "old", num_mixtures=6, **given)
        if not change:
            Mixture({"domain-0": 0.4, "domain-1": 0.6}).write(best)
        synthesize(domains, tmp_path / "old", num_mixtures=8, **given, **change)
        synthesize(domains, tmp_path / f"new{len(change)}", num_mixtures=8, **given, **change)
        assert contents(tmp_path / "old") == contents(tmp_path / f"new{len(change)}")


def test_the_sizes_of_the_whole_corpus_decide_where_those_on_disk_are_a_sample(tmp_path):
    """domain-2 has none on disk, so no proxy could train on it."""
    (tmp_path / "sample.csv").write_text(
        "domain,tokens,available_tokens\ndomain-0,100,6000\ndomain-1,100,3000\ndomain-2,0,1000\n"
    )
    catalogue(tmp_path / "whole.csv", [6_000, 3_000, 0])
    for name in ("sample", "whole"):
        synthesize(
            tmp_path / f"{name}.csv", tmp_path / name, num_mixtures=8, budget=10_000, include=["prior", "vertices"]
        )
    assert contents(tmp_path / "sample") == contents(tmp_path / "whole")


def test_a_sweep_of_other_domains_is_not_extended(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=4)
    other = tmp_path / "other.csv"
    other.write_text("domain,tokens\ndomain-0,5\ndomain-1,5\nnews,5\n")
    with pytest.raises(InputError, match="lacks news and has the unknown domain-2"):
        synthesize(other, tmp_path, extend=2)


def test_a_study_is_extended_and_trains_only_what_is_new(tmp_path, capsys):
    """The extension is no setting: the study's own count stays, and what was made from the first mixtures is stale."""
    catalogue(tmp_path / "domains.csv", [6_000, 3_000, 1_000])
    (tmp_path / "study.yaml").write_text("study: x\nsynthesize: {num_mixtures: 8}\n")
    stage = stage_named("synthesize")
    assert main(["synthesize", "--study", str(tmp_path)]) == 0
    assert main(["synthesize", "--study", str(tmp_path), "--extend", "4"]) == 0
    assert len(read_csv(tmp_path)) == 12
    study = Study(tmp_path)
    values = study.call(stage, study.config())
    whole = {name: parameter.default for name, parameter in parameters(synthesize).items()} | values
    assert study.state(stage, whole) == "done"


def test_a_sweep_may_hold_references_alone(domains, tmp_path):
    synthesize(domains, tmp_path, num_mixtures=2, include=["prior", "uniform"])
    np.testing.assert_allclose(read_csv(tmp_path), [[0.6, 0.3, 0.1], [1 / 3] * 3], atol=2e-4)


@pytest.mark.parametrize("held", [False, True])
def test_nothing_is_written_where_something_else_is_in_the_way(domains, tmp_path, held):
    synthesize(domains, tmp_path, num_mixtures=4, holdout=2)
    folder = tmp_path / "holdout" / "mixtures" if held else tmp_path / "mixtures"
    (folder / "notes.txt").write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"holds notes\.txt, which is no mixture"):
        synthesize(domains, tmp_path, num_mixtures=8, holdout=2)
    assert contents(tmp_path) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "holdout").write_text("a file")
    with pytest.raises(InputError, match="holdout: is a file where a folder is to be"):
        synthesize(domains, tmp_path / "other", num_mixtures=8)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["holdout"]


def test_references_of_any_name_are_recorded_and_two_of_one_name_are_refused(domains, tmp_path):
    for folder in ("a", "b"):
        Mixture({"domain-0": 0.5, "domain-1": 0.5}).write(tmp_path / folder / "best: 1.yaml")
    path = str(tmp_path / "a" / "best: 1.yaml")
    synthesize(domains, tmp_path / "out", num_mixtures=3, include=[path])
    assert Mixture.read(tmp_path / "out" / "mixtures" / "n00001.yaml").extra["anchor"] == "best: 1"
    with pytest.raises(InputError, match="include: two mixtures are called best: 1"):
        synthesize(domains, tmp_path / "out", num_mixtures=3, include=[path, str(tmp_path / "b" / "best: 1.yaml")])


def test_a_mixture_with_weight_on_a_domain_without_tokens_is_refused(tmp_path):
    domains = catalogue(tmp_path / "domains.csv", [5, 0, 5])
    Mixture({"domain-1": 0.5, "domain-0": 0.5}).write(tmp_path / "best.yaml")
    with pytest.raises(InputError, match="weight on domain-1, which has no tokens"):
        synthesize(domains, tmp_path, num_mixtures=4, design="around", around=tmp_path / "best.yaml")


def test_an_extension_takes_every_setting_from_the_sweep_unless_given(domains, tmp_path):
    limits = {"domain-2": {"max": 0.1}}
    synthesize(domains, tmp_path, num_mixtures=8, budget=9_000, max_epochs=3, limits=limits, model_name="mine")
    synthesize(domains, tmp_path, extend=2)
    recorded = Mixture.read(tmp_path / "mixtures" / "n00009.yaml").extra
    assert (recorded["budget"], recorded["max_epochs"], recorded["limits"], recorded["model_name"]) == (
        *(9_000, 3.0, limits),
        "mine",
    )
    synthesize(domains, tmp_path, extend=2, max_epochs=1.5, limits={})
    recorded = Mixture.read(tmp_path / "mixtures" / "n00011.yaml").extra
    assert recorded["max_epochs"] == 1.5 and "limits" not in recorded
    assert (read_csv(tmp_path)[10:] <= 1.5 * np.array([6, 3, 1]) / 9 + 1e-12).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("temperature: 0.3", "temperature: warm", "temperature is 'warm'; a number above 0 is wanted"),
        ("design: space_filling", "design: foo", "design is 'foo', none of dirichlet"),
        ("model_name:", "limits: [1]\nmodel_name:", r"limits is \[1\]; a mapping is wanted"),
    ],
)
def test_settings_that_were_spoilt_are_named_when_a_sweep_is_extended(domains, tmp_path, old, new, message):
    synthesize(domains, tmp_path, num_mixtures=4)
    path = tmp_path / "mixtures" / "n00001.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InputError, match=rf"n00001\.yaml: {message}"):
        synthesize(domains, tmp_path, extend=2)


share = st.sampled_from([0.0, 0.05, 0.1, 0.25, 0.3, 0.5, 0.9, 1.0])
bound = st.one_of(share, st.fixed_dictionaries({}, optional={"min": share, "max": share}))


@pytest.mark.slow
@settings(max_examples=120, deadline=None)
@given(
    design=st.sampled_from(["dirichlet", "space_filling"]),
    preset=st.sampled_from(["proxymix", "regmix"]),
    tokens=st.lists(st.sampled_from([0, 1_000, 20_000, 300_000]), min_size=3, max_size=6),
    limits=st.dictionaries(st.sampled_from(["domain-0", "domain-1", "domain-2", "source", "topic"]), bound, max_size=4),
    budget=st.one_of(st.none(), st.integers(10_000, 1_000_000)),
    include=st.lists(st.sampled_from(["prior", "uniform", "vertices"]), unique=True),
)
def test_limits_of_domains_and_groups_hold_in_every_file_or_there_is_none(
    tmp_path_factory, fewer_candidates, design, preset, tokens, limits, budget, include
):
    """source holds domain-0, domain-1 and the group topic, which is domain-2 alone."""
    out = tmp_path_factory.mktemp("limited")
    domains = catalogue(out / "domains.csv", tokens)
    groups = {"source": ["domain-0", "domain-1", "topic"], "topic": ["domain-2"]}
    settings_given = {"design": design, "preset": preset, "sample_multiplier": 4, "limits": limits, "groups": groups}
    try:
        synthesize(domains, out, num_mixtures=10, budget=budget, include=include, holdout=2, **settings_given)
    except InputError:
        assert sorted(path.name for path in out.iterdir()) == ["domains.csv"]
        return
    weights = np.concatenate([read_csv(out), read_csv(out / "holdout")])
    assert len(weights) == 12 and len(np.unique(weights, axis=0)) == 12
    assert (np.abs(weights.sum(axis=1) - 1) < 1e-12).all()
    assert (np.abs(weights * 5000 - np.round(weights * 5000)) < 1e-8).all()
    assert (weights[:, np.array(tokens) == 0] == 0).all()
    if budget is not None:
        assert (weights <= 4 * np.array(tokens) / budget + 1e-12).all()
    sums = {"source": weights[:, :3].sum(axis=1), "topic": weights[:, 2]}
    sums |= {f"domain-{i}": weights[:, i] for i in range(3)}
    for name, value in limits.items():
        low, high = (value.get("min", 0), value.get("max", 1)) if isinstance(value, dict) else (value, value)
        assert (sums[name] >= low - 1e-12).all() and (sums[name] <= high + 1e-12).all()
