"""Every kind of file of a finished study x every kind of damage x every command: mended to the same bytes, or refused.

By default `check` and `status` are tried on all of them, and the commands that compute on a part. All of it:

    PROXYMIX_TEST_ALL_FAULTS=1 python -m pytest tests/test_damage.py
"""

import itertools
import os
import re
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from forked import Ended, here
from tiny_study import contents, states_of

ALL = "PROXYMIX_TEST_ALL_FAULTS" in os.environ
KINDS = (
    "study.yaml",
    "stages/study.yaml",
    "stages/*.json",
    ".digests.json",
    "tokens/manifest.json",
    "tokens/tokenizer.json",
    "tokens/train/*/*.ds",
    "tokens/train/*/*.index",
    "tokens/valid/*/*.ds",
    "tokens/valid/*/*.index",
    "domains.csv",
    "heuristic_mixture.yaml",
    "mixtures/n*.yaml",
    "mixtures.csv",
    "proxies/bundles.yaml",
    "proxies/n*/manifest.yaml",
    "proxies/n*/losses.csv",
    "proxies/n*/metrics.csv",
    "losses.csv",
    "regression/fit.json",
    "regression/models.json",
    "regression/scores.csv",
    "regression/predictions.csv",
    "regression/effects.csv",
    "regression/runs.csv",
    "optimal_mixture.yaml",
    "proposal/candidates.csv",
    "proposal/epochs.csv",
    "proposal/gains.csv",
    "proposal/line.csv",
    "proposal/near_optimal.csv",
    "proposal/weights.csv",
    "confirmation/bundles.yaml",
    "confirmation/*-s*/manifest.yaml",
    "confirmation/*-s*/losses.csv",
    "confirmation/*-s*/metrics.csv",
    "confirmation.csv",
    "confirmation.yaml",
    "report/index.html",
    "report/*.csv",
    "report/*.png",
)
"""Patterns of files; a kind is tried on the second file that there is of it."""
OTHER_SHAPES = {
    ".yaml": b"a: [1, 2]\nb: {c: text}\n",
    ".json": b'{"a": {"b": [1]}, "c": "text"}\n',
    ".csv": b"a,b\n1,2\n",
    ".html": b"<html></html>\n",
    ".ds": b"\x01\x00" * 200,
    ".index": bytes([7, 0, 0, 0, 0, 0, 0, 0]) * 3,
    ".png": b"\x89PNG\r\n\x1a\n",
}


