"""Records of runs and batches of any shape, and writes that fail: a sentence, and the next command mends it."""

import errno
import itertools
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from proxies import TINY, contents, write_mixtures, write_tokens

from proxy_training.collect import collect
from proxy_training.device.layout import Layout
from proxy_training.launch import run_batches
from proxy_training.launch.run_batches import planned_batches
from proxy_training.runs.planned_runs import planned_runs
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.sealed import read_sealed, write_sealed
from proxy_training.runs.token_data import TokenData
from proxy_training.train import train
from proxymix.errors import InputError
from proxymix.files import sha256

SETTINGS = replace(TINY, models_per_process=2)
LAYOUT = Layout("cpu", "fp32", 2, 4, compile=False)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tokens, three mixtures, and their runs in two batches."""
    folder = tmp_path_factory.mktemp("place")
    tokens = write_tokens(folder / "tokens", {"a": 2000, "b": 1000})
    mixtures = write_mixtures(folder / "mixtures", [{"a": share / 10, "b": 1 - share / 10} for share in (1, 5, 9)])
    train(mixtures, tokens, folder / "runs", train=SETTINGS, wandb="disabled")
    plan(folder, folder / "runs")
    return folder


def plan(place: Path, out: Path, data: TokenData | None = None) -> list[list[str]]:
    """The batches of all runs, whether or not they are done."""
    runs, data = planned_runs(place / "mixtures", 0), data or TokenData.open(place / "tokens", SETTINGS)
    batches = planned_batches(out, runs, runs, SETTINGS, data.sha256, 1, lambda: LAYOUT)[1]
    return [[run.id for run in batch] for batch in batches]


OTHERS = [
    None,
    True,
    -1,
    10**400,
    float("nan"),
    "text",
    "n00001",
    [],
    [1],
    [["n00001"], ["n00001"]],
    [[1]],
    {},
    {"a": 1},
]


def changed(content: Any) -> Iterator[Any]:
    """The content with every part of it dropped or of another type, one after another."""
    yield from OTHERS
    if isinstance(content, dict):
        for key, value in content.items():
            yield {other: content[other] for other in content if other != key}
            yield from ({**content, key: part} for part in changed(value))
    elif isinstance(content, list) and content:
        yield content[1:]
        yield from ([part, *content[1:]] for part in changed(content[0]))


def test_a_manifest_of_any_shape_is_trained_again_or_holds_the_run(place, tmp_path):
    shutil.copytree(place / "runs", tmp_path / "runs")
    folder, run = RunFolder(tmp_path / "runs" / "n00002"), planned_runs(place / "mixtures", 0)[1]
    data = TokenData.open(place / "tokens", SETTINGS)
    whole = read_sealed(folder.manifest_path)
    for content in itertools.islice(changed(whole), 0, None, 5):  # All of them pass, in half a minute.
        if not isinstance(content, dict):
            folder.manifest_path.write_text(yaml.safe_dump(content))
        else:
            write_sealed(folder.manifest_path, content)
        for action in (
            lambda: collect(tmp_path / "runs", tmp_path / "out"),
            lambda: plan(place, tmp_path / "runs", data),
        ):
            (tmp_path / "runs" / "bundles.yaml").unlink(missing_ok=True)
            try:
                action()
            except InputError as error:
                assert "n00002" in str(error)
        assert folder.holds(run, SETTINGS, data.sha256) in (True, False)


def test_batches_of_any_shape_are_those_of_the_record_or_are_planned_anew(place, tmp_path, monkeypatch):
    monkeypatch.setattr(run_batches, "say", lambda message: None)
    shutil.copytree(place / "runs", tmp_path / "runs")
    path, data = tmp_path / "runs" / "bundles.yaml", TokenData.open(place / "tokens", SETTINGS)
    for content in itertools.islice(changed(read_sealed(path)), 0, None, 2):
        if not isinstance(content, dict):
            path.write_text(yaml.safe_dump(content))
        else:
            write_sealed(path, content)
        batches = plan(place, tmp_path / "runs", data)
        assert sorted(name for batch in batches for name in batch) == ["n00001", "n00002", "n00003"]


@pytest.mark.parametrize("name", ["losses.csv", "metrics.csv"])
@pytest.mark.parametrize(
    "text",
    ["", "\n", "domain\n", "domain,loss_nats,bpb,tokens\na\n", "domain,loss_nats,bpb,tokens\na,1e999,x,\n", '"', "\0"],
)
def test_a_table_of_any_shape_is_a_sentence_though_its_hash_is_right(place, tmp_path, name, text):
    shutil.copytree(place / "runs", tmp_path / "runs")
    folder = RunFolder(tmp_path / "runs" / "n00002")
    (folder.path / name).write_text(text)
    content = read_sealed(folder.manifest_path)
    content["files"][name] = sha256(folder.path / name)
    write_sealed(folder.manifest_path, content)
    try:
        collect(tmp_path / "runs", tmp_path / "out")
        assert name == "metrics.csv", "only losses are collected"
    except InputError as error:
        assert f"n00002/{name}" in str(error) or "n00002 has other domains" in str(error)


@pytest.mark.slow
def test_a_write_that_fails_ends_with_the_systems_error_and_the_next_command_mends_it(place, tmp_path, monkeypatch):
    """An fsync or a rename of a small sweep fails, a different one each time."""
    calls, fails_at, number = 0, 0, 0

    def failing(action):
        def call(*arguments):
            nonlocal calls
            calls += 1
            if calls == fails_at:
                raise OSError(number, os.strerror(number), str(arguments[0]))
            return action(*arguments)

        return call

    def attempt(out: Path, at: int = 0) -> None:
        nonlocal calls, fails_at
        calls, fails_at = 0, at
        train(place / "mixtures", place / "tokens", out, train=SETTINGS, wandb="disabled")

    monkeypatch.setattr(os, "fsync", failing(os.fsync))
    monkeypatch.setattr(Path, "replace", failing(Path.replace))
    attempt(tmp_path / "counted")
    assert calls > 20
    for at in range(1, calls + 1, 4):
        number = (errno.EIO, errno.ENOSPC, errno.EMFILE)[at % 3]
        with pytest.raises(OSError, match=os.strerror(number)):
            attempt(tmp_path / str(at), at)
        attempt(tmp_path / str(at))
        assert contents(tmp_path / str(at)) == contents(tmp_path / "counted")
