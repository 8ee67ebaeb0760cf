"""What a regression learns from mixtures drawn in different ways, on planted laws whose optimum is known.

python benchmarks/sampling_designs.py [--domains 6 17] [--sizes 32 128] [--laws 6] [--processes 2]

A planted law gives every domain a validation loss E + A (own weight + transfer from others + .02)**-a, with E, A, a and the
transfers drawn at random, plus noise of .015 nats; no weight may pass 8 times the prior. Mixtures are drawn in each way, the
losses fitted (Gaussian processes, a model a domain), the fit searched, and its proposal judged by the law itself.

Printed, as means over laws (with the standard error of the first): what the proposal misses of the gain from the prior to
the optimum (0: it is the optimum; 1: no better than the prior), what the best mixture of the sweep misses, and Spearman's rank
correlation on fresh mixtures. Objectives: the mean loss of all domains, one domain's, and a random weighting.
"""

import argparse
import os
import sys
import warnings
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
sys.path.insert(0, str(Path(__file__).parents[1]))  # this folder's regression.py is not the package

import joblib
import numpy as np
from scipy.optimize import minimize
from scipy.stats import spearmanr

from benchmarks.candidates import draw_candidates, scale_into, swept
from mixture_config.geometry.simplex import water_fill
from regression.models.averaged_gp import GP
from regression.models.threads import single_thread

PILE = np.array([237, 185, 113, 102, 80, 67, 51, 46, 39, 27, 16, 12, 8, 8, 4, 4, 2]) * 1e6
OBJECTIVES = ("mean", "one", "some")
DESIGNS = {
    "regmix": ("regmix", {}),
    "ours, at random": (None, {"design": "dirichlet"}),
    "ours": (None, {}),
}


class PlantedLaw:
    """Losses of all domains as a function of the mixture, and which of them count."""

    def __init__(self, num_domains: int, seed: int, objective: str) -> None:
        rng = np.random.default_rng([7, seed, num_domains])
        sizes = PILE if num_domains == len(PILE) else 1e9 / np.arange(1, num_domains + 1) ** 1.2
        self.tokens = rng.permutation(sizes)
        self.prior = self.tokens / self.tokens.sum()
        kinds = rng.integers(0, max(2, num_domains // 4), num_domains)
        some = rng.random((num_domains, num_domains)) < 0.5
        alike = kinds[:, None] == kinds
        self.transfer = rng.uniform(0, 0.15, some.shape) * some + alike * rng.uniform(0.1, 0.5, some.shape)
        np.fill_diagonal(self.transfer, 1)
        self.floor, self.scale, self.power = (
            rng.uniform(low, high, num_domains) for low, high in ((1.5, 3), (0.3, 1.2), (0.15, 0.5))
        )
        self.weighting = {
            "mean": np.full(num_domains, 1 / num_domains),
            "one": np.eye(num_domains)[rng.integers(num_domains)],
            "some": rng.dirichlet(np.full(num_domains, 0.3)),
        }[objective]
        self.upper = np.minimum(1, 8 * self.prior)

    def losses(self, weights: np.ndarray) -> np.ndarray:
        return self.floor + self.scale * (weights @ self.transfer.T + 0.02) ** -self.power

    def objective(self, weights: np.ndarray) -> np.ndarray:
        return self.losses(weights) @ self.weighting

    def least(self) -> float:
        """The objective at the optimum, by SLSQP from the best of many draws (the law is convex)."""
        rng = np.random.default_rng(0)
        starts = draw_candidates(rng, 4000, self.prior**0.3, 0.0, self.upper, 0.5, 2.0 * len(self.prior))
        best = np.inf
        for start in starts[np.argsort(self.objective(starts))[:4]]:
            found = minimize(
                self.objective,
                start,
                method="SLSQP",
                bounds=[(0, cap) for cap in self.upper],
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                options={"maxiter": 200},
            )
            weights = water_fill(np.maximum(found.x, 1e-12), 0.0, self.upper)
            best = min(best, float(self.objective(weights)))
        return best


def proposal(predict, law: PlantedLaw, seed: int) -> np.ndarray:
    """The mean of the sixteen mixtures predicted best, after ever closer draws around the best ones."""
    rng = np.random.default_rng([3, seed])
    num_domains = len(law.prior)
    pool = np.vstack(
        [draw_candidates(rng, 4000, law.prior**t, 0.0, law.upper, 0.5, 2.0 * num_domains) for t in (0.3, 0.7, 1e-6)]
    )
    for concentration in (20, 80, 300, 1200):
        top = pool[np.argsort(predict(pool))[:8]]
        near = np.vstack([rng.dirichlet(best * concentration + 1e-3, 500) for best in top])
        pool = np.vstack([top, top.mean(axis=0), scale_into(near, law.prior, np.zeros(num_domains), law.upper)])
    return pool[np.argsort(predict(pool))[:16]].mean(axis=0)


def trial(num_domains: int, num: int, way: str, objective: str, seed: int) -> tuple[float, float, float]:
    """What the proposal misses, what the best of the sweep misses, and Spearman on fresh mixtures."""
    warnings.simplefilter("ignore")
    law = PlantedLaw(num_domains, seed, objective)
    preset, changes = DESIGNS[way]
    weights = swept(law.prior, law.upper, num, seed, preset, **changes)
    noise = np.random.default_rng([2, seed]).normal(0, 0.015, weights.shape)
    losses = law.losses(weights) + noise
    used = np.flatnonzero(law.weighting > 1e-3)
    models: list[GP] = []
    with single_thread():
        for domain in used:
            models.append(GP().fit(weights, losses[:, domain], warm_start_from=models[0] if models else None))

        def predict(mixtures: np.ndarray) -> np.ndarray:
            parts = (law.weighting[d] * model.predict(mixtures) for d, model in zip(used, models, strict=True))
            return np.sum(list(parts), axis=0)

        found = proposal(predict, law, seed)
        fresh = draw_candidates(np.random.default_rng(5), 300, law.prior**0.5, 0.0, law.upper, 0.5, 2.0 * num_domains)
        rank = float(spearmanr(predict(fresh), law.objective(fresh)).statistic)
    least = law.least()
    gain = float(law.objective(law.prior)) - least
    return (
        (float(law.objective(found)) - least) / gain,
        (float(law.objective(weights).min()) - least) / gain,
        rank,
    )


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, nargs="+", default=[6, 17])
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--laws", type=int, default=6)
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS))
    parser.add_argument("--objectives", nargs="+", default=list(OBJECTIVES))
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    print("| domains | mixtures | drawn | " + " | ".join(options.objectives) + " | best seen | Spearman |")
    print("|---" * (5 + len(options.objectives)) + "|")
    for num_domains in options.domains:
        for num in options.sizes:
            for way in options.designs:
                tasks = [(o, s) for o in options.objectives for s in range(options.laws)]
                results = joblib.Parallel(options.processes)(
                    joblib.delayed(trial)(num_domains, num, way, objective, seed) for objective, seed in tasks
                )
                table = np.array(results).reshape(len(options.objectives), options.laws, 3)
                missed, best, rank = np.moveaxis(table, 2, 0)
                spread = missed.std(axis=1, ddof=1) / np.sqrt(options.laws) if options.laws > 1 else 0 * missed[:, 0]
                cells = [f"{m:.2f} ± {s:.2f}" for m, s in zip(missed.mean(axis=1), spread, strict=True)]
                print(
                    f"| {num_domains} | {num} | {way} | {' | '.join(cells)} | {best.mean():.2f} | {rank.mean():.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
