"""RegMix's own setting, configs/regmix_1m.yaml, runs on a corpus like RegMix's with a tokenizer like GPT-NeoX's."""

import json
import random
from pathlib import Path

import pytest

from proxymix.app.cli import main
from proxymix.schemas import Domains, loss_column, read_tokens_manifest
from proxymix.tables import read_table

pytestmark = pytest.mark.slow

CONFIG = Path(__file__).parent.parent / "configs/regmix_1m.yaml"
DOMAINS = [
    f"the_pile_{name}"
    for name in (
        *("arxiv", "dm_mathematics", "enron_emails", "europarl", "freelaw", "github", "gutenberg_pg_19", "hackernews"),
        *("nih_exporter", "philpapers", "pile_cc", "pubmed_abstracts", "pubmed_central", "stackexchange", "ubuntu_irc"),
        *("uspto_backgrounds", "wikipedia_en"),
    )
]
"""The 17 domains of RegMix's sample of the Pile, in alphabetical order."""
NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}


def write_corpus(folder: Path) -> None:
    rng = random.Random(0)
    for domain in DOMAINS:
        for file, count in ((f"train/{domain}_0.jsonl", 30), (f"valid/{domain}.jsonl", 4)):
            lines = []
            for _ in range(count):
                words = (rng.choice(["the", "größer", domain, "🙂", "law", "night"]) for _ in range(20))
                lines.append(json.dumps({"text": " ".join(words)}) + "\n")
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text("".join(lines), encoding="utf-8")


def write_tokenizer(path: Path) -> None:
    """GPT-NeoX's kind: byte-level, NFC, its special tokens, and no entries for the bytes that UTF-8 never holds."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    never = {chr(byte) for byte in NEVER_IN_UTF8}
    letters = [letter for letter in sorted(pre_tokenizers.ByteLevel.alphabet()) if letter not in never]
    special = ["<|endoftext|>", "<|padding|>"]
    tokenizer = Tokenizer(models.BPE({entry: number for number, entry in enumerate([*special, *letters])}, []))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special)
    tokenizer.save(str(path))


def test_regmix_own_setting_runs_with_fewer_and_shorter_proxies(tmp_path: Path) -> None:
    """Only sizes differ from the file: everything else is RegMix's."""
    write_corpus(tmp_path / "regmix-data-sample")
    write_tokenizer(tmp_path / "tokenizer.json")
    study = tmp_path / "study"
    study.mkdir()
    budget = "100000"  # the corpus is small
    short = {"sequence_length": 32, "batch_size": 4, "tokens": 1024, "valid_tokens": 64, "evaluations": 1}
    stages = {
        "tokenize": ["--input", str(tmp_path / "regmix-data-sample"), "--tokenizer", str(tmp_path / "tokenizer.json")],
        "count": [],
        "baseline": ["--budget", budget],
        "synthesize": ["--num_mixtures", "4", "--budget", budget],
        "sweep": ["--workers", "1", "--wandb", "disabled", *(f"--train.{key}={value}" for key, value in short.items())],
        "collect": [],
    }
    for stage, flags in stages.items():
        assert main([stage, "--config", str(CONFIG), "--study", str(study), *flags]) == 0, stage
    manifest = read_tokens_manifest(study / "tokens")
    assert manifest.domains("train") == manifest.domains("valid") == DOMAINS
    assert manifest.tokenizer["vocabulary"] == 2 + 256 - len(NEVER_IN_UTF8)
    assert manifest.tokenizer["eos_token"] == "<|endoftext|>"
    assert list(Domains.read(study / "domains.csv").names) == DOMAINS
    losses = read_table(study / "losses.csv")
    assert [column for column in losses if column.endswith("_val_loss")] == [loss_column(name) for name in DOMAINS]
    assert len(losses) == 4 and losses[[loss_column(name) for name in DOMAINS]].notna().all(axis=None)
