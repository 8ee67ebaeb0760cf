"""The notebooks run in a real kernel, on a study and on tables alone, and are committed with what they show."""

import getpass
import hashlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from synthetic_study import Law, write_data, write_sweep

from proxymix.app.config import Config
from proxymix.app.parameters import build_arguments
from proxymix.app.stages import stage_named
from proxymix.app.study import Study
from proxymix.siblings import SIBLINGS
from regression.search.proposal import Proposal

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
STUDY = "../studies/quickstart"
MAX_BYTES, MAX_LINES = 500_000, 30

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(notebook: Any) -> list[list[str]]:
    """What each cell shows: the richest form of every output. Messages are left out, since they depend on the data."""
    order = ("image/png", "text/html", "text/plain")
    shown = [[o for o in cell.outputs if o.output_type != "stream"] for cell in cells(notebook)]
    return [[next(kind for kind in order if kind in o.data) for o in outputs] for outputs in shown]


def messages(notebook: Any) -> str:
    return "".join(o.text for cell in cells(notebook) for o in cell.outputs if o.output_type == "stream")


def executed(path: Path, tmp_path: Path, settings: str = "") -> Any:
    """A notebook as `notebooks/execute.py` leaves it, perhaps with other settings, in a kernel in its own folder."""
    (tmp_path / "ran").mkdir()
    (tmp_path / "settings.py").write_text(settings)
    more = ["--settings", str(tmp_path / "settings.py")] if settings else []
    command = [sys.executable, str(ROOT / "notebooks" / "execute.py"), str(path), "--out", str(tmp_path / "ran"), *more]
    places = {name: str(tmp_path / "jupyter") for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    environment = {k: v for k, v in os.environ.items() if k not in ("MPLBACKEND", "PYTHONSAFEPATH")} | places
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(tmp_path / "ran" / path.name, as_version=4)


def settings_of(path: Path) -> str:
    return next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.id == "settings")


def own_settings_of(path: Path) -> str:
    """What a notebook tells a user without a study to write."""
    text = next(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.id == "own")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)[0]


# ---- 1. As committed


@every_notebook
def test_the_outputs_are_of_the_code_beside_them(path):
    """`python notebooks/execute.py notebooks/*.ipynb` renews them, after `make quickstart`."""
    notebook = nbformat.read(path, as_version=4)
    code = "\n\n".join(cell.source for cell in cells(notebook))
    assert notebook.metadata["code_sha256"] == hashlib.sha256(code.encode()).hexdigest()
    assert [cell.execution_count for cell in cells(notebook)] == list(range(1, len(cells(notebook)) + 1))


@every_notebook
def test_a_notebook_is_small_and_shows_figures_and_no_red_boxes(path):
    notebook = nbformat.read(path, as_version=4)
    assert path.stat().st_size < MAX_BYTES
    assert all(len(cell.source.splitlines()) <= MAX_LINES for cell in notebook.cells)
    outputs = [output for cell in cells(notebook) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    assert kinds(notebook).count(["image/png"]) >= 6


@every_notebook
def test_the_outputs_say_nothing_of_the_machine_that_made_them(path):
    notebook = nbformat.read(path, as_version=4)
    texts = [messages(notebook), *(json.dumps({k: v for k, v in o.data.items() if k != "image/png"})
                                   for cell in cells(notebook) for o in cell.outputs if "data" in o)]  # fmt: skip
    for text in texts:
        assert not re.search(r"/(home|root|Users|tmp|work|var|opt|usr|mnt)/|[A-Z]:\\\\|0x[0-9a-f]{8}", text)
        assert socket.gethostname() not in text
        assert not re.search(rf"\b{re.escape(getpass.getuser())}\b", text)
    assert set(notebook.metadata) == {"code_sha256", "kernelspec", "language_info"}
    assert all(set(cell.metadata) <= {"tags"} for cell in notebook.cells)


# ---- 2. In a kernel


@pytest.mark.slow
def test_figures_drawn_within_our_style_are_all_shown_and_messages_are_no_red_boxes(tmp_path):
    """The backend of a notebook starts with the first figure, also if that is drawn within the style of a report."""
    draw = "with style('a', 0.1):\n    plt.figure().add_subplot()"
    first = f"import matplotlib.pyplot as plt\nfrom proxymix.plots.palette import style\n{draw}"
    own = "from proxymix.progress import say\nsay('heard')\nplt.figure().add_subplot();"
    nbformat.write(new_notebook(cells=[new_code_cell(code) for code in (first, draw, own)]), tmp_path / "three.ipynb")
    notebook = executed(tmp_path / "three.ipynb", tmp_path)
    assert [shown.count("image/png") for shown in kinds(notebook)] == [1, 1, 1]
    assert [o.name for o in cells(notebook)[2].outputs if o.output_type == "stream"] == ["stdout"]


@pytest.mark.slow
def test_the_regression_notebook_shows_on_a_study_what_it_shows_as_committed_and_finds_the_study_s_mixture(
    finished_study, tmp_path
):
    study = Study(tmp_path / "study")
    shutil.copytree(finished_study, study.path, ignore=shutil.ignore_patterns("proxies"))
    config = Config(Config.defaults() | study.config() | {"fit.model": "gp"})
    study.saved.write(config)
    for stage in (stage_named("fit"), stage_named("propose")):
        stage.load()(**build_arguments(stage.load(), study.call(stage, config)))
    path = ROOT / "notebooks" / "regression.ipynb"
    assert STUDY in settings_of(path)
    notebook = executed(path, tmp_path, settings_of(path).replace(STUDY, str(study.path)))
    assert kinds(notebook) == kinds(nbformat.read(path, as_version=4))
    found = next(
        o.data["text/plain"] for c in cells(notebook) for o in c.outputs if "Proposal for" in str(o.get("data"))
    )
    for domain, weight in Proposal.read(study.path / "optimal_mixture.yaml").weights.items():
        assert re.search(rf"^  {domain} +{weight:.4f}\b", found, re.M)


@pytest.mark.slow
@every_notebook
def test_a_notebook_runs_without_a_study_beside_files_of_our_names(path, tmp_path):
    """With the settings that it shows for that, and in a folder where a user has a regression.py."""
    folder = tmp_path / "mine"
    folder.mkdir()
    for name in SIBLINGS:
        (folder / f"{name}.py").write_text("raise RuntimeError('the file of the user was imported')\n")
    write_sweep(folder, Law(3), num_runs=12)
    write_data(folder, Law(3))
    shutil.copy(path, folder)
    settings = own_settings_of(path).replace('"auto"', '"gp"')
    notebook = executed(folder / path.name, tmp_path, settings)
    assert sum(shown.count("image/png") for shown in kinds(notebook)) >= 6
    if path.stem == "mixtures":  # of two tables without domains.csv there are fewer figures than of a study
        assert kinds(notebook) == kinds(nbformat.read(path, as_version=4))
        assert "data/wiki_text_document" in messages(notebook)
