"""Every document of a corpus is in the token shards, whole, once, and comes back as it was."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Set
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_preparation.count import count
from data_preparation.documents.splitting import document_hash
from data_preparation.tokenization import tokenize
from data_preparation.tokens.shards import map_shard, read_index
from data_preparation.tokens.survey import SmallestHashes
from data_preparation.tokens.tokenizer import byte_letters
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.schemas import Domains, read_tokens_manifest

PROSE = [
    f"The {word} of the {other} is {n}.\n"
    for n, word in enumerate(["law", "sea", "sun", "cat"])
    for other in ("day", "night")
]
CODE = [f"def f{n}(x):\n    return x + {n}  # größer 🙂\n" for n in range(12)]


def write(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def corpus(folder: Path, **domains: list[str]) -> Path:
    """train/<name>_0.jsonl, and valid/<name>.jsonl where the domain is given as valid_<name>."""
    for name, texts in domains.items():
        valid = name.startswith("valid_")
        write(folder / (f"valid/{name[6:]}.jsonl" if valid else f"train/{name}_0.jsonl"), texts)
    return folder


def read_back(tokens: Path, split: str, domain: str) -> list[str]:
    from tokenizers import Tokenizer

    manifest = read_tokens_manifest(tokens)
    tokenizer = Tokenizer.from_file(str(tokens / "tokenizer.json"))
    texts = []
    for shard in manifest.splits[split][domain]:
        ids, ends = map_shard(tokens, shard, manifest.dtype), read_index(tokens / f"{shard.path}.index").astype(int)
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            assert ids[end - 1] == manifest.tokenizer["eos"]
            texts.append(tokenizer.decode(ids[start : end - 1].tolist(), skip_special_tokens=False))
    return texts


@pytest.fixture(scope="module")
def simple(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("simple")
    corpus(folder / "corpus", prose=PROSE, valid_prose=["The end.\n"], code=CODE, valid_code=["x = 1\n"])
    tokenize(folder / "corpus", folder / "tokens", vocab_size=300)
    return folder


def test_every_document_comes_back_in_order(simple: Path) -> None:
    assert read_back(simple / "tokens", "train", "prose") == PROSE
    assert read_back(simple / "tokens", "train", "code") == CODE
    assert read_back(simple / "tokens", "valid", "code") == ["x = 1\n"]


def test_the_manifest_counts_what_is_there(simple: Path) -> None:
    content = json.loads((simple / "tokens/manifest.json").read_text())
    assert content["tokenizer"]["eos_token"] == "<|endoftext|>" and content["tokenizer"]["vocabulary"] == 300
    assert content["tokenizer"]["sha256"] == sha256(simple / "tokens/tokenizer.json") and content["dtype"] == "uint16"
    entry = content["train"]["code"]
    assert entry["documents"] == len(CODE) and entry["bytes"] == sum(len(text.encode()) for text in CODE)
    assert entry["source"] == ["train/code_0.jsonl"]
    (shard,) = entry["shards"]
    path = simple / "tokens" / shard["path"]
    assert shard["path"] == "train/code/00000.ds" and shard["sha256"] == sha256(path)
    assert path.stat().st_size == 2 * entry["tokens"]
    assert str(simple) not in (simple / "tokens/manifest.json").read_text()


def test_the_prior_is_the_share_of_training_tokens(simple: Path, tmp_path: Path) -> None:
    count(simple / "tokens", tmp_path / "domains.csv")
    domains = Domains.read(tmp_path / "domains.csv")
    manifest = read_tokens_manifest(simple / "tokens")
    tokens = [manifest.total("train", name, "tokens") for name in ("code", "prose")]
    assert domains.names == ("code", "prose") and domains.tokens.tolist() == tokens
    assert domains.documents.tolist() == [len(CODE), len(PROSE)]
    assert domains.prior.tolist() == [tokens[0] / sum(tokens), tokens[1] / sum(tokens)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(min_size=1), min_size=2, max_size=12, unique=True), st.integers(1, 40))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, texts: list[str], shard_tokens: int) -> None:
    folder = tmp_path_factory.mktemp("any")
    tokenize(corpus(folder / "c", a=texts, valid_a=texts[:1]), folder / "t", vocab_size=270, shard_tokens=shard_tokens)
    assert read_back(folder / "t", "train", "a") == texts
    assert all(shard.tokens >= shard_tokens for shard in read_tokens_manifest(folder / "t").splits["train"]["a"][:-1])


def test_an_end_of_text_token_written_in_a_document_ends_nothing(tmp_path: Path) -> None:
    texts = ["<|endoftext|>", "before<|endoftext|>after", *PROSE]
    tokenize(corpus(tmp_path / "c", a=texts, valid_a=texts), tmp_path / "t", vocab_size=300)
    assert read_back(tmp_path / "t", "train", "a") == texts
    given_one = tmp_path / "t/tokenizer.json"
    tokenize(tmp_path / "c", tmp_path / "t2", tokenizer=given_one)
    assert read_back(tmp_path / "t2", "train", "a") == texts


def test_a_given_tokenizer_is_copied_and_gives_the_same_tokens(simple: Path, tmp_path: Path) -> None:
    tokenize(simple / "corpus", tmp_path / "tokens", tokenizer=simple / "tokens/tokenizer.json")
    for file in ("tokenizer.json", "train/code/00000.ds", "train/code/00000.ds.index", "valid/prose/00000.ds"):
        assert (tmp_path / "tokens" / file).read_bytes() == (simple / "tokens" / file).read_bytes()
    assert read_tokens_manifest(tmp_path / "tokens").tokenizer["name"] == "tokens"  # tokens/tokenizer.json


def test_the_same_corpus_gives_the_same_bytes_in_another_process(simple: Path, tmp_path: Path) -> None:
    for seed, parallel in (("1", "true"), ("2", "false")):
        call = "from data_preparation.tokenization import tokenize; from pathlib import Path; import sys; "
        call += f"tokenize(Path({str(simple / 'corpus')!r}), Path(sys.argv[1]), vocab_size=300)"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "TOKENIZERS_PARALLELISM": parallel}
        subprocess.run([sys.executable, "-c", call, tmp_path / seed], check=True, env=environment, capture_output=True)
        files = sorted(path.relative_to(tmp_path / seed) for path in (tmp_path / seed).rglob("*") if path.is_file())
        assert files == sorted(
            path.relative_to(simple / "tokens") for path in (simple / "tokens").rglob("*") if path.is_file()
        )
        assert all((tmp_path / seed / file).read_bytes() == (simple / "tokens" / file).read_bytes() for file in files)


def test_a_domain_without_validation_is_split_aloud_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [*CODE, *CODE[:3]]  # copies stay on one side
    tokenize(
        corpus(tmp_path / "c", a=texts, b=PROSE, valid_b=PROSE), tmp_path / "t", vocab_size=300, valid_fraction=0.3
    )
    train, valid = read_back(tmp_path / "t", "train", "a"), read_back(tmp_path / "t", "valid", "a")
    assert sorted(train + valid) == sorted(texts) and not set(train) & set(valid) and valid
    assert max(map(document_hash, valid)) < min(map(document_hash, train))
    share = sum(len(text.encode()) for text in valid) / sum(len(text.encode()) for text in texts)
    told = f"a: no valid/a.*, so {share:.1%} of its training text (by document hash: {len(valid)} of {len(texts)} documents)"
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("giants", [1, 4])
def test_a_domain_with_its_text_in_few_documents_keeps_them_for_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], giants: int
) -> None:
    """Books among notes: by the hash alone, a book could become nearly all of the validation split."""
    for seed in range(8):  # the books' hashes are small in some
        texts = [*(f"note {i} of {seed}" for i in range(99)), *(f"{seed}{i}" + "word " * 5000 for i in range(giants))]
        tokenize(corpus(tmp_path / f"c{seed}", a=texts), tmp_path / "t", vocab_size=257)
        manifest = read_tokens_manifest(tmp_path / "t")
        train, valid = (manifest.total(split, "a", "bytes") for split in ("train", "valid"))
        assert 0 < valid < 0.05 * train
        assert 1 < manifest.total("valid", "a", "documents") < 99  # notes are on both sides
        assert "far from the 5.0% asked for" in capsys.readouterr().err


def test_files_that_share_documents_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus(
        tmp_path / "c", a=CODE, valid_a=PROSE[:1], b=[*PROSE[1:], *CODE[:3]], valid_b=["x"], d=["d"], valid_d=["y", "d"]
    )
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300)
    said = [line for line in capsys.readouterr().err.splitlines() if ".jsonl share " in line]
    assert len(said) == 2
    assert "a_0.jsonl and" in said[0] and "b_0.jsonl share 3 documents; each copy counts" in said[0]
    assert "d.jsonl share 1 document: losses on text that was trained on" in said[1]


def test_domains_with_little_to_validate_on_are_named_and_the_next_command_is_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    enough = [f"{n} " * 300 for n in range(20)]
    corpus(tmp_path / "c", a=enough, valid_a=enough[:9], b=enough, valid_b=enough[:10], d=enough, valid_d=["x"] * 20)
    tokenize(tmp_path / "c", tmp_path / "s/tokens", vocab_size=257)
    said = capsys.readouterr().err
    assert "Little text to validate on: a, d (" in said
    assert f"Next: proxymix count --tokens {tmp_path / 's/tokens'}" in said
    (tmp_path / "s/study.yaml").write_text("{}\n")
    count(tmp_path / "s/tokens", tmp_path / "s/domains.csv")
    assert f"Next: proxymix synthesize --study {tmp_path / 's'}\n" in capsys.readouterr().err


def test_documents_without_text_are_left_out_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tokenize(corpus(tmp_path / "c", a=["", *CODE, ""], valid_a=PROSE), tmp_path / "t", vocab_size=300)
    assert read_back(tmp_path / "t", "train", "a") == CODE
    assert "2 documents have no text" in capsys.readouterr().err


def test_small_domains_have_their_say_in_the_vocabulary(tmp_path: Path) -> None:
    """A domain 1000 times smaller still has its own word merged."""
    large = [f"number {n} is nothing special at all " * 5 for n in range(3000)]
    corpus(tmp_path / "c", large=large, valid_large=["x"], small=["zzyzx zzyzx"] * 20, valid_small=["zzyzx"])
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300, tokenizer_megabytes=0.001)
    assert " zzyzx" in read_back(tmp_path / "t", "train", "small")[0]
    assert read_tokens_manifest(tmp_path / "t").total("valid", "small", "tokens") <= 3


def test_the_sample_is_the_smallest_hashes_in_any_order() -> None:
    texts = [f"text number {n}" for n in range(50)]
    for order in (texts, texts[::-1]):
        sample = SmallestHashes(200)
        for text in order:
            sample.offer(document_hash(text), len(text), text)
        expected = sorted(texts, key=document_hash)[: len(sample.texts())]
        assert sample.texts() == expected and 180 < sum(map(len, expected)) <= 200


def test_a_document_longer_than_the_sample_is_cut() -> None:
    texts = ["🙂" * 1000, *(f"text number {n}" for n in range(50))]
    sample = SmallestHashes(200)
    for key, text in enumerate(texts):
        sample.offer(key, len(text.encode()), text)
    assert sample.texts() == ["🙂" * 50]
    sample.offer(-1, 13, "text number 7")
    assert sample.texts() == ["text number 7"]


def test_ids_take_four_bytes_where_two_do_not_hold_them(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    vocabulary = {"</s>": 0, **{f"w{n}": n for n in range(1, 2**16 + 1)}}
    Tokenizer(models.WordLevel(vocabulary, unk_token="w1")).save(str(tmp_path / "big.json"))
    corpus(tmp_path / "c", a=["w7", "w65536"], valid_a=["w2"])
    tokenize(tmp_path / "c", tmp_path / "t", tokenizer=tmp_path / "big.json")
    manifest = read_tokens_manifest(tmp_path / "t")
    assert manifest.dtype == "uint32" and manifest.tokenizer["name"] == "big"
    assert map_shard(tmp_path / "t", manifest.splits["train"]["a"][0], "uint32").tolist() == [7, 0, 65536, 0]


def test_a_fault_in_the_corpus_stops_the_work_before_it_begins_and_leaves_nothing(tmp_path: Path) -> None:
    corpus(tmp_path / "c", a=CODE, valid_a=CODE, b=CODE)
    with (tmp_path / "c/train/b_0.jsonl").open("a") as file:
        file.write('{"text": "cut')
    with pytest.raises(InputError, match=r"b_0\.jsonl:13: not JSON"):
        tokenize(tmp_path / "c", tmp_path / "t")
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


@pytest.mark.parametrize(
    ("domains", "settings_", "message"),
    [
        ({"a": ["one"]}, {}, r"a_0\.jsonl: a has no validation file, and its one document cannot be split"),
        ({"a": ["", ""], "valid_a": ["x"]}, {}, r"a_0\.jsonl: every document of a in train is empty"),
        ({"a": CODE}, {"vocab_size": 200}, "vocab_size is 200; .* at least 257"),
        ({"a": CODE}, {"valid_fraction": 0.0}, "valid_fraction is 0; a number between 0 and 1"),
        ({"a": CODE}, {"shard_tokens": 0}, "shard_tokens is 0"),
        ({"a": CODE}, {"tokenizer_megabytes": 0.0}, "tokenizer_megabytes is 0"),
        ({"a": CODE}, {"eos_token": "</s>"}, "eos_token is '</s>', but no tokenizer is given"),
        ({"a": CODE}, {"text_key": "body"}, "'body' is wanted, found the keys text"),
    ],
)
def test_what_cannot_be_done_is_refused(tmp_path: Path, domains: dict, settings_: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        tokenize(corpus(tmp_path / "c", **domains), tmp_path / "t", **settings_)
    assert not (tmp_path / "t").exists()


def tokenizer_json(path: Path, special: list[str]) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    letters = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        PROSE, trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=letters)
    )
    tokenizer.save(str(path))
    return path


def test_a_given_tokenizer_needs_an_end_of_text_token(tmp_path: Path) -> None:
    corpus(tmp_path / "c", a=CODE, valid_a=CODE)
    path = tokenizer_json(tmp_path / "mine.json", ["<begin>", "<end>"])
    with pytest.raises(
        InputError, match=r"mine\.json: none of <\|endoftext\|>.*eos_token \(there are <begin>, <end>\)"
    ):
        tokenize(tmp_path / "c", tmp_path / "t", tokenizer=path)
    with pytest.raises(InputError, match="no token '<stop>'"):
        tokenize(tmp_path / "c", tmp_path / "t", tokenizer=path, eos_token="<stop>")
    tokenize(tmp_path / "c", tmp_path / "t", tokenizer=path, eos_token="<end>")
    assert read_tokens_manifest(tmp_path / "t").tokenizer["eos_token"] == "<end>"


def bpe(path: Path, lacking: Set[int] = frozenset(), kind: str = "bytes", unknown: str | None = None) -> Path:
    """A BPE without merges: its vocabulary holds the bytes but those `lacking`, as letters, as <0x00>, or not at all.

    Args:
        path: Where it is saved.
        lacking: Bytes without an entry.
        kind: "bytes" (GPT-2's), "fallback" (Llama's: letters, and <0x00> for what has none), or "letters" alone.
        unknown: The unknown token.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    present = [byte for byte in range(256) if byte not in lacking]
    letters = byte_letters(set(pre_tokenizers.ByteLevel.alphabet()))
    entries = {
        "bytes": [letters[byte] for byte in present],
        "fallback": [*(f"<0x{byte:02X}>" for byte in present), "▁", *"abcdefghijklmnopqrstuvwxyz"],
        "letters": list(" abcdefghijklmnopqrstuvwxyz"),
    }[kind]
    special = ["<|endoftext|>", *([unknown] if unknown else [])]
    vocabulary = {entry: number for number, entry in enumerate([*special, *entries])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], byte_fallback=kind == "fallback", unk_token=unknown))
    if kind == "bytes":
        tokenizer.pre_tokenizer, tokenizer.decoder = (
            pre_tokenizers.ByteLevel(add_prefix_space=False),
            decoders.ByteLevel(),
        )
    elif kind == "fallback":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.save(str(path))
    return path


