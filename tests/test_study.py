"""A study knows what is done, what is stale, and whose configuration it answers."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings, strategies

from data_preparation.tokenization import tokenize
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import TrainSettings
from proxymix.app.budget import with_budget
from proxymix.app.changes import changes, require_leave
from proxymix.app.cli import main
from proxymix.app.config import Config, study_settings
from proxymix.app.estimate import planned_training
from proxymix.app.stages import RENAMED, Stage, stage_named
from proxymix.app.study import Study
from proxymix.errors import InputError, StageError
from proxymix.files import sha256, write_text, write_yaml
from proxymix.schemas import run_id
from regression.rounds import rounds


def upper(text: Path, out: Path, times: int = 1) -> None:
    write_text(out, text.read_text().upper() * times)


STAGE = Stage(
    "upper",
    f"{__name__}:upper",
    "text -> TEXT",
    files={"text": "text.txt", "out": "out.txt"},
    writes=("out",),
    section="upper",
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


def test_a_stage_that_fails_before_it_changes_anything_forgets_nothing(study):
    study.perform(STAGE, upper, call(study))

    def broken(text: Path, out: Path, times: int = 1) -> None:
        raise StageError("disk full")

    with pytest.raises(StageError):
        study.perform(STAGE, broken, call(study, times=2))
    assert study.state(STAGE, call(study)) == "done" and study.state(STAGE, call(study, times=2)) == "stale"


def test_a_stage_that_fails_midway_is_not_done_whatever_lies_there(study):
    study.perform(STAGE, upper, call(study))

    def broken(text: Path, out: Path, times: int = 1) -> None:
        write_text(out, "half")
        raise StageError("disk full")

    with pytest.raises(StageError):
        study.perform(STAGE, broken, call(study))
    assert study.state(STAGE, call(study)) == "missing"
    write_text(study.path / "out.txt", "ABC")
    assert study.state(STAGE, call(study)) == "missing"


def test_a_stage_that_ends_without_its_result_is_no_success(study):
    def idle(text: Path, out: Path, times: int = 1) -> None:
        pass

    with pytest.raises(StageError, match=r"out\.txt"):
        study.perform(STAGE, idle, call(study))
    assert study.state(STAGE, call(study)) == "missing"


def test_a_sweep_that_ends_without_a_run_is_no_success(study):
    sweep = stage_named("sweep")
    write_text(study.path / "mixtures" / "n00001.yaml", "train: {train_web: 1.0}")

    def idle(mixtures: Path, tokens: Path, out: Path) -> None:
        write_text(out / "run_batches.yaml", "")

    values = {name: study.path / sweep.files[name] for name in ("mixtures", "tokens", "out")}
    with pytest.raises(StageError, match="n00001"):
        study.perform(sweep, idle, values)
    assert not (study.path / "stages" / "sweep.json").exists()


def test_a_table_of_domains_that_cannot_be_read_is_no_wall_for_the_stage_that_writes_it(study):
    write_text(study.path / "domains.csv", "domain")
    assert with_budget(study.path, Config({"budget": None}))["budget"] is None


def test_how_many_workers_did_the_work_does_not_make_it_stale(study):
    study.perform(
        STAGE, lambda **_: upper(study.path / "text.txt", study.path / "out.txt"), {**call(study), "workers": 2}
    )
    assert study.state(STAGE, {**call(study), "workers": 8}) == "done"


def rewrite(record: Path, old: str, new: str) -> None:
    """Change a record as if an older version had written it, which did not seal it."""
    content = json.loads(record.read_text().replace(old, new))
    del content["sha256"]
    record.write_text(json.dumps(content))


def test_records_that_are_damaged_are_no_other_configuration(swept):
    study, config = swept
    for record in study.path.glob("stages/*.json"):
        record.write_text(record.read_text()[:-40])
    assert not changes(study, config).need_leave


def test_a_record_with_a_changed_letter_is_stale(study):
    study.perform(STAGE, upper, call(study))
    record = study.path / "stages" / "upper.json"
    record.write_text(record.read_text().replace('"numpy"', '"numqy"'))
    assert study.state(STAGE, call(study)) == "stale"


def test_a_setting_that_got_another_name_does_not_make_its_stage_stale(study, monkeypatch):
    study.perform(STAGE, upper, call(study, times=3))
    record = study.path / "stages" / "upper.json"
    rewrite(record, '"times"', '"repeats"')
    assert study.state(STAGE, call(study, times=3)) == "stale"
    monkeypatch.setitem(RENAMED, "upper", {"repeats": "times"})
    assert study.state(STAGE, call(study, times=3)) == "done"


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


def test_what_lies_behind_a_linked_folder_counts_and_a_loop_of_links_ends(study, tmp_path):
    real = tmp_path / "elsewhere" / "train"
    write_text(real / "web_0.jsonl", "1")
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    (corpus / "train").symlink_to(real)
    (real / "up").symlink_to(corpus)
    before = study.digest(corpus)
    assert study.digest(corpus) == before
    write_text(real / "web_0.jsonl", "2")
    assert study.digest(corpus) != before


def test_a_folder_without_files_has_no_digest(study):
    (study.path / "empty" / "train").mkdir(parents=True)
    assert study.digest(study.path / "empty") is None


def test_a_link_that_leads_nowhere_counts_as_where_it_leads(study):
    folder = study.path / "folder"
    folder.mkdir()
    (folder / "a").symlink_to("nowhere")
    before = study.digest(folder)
    (folder / "a").unlink()
    (folder / "a").symlink_to("elsewhere")
    assert before is not None and study.digest(folder) != before


@pytest.mark.parametrize("manifest", ["{}", '{"train": {}, "valid": {}}', "no JSON", '{"version": 3}'])
def test_a_corpus_with_a_manifest_of_its_own_is_what_its_files_hold(study, manifest):
    corpus = study.path / "corpus"
    write_text(corpus / "manifest.json", manifest)
    write_text(corpus / "train" / "web_0.jsonl", "1")
    before = study.digest(corpus)
    write_text(corpus / "train" / "web_0.jsonl", "2")
    assert study.digest(corpus) != before


def test_a_large_file_changed_with_its_size_and_time_kept_is_noticed(study):
    path = study.path / "big.bin"
    path.write_bytes(bytes(3 << 20))
    status, before = path.stat(), study.digest(path)
    path.write_bytes(b"x" * (3 << 20))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert study.digest(path) != before


@pytest.mark.parametrize("content", ["[]", "3", "null", "{", "", "\0\0", '{"%s": 3}', '{"%s": [1, 2, 3]}', "[" * 10**5])
def test_kept_hashes_that_cannot_be_read_are_found_again(study, content):
    path = study.path / "big.bin"
    path.write_bytes(bytes(2 << 20))
    digest = study.digest(path)
    (study.path / ".digests.json").write_text(content.replace("%s", str(path)))
    assert study.digest(path) == digest


@pytest.mark.parametrize("damage", ["flip", "cut", "index", "remove", "tokenizer", "manifest"])
def test_damaged_token_shards_are_not_what_they_were(study, tmp_path, damage):
    for split in ("train", "valid"):
        write_text(tmp_path / "c" / split / "web.jsonl", '{"text": "some words to read"}\n' * 9)
    tokens = study.path / "tokens"
    tokenize(tmp_path / "c", tokens, vocab_size=257)
    before = study.digest(tokens)
    assert before == sha256(tokens / "manifest.json")
    shard, index = tokens / "train" / "web" / "00000.ds", tokens / "train" / "web" / "00000.ds.index"
    if damage == "remove":
        shard.unlink()
    else:
        named = {"index": index, "tokenizer": tokens / "tokenizer.json", "manifest": tokens / "manifest.json"}
        path = named.get(damage, shard)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content[:-2] if damage == "cut" else content)
    assert study.digest(tokens) not in (before, None)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "\0",
        '{"settings": 3, "inputs": [], "outputs": "x"}',
        '{"settings": {"a": 3}}',
        "[" * 10**5,
    ],
)
def test_a_record_that_cannot_be_read_makes_its_stage_stale_and_is_written_again(study, content):
    study.perform(STAGE, upper, call(study))
    record = study.path / "stages" / "upper.json"
    whole = record.read_bytes()
    record.write_text(content)
    assert study.state(STAGE, call(study)) == "stale"
    study.perform(STAGE, upper, call(study))
    assert record.read_bytes() == whole


def made_with(study: Study, config: Config) -> None:
    """Let a study's stages up to `count` have run with a configuration, on results of two lines."""
    study.adopt(config)
    for name in ("tokenize", "count"):
        stage = stage_named(name)
        study.perform(stage, lambda out, **_: write_text(out, "domain,tokens\nweb,100\n"), study.call(stage, config))


