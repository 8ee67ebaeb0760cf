"""Token counts become shares one can check by hand, in four forms; what is wrong with the counts is said by line."""

import contextlib
import io
import json
import math
import re
import shlex
import tempfile
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture_config.baseline import baseline
from mixture_config.design.heuristics import (
    BASELINES,
    baseline_weights,
    heuristic_weights,
    temperature_weights,
)
from mixture_config.files.mixture import Mixture
from proxymix.app.cli import main
from proxymix.errors import InputError
from proxymix.token_counts import read_counts

FOUR = [
    {"lang": "eng", "dataset": "web", "gemma-3-tok": 500, "path": "data_tok/eng web"},
    {"lang": "deu", "dataset": "web", "gemma-3-tok": 200, "path": "data_tok/deu"},
    {"lang": "eng", "dataset": "books", "gemma-3-tok": 250, "path": "data_tok/books"},
    {"lang": "mlt", "dataset": "web", "gemma-3-tok": 50, "path": "data_tok/mlt"},
]


def write_lines(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def counts(tmp_path):
    return write_lines(tmp_path / "data.jsonl", FOUR)


def answer(capsys, counts, **settings):
    baseline(counts, json=True, **settings)
    return json.loads(capsys.readouterr().out)


# shares


def test_shares_are_token_shares_of_the_groups(counts, capsys):
    assert answer(capsys, counts) == {
        "distribution": {"eng": 0.75, "deu": 0.2, "mlt": 0.05},
        "epochs": {"eng": 1.0, "deu": 1.0, "mlt": 1.0},
        "paths": {"data_tok/eng web": 0.5, "data_tok/deu": 0.2, "data_tok/books": 0.25, "data_tok/mlt": 0.05},
        "total_available_tokens": 1000,
        "training_tokens": 1000,
    }


def test_a_floor_takes_from_the_others_in_proportion():
    weights = heuristic_weights(np.array([100.0, 11, 1, 1, 1]), minimum_share=0.09)
    np.testing.assert_allclose(weights, [0.64, 0.09, 0.09, 0.09, 0.09], rtol=0, atol=1e-15)


def test_a_temperature_flattens_or_sharpens():
    """Roots of 16 and 9 and 1 are 4, 3 and 1; squares of 2 and 1 are 4 and 1."""
    np.testing.assert_allclose(temperature_weights(np.array([16.0, 9, 1]), 0.5), [0.5, 0.375, 0.125])
    np.testing.assert_allclose(temperature_weights(np.array([2.0, 1]), 2), [0.8, 0.2])


def test_a_cap_holds_a_small_group_to_its_epochs():
    """Square roots would give .1 to the smallest; twice its 100 tokens are .04 of 5,000, and the rest goes 6 : 3."""
    weights = heuristic_weights(np.array([3600.0, 900, 100]), np.array([6.0, 3, 1]), budget=5000, max_epochs=2)
    np.testing.assert_allclose(weights, [0.64, 0.32, 0.04])


def test_fixed_shares_are_kept_to_the_bit_and_the_others_share_the_rest(tmp_path, capsys):
    """.45 and .04 are fixed; 51 parts of the rest go 40 : 10 : 1, whose last is lifted to the floor of .05."""
    lines = [("eng", 900), ("deu", 400), ("code", 7), ("fra", 100), ("mlt", 10)]
    records = [{"lang": g, "dataset": "web", "tokens": n, "path": g} for g, n in lines]
    weights = answer(
        capsys, write_lines(tmp_path / "d.jsonl", records), fixed={"eng": 0.45, "code": 0.04}, minimum_share=0.05
    )["distribution"]
    assert (weights["eng"], weights["code"], weights["mlt"]) == (0.45, 0.04, 0.05)
    assert weights["deu"] == pytest.approx(0.46 * 0.8, abs=1e-15) and weights["fra"] == pytest.approx(
        0.46 * 0.2, abs=1e-15
    )


def test_fixed_shares_that_sum_to_1_leave_nothing_to_the_others(counts, capsys):
    assert answer(capsys, counts, fixed={"eng": 0.7, "deu": 0.3})["distribution"] == {"eng": 0.7, "deu": 0.3, "mlt": 0}
    fixed = {"eng": 0.7, "deu": 0.2, "mlt": 0.1}  # a sum of 0.9999999999999999
    assert answer(capsys, counts, fixed=fixed)["distribution"] == fixed


def test_a_fixed_share_may_pass_the_epoch_cap_and_is_said_to(counts, capsys):
    """.3 of 2,000 tokens are 12 passes over 50; the other two stay within 2 passes."""
    baseline(counts, fixed={"mlt": 0.3}, budget=2000, max_epochs=2, summary=True)
    captured = capsys.readouterr()
    assert "!!! mlt: 12.00 (fixed, over max_epochs)" in captured.out
    assert "mlt is fixed at 0.3, 12.00 epochs, over max_epochs 2" in captured.err


def test_a_group_may_be_fixed_at_0(counts, capsys):
    assert answer(capsys, counts, fixed={"eng": 0.0})["distribution"] == {"eng": 0.0, "deu": 0.8, "mlt": 0.2}


def test_a_group_without_tokens_gets_nothing_and_no_floor(tmp_path, capsys):
    counts = write_lines(tmp_path / "data.jsonl", [*FOUR, FOUR[1] | {"lang": "gle", "gemma-3-tok": 0, "path": "gle"}])
    baseline(counts, minimum_share=0.1, json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["distribution"]["gle"] == json.loads(captured.out)["epochs"]["gle"] == 0
    assert json.loads(captured.out)["distribution"]["mlt"] == 0.1
    assert "no tokens in gle: share 0" in captured.err


@st.composite
def questions(draw):
    """Token counts with fixed shares, floor, budget and epoch cap: some that can be met, some that cannot."""
    sizes = draw(st.lists(st.floats(0, 1), min_size=1, max_size=10))
    tokens = np.round(1000 ** (draw(st.sampled_from([0.3, 1.0, 4.0])) * np.array(sizes)))
    few = st.sampled_from([False] * 9 + [True])
    tokens[np.array([draw(few) for _ in sizes])] = 0
    fixed = np.array([draw(st.sampled_from([np.nan] * 5 + [0.0, 0.05, 0.3])) for _ in sizes])
    if not draw(few):
        fixed[tokens == 0] = np.nan
    wanted = tokens ** draw(st.sampled_from([0.01, 0.3, 1.0, 2.0])) * (tokens > 0)
    floor = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 0.9, 1.0, 1.3])) / len(sizes)
    budget = int(draw(st.sampled_from([0.3, 0.9, 2.0])) * tokens.sum()) + 1
    return tokens, wanted, floor, budget, draw(st.sampled_from([None, 0.9, 4.0, 10.0])), fixed


