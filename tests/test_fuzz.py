"""Every JSON and YAML that is read, with a part of it dropped or of another kind: a sentence or a result, never a traceback.

Hashes that a file holds of itself are made right again, so that its structure is what is read. By default a sample of the
changes is tried. All of them:

    PROXYMIX_TEST_ALL_FAULTS=1 python -m pytest tests/test_fuzz.py
"""

import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from forked import here
from tiny_study import contents

from mixture_config.export import export, read_export
from mixture_config.files.mixture_table import MixtureTable
from mixture_config.files.olmix_files import read_mixes
from mixture_config.formats.registry import FORMATS
from proxy_training.runs.planned_runs import planned_runs
from proxy_training.runs.sealed import read_sealed, write_sealed
from proxymix.app.stage_record import record_hash
from proxymix.errors import InputError

ALL = "PROXYMIX_TEST_ALL_FAULTS" in os.environ
pytestmark = pytest.mark.timeout(300)  # A reader that never ends is named before the whole suite is stopped.
OTHERS: tuple[Any, ...] = (
    None, True, -1, 10**400, 1e308, float("nan"), float("inf"), "text", "", "../../x", [], [1], [[None]], {}, {"a": 1}, {"a": {}},
)  # fmt: skip
TEXTS: tuple[Callable[[str], str], ...] = (
    lambda text: text + text,  # each key twice
    lambda text: text.replace("\n", "\n\n"),
    lambda text: text.replace(":", ": [", 3),
    lambda text: text.replace(":", ": &a [*a]", 1),
    lambda text: "[" * 3_000 + text,
    lambda text: '{"a": ' * 3_000 + text,
    lambda text: "\ufeff" + text,
    lambda text: text.replace("0", "NaN", 1),
    lambda text: text.replace("1", "1" * 6_000, 1),
    lambda text: "",
)


def changes(content: Any) -> Iterator[Any]:
    """A value with every part of it dropped, or of another kind, one after another; of a list, its first part."""
    yield from OTHERS
    if isinstance(content, dict):
        for key, value in content.items():
            yield {other: content[other] for other in content if other != key}
            yield {("other" if other == key else other): content[other] for other in content}
            yield from ({**content, key: part} for part in changes(value))
    elif isinstance(content, list) and content:
        yield content[1:]
        yield [*content, content[0]]
        yield from ([part, *content[1:]] for part in changes(content[0]))


def written(path: Path, value: Any) -> str:
    """A value as the text of a file of this ending."""
    if path.suffix == ".json":
        return json.dumps(value, indent=2)
    return yaml.safe_dump(value, sort_keys=False)


def fuzzed(path: Path, content: Any, most: int, write: Callable[[Any], object] | None = None) -> Iterator[str]:
    """Write changed contents to a file, one after another, and give what is changed."""
    found = list(changes(content))
    if not ALL:
        found = random.Random(path.name).sample(found, min(most, len(found)))
    for number, value in enumerate(found):
        if write is not None and isinstance(value, dict):
            write(value)
        else:
            path.write_text(written(path, value))
        yield f"change {number}: {path.read_text()[:300]}"
    whole = written(path, content)
    for number, text in enumerate(TEXTS if ALL or most >= 20 else TEXTS[::3]):
        path.write_text(text(whole))
        yield f"text {number}: {path.read_text()[:300]}"


def tried(*arguments: object, what: str) -> int:
    """The exit status of a command, which must end well or with one sentence."""
    ended = here(*arguments)
    if ended.status:
        try:
            ended.check_sentence()
        except AssertionError as error:
            raise AssertionError(f"{what}\n{error}") from None
    return ended.status


@pytest.fixture(scope="module")
def study(trained_study, tmp_path_factory) -> Path:
    """A copy whose files are changed and put right again."""
    return shutil.copytree(trained_study, tmp_path_factory.mktemp("fuzz") / "study")