def test_a_configuration_that_would_replace_results_is_refused_with_what_differs(begun):
    study, config = begun
    other = Config(config | {"tokenize.vocab_size": 512, "workers": 9})
    with pytest.raises(InputError, match=r"tokenize\.vocab_size: 4096 there, 512 now.*--update"):
        require_leave(study, changes(study, other), update=False)
    require_leave(study, changes(study, other), update=True)
    assert not changes(study, Config(config | {"workers": 9})).need_leave


def test_a_configuration_that_touches_nothing_that_has_run_needs_no_leave(begun):
    study, config = begun
    assert not changes(study, Config(config | {"objective": "web", "train.tokens": 10_000})).need_leave


def test_a_folder_of_other_things_is_not_taken_for_a_study(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match=r"holds thesis\.tex but no study\.yaml"):
        Study(tmp_path).adopt(Config({"seed": 1}))


def test_two_processes_cannot_work_on_one_study(tmp_path):
    code = (
        "import sys, pathlib\nfrom proxymix.app.study import Study\n"
        "with Study(pathlib.Path(sys.argv[1])).locked():\n    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StageError, match=rf"process {other.pid}\) works here"), Study(tmp_path).locked():
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
    assert with_budget(study.path, Config({"budget": None}))["budget"] is None  # before anything is counted
    write_text(tmp_path / "domains.csv", f"domain,tokens\na,{tokens[0]}\nb,{tokens[1]}\n")
    assert with_budget(study.path, Config({"budget": None})) == {"budget": budget, "budget_assumed": True}
    assert with_budget(study.path, Config({"budget": 7})) == {"budget": 7, "budget_assumed": False}