NEVER_IN_TEXT = {0xC0, 0xC1, *range(0xF5, 0x100)}
EVERY_LENGTH = ["a\x00\x7f\n", "größer \u0080\u07ff", "\u0800\uffff", "\U00010000 🙂 \U0010ffff"]
"""All lengths that a character has in UTF-8, from the first to the last."""


@pytest.mark.parametrize(
    ("lacking", "kind", "unknown"),
    [
        (set(), "bytes", None),  # GPT-2, Llama 3, Qwen
        (NEVER_IN_TEXT, "bytes", None),  # GPT-NeoX, Pythia, OLMo, ModernBERT
        (NEVER_IN_TEXT, "bytes", "<unk>"),
        (set(), "fallback", "<unk>"),  # Llama 2, Mistral, Gemma
        (NEVER_IN_TEXT, "fallback", None),
    ],
)
def test_the_byte_vocabularies_of_the_usual_models_are_taken_without_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], lacking: set[int], kind: str, unknown: str | None
) -> None:
    path = bpe(tmp_path / "mine.json", lacking, kind, unknown)
    tokenize(corpus(tmp_path / "c", a=EVERY_LENGTH, valid_a=["x"]), tmp_path / "t", tokenizer=path)
    assert "mine.json" not in capsys.readouterr().err
    if kind == "bytes":
        assert read_back(tmp_path / "t", "train", "a") == EVERY_LENGTH


