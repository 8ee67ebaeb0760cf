"""A corpus on disk is often a sample. What the whole corpus holds is given, and the prior goes by it."""

import json
from pathlib import Path

import numpy as np
import pytest

from data_preparation.count import count
from proxymix.app.cli import main
from proxymix.errors import InputError
from proxymix.schemas import Domains, Shard, TokensManifest

ON_DISK = {"web": 6_000, "code": 3_000, "law": 1_000}
TRUE = {"law": 100_000_000, "web": 700_000_000, "code": 200_000_000}  # in another order
TOKENIZER = {
    "name": "t",
    "sha256": "",
    "vocabulary": 300,
    "eos": 0,
    "eos_token": "<|endoftext|>",
    "file": "tokenizer.json",
}


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """The manifest of a sample of 10,000 tokens."""
    shards = {name: (Shard(f"train/{name}/00000.ds", n, n // 100, n * 4, ""),) for name, n in ON_DISK.items()}
    sources: dict[str, list[str]] = {name: [] for name in shards}
    splits = {"train": shards, "valid": dict[str, tuple[Shard, ...]]()}
    manifest = TokensManifest(TOKENIZER, "uint16", splits, {"train": sources, "valid": {}}, {})
    manifest.write(tmp_path / "tokens", {}, {})
    return tmp_path / "tokens"


def true_sizes(path: Path, sizes: dict[str, int]) -> Path:
    path.write_text("domain,tokens\n" + "".join(f"{name},{size}\n" for name, size in sizes.items()))
    return path


@pytest.mark.parametrize("given", ["csv", "jsonl by group", "jsonl by dataset", "multiplier"])
def test_ten_thousand_tokens_on_disk_stand_for_a_billion(tokens: Path, tmp_path: Path, given: str) -> None:
    out = tmp_path / "domains.csv"
    if given == "multiplier":
        count(tokens, out, multiplier={name: TRUE[name] / ON_DISK[name] for name in TRUE})
    elif given == "csv":
        count(tokens, out, counts=true_sizes(tmp_path / "sizes.csv", TRUE))
    else:
        halves = [(name, half, size // 2) for name, size in TRUE.items() for half in ("a", "b")]
        keys = ("lang", "dataset") if given == "jsonl by group" else ("dataset", "lang")
        lines = [
            json.dumps({keys[0]: name, keys[1]: half, "gemma-3-tok": size, "path": f"{name}/{half}"})
            for name, half, size in halves
        ]
        (tmp_path / "sizes.jsonl").write_text("\n".join(lines))
        count(tokens, out, counts=tmp_path / "sizes.jsonl")
    domains = Domains.read(out)
    assert domains.names == ("web", "code", "law") and domains.is_sample
    assert domains.tokens.tolist() == [6_000, 3_000, 1_000]
    assert domains.available_tokens is not None
    assert domains.true_tokens.tolist() == domains.available_tokens.tolist() == [700_000_000, 200_000_000, 100_000_000]
    np.testing.assert_allclose(domains.prior, [0.7, 0.2, 0.1], rtol=1e-15)
    turned = domains.aligned(["law", "web", "code"], out)
    assert turned.true_tokens.tolist() == [*TRUE.values()] and turned.tokens.tolist() == [1_000, 6_000, 3_000]


def test_without_true_sizes_the_tokens_on_disk_are_all_there_is(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    count(tokens, tmp_path / "domains.csv")
    assert "taken for the whole corpus" in (said := capsys.readouterr().err) and "corpus.multiplier" in said
    domains = Domains.read(tmp_path / "domains.csv")
    assert not domains.is_sample and domains.true_tokens.tolist() == domains.tokens.tolist() == [6_000, 3_000, 1_000]
    assert (tmp_path / "domains.csv").read_text().startswith("domain,tokens,documents,bytes,prior\n")


def test_a_domain_without_a_multiplier_or_an_empty_field_is_all_there(tokens: Path, tmp_path: Path) -> None:
    count(tokens, tmp_path / "domains.csv", multiplier={"web": 10})
    assert Domains.read(tmp_path / "domains.csv").true_tokens.tolist() == [60_000, 3_000, 1_000]
    (tmp_path / "own.csv").write_text("domain,tokens,available_tokens\nweb,10,\ncode,20,500\n")
    assert Domains.read(tmp_path / "own.csv").true_tokens.tolist() == [10, 500]


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        (TRUE | {"wbe": 5}, r"no training domain 'wbe'; did you mean web\?"),
        ({"web": 7, "code": 5}, r"lacks law"),
    ],
)
def test_true_sizes_of_other_domains_are_refused(
    tokens: Path, tmp_path: Path, sizes: dict[str, int], named: str
) -> None:
    with pytest.raises(InputError, match=rf"sizes\.csv.*{named}"):
        count(tokens, tmp_path / "domains.csv", counts=true_sizes(tmp_path / "sizes.csv", sizes))
    assert not (tmp_path / "domains.csv").exists()


@pytest.mark.parametrize("times", [-1, float("nan"), float("inf"), 1e16])
def test_a_multiplier_that_cannot_be_is_refused(tokens: Path, tmp_path: Path, times: float) -> None:
    with pytest.raises(InputError, match=r"multiplier: web has .* tokens"):
        count(tokens, tmp_path / "domains.csv", multiplier={"web": times})


def test_a_multiplier_of_no_domain_names_the_nearest(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"multiplier.*'laws'; did you mean law\?"):
        count(tokens, tmp_path / "domains.csv", multiplier={"laws": 3})


def test_two_sources_of_true_sizes_are_one_too_many(tokens: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"counts and multiplier"):
        count(tokens, tmp_path / "d", counts=true_sizes(tmp_path / "sizes.csv", TRUE), multiplier={"web": 2})


def test_a_true_size_below_the_sample_is_said(tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    count(tokens, tmp_path / "domains.csv", counts=true_sizes(tmp_path / "sizes.csv", TRUE | {"code": 2_999}))
    assert "sizes.csv: code has 2,999 tokens" in (said := capsys.readouterr().err) and "3,000 on disk" in said
    assert "law has" not in said


def test_the_command_takes_a_multiplier_by_domain(tokens: Path, tmp_path: Path) -> None:
    out = tmp_path / "domains.csv"
    assert main(["count", "--tokens", str(tokens), "--out", str(out), "--multiplier", "{web: 1e5, code: 2}"]) == 0
    assert Domains.read(out).true_tokens.tolist() == [600_000_000, 6_000, 1_000]


def test_a_study_knows_before_it_begins_that_true_sizes_are_of_another_corpus(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ON_DISK:
        file = tmp_path / f"c/train/{name}_0.jsonl"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"text": "one"}\n{"text": "two"}\n')
    true_sizes(tmp_path / "sizes.csv", {"web": 7, "cod": 5, "law": 2})
    (tmp_path / "c.yaml").write_text(
        f"study: {tmp_path}/s\ncorpus: {{path: {tmp_path}/c, counts: {tmp_path}/sizes.csv}}\n"
    )
    assert main(["run", "--config", str(tmp_path / "c.yaml"), "--dry_run"]) == 2
    assert "'cod'; did you mean code?" in capsys.readouterr().err


def test_the_figures_of_a_mixture_go_by_true_sizes(tmp_path: Path) -> None:
    from mixture_config.visualize import visualize
    from proxymix.tables import read_table

    (tmp_path / "domains.csv").write_text("domain,tokens,available_tokens\nweb,100,1000\ncode,100,\n")
    (tmp_path / "m.yaml").write_text("train: {web: 0.5, code: 0.5}\n")
    visualize(tmp_path / "out", mixture=[str(tmp_path / "m.yaml")], domains=tmp_path / "domains.csv", budget=1000)
    epochs = read_table(tmp_path / "out" / "mixture_epochs.csv").set_index("domain")
    assert epochs.loc["web", "tokens"] == 1000 and epochs.loc["code", "tokens"] == 100
