"""What the report reads is whole or refused by name: tables cut short, emptied, of other things, or changed in a digit."""

import re
import shutil

import numpy as np
import pytest
import yaml

from proxymix.errors import InputError
from proxymix.plots.figures import Figure
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.measured import read_losses
from regression.report import report
from regression.reporting.report_figures import report_figures
from regression.reporting.report_html import report_html
from regression.reporting.study_results import TABLES, StudyResults

HASHED = [name for name in TABLES if name.startswith("regression/")]


@pytest.fixture
def study(finished_study, tmp_path, monkeypatch):
    """The finished study, to be damaged; figures are not drawn."""
    monkeypatch.setattr(Figure, "svg", lambda self, width: "")
    return shutil.copytree(finished_study, tmp_path / "study")


def made(study) -> str:
    """All that the report makes of a study, without drawing."""
    results = StudyResults(study)
    return report_html(results, report_figures(results))


def last_row_gone(data: bytes) -> bytes:
    return data[: data.rstrip(b"\n").rfind(b"\n") + 1]


def digit_changed(data: bytes) -> bytes:
    """Another first digit in the objective, or in the last number, of the first row."""
    header, row, rest = data.split(b"\n", 2)
    cells, names = row.split(b","), header.split(b",")
    numbers = [i for i, cell in enumerate(cells) if re.search(rb"\d", cell)]
    column = names.index(b"objective") if b"objective" in names else numbers[-1]
    cells[column] = re.sub(rb"\d", lambda m: b"%d" % ((int(m[0]) + 1) % 10), cells[column], count=1)
    return header + b"\n" + b",".join(cells) + b"\n" + rest


DAMAGE = {
    "half": lambda data: data[: len(data) // 2].rstrip(b"\n"),
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
    "header": lambda data: data.split(b"\n")[0] + b"\n",
    "other": lambda data: b"a,b\n1,2\n",
    "words": lambda data: re.sub(rb",-?\d[^,\n]*", b",x", data),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_table_is_refused_by_name(study, name, damage):
    path = study / name
    path.write_bytes(DAMAGE[damage](path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(name)):
        made(study)


@pytest.mark.parametrize(
    "name", [*HASHED, "confirmation.csv", *(f"proposal/{n}.csv" for n in ("gains", "line", "epochs", "weights"))]
)
def test_a_table_without_its_last_row_is_refused(study, name):
    path = study / name
    path.write_bytes(last_row_gone(path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(name)):
        made(study)


@pytest.mark.parametrize("name", [*HASHED, "confirmation.csv"])
def test_a_changed_digit_is_refused(study, name):
    path = study / name
    path.write_bytes(digit_changed(path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(name)):
        made(study)


def changes(content: dict, path: tuple = ()):
    """Every key of nested mappings, dropped or of another type."""
    for key, value in content.items():
        yield (*path, key), None
        for other in ([1], "text", {"a": 1}):
            if type(other) is not type(value):
                yield (*path, key), other
        if isinstance(value, dict):
            yield from changes(value, (*path, key))


def test_any_other_shape_of_a_confirmation_is_a_sentence(study):
    path = study / "confirmation.yaml"
    content = yaml.safe_load(path.read_text())
    tried = list(changes(content))
    assert len(tried) > 300
    for keys, value in tried[:: max(len(tried) // 80, 1)]:
        changed = _with(content, keys, value)
        path.write_text(yaml.safe_dump(changed))
        try:
            Confirmation.read(path)
            made(study)
        except InputError as error:
            assert "confirmation" in str(error)


def _with(content: dict, keys: tuple, value) -> dict:
    key, *rest = keys
    if rest:
        return content | {key: _with(content[key], tuple(rest), value)}
    return {k: v for k, v in content.items() if k != key} if value is None else content | {key: value}


def test_a_run_folder_of_no_mixture_is_left_out_of_the_curves(study, capsys):
    first = sorted((study / "proxies").glob("n*"))[0]
    shutil.copytree(first, study / "proxies" / "n00099")
    assert "n00099" not in [run.path.name for run in StudyResults(study).run_folders]
    assert "n00099 not in mixtures.csv" in capsys.readouterr().err


def test_a_confirmation_run_without_a_loss_is_named(study):
    folder = next((study / "confirmation").glob("proposal-s*"))
    assert np.isfinite(read_losses(folder, [])).all()
    with pytest.raises(InputError, match=r"no loss of nowhere.*remove"):
        read_losses(folder, ["metric/nowhere_val_loss"])


def test_the_report_before_stays_when_a_table_is_damaged(study):
    report(study, study / "report")
    before = (study / "report" / "index.html").read_bytes()
    (study / "regression" / "predictions.csv").write_bytes(b"index,target\n1,")
    with pytest.raises(InputError):
        report(study, study / "report")
    assert (study / "report" / "index.html").read_bytes() == before


@pytest.mark.parametrize(
    ("name", "change"),
    [("domains.csv", last_row_gone), ("tokens/manifest.json", lambda data: b'{"a": {"b": [1]}}')],
)
def test_other_files_that_lack_what_the_page_needs_are_named(study, name, change):
    path = study / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=re.escape(name)):
        made(study)
