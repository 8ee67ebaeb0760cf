"""Token counts -> a baseline mixture, the one to beat: token shares with temperature, floor and epoch caps.

python mixture_config/baseline.py --counts data.jsonl --training_tokens 4000000000000 --minimum_share 0.0005 --summary
"""

import json as json_module
import math
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.simplex import epoch_bounds, water_fill
from proxymix.cli import run
from proxymix.errors import InputError
from proxymix.files import read_text
from proxymix.progress import say
from proxymix.schemas import check_domain_name, read_domains, write_mixture


def baseline(
    counts: Path,
    out: Path | None = None,
    training_tokens: int | None = None,
    temperature: float = 1.0,
    minimum_share: float = 0.0,
    max_epochs: float | None = None,
    usage_warning: float = 5.0,
    token_key: str | None = None,
    summary: bool = False,
    path: bool = False,
    json: bool = False,
) -> None:
    """Turn token counts into a baseline mixture, which needs no proxies.

    Shares follow tokens**temperature; a floor lifts the small groups and epoch caps hold back those whose data would
    repeat too often, solved together so that everything left is still shared in proportion. Prints a table, unless
    another output is asked for.

    Args:
        counts: A JSONL file, one dataset a line with the keys lang (its group), dataset, <tokenizer>-tok or tokens, and
            path; or a study's domains.csv.
        out: Write the mixture here too, as YAML in RegMix's keys with the epochs of every domain.
        training_tokens: Tokens of the final training, for epochs and caps; as many as there are unless given.
        temperature: Exponent on token counts: 1 keeps token shares, less flattens them (0.3 to 0.7 for languages), more
            sharpens.
        minimum_share: Smallest share of a group that has tokens; the others give it up in proportion.
        max_epochs: Most passes over a group's tokens once training_tokens is given (4 costs little, arXiv:2305.16264);
            no cap unless given.
        usage_warning: Warn in the summary about groups repeated more often than this.
        token_key: The key of the token counts in the JSONL; the one ending in -tok or named tokens unless given.
        summary: Print the available and training tokens and the epochs of every group after the table.
        path: Print one line for a trainer instead, "<share> <path> ..." in the order of the input.
        json: Print everything at full precision as JSON instead.
    """
    _check_settings(training_tokens, temperature, minimum_share, max_epochs, usage_warning)
    datasets = read_counts(counts, token_key)
    groups = list(dict.fromkeys(dataset.group for dataset in datasets))
    tokens = np.array([sum(d.tokens for d in datasets if d.group == group) for group in groups], dtype=float)
    available = sum(dataset.tokens for dataset in datasets)
    budget = available if training_tokens is None else training_tokens
    try:
        shares = heuristic_shares(tokens, temperature, minimum_share, training_tokens, max_epochs, groups)
    except InputError as error:
        raise InputError(f"{counts}: {error}") from None
    if empty := [group for group, count in zip(groups, tokens, strict=True) if count == 0]:
        say(f"{counts}: no tokens in {', '.join(empty)}: share 0, whatever the floor")

    distribution = dict(zip(groups, shares.tolist(), strict=True))
    epochs = {g: s * budget / t if t else 0.0 for g, s, t in zip(groups, shares.tolist(), tokens.tolist(), strict=True)}
    paths = _path_shares(datasets, distribution)
    if out is not None:
        settings = {
            "model_name": "baseline",
            "temperature": temperature,
            "minimum_share": minimum_share,
            "max_epochs": max_epochs,
            "total_available_tokens": available,
            "training_tokens": budget,
            "epochs": epochs,
        }
        for group in groups:
            check_domain_name(group, f"{counts}: a mixture file")
        write_mixture(out, distribution, settings)
    if summary or not (path or json):
        print(_table(distribution))
    if summary:
        print(_summary(available, budget, epochs, usage_warning))
    if path:
        print(" ".join(f"{share!r} {shlex.quote(where)}" for where, share in paths.items()))
    if json:
        answer: dict[str, Any] = {"distribution": distribution, "epochs": epochs, "paths": paths}
        answer |= {"total_available_tokens": available, "training_tokens": budget}
        print(json_module.dumps(answer, indent=2, ensure_ascii=False))


