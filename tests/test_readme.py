"""The documentation keeps its word: commands run as they stand there, flags exist, and every path and link leads somewhere."""

import functools
import inspect
import itertools
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml

import proxymix
from mixture_config.files.mixture_table import MixtureTable
from mixture_config.formats.registry import FORMATS
from proxy_training.runs.settings import SHAPES
from proxymix.app import run as run_module
from proxymix.app.cli import PROGRAM_COMMANDS, main
from proxymix.app.init import init
from proxymix.app.parameters import build_arguments
from proxymix.app.stages import RENAMED, STAGES, Stage
from proxymix.app.study import Study
from proxymix.tables import write_table
from regression.models.registry import REGRESSORS

ROOT = Path(__file__).parent.parent
PACKAGES = ("proxymix", "data_preparation", "mixture_config", "proxy_training", "regression")
FOLDERS = (*PACKAGES, "tests", "configs", "benchmarks", "notebooks", "docs", ".ci")
PAGES = [
    ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
]
PAGES += sorted((ROOT / "docs").glob("*.md"))
OTHERS = ("mkdir", "mv", "cp", "pip", ".", "python3", "litgpt", "torchrun")
"""Commands that are not ours."""


def section(page: str, title: str) -> str:
    text = re.search(rf"^## {title}\n(.*?)(^## |\Z)", (ROOT / page).read_text(), re.M | re.S)
    assert text is not None, f"{page} has no section {title}"
    return text[1]


def commands(text: str) -> str:
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S))


def paste(script: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- 1. What runs as written


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """The folder in which the commands of docs/mixtures.md and docs/exports.md have run, one after the other."""
    folder = tmp_path_factory.mktemp("mixtures")
    (folder / "mixture_config").symlink_to(ROOT / "mixture_config")
    script = commands((ROOT / "docs/mixtures.md").read_text()) + commands((ROOT / "docs/exports.md").read_text())
    assert (
        script.count("synthesize.py") == 4 and "proxymix visualize" in script and script.count("proxymix export") == 3
    )
    paste(script, folder)
    return folder / "demo"


@pytest.mark.slow
def test_the_page_on_mixtures_runs_as_written(demo):
    sweep = MixtureTable.read(demo)
    weights = dict(zip(sweep.domains, sweep.weights.T, strict=True))
    assert len(sweep.index) == 80 and len(MixtureTable.read(demo / "holdout").index) == 16
    assert (weights["code"] >= 0.1 - 1e-12).all() and (weights["math"] == 0.03).all()
    assert (weights["papers"] + weights["books"] + weights["wiki"] <= 0.3 + 1e-12).all()
    assert (weights["wiki"] <= 4 * 9e9 / 400e9 + 1e-12).all()
    assert len(MixtureTable.read(demo / "regmix").index) == 512
    assert len(list((demo / "figures").glob("*.png"))) == 7


@pytest.mark.slow
def test_the_page_on_exports_runs_as_written(demo):
    ratios = [source["target_ratio"] for source in yaml.safe_load((demo / "olmo_core.yaml").read_text())["sources"]]
    assert sum(ratios) == 1.0 and np.isclose(ratios, 0.25).any()


@pytest.mark.slow
def test_the_readme_s_sections_on_mixtures_and_export_run_as_written(tmp_path):
    printed = paste(commands(section("README.md", "Mixtures")) + commands(section("README.md", "Export")), tmp_path)
    assert "--data-path" in printed and "data/wiki_text_document" in printed
    sweep = MixtureTable.read(tmp_path / "demo")
    assert len(sweep.index) == 64 and (sweep.weights[:, sweep.domains.index("code")] >= 0.1 - 1e-12).all()


def planted_losses(weights: np.ndarray, rng: np.random.Generator, above: float = 2.0) -> np.ndarray:
    """Losses of the second and the first domain, which the fifth and the fourth help too; shape (num_runs, 2)."""
    helped = weights[:, [1, 0]] + 0.2 * weights[:, [4, 3]] + 0.03
    return above + 0.3 * helped**-0.35 + rng.normal(0, 0.005, (len(weights), 2))


def numbered(path: Path, columns: list[str], table: np.ndarray) -> None:
    write_table(path, ["index", *columns], [[i, *map(float, row)] for i, row in enumerate(table, start=1)])


@pytest.mark.slow
def test_the_commands_on_runs_run_as_written(tmp_path):
    """Those of the README, and the objective with bounds and the limits of docs/regression.md."""
    domains, targets = ["web", "code", "papers", "books", "math"], ["code", "web"]
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), 24)
    numbered(tmp_path / "mixtures.csv", [f"train_{d}" for d in domains], weights)
    numbered(tmp_path / "other_mixtures.csv", [f"train_{d}" for d in domains], weights[:3])
    numbered(tmp_path / "losses.csv", [f"metric/{t}_val_loss" for t in targets], planted_losses(weights, rng))
    tokens = {"web": 60e9, "code": 20e9, "papers": 9e9, "books": 6e9, "math": 2e9}
    write_table(tmp_path / "domains.csv", ["domain", "tokens"], [[d, int(count)] for d, count in tokens.items()])
    first, further = (
        commands(text)
        for text in (
            section("README.md", "You have runs already"),
            section("docs/regression.md", "Objective") + section("docs/regression.md", "Propose"),
        )
    )
    assert first.count("proxymix propose") == 2 and further.count("proxymix propose") == 3
    further = further.partition("proxymix propose --fit fit --domains domains.csv --budget 25e9 --max_epochs")
    script = first + further[0] + further[2].partition("\n")[2]  # without the one that both have
    script = script.replace("proxymix fit", "proxymix fit --model gp --num_repeats 1")  # all else as it stands
    paste(script.replace("proxymix propose", "proxymix propose --num_curves 2 --num_splits 0"), tmp_path)
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 4
    assert len(MixtureTable.read(tmp_path / "next").index) == 24
    narrowed = yaml.safe_load((tmp_path / "code_mixture.yaml").read_text())["train"]
    assert narrowed["train_web"] <= 0.6 + 1e-9 and sum(weight > 0 for weight in narrowed.values()) <= 4


