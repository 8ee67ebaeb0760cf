"""Which proxy tells mixtures apart best for its time? The measurements behind configs/quickstart.yaml.

python benchmarks/proxy_settings.py --corpus studies/quickstart/corpus [--tokens 200000] [--seeds 2]

For each setting: three mixtures (prior, uniform, square root of the prior) on the same seeds. Printed are the CPU seconds
of a run, the mean validation loss at each mixture, the noise (standard deviation over seeds) and how far the mixtures lie
apart in units of it. One thread a process, one process a core; CPU time, since these machines are shared.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import joblib
import numpy as np

from data_preparation.tokenization import tokenize
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.schemas import loss_column, read_tokens_manifest

BASE = {"model": "50k", "sequence_length": 64, "batch_size": 8, "learning_rate": 4e-3, "valid_tokens": 4096}
VARIANTS = [
    (1024, {}),
    (512, {}),
    (2048, {}),
    (1024, {"sequence_length": 128, "learning_rate": 8e-3}),
    (1024, {"batch_size": 4, "learning_rate": 3e-3}),
    (1024, {"batch_size": 16, "learning_rate": 6e-3}),
    (1024, {"learning_rate": 2e-3}),
    (1024, {"learning_rate": 6e-3}),
    (1024, {"min_learning_rate": 0.0}),
    (1024, {"model": "200k"}),
]


def train_once(tokens: Path, weights: dict[str, float], seed: int, settings: TrainSettings) -> tuple[float, float]:
    """CPU seconds, and the validation loss averaged over domains in nats per token."""
    from proxy_training.device.layout import layout_of
    from proxy_training.loop.trainer import fit
    from proxy_training.runs.token_data import TokenData, plan_of

    data, run = TokenData.open(tokens, settings), Run("benchmark", weights, seed)
    start = time.process_time()
    (result,) = fit([run], [plan_of(run, data, settings)], data, settings, layout_of(settings, data.vocabulary))
    seconds = time.process_time() - start
    return seconds, float(np.mean([result.rows[-1][loss_column(domain)] for domain in data.valid]))


def main() -> None:
    """Measure every variant, print a row for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--seeds", type=int, default=2)
    options = parser.parse_args()
    print("| vocabulary | changed | CPU s a run | prior | uniform | sqrt | noise | spread / noise |\n|" + "---|" * 8)
    with tempfile.TemporaryDirectory() as folder, joblib.Parallel(2) as parallel:
        for vocabulary, change in VARIANTS:
            tokens = Path(folder) / str(vocabulary)
            if not tokens.exists():
                tokenize(options.corpus, tokens, vocab_size=vocabulary)
            settings = TrainSettings(**{**BASE, **change, "tokens": options.tokens, "evaluations": 1})
            manifest = read_tokens_manifest(tokens)
            counts = {domain: manifest.total("train", domain, "tokens") for domain in manifest.domains()}
            losses, seconds = [], []
            for exponent in (1.0, 0.0, 0.5):
                shares = {domain: count**exponent for domain, count in counts.items()}
                weights = {domain: share / sum(shares.values()) for domain, share in shares.items()}
                jobs = (joblib.delayed(train_once)(tokens, weights, seed, settings) for seed in range(options.seeds))
                results = parallel(jobs)
                seconds += [result[0] for result in results]
                losses.append([result[1] for result in results])
            means = np.mean(losses, axis=1)
            noise = float(np.sqrt(np.var(losses, axis=1, ddof=1).mean()))
            changed = ", ".join(f"{key} {value:g}" if key != "model" else str(value) for key, value in change.items())
            row = [vocabulary, changed or "-", f"{statistics.median(seconds):.1f}", *(f"{mean:.3f}" for mean in means)]
            print(
                "|", " | ".join(map(str, [*row, f"{noise:.4f}", f"{means.std(ddof=1) / noise:.1f}"])), "|", flush=True
            )


if __name__ == "__main__":
    main()
