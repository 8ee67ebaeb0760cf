"""On a GPU proxies learn what they learn on a CPU, the same each time, whatever their neighbours and arithmetic."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from proxies import TINY, VOCABULARY, contents, write_tokens

from proxy_training.layout import Layout, layout_of
from proxy_training.settings import Run, TrainSettings
from proxy_training.train import TokenData, plan_of, train_bundle
from proxy_training.trainer import fit

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU")
LAYOUT = Layout("cuda", "fp32", stack=8, micro_batch=4, compile=False)
RUNS = [Run(f"n{k:05d}", {"a": k / 4, "b": 1 - k / 4}, seed=k) for k in range(1, 5)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TokenData:
    return TokenData.open(write_tokens(tmp_path_factory.mktemp("tokens"), {"a": 2000, "b": 1000}), TINY)


def final(runs: list[Run], data: TokenData, layout: Layout, settings: TrainSettings = TINY) -> list[float]:
    results = fit(runs, [plan_of(run, data, settings) for run in runs], data, settings, layout)
    return [result.rows[-1]["metric/a_val_loss"] for result in results]


@pytest.mark.parametrize(
    ("change", "tolerance"),
    [({}, 1e-3), ({"micro_batch": 1}, 1e-3), ({"compile": True}, 1e-3), ({"precision": "bf16"}, 0.05)],
)
def test_losses_are_those_of_the_processor(data, change, tolerance):
    wanted = final(RUNS, data, replace(LAYOUT, device="cpu"))
    assert final(RUNS, data, replace(LAYOUT, **change)) == pytest.approx(wanted, abs=tolerance)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("bf16", 0.01)])
def test_neighbours_change_nothing_that_counts(data, precision, tolerance):
    layout = replace(LAYOUT, precision=precision)
    alone = [final([run], data, layout)[0] for run in RUNS]
    assert final(RUNS, data, layout) == pytest.approx(alone, abs=tolerance)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_same_bundle_ends_with_the_same_bytes(data, tmp_path: Path, compiled):
    layout = replace(layout_of(replace(TINY, stack=4, compile=compiled), VOCABULARY), stack=4)
    assert layout.device == "cuda"
    for name in ("once", "twice"):
        train_bundle(RUNS, data, tmp_path / name, TINY, layout)
    assert contents(tmp_path / "once") == contents(tmp_path / "twice")


def test_what_does_not_fit_is_halved_and_trained(data, tmp_path: Path):
    """A batch whose logits alone are larger than the device."""
    free = torch.cuda.mem_get_info()[0]
    torch.cuda.set_per_process_memory_fraction(min(1.0, 2**28 / free))
    settings = replace(TINY, model="3m", tokens=2**21, batch_size=2**16, evaluations=1)
    said: list[str] = []
    try:
        layout = replace(LAYOUT, stack=1, micro_batch=settings.batch_size)
        train_bundle(RUNS[:1], data, tmp_path, settings, layout, warn=said.append)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert any("out of memory; again with" in line for line in said)
    assert (tmp_path / RUNS[0].id / "losses.csv").exists()
