"""Flags, YAML and their errors: what a user gets wrong is named, with the next step, and no traceback."""

import errno
import os
import shlex
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import pytest

from proxymix.app import cli
from proxymix.app.cli import main
from proxymix.app.config import study_settings
from proxymix.app.help import EXAMPLES, grouped, grouped_study
from proxymix.app.parameters import Parameter, build_arguments, parameters
from proxymix.app.parser import Parser
from proxymix.app.stages import STAGES, stage_named
from proxymix.errors import InputError
from proxymix.progress import Bar


@dataclass(frozen=True)
class TrainSettings:
    """How.

    Args:
        model: Which model.
        tokens: How many tokens.
    """

    model: str = "1m"
    tokens: int = 100


@dataclass(frozen=True)
class Sauce:
    """What goes over the eggs.

    Args:
        cream: Spoons of cream.
        herbs: How much of each.
    """

    FLAT: ClassVar[bool] = True
    cream: int = 1
    herbs: dict[str, float] | None = None


def cook(
    pot: Path,
    train: TrainSettings,
    eggs: int = 5,
    names: list[str] | None = None,
    boil: bool = False,
    kind: Literal["soft", "hard"] = "soft",
    objective: str | dict[str, float] = "mean",
    budget: int | None = None,
    spices: dict[str, float] | None = None,
    sides: dict[str, list[str]] | None = None,
    size: Literal["small", "large"] | None = None,
    heat: int | Literal["auto"] = "auto",
    seed: int = 0,
    workers: int | None = None,
    sauce: Sauce = Sauce(cream=2),
) -> None:
    """Cook eggs.

    Args:
        pot: The pot, filled to 100%.
        train: The proxies.
        eggs: Eggs to cook.
        names: Their names.
        boil: Whether to boil.
        kind: How they should be.
        objective: What is wanted.
        budget: Tokens.
        spices: How much of each.
        sides: What goes with what.
        size: Of the eggs.
        heat: Of the stove.
        seed: Of the draws.
        workers: Cooks.
        sauce: The sauce.
    """


def parse(*arguments: str, filled: dict | None = None) -> dict:
    parser = Parser("cook", cook.__doc__, old={"number": "eggs", "train.size": "train.model", "milk": "cream"})
    parser.add(parameters(cook))
    parser.fill(filled or {}, "kitchen.yaml")
    return build_arguments(cook, parser.parse(arguments))


def test_a_flag_beats_the_file_which_beats_the_default():
    values = parse("--pot", "p", "--eggs", "8", filled={"eggs": 7, "train.tokens": 9})
    assert (values["eggs"], values["train"], values["kind"]) == (8, TrainSettings(tokens=9), "soft")


def test_every_type_of_flag_is_understood():
    values = parse("--pot", "p", "--names", "a", "b", "--boil", "--objective", "{law: 1}", "--budget", "25e9")
    assert values["names"] == ["a", "b"] and values["boil"] is True
    assert values["objective"] == {"law": 1.0} and values["budget"] == 25_000_000_000


def test_the_fields_of_a_flat_dataclass_are_flags_of_their_own():
    assert parse("--pot", "p")["sauce"] == Sauce(cream=2)  # as the signature of cook says
    values = parse("--pot", "p", "--herbs.dill", "1.5", filled={"cream": 4})
    assert values["sauce"] == Sauce(cream=4, herbs={"dill": 1.5})


@pytest.mark.parametrize(
    "written",
    [
        "25e9",
        "25_000_000_000",
        "25000000000",
        25e9,
        "2.5E10",
        "25B",
        "25b",
        "25_000M",
        "0.025T",
        "25 G",
        25_000_000_000.0,
    ],
)
def test_a_whole_number_may_be_written_in_several_ways(written):
    values = parse("--pot", "p", filled={"budget": written})
    assert values["budget"] == 25_000_000_000 and type(values["budget"]) is int
    assert parse("--pot", "p", f"--budget={written}")["budget"] == 25_000_000_000


