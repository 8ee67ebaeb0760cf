"""What is fastest here is measured where it matters, chosen, and remembered."""

import math
import re
from dataclasses import replace

import pytest
import torch
from proxies import TINY, VOCABULARY

from proxy_training.device import calibration, trial
from proxy_training.device.calibration import chosen_layout, measured, predicted_seconds
from proxy_training.device.layout import Layout
from proxy_training.device.trial import Speed, disagreement, measured_speed
from proxymix.errors import StageError

LONG = replace(TINY, tokens=10**9)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "proxymix" / "speeds.json"


class Bench:
    """Measures by a table, stack or (stack, "compiled") -> seconds, and keeps what it was asked."""

    def __init__(self, table) -> None:
        self.table, self.asked = table, []

    def __call__(self, settings, vocabulary, layouts, workers=1):
        keys = [
            (layout.models_per_process, "compiled") if layout.compile else layout.models_per_process
            for layout in layouts
        ]
        self.asked += keys
        if any(self.table[key] is None for key in keys):
            raise StageError("no compiler")
        return [[Speed(self.table[key], 0.0) for key in keys]] * workers


@pytest.fixture
def bench(monkeypatch):
    def made(**options):
        table = {1: 8e-5, 4: 6e-5, 8: 6e-5, 16: 5e-5, 64: 7e-5, (16, "compiled"): 4e-5, **options.get("table", {})}
        found = Bench(table)
        monkeypatch.setattr(calibration, "measured", found)
        return found

    return made


def test_a_short_sweep_goes_by_rule_and_a_long_one_by_what_is_fastest(bench, capfd):
    found = bench()
    assert chosen_layout(TINY, VOCABULARY, 100, 1).models_per_process == 8
    assert not found.asked
    assert chosen_layout(LONG, VOCABULARY, 100, 1).models_per_process == 16
    assert found.asked == [1, 4, 8, 16, 64, 16, (16, "compiled")]
    said = capfd.readouterr().err
    assert "12,500 with 1, 16,667 with 4, 16,667 with 8, 20,000 with 16, 14,286 with 64\n" in said
    assert "25,000 with 16 compiled\n" in said


def test_a_larger_stack_must_be_faster_by_more_than_noise(bench):
    bench(table={16: 5.9e-5, (4, "compiled"): 6e-5})
    assert chosen_layout(LONG, VOCABULARY, 100, 1).models_per_process == 4


def test_no_more_are_tried_than_a_process_has_runs(bench):
    found = bench(table={(5, "compiled"): 1.0, 5: 5e-5})
    chosen_layout(LONG, VOCABULARY, 10, 2)
    assert found.asked == [1, 4, 5, 5, (5, "compiled")]


def test_compiling_is_tried_where_it_may_pay_and_taken_where_it_does(bench):
    assert chosen_layout(LONG, VOCABULARY, 100, 1).compile if bench() else None
    bench(table={(16, "compiled"): 4.95e-5})
    assert not chosen_layout(replace(LONG, model="200k"), VOCABULARY, 100, 1).compile
    bench(table={(16, "compiled"): None})  # there is no compiler
    assert not chosen_layout(replace(LONG, model="300k"), VOCABULARY, 100, 1).compile
    found = bench()  # two minutes
    assert not chosen_layout(replace(LONG, model="1m", tokens=140_000), VOCABULARY, 18, 1).compile
    assert found.asked == [1, 4, 16]


def test_what_is_asked_for_is_not_measured(bench):
    found = bench()
    layout = chosen_layout(replace(LONG, models_per_process=3, compile=False), VOCABULARY, 100, 1)
    assert (layout.models_per_process, layout.compile, found.asked) == (3, False, [])


def test_what_was_measured_is_remembered_for_what_decides_it(bench, cache):
    chosen = chosen_layout(LONG, VOCABULARY, 100, 1) if bench() else None
    found = bench(table={(5, "compiled"): 1.0, 5: 5e-5, (4, "compiled"): 1.0})
    assert chosen_layout(replace(LONG, learning_rate=0.1), VOCABULARY, 100, 1) == chosen
    assert not found.asked
    chosen_layout(LONG, VOCABULARY, 5, 1)
    assert found.asked == [5, 5, (5, "compiled")], "the others are known"
    chosen_layout(LONG, 2 * VOCABULARY, 4, 1)
    assert found.asked[3:] == [1, 4, 4, (4, "compiled")]
    for damaged in ("{", "[]", cache.read_text().replace("e-05", '"')):
        cache.write_text(damaged)
        assert chosen_layout(LONG, VOCABULARY, 100, 1) == chosen


