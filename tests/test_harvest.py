"""The default corpus is real text of this environment: the same every time, without duplicates, in honest domains."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from data_preparation import harvest as stage
from data_preparation.documents.corpus import corpus_files
from data_preparation.documents.gathering import bytes_to_take
from data_preparation.documents.installed_files import Source, classify, dependencies
from data_preparation.documents.near_duplicates import SeenText
from data_preparation.documents.reading import read_documents
from data_preparation.documents.splitting import document_hash
from data_preparation.documents.text_extraction import documents_in, parts, sections, split_docstrings
from data_preparation.harvest import harvest
from proxymix.errors import InputError

WORDS = "time year people way day man thing woman life child world school state family student group country problem".split()  # noqa: SIM905


def prose(seed: int, length: int = 400) -> str:
    rng = random.Random(seed)
    return " ".join(rng.choice(WORDS) + rng.choice(["", "s", "ly", "ed"]) for _ in range(length))


def test_files_are_sorted_by_their_names() -> None:
    expected = {
        "numpy/linalg/_linalg.py": "python_source",
        "numpy/linalg/tests/test_linalg.py": "python_tests",
        "python/test/support/__init__.py": "python_tests",
        "python/pydoc_data/topics.py": "language_reference",
        "torch/include/ATen/ops/add.h": "c_and_cpp",
        "sklearn/tree/_tree.pyx": "cython",
        "torch/_C/__init__.pyi": "type_stubs",
        "scipy-1.17.dist-info/METADATA": "package_descriptions",
        "scipy-1.17.dist-info/licenses/LICENSE.txt": "licences",
        "scipy-1.17.dist-info/RECORD": None,
        "scipy-1.17.dist-info/sboms/x.json": None,
        "python/LICENSE.txt": "licences",
        "pip/license.py": "python_source",
        "python/test/decimaltestdata/add.decTest": "decimal_arithmetic",
        "torch/lib/libtorch.so": None,
        "py.typed": None,
        "README": None,
    }
    assert {name: classify(name) for name in expected} == expected


def test_docstrings_and_code_are_told_apart() -> None:
    source = '"""Module."""\nimport os\n\n\ndef f():\n    """One.\n\n    Two.\n    """\n    x = "not a docstring"\n    return x\n'
    source += "\nif os.name:\n    class A:\n        'Single.'\n        s = 1\n"
    code, docstrings = split_docstrings(source)
    assert docstrings == "Module.\n\nOne.\n\nTwo.\n\nSingle."
    assert code == (
        'import os\n\n\ndef f():\n    x = "not a docstring"\n    return x\n\nif os.name:\n    class A:\n        s = 1\n'
    )


def test_code_on_a_docstrings_line_is_kept() -> None:
    code, docstrings = split_docstrings('def f(): "Doc."\n\x0c\ndef g():\n    "Doc."; return 1\n')
    assert code == 'def f(): "Doc."\n\x0c\ndef g():\n    "Doc."; return 1\n' and docstrings == "Doc.\n\nDoc."


def test_code_that_does_not_parse_stays_whole() -> None:
    assert split_docstrings("def f(:\n") == ("def f(:\n", "")


def test_a_long_file_becomes_documents_of_whole_lines() -> None:
    text = "".join(f"{n:06d} {'x' * 93}\n" for n in range(1000))  # 101 characters a line
    pieces = parts(text)
    assert "\n".join(pieces) + "\n" == text and [len(piece) for piece in pieces[:2]] == [159 * 101 - 1] * 2
    assert parts("short\n\n") == ["short"]


def test_sections_begin_at_headings_and_lose_nothing() -> None:
    text = "intro\n" + "".join(f"\n## Part {n}\n{'word ' * 500}\n" for n in range(3))
    pieces = sections(text)
    assert len(pieces) == 3 and "\n".join(pieces) == text
    assert [piece.count("## Part") for piece in pieces] == [1, 1, 1]


def test_a_share_of_everything_but_a_minimum_of_what_is_rare() -> None:
    taken = bytes_to_take({"a": 80, "b": 20, "c": 4, "d": 1}, total=40, minimum=5)
    assert taken["d"] == 1 and taken["c"] == 4
    assert taken["a"] + taken["b"] == pytest.approx(35) and taken["a"] / taken["b"] == pytest.approx(4)
    assert bytes_to_take({"a": 10, "b": 3}, total=100, minimum=5) == pytest.approx({"a": 10, "b": 3})
    assert bytes_to_take({"a": 10, "b": 30}, total=5, minimum=5) == pytest.approx({"a": 5, "b": 5})


def test_a_licence_with_another_name_and_year_is_a_near_duplicate() -> None:
    seen = SeenText()
    licence = prose(0)
    assert seen.judge(f"Copyright (c) 2019 Alice\n\n{licence}") == "new"
    assert seen.judge(f"Copyright (c) 2021 The Beautiful Project developers\n\n   {licence.title()}") == "near"
    assert seen.judge(f"Copyright (c) 2022 Alice\n\n{licence}") == "exact"
    assert seen.judge(prose(1)) == "new"


def test_a_document_put_together_from_two_others_is_a_near_duplicate_and_one_half_new_is_not() -> None:
    seen = SeenText()
    first, second = prose(0), prose(1)
    assert [seen.judge(first), seen.judge(second), seen.judge(first + " " + second)] == ["new", "new", "near"]
    assert seen.judge(first + " " + prose(2)) == "new"


def test_chance_takes_almost_nothing_for_seen() -> None:
    seen = SeenText()
    verdicts = [seen.judge(prose(seed)) for seed in range(300)]
    assert verdicts == ["new"] * 300


def test_numbers_make_a_table_new() -> None:
    rng = random.Random(0)
    seen = SeenText()
    tables = ["\n".join(f"{rng.random():.6f},{rng.random():.6f}" for _ in range(200)) for _ in range(10)]
    assert [seen.judge(table) for table in tables] == ["new"] * 10


def test_dependencies_are_those_of_the_package_and_theirs() -> None:
    found = dependencies("proxymix")
    assert {"torch", "numpy", "pyarrow", "packaging"} <= set(found)
    assert not {"proxymix", "pytest", "hypothesis", "ruff", "mypy"} & set(found)
    assert dependencies("no-such-package-at-all") == {}


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python installation of a few files, and no packages."""
    root = tmp_path / "lib"
    for number in range(40):
        text = f'"""{prose(number)}"""\n\n' + "\n".join(
            f"{w} = '{prose(1000 + number, 30)}'  # {n}" for n, w in enumerate(WORDS)
        )
        (root / f"p{number % 4}").mkdir(parents=True, exist_ok=True)
        (root / f"p{number % 4}/m{number}.py").write_text(text)
        (root / f"p{number % 4}/m{number}.h").write_text(prose(2000 + number, 1000))
    (root / "p0/copy.h").write_text((root / "p0/m0.h").read_text())
    (root / "p0/binary.h").write_bytes(b"\xff\xfe\0")
    (root / "site-packages").mkdir()
    (root / "site-packages/other.h").write_text(prose(5, 5000))
    (root / "config-3.11").mkdir()
    (root / "config-3.11/local.h").write_text(f"{root} " * 500)
    monkeypatch.setattr("sysconfig.get_path", lambda _: str(root))
    monkeypatch.setattr(stage, "dependencies", lambda _: {})
    return root


