"""A user's regression.py, or another file with the name of one of our packages, breaks nothing, and hides nothing unsaid."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from synthetic_study import Law, write_sweep

from proxymix.siblings import SIBLINGS

FIT = """
import proxymix, sys
if __name__ == "__main__":
    fit = proxymix.fit("mixtures.csv", "losses.csv", model="gp", num_repeats=1, workers=2)
    print(fit.model, proxymix.propose(fit, num_curves=0, num_splits=1, workers=2).table.shape, "torch" in sys.modules)
"""
PROGRAM = [sys.executable, "-m", "proxymix"]
SCRIPT = [str(Path(sys.executable).with_name("proxymix"))]
COMMAND = [
    "fit",
    "--mixtures",
    "mixtures.csv",
    "--losses",
    "losses.csv",
    "--model",
    "gp",
    "--num_repeats",
    "1",
    "--workers",
    "2",
    "--out",
    "fit",
]


def folder_with(folder: Path, kind: str) -> Path:
    """Two tables, and modules or packages of a user who never heard of ours."""
    write_sweep(folder, Law(3), num_runs=12)
    for name in SIBLINGS:
        path = folder / kind.format(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise RuntimeError('the file of the user was imported')\n")
    return folder


def done_in(folder: Path, command: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"} | variables
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "arguments"), [("{}.py", ["mine.py"]), ("{}/__init__.py", ["-c", FIT])])
def test_the_api_works_beside_files_of_our_names_its_processes_too(kind, arguments, tmp_path):
    folder = folder_with(tmp_path, kind)
    (folder / "mine.py").write_text(FIT)
    done = done_in(folder, [sys.executable, *arguments])
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("gp (3, ") and done.stdout.endswith(" False\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "program", "path"), [("{}.py", PROGRAM, {}), ("{}/__init__.py", SCRIPT, {"PYTHONPATH": "."})]
)
def test_the_command_works_beside_files_of_our_names(kind, program, path, tmp_path):
    folder = folder_with(tmp_path, kind)
    done = done_in(folder, [*program, *COMMAND], **path)
    assert done.returncode == 0, done.stderr
    assert (folder / "fit" / "fit.json").exists()


def test_a_file_that_was_imported_under_our_name_first_is_named(tmp_path):
    (tmp_path / "regression.py").write_text("slope = 1\n")
    code = "import regression, proxymix\ntry:\n    proxymix.fit\nexcept proxymix.InputError as error:\n    print(error)"
    done = done_in(tmp_path, [sys.executable, "-c", code])
    assert str(tmp_path / "regression.py") in done.stdout and "rename" in done.stdout, done.stderr


def test_other_modules_of_the_user_come_before_ours_as_ever(tmp_path):
    (tmp_path / "tests.py").write_text("mine = True\n")
    done = done_in(tmp_path, [sys.executable, "-c", "import proxymix, tests; print(tests.mine)"])
    assert done.stdout == "True\n", done.stderr


def test_importing_the_package_loads_nothing_heavy():
    code = "import sys, proxymix; print(sorted({'numpy', 'pandas', 'torch', 'proxymix.app'} & set(sys.modules)), *proxymix.__all__)"
    done = done_in(Path.cwd(), [sys.executable, "-c", code])
    assert done.stdout.startswith("[] ") and " fit " in done.stdout, done.stderr