def test_the_page_on_costs_shows_what_its_commands_print(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    text = section("docs/proxies.md", "What it costs")
    printed = paste(commands(text), tmp_path).splitlines()
    shown = re.search(r"^```\n(per training token.*?)^```", text, re.M | re.S)
    assert shown is not None
    assert not [line for line in shown[1].splitlines() if line != "..." and line not in printed]
    assert any("6 h 21 min" in line for line in printed) and "6 h 21 min" in text


@pytest.mark.slow
def test_the_page_on_scales_and_reuse_runs_as_written(tmp_path):
    """Two scales of planted losses, and an old study of six domains, four of which change."""
    page = (ROOT / "docs/scales_and_reuse.md").read_text()
    (settings,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "scales.yaml").write_text(settings)
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), 24)
    numbered(tmp_path / "m.csv", [f"train_{d}" for d in "abcde"], weights)
    for name, above in (("small", 3.0), ("large", 2.0)):
        losses = planted_losses(weights, np.random.default_rng(1), above)
        numbered(tmp_path / f"{name}.csv", ["metric/a_val_loss", "metric/b_val_loss"], losses)
    old = {"code": 3000, "blogs": 1000, "news": 1000, "spam": 1000, "law": 1000, "wiki": 1000}
    new = {"python": 2000, "c": 1000, "web": 2000, "math": 1000, "law": 1000, "wiki": 1000}
    mixed = rng.dirichlet(np.ones(4), 12)[:, [0, 1, 1, 2, 3]] * [0.4, 0.2, 0.2, 0.4, 0.4] + 0.12  # blogs as news
    mixed = np.insert(mixed, 3, 0, axis=1)  # no spam
    (tmp_path / "OLD").mkdir()
    numbered(tmp_path / "OLD/mixtures.csv", [f"train_{d}" for d in old], mixed)
    numbered(tmp_path / "OLD/losses.csv", ["metric/code_val_loss"], mixed[:, :1] ** -0.5)
    for path, tokens in (("OLD/domains.csv", old), ("new.csv", new)):
        write_table(tmp_path / path, ["domain", "tokens"], [list(item) for item in tokens.items()])
    best = {f"train_{d}": float(w) for d, w in zip(old, mixed[0], strict=True)}
    (tmp_path / "OLD/optimal_mixture.yaml").write_text(yaml.safe_dump({"train": best}))
    script = commands(page).replace("--out scales", "--out scales --num_bootstrap 20 --workers 1")
    script = script.replace("proxymix fit", "proxymix fit --model gp --num_repeats 1")
    paste(script, tmp_path)
    assert (tmp_path / "target_fit" / "fit.json").exists() and (tmp_path / "scales" / "agreement.csv").exists()
    assert set(MixtureTable.read(tmp_path / "reused").domains) == set(new)
    assert len(MixtureTable.read(tmp_path / "reused" / "expanded").index) == 32


