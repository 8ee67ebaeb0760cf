"""Token counts -> the weights of every baseline that needs no proxies. Pure numpy, no files.

BASELINES names them. `heuristic_weights` holds any of them to fixed weights, a floor and epoch caps at once.
"""

import math
from collections.abc import Sequence

import numpy as np

from mixture_config.geometry.simplex import water_fill
from mixture_config.geometry.tolerances import WEIGHT_ROUNDOFF
from proxymix.errors import InputError
from proxymix.messages import nearest

LIMIT_ROUNDOFF = 1e-13  # relative: a limit that is passed by less is met
BUDGETED = ("unimax", "capped")  # baselines that mean nothing without a budget
BASELINES = ("prior", "proportional", "temperature", "uniform", *BUDGETED)


def temperature_weights(tokens: np.ndarray, temperature: float = 0.5) -> np.ndarray:
    """Weights in proportion to tokens**temperature. 1 is the prior, near 0 is uniform, and above 1 sharpens."""
    flat = np.maximum((tokens / tokens.max()) ** temperature, 1e-300) * (tokens > 0)
    return flat / flat.sum()


def unlimited_weights(name: str, tokens: np.ndarray, temperature: float = 0.5) -> np.ndarray:
    """The weights of a baseline where no floor, cap or fixed weight binds: sum 1, shape (num_domains,)."""
    if name == "temperature":
        return temperature_weights(tokens, temperature)
    if name in ("uniform", "unimax"):
        return (tokens > 0) / np.count_nonzero(tokens)
    return tokens / tokens.sum()


def baseline_weights(
    name: str, tokens: np.ndarray, temperature: float = 0.5, budget: int | None = None, max_epochs: float = 4.0
) -> np.ndarray:
    """The weights of a baseline by its name: sum 1, shape (num_domains,).

    UniMax (Chung et al. 2023, arXiv:2304.09151) is as uniform as max_epochs passes over every domain allow. The paper visits
    domains from small to large, and gives each an equal part of what is left of the budget, at most max_epochs times its size.
    The result is min(scale, cap) at the one scale where the weights sum to 1. The paper counts characters, and does not spend
    the part of a budget that the caps cannot fill. Here tokens count, and such a budget is an error.

    `capped` is the prior, which repeats every domain equally often: it is within all caps or none.

    Args:
        name: One of BASELINES.
        tokens: Unique training tokens per domain, shape (num_domains,). A domain with none gets 0.
        temperature: Exponent on the counts, for `temperature`.
        budget: Tokens of the final training, for `unimax` and `capped`.
        max_epochs: Most passes over a domain's tokens, for `unimax` and `capped`.

    Raises:
        InputError: If there is no such baseline, or it lacks a budget or cannot fill it.
    """
    if name not in BASELINES:
        raise InputError(f"{name!r} is none of the baselines {', '.join(BASELINES)}{nearest(name, BASELINES)}")
    wanted = unlimited_weights(name, tokens, temperature)
    if name not in BUDGETED:
        return wanted
    if budget is None:
        raise InputError(f"{name} needs a budget: the tokens of the final training, of which max_epochs makes caps")
    return heuristic_weights(tokens, wanted, budget=budget, max_epochs=max_epochs)


