"""Token counts become shares one can check by hand, in four forms; what is wrong with the counts is said by line."""

import json
import re

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from mixture_config.baseline import BASELINES, baseline, heuristic_shares, read_counts, temperature_shares
from proxymix.errors import InputError
from proxymix.schemas import read_mixture

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
    shares = heuristic_shares(np.array([100.0, 11, 1, 1, 1]), minimum_share=0.09)
    np.testing.assert_allclose(shares, [0.64, 0.09, 0.09, 0.09, 0.09], rtol=0, atol=1e-15)


def test_a_temperature_flattens_or_sharpens():
    """Roots of 16 and 9 and 1 are 4, 3 and 1; squares of 2 and 1 are 4 and 1."""
    np.testing.assert_allclose(heuristic_shares(np.array([16.0, 9, 1]), temperature=0.5), [0.5, 0.375, 0.125])
    np.testing.assert_allclose(heuristic_shares(np.array([2.0, 1]), temperature=2), [0.8, 0.2])


def test_a_cap_holds_a_small_group_to_its_epochs():
    """Square roots would give .1 to the smallest; twice its 100 tokens are .04 of 5,000, and the rest goes 6 : 3."""
    shares = heuristic_shares(np.array([3600.0, 900, 100]), 0.5, training_tokens=5000, max_epochs=2)
    np.testing.assert_allclose(shares, [0.64, 0.32, 0.04])


def test_a_group_without_tokens_gets_nothing_and_no_floor(tmp_path, capsys):
    counts = write_lines(tmp_path / "data.jsonl", [*FOUR, FOUR[1] | {"lang": "gle", "gemma-3-tok": 0, "path": "gle"}])
    baseline(counts, minimum_share=0.1, json=True)
    captured = capsys.readouterr()
    assert json.loads(captured.out)["distribution"]["gle"] == json.loads(captured.out)["epochs"]["gle"] == 0
    assert json.loads(captured.out)["distribution"]["mlt"] == 0.1
    assert "no tokens in gle: share 0" in captured.err


@given(
    exponents=st.lists(st.floats(0, 12), min_size=1, max_size=12),
    temperature=st.sampled_from([0.01, 0.3, 1.0, 2.0, 50.0]),
    floor=st.sampled_from([0.0, 5e-4, 0.05, 0.2, 1.0]),
    passes=st.sampled_from([None, 0.9, 1.0, 1.5, 10.0]),
)
def test_shares_keep_floor_and_caps_or_there_is_an_error_that_says_what_can(exponents, temperature, floor, passes):
    tokens = np.round(10.0 ** np.array(exponents))
    budget = int(2 * tokens.sum())
    max_epochs = None if passes is None else 2 * passes
    caps = np.ones(len(tokens)) if max_epochs is None else np.minimum(max_epochs * tokens / budget, 1)
    try:
        shares = heuristic_shares(tokens, temperature, floor, budget, max_epochs)
    except InputError as error:
        assert caps.sum() < 1 or floor * len(tokens) > 1 or caps.min() < floor
        if largest := re.search(r"largest (?:floor )?that can be met is ([\d.e-]+)", str(error)):
            heuristic_shares(tokens, temperature, float(largest[1]), None, None)
            if caps.sum() >= 1:
                heuristic_shares(tokens, temperature, min(float(largest[1]), caps.min()), budget, max_epochs)
        return
    assert abs(shares.sum() - 1) < 1e-12
    assert (shares >= min(floor, 1 / len(tokens))).all() and (shares <= caps + 1e-15).all()


def test_the_named_baselines_are_functions_of_counts():
    counts = np.array([16.0, 0, 9])
    expected = {
        "prior": [0.64, 0, 0.36],
        "proportional": [0.64, 0, 0.36],
        "temperature": [4 / 7, 0, 3 / 7],
        "uniform": [0.5, 0, 0.5],
    }
    assert set(BASELINES) == set(expected)
    for name, shares in expected.items():
        np.testing.assert_allclose(BASELINES[name](counts), shares)
    np.testing.assert_allclose(temperature_shares(counts, 1e-9), [0.5, 0, 0.5])


# outputs


