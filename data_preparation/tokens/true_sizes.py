"""A file of token counts, or multiples of what is on disk -> how many tokens the domains of the whole corpus have."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from proxymix.errors import InputError
from proxymix.messages import nearest, some
from proxymix.progress import say
from proxymix.schemas import MAX_COUNT, distinct_names, plain_name
from proxymix.token_counts import read_counts


def true_sizes(
    names: Sequence[str], on_disk: Sequence[int], counts: Path | None, multiplier: Mapping[str, float] | None
) -> list[int] | None:
    """The tokens of each domain of the whole corpus; None where nothing says that what is on disk is a sample.

    What the sizes say about the tokens on disk is reported.

    Args:
        names: The training domains.
        on_disk: Their tokens.
        counts: A CSV of domain,tokens or a JSONL of token counts.
        multiplier: Domain -> how many times its tokens on disk there are; a domain that is not named is all there.

    Raises:
        InputError: As `check_named`, or if a size cannot be, or all are 0.
    """
    named = check_named(names, counts, multiplier)
    if named is None:
        return None
    where = str(counts or "multiplier")
    sizes = []
    for name, tokens in zip(names, on_disk, strict=True):
        size = named[name] if counts else named.get(name, 1) * tokens
        if not 0 <= size <= MAX_COUNT:
            raise InputError(f"{where}: {name} has {size:g} tokens by this; from 0 to {MAX_COUNT:g} are possible")
        sizes.append(round(size))
        if sizes[-1] < tokens:
            say(f"{where}: {name} has {sizes[-1]:,} tokens by this, fewer than the {tokens:,} on disk; is that meant?")
        elif sizes[-1] and not tokens:
            say(f"{where}: {name} has {sizes[-1]:,} tokens by this and none on disk, so no proxy can train on it")
    if not any(sizes):
        raise InputError(f"{where}: no domain has any tokens")
    return sizes


def check_named(
    names: Sequence[str], counts: Path | None, multiplier: Mapping[str, float] | None
) -> dict[str, float] | None:
    """The numbers that are given, by the domains' own names.

    Raises:
        InputError: If both are given, or a domain is named that there is not, or `counts` lacks one.
    """
    if counts is not None and multiplier is not None:
        raise InputError("counts and multiplier both say how large the domains are; give one of them")
    if counts is None and multiplier is None:
        return None
    given, where = (multiplier or {}, "multiplier") if counts is None else (_sizes_in(counts, names), str(counts))
    for name in distinct_names(given, where):
        if (domain := plain_name(name)) not in names:
            hint = nearest(domain, names) or f"; there are {some(names)}"
            raise InputError(f"{where}: the corpus has no training domain {domain!r}{hint}")
    found = {plain_name(name): value for name, value in given.items()}
    if counts and (missing := [name for name in names if name not in found]):
        raise InputError(f"{counts}: lacks {some(missing)}, which the corpus has; add the true sizes")
    return found


def _sizes_in(counts: Path, names: Sequence[str]) -> dict[str, float]:
    """The tokens in a file by its groups, or by its datasets where these have the domains' names."""
    by_group: dict[str, float] = {}
    by_dataset: dict[str, float] = {}
    for dataset in read_counts(counts):
        for name, sizes in ((dataset.group, by_group), (dataset.dataset, by_dataset)):
            sizes[name] = sizes.get(name, 0) + dataset.tokens
    return by_dataset if {plain_name(name) for name in by_dataset} == set(names) else by_group
