"""A planted law of losses, for tests of the regression: where the optimum lies is known."""

from pathlib import Path

import numpy as np

from proxymix.schemas import Domains, loss_column
from proxymix.tables import write_table

DOMAINS = ["code", "law", "news", "poems"]
PRIOR = np.array([0.6, 0.25, 0.1, 0.05])
TARGETS = [loss_column(domain) for domain in DOMAINS]
_FLOOR, _SCALE = np.array([2.0, 2.5, 3.0, 3.5]), np.array([0.3, 0.4, 0.6, 0.9])


def planted_losses(weights: np.ndarray) -> np.ndarray:
    """Losses that fall with a domain's own weight and saturate, and with half of a neighbour's."""
    own = np.atleast_2d(weights)
    return _FLOOR + _SCALE * (own + 0.2 * np.roll(own, 1, axis=-1) + 0.03) ** -0.35


def planted_runs(num_runs: int, seed: int = 0, noise: float = 0.005) -> tuple[np.ndarray, np.ndarray]:
    """Mixtures around the prior, and their losses with noise."""
    rng = np.random.default_rng(seed)
    strengths = np.exp(rng.uniform(np.log(1.0), np.log(8.0), num_runs))
    weights = np.array([rng.dirichlet(PRIOR * strength + 0.05) for strength in strengths])
    return weights, planted_losses(weights) + rng.normal(0, noise, (num_runs, len(DOMAINS)))


def planted_optimum(objective: np.ndarray, seed: int = 0) -> np.ndarray:
    """The mixture of least objective, by exhaustive draws ever closer to the best."""
    rng = np.random.default_rng(seed)
    best = np.full(len(DOMAINS), 1 / len(DOMAINS))
    for strength in (4, 20, 100, 500, 2500, 12500):
        draws = np.vstack([best, rng.dirichlet(best * strength + 0.02, 4000)])
        best = draws[np.argmin(planted_losses(draws) @ objective)]
    return best


def write_runs(folder: Path, weights: np.ndarray, losses: np.ndarray) -> tuple[Path, Path]:
    """mixtures.csv and losses.csv in RegMix's columns."""
    mixtures, measured = folder / "mixtures.csv", folder / "losses.csv"
    rows = [[i, *map(float, w)] for i, w in enumerate(weights, start=1)]
    write_table(mixtures, ["index", *(f"train_{domain}" for domain in DOMAINS)], rows)
    write_table(measured, ["index", *TARGETS], [[i, *map(float, y)] for i, y in enumerate(losses, start=1)])
    return mixtures, measured


def write_catalogue(path: Path, tokens: np.ndarray) -> Path:
    """domains.csv with these token counts."""
    Domains(tuple(DOMAINS), tokens, np.ones(len(tokens)), tokens).write(path)
    return path
