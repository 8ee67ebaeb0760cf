"""What a user says of scales -> runs of each proxy size, the smallest first."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy_training.runs.run_folder import RunFolder
from proxymix.errors import InputError
from proxymix.files import sha256
from proxymix.messages import nearest, some
from regression.data.runs import Runs
from regression.data.runs_table import read_runs

KEYS = ("study", "mixtures", "losses", "params", "tokens")
"""What may be said of a scale."""


@dataclass(frozen=True)
class Scale:
    """Runs of one proxy size.

    Attributes:
        params: Parameters without embeddings.
        tokens: Training tokens of a run.
    """

    name: str
    runs: Runs
    params: float
    tokens: float
    inputs: dict[str, str]

    @property
    def compute(self) -> float:
        """Parameters times tokens, by which scales are ordered."""
        return self.params * self.tokens


def read_scales(entries: Mapping[str, Any], targets: Sequence[str] | None) -> list[Scale]:
    """The scales, the smallest (parameters times tokens) first.

    Raises:
        InputError: If there are fewer than two, an entry lacks something, or two have the same size.
    """
    if len(entries) < 2:
        raise InputError(
            f"scales: {len(entries)} given ({some(entries) or 'none'}); two or more are needed to say anything about size"
        )
    found = sorted(
        (_read_scale(str(name), entry, targets) for name, entry in entries.items()), key=lambda s: (s.compute, s.params)
    )
    for a, b in itertools.pairwise(found):
        if (a.params, a.tokens) == (b.params, b.tokens):
            raise InputError(
                f"scales: {a.name} and {b.name} are of one size ({a.params:,.0f} parameters, {a.tokens:,.0f} tokens); "
                "two or more different sizes are needed"
            )
    return found


def _read_scale(name: str, entry: Any, targets: Sequence[str] | None) -> Scale:
    where = f"scales.{name}"
    if isinstance(entry, str | Path):
        entry = {"study": entry}
    if not isinstance(entry, Mapping):
        raise InputError(
            f"{where} is {entry!r:.60}; a study's folder or {{mixtures, losses, params, tokens}} is wanted"
        )
    if unknown := [key for key in entry if key not in KEYS]:
        raise InputError(f"{where}: no key {unknown[0]!r}{nearest(str(unknown[0]), KEYS)}; there are {', '.join(KEYS)}")
    entry = {key: value for key, value in entry.items() if value is not None}
    if "study" in entry:
        study = Path(entry["study"])
        if not study.is_dir():
            raise InputError(f"{where}: {study}: no such study")
        entry = {"mixtures": study / "mixtures.csv", "losses": study / "losses.csv"} | entry
        if "params" not in entry or "tokens" not in entry:
            entry = study_size(study, where) | entry
    if lacking := [key for key in KEYS[1:] if key not in entry]:
        raise InputError(f"{where}: {lacking[0]} is missing; give {', '.join(KEYS[1:])}, or the folder of a study")
    paths = {key: Path(entry[key]) for key in ("mixtures", "losses")}
    runs = read_runs(paths["mixtures"], paths["losses"], targets)
    params, tokens = (_size(entry[key], f"{where}.{key}") for key in ("params", "tokens"))
    return Scale(name, runs, params, tokens, {key: sha256(path) for key, path in paths.items()})


def _size(value: Any, where: str) -> float:
    try:
        number = float(str(value).replace("_", ""))
    except ValueError:
        number = math.nan
    if isinstance(value, bool) or not 0 < number < math.inf:
        raise InputError(f"{where} is {value!r:.60}; a number above 0 is wanted")
    return number


def study_size(study: Path, where: str) -> dict[str, float]:
    """Parameters and tokens of a study's runs, by their manifests.

    Raises:
        InputError: If there is none, or they differ.
    """
    runs = RunFolder.finished_in(study / "proxies")
    if not runs:
        raise InputError(f"{where}: {study}/proxies: no finished runs say their size; give params and tokens")
    sizes = set()
    for run in runs:
        content = run.manifest()
        try:
            sizes.add((float(content["num_parameters"]), float(content["settings"]["tokens"])))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{run.manifest_path}: no num_parameters and settings.tokens; give params and tokens for {where}"
            ) from None
    if len(sizes) > 1:
        raise InputError(f"{where}: {study}/proxies: runs of {len(sizes)} different sizes; a scale has one")
    params, tokens = sizes.pop()
    return {"params": params, "tokens": tokens}


def target_size(measured: Sequence[Scale], params: int | None, tokens: int | None) -> tuple[float, float] | None:
    """The size to predict for, if one is asked for.

    Raises:
        InputError: If it differs from the scales in something that is the same at all of them.
    """
    if params is None and tokens is None:
        return None
    largest = measured[-1]
    for name, value, sizes in (
        ("target_params", params, {s.params for s in measured}),
        ("target_tokens", tokens, {s.tokens for s in measured}),
    ):
        if value is not None and value <= 0:
            raise InputError(f"{name} is {value}; a number above 0 is wanted")
        if value is not None and len(sizes) == 1 and value not in sizes:
            what = name.removeprefix("target_")
            raise InputError(
                f"{name} is {value:,}, and all scales have {what} {sizes.pop():,.0f}: nothing says what {what} do. Give scales "
                f"of different {what}, or leave {name} out"
            )
    return params or largest.params, tokens or largest.tokens
