"""A mixture's YAML in RegMix's keys -> domain -> weight, and back."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from proxymix.schemas import check_domain_name

SUM_TOLERANCE = 1e-2  # published weights are rounded to 3 decimals; a row of RegMix's sums to 0.996


def normalised(weights: Mapping[str, float], where: str) -> dict[str, float]:
    """`weights` scaled to sum 1.

    Raises:
        InputError: If a weight is not a number >= 0, or the sum is further than 1e-2 from 1.
    """
    for domain, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight < 0:
            raise InputError(f"{where}: the weight of {domain} is {weight!r}; a number from 0 to 1 is wanted")
    total = math.fsum(weights.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise InputError(f"{where}: the weights sum to {total:.6g}, not 1; correct them or divide each by {total:.6g}")
    scale = total if abs(total - 1) > 1e-12 else 1.0  # what full precision leaves is no reason to change a weight
    return {domain: float(weight) / scale for domain, weight in weights.items()}


def read_mixture(path: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """A mixture YAML in RegMix's keys -> (domain -> weight, everything else in the file).

    Raises:
        InputError: If there is no `train` section of weights that sum to 1.
    """
    content = read_yaml(path)
    train = content.pop("train", None)
    if not isinstance(train, dict) or not train:
        raise InputError(f"{path}: no 'train' section of weights (train_<domain>: weight)")
    weights = {check_domain_name(str(key).removeprefix("train_"), str(path)): value for key, value in train.items()}
    return normalised(weights, f"{path}: train"), content


def write_mixture(
    path: Path, weights: Mapping[str, float], extra: Mapping[str, Any], targets: Sequence[str] | None = None
) -> None:
    """Write a mixture in RegMix's keys, weights at full precision, then `extra` (settings, provenance).

    Args:
        path: The YAML to write.
        weights: Domain -> weight, sum 1 within 1e-9.
        extra: What follows the weights (model_name, seed, sampler settings, provenance).
        targets: Domains to validate on; all of `weights` by default.
    """
    assert abs(math.fsum(weights.values()) - 1) < 1e-9, f"weights sum to {math.fsum(weights.values())!r}"
    write_yaml(
        path,
        {
            "train": {f"train_{domain}": float(weight) for domain, weight in weights.items()},
            "valid": {f"valid_{domain}": 1.0 for domain in (weights if targets is None else targets)},
            **extra,
        },
    )