def test_the_rounds_never_remove_what_they_read(tmp_path):
    for name in ("mixtures.csv", "losses.csv", "domains.csv"):
        write_text(tmp_path / name, "precious")
    read = {name: tmp_path / f"{name}.csv" for name in ("mixtures", "losses", "domains")}
    with pytest.raises(InputError, match=r"mixtures\.csv"):
        rounds(**read, tokens=tmp_path / "tokens", out=tmp_path, num_rounds=2)
    assert all(path.read_text() == "precious" for path in read.values())


def test_a_path_in_a_study_counts_from_the_working_directory_else_from_the_file_and_is_written_in_full(
    tmp_path, monkeypatch
):
    write_text(tmp_path / "s" / "study.yaml", "corpus: {path: c}")
    (tmp_path / "c").mkdir()
    monkeypatch.chdir(tmp_path)
    assert Config.read(Path("s/study.yaml"))["corpus.path"] == tmp_path / "c"
    (tmp_path / "s" / "c").mkdir()
    assert Config.read(Path("s/study.yaml"))["corpus.path"] == tmp_path / "c", "the working directory comes first"
    monkeypatch.chdir("/")
    assert Config.read(tmp_path / "s" / "study.yaml")["corpus.path"] == tmp_path / "s" / "c"
    study = Study(tmp_path / "new")
    monkeypatch.chdir(tmp_path)
    study.adopt(Config({"corpus.path": Path("c")}).located())
    monkeypatch.chdir("/")
    assert study.config()["corpus.path"] == tmp_path / "c"
    study.adopt(Config({"corpus.path": str(tmp_path / "c")}))


