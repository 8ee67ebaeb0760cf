"""A whole study that is trained in a second, of three domains and the smallest vocabulary and model that there are."""

import contextlib
import gc
import importlib
import io
import json
import sys
from pathlib import Path

import numpy as np
from forked import command, here

from proxymix.app.cli import main
from proxymix.app.stages import STAGES

SETTINGS = """
seed: 7
budget: 8_000
wandb: disabled
workers: 1
tokenize: {vocab_size: 257, tokenizer_megabytes: 1.0}
synthesize: {num_mixtures: 8, min_concentration: 3, max_concentration: 10}
train: {model: 50k, sequence_length: 16, tokens: 256, batch_size: 4, valid_tokens: 64, evaluations: 2}
fit: {model: linear, num_folds: 4, num_repeats: 1}
propose: {num_candidates: 500}
confirm: {num_seeds: 2}
"""
WORDS = {"law": ["hereby", "shall", "party"], "code": ["def", "self", "(x)", "\n"], "poems": ["rose", "moon"]}


def write_corpus(folder: Path) -> None:
    """FOLDER/text and FOLDER/study.yaml; poems has no validation file of its own."""
    rng = np.random.default_rng(0)
    for (domain, words), size in zip(WORDS.items(), (60, 90, 80), strict=True):
        for split, count in (("train", size), ("valid", 12)):
            if (domain, split) == ("poems", "valid"):
                continue
            texts = [" ".join(rng.choice(words, 12)) for _ in range(count)]
            path = folder / "text" / split / f"{domain}.jsonl"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    (folder / "study.yaml").write_text(SETTINGS)


def corpus_of(folder: Path) -> Path:
    """Where the corpus lies of a study that is, or will be, FOLDER/study. It stays there when the folder is renamed."""
    return folder.parent / "tiny_corpus"


def run_flags(corpus: Path, study: Path) -> list[object]:
    """`proxymix run` of a study, with flags."""
    return ["run", "--config", corpus / "study.yaml", "--corpus.path", corpus / "text", "--study", study]


def build(folder: Path) -> None:
    """Make FOLDER/study, which nothing disturbs; beside FOLDER its corpus, and the names of the modules that were loaded."""
    corpus = corpus_of(folder)
    write_corpus(corpus)
    flags = run_flags(corpus, folder / "study")
    ended = command(*flags, action=lambda given: _main_and_modules(given, corpus / "modules.txt"))
    assert ended.status == 0, ended.text


def _main_and_modules(flags: list[str], listed: Path) -> int:
    status = main(flags)
    listed.write_text("\n".join(sys.modules))
    return status


def warm_up(folder: Path) -> None:
    """Load what a study loads, so that a fork need not.

    Args:
        folder: What `build` has filled.
    """
    corpus = corpus_of(folder)
    for name in (corpus / "modules.txt").read_text().splitlines():
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        assert main([str(flag) for flag in run_flags(corpus, folder / "study")]) == 0  # All is done already.
    gc.freeze()


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a study, apart from what holds clocks: wandb folders and what begins with a dot."""
    names = {path: path.relative_to(folder).parts for path in sorted(folder.rglob("*")) if path.is_file()}
    return {
        "/".join(parts): path.read_bytes()
        for path, parts in names.items()
        if not any(part == "wandb" or part.startswith(".") for part in parts)
    }


def states_of(study: Path) -> dict[str, str]:
    """What `proxymix status` says of every stage."""
    ended = here("status", study)
    assert ended.status == 0, ended.text
    words = [line.split() for line in ended.text.splitlines()]
    return {word[0]: word[1] for word in words if word[0] in {stage.name for stage in STAGES}}
