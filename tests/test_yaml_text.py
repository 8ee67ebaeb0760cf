"""YAML from users: names stay as they are written, and whatever it holds ends in a value or a sentence."""

from pathlib import Path
from typing import Any, Literal

import pytest

from mixture_config.files.mixture import Mixture
from proxymix.app.config import Config, read_stage_settings
from proxymix.app.parser import Parser
from proxymix.app.stages import stage_named
from proxymix.app.value_types import as_written
from proxymix.errors import InputError
from proxymix.files import read_json, read_text, read_yaml
from proxymix.yaml_text import parse_yaml

ODD_NAMES = ("no", "2024", "010", "1.10", "2013_20", "1e5", "on", "12:30:00", "2024-01-01", "~", "null", "0x1f", "inf")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_key_is_the_text_as_written(tmp_path, name):
    (tmp_path / "m.yaml").write_text(f"train: {{{name}: 0.5, web: 0.5}}\n")
    assert [*read_yaml(tmp_path / "m.yaml")["train"]] == [name, "web"]
    if name not in ("~", "12:30:00"):
        assert Mixture.read(tmp_path / "m.yaml").weights == {name: 0.5, "web": 0.5}


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize(
    ("kind", "template", "place"),
    [
        (dict[str, list[str]] | None, "x: {{n: [{0}, web]}}", lambda x: x["n"][0]),
        (list[str], "x: [{0}]", lambda x: x[0]),
        (str, "x: {0}", lambda x: x),
        (Path, "x: {0}", str),
        (dict[str, Any] | str, "x: {{minimise: {0}}}", lambda x: x["minimise"]),
    ],
)
def test_a_value_that_is_a_name_is_the_text_as_written(name, kind, template, place):
    if "minimise" in template and name in ("~", "null"):
        return  # no objective
    text = template.format(name)
    assert place(as_written(kind, parse_yaml(text, "")["x"], parse_yaml(text, "", as_written=True)["x"])) == name


@pytest.mark.parametrize(
    ("kind", "written", "value"),
    [
        (float, "010.5", 10.5),
        (dict[str, float | dict[str, float]], "{no: {max: 1}}", {"no": {"max": 1}}),
        (str | None, "null", None),
        (bool, "no", False),
        (Literal["yes", "no"], "no", "no"),
        (float | Literal["auto"], "2e-4", 2e-4),
    ],
)
def test_a_value_that_is_no_name_has_its_type(kind, written, value):
    found = as_written(
        kind, parse_yaml(f"x: {written}", "")["x"], parse_yaml(f"x: {written}", "", as_written=True)["x"]
    )
    assert found == value
    assert type(found) is type(value)


def test_names_in_the_file_of_a_stage_and_of_a_study_are_as_written(tmp_path):
    groups = {"n": ["no", "2024"], "010": ["1.10"]}
    text = "groups: {n: [no, 2024], 010: [1.10]}\n"
    (tmp_path / "own.yaml").write_text(text)
    (tmp_path / "study.yaml").write_text(f"tokenize: {{tokenizer: 2024}}\npropose: {{{text.strip()}}}\n")
    stage = stage_named("propose")
    assert read_stage_settings(tmp_path / "own.yaml", stage)["groups"] == groups
    assert read_stage_settings(tmp_path / "study.yaml", stage)["groups"] == groups
    config = Config.read(tmp_path / "study.yaml")
    assert config["propose.groups"] == groups
    assert Path(config["tokenize.tokenizer"]).name == "2024"


@pytest.mark.parametrize("name", ["no", "2024", "010", "1.10"])
def test_names_in_flags_are_as_written(name):
    from proxymix.app.parameters import parameters

    parser = Parser("propose", "Propose.")
    parser.add(parameters(stage_named("propose").load()))
    flags = ["--limits", f"{{{name}: {{max: 0.5}}}}", "--groups", f"{{{name}x: [{name}]}}"]
    values = parser.parse([*flags, "--objective", f"{{minimise: {name}}}"])
    assert values["limits"] == {name: {"max": 0.5}}
    assert values["groups"] == {f"{name}x": [name]}
    assert values["objective"] == {"minimise": name}


def test_merge_keys_are_merged_and_what_is_written_wins():
    text = "train: &t {web: 0.5, code: 0.5}\nvalid: {<<: *t, web: 1}\nboth: {<<: [*t, {law: 2}]}\nagain: {<<: *t}\n"
    content = parse_yaml(text, "")
    assert content["valid"] == {"web": 1, "code": 0.5}
    assert content["both"] == {"web": 0.5, "code": 0.5, "law": 2}
    assert content["again"] == content["train"]
    with pytest.raises(InputError, match=r":2: .*'a' is written twice"):
        parse_yaml("x: &x {b: 1}\ny: {<<: *x, a: 1, a: 2}\n", "m.yaml")


def bomb(lists: bool) -> str:
    row = "[{}]" if lists else "{{<<: [{}]}}"
    lines = ["a0: &a0 " + ("[x]" if lists else "{x: 1}")]
    lines += [f"a{i}: &a{i} " + row.format(", ".join([f"*a{i - 1}"] * 9)) for i in range(1, 12)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    "text",
    [
        "train: {{web}: 0.5, code: 0.5}",
        "train: {web: 2024-13-45, code: 0.5}",
        "? [1]\n: 2",
        f"a: {'7' * 5000}",
        f"a: {'[' * 5000}",
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "\n".join(" " * i + "a:" for i in range(3000)),
        "a: &a [*a]",
        "a: *b",
        bomb(lists=True),
        bomb(lists=False),
        "a: !!python/object/apply:os.system [echo]",
        "a: !!int x",
        "a: !!timestamp x",
        "a: !!binary x",
        "a: =",
        "a: b\n---\nc: d\n",
        "a: \x00",
        "a: \ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
    ids=lambda text: text[:20],
)
def test_yaml_that_no_value_can_be_made_of_ends_in_a_sentence(tmp_path, text):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(InputError, match=r"x\.yaml") as caught:
        read_yaml(tmp_path / "x.yaml")
    assert len(str(caught.value)) < 1000 + len(str(tmp_path))


def test_many_values_and_shared_ones_are_no_bomb():
    text = "a: &a [1, 2, 3]\n" + "".join(f"k{i}: *a\n" for i in range(5000)) + "b: [" + "{c: 1}, " * 5000 + "]\n"
    assert len(parse_yaml(text, "")) == 5002


@pytest.mark.parametrize("text", ['{"mixes": ' + "[" * 100_000, '{"a": ' + "7" * 5000 + "}", '{"a": 1,}', "\x00"])
def test_json_that_cannot_be_read_ends_in_a_sentence(tmp_path, text):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json.*not JSON"):
        read_json(tmp_path / "x.json")


def test_a_device_is_no_file_to_read():
    with pytest.raises(InputError, match="/dev/zero: is a device"):
        read_text(Path("/dev/zero"))