def heuristic_shares(
    tokens: np.ndarray,
    temperature: float = 1.0,
    minimum_share: float = 0.0,
    training_tokens: int | None = None,
    max_epochs: float | None = None,
    names: Sequence[str] | None = None,
) -> np.ndarray:
    """Shares in proportion to tokens**temperature between a floor and epoch caps; sum 1, shape (num_groups,).

    Args:
        tokens: Token counts, shape (num_groups,); a group with none gets 0 and no floor.
        temperature: Exponent on the counts, above 0.
        minimum_share: Floor of every group that has tokens.
        training_tokens: Tokens of the final training.
        max_epochs: Cap, in passes over a group's tokens; None, or no training_tokens, for no cap.
        names: Group names for error messages.

    Raises:
        InputError: If floor and caps cannot be met, with the largest floor and budget that can.
    """
    live = tokens > 0
    caps = np.ones(len(tokens))
    if max_epochs is not None and training_tokens is not None:
        caps = epoch_bounds(tokens, training_tokens, max_epochs)
    if minimum_share * live.sum() > 1 + 1e-12:
        raise InputError(
            f"minimum_share {minimum_share:g} for {live.sum()} groups sums to {minimum_share * live.sum():.6g}, over 1; "
            f"the largest that can be met is {_down(1 / live.sum())}"
        )
    if max_epochs is not None and training_tokens is not None and (caps[live] < minimum_share).any():
        smallest = int(np.flatnonzero(live)[np.argmin(tokens[live])])
        largest_budget = math.floor(max_epochs * tokens[smallest] / minimum_share)
        raise InputError(
            f"minimum_share {minimum_share:g} of {training_tokens:,} training tokens would repeat "
            f"{names[smallest] if names else f'group {smallest + 1}'} more than {max_epochs:g} times; "
            f"the largest floor that can be met is {_down(caps[smallest])}, the largest training_tokens {largest_budget:,}"
        )
    return water_fill(temperature_shares(tokens, temperature), np.where(live, minimum_share, 0.0), caps)


def proportional_shares(tokens: np.ndarray) -> np.ndarray:
    """Token shares: the prior."""
    return tokens / tokens.sum()


def temperature_shares(tokens: np.ndarray, temperature: float = 0.5) -> np.ndarray:
    """Shares in proportion to tokens**temperature: 1 is the prior, near 0 is uniform."""
    flat = np.maximum((tokens / tokens.max()) ** temperature, 1e-300) * (tokens > 0)
    return flat / flat.sum()


def uniform_shares(tokens: np.ndarray) -> np.ndarray:
    """The same share for every domain that has tokens."""
    return (tokens > 0) / np.count_nonzero(tokens)


BASELINES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "prior": proportional_shares,
    "proportional": proportional_shares,
    "temperature": temperature_shares,
    "uniform": uniform_shares,
}


@dataclass(frozen=True)
class Dataset:
    """One line of the counts. Groups get shares, and a dataset gets its part of its group's."""

    group: str
    dataset: str
    tokens: int
    path: str


def read_counts(path: Path, token_key: str | None = None) -> list[Dataset]:
    """A counts JSONL, or a domains.csv whose every domain is a group of its own, in the file's order.

    Raises:
        InputError: If a line is no object, lacks a key, repeats a dataset or path, or its count is no whole number >= 0.
    """
    if Path(path).suffix.lower() == ".csv":
        return [Dataset(d.domain, d.domain, d.tokens, d.domain) for d in read_domains(path)]
    datasets: list[Dataset] = []
    seen: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        record = _record(line, where)
        token_key = token_key or _find_token_key(record, where)
        for key in ("lang", "dataset", token_key, "path"):
            if key not in record:
                raise InputError(f"{where}: no key {key!r}; found {', '.join(record) or 'none'}")
        group, name, file = (_text(record[key], f"{where}: {key}") for key in ("lang", "dataset", "path"))
        for what in ((group, name), (file,)):
            if what in seen:
                raise InputError(f"{where}: {'/'.join(what)} is there already, in line {seen[what]}; remove one")
            seen[what] = number
        datasets.append(Dataset(group, name, _count(record[token_key], f"{where}: {token_key}"), file))
    if not datasets:
        raise InputError(
            f"{path}: the file is empty; one JSON object a line with lang, dataset, tokens and path is wanted"
        )
    if not any(dataset.tokens for dataset in datasets):
        raise InputError(f"{path}: no dataset has any tokens")
    return datasets


