"""The main job as a user runs it: from a folder of text to a confirmed mixture, whatever happens on the way."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from proxy_training.runs.sealed import read_sealed, write_sealed
from proxymix.app.cli import main

pytestmark = pytest.mark.slow

SETTINGS = """
seed: 7
budget: 30_000
wandb: disabled
workers: 2
objective: {law: 0.5, code: 0.25, poems: 0.25}
tokenize: {vocab_size: 320, tokenizer_megabytes: 1.0}
baseline: {temperature: 0.7, minimum_share: 0.05}
synthesize: {num_mixtures: 8, min_concentration: 3, max_concentration: 10, include: [prior]}
train: {model: 50k, sequence_length: 16, tokens: 2048, batch_size: 8, valid_tokens: 128, evaluations: 2}
fit: {num_folds: 4, num_repeats: 1}
propose: {num_candidates: 2000}
confirm: {num_seeds: 2}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    """Three domains of made-up text; law has no validation file of its own."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    words = {
        "law": ["hereby", "licensee", "shall", "warrant", "party", "thereof"],
        "code": ["def", "return", "self", "(x)", ":=", "None", "\n"],
        "poems": ["rose", "moon", "thou", "art", "sea", "and", "\n"],
    }
    for (domain, vocabulary), size in zip(words.items(), (150, 400, 60), strict=True):
        for split, count in (("train", size), ("valid", 40)):
            if domain == "law" and split == "valid":
                continue
            texts = [" ".join(rng.choice(vocabulary, 30)) for _ in range(count)]
            path = folder / split / (f"{domain}_0.jsonl" if split == "train" else f"{domain}.jsonl")
            path.parent.mkdir(exist_ok=True)
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return folder


def command(corpus: Path, study: Path, config: Path) -> list[str]:
    flags = ["--config", str(config), "--corpus.path", str(corpus), "--study", str(study)]
    return [sys.executable, "-m", "proxymix", "run", *flags]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("config") / "study.yaml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture(scope="module")
def finished(corpus, config, tmp_path_factory) -> tuple[Path, str]:
    """A study that nothing disturbed, and what the command printed."""
    study = tmp_path_factory.mktemp("studies") / "undisturbed"
    done = subprocess.run(command(corpus, study, config), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return study, done.stdout


def contents(study: Path) -> dict[str, str]:
    """Hash of every file, apart from what holds clocks: wandb folders and what begins with a dot."""
    files = [p for p in sorted(study.rglob("*")) if p.is_file()]
    names = {p: p.relative_to(study) for p in files}
    return {
        str(name): hashlib.sha256(path.read_bytes()).hexdigest()
        for path, name in names.items()
        if not any(part == "wandb" or part.startswith(".") for part in name.parts)
    }


def test_a_study_ends_with_everything_that_was_promised(finished):
    study, printed = finished
    for name in (
        "study.yaml", "tokens/manifest.json", "domains.csv", "heuristic_mixture.yaml", "mixtures/n00001.yaml", "mixtures.csv",
        "proxies/n00001/manifest.yaml", "losses.csv", "regression/scores.csv", "regression/predictions.csv",
        "optimal_mixture.yaml", "confirmation.csv", "report/index.html",
    ):  # fmt: skip
        assert (study / name).is_file(), name
    optimum = yaml.safe_load((study / "optimal_mixture.yaml").read_text())
    assert sum(optimum["train"].values()) == pytest.approx(1, abs=1e-12)
    parts = [
        "The proposed mixture is",
        "The best mixture",
        "  law ",
        "Measured on 2",
        "budget: 30,000 tokens",
        "Files:",
    ]
    parts += [str(study / "report" / "index.html"), "Next:", f"proxymix run --study {study} --confirm.num_seeds"]
    places = [printed.index(part) for part in parts]
    assert places == sorted(places) and "train_law" not in printed and "ASSUMED" not in printed


def test_the_answer_keeps_to_the_epoch_caps(finished):
    study, _ = finished
    tokens = {row.split(",")[0]: int(row.split(",")[1]) for row in (study / "domains.csv").read_text().splitlines()[1:]}
    weights = yaml.safe_load((study / "optimal_mixture.yaml").read_text())["train"]
    assert all(weights[f"train_{d}"] <= 4 * count / 30_000 + 1e-9 for d, count in tokens.items())


def test_a_second_run_does_nothing_and_says_the_same(finished, corpus, config):
    study, printed = finished
    before = {
        path: path.stat().st_mtime_ns for path in study.rglob("*") if path.is_file() and not path.name.startswith(".")
    }
    again = subprocess.run(command(corpus, study, config), capture_output=True, text=True)
    assert again.returncode == 0 and again.stdout == printed
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_status_tells_done_from_stale(finished, capsys):
    study, _ = finished
    assert main(["status", str(study)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert set(lines) == {
        "tokenize",
        "count",
        "baseline",
        "synthesize",
        "sweep",
        "collect",
        "fit",
        "propose",
        "confirm",
        "report",
    }
    assert lines["sweep"] == "done     8 of 8 runs"
    assert all(state.startswith("done") for state in lines.values())
    original = (study / "losses.csv").read_bytes()
    try:
        (study / "losses.csv").write_bytes(original.replace(b"1", b"2", 1))
        main(["status", str(study)])
        lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
        assert (lines["collect"], lines["fit"], lines["tokenize"]) == ("stale", "stale", "done")
    finally:
        (study / "losses.csv").write_bytes(original)


def test_a_study_killed_again_and_again_ends_with_the_same_bytes(finished, corpus, config, tmp_path):
    """kill -9 once each: in the tokens, in the sweep, in the regression, and in the confirmation."""
    study = tmp_path / finished[0].name  # the report names its study
    for sign in (
        "stages/tokenize.json",
        "proxies/*/manifest.yaml",
        "stages/collect.json",
        "confirmation/*/manifest.yaml",
    ):
        with subprocess.Popen(
            command(corpus, study, config), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as job:
            deadline = time.monotonic() + 300
            while not list(study.glob(sign)) and job.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            assert job.poll() is None, f"the study ended before {sign} appeared"
            os.kill(job.pid, signal.SIGKILL)
    done = subprocess.run(command(corpus, study, config), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert contents(study) == contents(finished[0])


def test_a_study_whose_runs_were_fed_another_mixture_than_its_table_says_cannot_be_fitted(finished, tmp_path, capsys):
    study = tmp_path / "study"
    shutil.copytree(finished[0], study)
    recorded = json.loads((study / "stages" / "fit.json").read_text())
    assert "proxies" in recorded["inputs"] and "proxies" not in recorded["settings"]
    assert "proxies" not in yaml.safe_load((study / "study.yaml").read_text())["fit"]
    manifest = study / "proxies" / "n00002" / "manifest.yaml"
    content = read_sealed(manifest)
    content["realised_tokens"] = dict.fromkeys(content["realised_tokens"], 1)
    write_sealed(manifest, content)
    assert main(["fit", "--study", str(study)]) == 2
    message = capsys.readouterr().err
    assert f"{study / 'proxies'}: 1 of 8 runs" in message and "run 2" in message


def test_a_study_that_grows_keeps_every_run_and_needs_no_leave(finished, tmp_path):
    study = tmp_path / "undisturbed"
    shutil.copytree(finished[0], study)
    names = ("mixtures/n0000[1-8].yaml", "proxies/n0000[1-8]/*", "confirmation/prior-s*/*")
    kept = {path: path.read_bytes() for name in names for path in study.glob(name) if path.is_file()}
    more = ["run", "--study", str(study), "--synthesize.num_mixtures", "10"]
    grown = subprocess.run([sys.executable, "-m", "proxymix", *more], capture_output=True, text=True)
    assert grown.returncode == 0, grown.stderr
    assert "8 of 10 runs are done already" in grown.stderr and "trained again" not in grown.stderr
    assert {path: path.read_bytes() for path in kept} == kept
    assert len((study / "losses.csv").read_text().splitlines()) == 11
    assert main(["check", str(study)]) == 0


def test_another_configuration_is_refused_and_update_redoes_only_what_it_touches(finished, corpus, config):
    study, _ = finished
    flags = [*command(corpus, study, config), "--propose.num_candidates", "3000"]
    refused = subprocess.run(flags, capture_output=True, text=True)
    assert refused.returncode == 2 and "propose.num_candidates: 2000 there, 3000 now" in refused.stderr
    dry = subprocess.run([*flags, "--dry_run"], capture_output=True, text=True)
    assert dry.returncode == 0
    states = {line.split()[0]: line.split()[1] for line in dry.stderr.splitlines() if len(line.split()) > 1}
    assert (states["sweep"], states["fit"], states["propose"]) == ("done", "done", "stale")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--objective", "lore"], "no target 'lore'; nearest: code"),
        (["--budget", "30000000"], "raise max_epochs to"),
        (
            ["--train.sequence_length", "4096", "--train.tokens", "65536", "--train.valid_tokens", "4096"],
            "sequence_length",
        ),
    ],
)
def test_a_setting_that_the_data_cannot_meet_ends_with_one_clear_message(
    finished, corpus, config, tmp_path, flags, message
):
    done = subprocess.run([*command(corpus, tmp_path / "s", config), *flags], capture_output=True, text=True)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "s" / "proxies").exists(), "it was said only after the training"