def test_a_setting_is_still_read_under_its_old_name_with_one_note(capsys):
    values = parse("--pot", "p", "--train.size=3m", "--milk", "3", filled={"number": 7})
    assert (values["eggs"], values["train"].model, values["sauce"].cream) == (7, "3m", 3)
    assert parse("--pot", "p", "--number", "8", filled={"number": 7})["eggs"] == 8
    notes = capsys.readouterr().err.splitlines()
    assert len(notes) == 4 and notes[0].startswith("kitchen.yaml: number is called eggs")
    with pytest.raises(InputError, match="number is the old name of eggs, and both are given"):
        parse(filled={"number": 7, "eggs": 7})


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["--save"], True),
        (["--save", "true"], True),
        (["--save=false", "--devices", "2"], False),
        (["--no_save"], False),
        (["--save", "--no_save"], False),
    ],
)
def test_a_switch_is_also_given_as_true_or_false(arguments, value):
    parser = Parser("train", "")
    parser.add(parameters(stage_named("train").load()))
    assert parser.parse(arguments)["save"] is value


def test_a_word_after_a_switch_is_the_argument_without_a_flag():
    def look(at: Path, boil: bool = False) -> None:
        """Look."""

    parser = Parser("look", "Look.")
    parser.add(parameters(look), positional="at")
    for arguments in (["--boil", "pot"], ["pot", "--boil"], ["pot", "--boil", "true"], ["--at", "pot", "--boil"]):
        assert parser.parse(arguments) == {"at": Path("pot"), "boil": True}
    assert parser.parse(["--no_boil", "pot"]) == {"at": Path("pot"), "boil": False}


def test_help_shows_what_can_be_chosen():
    parser = Parser("cook", cook.__doc__)
    parser.add(parameters(cook))
    shown = parser._parser.format_help()
    assert "--kind {soft,hard}" in shown and "--size {small,large}" in shown and "--heat auto|N" in shown
    assert "--boil, --no_boil" in shown


COMMANDS = ["run", *(stage.name for stage in STAGES)]


def settings_and_groups(command: str) -> tuple[dict[str, Parameter], dict[str, list[str]]]:
    if command == "run":
        return study_settings(), grouped_study(study_settings())
    settings = parameters(stage_named(command).load())
    return settings, grouped(stage_named(command), settings)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_holds_every_setting_once_in_a_group(command):
    settings, groups = settings_and_groups(command)
    assert sorted(key for keys in groups.values() for key in keys) == sorted(settings)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_examples_that_its_parser_understands(command):
    settings, groups = settings_and_groups(command)
    for example in EXAMPLES[command]:
        parser = Parser("x", "x")
        parser.add_file_flags(study=command not in ("run", "report"))
        parser.add_switch("dry_run", "x")
        parser.add(settings, "" if command == "run" else stage_named(command).positional, groups)
        program, name, *arguments = shlex.split(example)
        assert (program, name) == ("proxymix", command)
        parser.parse(arguments)


def test_the_help_of_run_begins_with_examples_and_what_matters(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    shown = capsys.readouterr().out
    marks = [
        "\nexamples:\n  proxymix run --config",
        "\nwhat matters first:\n",
        "--budget N",
        "\ntrain: ",
        "--train.warmup",
    ]
    assert [shown.index(mark) for mark in marks] == sorted(shown.index(mark) for mark in marks)


def test_a_mapping_is_given_whole_or_entry_by_entry():
    whole = parse("--pot", "p", "--spices", "{salt: 0.45, chili: 1e-3}", "--sides", "{hard: [rye, 'sour dough']}")
    assert whole["spices"] == {"salt": 0.45, "chili": 0.001} and whole["sides"] == {"hard": ["rye", "sour dough"]}
    entries = parse("--pot", "p", "--spices.salt", "0.45", "--sides.hard", "[rye]", filled={"spices": {"chili": 1}})
    assert entries["spices"] == {"salt": 0.45, "chili": 1.0} and entries["sides"] == {"hard": ["rye"]}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--spices", "{salt: much}"], r"--spices: salt: 'much' is not a number$"),
        (["--spices.chili", "1", "--spices.salt", "much"], r"--spices\.salt: 'much' is not a number$"),
        (["--sides", "{hard: rye}"], r"--sides: hard: 'rye' is not a list \(each text\)$"),
        (["--sides.hard", "rye"], r"--sides\.hard: 'rye' is not a list \(each text\)$"),
        (["--egs", "3"], r"--egs: no such flag; did you mean eggs\?"),
        (["--eggs", "many"], "--eggs: 'many' is not a whole number"),
        (["--eggs", "2.5"], "--eggs: '2.5' is not a whole number"),
        (["--eggs", "2.0005K"], "--eggs: '2.0005K' is not a whole number"),
        (["--eggs", "B"], "--eggs: 'B' is not a whole number"),
        (["--eggs", "25X"], "--eggs: '25X' is not a whole number"),
        (["--kind", "raw"], "--kind: 'raw' is not one of soft, hard"),
        (["--kind", "Sof"], r"--kind: 'Sof' is not one of soft, hard; did you mean soft\?"),
        (["--train.token", "1"], r"did you mean train\.tokens\?"),
        (["--eggs"], "--eggs: a value is missing; a whole number is wanted"),
        (["--eggs", "--boil"], "--eggs: a value is missing"),
        (["--eggs", "3", "4"], "'4' is given without a flag"),
        (["--boil", "perhaps"], "'perhaps' is given without a flag"),
        (["--boil=perhaps"], "--boil: 'perhaps' is not true or false"),
        (["-eggs", "3"], "'-eggs' is given without a flag; did you mean eggs?"),
        (["--seed", "-1"], "cook: --seed: -1 is too low; 0 or more is wanted"),
        (["--workers", "0"], "cook: --workers: 0 is too low; 1 or more is wanted"),
    ],
)
def test_a_wrong_flag_is_named_with_what_it_should_be(arguments, message):
    with pytest.raises(InputError, match=message):
        parse(*arguments)


