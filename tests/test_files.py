"""Files appear whole or not at all, and what is wrong in one is said with its place."""

import signal
import subprocess
import sys

import pytest

from mixture_config.files.mixture import read_mixture, write_mixture
from proxymix.errors import InputError
from proxymix.files import read_json, read_yaml, replacing, write_text, write_yaml
from proxymix.schemas import read_domains


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path):
    write_text(tmp_path / "a.csv", "old")
    with pytest.raises(RuntimeError), replacing(tmp_path / "a.csv") as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert (tmp_path / "a.csv").read_text() == "old"
    assert names_in(tmp_path) == ["a.csv"]


def test_a_kill_while_writing_leaves_the_old_file_and_the_next_write_clears_the_litter(tmp_path):
    path = tmp_path / "a.csv"
    write_text(path, "old")
    code = (
        "import sys, os, signal, pathlib\nfrom proxymix.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1])) as t:\n    t.write_text('half')\n    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new"
    assert names_in(tmp_path) == ["a.csv"]


def test_a_folder_is_replaced_whole_so_old_members_do_not_survive(tmp_path):
    for names in (["a", "b"], ["c"]):
        with replacing(tmp_path / "folder") as temporary:
            temporary.mkdir()
            for name in names:
                (temporary / name).write_text(name)
    assert names_in(tmp_path / "folder") == ["c"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", r"x\.yaml:2: not YAML"),
        ("a: 1\nb: 2\na: 3\n", r"x\.yaml:3: .*'a' is written twice"),
        ("- 1\n", r"a mapping .* is wanted"),
    ],
)
def test_bad_yaml_is_named_with_its_line(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(tmp_path / "x.yaml")


def test_a_number_in_scientific_notation_is_a_number(tmp_path):
    (tmp_path / "x.yaml").write_text("rate: 2e-4\nname: e2e\n")
    assert read_yaml(tmp_path / "x.yaml") == {"rate": 2e-4, "name": "e2e"}


def test_bad_json_is_named_with_its_line(tmp_path):
    (tmp_path / "x.json").write_text('{"a": 1,\n"b" 2}')
    with pytest.raises(InputError, match=r"x\.json:2"):
        read_json(tmp_path / "x.json")


def test_a_mixture_reads_back_at_full_precision(tmp_path):
    weights = {"web": 1 / 3, "code": 1 / 7, "law": 1 - 1 / 3 - 1 / 7}
    write_mixture(tmp_path / "m.yaml", weights, {"model_name": "1m", "seed": 3})
    assert read_mixture(tmp_path / "m.yaml") == (
        weights,
        {"valid": dict.fromkeys(["valid_web", "valid_code", "valid_law"], 1.0), "model_name": "1m", "seed": 3},
    )


def test_published_weights_rounded_to_three_decimals_are_renormalised(tmp_path):
    write_yaml(tmp_path / "m.yaml", {"train": {"train_a": 0.499, "train_b": 0.499}})
    assert read_mixture(tmp_path / "m.yaml")[0] == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"train_a": 0.5, "train_b": 0.4}, r"sum to 0\.9, not 1"),
        ({"train_a": 1.5, "train_b": -0.5}, r"weight of b is -0\.5"),
        ({"train_a": True}, "weight of a is True"),
        ({"train_a/b": 1.0}, "cannot name a domain"),
        ({}, "no 'train' section"),
    ],
)
def test_weights_that_are_no_mixture_are_refused(tmp_path, train, message):
    write_yaml(tmp_path / "m.yaml", {"train": train})
    with pytest.raises(InputError, match=message):
        read_mixture(tmp_path / "m.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("domain,size\na,1\n", "no column 'tokens'"),
        ("domain,tokens\na,1\na,2\n", r":3: the domain 'a' is there twice"),
        ("domain,tokens\na,-1\n", r":2: tokens is '-1'"),
        ("domain,tokens\na,nan\n", r":2: tokens is 'nan'"),
        (f"domain,tokens\na,{10**400}\n", r":2: tokens is '1000.*a whole number from 0 to 1e\+18 is wanted"),
        ("domain,tokens\na,1e308\nb,1e308\n", ":2: tokens is '1e308'"),
        ("domain,tokens\na,0\n", "no domain has any tokens"),
        ("", "no rows"),
    ],
)
def test_bad_counts_are_named_with_their_line(tmp_path, text, message):
    (tmp_path / "domains.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        read_domains(tmp_path / "domains.csv")


def test_the_prior_is_the_token_share(tmp_path):
    (tmp_path / "domains.csv").write_text("\ufeffdomain,tokens\na,30\nb,1e1\n")
    assert [(d.domain, d.prior) for d in read_domains(tmp_path / "domains.csv")] == [("a", 0.75), ("b", 0.25)]
