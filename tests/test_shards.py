"""Shards hold documents in datatrove's format, are read in blocks, and a damaged one is found."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_preparation.check import check
from data_preparation.count import count
from data_preparation.tokens import verified_once
from data_preparation.tokens.shards import ShardWriter, TokenDomain, map_shard, open_domain, token_dtype
from data_preparation.tokens.verified_once import SAMPLE_BYTES, SAMPLES, verify_once
from proxymix.errors import InputError, StageError
from proxymix.files import sha256, write_text
from proxymix.schemas import Shard, TokensManifest, read_tokens_manifest

EOS = 9


def write_tokens(folder: Path, documents: list[list[int]], shard_tokens: int = 100, dtype: str = "uint16") -> Path:
    """A folder of tokens with the domain `a`, the same in both splits."""
    write_text(folder / "tokenizer.json", "{}\n")
    tokenizer = {"name": "t", "vocabulary": 10, "eos": EOS, "eos_token": "<e>", "file": "tokenizer.json",
                 "sha256": "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"}  # fmt: skip
    splits: dict[str, dict[str, tuple[Shard, ...]]] = {}
    for split in ("train", "valid"):
        with ShardWriter(folder, split, "a", dtype, shard_tokens) as writer:
            for document in documents:
                writer.write(document, num_bytes=len(document))
        splits[split] = {"a": tuple(writer.shards)}
    TokensManifest(tokenizer, dtype, splits, {"train": {"a": []}, "valid": {"a": []}}, {}).write(folder, {}, {})
    return folder


def test_the_bytes_on_disk_are_little_endian_tokens_and_document_ends(tmp_path: Path) -> None:
    write_tokens(tmp_path, [[1, 2, EOS], [258, EOS]])
    assert (tmp_path / "train/a/00000.ds").read_bytes() == bytes([1, 0, 2, 0, 9, 0, 2, 1, 9, 0])
    assert (tmp_path / "train/a/00000.ds.index").read_bytes() == bytes([3, *[0] * 7, 5, *[0] * 7])
    write_tokens(tmp_path, [[70_000, EOS]], dtype="uint32")
    assert (tmp_path / "train/a/00000.ds").read_bytes() == bytes([0x70, 0x11, 1, 0, 9, 0, 0, 0])


def test_a_document_is_never_cut_between_shards(tmp_path: Path) -> None:
    write_tokens(tmp_path, [[1, 1, 1, EOS], [2, EOS], [3, EOS], [4, EOS]], shard_tokens=3)
    sizes = [path.stat().st_size // 2 for path in sorted((tmp_path / "train/a").glob("*.ds"))]
    assert sizes == [4, 4, 2]  # the first is full at once, the second after two documents


def test_a_writer_that_fails_leaves_no_shard(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), ShardWriter(tmp_path, "train", "a", "uint16", 100) as writer:
        writer.write([1, EOS], 1)
        raise RuntimeError
    assert not list((tmp_path / "train/a").iterdir())


def test_two_bytes_hold_ids_up_to_65535() -> None:
    assert (token_dtype(2**16), token_dtype(2**16 + 1)) == ("uint16", "uint32")


def test_neighbouring_blocks_share_the_token_between_them() -> None:
    domain = TokenDomain([np.arange(11, dtype=np.uint16)], sequence_length=5)
    assert domain.num_blocks == 2
    np.testing.assert_array_equal(
        domain.gather(np.array([1, 0, 1])), [[5, 6, 7, 8, 9, 10], [0, 1, 2, 3, 4, 5], [5, 6, 7, 8, 9, 10]]
    )
    assert TokenDomain([np.arange(5, dtype=np.uint16)], sequence_length=5).num_blocks == 0


def test_blocks_do_not_cross_shards() -> None:
    domain = TokenDomain([np.arange(4), np.arange(2), np.array([], dtype=int), 10 + np.arange(7)], sequence_length=3)
    np.testing.assert_array_equal(
        domain.gather(np.arange(domain.num_blocks)), [[0, 1, 2, 3], [10, 11, 12, 13], [13, 14, 15, 16]]
    )
    assert domain.gather(np.array([], dtype=int)).shape == (0, 4)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=5), st.integers(1, 9))
def test_the_targets_of_all_blocks_are_each_shard_but_its_first_token_and_its_tail(
    sizes: list[int], length: int
) -> None:
    shards = [100 * number + np.arange(size) for number, size in enumerate(sizes)]
    domain = TokenDomain(shards, length)
    targets = domain.gather(np.arange(domain.num_blocks))[:, 1:].ravel()
    expected = [shard[1 : 1 + (max(len(shard) - 1, 0) // length) * length] for shard in shards]
    np.testing.assert_array_equal(targets, np.concatenate(expected))


def test_a_domain_is_opened_by_name(tmp_path: Path) -> None:
    write_tokens(tmp_path, [[1, 2, EOS], [3, EOS], [4, EOS]], shard_tokens=3)
    domain = open_domain(tmp_path, "valid", "a", sequence_length=2)
    assert (domain.num_tokens, domain.num_blocks) == (7, 2)
    np.testing.assert_array_equal(domain.gather(np.array([1])), [[3, EOS, 4]])
    with pytest.raises(InputError, match="no domain 'b' in valid; found a"):
        open_domain(tmp_path, "valid", "b", sequence_length=2)


def test_a_shard_of_another_length_is_not_opened(tmp_path: Path) -> None:
    write_tokens(tmp_path, [[1, 2, EOS]])
    (tmp_path / "train/a/00000.ds").write_bytes(b"1234")
    with pytest.raises(InputError, match=r"00000\.ds: 4 bytes, but manifest\.json promises 3 tokens \(6 bytes\)"):
        open_domain(tmp_path, "train", "a", sequence_length=1)
    (tmp_path / "train/a/00000.ds").unlink()
    with pytest.raises(InputError, match=r"00000\.ds: no such file"):
        open_domain(tmp_path, "train", "a", sequence_length=1)


def test_sound_tokens_pass_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(write_tokens(tmp_path, [[1, 2, EOS], [3, EOS]]))
    assert capsys.readouterr().out.splitlines()[1].split() == ["train/a", "1", "2", "5", "1.00", "ok"]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("train/a/00000.ds", [1, 2, EOS, 4, EOS], "SHA-256"),
        ("train/a/00000.ds", [1, 77, EOS, 3, EOS], "token 1 is 77, outside the vocabulary of 10"),
        ("train/a/00000.ds", [1, 2, 3, 3, EOS], "document 0 does not end with the end-of-text token '<e>'"),
        ("train/a/00000.ds", [1, 2, EOS], "6 bytes, but manifest.json promises 5 tokens"),
        ("train/a/00000.ds", None, "no such file"),
        ("train/a/00000.ds.index", [3, 0, 0, 0], "1 documents, but manifest.json promises 2"),
        ("train/a/00000.ds.index", [5, 0, 0, 0, 5, 0, 0, 0], "do not rise"),
        ("train/a/00000.ds.index", [3, 0, 0, 0, 6, 0, 0, 0], "do not rise"),
        ("train/a/00000.ds.index", [3, 0, 0, 0, 4, 0, 0, 0], "do not rise"),
        ("train/a/00000.ds.index", [3, 0, 0], "truncated"),
        ("train/a/00000.ds.index", None, "no such file"),
        ("tokenizer.json", [1], "tokenizer.json: changed"),
        ("tokenizer.json", None, "tokenizer.json: no such file"),
    ],
)
def test_every_damaged_file_is_named(tmp_path: Path, file: str, content: list[int] | None, message: str) -> None:
    write_tokens(tmp_path, [[1, 2, EOS], [3, EOS]])
    (tmp_path / "valid/a/00000.ds").write_bytes(b"")
    if content is None:
        (tmp_path / file).unlink()
    else:
        (tmp_path / file).write_bytes(np.array(content, dtype="<u2").tobytes())
    with pytest.raises(StageError) as error:
        check(tmp_path)
    assert message in str(error.value) and file in str(error.value)
    assert f"{tmp_path / 'valid/a/00000.ds'}: 0 bytes" in str(error.value)


LARGE = [[n % 9 for n in range(SAMPLES * SAMPLE_BYTES)] + [EOS]]  # two bytes a token: twice what the samples read


def overwrite(path: Path, at: int, content: bytes, keep_time: bool) -> None:
    """Change bytes of a file in place, as a failing disk does, or a careless program."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.parametrize("keep_time", [False, True])
