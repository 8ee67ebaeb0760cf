"""Token shards -> domains.csv: tokens, documents and bytes of every training domain, and the prior.

python data_preparation/count.py --tokens studies/mine/tokens --out studies/mine/domains.csv
"""

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from proxymix.errors import InputError
from proxymix.messages import nearest, next_command, some
from proxymix.progress import say
from proxymix.schemas import MAX_COUNT, Domains, distinct_names, plain_name, read_tokens_manifest
from proxymix.token_counts import read_counts


def count(tokens: Path, out: Path, counts: Path | None = None, multiplier: dict[str, float] | None = None) -> None:
    """Write how many training tokens each domain has. The prior is a domain's share of all of them.

    The tokens on disk may be a sample. The prior, and all later limits on epochs, then go by the true sizes.

    Args:
        tokens: Folder of token shards, with its manifest.json.
        out: The CSV to write (domain, tokens, documents, bytes, prior; available_tokens where true sizes are given).
        counts: True sizes: a CSV of domain,tokens or the JSONL that `baseline --counts` reads, with all domains.
        multiplier: True sizes as multiples of those on disk, such as {web: 1000, code: 50}; a domain that is not named
            is all there.

    Raises:
        InputError: If there are no training tokens, both counts and multiplier are given, or one of them names other
            domains or holds a size that cannot be.
    """
    manifest = read_tokens_manifest(tokens)
    names = manifest.domains("train")
    columns = ([manifest.total("train", name, of) for name in names] for of in ("tokens", "documents", "bytes"))
    domains = Domains(tuple(names), *map(np.array, columns))
    if not domains.tokens.any():
        raise InputError(
            f"{tokens}/manifest.json: no training tokens; run `proxymix tokenize` on a corpus that holds text"
        )
    if counts is not None and multiplier is not None:
        raise InputError("counts and multiplier both say how large the domains are; give one of them")
    if counts is not None:
        domains = _with_true_sizes(domains, _sizes_in(counts, names, tokens), str(counts))
    if multiplier is not None:
        domains = _with_true_sizes(domains, _multiplied(domains, multiplier, tokens), "multiplier")
    domains.write(out)
    say(f"Written: {out} ({len(domains)} domains, {domains.true_tokens.sum(dtype=float):,.0f} tokens)")
    say(f"Next: {next_command(out, 'synthesize', f'--domains {shlex.quote(str(out))} --num_mixtures 64 --out .')}")


def _sizes_in(counts: Path, names: list[str], tokens: Path) -> dict[str, int]:
    """The tokens of each domain by a file: by its groups, or by its datasets where these have the domains' names."""
    datasets = read_counts(counts)
    by_group: dict[str, int] = {}
    by_dataset: dict[str, int] = {}
    for dataset in datasets:
        for name, sizes in ((dataset.group, by_group), (dataset.dataset, by_dataset)):
            sizes[name] = sizes.get(name, 0) + dataset.tokens
    sizes = by_dataset if {plain_name(name) for name in by_dataset} == set(names) else by_group
    _check_names(distinct_names(sizes, str(counts)), names, str(counts), tokens)
    found = {plain_name(name): size for name, size in sizes.items()}
    if missing := [name for name in names if name not in found]:
        raise InputError(f"{counts}: lacks {some(missing)}, of which {tokens} holds tokens; add the true sizes")
    if huge := [name for name in names if found[name] > MAX_COUNT]:
        raise InputError(
            f"{counts}: {huge[0]} has {found[huge[0]]:,} tokens in all; at most {MAX_COUNT:g} are possible"
        )
    return found


def _multiplied(domains: Domains, multiplier: Mapping[str, float], tokens: Path) -> dict[str, int]:
    _check_names(distinct_names(multiplier, "multiplier"), domains.names, "multiplier", tokens)
    times = {plain_name(name): value for name, value in multiplier.items()}
    sizes = {}
    for name, on_disk in zip(domains.names, domains.tokens.tolist(), strict=True):
        size = on_disk * times.get(name, 1)
        if not times.get(name, 1) > 0 or not size <= MAX_COUNT:
            raise InputError(
                f"multiplier: {name} is {times[name]!r}; how many times the {on_disk:,} tokens on disk there are is wanted, "
                f"more than 0 and no more than {MAX_COUNT:g} tokens in all"
            )
        sizes[name] = round(size)
    return sizes


def _check_names(given: Iterable[str], names: Iterable[str], where: str, tokens: Path) -> None:
    """Raise InputError for a name that is no domain of the tokens."""
    for name in given:
        if name not in set(names):
            raise InputError(
                f"{where}: {tokens} has no training domain {name!r}{nearest(name, names) or f'; there are {some(names)}'}"
            )


def _with_true_sizes(domains: Domains, sizes: Mapping[str, int], where: str) -> Domains:
    """The domains with their true sizes; what those say about the tokens on disk is reported."""
    sized = replace(domains, available_tokens=np.array([sizes[name] for name in domains.names]))
    rows = zip(domains.names, domains.tokens.tolist(), sized.true_tokens.tolist(), strict=True)
    for name, on_disk, true in rows:
        if true < on_disk:
            say(f"{where}: {name} has {true:,} tokens by this, fewer than the {on_disk:,} on disk; is that meant?")
        elif true and not on_disk:
            say(f"{where}: {name} has {true:,} tokens by this and none on disk, so no proxy can train on it")
    if not sized.true_tokens.any():
        raise InputError(f"{where}: no domain has any tokens")
    say(
        f"{where}: {domains.tokens.sum():,} tokens on disk stand for {sized.true_tokens.sum(dtype=float):,.0f}; the prior, "
        "limits on epochs and the proposal go by the latter"
    )
    return sized


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(count)