@pytest.fixture(autouse=True)
def whole(study, trained_study) -> Iterator[None]:
    """The study is whole before every test."""
    shutil.rmtree(study)
    shutil.copytree(trained_study, study)
    yield


def test_the_manifest_of_tokens(study, tmp_path):
    path = study / "tokens" / "manifest.json"
    for what in fuzzed(path, json.loads(path.read_text()), 20):
        tried("check", study / "tokens", what=what)
        tried("count", "--tokens", study / "tokens", "--out", tmp_path / "domains.csv", what=what)
        assert tried("status", study, what=what) == 0, what


@pytest.mark.parametrize("has_copy", [True, False])
def test_the_settings_of_a_study(study, has_copy):
    path = study / "study.yaml"
    content = yaml.safe_load(path.read_text())
    if not has_copy:
        (study / "stages" / "study.yaml").unlink()
    for what in fuzzed(path, content, 12):
        tried("status", study, what=what)
        tried("run", "--study", study, "--dry_run", what=what)
        tried("run", "--config", path, "--study", study.parent / "new", "--dry_run", what=what)


def test_the_copy_of_the_settings_of_a_study(study):
    path = study / "stages" / "study.yaml"
    for what in fuzzed(path, read_sealed(path), 4, lambda value: write_sealed(path, value)):
        assert tried("status", study, what=what) == 0, what
        tried("check", study, what=what)
        tried("run", "--study", study, "--dry_run", what=what)


@pytest.mark.parametrize("stage", ["tokenize", "sweep", "fit", "report"])
def test_the_record_of_a_stage(study, stage):
    path = study / "stages" / f"{stage}.json"
    content = json.loads(path.read_text())
    del content["sha256"]

    def seal(value: dict[str, Any]) -> None:
        path.write_text(json.dumps(value | {"sha256": record_hash(value)}))

    for what in fuzzed(path, content, 5, seal):
        assert tried("status", study, what=what) == 0, what
        tried("check", study, what=what)
        tried("run", "--study", study, "--dry_run", what=what)


def test_what_is_kept_of_the_hashes_of_files(study, monkeypatch):
    path = study / ".digests.json"
    for what in fuzzed(path, json.loads(path.read_text()), 20):
        assert tried("status", study, what=what) == 0, what


def test_a_fit(study, tmp_path):
    path = study / "regression" / "fit.json"
    for what in fuzzed(path, json.loads(path.read_text()), 20):
        flags = ["--fit", path.parent, "--mixtures", study / "mixtures.csv", "--out", tmp_path / "predictions.csv"]
        tried("predict", *flags, what=what)


@pytest.mark.parametrize("name", ["optimal_mixture.yaml", "confirmation.yaml", "heuristic_mixture.yaml"])
def test_what_a_report_is_made_of(study, tmp_path, name):
    shutil.rmtree(study / "stages")  # The records know the hashes of these files.
    path = study / name
    for what in fuzzed(path, yaml.safe_load(path.read_text()), 4):
        tried("report", "--study", study, "--out", tmp_path / "report", what=what)


@pytest.mark.parametrize("name", ["optimal_mixture.yaml", "heuristic_mixture.yaml", "mixtures/n00002.yaml"])
def test_a_mixture(study, tmp_path, name):
    path = study / name
    for what in fuzzed(path, yaml.safe_load(path.read_text()), 12):
        for to in ("litgpt", "olmo_core"):
            tried("export", "--mixture", path, "--to", to, "--budget", 8000, "--out", tmp_path / "export", what=what)
        tried("export", "--mixture", path, "--to", "regmix", "--domains", study / "domains.csv", what=what)
        for read in (lambda: planned_runs(path, 0), lambda: MixtureTable.read(path)):
            read_or_refused(read, path)


def read_or_refused(read: Callable[[], object], path: Path) -> None:
    """AssertionError: a reader ends with another error than one that names the file."""
    try:
        read()
    except InputError as error:
        assert path.name in str(error)


