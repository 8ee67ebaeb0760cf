"""Section "whole" of gpu.py: a sweep through the real launcher, its time predicted, and the layout that `auto` chooses."""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any

from gpu_card import device_of
from gpu_cases import FIRST_CASE, Case, cases, fastest, speeds, tokens_of
from gpu_sections import FORBIDDEN, Context, Item, results

NUM_RUNS = 64
TRAINING_SECONDS = 20.0  # Of all runs together; with its start, validation and files the sweep takes a minute.
GUESSED_SPEED = {"cuda": 3e6, "cpu": 20_000.0}  # Tokens a second, if "fast" measured nothing.


def whole(context: Context) -> Iterator[Item]:
    """In order of worth; a calibration that takes long can only cost itself."""
    case = cases(context)[FIRST_CASE]
    yield "sweep", lambda: sweep(context, case)
    yield "predicted", lambda: predicted(context, case)
    yield "worker imports", worker_imports
    yield "what auto chose", lambda: automatic(context, case)


def settings_of(context: Context, case: Case, tokens: int) -> Any:
    """How the sweep's proxies are trained."""
    return replace(case.settings, evaluations=2, tokens=tokens)


def sweep(context: Context, case: Case) -> Mapping[str, Any]:
    """64 proxies, all launched together, in the fastest layout that was measured."""
    from proxy_training.launch import local
    from proxy_training.launch.train_runs import train_runs
    from proxy_training.runs.settings import Run
    from proxymix.tables import read_table

    count, seconds = (4, 2.0) if context.rehearse else (NUM_RUNS, min(TRAINING_SECONDS, context.left / 5))
    layout = fastest(context, FIRST_CASE, case)
    known = [line["tokens_per_second"] for name, line in speeds(context).items() if name.startswith(f"{FIRST_CASE}: K")]
    speed = max(known, default=GUESSED_SPEED[context.device])
    settings = settings_of(context, case, max(20 * case.settings.tokens_per_step, int(speed * seconds / count)))
    mixtures = [{"d0": 0.1 + 0.004 * k, "d1": 0.4 - 0.004 * k, "d2": 0.3, "d3": 0.2} for k in range(count)]
    runs = [Run(f"n{k:05d}", mixture, seed=0) for k, mixture in enumerate(mixtures)]
    tokens, out = tokens_of(context, case), context.folder / "sweep"
    # The sweep is shorter than what a calibration is worth, so it is given the layout.
    local.chosen_layout = lambda *arguments: layout  # type: ignore[attr-defined]
    start = time.perf_counter()
    train_runs(runs, tokens, out, settings, workers=1, wandb="disabled")
    measured = time.perf_counter() - start
    losses = [read_table(out / run.id / "losses.csv")["loss_nats"].mean() for run in runs]
    trained = settings.num_steps * settings.tokens_per_step
    return {
        "runs": count,
        "tokens_each": trained,
        "seconds": measured,
        "tokens_per_second": count * trained / measured,
        "losses": [min(losses), max(losses)],
        "layout": asdict(layout),
    }


def predicted(context: Context, case: Case) -> Mapping[str, Any]:
    """What `proxymix cost --calibrate` would have said of the sweep, beside the time that it took."""
    from proxy_training.device.calibration import predicted_seconds
    from proxy_training.device.counting import counted, floor_seconds
    from proxy_training.device.layout import Layout
    from proxy_training.device.sweep_calibration import calibrated

    done = [line for line in results(context.out) if line["name"] == "sweep" and line["state"] == "done"]
    if not done:
        raise RuntimeError("there is no sweep to predict")
    found, layout = done[-1], Layout(**done[-1]["layout"])
    settings = settings_of(context, case, found["tokens_each"])
    device, counts = device_of(context), counted(settings, case.vocabulary, 4, layout.device)
    start = time.perf_counter()
    calibration = calibrated(counts, device, layout)
    training = predicted_seconds(calibration.seconds_per_token, settings, layout, 4, found["runs"])
    return {
        "predicted_seconds": training + calibration.startup_seconds,
        "measured_seconds": found["seconds"],
        "ratio": (training + calibration.startup_seconds) / found["seconds"],
        "floor_seconds": found["runs"] * floor_seconds(counts, device),
        "startup_seconds": calibration.startup_seconds,
        "calibration_seconds": time.perf_counter() - start,
    }


def automatic(context: Context, case: Case) -> Mapping[str, Any]:
    """The layout of a sweep that is long enough to be calibrated. A rehearsal measures one layout, and compiles nothing."""
    from proxy_training.device.calibration import chosen_layout

    settings = settings_of(context, case, 10**9)
    if context.rehearse:
        settings = replace(settings, compile=False)
    start = time.perf_counter()
    layout = chosen_layout(settings, case.vocabulary, 1 if context.rehearse else NUM_RUNS, 1)
    return {"layout": layout.record(), "seconds": time.perf_counter() - start}


def worker_imports() -> Mapping[str, Any]:
    """What a worker imports before it trains."""
    code = "import sys, proxy_training.launch.worker; print(*[n for n in sys.argv[1:] if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code, *FORBIDDEN], capture_output=True, text=True, check=True)
    return {"imported": done.stdout.split(), "right": not done.stdout.split()}
