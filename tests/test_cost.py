"""What a sweep costs: counts that reproduce the published ones, the floor that follows from them, and their errors."""

import csv
import re
from dataclasses import replace

import pytest
from proxies import TINY, VOCABULARY, write_mixtures, write_tokens

from proxy_training import cost as cost_module
from proxy_training.cost import cost
from proxy_training.device import sweep_calibration
from proxy_training.device.calibration import Speed
from proxy_training.device.counting import Part, counted, floor_seconds
from proxy_training.device.layout import Layout
from proxy_training.device.roofline import DEVICES, Device, device_named, is_at_hand, measured_device
from proxy_training.device.sweep_calibration import calibrated
from proxy_training.model.proxy import flops_per_token
from proxy_training.runs.settings import SHAPES, TrainSettings
from proxymix.app.cli import main
from proxymix.errors import InputError

REGMIX = TrainSettings(
    model="1m", sequence_length=2048, batch_size=512, tokens=1_048_576_000, evaluations=10, valid_tokens=1_048_576
)
SIMPLE = Device("simple", "cuda", {"bf16": 2e12, "fp32": 1e12}, bandwidth=1e12, memory=1e9)


def part(counts, name: str) -> Part:
    return next(part for part in counts.parts if part.name == name)


def training_hours(counts, device: Device, num_runs: int) -> float:
    steps = num_runs * counts.settings.num_steps
    return steps * sum(p.seconds(device, counts.precision) for p in counts.parts if p.name != "validation") / 3600


def test_regmix_1m_takes_the_published_flop_most_of_them_in_the_head():
    counts = counted(REGMIX, 50_432)
    assert counts.flops_per_token == pytest.approx(97.9e6, rel=1e-3)
    assert counts.head_share == pytest.approx(0.79, abs=0.005)
    assert counts.num_parameters == pytest.approx(1.3e6, rel=0.01)
    assert counts.total_parameters == pytest.approx(27.1e6, rel=2e-3)
    assert counts.run_tokens == 1_048_576_000 and counts.run_flop == pytest.approx(1.03e17, rel=4e-3)


def test_regmix_whole_sweep_has_a_floor_of_some_17_hours_on_an_h200():
    assert training_hours(counted(REGMIX, 50_432), DEVICES["h200"], 512) == pytest.approx(16.7, rel=0.02)


def test_a_sweep_of_128_short_proxies_with_a_small_vocabulary_has_a_floor_of_minutes():
    short = replace(REGMIX, tokens=100_000_000, sequence_length=512, batch_size=128)
    assert 60 * training_hours(counted(short, 4096), DEVICES["h200"], 128) == pytest.approx(6.8, abs=0.1)


@pytest.mark.parametrize("model", SHAPES)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_parts_of_the_model_sum_to_the_flop_that_runs_record(model, precision):
    settings = replace(TINY, model=model, precision=precision)
    counts = counted(settings, VOCABULARY)
    assert counts.flops_per_token == flops_per_token(model, VOCABULARY, settings.sequence_length)
    assert part(counts, "validation").flop == pytest.approx(
        counts.flops_per_token / 3 * settings.valid_tokens * 10 * settings.evaluations / settings.num_steps
    )


def test_the_optimiser_and_the_clipping_move_the_same_bytes_for_any_batch():
    small, large = (counted(replace(TINY, batch_size=size), VOCABULARY) for size in (1, 16))
    for name in ("optimiser", "gradient clipping"):
        assert part(small, name).bytes == part(large, name).bytes > 0
    assert part(small, "optimiser").bytes == 28 * small.total_parameters
    assert 15 < part(large, "attention").bytes / part(small, "attention").bytes <= 16


def test_a_part_takes_the_longer_of_its_flop_and_its_bytes():
    by_flop, by_bytes = Part("a", 4e12, 1e12, matrix=True), Part("b", 1e11, 3e12, matrix=False)
    assert by_flop.seconds(SIMPLE, "bf16") == 2 and by_flop.seconds(SIMPLE, "fp32") == 4
    assert by_bytes.seconds(SIMPLE, "bf16") == 3


def test_what_memory_bounds_is_faster_with_more_bandwidth_and_the_rest_is_not():
    counts, slow = counted(REGMIX, 50_432), DEVICES["h200"]
    fast = replace(slow, bandwidth=1.01 * slow.bandwidth)
    for name in ("norms and pointwise", "optimiser"):
        assert part(counts, name).seconds(fast, "bf16") < part(counts, name).seconds(slow, "bf16")
    for name in ("attention", "head and logits"):
        assert part(counts, name).seconds(fast, "bf16") == part(counts, name).seconds(slow, "bf16")
    assert floor_seconds(counts, fast) < floor_seconds(counts, slow)


def test_the_floor_of_a_run_is_that_of_its_steps():
    counts = counted(TINY, VOCABULARY, num_domains=3)
    once = sum(p.seconds(SIMPLE, counts.precision) for p in counts.parts)
    assert floor_seconds(counts, SIMPLE) == pytest.approx(TINY.num_steps * once)
    more = counted(TINY, VOCABULARY, num_domains=6)
    assert part(more, "validation").flop == 2 * part(counts, "validation").flop