@pytest.mark.slow
def test_the_page_on_text_runs_as_written(tmp_path):
    script = commands((ROOT / "docs/data.md").read_text())
    paste(script.replace("--megabytes 26", "--megabytes 4 --minimum_megabytes 0.1"), tmp_path)
    assert len((tmp_path / "domains.csv").read_text().splitlines()) > 10


# ---- 2. What is only parsed: by the real command line, whose functions only say that they were called


def words_of(script: str) -> list[list[str]]:
    """The commands of a script as words; here-documents, comments and variables set for one command left out."""
    script = re.sub(r"<<'EOF'\n.*?^EOF$", "", script, flags=re.M | re.S).replace("\\\n", " ")
    found = []
    for line in script.splitlines():
        for part in shlex.split(line, comments=True) and re.split(r" && ", line):
            words = shlex.split(part.partition(" > ")[0], comments=True)
            while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                words = words[1:]
            found += [words] if words else []
    return found


def blocks_and_spans(path: Path) -> tuple[list[list[str]], list[list[str]]]:
    """The commands of a page's blocks, which are whole, and those within its sentences, which may lack flags."""
    text = path.read_text()
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    ours = [
        s for s in spans if re.match(r"(proxymix|python|make|torchrun) [^.]", s) and "..." not in s and "STAGE" not in s
    ]
    return words_of(commands(text)), [words for span in ours for words in words_of(span)]


@pytest.fixture
def called(monkeypatch, tmp_path):
    """The stages called, by name: nothing is computed. The working directory has the configurations."""
    calls: list[str] = []
    load = Stage.load

    def recorded(stage: Stage):
        function = load(stage)

        @functools.wraps(function)
        def record(*args, **kwargs):
            inspect.signature(function).bind(*args, **kwargs)
            calls.append(stage.name)

        return record

    monkeypatch.setattr(Stage, "load", recorded)
    monkeypatch.setattr(run_module, "run_study", lambda *_, **__: calls.append("run"))
    monkeypatch.setattr("proxymix.app.compare.compare", lambda *_: "")
    monkeypatch.setattr("proxymix.app.init.init", functools.wraps(init)(lambda **_: None))
    monkeypatch.setattr(  # without the records of a study, since nothing is written
        Study, "perform", lambda self, stage, function, values: function(**build_arguments(function, values))
    )
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return calls


def understood(words: list[str], whole: bool, calls: list[str], capsys) -> None:
    """Have the command line parse `words`."""
    for flag, value in itertools.pairwise(words):
        if flag == "--config" and not Path(value).exists():
            Path(value).write_text("{}\n")
        if flag == "--study" or words[1] in ("status", "check"):
            Path(value).mkdir(parents=True, exist_ok=True)
            (Path(value) / "study.yaml").write_text("{}\n")
    shown = " ".join(words)
    try:
        status = main(words[1:])
    except SystemExit as end:  # --help
        status = int(end.code or 0)
    errors = capsys.readouterr().err
    assert "still read" not in errors, f"{shown} uses an old name: {errors}"
    if whole and words[1] not in ("status", "check", "init", "compare") and "--help" not in words:
        needs = status == 2 and "is missing" in errors and "--config" in words  # what its YAML holds is not here
        assert needs or (status == 0 and calls and calls[-1] == words[1]), f"{shown}: {errors}"
    else:
        assert status == 0 or "is missing" in errors, f"{shown}: {errors}"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_command_of_a_page_is_one_that_there_is(page, called, capsys):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    whole, within = blocks_and_spans(page)
    for words in [*whole, *within]:
        if words[0] == "proxymix":
            understood(words, words in whole, called, capsys)
        elif words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, words
        elif words[:3] == ["python", "-m", "pytest"]:
            assert all((ROOT / word).exists() for word in words if word.startswith("tests/")), words
        elif words[:2] == ["python", "-m"]:
            assert (ROOT / f"{words[2].replace('.', '/')}.py").exists(), words
        elif words[0] == "python" and words[1] != "-c":
            script = (ROOT / words[1]).read_text()
            stage = next((s for s in STAGES if s.function.split(":")[0].replace(".", "/") + ".py" == words[1]), None)
            if stage is not None:
                understood(["proxymix", stage.name, *words[2:]], words in whole, called, capsys)
            else:
                assert all(f'"{word}"' in script for word in words if word.startswith("--")), words
        else:
            assert words[0] in (*OTHERS, "python", "cat"), words


