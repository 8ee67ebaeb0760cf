"""Files appear whole or not at all, and what is wrong in one is said with its place."""

import signal
import subprocess
import sys

import numpy as np
import pytest

from mixture_config.files.mixture import Mixture
from proxymix.errors import InputError
from proxymix.files import json_value, read_json, read_yaml, replacing, write_text, write_yaml
from proxymix.schemas import Domains


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


def test_two_processes_that_write_one_file_leave_the_whole_of_one(tmp_path):
    code = (
        "import sys, pathlib\nfrom proxymix.files import write_text\n"
        "for _ in range(200): write_text(pathlib.Path(sys.argv[1]), sys.argv[2] * 1000)\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "a.csv"), text]) for text in "xyz"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert (tmp_path / "a.csv").read_text() in {text * 1000 for text in "xyz"}
    assert names_in(tmp_path) == ["a.csv"]


def test_what_a_live_process_is_writing_is_no_litter(tmp_path):
    with replacing(tmp_path / "a.csv") as temporary:
        temporary.write_text("a")
        code = "import sys, pathlib\nfrom proxymix.files import write_text\nwrite_text(pathlib.Path(sys.argv[1]), 'b')"
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "b.csv")], check=True)
    assert [(tmp_path / name).read_text() for name in ("a.csv", "b.csv")] == ["a", "b"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_to_a_folder_stays_and_its_folder_is_replaced_whole(tmp_path, exists):
    (tmp_path / "disk").mkdir()
    if exists:
        (tmp_path / "disk" / "report").mkdir()
        (tmp_path / "disk" / "report" / "old").write_text("old")
    (tmp_path / "report").symlink_to(tmp_path / "disk" / "report")
    with replacing(tmp_path / "report") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert (tmp_path / "report").is_symlink()
    assert names_in(tmp_path / "disk" / "report") == ["new"]
    assert names_in(tmp_path) == ["disk", "report"] and names_in(tmp_path / "disk") == ["report"]


def test_a_link_to_a_file_is_replaced_and_the_file_stays(tmp_path):
    (tmp_path / "theirs.csv").write_text("theirs")
    (tmp_path / "a.csv").symlink_to(tmp_path / "theirs.csv")
    write_text(tmp_path / "a.csv", "ours")
    assert (tmp_path / "theirs.csv").read_text() == "theirs"
    assert (tmp_path / "a.csv").read_text() == "ours" and not (tmp_path / "a.csv").is_symlink()


KILLED_AT = """
import os, pathlib, shutil, signal, sys
from proxymix.files import replacing

steps = 0

def stepping(call):
    def step(*arguments, **settings):
        global steps
        steps += 1
        if steps == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **settings)
    return step

pathlib.Path.replace, shutil.rmtree, os.unlink = map(stepping, (pathlib.Path.replace, shutil.rmtree, os.unlink))
with replacing(pathlib.Path(sys.argv[1])) as temporary:
    temporary.mkdir()
    for name in ("a", "b"):
        (temporary / name).write_text("new")
    steps = 0
print(steps)
"""


def write_folder(path, text):
    with replacing(path) as temporary:
        temporary.mkdir()
        for name in ("a", "b"):
            (temporary / name).write_text(text)


def test_a_kill_between_any_two_steps_of_replacing_a_folder_leaves_the_old_or_the_new_one(tmp_path):
    """Each rename, and each file that is deleted, is a step; the process is killed before each in turn."""
    path = tmp_path / "folder"

    def attempt(step: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", KILLED_AT, str(path), str(step)], capture_output=True, text=True)

    write_folder(path, "old")
    num_steps = int(attempt(0).stdout)
    assert num_steps >= 4  # three renames and a deletion
    for step in range(1, num_steps + 1):
        write_folder(path, "old")
        assert attempt(step).returncode == -signal.SIGKILL
        with pytest.raises(RuntimeError), replacing(path):  # the next attempt fails, and loses nothing either
            raise RuntimeError
        assert names_in(tmp_path) == ["folder"] and names_in(path) == ["a", "b"]
        assert {(path / name).read_text() for name in ("a", "b")} == ({"old"} if step <= 2 else {"new"})
    write_folder(path, "newer")
    assert (path / "a").read_text() == "newer" and names_in(tmp_path) == ["folder"]


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


def test_a_key_that_is_there_twice_is_no_json_that_can_be_read(tmp_path):
    """Libraries take the last one, and which one was meant nobody knows. In YAML it is an error too."""
    text = '{"mix": [{"web": 0.5, "code": 0.2, "web": 0.3}]}'
    (tmp_path / "x.json").write_text(text)
    for read in (lambda: read_json(tmp_path / "x.json"), lambda: json_value(text, "x.json:1")):
        with pytest.raises(InputError, match=r"x\.json.* the key 'web' is written twice"):
            read()


def test_a_mixture_reads_back_at_full_precision(tmp_path):
    weights = {"web": 1 / 3, "code": 1 / 7, "law": 1 - 1 / 3 - 1 / 7}
    Mixture(weights, {"model_name": "1m", "seed": 3}).write(tmp_path / "m.yaml")
    assert Mixture.read(tmp_path / "m.yaml") == Mixture(
        weights,
        {"valid": dict.fromkeys(["valid_web", "valid_code", "valid_law"], 1.0), "model_name": "1m", "seed": 3},
    )


def test_published_weights_rounded_to_three_decimals_are_renormalised(tmp_path):
    write_yaml(tmp_path / "m.yaml", {"train": {"train_a": 0.499, "train_b": 0.499}})
    assert Mixture.read(tmp_path / "m.yaml").weights == {"a": 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"train_a": 0.5, "train_b": 0.4}, r"sum to 0\.9, not 1"),
        ({"train_a": 1.5, "train_b": -0.5}, r"weight of b is -0\.5"),
        ({"train_a": True}, "weight of a is True"),
        ({"train_a b": 1.0}, "cannot name a domain"),
        ({"train_a:b": 0.5, "a/b": 0.5}, r"'a:b' and 'a/b' are both the domain a\.b"),
        ({}, "no 'train' section"),
    ],
)
def test_weights_that_are_no_mixture_are_refused(tmp_path, train, message):
    write_yaml(tmp_path / "m.yaml", {"train": train})
    with pytest.raises(InputError, match=message):
        Mixture.read(tmp_path / "m.yaml")


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
        ("", "the file is empty"),
    ],
)
def test_bad_counts_are_named_with_their_line(tmp_path, text, message):
    (tmp_path / "domains.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        Domains.read(tmp_path / "domains.csv")


def test_the_prior_is_the_token_share(tmp_path):
    (tmp_path / "domains.csv").write_text("\ufeffdomain,tokens\na,30\nb,1e1\n")
    domains = Domains.read(tmp_path / "domains.csv")
    assert domains.names == ("a", "b") and domains.prior.tolist() == [0.75, 0.25]


def test_domains_are_aligned_by_name_and_a_difference_is_named():
    domains = Domains.of({"web": 30, "code": 10})
    assert domains.aligned(["code", "web"], "domains.csv").tokens.tolist() == [10, 30]
    with pytest.raises(
        InputError, match=r"domains\.csv: lacks law and has the unknown code; those wanted are web, law"
    ):
        domains.aligned(["web", "law"], "domains.csv")


def test_domains_read_back_as_they_were_written(tmp_path):
    domains = Domains(("web", "code"), np.array([10**18, 3]), np.array([2, 1]), np.array([7, 0]))
    domains.write(tmp_path / "domains.csv")
    back = Domains.read(tmp_path / "domains.csv")
    assert back.names == domains.names
    for name in ("tokens", "documents", "bytes"):
        assert getattr(back, name).tolist() == getattr(domains, name).tolist()


def test_the_prior_of_huge_counts_does_not_overflow():
    assert Domains.of(dict.fromkeys(map(str, range(20)), 10**18)).prior.sum() == pytest.approx(1)
