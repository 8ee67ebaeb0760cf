"""Run folders and offline wandb files -> the same two tables."""

import csv
import json
import math
import re
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from proxies import TINY, contents, train_run, write_tokens

from proxy_training.collect import collect
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import Run
from proxy_training.runs.token_data import TokenData
from proxy_training.tracking.wandb_files import BLOCK_BYTES, CHUNK_HEADER, FILE_HEADER, read_wandb_file, records
from proxymix.errors import InputError
from proxymix.files import read_yaml, remove
from proxymix.tables import read_table, write_table

MIXTURES = {"n00001": {"b": 0.9, "a": 0.1}, "n00002": {"b": 2 / 3, "a": 1 / 3}, "n00010": {"b": 0.0, "a": 1.0}}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """Three runs that were logged to real offline wandb files."""
    folder = tmp_path_factory.mktemp("study")
    data = TokenData.open(write_tokens(folder / "tokens", {"b": 1000, "a": 2000}), TINY)
    for name, weights in MIXTURES.items():
        train_run(Run(name, weights, 0), data, folder / "proxies" / name, TINY, wandb="offline", group="study")
    return folder


def one_file(trained: Path, run: str) -> Path:
    (path,) = trained.glob(f"proxies/{run}/wandb/offline-run-*/run-*.wandb")
    return path


