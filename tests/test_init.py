"""`proxymix init` looks at a corpus and writes a YAML that `proxymix run` takes."""

import gzip
import json

import pytest

from proxymix.app.cli import main
from proxymix.app.config import Config, study_settings
from proxymix.app.parser import Parser


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    """web: 1000 documents, law: 100 of them compressed, with a validation file; named so that YAML would mistake it."""
    folder = tmp_path / "my: data"
    for split, name, count in (("train", "web_0", 1000), ("train", "law_0", 100), ("valid", "law", 10)):
        path = folder / split / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        text = "".join(json.dumps({"text": f"{number} words to read " * 9}) + "\n" for number in range(count))
        if name == "law_0":
            path.with_name("law_0.jsonl.gz").write_bytes(gzip.compress(text.encode()))
        else:
            path.write_text(text)
    monkeypatch.chdir(tmp_path)
    return folder


def test_what_it_writes_is_a_configuration_that_runs(corpus, tmp_path, capsys):
    assert main(["init", "my: data", "--out", "s.yaml", "--study", "studies/a b"]) == 0
    config = Config.read(tmp_path / "s.yaml")
    assert config["corpus.path"] == corpus and config["study"] == "studies/a b" and config["budget"] is None
    parser = Parser("proxymix run", "")
    parser.add(study_settings())
    parser.fill(config, "s.yaml")
    capsys.readouterr()
    assert main(["run", "--config", "s.yaml", "--dry_run"]) == 0
    assert "32 by sweep" in capsys.readouterr().err


def test_it_shows_the_domains_by_size_and_which_have_no_validation_text(corpus, tmp_path, capsys):
    main(["init", str(corpus)])
    web, law = capsys.readouterr().out.splitlines()[1:]
    assert web.split()[0] == "web" and "validation is split" in web
    assert law.split()[0] == "law" and "validation is split" not in law
    megabytes = [float(line.split()[1]) for line in (web, law)]
    assert megabytes[0] == pytest.approx(0.161, rel=0.05) and megabytes[1] == pytest.approx(0.0152, rel=0.1)


def test_a_budget_is_written_as_given(corpus, tmp_path):
    main(["init", str(corpus), "--budget", "25B", "--out", "s.yaml"])
    assert Config.read(tmp_path / "s.yaml")["budget"] == 25_000_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "CORPUS is missing"), (["nowhere"], "nowhere"), (["my: data", "--out", "there.yaml"], "there.yaml: exists")],
)
def test_what_is_wrong_is_named_and_nothing_is_overwritten(corpus, tmp_path, capsys, arguments, message):
    (tmp_path / "there.yaml").write_text("mine")
    assert main(["init", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert (tmp_path / "there.yaml").read_text() == "mine" and len(list(tmp_path.iterdir())) == 2


def test_one_domain_leaves_nothing_to_choose(corpus, capsys):
    (corpus / "train" / "law_0.jsonl.gz").unlink()
    (corpus / "valid" / "law.jsonl").unlink()
    assert main(["init", str(corpus)]) == 2 and "web" in capsys.readouterr().err
