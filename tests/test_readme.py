"""The README's commands on runs and on mixtures run as they stand there, one after the other, as a new user would paste them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from mixture_config.files.mixture_table import read_mixtures
from proxymix.tables import write_table

ROOT = Path(__file__).parent.parent


def commands(section: str) -> str:
    text = re.search(rf"^## {section}\n(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)
    assert text is not None
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text[1], re.M | re.S))


def paste(script: str, folder: Path) -> str:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=folder, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_section_on_runs_runs_as_written(tmp_path):
    domains, targets = ["web", "code", "papers", "books", "math"], ["code", "web"]
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(5), 24)
    losses = 2 + 0.3 * (weights[:, [1, 0]] + 0.2 * weights[:, [4, 3]] + 0.03) ** -0.35 + rng.normal(0, 0.005, (24, 2))
    for file, header, table in (
        ("mixtures.csv", [f"train_{d}" for d in domains], weights),
        ("other_mixtures.csv", [f"train_{d}" for d in domains], weights[:3]),
        ("losses.csv", [f"metric/{t}_val_loss" for t in targets], losses),
    ):
        write_table(
            tmp_path / file, ["index", *header], [[i, *map(float, row)] for i, row in enumerate(table, start=1)]
        )
    rows = [["web", 60e9], ["code", 20e9], ["papers", 9e9], ["books", 6e9], ["math", 2e9]]
    write_table(tmp_path / "domains.csv", ["domain", "tokens"], [[name, int(tokens)] for name, tokens in rows])
    script = commands("You have runs already")
    assert script.count("proxymix propose") == 3
    script = script.replace("proxymix fit", "proxymix fit --model gp --num_repeats 1")  # all else as it stands
    paste(script.replace("proxymix propose", "proxymix propose --num_curves 2 --num_splits 0"), tmp_path)
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 4
    assert len(read_mixtures(tmp_path / "next").index) == 24
    narrowed = yaml.safe_load((tmp_path / "code_mixture.yaml").read_text())["train"]
    assert narrowed["train_web"] <= 0.6 + 1e-9 and sum(weight > 0 for weight in narrowed.values()) <= 4


def test_the_section_on_mixtures_runs_as_written(tmp_path):
    (tmp_path / "mixture_config").symlink_to(ROOT / "mixture_config")
    script = commands("Mixtures")
    assert (
        script.count("synthesize.py") == 4 and "proxymix visualize" in script and script.count("proxymix export") == 3
    )
    paste(script, tmp_path)
    sweep = read_mixtures(tmp_path / "demo")
    weights = dict(zip(sweep.domains, sweep.weights.T, strict=True))
    assert len(sweep.index) == 80 and len(read_mixtures(tmp_path / "demo" / "holdout").index) == 16
    assert (weights["code"] >= 0.1 - 1e-12).all() and (weights["math"] == 0.03).all()
    assert (weights["papers"] + weights["books"] + weights["wiki"] <= 0.3 + 1e-12).all()
    assert (weights["wiki"] <= 4 * 9e9 / 400e9 + 1e-12).all()
    assert len(read_mixtures(tmp_path / "demo" / "regmix").index) == 512
    assert len(list((tmp_path / "demo" / "figures").glob("*.png"))) == 7
    ratios = [s["target_ratio"] for s in yaml.safe_load((tmp_path / "demo" / "olmo_core.yaml").read_text())["sources"]]
    assert sum(ratios) == 1.0 and np.isclose(ratios, 0.25).any()


def test_the_section_on_costs_shows_what_its_command_prints(tmp_path):
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    printed = paste(commands("What it costs"), tmp_path).splitlines()
    shown = re.search(
        r"^## What it costs\n.*?^```\n(per training token.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S
    )
    assert shown is not None
    assert not [line for line in shown[1].splitlines() if line != "..." and line not in printed]
