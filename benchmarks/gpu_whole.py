"""Section "whole" of gpu.py: what `auto` chooses here, and a sweep through the real launcher, predicted and measured."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from gpu_fast import PRICE, REGMIX_RUNS, REGMIX_TOKENS, Case, cases, device_of, fastest
from gpu_sections import FORBIDDEN, Context, Item, results, write_tokens

NUM_RUNS = 64
CALIBRATION_SECONDS = 100.0  # With less time the layout is the fastest that was measured before, not what auto chooses.


def whole(context: Context) -> Iterator[Item]:
    """In order of worth."""
    first = next(iter(cases(context).values()))
    yield "sweep", lambda: sweep(context, first)
    yield "worker imports", worker_imports
    yield "RegMix's whole setting", lambda: regmix(context)


def worker_imports() -> Mapping[str, Any]:
    """What a worker imports before it trains."""
    code = "import sys, proxy_training.launch.worker; print(*[n for n in sys.argv[1:] if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *FORBIDDEN], capture_output=True, text=True, check=True)
    return {"imported": done.stdout.split(), "right": not done.stdout.split()}


def sweep(context: Context, case: Case) -> Mapping[str, Any]:
    """64 proxies of about ten seconds each, all launched together: calibration, prediction, training."""
    from proxy_training.device.calibration import chosen_layout, predicted_seconds
    from proxy_training.device.counting import counted, floor_seconds
    from proxy_training.device.sweep_calibration import calibrated
    from proxy_training.launch.train_runs import train_runs
    from proxy_training.runs.settings import Run
    from proxymix.tables import read_table

    count = 4 if context.rehearse else NUM_RUNS
    vocabulary = case.vocabulary
    seconds = 4.0 if context.rehearse else min(35.0, 0.28 * context.left)
    speed = known_speed(context)
    settings = replace(case.settings, evaluations=2, valid_tokens=max(case.settings.valid_tokens, 64))
    tokens_each = max(20 * settings.tokens_per_step, int(speed * seconds / count))
    settings = replace(settings, tokens=tokens_each)
    tokens = write_tokens(
        context.folder / context.section / str(vocabulary), vocabulary, 50_000 if context.rehearse else 2_000_000
    )
    runs = [
        Run(f"n{k:05d}", {"d0": 0.1 + 0.004 * k, "d1": 0.4 - 0.004 * k, "d2": 0.3, "d3": 0.2}, seed=0)
        for k in range(count)
    ]
    device = device_of(context)
    start = time.perf_counter()
    if context.rehearse or context.left > CALIBRATION_SECONDS:
        long = replace(settings, tokens=100 * settings.tokens)  # So that calibration pays, as it does for a real sweep.
        layout = chosen_layout(settings if context.rehearse else long, vocabulary, count, 1)
    else:
        layout = fastest(context, next(iter(cases(context))), case)
    chosen = time.perf_counter() - start
    context.record("what auto chose", "done", layout=layout.record(), calibration_seconds=chosen)
    counts = counted(settings, vocabulary, 4, layout.device)
    start = time.perf_counter()
    calibration = calibrated(counts, device, layout)
    predicted = predicted_seconds(calibration.seconds_per_token, settings, layout, 4, count)
    predicted += calibration.startup_seconds
    calibrating = time.perf_counter() - start
    context.record(
        "predicted", "done", seconds=predicted, calibration_seconds=calibrating, startup=calibration.startup_seconds
    )
    force(layout)
    start = time.perf_counter()
    train_runs(runs, tokens, context.folder / "sweep", settings, workers=1, wandb="disabled")
    measured = time.perf_counter() - start
    losses = [read_table(context.folder / "sweep" / run.id / "losses.csv")["loss_nats"].mean() for run in runs]
    return {
        "runs": count,
        "tokens_each": settings.num_steps * settings.tokens_per_step,
        "predicted_seconds": predicted,
        "measured_seconds": measured,
        "ratio": predicted / measured,
        "floor_seconds": count * floor_seconds(counts, device),
        "tokens_per_second": count * settings.num_steps * settings.tokens_per_step / measured,
        "losses": [min(losses), max(losses)],
        "layout": asdict(layout),
        "calibration_seconds": chosen,
    }


def force(layout: Any) -> None:
    """Have the sweep take this layout: it is shorter than what calibrating is worth."""
    from proxy_training.launch import local

    local.chosen_layout = lambda *arguments: layout  # type: ignore[attr-defined]


def known_speed(context: Context) -> float:
    """Tokens a second of the first case's best layout, as "fast" found it; a guess without."""
    name = next(iter(cases(context)))
    found = [
        line["tokens_per_second"]
        for line in results(context.out)
        if line["section"] == "fast"
        and line["state"] == "done"
        and line["name"].startswith(f"{name}: K = ")
        and "tokens_per_second" in line
    ]
    return max(found, default=20_000.0 if context.rehearse else 3e6)


def regmix(context: Context) -> Mapping[str, Any]:
    """Hours and money of 512 proxies of a billion tokens, at the best speed that "fast" measured for that case."""
    name = next((name for name in cases(context) if "50k, RegMix" in name), next(iter(cases(context))))
    speeds = {
        line["name"]: line["tokens_per_second"]
        for line in results(context.out)
        if line["section"] == "fast"
        and line["state"] == "done"
        and line["name"].startswith(name)
        and "floor_share" in line
    }
    if not speeds:
        raise RuntimeError(f"no speed of {name} was measured")
    best = max(speeds, key=lambda key: speeds[key])
    hours = REGMIX_RUNS * REGMIX_TOKENS / speeds[best] / 3600
    return {"layout": best, "hours": hours, "money": hours * PRICE, "price_per_hour": PRICE, "right": True}