def test_a_folder_of_mixtures_and_a_heuristic_in_a_proposal(study, tmp_path):
    mixture, heuristic = study / "mixtures" / "n00002.yaml", study / "heuristic_mixture.yaml"
    for what in fuzzed(mixture, yaml.safe_load(mixture.read_text()), 8):
        tried(
            "predict",
            "--fit",
            study / "regression",
            "--mixtures",
            mixture.parent,
            "--out",
            tmp_path / "p.csv",
            what=what,
        )
    flags = ["--fit", study / "regression", "--heuristic", heuristic, "--out", tmp_path / "optimal_mixture.yaml"]
    for what in fuzzed(heuristic, yaml.safe_load(heuristic.read_text()), 4):
        tried("propose", *flags, "--num_candidates", 200, what=what)


OBJECTIVE = {"minimise": {"law": 0.5, "code": 0.5}, "max_increase": {"poems": 0.01}}
LIMITS = {"law": {"min": 0.1, "max": 0.6}, "text": 0.9}
GROUPS = {"text": ["law", "poems"]}


def test_an_objective_in_a_file(study, tmp_path):
    path = tmp_path / "objective.yaml"
    flags = ["--fit", study / "regression", "--objective", path, "--out", tmp_path / "optimal_mixture.yaml"]
    for what in fuzzed(path, OBJECTIVE, 16):
        tried("propose", *flags, "--num_candidates", 200, what=what)


def test_limits_and_groups_in_a_configuration(study, tmp_path):
    path = tmp_path / "settings.yaml"
    settings = {"domains": str(study / "domains.csv"), "num_mixtures": 8, "limits": LIMITS, "groups": GROUPS}
    for what in fuzzed(path, settings, 40):
        tried("synthesize", "--config", path, "--out", tmp_path / "out", what=what)


@pytest.mark.parametrize("to", FORMATS)
def test_an_export_that_is_read_back(study, tmp_path, to):
    path = tmp_path / "export"
    export(study / "optimal_mixture.yaml", to, out=path, domains=study / "domains.csv", budget=8000)
    text = path.read_text()
    lines = text.splitlines()
    rng = random.Random(to)
    for number in range(300 if ALL else 15):
        changed, at = list(lines), rng.randrange(len(lines))
        changed[at] = rng.choice(
            ["", changed[at][: len(changed[at]) // 2], f"{changed[at]}{changed[at]}", "- {", "x: [1"]
        )
        path.write_text("\n".join(changed) if number >= len(TEXTS) else TEXTS[number](text))
        read_or_refused(lambda: read_export(path, to, domains=study / "domains.csv"), path)


def test_paths_of_an_export_and_mixes_of_olmix(study, tmp_path):
    for ending in (".json", ".yaml"):
        path = tmp_path / f"paths{ending}"
        for what in fuzzed(path, {"law": ["a", "b"], "code": {"c": 100, "d": 200}, "poems": "e"}, 25):
            flags = ["--mixture", study / "optimal_mixture.yaml", "--to", "megatron", "--paths", path]
            tried("export", *flags, "--out", tmp_path / "export", what=what)
    path = tmp_path / "mixes.json"
    for _ in fuzzed(path, {"mixes": [{"law": [0.5, 1], "code": [0.5, 1]}, {"law": 1.0}]}, 40):
        read_or_refused(lambda: read_mixes(path), path)


def test_domains_that_were_frozen(study, tmp_path):
    path, table = tmp_path / "frozen.yaml", tmp_path / "mixtures.csv"
    table.write_text("index,train_frozen,train_poems\n1,0.5,0.5\n2,0.25,0.75\n")
    content = {"frozen": "frozen", "members": {"law": 0.5, "code": 0.5}, "domains": ["law", "code", "poems"]}
    for what in fuzzed(path, content, 40):
        tried("expand", "--mixtures", table, "--frozen", path, "--out", tmp_path / "out", what=what)


def test_nothing_of_the_study_was_changed_by_reading_it(study, trained_study):
    here("status", study)
    here("check", study)
    assert contents(study) == contents(trained_study)