def test_logits_pass_through_the_memory_of_a_gpu_only():
    gpu, cpu = (counted(replace(TINY, precision="fp32"), 5000, kind=kind) for kind in ("cuda", "cpu"))
    logits = part(gpu, "head and logits").bytes - part(cpu, "head and logits").bytes
    assert logits == 3 * 4 * 5000 * TINY.tokens_per_step
    assert part(gpu, "MLP") == part(cpu, "MLP")


def test_half_the_bytes_of_an_activation_are_half_the_traffic_of_attention():
    half, full = (counted(replace(TINY, precision=precision), VOCABULARY) for precision in ("bf16", "fp32"))
    assert 2 * part(half, "attention").bytes == part(full, "attention").bytes
    assert part(half, "optimiser").bytes == part(full, "optimiser").bytes


def test_precision_is_that_of_the_device_unless_it_is_set():
    assert counted(TINY, VOCABULARY, kind="cuda").precision == "bf16"
    assert counted(TINY, VOCABULARY, kind="cpu").precision == "fp32"
    assert counted(replace(TINY, precision="bf16"), VOCABULARY, kind="cpu").precision == "bf16"


@pytest.mark.parametrize(("workers", "busiest"), [(1, 10), (2, 5), (3, 4), (20, 1)])
def test_the_busiest_device_sets_the_time_and_every_device_is_paid_for_it(capsys, workers, busiest):
    cost(TINY, VOCABULARY, num_runs=10, device="h200", workers=workers, price=36e12)
    amount = float(re.search(r"money +at least ([\d,.]+)", capsys.readouterr().out)[1].replace(",", ""))
    seconds = busiest * floor_seconds(counted(TINY, VOCABULARY), DEVICES["h200"])
    assert amount == pytest.approx(36e12 * workers * seconds / 3600)


LAYOUT = Layout("cpu", "fp32", models_per_process=1, micro_batch=8, compile=False)


def test_a_calibration_takes_the_median_of_what_its_processes_measure(monkeypatch):
    def measured(settings, vocabulary, layouts, workers=1):
        times = [1e-4, 3e-4, 2e-4, 2e-4]
        return [[Speed(cost, 1e10 + 2 * k) for k, cost in enumerate(times)]] * workers

    monkeypatch.setattr(sweep_calibration, "measured", measured)
    monkeypatch.setattr(sweep_calibration.time, "time", lambda: 1e10 - 9)
    found = calibrated(counted(TINY, VOCABULARY), DEVICES["h200"], LAYOUT, workers=2)
    assert found.seconds_per_token == pytest.approx(2e-4) and found.startup_seconds == pytest.approx(7)
    # RegMix's step takes minutes on a core: fewer sequences are trained, whose floor a token is hardly higher.
    core = Device("core", "cpu", {"fp32": 1e11}, 1e10, 1e9)
    assert 2e-4 * 0.8 < calibrated(counted(REGMIX, 50_432, kind="cpu"), core, LAYOUT).seconds_per_token < 2e-4


def test_this_machine_is_measured():
    device = measured_device("cpu", "fp32", seconds=0)
    assert device.kind == "cpu" and set(device.flops) == {"fp32"}
    assert device.flops["fp32"] > 1e8 and device.bandwidth > 1e8 and device.memory > 1e8


@pytest.mark.parametrize(
    ("gpu", "device", "there"),
    [
        ("", "auto", True),
        ("", "cpu", True),
        ("", "h200", False),
        ("NVIDIA H200", "H200", True),
        ("NVIDIA H200", "h100", False),
        ("NVIDIA H200", "cpu", False),
        ("NVIDIA A100-SXM4-80GB", "a100", True),
        ("NVIDIA L40S", "l4", False),
        ("NVIDIA GeForce RTX 4090", "rtx4090", True),
    ],
)
def test_a_device_is_at_hand_where_training_would_happen_on_it(monkeypatch, gpu, device, there):
    monkeypatch.setattr("proxy_training.device.roofline.gpu_name", lambda: gpu)
    assert is_at_hand(device) == there


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"device": "h20"}, r"--device: .*'h20'; did you mean h200\?"),
        (
            {"device": "h200", "calibrate": True},
            r"--calibrate .*a CPU.* h200",
        ),
        ({"vocabulary": None}, "vocabulary; give --vocabulary, or --tokens"),
        ({"vocabulary": 0}, "--vocabulary is 0"),
        ({"num_domains": 0}, "--num_domains is 0"),
        ({"num_runs": 0}, "--num_runs is 0"),
        ({"price": -1.0}, r"--price is -1\.0"),
    ],
)
def test_what_cannot_be_counted_says_why(monkeypatch, arguments, message):
    monkeypatch.setattr(cost_module, "gpu_name", lambda: "")
    monkeypatch.setattr("proxy_training.device.roofline.gpu_name", lambda: "")
    with pytest.raises(InputError, match=message):
        cost(**({"train": TINY, "vocabulary": VOCABULARY, "device": "h200"} | arguments))