def modern_bert(path: Path) -> Path:
    """ModernBERT's kind: GPT-NeoX's vocabulary behind NFC, with runs of spaces and BERT's own special tokens."""
    from tokenizers import AddedToken, Tokenizer, normalizers

    tokenizer = Tokenizer.from_file(str(bpe(path, NEVER_IN_TEXT)))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_tokens([AddedToken(" " * length, normalized=True) for length in range(24, 1, -1)])
    tokenizer.add_special_tokens(["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"])
    tokenizer.save(str(path))
    return path


def bloom(path: Path) -> Path:
    """BLOOM's kind: text is cut before bytes are made letters, and some control characters have no entry."""
    from tokenizers import Regex, Tokenizer, pre_tokenizers

    tokenizer = Tokenizer.from_file(str(bpe(path, {*NEVER_IN_TEXT, 0x0B, 0x0C, 0x1F})))
    cut = pre_tokenizers.Split(Regex(r" ?[^(\s|[.,!?…。，、।۔،])]+"), "isolated")
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, letters])
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>", "<pad>"])
    tokenizer.save(str(path))
    return path


@pytest.mark.parametrize(("make", "lost"), [(modern_bert, None), (bloom, "\v")])
def test_a_byte_vocabulary_is_judged_by_what_text_can_hold(
    tmp_path: Path, make: Callable[[Path], Path], lost: str | None
) -> None:
    """No text needs what ModernBERT lacks. BLOOM also lacks the vertical tab (huggingface/tokenizers#2447)."""
    path = make(tmp_path / "mine.json")
    tokenize(corpus(tmp_path / "c", a=EVERY_LENGTH, valid_a=["x"]), tmp_path / "t", tokenizer=path)
    assert read_back(tmp_path / "t", "train", "a") == EVERY_LENGTH
    corpus(tmp_path / "tabs", a=["a\vb", "c"], valid_a=["x"])
    if lost is None:
        tokenize(tmp_path / "tabs", tmp_path / "t2", tokenizer=path)
        assert read_back(tmp_path / "t2", "train", "a") == ["a\vb", "c"]
    else:
        with pytest.raises(InputError, match=r"train/a.*U\+000B.*mine\.json"):
            tokenize(tmp_path / "tabs", tmp_path / "t2", tokenizer=path)


