"""Sampler settings, limits and what is there already -> the mixtures of a sweep, in steps of its grid. No files."""

import numpy as np

from mixture_config.design.heuristics import temperature_weights
from mixture_config.design.sampler_settings import SamplerSettings
from mixture_config.design.sampling import Draw, draw_mixtures
from mixture_config.design.space_filling import distant, space_filling
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.tolerances import DISTINCT
from proxymix.errors import InputError
from proxymix.progress import progress, say

CANDIDATES = 40  # of a space-filling design, for every mixture that is kept
MIN_CANDIDATES, MAX_CANDIDATES = 4000, 50_000
MAX_CANDIDATE_WEIGHTS = 10_000_000  # candidates times domains, which bounds memory
AWAY = 0.05  # part of the prior in the center of draws around a mixture, which lets its zeros leave zero


def sampling_center(tokens: np.ndarray, settings: SamplerSettings, around: np.ndarray | None) -> np.ndarray:
    """The mean of the draws: the flattened prior, or for draws around a mixture mostly that mixture.

    Args:
        tokens: Unique training tokens per domain, shape (num_domains,).
        settings: With the temperature that flattens the prior.
        around: The weights to draw around, shape (num_domains,), or None.
    """
    flat = temperature_weights(tokens, settings.temperature)
    return flat if around is None else (1 - AWAY) * around + AWAY * flat


def draw_design(
    center: np.ndarray,
    num_mixtures: int,
    num_holdout: int,
    rng: np.random.Generator,
    settings: SamplerSettings,
    limits: Limits,
    references: np.ndarray,
    present: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, Draw]:
    """Steps of the drawn mixtures, steps of the held-out ones, and what drawing them took.

    Args:
        center: Mean of the draws, sum 1, shape (num_domains,).
        num_mixtures: How many mixtures to draw.
        num_holdout: How many further mixtures to draw for testing.
        rng: Where the draws come from.
        settings: How to draw.
        limits: Bounds of the weights.
        references: Steps of the mixtures that the sweep begins with, shape (any, num_domains). They are not drawn again.
        present: Weights of the mixtures of a sweep that is extended, shape (any, num_domains), from which the draws
            keep away.

    Raises:
        InputError: If there are not enough mixtures within the limits, or away from those that are present.
    """
    num_steps = settings.num_steps
    if num_mixtures + num_holdout == 0:
        nothing = np.zeros((0, len(center)), dtype=np.int32)
        return nothing, nothing, Draw(nothing, num_steps, 0, 0, 0)
    taken = references
    if present is not None:
        taken = np.concatenate([np.rint(present * num_steps).astype(np.int32), references])

    # ---- 1. How many to draw: candidates to choose from, and a quarter more where some will be too near
    num_candidates = _num_candidates(num_mixtures, len(center), settings)
    filling = num_candidates > num_mixtures
    wanted = num_candidates + num_holdout
    spare = 0 if present is None else wanted // 4 + 16
    multiplier = min(settings.sample_multiplier, 4) if filling else settings.sample_multiplier

    # ---- 2. Draw
    with progress("draw mixtures", total=(wanted + spare) * multiplier, unit="draws") as bar:
        draw = draw_mixtures(
            center,
            wanted + spare,
            rng,
            limits=limits,
            min_concentration=settings.min_concentration,
            max_concentration=settings.max_concentration,
            min_weight=settings.min_weight,
            sample_multiplier=multiplier,
            exclude=taken,
            fewest=num_holdout + num_mixtures,
            on_drawn=bar.advance,
        )

    # ---- 3. Leave out what is too near to the sweep that is extended
    steps = draw.steps
    if present is not None:
        steps = steps[distant(steps / num_steps, present)]
        if len(steps) < num_mixtures:
            raise InputError(
                f"only {len(steps)} of {len(draw.steps)} draws are {DISTINCT:g} (total variation) or more away from the "
                f"mixtures that are there; extend by at most {len(steps)}, or draw wider (min_concentration, "
                "max_concentration, temperature)"
            )

    # ---- 4. Set the held-out ones apart, and choose among the others
    held, steps = steps[:num_holdout], steps[num_holdout:]
    if filling:
        with progress("choose mixtures", total=num_mixtures, unit="mixtures") as bar:
            chosen = space_filling(steps / num_steps, num_mixtures, taken / num_steps, bar.advance)
        steps = steps[chosen]
    return steps[:num_mixtures], held, draw


def _num_candidates(num_mixtures: int, num_domains: int, settings: SamplerSettings) -> int:
    """Mixtures to draw: more than `num_mixtures` if the design chooses among them, which pays for small sweeps only."""
    if settings.design != "space_filling":
        return num_mixtures
    most = min(MAX_CANDIDATES, MAX_CANDIDATE_WEIGHTS // num_domains)
    if 2 * num_mixtures > most:
        say(f"{num_mixtures:,} mixtures fill the space without being chosen; they are drawn at random")
        return num_mixtures
    return min(max(CANDIDATES * num_mixtures, MIN_CANDIDATES), most)
