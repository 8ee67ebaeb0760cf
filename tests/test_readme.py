"""The README's commands on mixtures run as they stand there, one after the other, as a new user would paste them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml

from mixture_config.mixtures import read_mixtures

ROOT = Path(__file__).parent.parent


def commands(section: str) -> str:
    text = re.search(rf"^## {section}\n(.*?)^## ", (ROOT / "README.md").read_text(), re.M | re.S)
    assert text is not None
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text[1], re.M | re.S))


def test_the_section_on_mixtures_runs_as_written(tmp_path):
    (tmp_path / "mixture_config").symlink_to(ROOT / "mixture_config")
    script = commands("Mixtures")
    assert (
        script.count("synthesize.py") == 3 and "proxymix visualize" in script and script.count("proxymix export") == 3
    )
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
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