@pytest.mark.parametrize(
    ("kind", "lacking", "lost"),
    [("bytes", {*NEVER_IN_TEXT, 0xF1, 0xF0}, "🙂"), ("fallback", {0xF0}, "🙂"), ("letters", set(), "ü")],
)
def test_a_tokenizer_without_entries_that_text_could_need_is_judged_by_the_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, lacking: set[int], lost: str
) -> None:
    """Not a word is dropped: a corpus that needs no more than there is goes through, another names what is lost."""
    path = bpe(tmp_path / "mine.json", lacking, kind)
    tokenize(corpus(tmp_path / "c", a=["all is well", "so is this"], valid_a=["x"]), tmp_path / "t", tokenizer=path)
    assert "mine.json: this BPE does not have entries for" in capsys.readouterr().err
    manifest = read_tokens_manifest(tmp_path / "t")
    assert manifest.total("train", "a", "tokens") >= len("all is well") + len("so is this") + 2
    corpus(tmp_path / "lossy", a=["all is well", f"lost {lost} here"], valid_a=["x"])
    with pytest.raises(InputError, match=rf"train/a: the text 'lost .*{lost}.*U\+[0-9A-F]+.*mine\.json.*byte_fallback"):
        tokenize(tmp_path / "lossy", tmp_path / "t2", tokenizer=path)
    assert not (tmp_path / "t2").exists()


