"""On a GPU proxies learn what they learn on a CPU, the same each time, whatever their neighbours and arithmetic.

The tests are in order of worth, for a GPU that is there for minutes: what takes longest, compiling, is last.

PROXYMIX_TEST_GPU=1 python -m pytest tests/test_gpu.py tests/test_distributed.py -k gpu
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from proxies import TINY, VOCABULARY, contents, train_together, write_tokens

from proxy_training.device import calibration
from proxy_training.device.calibration import chosen_layout
from proxy_training.device.layout import Layout, layout_of
from proxy_training.loop import trainer
from proxy_training.loop.trainer import fit
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData, plan_of

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU")
LAYOUT = Layout("cuda", "fp32", models_per_process=8, micro_batch=4, compile=False)
EVERYTHING = {"graph": True, "corpus": "device", "head": "fused", "optimizer": "fused"}
RUNS = [Run(f"n{k:05d}", {"a": k / 4, "b": 1 - k / 4}, seed=k) for k in range(1, 5)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TokenData:
    return TokenData.open(write_tokens(tmp_path_factory.mktemp("tokens"), {"a": 2000, "b": 1000}), TINY)


def final(runs: list[Run], data: TokenData, layout: Layout, settings: TrainSettings = TINY) -> list[float]:
    results = fit(runs, [plan_of(run, data, settings) for run in runs], data, settings, layout)
    return [result.rows[-1]["metric/a_val_loss"] for result in results]


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [
        ({}, 1e-3),
        ({"micro_batch": 1}, 1e-3),
        ({"precision": "bf16"}, 0.05),
        ({"corpus": "device"}, 1e-3),
        ({"head": "fused"}, 1e-3),
        ({"optimizer": "fused"}, 1e-3),
        ({"graph": True}, 1e-3),
        (EVERYTHING, 1e-3),
        ({**EVERYTHING, "precision": "bf16"}, 0.05),
    ],
)
def test_losses_are_those_of_the_processor(data, change, tolerance):
    same_losses_as_the_processor(data, change, tolerance)


def same_losses_as_the_processor(data, change, tolerance):
    wanted = final(RUNS, data, replace(LAYOUT, device="cpu"))
    assert final(RUNS, data, replace(LAYOUT, **change)) == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.05)])
def test_neighbours_change_nothing_that_counts(data, precision, tolerance):
    layout = replace(LAYOUT, precision=precision)
    alone = [final([run], data, layout)[0] for run in RUNS]
    assert final(RUNS, data, layout) == pytest.approx(alone, abs=tolerance)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("change", [{}, EVERYTHING], ids=["reference", "everything"])
def test_the_same_run_batch_ends_with_the_same_bytes(tmp_path: Path, precision, change):
    same_bytes_twice(tmp_path, precision, change)


def same_bytes_twice(tmp_path: Path, precision, change):
    """With sequences long enough for attention to have several blocks of keys, whose gradients are added up."""
    settings = replace(TINY, model="1m", sequence_length=512, tokens=512 * 80, valid_tokens=512, precision=precision)
    data = TokenData.open(write_tokens(tmp_path / "tokens", {"a": 4000, "b": 4000}, valid=1400, shard=4000), settings)
    layout = replace(layout_of(replace(settings, models_per_process=4), VOCABULARY), **change)
    assert (layout.device, layout.models_per_process) == ("cuda", 4)
    for name in ("once", "twice"):
        train_together(RUNS, data, tmp_path / name, settings, layout)
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")


@pytest.mark.parametrize("change", [{}, EVERYTHING], ids=["reference", "everything"])
def test_stopped_and_continued_it_ends_with_the_same_losses(data, tmp_path: Path, monkeypatch, change):
    layout = replace(LAYOUT, **change)
    monkeypatch.setattr(trainer, "STATE_SECONDS", -1)
    plans, steps = [plan_of(run, data, TINY) for run in RUNS], []
    wanted = fit(RUNS, plans, data, TINY, layout)

    def stop(count: int) -> None:
        steps.append(count)
        if len(steps) > 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(RUNS, plans, data, TINY, layout, on_steps=stop, state=tmp_path / "state")
    found = fit(RUNS, plans, data, TINY, layout, state=tmp_path / "state")
    assert [result.rows for result in found] == [result.rows for result in wanted]


def test_what_does_not_fit_is_halved_and_trained(data, tmp_path: Path):
    """A batch whose activations are larger than what this process may take."""
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(2**29 / torch.cuda.get_device_properties(0).total_memory)
    settings = replace(TINY, tokens=2**19, batch_size=2**14, evaluations=1)
    said: list[str] = []
    try:
        train_together(RUNS[:1], data, tmp_path, settings, replace(LAYOUT, micro_batch=2**14), warn=said.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("out of memory; again with" in line for line in said)
    assert (tmp_path / RUNS[0].id / "losses.csv").exists()


def test_compiled_losses_are_those_of_the_processor(data):
    same_losses_as_the_processor(data, {"compile": True}, 1e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_compiled_run_batch_ends_with_the_same_bytes(tmp_path: Path, precision):
    same_bytes_twice(tmp_path, precision, {**EVERYTHING, "compile": True})


def test_what_is_fastest_is_measured(tmp_path: Path, monkeypatch):
    """Of a few layouts that are not compiled, since this is about measuring, not about speed."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(calibration, "TRIED_MODELS_PER_PROCESS", (4, 64))
    layout = chosen_layout(replace(TINY, tokens=10**10, compile=False), VOCABULARY, 100, 1)
    assert layout.device == "cuda" and layout.precision == "bf16" and layout.variants["graph"]
    speeds = json.loads((tmp_path / "proxymix" / "speeds.json").read_text()).values()
    assert sum(isinstance(cost, float) and 0 < cost < 1 for cost in speeds) >= 3