def test_a_setting_that_is_a_file_counts_by_what_the_file_holds(study):
    tokenize = stage_named("tokenize")
    write_text(study.path / "bpe.json", "1")
    values = {"input": study.path / "text.txt", "out": study.path / "tokens", "tokenizer": str(study.path / "bpe.json")}

    def copy(input: Path, out: Path, tokenizer: Path | None = None) -> None:
        write_text(out / "a", "b")

    study.perform(tokenize, copy, values)
    assert study.state(tokenize, values) == "done"
    write_text(study.path / "bpe.json", "2")
    assert study.state(tokenize, values) == "stale"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("corpus: {path: /nowhere}", "/nowhere"),
        ("tokenize: {tokenizer: /nowhere.json}", r"/nowhere\.json"),
        ("objective: lore", "lore"),
        ("propose: {limits: {lore: 0.1}}", "lore"),
        ("propose: {groups: {all: [lore]}}", "lore"),
        ("synthesize: {limits: {lore: 0.1}}", "synthesize: limits: lore"),
        ("synthesize: {include: [priro]}", "priro.*prior"),
        ("fit: {targets: [lore]}", "lore"),
        ("corpus: {counts: /nowhere.csv}", r"corpus\.counts: /nowhere\.csv"),
        ("propose: {limits: {web: {min: 1.5}}}", r"1\.5"),
    ],
)
@pytest.mark.parametrize("flags", [[], ["--dry_run"]])
def test_what_cannot_succeed_is_said_before_anything_is_measured_or_written(
    tmp_path, capsys, monkeypatch, setting, message, flags
):
    for name in ("web", "law"):
        write_text(tmp_path / "c" / "train" / f"{name}_0.jsonl", '{"text": "some words to read"}\n' * 9)
    changed = yaml.safe_load(setting)
    corpus = {"path": str(tmp_path / "c")} | changed.pop("corpus", {})
    config = {"study": str(tmp_path / "s"), "corpus": corpus} | changed
    write_yaml(tmp_path / "config.yaml", config)

    def measured(*arguments: object) -> None:
        raise AssertionError("it was measured first")

    monkeypatch.setattr("proxymix.app.run.say_duration", measured)
    assert main(["run", "--config", str(tmp_path / "config.yaml"), *flags]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (tmp_path / "s").exists()


def test_a_study_that_cannot_be_written_can_be_read_with_its_result_sent_elsewhere(tmp_path, monkeypatch):
    folder = tmp_path / "s"
    write_text(folder / "domains.csv", "domain,tokens\nweb,100\nlaw,50\n")

    def refused(path: Path) -> None:
        raise PermissionError(13, "Read-only file system", str(path))

    monkeypatch.setattr("proxymix.app.study.locked", refused)
    assert main(["baseline", "--study", str(folder), "--out", str(tmp_path / "b.yaml")]) == 0
    assert (tmp_path / "b.yaml").exists() and {path.name for path in folder.iterdir()} == {"domains.csv"}
    assert main(["baseline", "--study", str(folder)]) == 1


def test_a_proposal_sent_elsewhere_leaves_the_studys_own_tables_alone(study):
    propose = stage_named("propose")
    values = {"out": Path("/elsewhere/best.yaml"), "details": study.path / "proposal"}
    assert study.beside(propose, values)["details"] is None
    assert not study.is_touched_by(propose, study.beside(propose, values))
    whole = {"out": study.path / "optimal_mixture.yaml", "details": study.path / "proposal"}
    assert study.beside(propose, whole) == whole and study.is_touched_by(propose, whole)


@pytest.fixture
def begun(tmp_path) -> tuple[Study, Config]:
    """A study whose stages up to `count` have run, on results of two lines."""
    write_text(tmp_path / "c" / "train" / "web_0.jsonl", '{"text": "some words"}\n')
    study, config = Study(tmp_path / "s"), Config(Config.defaults() | {"corpus.path": tmp_path / "c"})
    made_with(study, config)
    return study, config


def faults_of(study: Study, capsys) -> dict[str, dict[str, str]]:
    """What `proxymix check STUDY --json` prints, by file."""
    capsys.readouterr()
    status = main(["check", str(study.path), "--json"])
    found = {fault["file"]: fault for fault in json.loads(capsys.readouterr().out)}
    assert status == (1 if found else 0)
    return found


def test_check_finds_nothing_wrong_with_a_whole_study(begun, capsys):
    assert faults_of(begun[0], capsys) == {}
    assert main(["check", str(begun[0].path)]) == 0
    assert "as it was left" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["domains.csv", "tokens", "study.yaml", "stages/count.json", "stages/study.yaml"])
@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_check_names_each_damaged_file_and_the_command_that_mends_it(begun, capsys, name, damage):
    path = begun[0].path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[:-3] if damage == "cut" else content)
    if damage == "remove":
        path.unlink()
    found = faults_of(begun[0], capsys)
    if damage == "remove" and name.startswith("stages/"):  # not done, which is no damage
        assert not found
    else:
        assert list(found) == [str(path)]
        assert f"proxymix run --study {begun[0].path}" in found[str(path)]["cure"]