@pytest.mark.parametrize("split", ["train", "valid"])
@pytest.mark.parametrize(
    ("documents", "at", "content"),
    [
        ([[1, 2, EOS], [3, EOS]], 2, b"\x03"),
        (LARGE, 0, bytes(100)),
        (LARGE, 2 * SAMPLES * SAMPLE_BYTES - 100, bytes(100)),
        (LARGE, 300_000, bytes(2 * SAMPLE_BYTES * 2)),
    ],
    ids=["small", "first bytes", "last bytes", "zeros inside"],
)
def test_a_shard_that_changed_is_not_read_from(
    tmp_path: Path, own_cache: Path, documents: list[list[int]], at: int, content: bytes, split: str, keep_time: bool
) -> None:
    tokens = write_tokens(tmp_path / "t", documents)
    if split == "train":  # else the change is there before the folder is read for the first time
        verify_once(tokens, read_tokens_manifest(tokens))
    overwrite(tokens / split / "a/00000.ds", at, content, keep_time)
    for _ in range(2):  # what failed once is not trusted the next time
        with pytest.raises(InputError, match=rf"{split}/a/00000\.ds: changed since.*proxymix tokenize"):
            verify_once(tokens, read_tokens_manifest(tokens))


def test_all_bytes_are_hashed_once_and_again_only_where_a_file_is_another(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    monkeypatch.setattr(verified_once, "sha256", lambda path: hashed.append(path.name) or sha256(path))
    tokens = write_tokens(tmp_path / "t", [[1, 2, EOS], [3, EOS]], shard_tokens=3)
    for _ in range(3):
        verify_once(tokens, read_tokens_manifest(tokens))
    assert sorted(hashed) == ["00000.ds"] * 2 + ["00001.ds"] * 2
    os.utime(tokens / "train/a/00001.ds")
    verify_once(tokens, read_tokens_manifest(tokens))
    assert hashed[4:] == ["00001.ds"]
    for record in (own_cache / "proxymix/verified").iterdir():
        record.write_text("[1")
    verify_once(tokens, read_tokens_manifest(tokens))
    assert len(hashed) == 9


def test_folders_that_are_gone_are_forgotten(tmp_path: Path, own_cache: Path) -> None:
    for name in ("one", "two", "three"):
        tokens = write_tokens(tmp_path / name, [[1, EOS]])
        verify_once(tokens, read_tokens_manifest(tokens))
        if name != "two":
            shutil.rmtree(tokens)
    assert len(list((own_cache / "proxymix/verified").iterdir())) == 2  # of two and three: one was gone before


def test_without_a_place_to_remember_shards_are_verified_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    tokens = write_tokens(tmp_path / "t", [[1, EOS]])
    verify_once(tokens, read_tokens_manifest(tokens))
    overwrite(tokens / "train/a/00000.ds", 0, b"\x02", keep_time=True)
    with pytest.raises(InputError, match="changed since"):
        verify_once(tokens, read_tokens_manifest(tokens))


def test_training_does_not_begin_on_a_changed_shard(tmp_path: Path, own_cache: Path) -> None:
    from proxy_training.runs.settings import TrainSettings
    from proxy_training.runs.token_data import TokenData

    tokens = write_tokens(tmp_path / "t", [[1, 2, 3, 4, 5, EOS]])
    settings = TrainSettings(model="50k", sequence_length=2, tokens=16, batch_size=1, valid_tokens=2)
    TokenData.open(tokens, settings)
    overwrite(tokens / "train/a/00000.ds", 0, bytes(4), keep_time=False)
    with pytest.raises(InputError, match=r"train/a/00000\.ds: changed since"):
        TokenData.open(tokens, settings)


def test_a_folder_without_a_manifest_is_no_tokens(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"manifest\.json: no such file.*run `proxymix tokenize`"):
        check(tmp_path)


def test_a_shard_is_mapped_and_not_read(tmp_path: Path) -> None:
    write_tokens(tmp_path, [[1, EOS]])
    assert isinstance(map_shard(tmp_path, Shard("train/a/00000.ds", 2, 1, 2, ""), "uint16"), np.memmap)


def broken_manifests(content: dict) -> Iterator[str]:
    """A manifest with each of its values left out, or replaced by something of another kind."""
    places = [[]]
    for place in places:
        value = at(content, place)
        keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
        places += [[*place, key] for key in keys]
    for place in places[1:]:
        for wrong in ("left out", None, [], {}, "x", -1, 1.5, True, [[1]], "../x", 10**30):
            copy = json.loads(json.dumps(content))
            holder = at(copy, place[:-1])
            if wrong == "left out":
                del holder[place[-1]]
            else:
                holder[place[-1]] = wrong
            yield json.dumps(copy)


def at(value: Any, place: list) -> Any:
    for key in place:
        value = value[key]
    return value


def test_a_manifest_of_any_other_shape_is_refused_or_fits_the_files(tmp_path: Path, own_cache: Path) -> None:
    from proxy_training.runs.settings import TrainSettings
    from proxy_training.runs.token_data import TokenData

    tokens = write_tokens(tmp_path / "t", [[1, 2, 3, EOS]])
    settings = TrainSettings(model="50k", sequence_length=2, tokens=16, batch_size=1, valid_tokens=2)
    good = json.loads((tokens / "manifest.json").read_text())
    refused = []
    for text in broken_manifests(good):
        (tokens / "manifest.json").write_text(text)
        for read in (
            lambda: check(tokens),
            lambda: TokenData.open(tokens, settings),
            lambda: count(tokens, tmp_path / "d"),
        ):
            try:
                read()
            except (InputError, StageError) as error:
                refused.append(str(error))
    assert len(refused) > 300
    assert all(str(tokens) in message for message in refused)
