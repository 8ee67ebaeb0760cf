"""Olmix's mixtures (allenai/olmix) -> domain -> weight; a domain that Olmix calls source:topic is called source.topic here."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixture_config.files.mixture import TRAIN_PREFIX, Mixture
from proxymix.errors import InputError
from proxymix.files import read_json
from proxymix.schemas import distinct_names


def flatten_mix(mix: Mapping[str, Any]) -> dict[str, float]:
    """Olmix's `mix:` -> leaf -> weight. A leaf is named source:topic:quality, and the weights along its path multiply.

    A node's `weight` (1 unless given) and `repetition_factor` are its own, and every other key is a child. A child that is
    a number is its weight (olmix/aliases.py, flatten_mix).
    """
    leaves: dict[str, float] = {}

    def visit(name: str, node: Any, above: float) -> None:
        if not isinstance(node, Mapping):
            leaves[name] = above * float(node)
            return
        weight = above * float(node.get("weight", 1.0))
        children = {key: child for key, child in node.items() if key not in ("weight", "repetition_factor")}
        if not children:
            leaves[name] = weight
        for key, child in children.items():
            visit(f"{name}:{key}", child, weight)

    for name, node in mix.items():
        visit(str(name), node, 1.0)
    return leaves


def read_launch_mix(mix: Mapping[str, Any], where: str) -> dict[str, float]:
    """The weights in the `mix` of a launch configuration.

    Raises:
        InputError: If a weight is no number, or their sum is far from 1. The message begins with `where`.
    """
    try:
        leaves = flatten_mix(mix)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: a weight is no number ({error})") from None
    return _named(leaves, where)


def read_mixes(path: Path) -> list[dict[str, float]]:
    """The JSON that Olmix generates: mixes, a list of domain -> [weight, repetitions].

    Raises:
        InputError: If it holds no such list, or a mixture whose sum is far from 1.
    """
    mixes = read_json(path).get("mixes")
    if not isinstance(mixes, list) or not mixes or not all(isinstance(mix, dict) for mix in mixes):
        raise InputError(f"{path}: no 'mixes', a list of mixtures (domain: [weight, repetitions])")
    rows = []
    for number, mix in enumerate(mixes):
        weights = {name: value[0] if isinstance(value, list) and value else value for name, value in mix.items()}
        rows.append(_named(weights, f"{path}: mixture {number + 1}"))
    return rows


def _named(weights: Mapping[str, Any], where: str) -> dict[str, float]:
    domains = distinct_names((name.removeprefix(TRAIN_PREFIX) for name in weights), where)
    return Mixture.normalised(dict(zip(domains, weights.values(), strict=True)), where).weights