def asked(question):
    """Which groups are free, the caps of all, and what is left to the free ones."""
    tokens, _, _, budget, max_epochs, fixed = question
    free = np.isnan(fixed) & (tokens > 0)
    caps = np.ones(len(tokens)) if max_epochs is None else np.minimum(max_epochs * tokens / budget, 1)
    return free, caps, 1 - np.nansum(fixed)


def met(question):
    """Whether some shares keep all of it: floors sum to at most what is left, caps to at least that, no floor over a cap."""
    tokens, _, floor, _, _, fixed = question
    free, caps, rest = asked(question)
    if rest < -1e-13 or (fixed[~np.isnan(fixed) & (tokens == 0)] > 0).any():
        return False
    if not free.any():
        return abs(rest) < 1e-13
    return floor * free.sum() <= rest <= caps[free].sum() and caps[free].min() >= floor


@settings(deadline=None, max_examples=300)
@given(questions())
def test_every_constraint_that_can_be_met_is_met_to_1e_12(question):
    tokens, wanted, floor, budget, max_epochs, fixed = question
    try:
        weights = heuristic_weights(tokens, wanted, floor, budget, max_epochs, fixed)
    except InputError:
        assert not tokens.any() or not met(question)
        return
    free, caps, _ = asked(question)
    assert abs(weights.sum() - 1) < 1e-12 and (weights >= 0).all()
    assert (weights[~np.isnan(fixed)] == fixed[~np.isnan(fixed)]).all()
    assert (weights[np.isnan(fixed) & (tokens == 0)] == 0).all()
    assert (weights[free] >= floor - 1e-12).all() and (weights[free] <= caps[free] + 1e-12).all()
    scale = weights[free] / wanted[free]
    loose = (weights[free] > floor * (1 + 1e-9)) & (weights[free] < caps[free] * (1 - 1e-9))
    if loose.any():
        np.testing.assert_allclose(scale[loose], scale[loose][0], rtol=1e-6)
        at_floor, at_cap = weights[free] <= floor * (1 + 1e-9), weights[free] >= caps[free] * (1 - 1e-9)
        assert (scale[at_floor & ~at_cap] >= scale[loose][0] * (1 - 1e-6)).all()
        assert (scale[at_cap & ~at_floor] <= scale[loose][0] * (1 + 1e-6)).all()


