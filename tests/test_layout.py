"""The shape of the project: who may import whom, what starts fast, what the repository may hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxymix.stages import STAGES

ROOT = Path(__file__).parent.parent
ORDER = ["proxymix", "data_preparation", "mixture_config", "proxy_training", "regression"]
MODULES = [path for package in ORDER for path in sorted((ROOT / package).glob("*.py"))]


def imported_packages(path: Path) -> set[str]:
    """Top-level names that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_package_imports_only_those_above_it(path):
    below = set(ORDER[ORDER.index(path.parent.name) + 1 :])
    assert not imported_packages(path) & below


def test_no_module_shadows_a_standard_module_or_a_dependency():
    """A script's own folder comes first on sys.path, so `python data_preparation/tokenize.py` would break imports."""
    ours = {path.stem for path in MODULES} - {"__init__"}
    dependencies = {
        "datasets",
        "litgpt",
        "torch",
        "wandb",
        "yaml",
        "rich",
        "pandas",
        "tokenizers",
        "sklearn",
        "lightgbm",
    }
    assert not ours & (set(sys.stdlib_module_names) | dependencies)


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_loads_without_its_heavy_libraries(stage):
    """`--help` of any stage starts in under a second because torch, pandas and their like load where they work."""
    code = f"""
import sys
from proxymix.stages import stage_named
stage_named({stage.name!r}).load()
heavy = {{'torch', 'litgpt', 'lightning', 'wandb', 'pandas', 'sklearn', 'lightgbm', 'matplotlib', 'pyarrow', 'scipy'}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_flag_of_a_stage_is_explained(stage):
    from proxymix.stages import parameters

    wanted = parameters(stage.load())
    nested = [p for parameter in wanted.values() if parameter.is_section for p in parameters(parameter.type).values()]
    missing = [p.name for p in [*wanted.values(), *nested] if not p.help and not p.is_section]
    assert not missing


def test_the_constraints_hold_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    names = {line.partition("==")[0].lower() for line in lines}
    assert not names & {"torchvision", "litdata", "torchaudio"}
