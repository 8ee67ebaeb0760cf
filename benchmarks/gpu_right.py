"""Sections "right" and "tests" of gpu.py: proxies learn on a GPU what they learn on a CPU, whatever way is taken."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from contenders import write_tokens
from gpu_cases import FASTEST_WAY, WAYS
from gpu_sections import TESTS_SO_FAR, Context, Item, WantsGpu

TOLERANCES = {
    "cpu": {"fp32": 2e-3, "bf16": 0.05},  # nats, the largest difference of a training loss in 200 steps
    "neighbours": {"fp32": 2e-3, "bf16": 0.05},  # the largest difference of a final validation loss over K
    "variant": {"fp32": 2e-3, "bf16": 0.05},  # the largest difference of a training loss from the reference's
    "float64": {"fp32": 1e-5, "bf16": 0.02},  # of a validation loss from its computation in float64
}
VOCABULARY = 512
PRECISIONS = ("fp32", "bf16")


STEPS = {"cpu": 200, "usual": 40, "rehearsal": 10}  # Of a training: for the comparison with a CPU, and for all else.


def right(context: Context) -> Iterator[Item]:
    """In order of worth: the reference layout, everything at once, single ways, and last what has to be compiled."""
    check = functools.partial
    yield "fp32 against the CPU", check(against_cpu, context)
    for precision in PRECISIONS:
        yield f"{precision}: K = 1, 4, 16", check(neighbours, context, precision)
    yield from (way(context, precision, name) for name in ("", "everything") for precision in PRECISIONS)
    yield "a diverging neighbour", check(diverging, context)
    yield "out of memory", check(out_of_memory, context)
    for precision in PRECISIONS:
        yield f"{precision}: validation against float64", check(validation, context, precision)
    single = ("head fused", "graph", "optimiser fused", "corpus on device", "graph, corpus")
    compiled = (FASTEST_WAY, "compiled")
    yield from (way(context, precision, name) for name in single for precision in PRECISIONS)
    yield from (way(context, precision, name) for name in compiled for precision in PRECISIONS[::-1])


def way(context: Context, precision: str, name: str) -> Item:
    """The check of one way; the reference layout is the one without a name."""
    layout = layout_of(context, precision, 4, **(WAYS[name] if name else {}))
    return f"{precision}, {name or 'reference'}: agrees, repeats, resumes", functools.partial(
        agrees, context, precision, layout
    )


def settings_of(context: Context, num_steps: int = STEPS["usual"], **change: Any) -> Any:
    """A small proxy, whose attention has several blocks of keys; in a rehearsal smaller, and trained for fewer steps."""
    from proxy_training.runs.settings import TrainSettings

    model, sequence, scored = ("50k", 32, 256) if context.rehearse else ("80k", 256, 2048)
    steps = min(num_steps, STEPS["rehearsal"]) if context.rehearse else num_steps
    shape = {"sequence_length": sequence, "batch_size": 8, **change}
    tokens = steps * shape["batch_size"] * shape["sequence_length"]
    return TrainSettings(model, **{"tokens": tokens, "valid_tokens": scored, "evaluations": 2, **shape})


def data_of(context: Context, settings: Any) -> Any:
    """Learnable tokens."""
    from proxy_training.runs.token_data import TokenData

    folder = context.folder / context.section / str(VOCABULARY)
    return TokenData.open(write_tokens(folder, VOCABULARY, 50_000 if context.rehearse else 300_000), settings)


def runs_of(count: int) -> list[Any]:
    """Proxies on different mixtures and seeds."""
    from proxy_training.runs.settings import Run

    weights = [{"d0": 0.1 + 0.02 * k, "d1": 0.4 - 0.02 * k, "d2": 0.3, "d3": 0.2} for k in range(16)]
    return [Run(f"n{k:05d}", weights[k], seed=k % 5) for k in range(count)]


def layout_of(context: Context, precision: str, k: int, **change: Any) -> Any:
    """The reference layout of K proxies, in two pieces."""
    from proxy_training.device.layout import Layout

    return replace(Layout(context.device, precision, k, 4, False), **change)


def train(context: Context, runs: Sequence[Any], settings: Any, layout: Any, **options: Any) -> list[Any]:
    """Results of the runs, all in one process."""
    from proxy_training.loop.trainer import fit
    from proxy_training.runs.token_data import plan_of

    data = data_of(context, settings)
    return fit(runs, [plan_of(run, data, settings) for run in runs], data, settings, layout, **options)


def apart(found: Sequence[Any], wanted: Sequence[Any], key: str = "train_loss") -> float:
    """The largest difference of a loss at any step of any run; infinite where the rows are not of the same steps."""
    worst = 0.0
    for ours, theirs in zip(found, wanted, strict=True):
        if [row["step"] for row in ours.rows] != [row["step"] for row in theirs.rows]:
            return float("inf")
        for row, other in zip(ours.rows, theirs.rows, strict=True):
            if key in other:
                difference = abs(row[key] - other[key])
                worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def verdict(what: str, precision: str, worst: float, **values: Any) -> Mapping[str, Any]:
    """A difference beside its tolerance."""
    tolerance = TOLERANCES[what][precision]
    return {"worst": worst, "tolerance": tolerance, "right": worst <= tolerance, **values}


def against_cpu(context: Context) -> Mapping[str, Any]:
    """Two proxies train for 200 steps in float32, without TF32, here and on a CPU."""
    import torch

    assert not torch.backends.cuda.matmul.allow_tf32
    settings = settings_of(context, STEPS["cpu"], sequence_length=64, batch_size=4)
    runs = runs_of(2)
    here = train(context, runs, settings, layout_of(context, "fp32", 2, micro_batch=2))
    cpu = train(context, runs, settings, layout_of(context, "fp32", 2, micro_batch=2, device="cpu"))
    final = apart([last_only(r) for r in here], [last_only(r) for r in cpu], "metric/d0_val_loss")
    return verdict("cpu", "fp32", apart(here, cpu), final_validation=final, last=here[0].rows[-1]["train_loss"])


def last_only(result: Any) -> Any:
    """A result with its last row alone."""
    return replace(result, rows=result.rows[-1:])


def neighbours(context: Context, precision: str) -> Mapping[str, Any]:
    """The first two proxies: each alone, with three others, and with fifteen."""
    settings = settings_of(context)
    runs = runs_of(4 if context.rehearse else 16)
    losses: dict[int, list[float]] = {}
    for k in (1, 2, 4) if context.rehearse else (1, 4, 16):
        losses[k] = []
        for start in range(0, 2, k):
            found = train(context, runs[start : start + k], settings, layout_of(context, precision, k))
            losses[k] += [result.rows[-1]["metric/d0_val_loss"] for result in found]
    spread = max(max(values) - min(values) for values in zip(*(each[:2] for each in losses.values()), strict=True))
    between = max(losses[1]) - min(losses[1])
    return verdict("neighbours", precision, spread, between_runs=between)


@functools.cache
def reference(context: Context, precision: str) -> list[Any]:
    """Results of the reference layout."""
    settings = settings_of(context)
    return train(context, runs_of(4), settings, layout_of(context, precision, 4))


class Stop(Exception):
    """Ends a training in the middle."""


def agrees(context: Context, precision: str, layout: Any) -> Mapping[str, Any]:
    """A way's losses against the reference's; the same twice, and stopped in the middle and continued, to the bit."""
    from proxy_training.loop import trainer

    if context.device == "cpu" and (layout.compile or set(layout.variants) - {"corpus"}):
        raise WantsGpu("this way wants a GPU")
    runs, settings = runs_of(4), settings_of(context)
    usual = reference(context, precision)
    once = train(context, runs, settings, layout) if layout.variants or layout.compile else usual
    twice = train(context, runs, settings, layout)
    state, steps = context.folder / f"{context.section}.state", []

    def stop(count: int) -> None:
        steps.append(count)
        if sum(steps) > len(runs) * settings.num_steps // 2:
            raise Stop

    state.unlink(missing_ok=True)
    seconds, trainer.STATE_SECONDS = trainer.STATE_SECONDS, -1  # type: ignore[assignment]
    try:
        train(context, runs, settings, layout, on_steps=stop, state=state)
    except Stop:
        pass
    finally:
        trainer.STATE_SECONDS = seconds
    resumed = train(context, runs, settings, layout, state=state)
    worst = apart(once, usual)
    bits = {
        "repeats": [r.rows for r in once] == [r.rows for r in twice],
        "resumes": [r.rows for r in resumed] == [r.rows for r in once],
        "resume_difference": apart(resumed, once),
    }
    found = verdict("variant", precision, worst, **bits, last=once[0].rows[-1]["train_loss"])
    return {**found, "right": found["right"] and bits["repeats"] and bits["resumes"]}


def diverging(context: Context) -> Mapping[str, Any]:
    """One of four begins with weights that are not numbers; the others end as they do beside a sound one."""
    import torch

    from proxy_training.loop import trainer

    runs, settings = runs_of(4), settings_of(context)
    ways = {"reference": {}, "everything": WAYS["everything"]}
    if context.device == "cpu":
        ways["everything"] = {"corpus": "device"}
    build = trainer.build_proxy
    found: dict[str, Any] = {}
    for name, change in ways.items():
        layout = layout_of(context, "fp32", 4, **change)
        wanted = train(context, runs, settings, layout)

        def broken(config: Any, seed: int) -> Any:
            model = build(config, seed)
            if seed == runs[1].seed:
                torch.nn.init.constant_(model.transformer.wte.weight, float("nan"))
            return model

        trainer.build_proxy = broken  # type: ignore[assignment]
        try:
            ended = train(context, runs, settings, layout)
        finally:
            trainer.build_proxy = build
        said = "the training loss is nan" in ended[1].diverged
        found[name] = said and all(ended[k].rows == wanted[k].rows for k in (0, 2, 3))
    return {"right": all(found.values()), **found}


def validation(context: Context, precision: str) -> Mapping[str, Any]:
    """Validation losses against logits of litgpt.GPT in float64, from the final weights."""
    import torch
    from litgpt import GPT

    from proxy_training.loop.trainer import fit
    from proxy_training.model.proxy import proxy_config
    from proxy_training.runs.plan import evenly_spaced
    from proxy_training.runs.token_data import plan_of

    settings, runs = settings_of(context), runs_of(4)
    data, weights = data_of(context, settings), {}
    results = fit(
        runs,
        [plan_of(run, data, settings) for run in runs],
        data,
        settings,
        layout_of(context, precision, 4),
        on_weights=lambda position, found: weights.update({position: found}),
    )
    worst = 0.0
    for position in (0, 3):
        model = GPT(proxy_config(settings.model, data.vocabulary, settings.sequence_length))
        model.load_state_dict(weights[position])
        model.double()
        for name, domain in data.valid.items():
            blocks = evenly_spaced(domain.num_blocks, settings.valid_tokens // settings.sequence_length)
            ids = torch.from_numpy(domain.gather(blocks))
            with torch.no_grad():
                logits = model(ids[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).item()
            worst = max(worst, abs(loss - results[position].rows[-1][f"metric/{name}_val_loss"]))
    return verdict("float64", precision, worst)


def out_of_memory(context: Context) -> Mapping[str, Any]:
    """A batch that needs more memory than this process may take is halved until it fits, and the run ends well."""
    import torch

    from proxy_training.launch.job import TrainingJob
    from proxy_training.launch.train_batch import train_batch

    settings = settings_of(context, 4, sequence_length=64, batch_size=2**14, evaluations=1)
    if context.device != "cuda":
        raise WantsGpu("this wants a GPU")
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(2**30 / total)
    said: list[str] = []
    ends = {}
    try:
        for name, change in {"reference": {}, "graph": {"graph": True}}.items():
            out, layout = context.folder / f"memory-{name}", layout_of(context, "fp32", 1, micro_batch=2**14, **change)
            data = data_of(context, settings)
            train_batch(runs_of(1), data, layout, TrainingJob(settings, data.folder, out), warn=said.append)
            ends[name] = (out / runs_of(1)[0].id / "losses.csv").exists()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    halved = sum("out of memory; again with" in line for line in said)
    return {"right": halved > 0 and all(ends.values()), "halved": halved, **ends, "said": said[:3]}


# ---- The tests of the repository that want a GPU


def tests(context: Context) -> Iterator[Item]:
    """One item: the file's tests, which are in order of worth."""
    yield "tests/test_gpu.py", functools.partial(run_tests, context)


def run_tests(context: Context) -> Mapping[str, Any]:
    """Run tests/test_gpu.py and record line by line how far it is."""
    root = Path(__file__).resolve().parents[1]
    command = [sys.executable, "-m", "pytest", "-vv", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/test_gpu.py"]
    environment = {**os.environ, "PROXYMIX_TEST_GPU": "1", **({"CUDA_VISIBLE_DEVICES": ""} if context.rehearse else {})}
    process = subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    counts: dict[str, int] = {}
    failed: list[str] = []
    for line in process.stdout:
        print(line, end="", flush=True)
        if found := re.match(r"collecting.* collected (\d+) items", line):
            counts["tests"] = int(found[1])
        if found := re.match(r"tests/\S+::(.+?) (PASSED|FAILED|ERROR|SKIPPED)", line):
            counts[found[2].lower()] = counts.get(found[2].lower(), 0) + 1
            if found[2] in ("FAILED", "ERROR"):
                failed.append(found[1])
            context.record(TESTS_SO_FAR, "done", **counts, failed_tests=failed)
    code = process.wait()
    return {**counts, "failed_tests": failed, "right": code in (0, 5)}