def test_a_tokenizer_that_fails_on_a_text_is_named(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    Tokenizer(models.WordLevel({"</s>": 0, "one": 1}, unk_token="<unk>")).save(str(tmp_path / "mine.json"))
    with pytest.raises(InputError, match=r"mine\.json: the tokenizer fails on the text of train/a"):
        tokenize(corpus(tmp_path / "c", a=["two", "x"]), tmp_path / "t", tokenizer=tmp_path / "mine.json")


def test_a_text_that_holds_an_ordinary_token_used_as_end_is_refused(tmp_path: Path) -> None:
    path = tokenizer_json(tmp_path / "mine.json", [])
    with pytest.raises(InputError, match=r"train/a: the text 'no!'\.\.\. holds the end-of-text token '!' itself"):
        tokenize(corpus(tmp_path / "c", a=["no!", "yes"], valid_a=["x"]), tmp_path / "t", tokenizer=path, eos_token="!")


@pytest.mark.parametrize("content", ["{}", "not json", '{"version": "1.0", "model": 3}'])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(InputError, match=r"x\.json.*: not "):
        tokenize(corpus(tmp_path / "c", a=CODE), tmp_path / "t", tokenizer=tmp_path / "x.json")


@pytest.mark.parametrize("name", ["gpt2", "EleutherAI/gpt-neox-20b"])
def test_the_name_of_a_model_is_told_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    corpus(tmp_path / "c", a=CODE)
    for given_as in (Path(name), tmp_path / name):  # a study makes paths absolute
        with pytest.raises(InputError, match=rf"{name}: no such file.*`hf download {name} tokenizer\.json"):
            tokenize(tmp_path / "c", tmp_path / "t", tokenizer=given_as)
    tokenizer_json(tmp_path / "c/tokenizer.json", [])
    with pytest.raises(InputError, match=r"give the file in it, .*c/tokenizer\.json"):
        tokenize(tmp_path / "c", tmp_path / "t", tokenizer=tmp_path / "c")


def test_what_never_ends_is_not_read_as_a_tokenizer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(InputError, match=f"{path}: a device or a pipe"):
            tokenize(corpus(tmp_path / "c", a=CODE), tmp_path / "t", tokenizer=path)


def test_no_folder_but_an_earlier_result_is_ever_replaced(tmp_path: Path) -> None:
    corpus(tmp_path / "c", a=CODE, valid_a=CODE)
    with pytest.raises(InputError, match="would be replaced"):
        tokenize(tmp_path / "c", tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="mine: exists and is not from an earlier run"):
        tokenize(tmp_path / "c", tmp_path / "mine")
    assert (tmp_path / "mine/thesis.tex").exists()
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300)
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=270)
    assert read_tokens_manifest(tmp_path / "t").tokenizer["vocabulary"] == 270


