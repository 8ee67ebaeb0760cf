"""The notebooks run from top to bottom, in a process of their own, and are committed without what they printed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from synthetic_study import Law, write_data, write_sweep

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))

RUN = """
import json, sys
from pathlib import Path
import matplotlib
matplotlib.use("agg")
settings, names = json.loads(sys.argv[2]), {}
for number, cell in enumerate(json.loads(Path(sys.argv[1]).read_text())["cells"]):
    if cell["cell_type"] == "code":
        exec(compile("".join(cell["source"]), f"{sys.argv[1]}, cell {number}", "exec"), names)
        names |= {name: type(names[name])(settings.pop(name)) for name in names.keys() & settings}
assert not settings, settings
"""


def run(notebook: str, folder: Path, **settings: str | int) -> str:
    """Execute the code cells in order, in one namespace, with other settings than theirs; what they printed."""
    command = [sys.executable, "-c", RUN, str(ROOT / "notebooks" / notebook), json.dumps(settings)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_notebooks_are_committed_without_outputs_and_in_short_cells(path):
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
        assert len(cell["source"]) <= 30


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_the_first_code_cell_says_where_the_tables_are(path):
    first = next(cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code")
    names: dict[str, object] = {}
    exec("".join(first["source"]), names)
    tables = [value for value in names.values() if isinstance(value, Path) and value.suffix == ".csv"]
    assert tables and all(table.parent == Path("../studies/quickstart") for table in tables)


def regression(tables: Path, out: Path, **settings: str | int) -> str:
    """What the regression's notebook prints of the tables in a folder, with one model, since all of them take a minute."""
    paths = {name.upper(): str(tables / f"{name}.csv") for name in ("mixtures", "losses", "domains")}
    return run("regression.ipynb", out.parent, **paths, OUT=str(out), MODEL="gp", **settings)


@pytest.mark.slow
def test_the_regression_notebook_runs_on_a_study(finished_study, tmp_path):
    assert "The proposal is " in regression(finished_study, tmp_path, BUDGET=4_000_000)
    written = {path.stem for path in (tmp_path / "figures").glob("*.png")}
    assert written >= {"weights", "near_optimal", "epochs", "gains", "line", "effects", "learning_rank"}


@pytest.mark.slow
def test_the_regression_notebook_runs_on_two_tables_alone(tmp_path):
    write_sweep(tmp_path, Law(3), num_runs=12)
    regression(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out" / "figures" / "epochs.png").exists()
    table = pd.read_csv(tmp_path / "out" / "figures" / "weights.csv")
    assert table["weight"].sum() == pytest.approx(1)


@pytest.mark.slow
def test_the_mixtures_notebook_runs_on_token_counts(tmp_path):
    write_data(tmp_path, Law(5))
    settings: dict[str, str | int] = {
        "DOMAINS": str(tmp_path / "domains.csv"),
        "OUT": str(tmp_path / "out"),
        "NUM_MIXTURES": 32,
    }
    printed = run("mixtures.ipynb", tmp_path, **settings)
    assert "data/python_source_text_document" in printed
    assert (tmp_path / "out" / "figures" / "coverage.png").exists()
    assert len(pd.read_csv(tmp_path / "out" / "regmix" / "mixtures.csv")) == 32
