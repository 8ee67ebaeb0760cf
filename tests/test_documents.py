"""A corpus folder is read in RegMix's layout, and every fault in it is one clear message."""

import errno
import gzip
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_preparation.documents.corpus import corpus_files
from data_preparation.documents.file_names import domain_names
from data_preparation.documents.reading import read_documents
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
@pytest.mark.parametrize("kept", [0.5, 0.98, 0])
def test_a_file_cut_short_or_that_is_something_else_is_named(tmp_path: Path, name: str, kept: float) -> None:
    path = write(tmp_path / name, [f"{i} {i * i}" for i in range(3000)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)] or b"no such format at all, really")
    with pytest.raises(InputError, match=f"{name}: truncated or damaged"):
        list(read_documents(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"a\.jsonl: the file is empty"),
        (b"\n\n", r"a\.jsonl: no documents"),
        (b'{"text": "x"}\n{"text": "y"\n{"text": "z"}\n', r"a\.jsonl:2: not JSON: "),
        (b'{"text": "x"}\n{"text": "y', r"a\.jsonl:2: not JSON: .*cut short"),
        (b'{"text": "x"}\n{"content": "y", "id": 1}\n', r"a\.jsonl:2: .*'text' is wanted, found the keys content, id"),
        (b'["x"]\n', r"a\.jsonl:1: .*found a list"),
        (b'{"text": "x"}\n{"text": "y", "text": "z"}\n', r"a\.jsonl:2: .*the key 'text' is written twice"),
        (b'{"text": null}\n', r"a\.jsonl:1: 'text' is None; a string is wanted"),
        (b'{"text": 7}\n', r"a\.jsonl:1: 'text' is 7; a string is wanted"),
        (b'{"text": "gr\xfc\xdfe"}\n', r"a\.jsonl:1: not UTF-8"),
        (b'{"text": "\\ud83d!"}\n', r"a\.jsonl:1: character 0 of 'text' is .*surrogate"),
        (b"[" * 100_000 + b"\n", r"a\.jsonl:1: not JSON"),
        (
            b'{"text": "x"}\n{"text": "y", "n": ' + b"7" * 5000 + b"}\n",
            r"a\.jsonl:2: not JSON that can be read: .*digits",
        ),
        (b'[\n{"text": "x"}\n]\n', r"a\.jsonl:1: not JSON: .*an object on a line of its own"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(read_documents(tmp_path / "a.jsonl"))


def test_a_text_of_a_parquet_file_that_is_not_utf8_is_named_by_its_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    raw = pa.array([b"fine", b"caf\xe9 ol\xe9"], pa.binary())  # a column of strings, as some writers make it
    pq.write_table(pa.table({"text": pa.Array.from_buffers(pa.string(), 2, raw.buffers())}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a\.parquet: row 2: not UTF-8 text \(byte 3\)"):
        list(read_documents(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("name", "content", "remedy"),
    [
        ("a.jsonl", gzip.compress(b'{"text": "x"}\n', mtime=0), r"gzip data.*\.jsonl\.gz"),
        ("a.jsonl.zst", gzip.compress(b'{"text": "x"}\n', mtime=0), r"gzip data.*\.jsonl\.gz"),
        ("a.jsonl.gz", b'{"text": "x"}\n', r"plain text.*\.jsonl"),
        ("a.jsonl.gz", gzip.compress(gzip.compress(b'{"text": "x"}\n', mtime=0), mtime=0), "unpack it once"),
        ("a.parquet", b'{"text": "x"}\n', r"plain text.*\.jsonl"),
        ("a.jsonl", b"PAR1" + bytes(20), r"Parquet.*\.parquet"),
        ("a.jsonl.gz", b"PK\x03\x04" + bytes(20), "zip archive.*unpack"),
        ("a.jsonl", b"BZh9" + bytes(20), "bzip2 data.*unpack"),
        ("a.jsonl", '{"text": "x"}\n'.encode("utf-16"), "UTF-16.*UTF-8"),
        ("a.jsonl.gz", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.parquet", b"<!DOCTYPE html><html>", "web page.*download the file itself"),
    ],
)
def test_a_file_of_another_kind_than_its_name_says_is_no_damage(
    tmp_path: Path, name: str, content: bytes, remedy: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*{remedy}") as error:
        list(read_documents(tmp_path / name))
    assert "damaged" not in str(error.value)


def test_a_long_window_is_no_damage(tmp_path: Path) -> None:
    line = b'{"text": "x"}\n'
    window_of_2_gb, last_raw_block = bytes([0, (31 - 10) << 3]), ((len(line) << 3) | 1).to_bytes(3, "little")
    (tmp_path / "a.jsonl.zst").write_bytes(b"\x28\xb5\x2f\xfd" + window_of_2_gb + last_raw_block + line)
    with pytest.raises(InputError, match=r"a\.jsonl\.zst: cannot be read.*without --long") as error:
        list(read_documents(tmp_path / "a.jsonl.zst"))
    assert "damaged" not in str(error.value)


@pytest.mark.parametrize(
    ("cause", "remedy"),
    [
        (OSError("Support for codec 'lzo' not built"), "does not support.*compression='zstd'"),
        (NotImplementedError("Nested data conversions not implemented for chunked array outputs"), "does not support"),
        (
            OSError("Could not read encrypted metadata, no decryption properties found in reader's properties"),
            "encrypt",
        ),
        (OSError(errno.EIO, "Input/output error"), "permissions and its disk"),
        (PermissionError(errno.EACCES, "Permission denied"), "permissions and its disk"),
    ],
)
def test_what_the_library_cannot_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cause: Exception, remedy: str
) -> None:
    import pyarrow.parquet

    path = write(tmp_path / "a.parquet", ["x"])

    def fail(*_: object, **__: object) -> None:
        raise cause

    monkeypatch.setattr(pyarrow.parquet, "ParquetFile", fail)
    with pytest.raises(InputError, match=rf"a\.parquet: cannot be read.*{remedy}") as error:
        list(read_documents(path))
    assert "damaged" not in str(error.value)


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
    for named in domain_names(train, valid):
        assert set(named.values()) == {"the_pile_gutenberg_pg_19", "arxiv"}


def test_numbered_domains_that_validation_names_stay_apart() -> None:
    names = ["year_2019", "year_2020"]
    assert domain_names(names, names) == ({name: name for name in names},) * 2
    parts = {"year_2019_0": "year_2019", "year_2020_0": "year_2020"}
    assert domain_names(list(parts), names)[0] == parts
    assert domain_names(list(parts), [])[0] == parts


@pytest.mark.parametrize(
    ("parts", "others"),
    [
        (["web_0", "web_1"], ["news"]),
        (["web-00000-of-00003", "web-00001-of-00003", "web-00002-of-00003"], ["news-00000-of-00001"]),
        (["web_00000_of_00002", "web_00001_of_00002"], ["news"]),
        (["web-00000-of-00002-0123456789abcdef", "web-00001-of-00002-fedcba9876543210"], []),
        (["web.0000", "web.0001"], ["news.0000"]),
        (["web-0007", "web-0042"], []),
        (["web.0", "web.1", "web.2"], ["news"]),
        (["web-0", "web-1"], []),
        (["web_0005", "web_0006"], []),
        (["web.part1", "web.part2"], ["news_shard7"]),
        (["web-part-00001", "web-part-00002"], []),
    ],
)
def test_the_numbers_of_shards_are_those_of_parts(parts: list[str], others: list[str]) -> None:
    train, _ = domain_names([*parts, *others], [])
    assert {train[part] for part in parts} == {"web"}
    assert {train[other] for other in others} <= {"news"}
    train, valid = domain_names(parts, ["web"])
    assert set(train.values()) == set(valid.values()) == {"web"}


def test_the_letters_of_split_are_those_of_parts_where_validation_says_so() -> None:
    names, _ = domain_names(["web_aa", "web_ab", "code-aa", "code-ac", "law"], ["web", "code", "law"])
    assert names == {"web_aa": "web", "web_ab": "web", "code-aa": "code", "code-ac": "code", "law": "law"}
    wikipedias = ["wiki_aa", "wiki_ab", "wiki_af"]  # Afar, Abkhaz, Afrikaans
    assert domain_names(wikipedias, wikipedias)[0] == {name: name for name in wikipedias}
    alone = ["wiki_aa", "wiki_de", "wiki_en", "law"]
    assert domain_names(alone, [])[0] == {name: name for name in alone}


def test_validation_may_be_in_shards_too() -> None:
    train, valid = domain_names(["web-00000-of-00002", "web-00001-of-00002"], ["web-00000-of-00001"])
    assert set(train.values()) == set(valid.values()) == {"web"}


@pytest.mark.parametrize(
    "names",
    [
        ["web1", "web2", "web3"],
        ["year_2019", "year_2020"],
        ["year-2019", "year-2020"],
        ["gpt-3", "gpt-4"],
        ["web1en", "web2en"],
        ["cc-2024-10-00000-of-00002", "cc-2024-11-00000-of-00002"],
        ["web_3", "web_7"],
        ["web_aa", "web_ab"],
        ["web.aa", "web.ab", "web.ad"],
        ["xaa", "xab"],
    ],
)
def test_domains_that_differ_in_a_number_or_in_the_letters_of_split_are_asked_about(names: list[str]) -> None:
    """The message's ways out both work: RegMix's name for each domain's file, or the domain's validation file."""
    name = names[0].removesuffix("-00000-of-00002")
    with pytest.raises(InputError, match=f"{name}.*parts of one domain, or domains of their own.*{name}_0"):
        domain_names(names, [])
    assert set(domain_names([f"{name}_0" for name in names], [])[0].values()) == set(names)


@pytest.mark.parametrize(
    "names",
    [
        ["00000", "00001"],
        ["000_00000", "001_00000"],
        ["2024"],
        ["part-00000", "part-00001"],
        ["part-00000-6f1d2c-c000.snappy", "part-00001-6f1d2c-c000.snappy"],
        ["train-00000-of-00002", "train-00001-of-00002"],
        ["data.0000", "web_0"],
    ],
)
def test_a_name_that_says_no_domain_is_asked_about(names: list[str]) -> None:
    with pytest.raises(InputError, match=r"does not say which domain.*<domain>_0\.jsonl"):
        domain_names(names, [])


def test_a_number_that_belongs_to_a_name_stays_in_it() -> None:
    names = ["c4", "pg-19", "s2orc", "wiki-40b", "gpt-4"]
    assert domain_names(names, [])[0] == {name: name for name in names}
    assert domain_names(["2019_0", "2020_0"], ["2019", "2020"])[0] == {"2019_0": "2019", "2020_0": "2020"}


@pytest.mark.parametrize(
    ("train", "valid", "message"),
    [
        (["web_0", "web_1"], ["web_0"], "'web_1' a domain without validation, or a part of the domain 'web'"),
        (
            ["web.0000", "web.0001"],
            ["web.0000"],
            "'web.0001' a domain without validation, or a part of the domain 'web'",
        ),
        (["web.0000", "web.0001"], ["web.0000", "web.0001"], "web.0000, web.0001 differ in their ends only"),
    ],
)
def test_names_that_can_be_read_both_ways_are_refused(train: list[str], valid: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        domain_names(train, valid)


@given(
    st.lists(st.from_regex(r"[a-z]{1,3}(_\d{1,2})?", fullmatch=True), min_size=1, max_size=6, unique=True),
    st.integers(1, 3),
)
def test_regmix_layout_is_always_read_as_it_was_written(domains: list[str], parts: int) -> None:
    train = [f"{domain}_{part}" for domain in domains for part in range(parts)]
    if set(train) & set(domains):  # web_1 is a domain and a part of web: nobody can tell
        return
    named = {f"{d}_{p}": d for d in domains for p in range(parts)}
    assert domain_names(train, domains) == (named, {domain: domain for domain in domains})


def test_what_only_numbers_tell_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found(corpus(tmp_path, "train/web-00000-of-00003.jsonl", "train/web-00002-of-00003.jsonl", "train/code_0.jsonl"))
    said = capsys.readouterr().err
    assert "web-00000-of-00003, web-00002-of-00003 are read as parts of one domain, web" in said
    assert "web is not complete" in said and "parts, web-00001-of-00003 should" in said and "code" not in said
    found(corpus(tmp_path / "b", "train/web_0.jsonl", "train/web_1.jsonl", "valid/web.jsonl"))
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("train/web_0.jsonl", "train/web_0.jsonl.gz"),
        ("train/web_0.jsonl.zst", "train/web_0.parquet"),
        ("valid/web.jsonl", "valid/web.parquet"),
        ("train/web_0.jsonl", "train/web-00000-of-00003.jsonl"),
        ("train/web-00000-of-00003.jsonl", "train/web-00000-of-00005.jsonl"),
    ],
)
def test_a_file_and_its_copy_are_not_both_read(tmp_path: Path, one: str, other: str) -> None:
    corpus(tmp_path, "train/web_1.jsonl", "train/code_0.jsonl", one, other)
    with pytest.raises(InputError, match="remove") as error:
        corpus_files(tmp_path)
    assert all(Path(name).name.split(".")[0] in str(error.value) for name in (one, other))


@pytest.mark.parametrize("link", ["train/code_0.jsonl", "train/web_1.jsonl", "valid/web.jsonl"])
@pytest.mark.parametrize("kind", ["symbolic", "hard"])
def test_one_file_under_two_names_is_not_read_twice(tmp_path: Path, link: str, kind: str) -> None:
    corpus(tmp_path, "train/web_0.jsonl", "valid/other.jsonl")
    (tmp_path / "valid/other.jsonl").rename(tmp_path / "train/other_0.jsonl")
    target = tmp_path / "train/web_0.jsonl"
    (tmp_path / link).symlink_to(target) if kind == "symbolic" else (tmp_path / link).hardlink_to(target)
    with pytest.raises(InputError, match=r"web_0\.jsonl.*one file under two names"):
        corpus_files(tmp_path)


def test_folders_and_files_may_lie_elsewhere(tmp_path: Path) -> None:
    corpus(tmp_path / "real", "train/web_0.jsonl", "code.jsonl")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/train").symlink_to(tmp_path / "real/train")
    (tmp_path / "real/train/code_0.jsonl").symlink_to(tmp_path / "real/code.jsonl")
    assert set(found(tmp_path / "c")["train"]) == {"web", "code"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *itertools.product(["train/code_0.jsonl", "train/code_0.parquet", "valid/web.jsonl.gz"], ["link", "folder"]),
        ("valid", "link"),
    ],
)
def test_what_has_a_corpus_name_and_is_not_there_stops_the_work(tmp_path: Path, name: str, kind: str) -> None:
    corpus(tmp_path, "train/web_0.jsonl")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).symlink_to("/nowhere") if kind == "link" else (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=r"not a (file|folder) that can be read") as error:
        corpus_files(tmp_path)
    assert name in str(error.value) and ("/nowhere" in str(error.value)) == (kind == "link")


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("code_0.json.gz", "code_0.jsonl.gz"),
        ("code_0.json", "code_0.jsonl"),
        ("code_0.JSONL", "code_0.jsonl"),
        ("web_aa", r"web_aa\.jsonl"),
        ("web.jsonl.ab", r"web\.ab\.jsonl"),
        ("web_1.jsonl.bz2", "convert"),
        ("code.txt", "convert"),
        ("code_0.arrow", "convert"),
        ("code/part_0.jsonl", "move it"),
    ],
)
def test_text_in_another_format_is_not_left_out(tmp_path: Path, name: str, remedy: str) -> None:
    corpus(tmp_path, "train/web_0.jsonl", f"train/{name}")
    with pytest.raises(InputError, match=rf"{name}.*{remedy}"):
        corpus_files(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["a.jsonl", "b/c.jsonl"], r"no folder 'train' \(found a\.jsonl, b/\).*train/<domain>_0\.jsonl"),
        (["train/README.txt"], "train: no corpus file"),
        (
            ["train/a_0.jsonl", "valid/a.jsonl", "valid/b.jsonl"],
            r"valid/b\.jsonl: the domain 'b' is in valid and not in train \(train has a\)",
        ),
        (["train/my domain.jsonl"], "'my domain' cannot name a domain"),
        ([], "found nothing"),
    ],
)
def test_a_folder_laid_out_otherwise_is_refused(tmp_path: Path, files: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        corpus_files(corpus(tmp_path, *files))
    with pytest.raises(InputError, match="no such folder"):
        corpus_files(tmp_path / "none")


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
