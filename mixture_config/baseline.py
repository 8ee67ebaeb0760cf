"""Token counts -> a baseline mixture, the one to beat: shares by token counts, with fixed ones, a floor and epoch caps.

python mixture_config/baseline.py --counts data.jsonl --training_tokens 4e12 --fixed '{eng: 0.45}' --minimum_share 0.0005 --summary
"""

import json as json_module
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mixture_config.design.heuristics import (
    BASELINES,
    BUDGETED,
    baseline_weights,
    capped_weights,
    heuristic_weights,
    proportional_weights,
    temperature_weights,
    uniform_weights,
    unimax_weights,
)
from mixture_config.files.counts import Dataset, check_names, fixed_weights, has_domains, read_counts, regroup
from mixture_config.files.mixture import write_mixture
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import check_domain_name

__all__ = [
    "BASELINES",
    "baseline",
    "baseline_weights",
    "capped_weights",
    "heuristic_weights",
    "proportional_weights",
    "read_counts",
    "temperature_weights",
    "uniform_weights",
    "unimax_weights",
]

Method = Literal["proportional", "prior", "temperature", "uniform", "unimax", "capped"]


def baseline(
    counts: Path,
    out: Path | None = None,
    training_tokens: int | None = None,
    method: Method | None = None,
    drop: dict[str, list[str]] | None = None,
    merge: dict[str, list[str]] | None = None,
    fixed: dict[str, float] | None = None,
    minimum_share: float = 0.0,
    max_epochs: float | None = None,
    temperature: float | None = None,
    usage_warning: float = 5.0,
    token_key: str | None = None,
    summary: bool = False,
    path: bool = False,
    json: bool = False,
) -> None:
    """Turn token counts into a baseline mixture, which needs no proxies.

    Some shares may be fixed; the other groups share the rest by the method, between a floor that lifts the small ones
    and epoch caps that hold back those whose data would repeat too often, all solved together and exactly. Prints a
    table, unless another output is asked for.

    Args:
        counts: A JSONL file, one dataset a line with the keys lang (its group), dataset, <tokenizer>-tok or tokens, and
            path; or a study's domains.csv, where every domain is a group and a dataset of its own name.
        out: Write the mixture here too, as YAML in RegMix's keys with the epochs of every domain. Its domains are the
            groups; those of a domains.csv stay what they are, a merged group's share divided among them.
        training_tokens: Tokens of the final training, for epochs and caps; as many as there are unless given.
        method: How the groups that are not fixed share. proportional (or prior): by tokens; temperature: by
            tokens**temperature; uniform: alike; unimax: alike as far as max_epochs allow (arXiv:2304.09151); capped:
            by tokens, within max_epochs. Unless given it is temperature if that is given, else proportional.
        drop: Datasets to leave out, by group, before merging: {eng: [web-2019]}. A group left empty is gone.
        merge: New groups of datasets by name, across groups: {code: [stack, starcoder]}.
        fixed: Shares to keep exactly, whatever floor and caps say: {eng: 0.45, code: 0.04}.
        minimum_share: Smallest share of all for a group that has tokens and is not fixed.
        max_epochs: Most passes over the tokens of a group that is not fixed (4 costs little, arXiv:2305.16264); unless
            given, 4 for unimax and capped, no cap for the others.
        temperature: Exponent on token counts, above 0: 1 keeps token shares, less flattens them (0.3 to 0.7 for
            languages), more sharpens; 0.5 for the method temperature unless given.
        usage_warning: Mark groups in the summary that are repeated more often than this.
        token_key: The key of the token counts in the JSONL; the one ending in -tok or named tokens unless given.
        summary: Print the available and training tokens and the epochs of every group after the table.
        path: Print one line for a trainer instead, "<share> <path> ..." in the order of the input, at full precision.
        json: Print everything at full precision as JSON instead, whatever else is asked for.
    """
    if out is not None and out.resolve() == counts.resolve():
        raise InputError(f"--out: {out} is the file of the counts itself; name another")
    drop, merge, fixed = drop or {}, merge or {}, fixed or {}
    for setting, mapping in (("drop", drop), ("merge", merge), ("fixed", fixed)):
        check_names(setting, mapping)
    method = method or ("proportional" if temperature is None else "temperature")
    _check_settings(method, training_tokens, temperature, minimum_share, max_epochs, usage_warning)
    temperature = (temperature or 0.5) if method == "temperature" else None
    max_epochs = 4.0 if max_epochs is None and method in BUDGETED else max_epochs

    datasets = read_counts(counts, token_key)
    try:
        kept = regroup(datasets, drop, merge)
        totals = _group_totals(kept)
        groups, available = list(totals), sum(totals.values())
        budget = available if training_tokens is None else training_tokens
        tokens = np.array(list(totals.values()), dtype=float)
        fixed_values = np.array(fixed_weights(fixed, groups))
        wanted = _wanted(method, tokens, temperature)
        shares = heuristic_weights(tokens, wanted, minimum_share, budget, max_epochs, fixed_values, groups).tolist()
    except InputError as error:
        raise InputError(f"{counts}: {error}") from None

    distribution = dict(zip(groups, shares, strict=True))
    epochs = {group: _epochs(share, budget, totals[group]) for group, share in distribution.items()}
    paths = {d.path: _part(distribution[d.group], d.tokens, totals[d.group]) for d in kept}
    empty = [group for group in groups if not totals[group]]
    passed = [g for g in fixed if max_epochs is not None and epochs[g] > max_epochs * (1 + 1e-12)]
    if out is not None:
        settings = {
            "model_name": "baseline",
            "method": method,
            **({} if temperature is None else {"temperature": temperature}),
            **{key: value for key, value in (("drop", drop), ("merge", merge), ("fixed", fixed)) if value},
            "minimum_share": minimum_share,
            "max_epochs": max_epochs,
            "total_available_tokens": available,
            "training_tokens": budget,
        }
        _write(out, counts, datasets, distribution, epochs, paths, settings)

    if empty:
        say(f"{counts}: no tokens in {some(empty)}: share 0, whatever the floor")
    if none := [group for group in groups if group not in fixed and totals[group] and not distribution[group]]:
        say(f"{counts}: the fixed shares sum to 1 and leave nothing to {some(none)}")
    for group in passed:
        say(
            f"{counts}: {group} is fixed at {fixed[group]:g}, {epochs[group]:.2f} epochs, over max_epochs {max_epochs:g}"
        )
    if json:
        answer: dict[str, Any] = {"distribution": distribution, "epochs": epochs, "paths": paths}
        answer |= {"total_available_tokens": available, "training_tokens": budget}
        print(json_module.dumps(answer, indent=2, ensure_ascii=False, allow_nan=False))
    elif path:
        print(" ".join(f"{share!r} {shlex.quote(where)}" for where, share in paths.items()))
    else:
        print(_table(distribution))
        if summary:
            notes = dict.fromkeys(empty, " (no tokens)") | dict.fromkeys(passed, " (fixed, over max_epochs)")
            print(_summary(available, budget, epochs, usage_warning, notes))