@settings(deadline=None, max_examples=60)
@given(questions(), st.sampled_from([None, 0.3, 1.0, 2.0]))
def test_a_question_that_can_be_met_becomes_a_file_and_one_that_cannot_leaves_none(question, temperature):
    tokens, _, floor, budget, max_epochs, fixed = question
    names = [f"g{i}" for i in range(len(tokens))]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        out = Path(folder) / "out" / "heuristic_mixture.yaml"
        records = [{"lang": n, "dataset": "d", "tokens": int(t), "path": n} for n, t in zip(names, tokens, strict=True)]
        try:
            baseline(
                write_lines(Path(folder) / "d.jsonl", records),
                out=out,
                budget=budget,
                fixed={n: f for n, f in zip(names, fixed.tolist(), strict=True) if not math.isnan(f)},
                minimum_share=floor,
                max_epochs=max_epochs,
                temperature=temperature,
            )
        except InputError:
            assert not out.parent.exists() and (not tokens.any() or not met(question))
            return
        weights = np.array(list(yaml.safe_load(out.read_text())["train"].values()))
    free, caps, _ = asked(question)
    assert abs(weights.sum() - 1) < 1e-12 and (weights[~np.isnan(fixed)] == fixed[~np.isnan(fixed)]).all()
    assert (weights[free] >= floor - 1e-12).all() and (weights[free] <= caps[free] + 1e-12).all()


def number(pattern, message):
    found = re.search(pattern, message)
    return None if found is None else float(found[1].replace(",", ""))


@settings(deadline=None, max_examples=300)
@given(questions())
def test_what_an_error_suggests_can_be_met_and_a_little_more_cannot(question):
    tokens, wanted, floor, budget, max_epochs, fixed = question

    def can(floor=floor, budget=budget, max_epochs=max_epochs):
        try:
            heuristic_weights(tokens, wanted, floor, budget, max_epochs, fixed)
        except InputError:
            return False
        return True

    try:
        heuristic_weights(tokens, wanted, floor, budget, max_epochs, fixed)
        return
    except InputError as error:
        message = str(error)
    largest_floor = number(r"the largest (?:floor )?that can be met is ([\d.e-]*\d)", message)
    largest_budget = number(r"the largest budget ([\d,]+)", message)
    least_epochs = number(r"smallest max_epochs that can is ([\d.]+\d)", message)
    both = number(r"with a budget of at most ([\d,]+)", message)
    assert largest_floor is not None or least_epochs is not None or message.startswith("fixed: ")
    if both is not None:
        assert can(floor=largest_floor, budget=int(both)) and not can(floor=largest_floor * 1.001, budget=int(both))
        assert not can(floor=largest_floor, budget=int(both * 1.001) + 1)
    elif largest_floor is not None and "larger max_epochs" not in message:
        assert can(floor=largest_floor) and not can(floor=largest_floor * 1.001 + 1e-9)
    if largest_budget is not None:
        assert can(budget=int(largest_budget)) and not can(budget=int(largest_budget * 1.001) + 1)
    if least_epochs is not None:
        assert can(max_epochs=least_epochs) and not can(max_epochs=least_epochs * (1 - 1e-9) - 0.02)


# the table of baselines


def test_the_named_baselines_are_functions_of_counts():
    counts = np.array([16.0, 0, 9])
    expected = {
        "prior": [0.64, 0, 0.36],
        "proportional": [0.64, 0, 0.36],
        "temperature": [4 / 7, 0, 3 / 7],
        "uniform": [0.5, 0, 0.5],
        "unimax": [0.64, 0, 0.36],  # 4 passes over 9 are 36 of 100
        "capped": [0.64, 0, 0.36],
    }
    assert set(BASELINES) == set(expected)
    for name, weights in expected.items():
        np.testing.assert_allclose(baseline_weights(name, counts, budget=100), weights)
    np.testing.assert_allclose(baseline_weights("unimax", counts, budget=60, max_epochs=4), [0.5, 0, 0.5])
    np.testing.assert_allclose(baseline_weights("temperature", counts, temperature=1e-9), [0.5, 0, 0.5])


def test_a_baseline_that_is_not_there_or_lacks_its_budget_is_an_error():
    with pytest.raises(InputError, match=r"'unimx' is none of the baselines .*; did you mean unimax\?"):
        baseline_weights("unimx", np.ones(2))
    for name in ("unimax", "capped"):
        with pytest.raises(InputError, match=f"{name} needs a budget: "):
            baseline_weights(name, np.ones(2))
        with pytest.raises(InputError, match=r"2 tokens at 4 epochs cannot fill 9; .* largest budget 8$"):
            baseline_weights(name, np.ones(2), budget=9)


def unimax_by_the_paper(sizes, budget, max_epochs):
    """Algorithm 1 of Chung et al. 2023, as printed: from small to large, an equal part of what is left, capped."""
    allotted, left = [0.0] * len(sizes), budget
    for visited, i in enumerate(sorted(range(len(sizes)), key=lambda i: sizes[i])):
        allotted[i] = min(left / (len(sizes) - visited), sizes[i] * max_epochs)
        left -= allotted[i]
    return np.array(allotted) / sum(allotted)


