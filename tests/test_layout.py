"""The shape of the project: who may import whom, what starts fast, what the repository may hold."""

import ast
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxymix.app.parameters import parameters
from proxymix.app.stages import STAGES

ROOT = Path(__file__).parent.parent
ORDER = ["proxymix", "data_preparation", "mixture_config", "proxy_training", "regression", "proxymix/app"]
"""Data flows down this list, and a package imports only from itself and those before it."""
DOOR = ("proxymix", "proxymix.app.api")
"""`import proxymix` offers the API of the roof. It is imported when it is asked for, and nothing else may look up."""
DEPENDENCIES = {
    *(
        "argcomplete",
        "datasets",
        "docstring_parser",
        "faiss",
        "jinja2",
        "joblib",
        "jsonargparse",
        "lightgbm",
        "lightning",
    ),
    *("litgpt", "matplotlib", "numpy", "packaging", "pandas", "psutil", "pyarrow", "ray", "rich", "scipy"),
    *("sentence_transformers", "shtab", "sklearn", "streaming", "submitit", "threadpoolctl", "tokenizers", "torch"),
    *("wandb", "yaml"),
}
"""Names under which the dependencies are imported."""


def modules(root: Path) -> dict[str, Path]:
    """Dotted name -> file, for every module of the product; a package is its `__init__.py`."""
    packages = [name for name in ORDER if "/" not in name]
    files = [path for package in packages for path in sorted((root / package).rglob("*.py"))]
    names = (path.relative_to(root).with_suffix("").parts for path in files)
    return {".".join(n[:-1] if n[-1] == "__init__" else n): path for n, path in zip(names, files, strict=True)}