def test_the_command_reads_a_study_and_its_table_adds_up(tmp_path, capsys):
    study = tmp_path / "study"
    write_tokens(study / "tokens", {"a": 500, "b": 500, "c": 500})
    (study / "study.yaml").write_text(
        "synthesize: {num_mixtures: 40}\nworkers: 2\n"
        "train: {model: 80k, sequence_length: 16, tokens: 6400, batch_size: 4, valid_tokens: 64}\n"
    )
    flags = ["--device", "h200", "--price", "36000", "--out", str(tmp_path / "cost.csv")]
    assert main(["cost", "--study", str(study), *flags]) == 0
    shown = capsys.readouterr().out
    assert f"vocabulary {VOCABULARY};" in shown and "for 40 runs on 2 x H200;" in shown and "3 domains" in shown
    assert not (study / "stages").exists(), "a question is no stage of a study"

    settings = TrainSettings(model="80k", sequence_length=16, tokens=6400, batch_size=4, valid_tokens=64)
    counts = counted(settings, VOCABULARY, 3)
    with (tmp_path / "cost.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["part"] for row in rows] == [p.name for p in counts.parts]
    assert sum(float(row["share_of_floor"]) for row in rows) == pytest.approx(1)
    seconds = sum(float(row["floor_seconds_per_token"]) for row in rows) * 6400 * 20
    assert seconds == pytest.approx(20 * floor_seconds(counts, DEVICES["h200"]))
    amount = float(re.search(r"money +at least ([\d,.]+)", shown)[1].replace(",", ""))
    assert amount == pytest.approx(36000 * 2 * seconds / 3600, abs=0.005)


def test_mixtures_say_how_many_runs_where_nothing_else_does(tmp_path, capsys):
    write_mixtures(tmp_path / "mixtures", [{"a": 1.0}] * 7)
    cost(TINY, VOCABULARY, device="l4", mixtures=tmp_path / "mixtures")
    assert "for 7 runs on 1 x L4" in capsys.readouterr().out
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no mixture YAMLs"):
        cost(TINY, VOCABULARY, device="l4", mixtures=tmp_path / "empty")


def test_a_stack_that_does_not_fit_is_said_to(capsys):
    cost(replace(REGMIX, model="60m", models_per_process=8), 50_432, num_runs=8, device="l4")
    assert "does NOT fit into 24 GB" in capsys.readouterr().out
    for settings in (
        replace(REGMIX, model="60m", models_per_process=2),
        replace(TINY, models_per_process=2),
    ):  # two share the activations' room
        cost(settings, 50_432, num_runs=2, device="l4")
        assert "NOT" not in capsys.readouterr().out


def test_a_device_is_found_in_any_case():
    assert device_named("RTX4090", "auto") is DEVICES["rtx4090"]


def test_the_help_of_the_device_lists_all_of_them():
    text = cost.__doc__.split("\n        device:")[1].split("\n        workers:")[0]
    assert [name for name in re.findall(r"\w+", text) if name in DEVICES] == list(DEVICES)


def test_a_dry_run_says_how_large_a_proxy_is_and_the_flop_of_the_sweep(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("proxy_training.launch.train_runs.estimate_seconds", lambda *_: 60.0)
    flags = ["--train.tokens", "1_000_000", "--synthesize.num_mixtures", "10", "--study", str(tmp_path / "study")]
    assert (
        main(
            [
                "run",
                *flags,
                "--tokenize.vocab_size",
                "50432",
                "--train.sequence_length",
                "2048",
                "--dry_run",
                "--calibrate",
            ]
        )
        == 0
    )
    shown = capsys.readouterr().err
    assert "27,133,184 parameters, 1,312,000 of them" in shown and "97.9 MFLOP a token, 79% in the head" in shown
    assert "the sweep: 9.79e+14 FLOP, 10 x 999,424 tokens" in shown and "about 1 min" in shown
    write_tokens(tmp_path / "study" / "tokens", {"a": 500})
    assert main(["run", *flags, "--tokenize.vocab_size", "50432", "--dry_run"]) == 0
    assert f"(vocabulary {VOCABULARY})" in capsys.readouterr().err, "the tokens at hand say it"


def test_the_help_of_a_size_is_its_parameters():
    def short(number: int) -> str:
        unit = 1e3 if number < 1e6 else 1e6 if number < 1e9 else 1e9
        return f"{number / unit:#.3g}".rstrip(".") + {1e3: "K", 1e6: "M", 1e9: "B"}[unit]

    text = " ".join(TrainSettings.__doc__.split("model:")[1].split("sequence_length:")[0].split())
    assert dict(re.findall(r"(\w+) \(([\d.]+[KMB])", text)) == {n: short(s.num_parameters) for n, s in SHAPES.items()}


@pytest.mark.parametrize("name", SHAPES)
def test_the_heads_of_a_proxy_are_of_an_even_size_that_kernels_take(name):
    size, rest = divmod(SHAPES[name].width, SHAPES[name].heads)
    assert rest == 0 and size % 2 == 0 and 16 <= size <= 128


def test_sizes_are_listed_from_small_to_large():
    counts = [shape.num_parameters for shape in SHAPES.values()]
    assert counts == sorted(counts)
