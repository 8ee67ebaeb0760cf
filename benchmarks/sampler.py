"""How fast mixtures are drawn, beside a plain loop over RegMix's law, at RegMix's settings.

python benchmarks/sampler.py [--domains 17 64 512] [--rounds 5] [--many]

The loop draws as RegMix's script does: fifteen Dirichlet draws a candidate, one of them taken, its bounds checked domain
by domain, rounded, and at the end the candidates sorted and the equal ones dropped. It is timed on part of its candidates,
which take the same time each, in turns with ours in one process; the ratio of every turn is taken, and the median printed.
--many draws 100,000 mixtures of 1,000 domains with our default settings, and writes them.
"""

import argparse
import os
import random
import resource
import statistics
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import numpy as np

from mixture_config.design.heuristics import temperature_weights
from mixture_config.design.sampling import draw_mixtures
from mixture_config.geometry.limits import Limits
from mixture_config.synthesize import synthesize
from proxymix.schemas import Domains

NUM_MIXTURES, MULTIPLIER = 512, 100
PILE = np.array([237, 185, 113, 102, 80, 67, 51, 46, 39, 27, 16, 12, 8, 8, 4, 4, 2]) * 10**6


def token_counts(num_domains: int) -> np.ndarray:
    """Sizes like the Pile's for 17 domains, else Zipf's."""
    return PILE if num_domains == len(PILE) else (1e10 / np.arange(1, num_domains + 1)).astype(int)


def plain_loop(tokens: np.ndarray, num_candidates: int) -> int:
    """RegMix's law, a candidate at a time; the number of distinct mixtures."""
    prior = tokens / tokens.sum()
    caps = np.minimum(15 * prior, 1.0)
    center = temperature_weights(tokens, 0.5)
    concentrations = np.logspace(np.log10(0.1), np.log10(5.0), 15)
    kept = []
    for _ in range(num_candidates):
        weights = random.choice([np.random.dirichlet(center * concentration) for concentration in concentrations])  # noqa: NPY002
        if any(weight > cap for weight, cap in zip(weights, caps, strict=True)):
            continue
        weights = np.where(weights < 2e-4, 0.0, weights)
        kept.append(np.round(weights / weights.sum() / 2e-4) * 2e-4)
    rows = np.array(kept).reshape(-1, len(tokens))
    rows = rows[np.lexsort(rows.T)]
    return 1 + sum(np.abs(a - b).sum() > 1e-5 for a, b in zip(rows[1:], rows[:-1], strict=True))


def ours(tokens: np.ndarray, seed: int) -> int:
    """The same law; the number of candidates drawn."""
    prior = tokens / tokens.sum()
    limits = Limits([f"domain-{i}" for i in range(len(tokens))], 0.0, np.minimum(15 * prior, 1.0))
    center = temperature_weights(tokens, 0.5)
    draw = draw_mixtures(center, NUM_MIXTURES, np.random.default_rng(seed), limits=limits, sample_multiplier=MULTIPLIER)
    assert draw.steps.shape == (NUM_MIXTURES, len(tokens))
    return draw.num_drawn


def seconds(function, *arguments) -> tuple[float, int]:
    start = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - start, result


def many() -> None:
    """100,000 mixtures over 1,000 domains, files included."""
    tokens = token_counts(1000)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "domains.csv"
        Domains.of({f"domain-{i}": int(count) for i, count in enumerate(tokens)}).write(path)
        taken, _ = seconds(lambda: synthesize(path, Path(folder), num_mixtures=100_000))
        files = sum(1 for _ in (Path(folder) / "mixtures").iterdir())
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"100,000 mixtures of 1,000 domains: {taken:.1f} s for {files:,} files and mixtures.csv, {memory:.1f} GB at most"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, nargs="+", default=[17, 64, 512])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--many", action="store_true")
    options = parser.parse_args()
    if options.many:
        many()
        return
    print(
        f"{NUM_MIXTURES} mixtures, {NUM_MIXTURES * MULTIPLIER:,} candidates planned (RegMix's settings); medians of {options.rounds}"
    )
    print("| domains | ours, s | candidates/s | the loop, candidates/s | ratio (smallest) |\n|---|---|---|---|---|")
    for num_domains in options.domains:
        tokens = token_counts(num_domains)
        part = 1500 if num_domains < 200 else 400
        ours(tokens, 0)
        rates, loops, times = [], [], []
        for turn in range(options.rounds):
            loop, _ = seconds(plain_loop, tokens, part)
            mine, drawn = seconds(ours, tokens, turn + 1)
            times.append(mine)
            rates.append(drawn / mine)
            loops.append(part / loop)
        ratios = [a / b for a, b in zip(rates, loops, strict=True)]
        print(
            f"| {num_domains} | {statistics.median(times):.3f} | {statistics.median(rates):,.0f} | "
            f"{statistics.median(loops):,.0f} | {statistics.median(ratios):.0f} ({min(ratios):.0f}) |"
        )


if __name__ == "__main__":
    main()
