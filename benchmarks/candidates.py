"""Mixtures drawn as a sweep is, or anywhere within bounds, for benchmarks on laws whose optimum is known."""

import numpy as np

from mixture_config.design.designs import draw_design, sampling_center
from mixture_config.design.sampler_settings import Preset, SamplerSettings
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.simplex import dirichlet, water_fill


def swept(
    prior: np.ndarray, upper: np.ndarray, num: int, seed: int, preset: Preset | None = None, **changes: str
) -> np.ndarray:
    """Mixtures as `synthesize` draws them, shape (num, num_domains)."""
    settings = SamplerSettings.of(len(prior), preset, changes)
    limits = Limits([f"d{i}" for i in range(len(prior))], 0.0, np.minimum(upper, settings.maximum_usage * prior))
    center, nothing = sampling_center(prior, settings, None), np.zeros((0, len(prior)), dtype=np.int32)
    steps, _, draw = draw_design(center, num, 0, [1, seed], settings, limits, nothing)
    return steps / draw.num_steps


def scale_into(draws: np.ndarray, center: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Draws of which those outside the bounds are scaled into them (`water_fill`).

    A capped domain's excess goes to the draw's other domains in proportion. What these cannot hold is divided as in
    `center`.
    """
    outside = ((draws < lower) | (draws > upper)).any(axis=1)
    result = draws.copy()
    if outside.any():
        result[outside] = water_fill(draws[outside] + 1e-9 * center, lower, upper)
    return result


def draw_candidates(
    rng: np.random.Generator,
    num_candidates: int,
    center: np.ndarray,
    lower: np.ndarray | float = 0.0,
    upper: np.ndarray | float = 1.0,
    min_concentration: float = 0.1,
    max_concentration: float = 5.0,
) -> np.ndarray:
    """Mixtures spread over everything that the bounds allow, from nearly one domain to nearly `center`.

    Args:
        rng: Where the draws come from.
        num_candidates: How many.
        center: Proportions around which to draw; 0 keeps a domain at its lower bound. Shape (num_domains,).
        lower: Lower bounds, for all or per domain.
        upper: Upper bounds, for all or per domain.
        min_concentration: Smallest Dirichlet concentration; they are log-uniform.
        max_concentration: Largest Dirichlet concentration.

    Returns:
        Weights, shape (num_candidates, num_domains).
    """
    drawn = np.flatnonzero(center > 0)
    low = np.broadcast_to(np.asarray(lower, dtype=float), center.shape)
    high = np.where(center > 0, upper, low)
    concentrations = np.exp(rng.uniform(np.log(min_concentration), np.log(max_concentration), num_candidates))
    draws = np.zeros((num_candidates, len(center)))
    draws[:, drawn] = dirichlet(rng, center[drawn] / center[drawn].sum(), concentrations)
    return scale_into(draws, center / center.sum(), low, high)
