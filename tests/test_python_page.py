"""docs/python.md and the README's lines of Python run as they stand there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import proxymix
from proxymix.tables import read_table, write_table

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "python.md").read_text()
DOMAINS = ["web", "code", "papers"]
PRELUDE = """
import proxymix.app.run
asked = []
proxymix.app.run.run_study = lambda config, *more: asked.append((config["corpus.path"].name, config["train.tokens"]))
"""
"""Nothing is trained: what `run` would bring about is only written down."""


def snippets(text: str) -> str:
    """The page's code, with one model for the tables, because all of them take half a minute."""
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
    assert '"losses.csv")' in code
    return code.replace('"losses.csv")', '"losses.csv", model="gp", num_repeats=1)', 1)


def run_in(folder: Path, code: str) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def folder(tmp_path):
    """Two tables of planted losses."""
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    losses = 2 + 0.3 * (weights[:, [0, 1]] + 0.2 * weights[:, [2, 2]] + 0.03) ** -0.35
    for name, columns, rows in (
        ("mixtures", [f"train_{d}" for d in DOMAINS], weights),
        ("losses", ["metric/web_val_loss", "metric/code_val_loss"], losses),
    ):
        table = [[index, *map(float, row)] for index, row in enumerate(rows, start=1)]
        write_table(tmp_path / f"{name}.csv", ["index", *columns], table)
    write_table(tmp_path / "domains.csv", ["domain", "tokens"], [[d, 200_000_000_000] for d in DOMAINS])
    return tmp_path


@pytest.mark.slow
def test_the_page_and_the_readme_s_lines_run_as_written(folder, finished_study):
    (folder / "studies").mkdir()
    (folder / "studies" / "mine").symlink_to(finished_study)
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "MYDATA").mkdir()
    readme = snippets((ROOT / "README.md").read_text())
    printed = run_in(folder, f"{PRELUDE}{readme}\n{snippets(PAGE)}\nprint(asked)\n")
    assert printed.startswith("Proposal for mean of 2 targets")
    assert "data/papers_text_document" in printed and printed.splitlines()[-1] == "[('MYDATA', 200000)]"
    assert len(read_table(folder / "predictions.csv")) == 20 and len(read_table(folder / "sweep/mixtures.csv")) == 64
    written = {"fit", "optimal_mixture.yaml", "optimal_mixture", "predictions.csv", "sweep", "figures"}
    given = {"mixtures.csv", "losses.csv", "domains.csv", "studies", "configs", "MYDATA"}
    assert {path.name for path in folder.iterdir()} == written | given


def test_the_page_lists_every_function():
    named = re.findall(r"^\| `(\w+)` \|", PAGE, re.M)
    assert sorted(named) == sorted(name for name in proxymix.__all__ if name.islower())
    for name, returned in re.findall(r"^\| `(\w+)` \|.*\| (.*) \|$", PAGE, re.M):
        assert returned, name