@settings(deadline=None)
@given(st.lists(st.integers(1, 10**12), min_size=1, max_size=30), st.floats(0.01, 1.0), st.floats(0.1, 50))
def test_unimax_is_the_papers_loop(sizes, part, max_epochs):
    budget = max(int(part * max_epochs * sum(sizes)), 1)
    if budget <= max_epochs * sum(sizes):
        weights = baseline_weights("unimax", np.array(sizes, dtype=float), budget=budget, max_epochs=max_epochs)
        np.testing.assert_allclose(weights, unimax_by_the_paper(sizes, budget, max_epochs), rtol=1e-9, atol=1e-15)


def test_a_method_is_chosen_by_name(counts, capsys):
    """Of 400 tokens, 4 passes over 50 are half; a third is under that, so UniMax is uniform; of 1,000 they are .2."""
    assert answer(capsys, counts, method="uniform")["distribution"] == pytest.approx(
        dict.fromkeys(("eng", "deu", "mlt"), 1 / 3)
    )
    near = answer(capsys, counts, method="unimax", budget=1000)["distribution"]
    assert near == pytest.approx({"eng": 0.4, "deu": 0.4, "mlt": 0.2}, abs=1e-15)
    once = answer(capsys, counts, method="unimax", budget=1000, max_epochs=1)["distribution"]
    assert once == pytest.approx({"eng": 0.75, "deu": 0.2, "mlt": 0.05}, abs=1e-15)
    roots = np.sqrt([750, 200, 50])
    expected = pytest.approx(dict(zip(("eng", "deu", "mlt"), roots / roots.sum(), strict=True)))
    assert answer(capsys, counts, method="temperature")["distribution"] == expected
    assert answer(capsys, counts, temperature=0.5)["distribution"] == expected
    prior = answer(capsys, counts)["distribution"]
    for same in ({"method": "prior"}, {"method": "proportional"}, {"temperature": 1.0}):
        assert answer(capsys, counts, **same)["distribution"] == prior
    assert answer(capsys, counts, method="capped", budget=4000)["distribution"] == prior


# drop and merge

GROUPED = [
    {"lang": "eng", "dataset": "web", "tokens": 500, "path": "1"},
    {"lang": "eng", "dataset": "stack", "tokens": 100, "path": "2"},
    {"lang": "deu", "dataset": "web", "tokens": 200, "path": "3"},
    {"lang": "deu", "dataset": "stack", "tokens": 40, "path": "4"},
    {"lang": "py", "dataset": "coder", "tokens": 60, "path": "5"},
    {"lang": "math", "dataset": "proofs", "tokens": 100, "path": "6"},
]


@pytest.fixture
def grouped(tmp_path):
    return write_lines(tmp_path / "grouped.jsonl", GROUPED)


def test_datasets_are_dropped_by_group_then_merged_by_name_across_groups(grouped, capsys):
    """eng's stack is dropped before merging; deu's goes to code with all of py, which is then empty and gone."""
    got = answer(capsys, grouped, drop={"eng": ["stack"]}, merge={"code": ["stack", "coder"]})
    assert got["distribution"] == pytest.approx({"eng": 5 / 9, "deu": 2 / 9, "code": 1 / 9, "math": 1 / 9}, abs=1e-15)
    assert list(got["paths"]) == ["1", "3", "4", "5", "6"]
    assert got["paths"]["4"] == pytest.approx(1 / 9 * 0.4) and got["total_available_tokens"] == 900


def test_a_group_whose_datasets_are_all_dropped_is_gone(grouped, capsys):
    got = answer(capsys, grouped, drop={"deu": ["web", "stack"], "math": ["proofs"]}, minimum_share=0.05)
    assert list(got["distribution"]) == ["eng", "py"]


def test_a_merge_may_add_to_a_group_that_is_there(grouped, capsys):
    got = answer(capsys, grouped, merge={"math": ["coder"]})
    assert "py" not in got["distribution"] and got["distribution"]["math"] == pytest.approx(0.16)


def test_a_merged_group_may_be_fixed(grouped, capsys):
    got = answer(capsys, grouped, merge={"code": ["stack", "coder"]}, fixed={"code": 0.04, "eng": 0.45})
    assert (got["distribution"]["code"], got["distribution"]["eng"]) == (0.04, 0.45)
    assert got["paths"]["2"] == pytest.approx(0.02) and sum(got["paths"].values()) == pytest.approx(1, abs=1e-12)


