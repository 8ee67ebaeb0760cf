"""Which learning rate a proxy wants: the measurements behind the defaults and configs/.

python benchmarks/learning_rates.py --tokens studies/quickstart/tokens [--models 50k 200k 1m] [--rates 1e-3 2e-3 4e-3 8e-3]

Each proxy is trained at the prior (token shares) and at the uniform mixture, on two seeds, all four in one process. Printed
are the mean validation loss over domains at both, the standard deviation over seeds, and how far the mixtures lie apart in
units of it.
"""

import argparse
import os
import statistics
import sys
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))

from proxy_training.device.layout import Layout, device_here, precision_here
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData, plan_of
from proxymix.schemas import loss_column

NUM_TOKENS = {"50k": 200_000, "80k": 200_000, "200k": 300_000, "300k": 300_000, "1m": 400_000}
SEEDS = (0, 1)


def losses(data: TokenData, settings: TrainSettings) -> dict[str, list[float]]:
    """Mixture -> validation loss averaged over domains, a number for each seed; NaN where it diverged."""
    from proxy_training.loop.trainer import fit

    total = sum(domain.num_tokens for domain in data.train.values())
    mixtures = {
        "prior": {name: domain.num_tokens / total for name, domain in data.train.items()},
        "uniform": dict.fromkeys(data.train, 1 / len(data.train)),
    }
    runs = [Run(name, weights, seed) for name, weights in mixtures.items() for seed in SEEDS]
    device = device_here()
    layout = Layout(device, precision_here(settings, device), len(runs), settings.batch_size, False)
    results = fit(runs, [plan_of(run, data, settings) for run in runs], data, settings, layout)
    columns = [loss_column(domain) for domain in data.valid]
    final = [statistics.mean(r.rows[-1].get(column, float("nan")) for column in columns) for r in results]
    return {name: final[i * len(SEEDS) :][: len(SEEDS)] for i, name in enumerate(mixtures)}


def main() -> None:
    """Print a row for every model and rate."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=Path, required=True)
    parser.add_argument("--models", nargs="+", default=["50k", "200k", "1m"])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2])
    options = parser.parse_args()
    print(
        "| model | tokens | learning rate | at the prior | at uniform | sd over seeds | apart, in sd |\n"
        + "|---" * 7
        + "|"
    )
    for model in options.models:
        for rate in options.rates:
            settings = TrainSettings(
                model, 64, NUM_TOKENS.get(model, 400_000), 8, rate, valid_tokens=4096, evaluations=1
            )
            found = losses(TokenData.open(options.tokens, settings), settings)
            prior, uniform = (statistics.mean(found[name]) for name in ("prior", "uniform"))
            sd = statistics.mean(statistics.variance(values) for values in found.values()) ** 0.5
            apart = abs(prior - uniform) / sd
            row = f"{model} | {settings.tokens:,} | {rate:g} | {prior:.3f} | {uniform:.3f} | {sd:.3f} | {apart:.1f}"
            print(f"| {row} |", flush=True)


if __name__ == "__main__":
    main()