def test_the_check_of_commands_notices_a_flag_that_is_not_there(called, capsys):
    with pytest.raises(AssertionError, match="--num_mixture"):
        understood(["proxymix", "synthesize", "--num_mixture", "64"], False, called, capsys)
    with pytest.raises(AssertionError, match="--out"):
        understood(["proxymix", "synthesize", "--domains", "d.csv"], True, called, capsys)


# ---- 3. Paths, links, lists


def plain(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=plain)
def test_every_path_of_the_repository_that_a_page_names_is_there(page):
    """A path of the repository begins with one of its folders; in regression/ a study has tables of its own."""
    text = page.read_text()
    named = set(re.findall(rf"(?<![\w/.-])(?:{'|'.join(map(re.escape, FOLDERS))})/[\w/.-]*\w/?", text))
    study = {n for n in named if re.fullmatch(r"regression/\w+\.(csv|json)", n)}
    missing = sorted(n for n in named - study if not (ROOT / n).exists())
    assert not missing
    dotted = set(re.findall(rf"`((?:{'|'.join(PACKAGES)})(?:\.\w+)+)`", text))
    for name in dotted:
        module, _, attribute = name.rpartition(".")
        file = ROOT / f"{name.replace('.', '/')}.py"
        parents = [ROOT / f"{module.replace('.', '/')}{ending}" for ending in (".py", "/__init__.py")]
        assert file.exists() or any(p.exists() and attribute in p.read_text() for p in parents), name


def test_the_floor_plan_is_the_tree():
    """Every package and sub-package is in ARCHITECTURE.md's list, and no other."""
    block = section("ARCHITECTURE.md", "The packages, and who may import whom").split("```")[1]
    drawn, package = set(), ""
    for indent, name in re.findall(r"^( *)([\w/]+)/ ", block, re.M):
        package = package if indent else name
        drawn.add(f"{package}/{name}" if indent else name)
    there = {plain(path.parent) for package in PACKAGES for path in (ROOT / package).rglob("__init__.py")}
    assert drawn == {name for name in there if name.count("/") < 2}


@pytest.mark.parametrize("page", PAGES, ids=plain)
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = page.parent / file if file else page
        assert there.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.M)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}, target


def rows(page: str) -> list[str]:
    """The code in the first column of a page's tables."""
    return re.findall(r"^\| `(\w+)` \|", (ROOT / page).read_text(), re.M)


def test_the_lists_of_the_docs_are_complete():
    assert rows("docs/exports.md") == list(FORMATS)
    assert set(REGRESSORS) | {"auto", "ensemble"} == set(rows("docs/regression.md"))
    commands_named = set(re.findall(r"`proxymix (\w+)` \|", (ROOT / "docs/command_line.md").read_text()))
    assert commands_named == {stage.name for stage in STAGES}
    for size in ("50k", "1b"):
        assert size in SHAPES and size in (ROOT / "docs/proxies.md").read_text()
    assert all(command in (ROOT / "docs/command_line.md").read_text() for command in PROGRAM_COMMANDS)


def test_every_file_that_a_stage_writes_into_a_study_is_in_the_list():
    page = (ROOT / "docs/study.md").read_text()
    written = {stage.files.get(name, name) for stage in STAGES if stage.in_study for name in stage.writes}
    assert not [name for name in written if name not in page]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 200


def test_every_renamed_setting_is_in_the_changelog():
    text = (ROOT / "CHANGELOG.md").read_text()
    pairs = [(f"{stage}.{old}", new) for stage, names in RENAMED.items() for old, new in names.items()]
    assert not [old for old, new in pairs if not re.search(rf"`{re.escape(old)}` \| `[\w.]*{re.escape(new)}`", text)]


def test_version_and_licence_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == proxymix.__version__
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text()
    assert project["license"] == citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
