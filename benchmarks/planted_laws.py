"""Laws of losses whose optimum is known, to hold a regression and its search to: what they promise, and how often.

python benchmarks/planted_laws.py [--seeds 100] [--laws power exponential interaction] [--domains 4 12 40] [--noise 0 .1 1]

For every law, number of domains, and noise (in standard deviations of the losses over the sweep): the part of the gain from
the prior to the optimum that the proposal misses (median), how often the 90% intervals hold the truth (the gain over the
prior; the weights of the optimum), the error of the regression in units of that of predicting the mean, and how often the
verdict is "better than the prior" on the losses as they are and on permuted ones.
"""

import argparse
import os
import warnings
from dataclasses import dataclass
from typing import Literal

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
from scipy.optimize import minimize

from mixture_config.limits import Limits
from mixture_config.simplex import dirichlet, scale_into
from regression.region import Region
from regression.table import Runs

Kind = Literal["power", "exponential", "interaction"]


@dataclass(frozen=True)
class PlantedLaw:
    """Losses of a few targets as a function of the mixture.

    Args:
        kind: power: floor + scale (reach + .02)**-exponent, where reach is the weighted sum of the domains that help;
            exponential: floor + scale exp(-4 reach); interaction: power, and pairs of domains that help only together.
        num_domains: How many.
        seed: Of the law.
    """

    kind: Kind
    num_domains: int
    seed: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng([11, self.seed, self.num_domains, len(self.kind)])
        k, t = self.num_domains, min(self.num_domains, 4)
        own = np.array([rng.permutation(k)[: max(1, k // t)] for _ in range(t)])
        reach = rng.uniform(0, 0.2, (t, k)) * (rng.random((t, k)) < 0.5)
        for row, domains in zip(reach, own, strict=True):
            row[domains] = rng.uniform(0.5, 1.0, len(domains))
        put = object.__setattr__
        put(self, "reach", reach)
        put(self, "floor", rng.uniform(1.5, 3.0, t))
        put(self, "scale", rng.uniform(0.4, 1.0, t))
        put(self, "power", rng.uniform(0.2, 0.5, t))
        put(self, "pairs", rng.integers(0, k, (t, 2)))
        sizes = rng.permutation(1.0 / np.arange(1, k + 1))
        put(self, "prior", sizes / sizes.sum())
        put(self, "upper", np.minimum(1.0, 8 * self.prior))

    def losses(self, weights: np.ndarray) -> np.ndarray:
        """Without noise, shape (num_rows, num_targets)."""
        reached = weights @ self.reach.T
        if self.kind == "exponential":
            return self.floor + self.scale * np.exp(-4 * reached)
        losses = self.floor + self.scale * (reached + 0.02) ** -self.power
        if self.kind == "interaction":
            one, other = weights[:, self.pairs[:, 0]], weights[:, self.pairs[:, 1]]
            losses = losses - 0.5 * self.scale * np.sqrt(one * other)
        return losses

    def objective(self, weights: np.ndarray) -> np.ndarray:
        """The mean loss, shape (num_rows,)."""
        return self.losses(np.atleast_2d(weights)).mean(axis=1)

    def region(self) -> Region:
        """No weight over eight times the prior."""
        return Region(Limits([f"d{i}" for i in range(self.num_domains)], 0.0, self.upper), self.prior)

    def optimum(self) -> np.ndarray:
        """The best mixture within the caps, from many starts."""
        region, rng = self.region(), np.random.default_rng(0)
        draws = region.nearest(dirichlet(rng, self.prior, np.full(400, 0.5 * self.num_domains)))
        best, least = draws[0], np.inf
        for start in draws[np.argsort(self.objective(draws))[:6]]:
            found = minimize(
                lambda w: float(self.objective(np.maximum(w, 0))[0]),
                start,
                method="SLSQP",
                bounds=[(0, cap) for cap in self.upper],
                constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
                options={"maxiter": 300, "ftol": 1e-10},
            )
            weights = region.nearest(np.maximum(found.x, 0)[None])[0]
            if (value := float(self.objective(weights)[0])) < least:
                best, least = weights, value
        return best

    def runs(self, num_runs: int, noise: float, seed: int) -> Runs:
        """A sweep: mixtures around the flattened prior within the caps, losses with noise in units of their spread."""
        rng = np.random.default_rng([12, seed])
        center = self.prior**0.3 / (self.prior**0.3).sum()
        strengths = np.exp(rng.uniform(np.log(2.0), np.log(4.0 * self.num_domains), num_runs))
        draws = np.vstack([dirichlet(rng, center, s[None]) for s in strengths])
        weights = scale_into(draws, center, np.zeros(self.num_domains), self.upper)
        losses = self.losses(weights)
        losses = losses + noise * losses.std(axis=0) * rng.standard_normal(losses.shape)
        names = [f"d{i}" for i in range(self.num_domains)]
        return Runs(list(range(num_runs)), names, [f"t{i}" for i in range(losses.shape[1])], weights, losses)
