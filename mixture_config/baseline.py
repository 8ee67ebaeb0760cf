"""Token counts -> a baseline mixture: weights by token counts, within a floor and epoch caps, some of them fixed.

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
    BUDGETED,
    heuristic_weights,
    proportional_weights,
    temperature_weights,
    uniform_weights,
)
from mixture_config.files.counts import check_names, fixed_weights, regroup
from mixture_config.files.mixture import Mixture
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import distinct_names, plain_name, plain_names
from proxymix.token_counts import Dataset, has_domains, read_counts

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

    Some groups may have fixed shares, and the method divides the rest among the others. A floor lifts small groups, and
    epoch caps hold back groups whose data would repeat too often. Floor and caps are solved together, exactly. The command
    prints a table unless another output is asked for.

    Args:
        counts: A JSONL file with one dataset a line and the keys lang (the dataset's group), dataset, <tokenizer>-tok or
            tokens, and path; or a study's domains.csv, where every domain is a group with one dataset of the same name.
        out: Also write the mixture to this file, as YAML in RegMix's keys with the epochs of every domain. Its domains are
            the groups. For a domains.csv they are the domains of that file, which divide the share of a merged group.
        training_tokens: Tokens of the final training, for epochs and caps; all tokens that there are unless given.
        method: How the groups that are not fixed divide the rest. proportional (or prior): by tokens; temperature: by
            tokens**temperature; uniform: equally; unimax: equally as far as max_epochs allows (arXiv:2304.09151); capped:
            by tokens, within max_epochs. Unless given, it is temperature if a temperature is given, else proportional.
        drop: Datasets to leave out before merging, by group: {eng: [web-2019]}. A group that is left empty disappears.
        merge: New groups of datasets by name, across groups: {code: [stack, starcoder]}.
        fixed: Shares to keep exactly, whatever floor and caps say: {eng: 0.45, code: 0.04}.
        minimum_share: Smallest share of the whole for a group that has tokens and is not fixed.
        max_epochs: Most passes over the tokens of a group that is not fixed (4 costs little, arXiv:2305.16264). Unless
            given it is 4 for unimax and capped, and there is no cap for the others.
        temperature: Exponent on token counts, above 0. 1 keeps token shares, less flattens them (0.3 to 0.7 for
            languages), and more sharpens them. It is 0.5 for the method temperature unless given.
        usage_warning: Mark groups in the summary that are repeated more often than this.
        token_key: The key of the token counts in the JSONL; the key that ends in -tok or is named tokens unless given.
        summary: After the table, print the available tokens, the training tokens, and the epochs of every group.
        path: Instead of the table, print one line for a trainer: "<share> <path> ..." in the order of the input, at full
            precision.
        json: Print everything at full precision as JSON, whatever else is asked for.
    """
    if out is not None and out.resolve() == counts.resolve():
        raise InputError(f"--out: {out} is the file of the counts itself; name another")
    drop, merge, fixed = drop or {}, merge or {}, fixed or {}
    for setting, mapping in (("drop", drop), ("merge", merge), ("fixed", fixed)):
        check_names(setting, mapping)
    if has_domains(counts):
        drop, merge = plain_names(drop), plain_names(merge)
        fixed = {plain_name(name): share for name, share in fixed.items()}
    method = method or ("proportional" if temperature is None else "temperature")
    _check_settings(method, training_tokens, temperature, minimum_share, max_epochs, usage_warning)
    temperature = (temperature or 0.5) if method == "temperature" else None
    max_epochs = 4.0 if max_epochs is None and method in BUDGETED else max_epochs

    # ---- 1. The weights of the groups, and what becomes of the datasets in them
    datasets = read_counts(counts, token_key)
    try:
        kept = regroup(datasets, drop, merge)
        totals = _group_totals(kept)
        groups, available = list(totals), sum(totals.values())
        budget = available if training_tokens is None else training_tokens
        tokens = np.array(list(totals.values()), dtype=float)
        wanted, fixed_values = _wanted(method, tokens, temperature), np.array(fixed_weights(fixed, groups))
        solved = heuristic_weights(tokens, wanted, minimum_share, budget, max_epochs, fixed_values, groups)
    except InputError as error:
        raise InputError(f"{counts}: {error}") from None
    weights = dict(zip(groups, solved.tolist(), strict=True))
    epochs = {group: _epochs(weight, budget, totals[group]) for group, weight in weights.items()}
    paths = {d.path: _part(weights[d.group], d.tokens, totals[d.group]) for d in kept}

    # ---- 2. The file
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
        _write(out, counts, datasets, weights, epochs, paths, settings)

    # ---- 3. The terminal
    over = [g for g in fixed if max_epochs is not None and epochs[g] > max_epochs * (1 + 1e-12)]
    _say_what_is_odd(counts, totals, weights, epochs, fixed, over, max_epochs)
    if json:
        answer: dict[str, Any] = {"distribution": weights, "epochs": epochs, "paths": paths}
        answer |= {"total_available_tokens": available, "training_tokens": budget}
        print(json_module.dumps(answer, indent=2, ensure_ascii=False, allow_nan=False))
    elif path:
        print(" ".join(f"{weight!r} {shlex.quote(where)}" for where, weight in paths.items()))
    else:
        print(_table(weights))
        if summary:
            notes = {group: " (no tokens)" for group in groups if not totals[group]}
            notes |= dict.fromkeys(over, " (fixed, over max_epochs)")
            print(_summary(available, budget, epochs, usage_warning, notes))