@pytest.mark.slow
def test_folders_and_wandb_files_give_the_same_tables_to_the_last_digit(trained, tmp_path):
    collect(trained / "proxies", tmp_path / "folders")
    collect(trained / "proxies", tmp_path / "from_wandb", source="wandb")
    assert contents(tmp_path / "folders") == contents(tmp_path / "from_wandb")
    losses = read_table(tmp_path / "folders" / "losses.csv")
    assert list(losses.columns) == ["index", "metric/b_val_loss", "metric/a_val_loss"]
    assert losses["index"].tolist() == [1, 2, 10]
    with (tmp_path / "folders" / "mixtures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [{d: float(row[f"train_{d}"]) for d in "ab"} for row in rows] == list(MIXTURES.values())


@pytest.mark.slow
def test_the_wandb_run_holds_the_curves_under_regmix_names_and_the_configuration(trained, tmp_path):
    run = read_wandb_file(one_file(trained, "n00002"))
    assert run.name == "n00002" and run.exit_code == 0
    assert run.config["mixture"] == MIXTURES["n00002"] and run.config["learning_rate"] == TINY.learning_rate
    metrics = read_table(trained / "proxies" / "n00002" / "metrics.csv")
    assert [row["step"] for row in run.history] == metrics["step"].tolist()
    assert [row["metric/train_loss"] for row in run.history] == pytest.approx(metrics["train_loss"].tolist(), abs=1e-12)
    assert [row["lr"] for row in run.history] == pytest.approx(metrics["learning_rate"].tolist(), abs=1e-15)
    assert ["metric/a_val_loss" in row for row in run.history] == [step in (10, 20) for step in range(1, 21)]


@pytest.mark.slow
def test_a_long_run_is_logged_to_wandb_at_about_a_hundred_steps_and_all_evaluations(trained, tmp_path):
    data, settings = TokenData.open(trained / "tokens", TINY), replace(TINY, tokens=64 * 250, evaluations=3)
    train_run(Run("n00001", MIXTURES["n00001"], 0), data, tmp_path / "n00001", settings, wandb="offline")
    history = read_wandb_file(one_file_of(tmp_path)).history
    assert 100 <= len(history) <= 103 and history[-1]["step"] == 250
    assert [row["step"] for row in history if "metric/a_val_loss" in row] == [84, 167, 250]


@pytest.mark.slow
def test_losses_are_the_same_when_wandb_is_off_or_fails(trained, tmp_path, monkeypatch, capsys):
    import wandb

    data = TokenData.open(trained / "tokens", TINY)
    run = Run("n00002", MIXTURES["n00002"], 0)
    train_run(run, data, tmp_path / "off", TINY, wandb="disabled")

    def fail(*_, **__):
        raise ConnectionError("no route")

    monkeypatch.setattr(wandb, "init", fail)
    train_run(run, data, tmp_path / "failing", TINY, wandb="online")
    assert re.search("n00002: wandb failed .*ConnectionError: no route", capsys.readouterr().err)
    wanted = contents(trained / "proxies" / "n00002")
    assert contents(tmp_path / "off") == contents(tmp_path / "failing") == wanted


@pytest.mark.slow
def test_a_run_trained_again_replaces_its_wandb_files(trained, tmp_path):
    data = TokenData.open(trained / "tokens", TINY)
    for seed in (0, 1):
        train_run(Run("n00001", MIXTURES["n00001"], seed), data, tmp_path / "n00001", TINY, wandb="offline")
    assert len(list(tmp_path.glob("n00001/wandb/offline-run-*"))) == 1
    assert read_wandb_file(one_file_of(tmp_path)).config["seed"] == 1


def one_file_of(folder: Path) -> Path:
    (path,) = folder.glob("*/wandb/offline-run-*/run-*.wandb")
    return path


def test_missing_runs_are_named(trained, tmp_path):
    write_table(
        tmp_path / "mixtures.csv", ("index", "train_a", "train_b"), [(1, 0.1, 0.9), (3, 0.5, 0.5), (4, 0.5, 0.5)]
    )
    with pytest.raises(InputError, match=r"2 of 3 runs .*n00003, n00004.*`proxymix sweep` again"):
        collect(trained / "proxies", tmp_path)
    assert not (tmp_path / "losses.csv").exists()
    with pytest.raises(InputError, match=f"{tmp_path}: no run folders.*proxymix sweep"):
        collect(tmp_path, tmp_path)


def test_a_run_without_a_manifest_is_missing(trained, tmp_path):
    data = TokenData.open(trained / "tokens", TINY)
    for name in ("n00001", "n00002"):
        train_run(Run(name, MIXTURES[name], 0), data, tmp_path / name, TINY)
    remove(tmp_path / "n00002" / "manifest.yaml")
    with pytest.raises(InputError, match=r"1 of 2 runs .*n00002"):
        collect(tmp_path, tmp_path / "out")


def test_the_mixtures_given_lead_and_other_runs_are_left_out_with_a_note(trained, tmp_path, capsys):
    rows = [(2, 1 / 3, 2 / 3), (1, 0.1, 0.9)]
    write_table(tmp_path / "mixtures.csv", ("index", "train_a", "train_b"), rows)
    before = (tmp_path / "mixtures.csv").read_bytes()
    collect(trained / "proxies", tmp_path)
    assert read_table(tmp_path / "losses.csv")["index"].tolist() == [2, 1]
    assert (tmp_path / "mixtures.csv").read_bytes() == before
    said = capsys.readouterr().err
    assert re.search(r"1 runs are not in .*mixtures\.csv.*n00010", said)
    losses = sorted(read_table(tmp_path / "losses.csv")["metric/a_val_loss"])
    assert re.search(rf"a +{losses[0]:.4f} +{(losses[0] + losses[1]) / 2:.4f} +{losses[1]:.4f}", said)
    assert f"Next: proxymix fit --mixtures {tmp_path}/mixtures.csv --losses {tmp_path}/losses.csv --out fit" in said


def test_a_run_trained_on_another_mixture_than_the_table_says_is_an_error(trained, tmp_path):
    write_table(tmp_path / "m.csv", ("index", "train_a", "train_b"), [(1, 0.2, 0.8)])
    with pytest.raises(InputError, match=r"m\.csv: n00001 .*0\.2 of a.* 0\.1.*proxymix sweep"):
        collect(trained / "proxies", tmp_path, mixtures=tmp_path / "m.csv")


def test_a_loss_that_is_no_number_names_its_file_unless_the_run_diverged(trained, tmp_path):
    folder = RunFolder(tmp_path / "n00001")
    shutil.copytree(trained / "proxies" / "n00001", folder.path)
    losses = [("a", math.nan, 1.0, 64), ("b", 2.5, 1.0, 64)]
    manifest = folder.manifest()
    folder.write([{"step": 1}], ["step"], losses, manifest)
    with pytest.raises(InputError, match=r"n00001/losses\.csv: 'nan'"):
        collect(tmp_path, tmp_path / "out")
    folder.write([{"step": 1}], ["step"], losses, manifest | {"diverged": "the loss is nan"})
    assert all(map(math.isnan, folder.result().losses.values()))


def test_a_table_whose_rows_are_no_runs_is_an_error(trained, tmp_path):
    (tmp_path / "m.csv").write_text("name,train_a,train_b\nfirst,0.5,0.5\n")
    with pytest.raises(InputError, match=r"m\.csv: 'first' .*column index"):
        collect(trained / "proxies", tmp_path, mixtures=tmp_path / "m.csv")


def test_a_damaged_wandb_file_is_noticed_and_a_cut_one_is_an_unfinished_run(trained, tmp_path):
    content = one_file(trained, "n00001").read_bytes()
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    (tmp_path / "run-flipped.wandb").write_bytes(flipped)
    with pytest.raises(InputError, match=r"run-flipped.wandb: damaged.*--source folders"):
        read_wandb_file(tmp_path / "run-flipped.wandb")
    (tmp_path / "run-cut.wandb").write_bytes(content[: len(content) // 2])
    cut = read_wandb_file(tmp_path / "run-cut.wandb")
    assert cut.name == "n00001" and cut.exit_code is None and 0 < len(cut.history) < 20
    (tmp_path / "run-other.wandb").write_bytes(b"not at all such a file")
    with pytest.raises(InputError, match=r"run-other.wandb: not a wandb file"):
        list(records(tmp_path / "run-other.wandb"))


def test_records_longer_than_a_block_are_joined(tmp_path):
    """Written here by the rules of LevelDB's log: 7-byte chunk headers, blocks of 32 KiB, zeros where no header fits."""
    wanted = [b"x" * size for size in (10, BLOCK_BYTES - len(FILE_HEADER) - 2 * 7 - 10 - 3, 5, 3 * BLOCK_BYTES, 0, 1)]
    content = bytearray(FILE_HEADER)
    for record in wanted:
        rest, first = record, True
        while first or rest:
            left = BLOCK_BYTES - len(content) % BLOCK_BYTES
            if left < 7:
                content += bytes(left)
                continue
            part, rest = rest[: left - 7], rest[left - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            content += CHUNK_HEADER.pack(zlib.crc32(bytes([kind]) + part), len(part), kind) + part
            first = False
    (tmp_path / "run-x.wandb").write_bytes(content)
    assert list(records(tmp_path / "run-x.wandb")) == wanted


def test_a_run_of_other_domains_is_an_error(trained, tmp_path):
    data = TokenData.open(write_tokens(tmp_path / "tokens", {"a": 2000, "c": 1000}), TINY)
    train_run(Run("n00001", {"a": 0.5, "c": 0.5}, 0), data, tmp_path / "proxies" / "n00001", TINY)
    data = TokenData.open(trained / "tokens", TINY)
    train_run(Run("n00002", {"a": 0.5, "b": 0.5}, 0), data, tmp_path / "proxies" / "n00002", TINY)
    with pytest.raises(InputError, match=r"n00002 .*other domains.* n00001"):
        collect(tmp_path / "proxies", tmp_path)


def test_the_manifest_of_a_run_that_was_logged_to_wandb_does_not_mention_it(trained):
    manifest = read_yaml(trained / "proxies" / "n00001" / "manifest.yaml")
    assert "wandb" not in str(manifest)
    assert replace(TINY, **manifest["settings"]) == TINY


def write_wandb_run(folder: Path, config: dict, history: list[dict] | None = None) -> Path:
    """An offline file of a run that ended well, without wandb's service."""
    from wandb.proto import wandb_internal_pb2 as schema

    started, row, ended = schema.Record(), schema.Record(), schema.Record()
    for key, value in config.items():
        started.run.config.update.add(key=key, value_json=json.dumps(value))
    for key, value in (history or [{"metric/a_val_loss": 3.0}])[-1].items():
        row.history.item.add(key=key, value_json=json.dumps(value))
    ended.exit.exit_code = 0
    return write_log(folder, [record.SerializeToString() for record in (started, row, ended)])


def write_log(folder: Path, parts: list[bytes]) -> Path:
    """An offline file of short records."""
    path = folder / "n00001" / "wandb" / "offline-run-1" / "run-1.wandb"
    path.parent.mkdir(parents=True)
    chunks = [CHUNK_HEADER.pack(zlib.crc32(b"\x01" + part), len(part), 1) + part for part in parts]
    path.write_bytes(FILE_HEADER + b"".join(chunks))
    return path


OURS = {"mixture": {"a": 1.0}, "train_domains": ["a"], "valid_domains": ["a"]}


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"lr": 1e-3},
        {"mixture": "60/40", "train_domains": ["a"], "valid_domains": ["a"]},
        OURS | {"train_domains": ["b"]},
        OURS | {"valid_domains": None},
        OURS | {"train_domains": [["a"]]},
    ],
)
def test_a_wandb_run_of_another_trainer_is_named_with_what_to_do(tmp_path, config):
    write_wandb_run(tmp_path, config)
    with pytest.raises(InputError, match=r"(?s)run-1\.wandb: .*mixture.*`proxymix fit"):
        collect(tmp_path, tmp_path, source="wandb")


@pytest.mark.parametrize("value", ["high", None, [1.0], True])
def test_a_logged_loss_that_is_no_number_is_named(tmp_path, value):
    write_wandb_run(tmp_path, OURS, [{"metric/a_val_loss": value}])
    with pytest.raises(InputError, match=r"run-1\.wandb: metric/a_val_loss is "):
        collect(tmp_path, tmp_path, source="wandb")


def test_a_loss_that_wandb_could_not_write_as_a_number_is_that_of_a_diverged_run(tmp_path):
    write_wandb_run(tmp_path, OURS, [{"metric/a_val_loss": "NaN"}])
    collect(tmp_path, tmp_path, source="wandb")
    assert (tmp_path / "losses.csv").read_text() == "index,metric/a_val_loss\n1,nan\n"


@pytest.mark.parametrize("record", [b"\xff\xff\xff", bytes([0x12, 0x05]) + b"abc"])
def test_a_record_that_is_no_message_of_wandbs_is_an_error_of_the_file(tmp_path, record):
    path = write_log(tmp_path, [record])
    with pytest.raises(InputError, match=r"run-1\.wandb: record 1 .*--source folders"):
        read_wandb_file(path)


def test_mixtures_with_more_fields_than_the_header_are_named_by_their_line(tmp_path):
    write_wandb_run(tmp_path / "runs", OURS)
    (tmp_path / "m.csv").write_text("index,train_a,train_b\n1,0.5,0.5,0.1\n")
    with pytest.raises(InputError, match=r"m\.csv:2: "):
        collect(tmp_path / "runs", tmp_path, mixtures=tmp_path / "m.csv")
