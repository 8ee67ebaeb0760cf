"""Does a sweep take as long as `proxymix cost --calibrate` says, and how far is the counted floor from it?

python benchmarks/cost.py [--repeats 3] [--seconds 10]

For each case, in turn and as often as asked: ten seconds of calibration, then `proxymix sweep` of two runs on one worker
over tokens that are made, about as long each as asked. Printed are medians; machines are often shared, so the two alternate.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.contenders import write_tokens
from mixture_config.files.mixture import Mixture
from proxy_training.device.calibration import chosen_layout, predicted_seconds
from proxy_training.device.counting import counted, floor_seconds
from proxy_training.device.roofline import measured_device
from proxy_training.device.sweep_calibration import calibrated
from proxy_training.runs.settings import TrainSettings

NUM_DOMAINS, NUM_RUNS = 10, 2
SHORT = {"valid_tokens": 2048, "evaluations": 3}
CASES = [
    (1024, TrainSettings(model="80k", sequence_length=64, batch_size=8, **SHORT)),
    (4096, TrainSettings(model="1m", sequence_length=128, batch_size=4, **SHORT)),
]


def sweep_seconds(settings: TrainSettings, tokens: Path, mixtures: Path, out: Path) -> float:
    """Wall clock of `proxymix sweep`, from its start to its end."""
    flags = [
        text for key, value in asdict(settings).items() if value is not None for text in (f"--train.{key}", str(value))
    ]
    paths = ["--mixtures", str(mixtures), "--tokens", str(tokens), "--out", str(out)]
    start = time.perf_counter()
    command = [sys.executable, "-m", "proxymix", "sweep", *paths, "--workers", "1", *flags]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    """Predict and measure every case, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a run")
    options = parser.parse_args()
    device = measured_device("auto", "auto")
    print(f"{device.name}: {device.flops['fp32'] / 1e9:.0f} GFLOP/s in fp32, {device.bandwidth / 1e9:.1f} GB/s\n")
    print("| proxy | vocabulary | predicted s | measured s | ratio | floor s | measured / floor |\n|" + "---|" * 7)
    with tempfile.TemporaryDirectory() as folder:
        mixtures = Path(folder) / "mixtures"
        for index in range(1, NUM_RUNS + 1):
            Mixture({f"d{n}": 1 / NUM_DOMAINS for n in range(NUM_DOMAINS)}).write(mixtures / f"n{index:05d}.yaml")
        for vocabulary, case in CASES:
            tokens = Path(folder) / str(vocabulary)
            write_tokens(tokens, vocabulary, 20_000, NUM_DOMAINS)
            layout = chosen_layout(case, vocabulary, NUM_RUNS, 1)
            first = calibrated(counted(case, vocabulary, NUM_DOMAINS, device.kind), device, layout)
            settings = replace(case, tokens=int(options.seconds / first.seconds_per_token))
            counts = counted(settings, vocabulary, NUM_DOMAINS, device.kind)
            predicted, measured = [], []
            for repeat in range(options.repeats):
                calibration = calibrated(counts, device, layout)
                training = predicted_seconds(calibration.seconds_per_token, settings, layout, NUM_DOMAINS, NUM_RUNS)
                predicted.append(calibration.startup_seconds + training)
                measured.append(sweep_seconds(settings, tokens, mixtures, Path(folder) / f"{vocabulary}-{repeat}"))
            told, took = statistics.median(predicted), statistics.median(measured)
            floor = NUM_RUNS * floor_seconds(counts, device)
            spread = [
                f"{middle:.1f} ({min(all_):.1f}-{max(all_):.1f})"
                for middle, all_ in ((told, predicted), (took, measured))
            ]
            row = [
                settings.model,
                f"{vocabulary:,}",
                *spread,
                f"{told / took:.2f}",
                f"{floor:.1f}",
                f"{took / floor:.1f}",
            ]
            print("|", " | ".join(row), "|", flush=True)


if __name__ == "__main__":
    main()