def _record(line: str, where: str) -> dict[str, Any]:
    try:
        record = json_module.loads(line)
    except json_module.JSONDecodeError as error:
        raise InputError(f"{where}: not JSON: {error.msg} (column {error.colno})") from None
    if not isinstance(record, dict):
        raise InputError(f"{where}: a JSON object is wanted, found {line.strip():.60}")
    return record


def _find_token_key(record: dict[str, Any], where: str) -> str:
    keys = [key for key in record if key.endswith("-tok") or key == "tokens"]
    if len(keys) == 1:
        return keys[0]
    if keys:
        raise InputError(f"{where}: several token counts ({', '.join(keys)}); choose one with token_key")
    raise InputError(
        f"{where}: no token count: a key that ends in -tok or is named tokens, or the one that token_key names, "
        f"is wanted; found {', '.join(record) or 'none'}"
    )


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where} is {value!r}; a text is wanted")
    return value


def _count(value: Any, where: str) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value < 0
        or value % 1
    ):
        raise InputError(f"{where} is {value!r}; a whole number of tokens >= 0 is wanted")
    return int(value)


def _check_settings(
    training_tokens: int | None,
    temperature: float,
    minimum_share: float,
    max_epochs: float | None,
    usage_warning: float,
) -> None:
    rules = [
        ("training_tokens", training_tokens, training_tokens is None or training_tokens > 0, "above 0"),
        ("temperature", temperature, 0 < temperature < math.inf, "above 0"),
        ("minimum_share", minimum_share, 0 <= minimum_share <= 1, "from 0 to 1"),
        ("max_epochs", max_epochs, max_epochs is None or 0 < max_epochs < math.inf, "above 0"),
        ("usage_warning", usage_warning, usage_warning >= 0, "at least 0"),
    ]
    for name, value, right, wanted in rules:
        if not right:
            raise InputError(f"{name} is {value}; a number {wanted} is wanted")


def _path_shares(datasets: Sequence[Dataset], distribution: dict[str, float]) -> dict[str, float]:
    totals = {group: sum(d.tokens for d in datasets if d.group == group) for group in distribution}
    return {d.path: distribution[d.group] * (d.tokens / totals[d.group]) if d.tokens else 0.0 for d in datasets}


def _table(distribution: dict[str, float]) -> str:
    rows = sorted(distribution.items(), key=lambda item: (-item[1], item[0]))
    return "\n".join(f"{share:.4f}   {group}" for group, share in rows)


def _summary(available: int, budget: int, epochs: dict[str, float], limit: float) -> str:
    over = [group for group, passes in epochs.items() if passes > limit]
    lines = ["", f"Total available tokens: {available:,}", f"Total training tokens:  {budget:,}", ""]
    if over:
        lines += [f"Warning: {len(over)} of {len(epochs)} groups repeat more than {limit:g} times", ""]
    lines += ["Epochs per group"]
    for group, passes in sorted(epochs.items(), key=lambda item: (-item[1], item[0])):
        lines.append(f"{'!!!' if passes > limit else '-  '} {group}: {passes:.2f}")
    return "\n".join(lines)


def _down(share: float) -> str:
    """A share rounded down to four digits, so that what an error suggests can be met."""
    digits = 3 - math.floor(math.log10(share))
    return f"{math.floor(share * 10**digits + 1e-9) / 10**digits:g}"


if __name__ == "__main__":
    run(baseline)
