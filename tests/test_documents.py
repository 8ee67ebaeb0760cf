"""A corpus folder is read in RegMix's layout, and every fault in it is one clear message."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_preparation.documents.corpus import corpus_files, domain_names, read_documents
from data_preparation.documents.splitting import document_hash, split_documents
from proxymix.errors import InputError

TEXTS = ["Grüße", "a\nb", "\u2028 is no line's end", "🙂"]


def jsonl(texts: list[str]) -> bytes:
    return b"".join(json.dumps({"text": text}, ensure_ascii=False).encode() + b"\n" for text in texts)


def write(path: Path, texts: list[str]) -> Path:
    """The texts in the format that the file's name asks for."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.table({"text": texts, "id": list(range(len(texts)))}), path)
    elif path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(jsonl(texts)))
    elif path.name.endswith(".zst"):
        import pyarrow as pa

        with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as file:
            file.write(jsonl(texts))
    else:
        path.write_bytes(jsonl(texts))
    return path


def corpus(folder: Path, *files: str) -> Path:
    for file in files:
        write(folder / file, ["some text"])
    return folder


def found(folder: Path) -> dict[str, dict[str, list[str]]]:
    return {
        split: {domain: [p.name for p in paths] for domain, paths in files.items()}
        for split, files in corpus_files(folder).items()
    }


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_every_format_gives_the_same_documents(tmp_path: Path, name: str) -> None:
    assert list(read_documents(write(tmp_path / name, TEXTS))) == TEXTS


def test_files_joined_end_to_end_are_read_to_the_end(tmp_path: Path) -> None:
    for name in ("a.jsonl.gz", "a.jsonl.zst"):
        path = write(tmp_path / name, TEXTS)
        path.write_bytes(path.read_bytes() * 2)
        assert list(read_documents(path)) == TEXTS * 2


def test_blank_lines_and_a_missing_last_line_end_are_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "x"}\n\n  \r\n{"text": "y"}')
    assert list(read_documents(tmp_path / "a.jsonl")) == ["x", "y"]