def _wanted(method: str, tokens: np.ndarray, temperature: float | None) -> np.ndarray:
    """Shares of a method where no floor, cap or fixed share binds."""
    if method == "temperature" and temperature is not None:
        return temperature_weights(tokens, temperature)
    return uniform_weights(tokens) if method in ("uniform", "unimax") else proportional_weights(tokens)


def _group_totals(datasets: Sequence[Dataset]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for dataset in datasets:
        totals[dataset.group] = totals.get(dataset.group, 0) + dataset.tokens
    return totals


def _part(share: float, tokens: int, total: int) -> float:
    return share * (tokens / total) if tokens else 0.0


def _epochs(share: float, budget: int, tokens: int) -> float:
    return share * budget / tokens if tokens else 0.0


def _write(
    out: Path,
    counts: Path,
    datasets: Sequence[Dataset],
    distribution: Mapping[str, float],
    epochs: Mapping[str, float],
    paths: Mapping[str, float],
    settings: Mapping[str, Any],
) -> None:
    """The mixture file: over the groups of a JSONL, over all domains of a domains.csv (0 where dropped)."""
    if has_domains(counts):
        tokens = {d.path: d.tokens for d in datasets}
        distribution = {domain: paths.get(domain, 0.0) for domain in tokens}
        budget = int(settings["training_tokens"])
        epochs = {domain: _epochs(share, budget, tokens[domain]) for domain, share in distribution.items()}
    for group in distribution:
        check_domain_name(group, f"{counts}: a mixture file")
    write_mixture(out, distribution, {**settings, "epochs": dict(epochs)})


def _check_settings(
    method: str,
    training_tokens: int | None,
    temperature: float | None,
    minimum_share: float,
    max_epochs: float | None,
    usage_warning: float,
) -> None:
    rules = [
        (
            "training_tokens",
            training_tokens,
            training_tokens is None or 0 < training_tokens < 1e30,
            "above 0 and below 1e30",
        ),
        ("temperature", temperature, temperature is None or 0 < temperature < math.inf, "above 0"),
        ("minimum_share", minimum_share, 0 <= minimum_share <= 1, "from 0 to 1"),
        ("max_epochs", max_epochs, max_epochs is None or 0 < max_epochs < math.inf, "above 0"),
        ("usage_warning", usage_warning, usage_warning >= 0, "at least 0"),
    ]
    for name, value, right, wanted in rules:
        if not right:
            raise InputError(f"{name} is {value}; a number {wanted} is wanted")
    if temperature is not None and method != "temperature":
        raise InputError(
            f"temperature is {temperature:g}, which the method {method} does not use; leave one of the two out"
        )
    if method in BUDGETED and training_tokens is None:
        raise InputError(f"{method} needs a budget: give the tokens of the final training as --training_tokens")


def _table(distribution: Mapping[str, float]) -> str:
    rows = sorted(distribution.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join(f"{share:.4f}   {group}" for group, share in rows)


def _summary(available: int, budget: int, epochs: Mapping[str, float], limit: float, notes: Mapping[str, str]) -> str:
    over = [group for group, passes in epochs.items() if passes > limit]
    lines = ["", f"Total available tokens: {available:,}", f"Total training tokens:  {budget:,}", ""]
    if over:
        lines += [f"Warning: {len(over)} of {len(epochs)} groups repeat more than {limit:g} times", ""]
    lines += ["Epochs per group"]
    for group, passes in sorted(epochs.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"{'!!!' if passes > limit else '-  '} {group}: {passes:.2f}{notes.get(group, '')}")
    return "\n".join(lines)


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(baseline)