@pytest.mark.parametrize(
    ("filled", "message"),
    [
        ({"egs": 3}, r"kitchen\.yaml: egs: no such setting; did you mean eggs\? \(value 3\)"),
        ({"eggs": "many"}, r"kitchen\.yaml: eggs: 'many' is not a whole number"),
        ({"objective": {"law": "much"}}, r"kitchen\.yaml: objective: law: 'much' is not a number"),
        ({"train.modell": "1m"}, r"did you mean train\.model\?"),
        ({"seed": -1}, r"kitchen\.yaml: seed: -1 is too low; 0 or more is wanted"),
    ],
)
def test_a_wrong_key_or_value_in_a_file_is_named_with_the_file(filled, message):
    with pytest.raises(InputError, match=message):
        parse(filled=filled)


def proxymix(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "proxymix", *arguments], capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["synthesise"], "did you mean synthesize?"),
        (["status", "nowhere"], "nowhere: no such study"),
        (["run", "--config", "nowhere.yaml"], "nowhere.yaml: no such file"),
        (["synthesize", "--domains", "nowhere.csv", "--out", "x"], "nowhere.csv: no such file"),
        (["synthesize"], "--domains is missing, or --study DIR"),
    ],
)
def test_a_users_mistake_ends_with_status_2_and_one_line(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    done = proxymix(*arguments)
    assert done.returncode == 2 and message in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_an_unknown_key_of_a_study_names_the_nearest_and_makes_no_study(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("synthesize:\n  num_mixture: 64\n")
    status = main(["run", "--config", str(tmp_path / "c.yaml"), "--study", str(tmp_path / "s")])
    message = capsys.readouterr().err
    assert (
        status == 2
        and "c.yaml: synthesize.num_mixture: no such setting; did you mean synthesize.num_mixtures?" in message
    )
    assert not (tmp_path / "s").exists()


def test_help_lists_every_command(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(f"  {name} " in shown for name in ("run", "status", "harvest", "tokenize", "fit", "report", "check"))


@pytest.mark.parametrize(
    ("filled", "message"),
    [
        ({"eggs": None}, "kitchen.yaml: eggs: None is not a whole number"),
        ({"names": {"a": 1}}, "kitchen.yaml: names: {'a': 1} is not a list"),
    ],
)
def test_a_null_or_a_mapping_where_none_can_stand_is_named(filled, message):
    with pytest.raises(InputError, match=message):
        parse("--pot", "p", filled=filled)
    assert parse("--pot", "p", filled={"budget": None})["budget"] is None


def test_help_of_a_command_is_asked_for_before_or_after_it(capsys):
    shown = []
    for arguments in (["help", "fit"], ["fit", "--help"]):
        with pytest.raises(SystemExit):
            main(arguments)
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and "proxymix fit" in shown[0]
    assert main(["help"]) == 0 and "The whole job" in capsys.readouterr().out


def test_the_initials_of_a_setting_lead_to_it():
    parser = Parser("x", "x")
    parser.add(parameters(stage_named("sweep").load()))
    for name in ("--train.lr", "--lr"):
        with pytest.raises(InputError, match=r"did you mean train\.learning_rate\?"):
            parser.parse([name, "1e-3"])


def test_of_a_flag_given_twice_the_wrong_one_that_counts_is_shown():
    with pytest.raises(InputError, match="--eggs: 'ten' is not a whole number"):
        parse("--pot", "p", "--eggs", "3", "--eggs", "ten")


def test_a_shared_setting_in_a_section_is_sent_to_the_top_level(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("synthesize:\n  seed: 3\n")
    assert main(["synthesize", "--config", str(tmp_path / "c.yaml")]) == 2
    assert "synthesize.seed: no such setting; seed stands at the top level" in capsys.readouterr().err


def test_a_file_or_folder_in_the_way_of_the_output_is_named(tmp_path, capsys):
    (tmp_path / "domains.csv").write_text("domain,tokens\na,3\nb,1\n")
    counts = ["baseline", "--counts", str(tmp_path / "domains.csv"), "--out"]
    (tmp_path / "folder").mkdir()
    for place in (tmp_path / "folder", tmp_path / "domains.csv" / "below.yaml"):
        assert main([*counts, str(place)]) == 2
        assert "choose another place for the output" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["domains.csv", "folder"]


def test_a_tilde_where_a_path_begins_is_the_users_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "d.csv").write_text("domain,tokens\na,100\nb,100\n")
    (tmp_path / "s.yaml").write_text("out: ~/sweep\nnum_mixtures: 8\ndomains: ~/d.csv\n")
    monkeypatch.chdir(tmp_path)
    assert main(["synthesize", "--config=~/s.yaml"]) == 0
    assert main(["baseline", "--counts=~/d.csv", "--out=~/h.yaml"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"d.csv", "s.yaml", "sweep", "h.yaml"}
    values = parse("--objective", "~/o.yaml", "--names", "labels:~/l", "web=~/w", "a~b", filled={"pot": "~/p"})
    assert values["pot"] == tmp_path / "p"
    assert values["objective"] == f"{tmp_path}/o.yaml"
    assert values["names"] == [f"labels:{tmp_path}/l", f"web={tmp_path}/w", "a~b"]


@pytest.mark.parametrize("number", sorted(set(errno.errorcode) - {errno.EPIPE}))
def test_every_error_of_the_system_ends_with_a_sentence(tmp_path, monkeypatch, capsys, number):
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main(["status"]) in (1, 2)
    message = capsys.readouterr().err
    assert message.startswith("error: ") and "some/file" in message and ";" in message


@pytest.mark.parametrize("error", [MemoryError(), BrokenProcessPool("died"), OSError("no number")])
def test_out_of_memory_ends_with_a_sentence(monkeypatch, capsys, error):
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(cli, "_dispatch", fail)
    assert main([]) == 1
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize("flag", ["--seed", "--names", "--objective", "--pot", "--spices"])
@pytest.mark.parametrize("text", ["[" * 50_000, "- " * 5_000, "{a: " * 5_000])
def test_brackets_without_end_in_a_flag_end_in_a_sentence(flag, text):
    with pytest.raises(InputError, match=f"{flag}.*within each other"):
        parse(flag, text)


def test_no_time_left_is_said_before_there_is_a_speed_and_a_slow_start_does_not_count(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("proxymix.progress.time.monotonic", lambda: now[0])
    shown: list[str] = []
    bars = [Bar("train proxies", 1000, "steps", show) for show in (None, lambda done, left: shown.append(left))]
    for now[0], steps in ((100.0, 10), (110.0, 90), (121.0, 100), (141.0, 200)):
        for bar in bars:
            bar.advance(steps)
    assert shown == ["", "", "1 min 28 s left", "1 min 3 s left"]
    assert [line.rpartition("steps")[2] for line in capsys.readouterr().err.splitlines()] == [
        "",
        ", 1 min 28 s left",
        ", 1 min 3 s left",
    ]