def test_a_layout_that_does_not_fit_is_not_chosen(bench):
    bench(table={16: math.inf, 64: math.inf, (4, "compiled"): 1.0})
    assert chosen_layout(LONG, VOCABULARY, 100, 1).models_per_process == 4


@pytest.fixture
def ways(monkeypatch):
    """Faster ways are tried on the CPU as on a GPU, in this process."""

    def tried(*changes):
        monkeypatch.setitem(calibration.VARIANTS, "cpu", changes)
        monkeypatch.setattr(trial, "SECONDS", {"cpu": 0.05})
        monkeypatch.setattr(
            calibration,
            "measured",
            lambda settings, vocabulary, layouts: [[measured_speed(settings, vocabulary, each) for each in layouts]],
        )
        return chosen_layout(replace(LONG, models_per_process="auto", compile=False), VOCABULARY, 4, 1)

    return tried


def test_what_cannot_run_here_is_left_out_and_said(ways, cache, capfd):
    changes = [{"head": "fused"}, {"head": "liger"}, {"head": "cut"}, {"graph": True}, {"optimizer": "fused"}]
    assert not ways(*changes).variants
    said = capfd.readouterr().err
    for name in ("head fused", "head liger", "head cut", "graph", "optimizer fused"):
        assert re.search(rf"\d {name} left out: \w*(Error|Exception): ", said), said
    assert cache.read_text().count("left out") == len(changes), "and remembered"


def test_a_faster_way_with_other_losses_is_left_out(ways, monkeypatch, capfd):
    """The head is made to return losses and no gradient, which is fast."""
    from proxy_training.model import head

    wrong = lambda logits, targets: (head._losses_and_gradient(logits, targets)[0], torch.zeros_like(logits))  # noqa: E731
    monkeypatch.setitem(head._BETWEEN_PRODUCTS, "fused", lambda: wrong)
    monkeypatch.setattr(calibration, "BETTER", 0.0)  # Whatever the speed.
    assert not ways({"head": "fused"}).variants
    assert re.search(
        r"left out: its losses differ by [\d.]+ nats in \d+ steps; 0.002 is allowed in fp32", capfd.readouterr().err
    )


def test_a_faster_way_with_the_same_losses_is_taken(ways, monkeypatch):
    monkeypatch.setattr(calibration, "BETTER", 0.0)
    assert ways({"corpus": "device"}).variants == {"corpus": "device"}


def test_losses_that_are_no_numbers_disagree():
    reference, broken = Speed(1.0, 0.0, [[5.0, 5.0]]), Speed(0.5, 0.0, [[5.0, math.nan]])
    assert "differ by nan" in disagreement(broken, reference, "bf16")
    assert not disagreement(replace(broken, losses=[[5.01, 4.99]]), reference, "bf16")
    assert "0.01 nats" in disagreement(replace(broken, losses=[[5.01, 4.99]]), reference, "fp32")


@pytest.mark.slow
def test_a_measurement_trains_in_processes_of_its_own():
    layouts = [Layout("cpu", "fp32", models_per_process=k, micro_batch=4, compile=False) for k in (1, 4)]
    found = measured(TINY, VOCABULARY, layouts, workers=2)
    assert [len(of_one) for of_one in found] == [2, 2]
    assert all(0 < speed.seconds_per_token < 1 for of_one in found for speed in of_one)
    assert all(first.ended < second.ended for first, second in found)


@pytest.mark.slow
def test_a_measurement_that_fails_says_why():
    with pytest.raises(StageError, match=r"a worker could not train a first step: exit status 1: .*fp7"):
        measured(TINY, VOCABULARY, [Layout("fp7", "fp32", 1, 4, False)])


def test_a_prediction_counts_training_scoring_and_files():
    scored = 0.4 * TINY.evaluations * TINY.valid_tokens * 2
    layout = Layout("cpu", "fp32", 1, 4, compile=False)
    assert predicted_seconds(1e-3, TINY, layout, 2, num_runs=3) == pytest.approx(3 * (1.280 + scored * 1e-3 + 0.3))