def test_another_key_can_hold_the_text(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"content": "x", "text": 3}\n')
    assert list(read_documents(tmp_path / "a.jsonl", "content")) == ["x"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
@pytest.mark.parametrize("kept", [0.5, 0.98])
def test_a_file_cut_short_is_named(tmp_path: Path, name: str, kept: float) -> None:
    path = write(tmp_path / name, [f"{i} {i * i}" for i in range(3000)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(InputError, match=f"{name}: truncated or damaged"):
        list(read_documents(path))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.parquet"])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no such format at all, really")
    with pytest.raises(InputError, match=f"{name}: truncated or damaged"):
        list(read_documents(tmp_path / name))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.jsonl: the file is empty"),
        (b"\n\n", r"a\.jsonl: no documents"),
        (b'{"text": "x"}\n{"text": "y"\n{"text": "z"}\n', r"a\.jsonl:2: not JSON: "),
        (b'{"text": "x"}\n{"text": "y', r"a\.jsonl:2: not JSON: .*cut short"),
        (b'{"text": "x"}\n{"content": "y", "id": 1}\n', r"a\.jsonl:2: .*'text' is wanted, found the keys content, id"),
        (b'["x"]\n', r"a\.jsonl:1: .*found a list"),
        (b'{"text": null}\n', r"a\.jsonl:1: 'text' is None; a string is wanted"),
        (b'{"text": 7}\n', r"a\.jsonl:1: 'text' is 7; a string is wanted"),
        (b'{"text": "gr\xfc\xdfe"}\n', r"a\.jsonl:1: not UTF-8"),
        (b'{"text": "\\ud83d!"}\n', r"a\.jsonl:1: character 0 of 'text' is .*surrogate"),
        (b"[" * 100_000 + b"\n", r"a\.jsonl:1: not JSON"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_documents(tmp_path / "a.jsonl"))


def test_a_parquet_file_names_the_row_or_its_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ["x", "y"])
    with pytest.raises(InputError, match="no column 'content'; found text, id"):
        list(read_documents(path, "content"))
    with pytest.raises(InputError, match="row 1: 'id' is 0; a string is wanted"):
        list(read_documents(path, "id"))


def test_parts_and_formats_of_a_domain_are_its_files_in_order_of_number(tmp_path: Path) -> None:
    corpus(
        tmp_path,
        "train/web_10.jsonl",
        "train/web_2.jsonl.gz",
        "train/code_0.parquet",
        "valid/web.jsonl",
        "valid/code.jsonl.zst",
    )
    assert found(tmp_path) == {
        "train": {"code": ["code_0.parquet"], "web": ["web_2.jsonl.gz", "web_10.jsonl"]},
        "valid": {"code": ["code.jsonl.zst"], "web": ["web.jsonl"]},
    }


def test_a_domain_whose_name_ends_in_a_number_is_told_from_a_part() -> None:
    """The Pile's Gutenberg in RegMix's own files."""
    train, valid = ["the_pile_gutenberg_pg_19_0", "arxiv_0", "arxiv_1"], ["the_pile_gutenberg_pg_19", "arxiv"]
    assert set(domain_names(train, valid, "train").values()) == set(domain_names(train, valid, "valid").values()) == {
        "the_pile_gutenberg_pg_19", "arxiv",
    }  # fmt: skip


def test_numbered_domains_that_validation_names_stay_apart() -> None:
    names = ["year_2019", "year_2020"]
    assert domain_names(names, names, "train") == {name: name for name in names}
    assert domain_names(["year_2019_0", "year_2020_0"], names, "train") == {
        "year_2019_0": "year_2019",
        "year_2020_0": "year_2020",
    }


def test_numbered_parts_without_validation_are_one_domain() -> None:
    assert domain_names(["web_0", "web_1", "news"], [], "train") == {"web_0": "web", "web_1": "web", "news": "news"}
    assert domain_names(["web_0", "web_1"], ["web_0", "web_1", "web_2"], "valid")["web_2"] == "web"


def test_names_that_can_be_read_both_ways_are_refused() -> None:
    with pytest.raises(InputError, match="'web_1' a domain without validation, or a part of the domain 'web'"):
        domain_names(["web_0", "web_1"], ["web_0"], "train")


@given(
    st.lists(st.from_regex(r"[a-z]{1,3}(_\d{1,2})?", fullmatch=True), min_size=1, max_size=6, unique=True),
    st.integers(1, 3),
)
def test_regmix_layout_is_always_read_as_it_was_written(domains: list[str], parts: int) -> None:
    train = [f"{domain}_{part}" for domain in domains for part in range(parts)]
    if set(train) & set(domains):  # web_1 is a domain and a part of web: nobody can tell
        return
    assert domain_names(train, domains, "valid") == {domain: domain for domain in domains}
    assert domain_names(train, domains, "train") == {f"{d}_{p}": d for d in domains for p in range(parts)}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.jsonl", "b/c.jsonl"], r"no folder 'train' \(found a\.jsonl, b/\).*train/<domain>_0\.jsonl"),
        (["train/a.txt"], "train: no corpus file"),
        (
            ["train/a_0.jsonl", "valid/a.jsonl", "valid/b.jsonl"],
            r"valid/b\.jsonl: the domain 'b' is in valid and not in train \(train has a\)",
        ),
        (["train/my domain.jsonl"], "'my domain' cannot name a domain"),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused(tmp_path: Path, files: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        corpus_files(corpus(tmp_path, *files))


def test_no_folder_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        corpus_files(tmp_path / "none")
    with pytest.raises(InputError, match="found nothing"):
        corpus_files(tmp_path)


def test_other_files_are_left_alone_aloud(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus(tmp_path, "train/a_0.jsonl", "train/README.md", "train/.hidden.jsonl")
    assert found(tmp_path)["train"] == {"a": ["a_0.jsonl"]}
    assert "README.md: not read" in capsys.readouterr().err


@given(st.lists(st.text(max_size=5), min_size=2, max_size=40), st.floats(0.01, 0.99))
def test_copies_of_a_document_are_on_one_side_and_neither_side_is_empty(texts: list[str], fraction: float) -> None:
    hashes = np.array([document_hash(text) for text in texts], dtype=np.uint64)
    if len(set(texts)) < 2:
        return
    split = split_documents(hashes, np.ones(len(texts)), fraction)
    valid = {text for text, key in zip(texts, hashes, strict=True) if split.is_valid(int(key))}
    assert valid and valid != set(texts)
    assert split.documents == sum(text in valid for text in texts)
    order = np.random.default_rng(0).permutation(len(texts))
    assert split_documents(hashes[order], np.ones(len(texts)), fraction) == split


def valid_sizes(sizes: list[int], fraction: float) -> list[int]:
    """Sizes of the documents for validation; their hashes are 0, 1, 2, ..."""
    split = split_documents(np.arange(len(sizes), dtype=np.uint64), np.array(sizes), fraction)
    valid = [size for key, size in enumerate(sizes) if split.is_valid(key)]
    assert sum(valid) / sum(sizes) == pytest.approx(split.fraction) and len(valid) == split.documents
    return valid


@pytest.mark.parametrize(
    ("sizes", "fraction", "expected"),
    [
        ([7] * 1000, 0.1, [7] * 100),
        ([3, 3, 3, 3, 8], 0.25, [3, 3]),  # 5 of 20 are wanted: 6 are nearer than 3
        ([3, 4, 3, 10], 0.2, [3]),  # 4 of 20 are wanted: 3 are nearer than 7
        ([90, 5, 5], 0.1, [5]),  # the long document has the smallest hash and stays in training
        ([5, 90, 5, 90, 5, 5], 0.1, [5, 5]),
        ([1, 1, 1, 1, 1000, 1000], 0.05, [1, 1]),  # short documents are on both sides
        ([50, 40, 60], 0.01, [40]),  # any is too long: the shortest
        ([1, 1000], 0.5, [1]),
        ([10, 10, 10, 70], 0.9, [10, 10, 10]),
    ],
)
def test_validation_has_the_share_of_the_bytes_that_is_nearest_to_what_was_asked(
    sizes: list[int], fraction: float, expected: list[int]
) -> None:
    assert valid_sizes(sizes, fraction) == expected


@given(st.lists(st.integers(1, 10_000), min_size=2, max_size=60), st.floats(0.01, 0.5))
def test_validation_never_has_more_than_twice_what_was_asked_unless_every_document_is_as_long(
    sizes: list[int], fraction: float
) -> None:
    share = sum(valid_sizes(sizes, fraction)) / sum(sizes)
    assert share <= max(2 * fraction, min(sizes) / sum(sizes)) + 1e-9