def test_check_names_a_study_yaml_and_its_copy_where_both_are_damaged(begun, capsys):
    paths = [begun[0].saved.path, begun[0].saved.copy_path]
    for path in paths:
        path.write_bytes(b"\0\0")
    assert set(map(str, paths)) <= {*faults_of(begun[0], capsys)}


def test_check_of_token_shards_says_the_same_as_json(tmp_path, capsys):
    for split in ("train", "valid"):
        write_text(tmp_path / "c" / split / "web.jsonl", '{"text": "some words to read"}\n' * 9)
    tokenize(tmp_path / "c", tmp_path / "tokens", vocab_size=257)
    capsys.readouterr()
    assert main(["check", str(tmp_path / "tokens"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == []
    shard = tmp_path / "tokens" / "train" / "web" / "00000.ds"
    shard.write_bytes(shard.read_bytes()[:-2])
    assert main(["check", str(tmp_path / "tokens"), "--json"]) == 1
    (fault,) = json.loads(capsys.readouterr().out)
    assert fault["file"] == str(shard) and "tokenize" in fault["cure"]


def test_check_names_the_file_of_a_corpus_that_changed(begun, capsys):
    study, config = begun
    changed = config["corpus.path"] / "train" / "web_0.jsonl"
    write_text(changed, "other words")
    assert list(faults_of(study, capsys)) == [str(config["corpus.path"])]


def test_a_corpus_that_is_not_here_any_more_makes_nothing_stale_and_is_named(begun, capsys):
    study, config = begun
    shutil.rmtree(config["corpus.path"])
    assert study.state(stage_named("tokenize"), study.call(stage_named("tokenize"), config)) == "done"
    assert faults_of(study, capsys) == {}
    main(["status", str(study.path)])
    assert f"not here: {config['corpus.path']}" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.1])
def test_a_study_yaml_that_lost_its_end_is_noticed_and_counts_as_it_was(begun, capsys, keep):
    study, _ = begun
    before, text = study.config(), study.saved.path.read_text()
    study.saved.path.write_text(text[: text.rindex("\n", 0, int(keep * len(text))) + 1])
    capsys.readouterr()
    assert study.config() == before
    assert "study.yaml: lacks" in capsys.readouterr().err
    study.adopt(Config(study.config() | {"study": study.path}))
    assert study.saved.path.read_text() == text


def test_a_study_yaml_that_is_no_yaml_counts_as_its_copy(begun, capsys):
    study, _ = begun
    before = study.config()
    study.saved.path.write_text("{")
    assert study.config() == before and "study.yaml" in capsys.readouterr().err


def test_a_setting_that_there_is_no_more_is_passed_over_with_a_note(tmp_path, capsys):
    write_text(tmp_path / "study.yaml", "fit: {proxies: null, num_folds: 4}\n")
    assert Config.read(tmp_path / "study.yaml") == {"fit.num_folds": 4}
    assert "fit.proxies" in capsys.readouterr().err


def test_a_setting_that_a_record_does_not_know_was_at_its_default(begun):
    study, config = begun
    tokenize = stage_named("tokenize")
    record = study.record_path(tokenize)
    rewrite(record, '"valid_fraction"', '"of_another_version"')
    assert study.state(tokenize, study.call(tokenize, config)) == "done"
    assert study.state(tokenize, study.call(tokenize, Config(config | {"tokenize.valid_fraction": 0.5}))) == "stale"


VALUES = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.integers() | strategies.floats() | strategies.text(),
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(strategies.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(part=strategies.sampled_from(["settings", "inputs", "outputs", "files"]), value=VALUES)
def test_a_record_of_any_shape_is_stale_and_no_error(begun, part, value):
    study, config = begun
    tokenize = stage_named("tokenize")
    record = study.record_path(tokenize)
    content = json.loads(record.read_text()) if not hasattr(study, "whole") else study.whole
    study.whole = content
    content.pop("sha256", None)
    record.write_text(json.dumps(content | {part: value}))
    study.states(config)
    assert not changes(study, config).retrained
    state = study.state(tokenize, study.call(tokenize, config))
    assert state == "stale" or (part in ("files", "settings") and (isinstance(value, dict) or value is None))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_a_record_that_is_something_else_is_stale_and_no_error(begun, value):
    study, config = begun
    tokenize = stage_named("tokenize")
    study.record_path(tokenize).write_text(json.dumps(value))
    assert study.state(tokenize, study.call(tokenize, config)) == "stale"
    assert not changes(study, config).retrained


def test_a_stage_is_stale_where_one_that_it_reads_is(begun):
    study, config = begun
    count = stage_named("count")
    assert study.states(config)["count"] == ("done", "")
    (study.path / "tokens").write_text("damaged")
    assert study.states(config)["tokenize"] == ("stale", "")
    assert study.states(config)["count"][0] == "stale"
    assert study.states(config)["baseline"] == ("missing", "")
    study.perform(count, lambda out, **_: write_text(out, "domain,tokens\nweb,100\n"), study.call(count, config))
    assert study.states(config)["count"] == ("stale", "tokenize")


def write_run(folder: Path, config: Config) -> None:
    """A finished run."""
    train = TrainSettings(**config.section("train"))
    manifest = {"run": folder.name, "seed": config["seed"], "settings": train.identity, "weights": {"web": 1.0}}
    RunFolder(folder).clear()
    RunFolder(folder).write([], ["step"], [("web", 3.0, 1.0, 9)], manifest)


def sweep_of(study: Study, config: Config, num_runs: int = 4) -> None:
    """Give a study its mixtures and as many trained proxies, as the stages leave them."""
    for number in range(1, num_runs + 1):
        write_yaml(study.path / "mixtures" / f"{run_id(number)}.yaml", {"train": {"train_web": 1.0}})
        write_run(study.path / "proxies" / run_id(number), config)
    write_text(study.path / "mixtures.csv", "index,train_web\n1,1.0\n")
    write_text(study.path / "heuristic_mixture.yaml", "train: {train_web: 1.0}\n")
    for name in ("baseline", "synthesize", "sweep"):
        stage = stage_named(name)
        study.perform(stage, lambda **_: None, study.call(stage, config))


@pytest.fixture
def swept(begun) -> tuple[Study, Config]:
    """A study of four trained proxies."""
    study, config = begun
    config = Config(config | {"synthesize.num_mixtures": 4})
    study.adopt(config)
    sweep_of(study, config)
    return study, config


@pytest.mark.parametrize(
    ("changed", "retrained", "added", "to_train"),
    [
        ({}, 0, [], 0),
        ({"synthesize.num_mixtures": 6}, 0, ["synthesize.num_mixtures"], 2),
        ({"confirm.num_seeds": 9, "objective": "web"}, 0, [], 0),
        ({"synthesize.num_mixtures": 3}, 4, [], 3),
        ({"synthesize.temperature": 1.0}, 4, [], 4),
        ({"budget": 99}, 4, [], 4),
        ({"train.tokens": 99_999}, 4, [], 4),
        ({"seed": 7}, 4, [], 4),
        ({"tokenize.valid_fraction": 0.5}, 4, [], 4),
        ({"corpus.multiplier": {"web": 9.0}}, 4, [], 4),
        ({"sweep.save": True, "workers": 3}, 0, [], 0),
    ],
)
def test_what_would_train_finished_runs_again_needs_leave_and_says_their_number(
    swept, changed, retrained, added, to_train
):
    study, config = swept
    other = Config(config | changed)
    found = changes(study, other)
    assert found.num_retrained == retrained and list(found.added) == added
    planned = planned_training(study, other, found)
    assert planned.pop("sweep", 0) == to_train and planned == {"confirm": 5 * other["confirm.num_seeds"]}
    if retrained:
        with pytest.raises(InputError, match=rf"{retrained} finished runs would be trained again.*--update"):
            require_leave(study, found, update=False)
    else:
        require_leave(study, found, update=False)


def test_more_rounds_only_add_and_a_longer_sweep_would_choose_the_rounds_anew(swept):
    study, config = swept
    config = Config(config | {"rounds.num_rounds": 2, "rounds.num_mixtures": 1})
    write_run(study.path / "rounds" / "proxies" / "n00005", config)
    write_text(study.path / "losses.csv", "index\n")
    rounds = stage_named("rounds")
    study.perform(rounds, lambda **_: None, study.call(rounds, config))
    assert changes(study, Config(config | {"rounds.num_rounds": 3})).retrained == {}
    assert changes(study, Config(config | {"synthesize.num_mixtures": 6})).retrained == {"rounds": 1}
    assert changes(study, Config(config | {"objective": "web"})).retrained == {"rounds": 1}


def test_another_corpus_or_tokenizer_would_train_every_run_again(swept, tmp_path):
    study, config = swept
    write_text(tmp_path / "other" / "train" / "web_0.jsonl", '{"text": "other words"}\n')
    write_text(tmp_path / "bpe.json", "{}")
    for changed in (
        {"corpus.path": tmp_path / "other"},
        {"corpus.path": None},
        {"tokenize.tokenizer": tmp_path / "bpe.json"},
    ):
        found = changes(study, Config(config | changed))
        assert found.need_leave and found.num_retrained == 4, changed
    write_text(config["corpus.path"] / "train" / "web_0.jsonl", "more")
    assert "not what it read" in changes(study, config).describe()


def test_a_damaged_run_is_one_to_train_and_needs_no_leave(swept):
    study, config = swept
    write_text(study.path / "proxies" / "n00002" / "losses.csv", "x")
    write_text(study.path / "proxies" / "n00003" / "manifest.yaml", "x")
    found = changes(study, config)
    assert not found.need_leave and planned_training(study, config, found)["sweep"] == 2


def test_a_dry_run_measures_only_when_asked(swept, monkeypatch, capsys):
    study, _ = swept

    def measured(*_: object) -> float:
        raise StageError("it was measured")

    monkeypatch.setattr("proxy_training.launch.train_runs.estimate_seconds", measured)
    flags = ["run", "--study", str(study.path), "--synthesize.num_mixtures", "6", "--dry_run"]
    assert main(flags) == 0
    said = capsys.readouterr().err
    assert "measured" not in said.replace("measures it", "").replace("measured earlier", "")
    assert "27 proxies" in said and "2 by sweep" in said and "ASSUMED" in said
    assert main([*flags, "--calibrate"]) == 0
    assert "it was measured" in capsys.readouterr().err
    assert study.config()["synthesize.num_mixtures"] == 4


def test_a_study_is_continued_by_its_name_or_its_own_yaml(swept, capsys, monkeypatch):
    study, _ = swept
    monkeypatch.chdir(study.path.parent)
    for flags in (["--study", "s"], ["--config", "s/study.yaml"], ["--config", str(study.path / "study.yaml")]):
        assert main(["run", *flags, "--dry_run"]) == 0
        lines = capsys.readouterr().err.splitlines()
        assert any(line.startswith("sweep      done") for line in lines)
    assert not Path("studies").exists()


@pytest.mark.parametrize("flag", ["--corpus.path", "--corpus", "--input"])
def test_a_corpus_is_given_to_run_and_to_tokenize_by_any_of_its_names(tmp_path, capsys, flag):
    for split in ("train", "valid"):
        write_text(tmp_path / "c" / split / "web.jsonl", '{"text": "some words to read"}\n' * 9)
    corpus = [f"{flag}={tmp_path / 'c'}"] if flag == "--corpus" else [flag, str(tmp_path / "c")]
    assert main(["tokenize", *corpus, "--out", str(tmp_path / "tokens"), "--vocab_size", "257"]) == 0
    assert main(["run", *corpus, "--study", str(tmp_path / "s"), "--objective", "lore", "--dry_run"]) == 2
    assert "lore" in capsys.readouterr().err.splitlines()[-1], "the corpus was not looked at"


@pytest.mark.parametrize("command", ["status", "check"])
def test_a_study_is_given_with_or_without_its_flag(begun, capsys, command):
    shown = []
    for arguments in ([str(begun[0].path)], ["--study", str(begun[0].path)], [f"--study={begun[0].path}"]):
        assert main([command, *arguments]) == 0
        shown.append(capsys.readouterr().out)
    assert len(set(shown)) == 1 and "tokenize" in shown[0] if command == "status" else "as it was left" in shown[0]


def test_a_study_that_is_not_there_cannot_be_continued(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["run", "--study", "mien"]) == 2
    assert "mien: no such study" in capsys.readouterr().err and not list(tmp_path.iterdir())
