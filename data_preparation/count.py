"""Token shards -> domains.csv: tokens, documents and bytes of every training domain, and the prior.

python data_preparation/count.py --tokens studies/mine/tokens --out studies/mine/domains.csv
"""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from proxymix.errors import InputError
from proxymix.messages import aligned, nearest, next_command, some
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
        sizes = _named(_sizes_in(counts, names), names, str(counts))
        if missing := [name for name in names if name not in sizes]:
            raise InputError(f"{counts}: lacks {some(missing)}, of which {tokens} holds tokens; add the true sizes")
        domains = _with_true_sizes(domains, sizes, str(counts))
    if multiplier is not None:
        times = _named(multiplier, names, "multiplier")
        sizes = {name: times.get(name, 1) * domains.tokens[number] for number, name in enumerate(names)}
        domains = _with_true_sizes(domains, sizes, "multiplier")
    domains.write(out)
    _say_sizes(domains)
    say(f"Written: {out}")
    say(f"Next: {next_command(out, 'synthesize', f'--domains {shlex.quote(str(out))} --num_mixtures 64 --out .')}")


def _sizes_in(counts: Path, names: Sequence[str]) -> dict[str, float]:
    """The tokens in a file by its groups, or by its datasets where these have the domains' names."""
    by_group: dict[str, float] = {}
    by_dataset: dict[str, float] = {}
    for dataset in read_counts(counts):
        for name, sizes in ((dataset.group, by_group), (dataset.dataset, by_dataset)):
            sizes[name] = sizes.get(name, 0) + dataset.tokens
    return by_dataset if {plain_name(name) for name in by_dataset} == set(names) else by_group


def _named(given: Mapping[str, float], names: Sequence[str], where: str) -> dict[str, float]:
    """Numbers by the domains' own names.

    Raises:
        InputError: If one is given for what is no domain, or two for one.
    """
    for name in distinct_names(given, where):
        if (domain := plain_name(name)) not in names:
            hint = nearest(domain, names) or f"; there are {some(names)}"
            raise InputError(f"{where}: the tokens have no training domain {domain!r}{hint}")
    return {plain_name(name): value for name, value in given.items()}


def _with_true_sizes(domains: Domains, sizes: Mapping[str, float], where: str) -> Domains:
    """The domains with their true sizes; what these say about the tokens on disk is reported.

    Raises:
        InputError: If a size cannot be, or all are 0.
    """
    for name, on_disk in zip(domains.names, domains.tokens.tolist(), strict=True):
        if not 0 <= sizes[name] <= MAX_COUNT:
            raise InputError(
                f"{where}: {name} has {sizes[name]:g} tokens by this; from 0 to {MAX_COUNT:g} are possible"
            )
        true = round(sizes[name])
        if true < on_disk:
            say(f"{where}: {name} has {true:,} tokens by this, fewer than the {on_disk:,} on disk; is that meant?")
        elif true and not on_disk:
            say(f"{where}: {name} has {true:,} tokens by this and none on disk, so no proxy can train on it")
    sized = replace(domains, available_tokens=np.array([round(sizes[name]) for name in domains.names]))
    if not sized.true_tokens.any():
        raise InputError(f"{where}: no domain has any tokens")
    return sized


def _say_sizes(domains: Domains) -> None:
    rows = [("domain", "tokens on disk", "tokens in all", "prior", "")]
    sizes = zip(domains.names, domains.tokens.tolist(), domains.true_tokens.tolist(), domains.prior, strict=True)
    rows += [(name, f"{on_disk:,}", f"{true:,}", f"{prior:.2%}", "") for name, on_disk, true, prior in sizes]
    say(aligned(rows))
    if domains.is_sample:
        say("The prior, limits on epochs and the proposal go by the tokens in all.")
    else:
        say(
            "What is on disk is taken for the whole corpus. If it is a sample, give the true sizes with --counts or --multiplier "
            "(in a study: corpus.counts or corpus.multiplier)."
        )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(count)
