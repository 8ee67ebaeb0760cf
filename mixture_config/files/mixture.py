"""A mixture's YAML in RegMix's keys <-> `Mixture`: the weights of the domains, and all else that the file says."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.geometry.simplex import percent_hint
from mixture_config.geometry.tolerances import SUM_ROUNDOFF, SUM_TOLERANCE
from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from proxymix.schemas import distinct_names, domain_name, positions

TRAIN_PREFIX, VALID_PREFIX = "train_", "valid_"


def train_column(domain: str) -> str:
    """RegMix's name for a domain's weight, in a table's header and in a mixture's YAML."""
    return TRAIN_PREFIX + domain


def valid_column(domain: str) -> str:
    """RegMix's key of a validation domain, in a mixture's YAML."""
    return VALID_PREFIX + domain


def train_domain(column: str) -> str | None:
    """The domain whose weights a column holds, or None if the column is not named as RegMix names one."""
    return column[len(TRAIN_PREFIX) :] if column.startswith(TRAIN_PREFIX) else None


def domain_of(name: str, where: object) -> str:
    """The domain that a file names: without RegMix's prefix, and with Olmix's source:topic as source.topic.

    Raises:
        InputError: If the name cannot be a file's and a column's. The message begins with `where`.
    """
    return domain_name(str(name).strip().removeprefix(TRAIN_PREFIX), str(where))


@dataclass(frozen=True)
class Mixture:
    """One mixture.

    Attributes:
        weights: Domain -> weight. The weights sum to 1.
        extra: Whatever else the mixture's file holds: the validation domains, a seed, the sampler's settings, provenance.
    """

    weights: dict[str, float]
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def normalised(cls, weights: Mapping[str, Any], where: str, extra: Mapping[str, Any] | None = None) -> "Mixture":
        """A mixture of weights that a person or another program wrote, scaled to sum 1.

        Args:
            weights: Domain -> weight, of sum 1 within 1e-2.
            where: The file and the key that hold the weights, for messages.
            extra: What else the file holds.

        Raises:
            InputError: If a weight is not a number >= 0, or the sum is further than 1e-2 from 1.
        """
        for domain, weight in weights.items():
            number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not number or not math.isfinite(weight) or weight < 0:
                raise InputError(
                    f"{where}: the weight of {domain} is {weight!r}; a number from 0 to 1 is wanted{percent_hint(weight)}"
                )
        total = math.fsum(weights.values())
        if abs(total - 1) > SUM_TOLERANCE:
            percent = abs(total - 100) <= 100 * SUM_TOLERANCE
            cure = (
                "they are in percent; divide them by 100" if percent else f"correct them or divide each by {total:.6g}"
            )
            raise InputError(f"{where}: the weights sum to {total:.6g}, not 1; {cure}")
        scale = total if abs(total - 1) > SUM_ROUNDOFF else 1.0  # weights of full precision are kept to the last bit
        return cls({domain: float(weight) / scale for domain, weight in weights.items()}, dict(extra or {}))

    @classmethod
    def read(cls, path: Path) -> "Mixture":
        """The mixture in a YAML with RegMix's keys.

        Raises:
            InputError: If there is no `train` section of weights that sum to 1 within 1e-2.
        """
        return cls.of_content(read_yaml(path), path)

    @classmethod
    def of_content(cls, content: Mapping[str, Any], path: Path) -> "Mixture":
        """The mixture in the content of a YAML, which was read from `path`.

        Raises:
            InputError: As for `read`.
        """
        train = content.get("train")
        if not isinstance(train, dict) or not train:
            raise InputError(f"{path}: no 'train' section of weights (train_<domain>: weight)")
        names = distinct_names((str(key).removeprefix(TRAIN_PREFIX) for key in train), f"{path}: train")
        extra = {key: value for key, value in content.items() if key != "train"}
        return cls.normalised(dict(zip(names, train.values(), strict=True)), f"{path}: train", extra)

    def write(self, path: Path, targets: Sequence[str] | None = None) -> None:
        """Write the mixture in RegMix's keys: the weights at full precision, the validation domains, then `extra`.

        Args:
            path: The YAML to write.
            targets: The domains to validate on. They are those of `weights` unless given here or in `extra`.
        """
        total = math.fsum(self.weights.values())
        assert abs(total - 1) < SUM_ROUNDOFF, f"weights sum to {total!r}"
        valid = {valid_column(domain): 1.0 for domain in (self.weights if targets is None else targets)}
        train = {train_column(domain): float(weight) for domain, weight in self.weights.items()}
        write_yaml(path, {"train": train, "valid": valid, **self.extra})

    def aligned(self, domains: Sequence[str], where: object) -> np.ndarray:
        """The weights in the order of `domains`, shape (num_domains,).

        Raises:
            InputError: If the mixture has other domains than these. The message begins with `where`.
        """
        weights = np.array(list(self.weights.values()))
        return weights[positions(list(self.weights), domains, where)]
