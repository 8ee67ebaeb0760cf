"""Token counts -> a baseline mixture: weights by token counts, within a floor and epoch caps, some of them fixed.

python mixture_config/baseline.py --domains data.jsonl --budget 4e12 --fixed '{eng: 0.45}' --minimum_share 0.0005 --summary
"""

import json as json_module
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from mixture_config.design.heuristics import BUDGETED, heuristic_weights, unlimited_weights
from mixture_config.files.counts import fixed_weights, regroup
from mixture_config.files.mixture import Mixture
from mixture_config.geometry.simplex import percent_hint
from proxymix.errors import InputError
from proxymix.messages import some, study_of
from proxymix.progress import say
from proxymix.schemas import distinct_names, plain_name, plain_names
from proxymix.token_counts import Dataset, has_domains, read_counts

Method = Literal["proportional", "prior", "temperature", "uniform", "unimax", "capped"]


def baseline(
    domains: Path,
    out: Path | None = None,
    budget: int | None = None,
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
        domains: A JSONL file with one dataset a line and the keys lang (the dataset's group), dataset, <tokenizer>-tok or
            tokens, and path; or a study's domains.csv, where every domain is a group with one dataset of the same name.
        out: Also write the mixture to this file, as YAML in RegMix's keys with the epochs of every domain. Its domains are
            the groups. For a domains.csv they are the domains of that file, which divide the share of a merged group.
        budget: Tokens of the final training, for epochs and caps; all tokens that there are unless given.
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
    if out is not None and out.resolve() == domains.resolve():
        raise InputError(f"--out: {out} is the file of the counts itself; name another")
    drop, merge, fixed = drop or {}, merge or {}, fixed or {}
    if has_domains(domains):
        drop, merge = plain_names(drop), plain_names(merge)
        fixed = {plain_name(name): share for name, share in fixed.items()}
    method = method or ("proportional" if temperature is None else "temperature")
    _check_settings(method, budget, temperature, minimum_share, max_epochs, usage_warning)
    if method == "temperature" and temperature is None:
        temperature = 0.5
    max_epochs = 4.0 if max_epochs is None and method in BUDGETED else max_epochs

    # ---- 1. The weights of the groups, and what becomes of the datasets in them
    datasets = read_counts(domains, token_key)
    try:
        kept = regroup(datasets, drop, merge)
        totals = _group_totals(kept)
        groups, available = list(totals), sum(totals.values())
        trained = available if budget is None else budget
        tokens = np.array(list(totals.values()), dtype=float)
        wanted = unlimited_weights(method, tokens, temperature or 1.0)
        fixed_values = np.array(fixed_weights(fixed, groups))
        solved = heuristic_weights(tokens, wanted, minimum_share, trained, max_epochs, fixed_values, groups)
    except InputError as error:
        raise InputError(f"{domains}: {error}") from None
    weights = dict(zip(groups, solved.tolist(), strict=True))
    epochs = _epochs(weights, totals, trained)
    paths = {d.path: weights[d.group] * (d.tokens / totals[d.group]) if d.tokens else 0.0 for d in kept}

    # ---- 2. The file
    over = [g for g in fixed if max_epochs is not None and epochs[g] > max_epochs * (1 + 1e-12)]
    _say_what_is_odd(domains, totals, weights, epochs, fixed, over, max_epochs)
    if out is not None:
        settings = {
            "model_name": "baseline",
            "method": method,
            **({} if temperature is None else {"temperature": temperature}),
            **{key: value for key, value in (("drop", drop), ("merge", merge), ("fixed", fixed)) if value},
            "minimum_share": minimum_share,
            "max_epochs": max_epochs,
            "total_available_tokens": available,
            "training_tokens": trained,
        }
        _mixture(domains, datasets, weights, epochs, paths, settings, trained).write(out)

    # ---- 3. The terminal
    if json:
        parts = {"distribution": weights, "epochs": epochs, "paths": paths}
        answer = {part: {name: _plain(x) for name, x in values.items()} for part, values in parts.items()}
        sums = {"total_available_tokens": available, "training_tokens": trained}
        print(json_module.dumps(answer | sums, indent=2, ensure_ascii=False, allow_nan=False))
    elif path:
        print(" ".join(f"{_plain(weight)!r} {shlex.quote(where)}" for where, weight in paths.items()))
    else:
        weights = dict(sorted(weights.items(), key=lambda item: (-item[1], item[0])))
        print("\n".join(f"{weight:.4f}   {group}" for group, weight in weights.items()))
        if summary:
            print(_summary(totals, trained, {group: epochs[group] for group in weights}, usage_warning, over))
    if out is not None:
        _say_what_is_next(domains, out)


def _group_totals(datasets: Sequence[Dataset]) -> dict[str, int]:
    totals = dict.fromkeys((dataset.group for dataset in datasets), 0)
    for dataset in datasets:
        totals[dataset.group] += dataset.tokens
    return totals


def _epochs(weights: Mapping[str, float], tokens: Mapping[str, int], budget: int) -> dict[str, float]:
    return {name: _plain(weight * budget / tokens[name]) if tokens[name] else 0.0 for name, weight in weights.items()}


def _plain(value: float) -> float:
    """The number without the noise of rounding, 0.2125 for 0.21250000000000002; one of many digits as it is."""
    short = float(f"{value:.15g}")
    return short if len(repr(short)) < 14 else value


def _mixture(
    path: Path,
    datasets: Sequence[Dataset],
    weights: Mapping[str, float],
    epochs: Mapping[str, float],
    paths: Mapping[str, float],
    settings: Mapping[str, object],
    budget: int,
) -> Mixture:
    """The mixture over the groups of a JSONL, or over all domains of a domains.csv (0 where dropped)."""
    if has_domains(path):
        weights = {d.path: paths.get(d.path, 0.0) for d in datasets}
        epochs = _epochs(weights, {d.path: d.tokens for d in datasets}, budget)
    names = distinct_names(weights, f"{path}: a mixture file")
    named = dict(zip(names, weights.values(), strict=True))
    return Mixture(named, {**settings, "epochs": dict(zip(names, epochs.values(), strict=True))})


def _say_what_is_odd(
    path: Path,
    totals: Mapping[str, int],
    weights: Mapping[str, float],
    epochs: Mapping[str, float],
    fixed: Mapping[str, float],
    over: Sequence[str],
    max_epochs: float | None,
) -> None:
    if empty := [group for group, tokens in totals.items() if not tokens]:
        say(f"{path}: no tokens in {some(empty)}: share 0, whatever the floor")
    if none := [group for group, tokens in totals.items() if group not in fixed and tokens and not weights[group]]:
        say(f"{path}: the fixed shares sum to 1 and leave nothing to {some(none)}")
    for group in over:
        say(f"{path}: {group} is fixed at {fixed[group]:g}, {epochs[group]:.2f} epochs, over max_epochs {max_epochs:g}")


def _say_what_is_next(domains: Path, out: Path) -> None:
    say(f"Written: {out}")
    file, table, study = shlex.quote(str(out)), shlex.quote(str(domains)), study_of(out)
    if study is not None:
        say(f"Next: proxymix synthesize --study {shlex.quote(str(study))}")
    elif has_domains(domains):
        say(f"Next: proxymix synthesize --domains {table} --out {shlex.quote(str(out.parent))}")
    else:
        say(f"Next: proxymix export --mixture {file} --to megatron --paths {table}")


def _check_settings(
    method: str,
    budget: int | None,
    temperature: float | None,
    minimum_share: float,
    max_epochs: float | None,
    usage_warning: float,
) -> None:
    rules = [
        ("budget", budget, budget is None or 0 < budget < 1e30, "above 0 and below 1e30"),
        ("temperature", temperature, temperature is None or 0 < temperature < math.inf, "above 0"),
        ("minimum_share", minimum_share, 0 <= minimum_share <= 1, "from 0 to 1"),
        ("max_epochs", max_epochs, max_epochs is None or 0 < max_epochs < math.inf, "above 0"),
        ("usage_warning", usage_warning, usage_warning >= 0, "at least 0"),
    ]
    for name, value, right, wanted in rules:
        if not right:
            hint = percent_hint(value) if name == "minimum_share" else ""
            raise InputError(f"{name} is {value}; a number {wanted} is wanted{hint}")
    if temperature is not None and method != "temperature":
        raise InputError(
            f"temperature is {temperature:g}, which the method {method} does not use; leave one of the two out"
        )
    if method in BUDGETED and budget is None:
        raise InputError(f"{method} needs a budget: give the tokens of the final training as --budget")


def _summary(
    totals: Mapping[str, int], budget: int, epochs: Mapping[str, float], limit: float, over: Sequence[str]
) -> str:
    lines = ["", f"Total available tokens: {sum(totals.values()):,}", f"Total training tokens:  {budget:,}", ""]
    if often := [group for group, passes in epochs.items() if passes > limit]:
        lines += [f"Warning: {len(often)} of {len(epochs)} groups repeat more than {limit:g} times", ""]
    lines += ["Epochs per group"]
    notes = dict.fromkeys(over, " (fixed, over max_epochs)")
    for group, passes in epochs.items():
        note = notes.get(group, "" if totals[group] else " (no tokens)")
        lines.append(f"{'!!!' if passes > limit else '-  '} {group}: {passes:.2f}{note}")
    return "\n".join(lines)


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(baseline)
