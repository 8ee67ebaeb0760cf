"""`make gpu` runs unattended on a machine that is there for minutes: its rehearsal on a CPU goes through everything."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

# Last in the path, because some modules of that folder have the names of packages.
sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
from gpu import read_results
from gpu_bars import REGMIX_RUNS, REGMIX_TOKENS, bars
from gpu_cases import FASTEST_WAY, FIRST_CASE, REGMIX_CASE, WAYS, cases, layout_for, measurement
from gpu_fast import compile_items, fast
from gpu_profile import kind_of
from gpu_right import right
from gpu_sections import Context
from gpu_table import last_of_each, table, unchecked, wrong

from proxy_training.device import layout as layout_module
from proxy_training.device.layout import Layout

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_rehearsal_runs_every_section_to_its_end(tmp_path: Path):
    command = [sys.executable, "benchmarks/gpu.py", "--rehearse", "--minutes", "8", "--out", str(tmp_path)]
    environment = {key: value for key, value in os.environ.items() if key != "PROXYMIX_TEST_GPU"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = read_results(tmp_path)
    ends = [line["text"] for line in found if line["state"] == "note"]
    assert len(ends) == 7 and all("ended with exit status 0" in text for text in ends), ends
    final = last_of_each(found)
    assert {line["state"] for line in final} == {"done", "wants a GPU"}, done.stdout
    assert not wrong(found)
    assert all(line["state"] == "wants a GPU" for line in unchecked(final))
    assert sum(line["name"] == "imports" and line["imported"] == [] for line in final) == 7, (
        "neither wandb nor lightgbm"
    )
    checked = {line["name"] for line in final if line.get("right") is True}
    assert {"fp32 against the CPU", "a diverging neighbour", "tests/test_gpu.py", "worker imports"} <= checked
    assert {line["name"] for line in final if "ratio" in line} == {"predicted"}
    assert "NOT CHECKED" in (tmp_path / "table.md").read_text()


@pytest.fixture
def on_a_gpu(monkeypatch, tmp_path):
    """What sections are made with where there is a GPU; nothing of it is run."""
    monkeypatch.setattr(layout_module, "device_here", lambda: "cuda")
    monkeypatch.setattr(layout_module, "free_bytes", lambda device: 2**37)
    return Context("fast", tmp_path, tmp_path, time.time() + 600, rehearse=False)


def test_every_item_of_a_gpu_can_be_made_on_a_cpu_and_the_rehearsal_has_the_same_ways(on_a_gpu, tmp_path):
    rehearsal = Context("fast", tmp_path, tmp_path, time.time() + 600, rehearse=True)
    assert [name for name, _ in right(on_a_gpu)] == [name for name, _ in right(rehearsal)]
    for section in (fast, compile_items, right):
        names = [name for name, _ in section(on_a_gpu)]
        assert len(set(names)) == len(names)
    wanted = {(name, case.ways) for name, case in cases(on_a_gpu).items()}
    assert {(name, case.ways) for name, case in cases(rehearsal).items()} == wanted


def test_a_way_that_does_not_exist_is_an_error(on_a_gpu):
    case = cases(on_a_gpu)[FIRST_CASE]
    assert layout_for(case, 4, FASTEST_WAY).variants.keys() == {"graph", "corpus", "head", "optimizer"}
    with pytest.raises(KeyError):
        layout_for(case, 4, "graph + corpus")


def test_every_way_is_used(on_a_gpu):
    names = [name for section in (fast, right) for name, _ in section(on_a_gpu)]
    assert all(any(f", {way}" in name for name in names) for way in WAYS)


def test_a_section_that_crashed_says_what_it_did_not_check():
    found = [
        {"section": "tests", "name": "tests/test_gpu.py", "state": "started"},
        {"section": "tests", "name": "tests so far", "state": "done", "tests": 22, "passed": 20},
        {"section": "right", "name": "a", "state": "started"},
        {"section": "right", "name": "a", "state": "done", "right": True},
        {"section": "right", "name": "b", "state": "failed", "why": "KeyError: 'c'"},
    ]
    assert [line["name"] for line in unchecked(last_of_each(found))] == ["b", "tests/test_gpu.py"]
    said = table(found).splitlines()[-1]
    assert "NOT CHECKED" in said and "KeyError: 'c'" in said and "22 tests, 20 passed" in said
    assert wrong([*found, {"section": "right", "name": "d", "state": "done", "right": False}]) == ["right: d"]


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("triton_poi_fused__to_copy_bmm_mul_silu_transpose_view_10", "compiled"),
        ("nvjet_sm90_tst_128x256_64x4_2x1_v_bz_coopA_NNN", "matrix products"),
        ("void pytorch_flash::flash_fwd_kernel<Flash_fwd_kernel_traits<32, 128", "attention"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::FillFunctor<float>", "copies"),
        ("_adamw", "optimiser"),
        ("_square_sums", "optimiser"),
        ("_kernel", "head kernel"),
    ],
)
def test_a_kernel_has_one_kind(kernel, kind):
    assert kind_of(kernel) == kind


def test_bars_are_computed_from_the_best_speed_of_a_case():
    def line(name, speed, share=0.4):
        return {"section": "fast", "name": name, "state": "done", "tokens_per_second": speed, "floor_share": share}

    found = [
        line(measurement(FIRST_CASE, 64), 4e6),
        line(measurement(FIRST_CASE, 64, FASTEST_WAY), 8e6, 0.6),
        line(f"{FIRST_CASE}: plain loop", 9e9),
        line(f"{FIRST_CASE}: litgpt pretrain", 4e5),
        line(measurement(REGMIX_CASE, 1), REGMIX_RUNS * REGMIX_TOKENS / 3600 / 50),
    ]
    answers = {answer["name"]: (round(answer["value"], 3), answer["met"]) for answer in bars(found)}
    assert answers[f"{FIRST_CASE}: times litgpt pretrain"] == (20, True)
    assert answers[f"{FIRST_CASE}: share of the floor"] == (0.6, True)
    assert answers[f"{REGMIX_CASE}: share of the floor"] == (0.4, False)
    assert answers["RegMix's 512 x 1B tokens, hours"] == (50, False)
    assert answers["128 x 100M tokens at a vocabulary of 4,096, minutes"] == (26.667, True)
    assert bars([]) == []


def test_every_way_of_the_script_is_another_layout():
    usual = Layout("cuda", "bf16", 4, 4, False)
    assert all(vars(usual) | change != vars(usual) for change in WAYS.values())