def _wanted(method: str, tokens: np.ndarray, temperature: float | None) -> np.ndarray:
    """The weights of a method where no floor, cap or fixed weight binds, shape (num_groups,)."""
    if method == "temperature" and temperature is not None:
        return temperature_weights(tokens, temperature)
    return uniform_weights(tokens) if method in ("uniform", "unimax") else proportional_weights(tokens)


def _group_totals(datasets: Sequence[Dataset]) -> dict[str, int]:
    totals: dict[str, int] = {}
    for dataset in datasets:
        totals[dataset.group] = totals.get(dataset.group, 0) + dataset.tokens
    return totals


def _part(weight: float, tokens: int, total: int) -> float:
    return weight * (tokens / total) if tokens else 0.0


def _epochs(weight: float, budget: int, tokens: int) -> float:
    return weight * budget / tokens if tokens else 0.0


def _write(
    out: Path,
    counts: Path,
    datasets: Sequence[Dataset],
    weights: Mapping[str, float],
    epochs: Mapping[str, float],
    paths: Mapping[str, float],
    settings: Mapping[str, Any],
) -> None:
    """Write the mixture: over the groups of a JSONL, or over all domains of a domains.csv (0 where dropped)."""
    if has_domains(counts):
        tokens = {d.path: d.tokens for d in datasets}
        weights = {domain: paths.get(domain, 0.0) for domain in tokens}
        budget = int(settings["training_tokens"])
        epochs = {domain: _epochs(weight, budget, tokens[domain]) for domain, weight in weights.items()}
    names = distinct_names(weights, f"{counts}: a mixture file")
    named = dict(zip(names, weights.values(), strict=True))
    Mixture(named, {**settings, "epochs": dict(zip(names, epochs.values(), strict=True))}).write(out)


def _say_what_is_odd(
    counts: Path,
    totals: Mapping[str, int],
    weights: Mapping[str, float],
    epochs: Mapping[str, float],
    fixed: Mapping[str, float],
    over: Sequence[str],
    max_epochs: float | None,
) -> None:
    if empty := [group for group, tokens in totals.items() if not tokens]:
        say(f"{counts}: no tokens in {some(empty)}: share 0, whatever the floor")
    if none := [group for group, tokens in totals.items() if group not in fixed and tokens and not weights[group]]:
        say(f"{counts}: the fixed shares sum to 1 and leave nothing to {some(none)}")
    for group in over:
        say(
            f"{counts}: {group} is fixed at {fixed[group]:g}, {epochs[group]:.2f} epochs, over max_epochs {max_epochs:g}"
        )


def _check_settings(
    method: str,
    training_tokens: int | None,
    temperature: float | None,
    minimum_share: float,
    max_epochs: float | None,
    usage_warning: float,
) -> None:
    tokens_fit = training_tokens is None or 0 < training_tokens < 1e30
    rules = [
        ("training_tokens", training_tokens, tokens_fit, "above 0 and below 1e30"),
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


def _table(weights: Mapping[str, float]) -> str:
    rows = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join(f"{weight:.4f}   {group}" for group, weight in rows)


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