def imports(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules of the product that a module imports, anywhere in it; what only a script does is left out, and DOOR."""
    tree = ast.parse(path.read_text())
    scripts = {node for block in tree.body if _is_script(block) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if node in scripts:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            base = (
                name.split(".")[: len(name.split(".")) - node.level + (path.name == "__init__.py")]
                if node.level
                else []
            )
            module = ".".join([*base, *([node.module] if node.module else [])])
            found = [f"{module}.{alias.name}" for alias in node.names if (name, f"{module}.{alias.name}") != DOOR]
            if (name, module) == DOOR:
                continue
            yield from (n if n in known else module for n in found if n in known or module in known)


def _is_script(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"


def place(name: str) -> int:
    """Where a module's package stands in ORDER."""
    return (
        ORDER.index("proxymix/app")
        if name.startswith(("proxymix.app", "proxymix.__main__"))
        else ORDER.index(name.split(".")[0])
    )


def is_stage(name: str, path: Path) -> bool:
    """Whether a module is a package's own, not in a sub-package: there the stages are."""
    return len(name.split(".")) == 2 and place(name) not in (0, len(ORDER) - 1) and path.name != "__init__.py"


def faults(root: Path) -> list[str]:
    """Every import that breaks a rule of the floor plan, in words."""
    known = modules(root)
    found = []
    for name, path in known.items():
        for other in set(imports(name, path, known)) - {name}:
            if place(other) > place(name):
                found.append(f"{name} imports {other}, which is further down")
            elif is_stage(other, known[other]) and place(name) != len(ORDER) - 1:
                found.append(f"{name} imports the stage {other}")
        if re.search(r"\b(import_module|__import__)\b", path.read_text()) and name != "proxymix.app.stages":
            found.append(f"{name} imports by a name in text")
    return sorted(found)


def circles(root: Path) -> list[list[str]]:
    """Groups of modules that import each other, lazily or not."""
    known = modules(root)
    graph = {name: set(imports(name, path, known)) - {name} for name, path in known.items()}
    reach = {name: _reached(name, graph) for name in graph}
    return sorted({tuple(sorted({n} | {m for m in reach[n] if n in reach[m]})) for n in graph if n in reach[n]})  # type: ignore[arg-type]


def _reached(name: str, graph: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    todo = list(graph[name])
    while todo:
        other = todo.pop()
        if other not in seen:
            seen.add(other)
            todo += graph.get(other, ())
    return seen


def test_packages_import_towards_the_base_libraries_no_stages_and_stages_no_stages():
    assert not faults(ROOT)


def test_no_modules_import_each_other_in_a_circle():
    assert not circles(ROOT)


@pytest.mark.parametrize(
    ("path", "text", "fault"),
    [
        ("proxymix/files.py", "import regression.models.laws", "further down"),
        ("mixture_config/design/draw.py", "def f():\n    from proxymix.app.study import Study", "further down"),
        ("regression/models/laws.py", "from regression import fit", "the stage"),
        ("regression/propose.py", "from .fit import fit", "the stage"),
        (
            "regression/fit.py",
            "import importlib\nm = importlib.import_module('regression.models.laws')",
            "name in text",
        ),
    ],
)
def test_the_rule_notices_what_breaks_it(tmp_path, path, text, fault):
    for name in (
        "proxymix/app/study",
        "proxymix/__init__",
        "regression/fit",
        "regression/models/laws",
        path.removesuffix(".py"),
    ):
        (tmp_path / f"{name}.py").parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.py").write_text("")
    (tmp_path / path).write_text(text)
    (found,) = faults(tmp_path)
    assert fault in found


def test_a_circle_is_noticed(tmp_path):
    for name, text in (
        ("a", "import regression.b"),
        ("b", "def f():\n    from regression import a"),
        ("c", "import regression.a"),
    ):
        (tmp_path / "regression").mkdir(exist_ok=True)
        (tmp_path / "regression" / f"{name}.py").write_text(text)
    assert circles(tmp_path) == [("regression.a", "regression.b")]


def test_no_module_shadows_a_standard_module_or_a_dependency():
    """A script's own folder comes first on sys.path, so `python data_preparation/tokenize.py` would break imports."""
    paths = modules(ROOT).values()
    ours = {path.stem for path in paths} | {path.parent.name for path in paths if path.parent.parent != ROOT}
    assert not (ours - {"__init__", "__main__"}) & (set(sys.stdlib_module_names) | DEPENDENCIES)


MAX_MODULE_LINES, MAX_MEDIAN_LINES, MAX_STAGE_LINES = 450, 150, 60


def test_modules_are_short():
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in modules(ROOT).values()}
    assert not {name for name, num in lines.items() if num > MAX_MODULE_LINES}
    assert statistics.median(lines.values()) < MAX_MEDIAN_LINES


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_is_a_short_function(stage):
    module, name = stage.function.split(":")
    tree = ast.parse(modules(ROOT)[module].read_text())
    (function,) = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    first, last = function.body[1], function.body[-1]  # the docstring is not counted
    assert last.end_lineno - first.lineno < MAX_STAGE_LINES


PREFIXES = re.compile(r"(train|valid)_$")


def test_the_prefix_of_a_mixtures_domains_is_spelled_in_one_place():
    """Only mixture_config/files knows that RegMix writes a domain's weight as train_<domain>."""
    found = set()
    for path in modules(ROOT).values():
        if path.is_relative_to(ROOT / "mixture_config" / "files"):
            continue
        texts = (node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant))
        if any(isinstance(text, str) and PREFIXES.search(text) for text in texts):
            found.add(str(path.relative_to(ROOT)))
    assert not found


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_loads_without_its_heavy_libraries(stage):
    """`--help` of any stage starts in under a second because torch, pandas and their like load where they work."""
    code = f"""
import sys
from proxymix.app.stages import stage_named
stage_named({stage.name!r}).load()
heavy = {{'torch', 'litgpt', 'lightning', 'wandb', 'pandas', 'sklearn', 'lightgbm', 'matplotlib', 'pyarrow', 'scipy'}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_every_flag_of_a_stage_is_explained(stage):
    assert not [key for key, parameter in parameters(stage.load()).items() if not parameter.help]


def test_the_constraints_hold_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert all(re.fullmatch(r"#.*|[A-Za-z0-9_.-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    names = {line.partition("==")[0].lower() for line in lines}
    assert not names & {"torchvision", "litdata", "torchaudio"}