@pytest.mark.parametrize("content", [None, "", "\0" * 40, "{", '{"dtype": 7}'])
def test_a_damaged_result_can_be_made_again(tmp_path: Path, content: str | None) -> None:
    corpus(tmp_path / "c", a=CODE, valid_a=CODE)
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300)
    manifest = tmp_path / "t/manifest.json"
    before = manifest.read_bytes()
    manifest.unlink() if content is None else manifest.write_text(content)
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300)
    assert manifest.read_bytes() == before


@pytest.mark.parametrize("name", ["train/a/notes.txt", ".git/HEAD"])
def test_a_file_of_somebody_elses_beside_the_tokens_is_not_deleted(tmp_path: Path, name: str) -> None:
    corpus(tmp_path / "c", a=CODE, valid_a=CODE)
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300)
    (tmp_path / "t" / name).parent.mkdir(exist_ok=True)
    (tmp_path / "t" / name).write_text("precious")
    (tmp_path / "t/train/a/.00000.ds.tmp").write_text("left by a command that was killed")
    with pytest.raises(InputError, match=f"t: exists and is not .*{name}"):
        tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300)
    assert (tmp_path / "t" / name).exists()
    (tmp_path / "t" / name).unlink()
    tokenize(tmp_path / "c", tmp_path / "t", vocab_size=300)