def test_the_table_is_sorted_and_the_default(counts, capsys):
    baseline(counts)
    assert capsys.readouterr().out == "0.7500   eng\n0.2000   deu\n0.0500   mlt\n"


def test_the_summary_counts_tokens_and_warns_of_repetition(counts, capsys):
    """Of 4,000 tokens the floor of .1 gives 400 to 50 tokens: 8 passes."""
    baseline(counts, training_tokens=4000, minimum_share=0.1, summary=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["0.7105   eng", "0.1895   deu", "0.1000   mlt"]
    assert "Total available tokens: 1,000" in lines and "Total training tokens:  4,000" in lines
    assert "Warning: 1 of 3 groups repeat more than 5 times" in lines
    assert lines[-3:] == ["!!! mlt: 8.00", "-   deu: 3.79", "-   eng: 3.79"]
    baseline(counts, training_tokens=4000, minimum_share=0.1, summary=True, usage_warning=9)
    assert "Warning" not in capsys.readouterr().out


def test_the_path_line_is_in_input_order_at_full_precision(counts, capsys):
    baseline(counts, minimum_share=0.1, path=True)
    line = capsys.readouterr().out
    share = 0.9 / 950 * 500
    assert re.fullmatch(r"(\S+) 'data_tok/eng web' (\S+) data_tok/deu (\S+) data_tok/books 0\.1 data_tok/mlt\n", line)
    assert float(line.split()[0]) == pytest.approx(share, abs=1e-15)


def test_the_yaml_is_a_mixture_with_its_settings_and_epochs(counts, tmp_path):
    baseline(counts, out=tmp_path / "heuristic_mixture.yaml", training_tokens=2000, max_epochs=4, minimum_share=0.1)
    weights, rest = read_mixture(tmp_path / "heuristic_mixture.yaml")
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


@pytest.mark.parametrize("bad", [True, -1, float("nan"), float("inf"), "12", 1.5, None, [3]])
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
        ("{nope", r":1: not JSON: .*column 2"),
        ('{"lang": "a", "dataset": "b", "path": "c"}', r":1: no token count: .*found lang, dataset, path"),
        ('{"lang": "a", "tokens": 1, "path": "c"}', r":1: no key 'dataset'; found lang, tokens, path"),
        ('{"lang": "a", "dataset": 3, "tokens": 1, "path": "c"}', r":1: dataset is 3; a text is wanted"),
        ('{"lang": "a", "dataset": "b", "tokens": 0, "path": "c"}', "no dataset has any tokens"),
        ("\n" + '{"lang": "a", "dataset": "b", "tokens": 1, "path": "c"}\n' * 2, ":3: a/b is there already, in line 2"),
        (
            '{"lang": "a", "dataset": "b", "tokens": 1, "path": "c"}\n'
            '{"lang": "d", "dataset": "b", "tokens": 1, "path": "c"}',
            ":2: c is there already, in line 1",
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
        ({"minimum_share": 0.4}, r"minimum_share 0\.4 for 3 groups sums to 1\.2, over 1; the largest .* is 0\.3333$"),
        ({"minimum_share": 1.5}, r"minimum_share is 1\.5; a number from 0 to 1"),
        ({"temperature": 0}, "temperature is 0; a number above 0"),
        (
            {"training_tokens": 5000, "max_epochs": 4},
            r"cannot fill 5,000; raise max_epochs to 5\.00 or lower .* 4,000$",
        ),
        (
            {"training_tokens": 1000, "max_epochs": 2, "minimum_share": 0.2},
            r"would repeat mlt more than 2 times; the largest floor .* is 0\.1, the largest training_tokens 500$",
        ),
    ],
)
def test_settings_that_cannot_be_met_say_what_can_and_write_nothing(counts, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        baseline(counts, out=tmp_path / "out.yaml", **settings)
    assert not (tmp_path / "out.yaml").exists()


def test_a_group_that_cannot_name_a_domain_is_refused_for_a_mixture_file_only(tmp_path, capsys):
    counts = write_lines(tmp_path / "data.jsonl", [{**FOUR[0], "lang": "a/b"}])
    baseline(counts)
    with pytest.raises(InputError, match="'a/b' cannot name a domain"):
        baseline(counts, out=tmp_path / "out.yaml")
