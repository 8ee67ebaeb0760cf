"""What is fastest here is measured where it matters, chosen, and remembered."""

import math
import re
from dataclasses import asdict, replace

import pytest
import torch
from proxies import TINY, VOCABULARY

from proxy_training.device import calibration, measuring, trial
from proxy_training.device import layout as layout_module
from proxy_training.device.calibration import EVERYTHING, chosen_layout, predicted_seconds, rough_seconds
from proxy_training.device.layout import Layout
from proxy_training.device.measuring import MeasuringWorkers, measured
from proxy_training.device.trial import Speed, disagreement, measured_speed
from proxy_training.loop import trainer
from proxy_training.loop.graphed_step import EAGER_STEPS
from proxymix.errors import StageError

LONG = replace(TINY, tokens=10**9)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "proxymix" / "speeds.json"


class Bench:
    """Measures by a table, models per process or (that, "compiled") -> seconds, and keeps what it was asked."""

    def __init__(self, table) -> None:
        self.table, self.asked = table, []

    def measure(self, layouts):
        keys = [
            (layout.models_per_process, "compiled") if layout.compile else layout.models_per_process
            for layout in layouts
        ]
        self.asked += keys
        if any(self.table[key] is None for key in keys):
            raise StageError("no compiler")
        return [[Speed(self.table[key], 0.0) for key in keys]]


@pytest.fixture
def bench(monkeypatch):
    def made(**options):
        table = {1: 8e-5, 4: 6e-5, 8: 6e-5, 16: 5e-5, 64: 7e-5, (16, "compiled"): 4e-5, **options.get("table", {})}
        found = Bench(table)
        monkeypatch.setattr(MeasuringWorkers, "measure", lambda self, layouts: found.measure(layouts))
        return found

    return made


def test_a_short_sweep_goes_by_rule_and_a_long_one_by_what_is_fastest(bench, capfd):
    found = bench()
    assert chosen_layout(TINY, VOCABULARY, 100, 1).models_per_process == 8
    assert not found.asked
    assert chosen_layout(LONG, VOCABULARY, 100, 1).models_per_process == 16
    assert found.asked == [1, 4, 8, 16, 64, (16, "compiled")]
    said = capfd.readouterr().err
    assert "12,500 with 1, 16,667 with 4, 16,667 with 8, 20,000 with 16, 14,286 with 64\n" in said
    assert "25,000 with 16 compiled\n" in said


def test_more_proxies_in_a_process_must_be_faster_by_more_than_noise(bench):
    bench(table={16: 5.9e-5, (4, "compiled"): 6e-5})
    assert chosen_layout(LONG, VOCABULARY, 100, 1).models_per_process == 4


def test_no_more_are_tried_than_a_process_has_runs(bench):
    found = bench(table={(5, "compiled"): 1.0, 5: 5e-5})
    chosen_layout(LONG, VOCABULARY, 10, 2)
    assert found.asked == [1, 4, 5, (5, "compiled")]


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
    assert found.asked == [5, (5, "compiled")], "the others are known"
    chosen_layout(LONG, 2 * VOCABULARY, 4, 1)
    assert found.asked[2:] == [1, 4, (4, "compiled")]
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
        monkeypatch.setitem(calibration.FASTER_WAYS, "cpu", (changes,))
        monkeypatch.setattr(trial, "SECONDS", {"cpu": 0.05})
        settings = replace(LONG, models_per_process="auto", compile=False)
        monkeypatch.setattr(
            MeasuringWorkers,
            "measure",
            lambda self, layouts: [[measured_speed(settings, VOCABULARY, each) for each in layouts]],
        )
        return chosen_layout(settings, VOCABULARY, 4, 1)

    return tried


def test_what_cannot_run_here_is_left_out_and_said(ways, cache, capfd):
    changes = [{"head": "fused"}, {"graph": True}, {"optimizer": "fused"}]
    assert not ways(*changes).variants
    said = capfd.readouterr().err
    for name in ("head fused", "graph", "optimizer fused"):
        assert re.search(rf"\d {name} left out: \w*(Error|Exception): ", said), said
    assert cache.read_text().count("left out") == len(changes), "and remembered"


def test_a_faster_way_with_other_losses_is_left_out(ways, monkeypatch, capfd):
    """The head is made to return losses and no gradient, which is fast."""
    from proxy_training.model import head

    wrong = lambda logits, targets: (head._losses_and_gradient(logits, targets)[0], torch.zeros_like(logits))  # noqa: E731
    monkeypatch.setitem(head._BETWEEN_PRODUCTS, "fused", lambda: wrong)
    monkeypatch.setattr(calibration, "MIN_GAIN", 0.0)  # Whatever the speed.
    assert not ways({"head": "fused"}).variants
    assert re.search(
        r"left out: its losses differ by [\d.]+ nats in \d+ steps; 0.002 is allowed in fp32", capfd.readouterr().err
    )