def digit_changed(content: bytes) -> bytes:
    """Another digit in the middle; a bit where there is no digit."""
    digits = [match.start() for match in re.finditer(rb"\d", content)]
    changed, at = bytearray(content), digits[len(digits) // 2] if digits else len(content) // 2
    changed[at] ^= 1
    return bytes(changed)


DAMAGES: dict[str, Callable[[bytes], bytes] | None] = {
    "truncated": lambda content: content[: len(content) // 2],
    "zeroed": lambda content: bytes(len(content)),
    "garbage": lambda content: bytes(255 - byte for byte in content),
    "empty": lambda content: b"",
    "digit changed": digit_changed,
    "missing": None,
    "other shape": lambda content: b"",
}
CASES = list(itertools.product(KINDS, DAMAGES))
IN_TURN = [(kind, list(DAMAGES)[number % len(DAMAGES)]) for number, kind in enumerate(KINDS)]
NO_DAMAGE = {(".digests.json", damage) for damage in DAMAGES} | {("stages/study.yaml", "missing")}
NO_DAMAGE.add(("stages/*.json", "missing"))
"""What only spares work, or what older versions did not write. The stage of a record that is missing is missing."""


@pytest.fixture(scope="module")
def study(trained_study, tmp_path_factory) -> Path:
    """A copy that is damaged again and again."""
    return shutil.copytree(trained_study, tmp_path_factory.mktemp("damage") / "study")


def damage(study: Path, kind: str, damage: str) -> Path:
    """Damage a file of a kind, the second that there is."""
    found = sorted(study.glob(kind))
    path, change = found[min(1, len(found) - 1)], DAMAGES[damage]
    if change is None:
        path.unlink()
    else:
        path.write_bytes(OTHER_SHAPES[path.suffix] if damage == "other shape" else change(path.read_bytes()))
    return path


@pytest.fixture
def damaged(request, study, trained_study):
    """The file that is damaged, and how; whole again afterwards, as all others."""
    yield damage(study, *request.param), request.param
    make_whole(study, trained_study)


def make_whole(study: Path, original: Path) -> None:
    """Copy back what differs."""
    now, then = contents(study), contents(original)
    for name in {**now, **then}:
        if name not in then:
            (study / name).unlink()
        elif now.get(name) != then[name]:
            (study / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(original / name, study / name)
    shutil.copy2(original / ".digests.json", study / ".digests.json")


def check_refused(ended: Ended, path: Path, study: Path) -> None:
    """AssertionError: it ends otherwise than with a sentence that names the file, and what to do."""
    ended.check_sentence()
    message = ended.text
    assert f"{study / path.relative_to(study).parts[0]}" in message, message
    assert re.search(r"`proxymix|--\w|remove|bring|give|write|wanted|no such", message), message


def test_every_file_of_a_study_is_of_a_kind_that_is_tried(trained_study):
    names = set(contents(trained_study))
    tried = {path.relative_to(trained_study).as_posix() for kind in KINDS for path in trained_study.glob(kind)}
    assert names - tried == set()
    assert all(list(trained_study.glob(kind)) for kind in KINDS)


def hash_of(path: Path) -> bytes:
    return sha256(path.read_bytes()).hexdigest().encode() if path.exists() else b"-" * 64


def table(cases: list[tuple[str, str]]) -> pytest.MarkDecorator:
    """A test of these files and damages, or of all."""
    cases = CASES if ALL else cases
    return pytest.mark.parametrize("damaged", cases, indirect=True, ids=map(", ".join, cases))


@table(CASES[::6])
def test_check_names_what_is_damaged_and_status_does_not_call_it_done(damaged, study):
    path, case = damaged
    ended = here("check", study)
    if case in NO_DAMAGE:
        assert ended.status == 0, ended.text
    else:
        check_refused(ended, path, study)
        # Which of a shard, its document ends and the manifest is the damaged one cannot always be told.
        assert (str(path) in ended.text) or f"{study / 'tokens'}/" in ended.text, ended.text
    states = states_of(study)
    assert set(states.values()) <= {"done", "stale", "missing"}
    assert set(states.values()) != {"done"} or path.name in (".digests.json", "study.yaml")


@table(IN_TURN)
def test_what_is_damaged_is_never_used_and_is_made_again_with_the_same_bytes(damaged, study, trained_study, tmp_path):
    path, case = damaged
    whole = contents(trained_study)
    for command, file in (("propose", "optimal_mixture.yaml"), ("report", "report/index.html")):
        out = tmp_path / file
        ended = here(command, "--study", study, "--out", out.parent if command == "report" else out)
        if ended.status:
            check_refused(ended, path, study)
        elif case[1] == "missing":
            assert out.read_bytes() == whole[file] or path.name in ended.text, f"{command} says nothing\n{ended.text}"
        else:
            page = out.read_bytes().replace(hash_of(study / "study.yaml"), hash_of(trained_study / "study.yaml"))
            assert page == whole[file], f"{command} used it\n{ended.text}"
    ended = here("run", "--study", study)
    if ended.status and path.name == "study.yaml":
        check_refused(ended, path, study)
    else:
        assert ended.status == 0, ended.text
        now = contents(study)
        assert [name for name in {**now, **whole} if now.get(name) != whole.get(name)] == []


def test_many_files_that_are_damaged_at_once_are_all_named_and_made_again(study, trained_study):
    kinds = [kind for kind in KINDS if "study.yaml" not in kind and kind != ".digests.json"]
    files = [damage(study, kind, list(DAMAGES)[number % 4]) for number, kind in enumerate(kinds)]
    ended = here("check", study)
    assert ended.status == 1 and [path for path in files if str(path.relative_to(study)) not in ended.text] == []
    ended = here("run", "--study", study)
    assert ended.status == 0, ended.text
    assert contents(study) == contents(trained_study)