def everything(corpus: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(corpus.glob("*/*.jsonl")) for line in path.read_text().splitlines()]


def test_a_corpus_is_written_in_regmix_layout(
    library: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    harvest(tmp_path / "corpus", megabytes=5, minimum_megabytes=0.2)
    files = corpus_files(tmp_path / "corpus")
    assert set(files["train"]) == set(files["valid"]) == {"python_source", "docstrings", "c_and_cpp"}
    manifest = json.loads((tmp_path / "corpus/manifest.json").read_text())
    assert manifest["domains"]["c_and_cpp"]["left_out"] == {"exact": 1, "not text": 1}
    entry = manifest["domains"]["c_and_cpp"]["train"]
    texts = list(read_documents(tmp_path / "corpus/train/c_and_cpp_0.jsonl"))
    assert entry["documents"] == len(texts) and entry["bytes"] == sum(len(text.encode()) for text in texts)
    valid = list(read_documents(tmp_path / "corpus/valid/c_and_cpp.jsonl"))
    assert len(texts) + len(valid) == 40 and max(map(document_hash, valid)) < min(map(document_hash, texts))
    sources = {document["source"] for document in everything(tmp_path / "corpus")}
    assert all(source.startswith("python/p") for source in sources), "nothing from site-packages or config-*"
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "corpus").rglob("*.json*"))
    assert "c_and_cpp" in capsys.readouterr().err


def test_the_order_in_which_folders_are_listed_does_not_matter(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    harvest(tmp_path / "one", megabytes=0.3, minimum_megabytes=0.1)
    walk = os.walk

    def reversed_walk(root: str):
        for folder, folders, names in walk(root):
            folders.sort(reverse=True)
            yield folder, folders, sorted(names, reverse=True)

    monkeypatch.setattr(os, "walk", reversed_walk)
    harvest(tmp_path / "two", megabytes=0.3, minimum_megabytes=0.1)
    assert {p.name: p.read_bytes() for p in (tmp_path / "one").rglob("*.json*")} == {
        p.name: p.read_bytes() for p in (tmp_path / "two").rglob("*.json*")
    }
    assert len({document["source"].split("/")[1] for document in everything(tmp_path / "one")}) == 4, (
        "every package is there"
    )


def test_a_file_waits_for_all_others_after_its_turn() -> None:
    text = "\n".join(prose(n, 12) for n in range(2000))
    turns = [turn for _, turn, _ in documents_in(Source(Path("x.h"), "x.h", 0, "c_and_cpp"), text)]
    assert turns == sorted(turns) and turns.count(0) == turns.count(1) == 2


def test_an_installation_without_text_says_so(library: Path, tmp_path: Path) -> None:
    for path in library.rglob("*.*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(InputError, match="no text to harvest"):
        harvest(tmp_path / "corpus")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"megabytes": 1, "minimum_megabytes": 2}, "minimum_megabytes is 2"),
        ({"minimum_megabytes": 0}, "minimum_megabytes is 0"),
        ({"valid_fraction": 1.0}, "valid_fraction is 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(tmp_path: Path, settings: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        harvest(tmp_path / "corpus", **settings)


@pytest.mark.slow
def test_this_machine_gives_the_same_corpus_of_many_domains_twice(tmp_path: Path) -> None:
    """Real files, in two processes with other hash seeds."""
    call = "from data_preparation.harvest import harvest; from pathlib import Path; import sys; "
    call += "harvest(Path(sys.argv[1]), megabytes=1.5, minimum_megabytes=0.15)"
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", call, tmp_path / seed],
            env={**os.environ, "PYTHONHASHSEED": seed},
            stderr=subprocess.DEVNULL,
        )
        for seed in "12"
    ]
    assert [run.wait() for run in runs] == [0, 0]
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / seed).rglob("*.json*")} for seed in "12")
    assert one == two
    files = corpus_files(tmp_path / "1")
    assert len(files["train"]) >= 8 and set(files["train"]) == set(files["valid"])
    texts = [document["text"] for document in everything(tmp_path / "1")]
    assert len(texts) == len(set(texts)) and sum(map(len, texts)) > 1_200_000
