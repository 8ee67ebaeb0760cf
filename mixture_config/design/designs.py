"""Sampler settings, limits and what is there already -> the mixtures of a sweep, in steps of its grid. No files."""

from collections.abc import Sequence

import numpy as np

from mixture_config.design.heuristics import temperature_weights
from mixture_config.design.sampler_settings import SamplerSettings
from mixture_config.design.sampling import Draw, draw_mixtures
from mixture_config.design.space_filling import distant, space_filling
from mixture_config.geometry.limits import Limits
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
    seed: int | Sequence[int],
    settings: SamplerSettings,
    limits: Limits,
    references: np.ndarray,
    present: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, Draw]:
    """Steps of the drawn mixtures, steps of the held-out ones, and what drawing them took.

    What is added to a sweep makes the whole as good as one drawn at once. A space-filling design chooses from the same
    candidates, and begins with the mixtures that are there. Random draws continue, and go near none of these if they can.

    Args:
        center: Mean of the draws, sum 1, shape (num_domains,).
        num_mixtures: How many mixtures to draw.
        num_holdout: How many mixtures for testing the sweep has; they are drawn with its first ones.
        seed: What the draws follow from.
        settings: How to draw.
        limits: Bounds of the weights.
        references: Steps of the mixtures that come before the draws, shape (any, num_domains). They are not drawn again.
        present: Weights of the mixtures of a sweep that grows, the held-out ones last, shape (any, num_domains).

    Raises:
        InputError: If there are not enough mixtures within the limits.
    """
    num_steps = settings.num_steps
    nothing = np.zeros((0, len(center)), dtype=np.int32)
    num_held = num_holdout if present is None else 0
    if num_mixtures + num_held == 0:
        return nothing, nothing, Draw(nothing, num_steps, 0, 0, 0)
    there = nothing if present is None else np.rint(present * num_steps).astype(np.int32)
    taken = np.concatenate([there, references])

    # ---- 1. How many to draw: candidates to choose from, or some to spare where draws may be near to what is there
    num_in_all = num_mixtures + max(len(there) - num_holdout, 0)
    num_candidates = _num_candidates(num_in_all, len(center), settings)
    filling = num_candidates > num_in_all
    if filling:
        wanted, multiplier, exclude = num_candidates + num_holdout, min(settings.sample_multiplier, 4), references
    else:
        spare = 0 if present is None else num_mixtures // 4 + 16
        wanted, multiplier, exclude = num_mixtures + num_held + spare, settings.sample_multiplier, taken
    continues = present is not None and not filling
    rng = np.random.default_rng([*np.atleast_1d(seed), len(there)] if continues else seed)

    # ---- 2. Draw
    with progress("draw mixtures", total=wanted * multiplier, unit="draws") as bar:
        draw = draw_mixtures(
            center,
            wanted,
            rng,
            limits=limits,
            min_concentration=settings.min_concentration,
            max_concentration=settings.max_concentration,
            min_weight=settings.min_weight,
            sample_multiplier=multiplier,
            exclude=exclude,
            fewest=num_held + num_mixtures,
            on_drawn=bar.advance,
        )

    # ---- 3. Set the held-out ones apart, and choose among the others
    held, steps = draw.steps[:num_held], draw.steps[num_held:]
    if filling:
        steps = steps[~_among(steps, there)]
        if len(steps) < num_mixtures:
            raise InputError(
                f"only {len(steps)} mixtures of this law are not there already, and {num_mixtures} are to be added; add "
                f"at most {len(steps)}, or lower `min_weight` for a finer grid"
            )
        steps = steps[space_filling(steps / num_steps, num_mixtures, taken / num_steps)]
    elif present is not None:
        near = ~distant(steps / num_steps, present)
        steps = np.concatenate([steps[~near], steps[near]])
    return steps[:num_mixtures], held, draw


def _among(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which rows of steps are also among the others, shape (num_rows,)."""
    found = {row.tobytes() for row in others}
    return np.array([row.tobytes() in found for row in rows], dtype=bool)


def _num_candidates(num_mixtures: int, num_domains: int, settings: SamplerSettings) -> int:
    """Mixtures to draw: more than `num_mixtures` if the design chooses among them, which pays for small sweeps only."""
    if settings.design != "space_filling":
        return num_mixtures
    most = min(MAX_CANDIDATES, MAX_CANDIDATE_WEIGHTS // num_domains)
    if 2 * num_mixtures > most:
        say(f"{num_mixtures:,} mixtures fill the space without being chosen; they are drawn at random")
        return num_mixtures
    return min(max(CANDIDATES * num_mixtures, MIN_CANDIDATES), most)