def heuristic_weights(
    tokens: np.ndarray,
    wanted: np.ndarray | None = None,
    minimum_share: float = 0.0,
    budget: int | None = None,
    max_epochs: float | None = None,
    fixed: np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Weights in proportion to `wanted`, except where a weight is fixed or a floor or a cap binds.

    Fixed weights are kept to the last bit, whatever floor and caps say. The others are clip(scale * wanted, floor, cap) at
    the one scale where all weights sum to 1.

    Args:
        tokens: Token counts, shape (num_groups,). A group with none gets 0 and no floor.
        wanted: Weights where nothing binds, at any scale, shape (num_groups,); the prior unless given.
        minimum_share: Floor of every group that is not fixed.
        budget: Tokens of the final training; no caps without it.
        max_epochs: Cap of every group that is not fixed, in passes over its tokens; none unless given.
        fixed: Fixed weights, NaN where a group has none, shape (num_groups,).
        names: Group names, for messages.

    Returns:
        Weights, shape (num_groups,).

    Raises:
        InputError: If no weights can meet all of this. The message gives the largest floor or budget that can be met.
    """
    names = [f"group {i}" for i in range(1, len(tokens) + 1)] if names is None else names
    fixed = np.full(len(tokens), np.nan) if fixed is None else fixed
    is_fixed = ~np.isnan(fixed)
    free = ~is_fixed & (tokens > 0)
    rest = _left_by(fixed, tokens, names)
    caps = np.ones(len(tokens))
    if budget is not None and max_epochs is not None:
        caps = np.minimum(max_epochs * tokens / budget, 1.0)
    if free.any():
        _check_limits(tokens, free, rest, minimum_share, budget, max_epochs, names)
    lower = np.where(is_fixed, fixed, np.where(free, np.minimum(minimum_share, caps), 0.0))
    upper = np.where(is_fixed, fixed, np.where(free, caps, 0.0))
    return water_fill(tokens if wanted is None else wanted, lower, upper)


def _left_by(fixed: np.ndarray, tokens: np.ndarray, names: Sequence[str]) -> float:
    """What the fixed weights leave to the others.

    Raises:
        InputError: If they leave less than nothing, or something that no other group can take.
    """
    weights = {i: weight for i, weight in enumerate(fixed.tolist()) if not math.isnan(weight)}
    for i, weight in weights.items():
        if not 0 <= weight <= 1:
            raise InputError(f"fixed: {names[i]} is {weight!r}; a share from 0 to 1 is wanted")
        if weight > 0 and tokens[i] == 0:
            raise InputError(
                f"fixed: {names[i]} is {weight!r}, but has no tokens to take that from; fix it at 0 or drop it"
            )
    total = math.fsum(weights.values())
    if total > 1 + WEIGHT_ROUNDOFF:
        raise InputError(f"fixed: the shares sum to {total:.6g}, over 1; lower some")
    others = any(count > 0 and i not in weights for i, count in enumerate(tokens))
    if total < 1 - WEIGHT_ROUNDOFF and not others:
        raise InputError(
            f"fixed: the shares sum to {total:.6g}, and no other group with tokens is left to share the other "
            f"{1 - total:.6g}; raise them to sum 1, or fix fewer groups"
        )
    return max(1 - total, 0.0) if total < 1 - WEIGHT_ROUNDOFF else 0.0


def _check_limits(
    tokens: np.ndarray,
    free: np.ndarray,
    rest: float,
    minimum_share: float,
    budget: int | None,
    max_epochs: float | None,
    names: Sequence[str],
) -> None:
    """Check that the free groups can divide `rest` within floor and caps.

    They can if the floors sum to at most `rest`, the caps sum to at least `rest`, and the floor is not above the cap of the
    smallest group, and only then.

    Raises:
        InputError: If they cannot. The message says what can be met.
    """
    num_free, total = int(free.sum()), float(tokens[free].sum())
    smallest = int(np.flatnonzero(free)[np.argmin(tokens[free])])

    def passed(value: float, limit: float) -> bool:
        return value > limit * (1 + LIMIT_ROUNDOFF)

    def largest_budget(floor: float) -> float:
        pairs = ((total, rest), (float(tokens[smallest]), floor))
        return min([(max_epochs or math.inf) * count / share for count, share in pairs if share > 0], default=math.inf)

    fillable = budget is None or not passed(budget, largest_budget(0.0))
    cap = 1.0 if budget is None or max_epochs is None else float(max_epochs * tokens[smallest] / budget)
    left = f"the {rest:.6g} that fixed shares leave" if rest < 1 else "1"
    if passed(minimum_share * num_free, rest):
        largest, also = _down(min(rest / num_free, cap)), ""
        if not fillable:
            largest = _down(rest / num_free)
            most = largest_budget(float(largest))
            also = f", with a budget of at most {_whole(most)}" if most >= 1 else ", with a larger max_epochs"
        raise InputError(
            f"minimum_share {minimum_share:g} for {num_free} groups sums to {minimum_share * num_free:.6g}, over {left}; "
            f"the largest that can be met is {largest}{also}"
        )
    if budget is None or max_epochs is None:
        return
    largest_tokens = largest_budget(minimum_share)
    or_budget = f", the largest budget {_whole(largest_tokens)}" if 1 <= largest_tokens < math.inf else ""
    if not fillable:
        part = f" {rest:.6g} of" if rest < 1 else ""
        epochs = max(budget * rest / total, budget * minimum_share / tokens[smallest])
        raise InputError(
            f"{total:,.0f} tokens at {max_epochs:g} epochs cannot fill{part} {budget:,}; the smallest max_epochs that "
            f"can is {_up(epochs)}{or_budget}"
        )
    if passed(minimum_share, cap):
        raise InputError(
            f"minimum_share {minimum_share:g} of a budget of {budget:,} would repeat {names[smallest]} more than "
            f"{max_epochs:g} times; the largest floor that can be met is {_down(cap)}{or_budget}"
        )


def _down(value: float) -> str:
    """A number rounded down to six digits, so that what an error suggests can be met."""
    if value <= 0:
        return "0"
    digits = 5 - math.floor(math.log10(value))
    return f"{math.floor(value * 10.0**digits * (1 + 1e-14)) / 10.0**digits:.6g}"


def _up(value: float) -> str:
    """A number of epochs rounded up to two decimals."""
    return f"{math.ceil(100 * value * (1 - 1e-14)) / 100:.2f}"


def _whole(budget: float) -> str:
    """A budget rounded down to whole tokens."""
    return f"{math.floor(budget * (1 + 1e-15)):,}"