def test_a_faster_way_with_the_same_losses_is_taken(ways, monkeypatch):
    monkeypatch.setattr(calibration, "MIN_GAIN", 0.0)
    assert ways({"corpus": "device"}).variants == {"corpus": "device"}


GPU_BYTES = 2**37


@pytest.fixture
def gpu(monkeypatch):
    """A pretended GPU, on which only some ways are faster than the reference layout; what was measured there."""
    for module in (calibration, layout_module):
        monkeypatch.setattr(module, "device_here", lambda: "cuda")
        monkeypatch.setattr(module, "num_gpus", lambda: 1)
        monkeypatch.setattr(module, "free_bytes", lambda device: GPU_BYTES)
    monkeypatch.setattr(layout_module, "precision_here", lambda settings, device: "bf16")
    asked: list[Layout] = []

    def choose(seconds):
        """`seconds` of a token in a layout; ways for which it is None are left out."""

        def measure(self, layouts):
            asked.extend(layouts)
            found = [seconds(layout) for layout in layouts]
            return [[Speed(cost or math.inf, 0.0, problem="" if cost else "it fails") for cost in found]]

        monkeypatch.setattr(MeasuringWorkers, "measure", measure)
        return chosen_layout(LONG, VOCABULARY, 100, 1), asked

    return choose


def test_on_a_gpu_all_faster_ways_are_tried_at_once_and_then_compiled(gpu):
    chosen, asked = gpu(lambda layout: 1e-6 / (1 + len(layout.variants) + layout.compile))
    assert chosen.variants == EVERYTHING and chosen.compile
    assert sum(bool(layout.variants) for layout in asked) == 2, "the parts are not tried alone"


def test_where_all_at_once_is_left_out_its_parts_are_tried(gpu):
    chosen, _ = gpu(lambda layout: None if layout.optimizer == "fused" else 1e-6 / (1 + len(layout.variants)))
    assert chosen.variants == {"graph": True, "corpus": "device", "head": "fused"}


def test_a_gpu_is_calibrated_for_small_proxies_that_wait_for_launches(gpu):
    """Their FLOP alone would take a second."""
    seconds = {}
    for batch in (8, 64):
        settings = replace(TINY, batch_size=batch, tokens=2_000_000)
        layout = layout_module.layout_of(settings, VOCABULARY, GPU_BYTES)
        seconds[batch] = rough_seconds(settings, VOCABULARY, layout, 64)
    assert seconds[64] < 90 < seconds[8]


def test_on_a_gpu_a_batch_passes_as_a_whole_if_memory_allows(gpu):
    settings = replace(TINY, model="1m", sequence_length=512, batch_size=16, tokens=2**20, valid_tokens=512)
    pieces = {
        size: layout_module.layout_of(replace(settings, models_per_process=64), 4096, size * 2**30).micro_batch
        for size in (140, 80, 40, 8)
    }
    assert pieces == {140: 16, 80: 16, 40: 8, 8: 1}


class FakeWorker:
    """Answers as the layouts' optimizer says, and counts how many were started."""

    started = 0

    def __init__(self, job, variables=None) -> None:
        type(self).started += 1
        self.job = job

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None: ...

    def send(self, message) -> None:
        self.job = message

    def answer(self):
        (layout,) = self.job["layouts"]
        lost = layout["optimizer"] == "fused"
        return asdict(Speed(1.0, 0.0, problem="AcceleratorError: CUDA error: unknown" if lost else ""))


def test_a_process_that_lost_its_gpu_measures_nothing_more(monkeypatch):
    monkeypatch.setattr(FakeWorker, "started", 0)
    monkeypatch.setattr(measuring, "Worker", FakeWorker)
    workers = MeasuringWorkers(TINY, VOCABULARY)
    layout = Layout("cuda", "bf16", 1, 4, False)
    (speeds,) = workers.measure([layout, replace(layout, head="fused")])
    assert FakeWorker.started == 1 and not any(speed.problem for speed in speeds)
    (speeds,) = workers.measure([replace(layout, optimizer="fused"), layout])
    assert FakeWorker.started == 2 and [bool(speed.problem) for speed in speeds] == [True, False]


def test_what_is_timed_of_a_graph_is_its_replay(monkeypatch):
    """The first steps of a layout with a graph are taken without it; a long step is a timing of its own."""
    counts = {}
    for graph in (False, True):
        taken = []

        def fit(*_, on_steps, taken=taken, **options):
            while True:
                taken.append(1)
                on_steps(1)

        monkeypatch.setattr(trainer, "fit", fit)
        monkeypatch.setattr(trial, "STEPS", {"cpu": 1})
        monkeypatch.setattr(trial, "SECONDS", {"cpu": 0.0})
        assert measured_speed(TINY, VOCABULARY, Layout("cpu", "fp32", 1, 4, False, graph=graph)).seconds_per_token > 0
        counts[graph] = len(taken)
    assert counts[False] == 2 and counts[True] > EAGER_STEPS + 2


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
