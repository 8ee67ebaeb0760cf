"""A study knows what is done, what is stale, and whose configuration it answers."""

import subprocess
import sys
from pathlib import Path

import pytest

from proxymix.app.config import Config, study_settings
from proxymix.app.stages import RENAMED, Stage, stage_named
from proxymix.app.study import Study
from proxymix.errors import InputError, StageError
from proxymix.files import write_text


def upper(text: Path, out: Path, times: int = 1) -> None:
    write_text(out, text.read_text().upper() * times)


STAGE = Stage(
    "upper", "x:upper", "text -> TEXT", files={"text": "text.txt", "out": "out.txt"}, writes=("out",), section="upper"
)


@pytest.fixture
def study(tmp_path):
    write_text(tmp_path / "text.txt", "abc")
    return Study(tmp_path)


def call(study: Study, times: int = 1) -> dict:
    return {**study.paths(STAGE, {}), "times": times}


def test_a_stage_is_missing_then_done(study):
    assert study.state(STAGE, call(study)) == "missing"
    study.perform(STAGE, upper, call(study))
    assert study.state(STAGE, call(study)) == "done"


def test_a_stage_is_stale_when_its_input_its_setting_or_its_output_changed(study):
    study.perform(STAGE, upper, call(study))
    assert study.state(STAGE, call(study, times=2)) == "stale"
    write_text(study.path / "text.txt", "abd")
    assert study.state(STAGE, call(study)) == "stale"
    study.perform(STAGE, upper, call(study))
    (study.path / "out.txt").unlink()
    assert study.state(STAGE, call(study)) == "stale"


def test_a_stage_that_fails_is_not_done_though_an_older_result_lies_there(study):
    study.perform(STAGE, upper, call(study))

    def broken(text: Path, out: Path, times: int = 1) -> None:
        raise StageError("disk full")

    with pytest.raises(StageError):
        study.perform(STAGE, broken, call(study))
    assert study.state(STAGE, call(study)) == "missing"


def test_how_many_workers_did_the_work_does_not_make_it_stale(study):
    study.perform(
        STAGE, lambda **_: upper(study.path / "text.txt", study.path / "out.txt"), {**call(study), "workers": 2}
    )
    assert study.state(STAGE, {**call(study), "workers": 8}) == "done"


def test_a_setting_that_got_another_name_does_not_make_its_stage_stale(study, monkeypatch):
    study.perform(STAGE, upper, call(study))
    record = study.path / "stages" / "upper.json"
    record.write_text(record.read_text().replace('"times"', '"repeats"'))
    assert study.state(STAGE, call(study)) == "stale"
    monkeypatch.setitem(RENAMED, "upper", {"repeats": "times"})
    assert study.state(STAGE, call(study)) == "done"


def test_a_file_that_a_stage_can_do_without_is_left_out_where_it_is_not_there(study):
    fit = stage_named("fit")
    assert "proxies" not in study.call(fit, Config.defaults())
    (study.path / "proxies").mkdir()
    assert study.call(fit, Config.defaults())["proxies"] == study.path / "proxies"


def test_a_regression_over_several_rounds_reads_the_tables_of_all_runs(study):
    (study.path / "rounds" / "proxies").mkdir(parents=True)
    once, twice = (study.paths(stage_named("fit"), {"rounds.num_rounds": num}) for num in (1, 2))
    assert once["mixtures"] == study.path / "mixtures.csv" and "further_proxies" not in once
    assert twice["mixtures"] == study.path / "rounds" / "mixtures.csv"
    assert twice["further_proxies"] == study.path / "rounds" / "proxies"


def test_an_output_sent_elsewhere_does_not_count_as_the_studys(study, tmp_path):
    study.perform(STAGE, upper, {**call(study), "out": tmp_path / "elsewhere.txt"})
    assert study.state(STAGE, call(study)) == "missing"


def test_a_folder_is_what_its_files_hold_apart_from_clocks(study):
    folder = study.path / "proxies" / "n00001"
    write_text(folder / "losses.csv", "1")
    before = study.digest(study.path / "proxies")
    write_text(folder / "wandb" / "debug.log", "12:34")
    write_text(folder / ".cache", "12:34")
    assert study.digest(study.path / "proxies") == before
    write_text(folder / "losses.csv", "2")
    assert study.digest(study.path / "proxies") != before


def test_a_large_file_changed_in_place_is_noticed_despite_the_kept_hash(study):
    path = study.path / "big.bin"
    path.write_bytes(bytes(2 << 20))
    before = study.digest(path)
    assert study.digest(path) == before
    with path.open("r+b") as file:
        file.write(b"x")
    assert study.digest(path) != before


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    study = Study(tmp_path / "s")
    study.adopt(Config({"study": "s", "seed": 1, "tokenize.vocab_size": 512, "workers": 1}), update=False)
    study.adopt(Config({"study": "s", "seed": 1, "tokenize.vocab_size": 512, "workers": 4}), update=False)
    with pytest.raises(InputError, match=r"tokenize\.vocab_size: 512 there, 1024 now.*--update"):
        study.adopt(Config({"study": "s", "seed": 1, "tokenize.vocab_size": 1024}), update=False)
    study.adopt(Config({"study": "s", "seed": 1, "tokenize.vocab_size": 1024}), update=True)
    assert study.config()["tokenize.vocab_size"] == 1024


def test_a_folder_of_other_things_is_not_taken_for_a_study(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds thesis\.tex but no study\.yaml"):
        Study(tmp_path).adopt(Config({"seed": 1}), update=False)


def test_two_processes_cannot_work_on_one_study(tmp_path):
    code = (
        "import sys, pathlib\nfrom proxymix.app.study import Study\n"
        "with Study(pathlib.Path(sys.argv[1])).locked():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StageError, match=rf"process {other.pid}\) works on this study"), Study(tmp_path).locked():
            pass
        other.kill()
    with Study(tmp_path).locked():  # a killed holder holds nothing
        pass


def test_dotted_keys_and_sections_are_the_same_configuration():
    config = Config({"seed": 1, "train.model": "1m", "objective": {"law": 1.0}})
    assert config.sections() == {"seed": 1, "train": {"model": "1m"}, "objective": {"law": 1.0}}
    assert Config.from_sections(config.sections(), "x.yaml") == config
    with pytest.raises(InputError, match="train: '1m' where a section"):
        Config.from_sections({"train": "1m"}, "x.yaml")


def test_every_setting_of_a_study_has_one_place():
    known = study_settings()
    assert {"study", "seed", "budget", "objective", "corpus.path", "train.model", "synthesize.num_mixtures"} <= set(
        known
    )
    assert not [key for key in known if key.rpartition(".")[2] in ("out", "seed", "budget") and "." in key]


@pytest.mark.parametrize(("tokens", "budget"), [((9_000_000, 1_367_888), 5_000_000), ((700, 1), 300), ((1, 0), 1)])
def test_a_study_without_a_budget_takes_half_of_its_tokens_as_a_round_number(tmp_path, tokens, budget):
    study = Study(tmp_path)
    assert study.with_budget(Config({"budget": None})) == {"budget": None}  # before anything is counted
    write_text(tmp_path / "domains.csv", f"domain,tokens\na,{tokens[0]}\nb,{tokens[1]}\n")
    assert study.with_budget(Config({"budget": None})) == {"budget": budget}
    assert study.with_budget(Config({"budget": 7})) == {"budget": 7}