def test_in_a_domains_csv_a_domain_is_its_own_group_and_dataset(tmp_path, capsys):
    """law and code are tied together at .6, in proportion to tokens; the mixture file stays one over the domains."""
    (tmp_path / "domains.csv").write_text("domain,tokens\ncode,30\nlaw,10\nweb,50\nspam,900\nwiki,150\n")
    got = answer(
        capsys,
        tmp_path / "domains.csv",
        drop={"spam": ["spam"]},
        merge={"work": ["law", "code"]},
        fixed={"work": 0.6},
        budget=100,
        out=tmp_path / "h.yaml",
    )
    assert got["distribution"] == pytest.approx({"work": 0.6, "web": 0.1, "wiki": 0.3}, abs=1e-15)
    mixture = Mixture.read(tmp_path / "h.yaml")
    weights, rest = mixture.weights, mixture.extra
    assert weights == pytest.approx({"code": 0.45, "law": 0.15, "web": 0.1, "spam": 0, "wiki": 0.3}, abs=1e-15)
    assert rest["epochs"] == pytest.approx({"code": 1.5, "law": 1.5, "web": 0.2, "spam": 0, "wiki": 0.2})
    assert (rest["fixed"], rest["merge"], rest["drop"]) == (
        {"work": 0.6},
        {"work": ["law", "code"]},
        {"spam": ["spam"]},
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drop": {"engl": ["web"]}}, r"drop: no group 'engl'; did you mean eng\?"),
        ({"drop": {"eng": ["wep"]}}, r"drop: no dataset 'wep' in the group 'eng'; did you mean web\?"),
        ({"drop": {"eng": ["coder"]}}, r"drop: no dataset 'coder' in the group 'eng'; there are stack, web"),
        (
            {"drop": {"eng": ["web", "stack"], "deu": ["web", "stack"]} | {"py": ["coder"], "math": ["proofs"]}},
            "drop: no dataset with tokens is left",
        ),
        ({"merge": {"code": ["stak"]}}, r"merge: code: no dataset 'stak'; did you mean stack\?"),
        ({"merge": {"a": ["stack"], "b": ["web", "stack"]}}, "the dataset 'stack' is in both 'a' and 'b'"),
        ({"fixed": {"engl": 0.1}}, r"fixed: no group 'engl'; did you mean eng\?"),
        ({"fixed": {"py": 0.1}, "merge": {"code": ["coder"]}}, "fixed: no group 'py'; there are code, deu, eng, math"),
        ({"fixed": {"eng": 1.1}}, r"fixed: eng is 1\.1; a share from 0 to 1"),
        ({"fixed": {"eng": -0.1}}, r"fixed: eng is -0\.1; a share from 0 to 1"),
        ({"fixed": {"eng": float("nan")}}, "fixed: eng is nan; a share from 0 to 1"),
        ({"fixed": {"eng": 0.7, "deu": 0.4}}, r"fixed: the shares sum to 1\.1, over 1"),
        (
            {"fixed": {"eng": 0.2, "deu": 0.2, "py": 0.2, "math": 0.3}},
            r"fixed: the shares sum to 0\.9, and no other group with tokens is left to share the other 0\.1",
        ),
        ({"fixed": {"eng": 0.9}, "minimum_share": 0.05}, r"over the 0\.1 that fixed shares leave; .* is 0\.0333333$"),
        ({"fixed": {"eng": 1.0}, "minimum_share": 0.05}, r"over the 0 that fixed shares leave; .* met is 0$"),
        (
            {"fixed": {"eng": 0.5}, "budget": 5000, "max_epochs": 4},
            r"400 tokens at 4 epochs cannot fill 0\.5 of 5,000; .* is 6\.25, the largest budget 3,200$",
        ),
    ],
)
def test_groups_and_shares_that_cannot_be_are_named_and_nothing_is_written(grouped, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        baseline(grouped, out=tmp_path / "out.yaml", **settings)
    assert not (tmp_path / "out.yaml").exists()


def test_a_group_without_tokens_cannot_be_fixed_above_0(tmp_path, capsys):
    counts = write_lines(tmp_path / "data.jsonl", [*FOUR, FOUR[1] | {"lang": "gle", "gemma-3-tok": 0, "path": "gle"}])
    with pytest.raises(InputError, match=r"data\.jsonl: fixed: gle is 0\.1, but has no tokens"):
        baseline(counts, fixed={"gle": 0.1})
    assert answer(capsys, counts, fixed={"gle": 0.0})["distribution"]["gle"] == 0


# the command line


def test_mappings_are_flags_and_settings_of_a_study(grouped, tmp_path, capsys):
    def weights(*arguments):
        assert main(["baseline", "--domains", str(grouped), "--json", *arguments]) == 0
        return json.loads(capsys.readouterr().out)["distribution"]

    whole = ["--merge", "{code: [stack, coder]}", "--drop", "{eng: [stack]}", "--fixed", "{deu: 0.45}"]
    expected = weights(*whole)
    assert expected["deu"] == 0.45 and "py" not in expected
    entries = ["--merge.code", "[stack, coder]", "--drop.eng", "[stack]", "--fixed.deu", "0.45"]
    assert weights(*entries) == expected
    section = {"merge": {"code": ["stack", "coder"]}, "drop": {"eng": ["stack"]}, "fixed": {"deu": 0.45}}
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(section))
    (tmp_path / "study.yaml").write_text(yaml.safe_dump({"study": "s", "baseline": section}))
    for name in ("alone.yaml", "study.yaml"):
        assert weights("--config", str(tmp_path / name)) == expected
        assert weights("--config", str(tmp_path / name), "--fixed.math", "0.1")["math"] == 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--fixed.egn", "0.4"], "grouped.jsonl: fixed: no group 'egn'; did you mean eng?"),
        (["--fixed.eng", "much"], "--fixed.eng: 'much' is not a number"),
        (["--method", "unimax"], "unimax needs a budget: give the tokens of the final training as --budget"),
        (["--method", "uniform", "--temperature", "0.3"], "temperature is 0.3, which the method uniform does not use"),
        (["--token_key", "toks"], "grouped.jsonl:1: no key 'toks'; did you mean tokens?"),
    ],
)
def test_a_mistake_ends_with_status_2_one_line_and_no_file(grouped, tmp_path, capsys, arguments, message):
    assert main(["baseline", "--domains", str(grouped), "--out", str(tmp_path / "o.yaml"), *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1 and not captured.out
    assert not (tmp_path / "o.yaml").exists()


# outputs


def test_the_table_is_sorted_and_the_default(counts, capsys):
    baseline(counts)
    assert capsys.readouterr().out == "0.7500   eng\n0.2000   deu\n0.0500   mlt\n"


def test_the_summary_counts_tokens_and_warns_of_repetition(counts, capsys):
    """Of 4,000 tokens the floor of .1 gives 400 to 50 tokens: 8 passes."""
    baseline(counts, budget=4000, minimum_share=0.1, summary=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["0.7105   eng", "0.1895   deu", "0.1000   mlt"]
    assert "Total available tokens: 1,000" in lines and "Total training tokens:  4,000" in lines
    assert "Warning: 1 of 3 groups repeat more than 5 times" in lines
    assert lines[-3:] == ["-   eng: 3.79", "-   deu: 3.79", "!!! mlt: 8.00"], "in the order of the table"
    baseline(counts, budget=4000, minimum_share=0.1, summary=True, usage_warning=9)
    assert "Warning" not in capsys.readouterr().out


def test_the_path_line_is_in_input_order_at_full_precision(counts, capsys):
    baseline(counts, minimum_share=0.1, path=True)
    line = capsys.readouterr().out
    share = 0.9 / 950 * 500
    assert re.fullmatch(r"(\S+) 'data_tok/eng web' (\S+) data_tok/deu (\S+) data_tok/books 0\.1 data_tok/mlt\n", line)
    assert float(line.split()[0]) == pytest.approx(share, abs=1e-15)


def test_numbers_are_written_without_the_noise_of_rounding(tmp_path, capsys):
    """.05 of 2,000 tokens are 2 epochs of 50, and doubles make 2.0000000000000004 of that. A third keeps all its digits."""
    lines = [{**FOUR[i], "gemma-3-tok": n} for i, n in ((0, 850), (1, 100), (3, 50))]
    counts = write_lines(tmp_path / "data.jsonl", lines)
    baseline(counts, out=tmp_path / "h.yaml", minimum_share=0.05, budget=2000, max_epochs=2, temperature=0.3, json=True)
    text = capsys.readouterr().out
    assert not re.search(r"\d(0{6}|9{6})\d", text + (tmp_path / "h.yaml").read_text().partition("epochs:")[2])
    assert Mixture.read(tmp_path / "h.yaml").extra["epochs"]["mlt"] == 2.0
    third = write_lines(tmp_path / "three.jsonl", [{**FOUR[i], "gemma-3-tok": 7} for i in (0, 1, 3)])
    assert answer(capsys, third)["distribution"]["eng"] == 1 / 3


def test_old_names_are_read_with_a_note(counts, capsys):
    assert main(["baseline", "--counts", str(counts), "--training_tokens", "4000", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["epochs"]["eng"] == 4.0
    assert "--counts is called --domains" in captured.err and "--training_tokens is called --budget" in captured.err


def test_what_was_written_and_the_next_command_come_last(counts, tmp_path, capsys):
    baseline(counts, out=tmp_path / "h.yaml")
    *_, written, following = capsys.readouterr().err.splitlines()
    assert written == f"Written: {tmp_path / 'h.yaml'}"
    assert main(following.removeprefix("Next: proxymix ").split()) == 0
    (tmp_path / "domains.csv").write_text("domain,tokens\na,30\nb,10\n")
    (tmp_path / "study.yaml").write_text("study: x\n")
    baseline(tmp_path / "domains.csv", out=tmp_path / "h.yaml")
    assert f"Next: proxymix synthesize --study {tmp_path}" in capsys.readouterr().err


def test_output_for_programs_stands_alone(counts, capsys):
    baseline(counts, summary=True, path=True, json=True)
    assert set(json.loads(capsys.readouterr().out)) == {
        *("distribution", "epochs", "paths", "total_available_tokens", "training_tokens")
    }
    baseline(counts, summary=True, path=True)
    assert capsys.readouterr().out == "0.5 'data_tok/eng web' 0.2 data_tok/deu 0.25 data_tok/books 0.05 data_tok/mlt\n"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 10**13), min_size=2, max_size=12).filter(any))
def test_what_programs_read_sums_to_1_at_full_precision(tokens):
    records = [{"lang": f"g{i // 2}", "dataset": f"d{i}", "tokens": n, "path": f"p {i}"} for i, n in enumerate(tokens)]
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as out:
        counts = write_lines(Path(folder) / "d.jsonl", records)
        baseline(counts, json=True, temperature=0.7)
        got = json.loads(out.getvalue())
        out.seek(0)
        baseline(counts, path=True, temperature=0.7)
        line = shlex.split(out.getvalue()[: out.tell()])
    assert abs(math.fsum(got["distribution"].values()) - 1) < 1e-12
    assert abs(math.fsum(got["paths"].values()) - 1) < 1e-12
    assert dict(zip(line[1::2], map(float, line[::2]), strict=True)) == got["paths"]


def test_the_yaml_is_a_mixture_with_its_settings_and_epochs(counts, tmp_path):
    baseline(counts, out=tmp_path / "heuristic_mixture.yaml", budget=2000, max_epochs=4, minimum_share=0.1)
    mixture = Mixture.read(tmp_path / "heuristic_mixture.yaml")
    weights, rest = mixture.weights, mixture.extra
    assert weights == pytest.approx({"eng": 0.75 * 0.9 / 0.95, "deu": 0.2 * 0.9 / 0.95, "mlt": 0.1}, abs=1e-15)
    assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
    assert rest["epochs"]["mlt"] == 4.0 and rest["training_tokens"] == 2000 and rest["minimum_share"] == 0.1
    assert list(yaml.safe_load((tmp_path / "heuristic_mixture.yaml").read_text()))[:3] == [
        "train",
        "valid",
        "model_name",
    ]


def test_a_studys_domains_are_counts_too(tmp_path, capsys):
    (tmp_path / "domains.csv").write_text("domain,tokens,documents\ncode,30,2\nlaw,10,1\n")
    assert answer(capsys, tmp_path / "domains.csv")["paths"] == {"code": 0.75, "law": 0.25}


# what users write


def test_blank_lines_a_byte_order_mark_and_any_token_key_are_read(tmp_path):
    lines = [json.dumps({**FOUR[i], "llama-tok": 7}) for i in (0, 1)]
    (tmp_path / "data.jsonl").write_text("\ufeff" + "\n\n".join(lines) + "\r\n  \n", encoding="utf-8")
    assert [d.tokens for d in read_counts(tmp_path / "data.jsonl", token_key="llama-tok")] == [7, 7]
    with pytest.raises(InputError, match=r"several token counts.*gemma-3-tok, llama-tok.*token_key"):
        read_counts(tmp_path / "data.jsonl")


@pytest.mark.parametrize("bad", [True, -1, float("nan"), float("inf"), "12", 1.5, None, [3], 10**19])
def test_a_count_that_is_no_count_is_refused(tmp_path, bad):
    path = write_lines(tmp_path / "data.jsonl", [FOUR[0], FOUR[1] | {"gemma-3-tok": bad}])
    with pytest.raises(InputError, match=rf"data\.jsonl:2: gemma-3-tok is {re.escape(repr(bad))}; a whole number"):
        read_counts(path)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("[1, 2]", r":1: a JSON object is wanted, found \[1, 2\]"),
        ('{"tokens": ' + "1" * 5000 + "}", ":1: not JSON that can be read"),
        ("{nope", r":1: not JSON: .*column 2"),
        ('{"lang": "a", "dataset": "b", "path": "c"}', r":1: no token count: .*found lang, dataset, path"),
        ('{"lang": "a", "tokens": 1, "path": "c"}', r":1: no key 'dataset' \(found lang, tokens, path\)"),
        ('{"lang": "a", "dataset": 3, "tokens": 1, "path": "c"}', r":1: dataset is 3; a text is wanted"),
        ('{"lang": "a", "dataset": "b", "tokens": 0, "path": "c"}', "no dataset has any tokens"),
        (
            "\n" + '{"lang": "a", "dataset": "b", "tokens": 1, "path": "c"}\n' * 2,
            ":3: the path 'c' is there already, in line 2",
        ),
        (
            '{"lang": "a", "dataset": "b", "tokens": 1, "path": "c"}\n'
            '{"lang": "d", "dataset": "b", "tokens": 1, "path": "c"}',
            ":2: the path 'c' is there already, in line 1",
        ),
        (
            '{"lang": "a", "dataset": "b", "tokens": 1, "path": "c"}\n'
            '{"lang": "d", "dataset": "b", "other-tok": 1, "path": "e"}',
            ":2: no key 'tokens'",
        ),
    ],
)
def test_bad_lines_are_named(tmp_path, lines, message):
    (tmp_path / "data.jsonl").write_text(lines)
    with pytest.raises(InputError, match=message):
        read_counts(tmp_path / "data.jsonl")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"minimum_share": 0.4}, r"minimum_share 0\.4 for 3 groups sums to 1\.2, over 1; the largest .* is 0\.333333$"),
        ({"minimum_share": 1.5}, r"minimum_share is 1\.5; a number from 0 to 1 is wanted$"),
        ({"minimum_share": 5}, "minimum_share is 5; .* in the place of percent, here 0.05"),
        ({"fixed": {"eng": 45}}, r"fixed: eng is 45; .* in the place of percent, here 0\.45"),
        ({"temperature": 0}, "temperature is 0; a number above 0"),
        (
            {"budget": 5000, "max_epochs": 4},
            r"cannot fill 5,000; the smallest max_epochs that can is 5\.00, the largest budget 4,000$",
        ),
        (
            {"budget": 1000, "max_epochs": 2, "minimum_share": 0.2},
            r"would repeat mlt more than 2 times; the largest floor .* is 0\.1, the largest budget 500$",
        ),
    ],
)
def test_settings_that_cannot_be_met_say_what_can_and_write_nothing(counts, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        baseline(counts, out=tmp_path / "out.yaml", **settings)
    assert not (tmp_path / "out.yaml").exists()


def test_a_group_that_cannot_name_a_domain_is_refused_for_a_mixture_file_only(tmp_path, capsys):
    counts = write_lines(tmp_path / "data.jsonl", [{**FOUR[0], "lang": "a b"}])
    baseline(counts)
    with pytest.raises(InputError, match="'a b' cannot name a domain"):
        baseline(counts, out=tmp_path / "out.yaml")


def test_two_files_of_one_dataset_both_count(tmp_path, capsys):
    """Rows 33 and 34 of ml-dist-gen's own data.jsonl are one dataset of one language in two places."""
    rows = [
        ("nor", 40348990466, "data_tok/nob"),
        ("nor", 1788004490, "data_tok/nno"),
        ("mlt", 571559893, "data_tok/mlt"),
    ]
    lines = [
        {"lang": lang, "dataset": "HPLT/HPLT2.0_cleaned", "gemma-3-tok": n, "path": path} for lang, n, path in rows
    ]
    found = answer(capsys, write_lines(tmp_path / "data.jsonl", lines))
    total = 40348990466 + 1788004490 + 571559893
    assert found["total_available_tokens"] == total
    assert found["distribution"] == pytest.approx({"nor": (total - 571559893) / total, "mlt": 571559893 / total})
    assert found["paths"] == pytest.approx({path: n / total for _, n, path in rows})
    dropped = answer(capsys, tmp_path / "data.jsonl", drop={"nor": ["HPLT/HPLT2.0_cleaned"]})
    assert dropped["distribution"] == {"mlt": 1.0}


def test_the_counts_are_never_written_over(counts, capsys):
    before = counts.read_bytes()
    assert main(["baseline", "--domains", str(counts), "--out", str(counts)]) == 2
    assert "is the file of the counts itself" in capsys.readouterr().err and counts.read_bytes() == before


def test_fixed_shares_that_leave_nothing_to_others_are_mentioned(counts, capsys):
    baseline(counts, fixed={"eng": 0.5, "deu": 0.5}, json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["distribution"]["mlt"] == 0
    assert "the fixed shares sum to 1 and leave nothing to mlt" in captured.err
