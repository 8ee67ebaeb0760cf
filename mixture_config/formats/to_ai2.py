"""Ai2's: OLMo-core and Olmix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixture_config.files.olmix_files import flatten_mix
from mixture_config.formats.trainer_format import OUR_SHARDS, Blend, Entries, TrainerFormat, as_yaml, from_yaml

GRID = 2**53  # multiples of 1 / GRID up to 1 are doubles, and so is every sum of them: no order of adding rounds


def exact_ratios(weights: Sequence[float]) -> list[float]:
    """Weights that sum to exactly 1 in whatever order they are added, each within n / 2**53 of the given one.

    Args:
        weights: Above 0, sum 1 within rounding, shape (n,).
    """
    steps = [max(1, round(weight * GRID)) for weight in weights]
    steps[int(np.argmax(steps))] += GRID - sum(steps)
    return [step / GRID for step in steps]


def _write_olmo_core(blend: Blend) -> str:
    ratios = exact_ratios([source.weight for source in blend.sources])
    sources = [
        {
            "source_name": source.domain,
            "target_ratio": ratio,
            "max_repetition_ratio": blend.repetitions[source.domain],
            "paths": list(source.paths),
        }
        for source, ratio in zip(blend.sources, ratios, strict=True)
    ]
    return as_yaml(blend, {"sources": sources})


def _read_olmo_core(text: str, path: Path) -> Entries:
    return [(source["source_name"], float(source["target_ratio"])) for source in from_yaml(text, path)["sources"]]


OLMO_CORE = TrainerFormat(
    key="olmo_core",
    label="OLMo-core",
    help="OLMo-core's source mixture YAML, for SourceMixtureList.from_yaml; our token shards serve as they are.",
    meaning="target_ratio is the share of requested_tokens, above 0, and all must sum to 1: here exactly, in any "
    "order of adding. max_repetition_ratio is max_epochs; OLMo-core refuses to take a source more often "
    "(src/olmo_core/data/source_mixture.py).",
    write=_write_olmo_core,
    read=_read_olmo_core,
    pattern=f"{OUR_SHARDS}/*.ds",
    limits_repetition=True,
)


def _write_olmix(blend: Blend) -> str:
    sources = [{"name": source.domain, "paths": list(source.paths)} for source in blend.sources]
    mix = {
        source.domain: {"weight": source.weight, "repetition_factor": blend.repetitions[source.domain]}
        for source in blend.sources
    }
    return as_yaml(blend, {"data": {"sources": sources}, "mix": mix})


OLMIX = TrainerFormat(
    key="olmix",
    label="Olmix",
    help="the data and mix sections of an Olmix launch config, as YAML.",
    meaning="weight is the share of tokens, and OLMo-core's target_ratio; 0 is skipped. repetition_factor is "
    "max_epochs; data is not taken more often (allenai/olmix, olmix/aliases.py, launch/utils.py).",
    write=_write_olmix,
    read=lambda text, path: list(flatten_mix(from_yaml(text, path)["mix"]).items()),
    pattern=f"{OUR_SHARDS}/*.ds",
    limits_repetition=True,
)
