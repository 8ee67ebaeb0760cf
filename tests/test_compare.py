"""`proxymix compare` shows two studies or two mixtures side by side."""

import shutil

import pytest

from mixture_config.files.mixture import Mixture
from proxymix.app.cli import main


@pytest.fixture
def mixtures(tmp_path):
    Mixture({"web": 0.5, "code": 0.5}, {}).write(tmp_path / "a.yaml")
    Mixture({"web": 0.25, "law": 0.75}, {}).write(tmp_path / "b.yaml")
    return tmp_path


def rows(text: str) -> dict[str, list[str]]:
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}


def test_two_mixtures_are_shown_by_how_far_their_weights_are_apart(mixtures, capsys):
    assert main(["compare", str(mixtures / "a.yaml"), str(mixtures / "b.yaml")]) == 0
    shown = capsys.readouterr().out
    found = rows(shown)
    assert [name for name in found if name in ("web", "code", "law")] == ["law", "code", "web"]
    assert found["web"] == ["0.5000", "0.2500", "-0.2500"] and found["law"] == ["-", "0.7500", "+0.7500"]
    assert "75.0% of the tokens" in shown


def test_two_studies_are_shown_with_what_differs_and_what_was_measured(finished_study, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(finished_study, other)
    (other / "study.yaml").write_text((other / "study.yaml").read_text().replace("seed: 0", "seed: 7"))
    assert main(["compare", str(finished_study), str(other)]) == 0
    shown = capsys.readouterr().out
    found = rows(shown)
    assert found["seed"] == ["0", "7"] and "budget" not in found
    assert found["prior"][0].startswith(("-", "+")) and "0.0% of the tokens" in shown


def test_a_study_beside_a_mixture_stands_for_its_proposal(finished_study, capsys):
    proposal = finished_study / "optimal_mixture.yaml"
    assert main(["compare", str(finished_study), str(proposal)]) == 0
    assert "0.0% of the tokens" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["a.yaml"], ["a.yaml", "nowhere"], ["a.yaml", "."], ["a.yaml", "--b"]])
def test_what_cannot_be_compared_is_named(mixtures, monkeypatch, capsys, arguments):
    monkeypatch.chdir(mixtures)
    assert main(["compare", *arguments]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_a_study_without_a_proposal_is_said_to_have_none(mixtures, capsys):
    (mixtures / "s" / "stages").mkdir(parents=True)
    assert main(["compare", str(mixtures / "s"), str(mixtures / "a.yaml")]) == 2
    assert f"proxymix run --study {mixtures / 's'}" in capsys.readouterr().err
