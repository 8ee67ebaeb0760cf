"""A mixture's weights and where its data lies -> one source for every weight that the trainer takes, and back."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixture_config.formats.paths import DomainPaths, read_paths
from mixture_config.formats.trainer_format import Entries, Source, TrainerFormat
from proxymix.errors import InputError
from proxymix.messages import nearest
from proxymix.schemas import Domains


def sources_of(
    entry: TrainerFormat, weights: Mapping[str, float], paths: Sequence[str] | None, folder: Path
) -> tuple[list[Source], list[str]]:
    """The sources, and what to note of how weights were divided among several paths of a domain.

    Args:
        entry: The format.
        weights: Domain -> weight.
        paths: The command line's `--paths`.
        folder: The mixture's folder.

    Raises:
        InputError: If the format takes no such paths, a domain has no path, or two domains have the same.
    """
    if entry.takes_paths == "none":
        if paths:
            raise InputError(f"--paths: {entry.label}'s file holds no paths; leave it out")
        return [Source(domain, weight, ()) for domain, weight in weights.items()], []
    if entry.takes_paths == "one_folder":
        if paths and (len(paths) > 1 or "{domain}" in paths[0]):
            raise InputError(f"--paths: {entry.label}'s data is one folder of token shards; give that folder")
        place = paths[0] if paths else (folder / "tokens").as_posix()
        return [Source(domain, weight, (place,)) for domain, weight in weights.items()], []
    book = read_paths(paths, entry.pattern, folder)
    sources: list[Source] = []
    ways: set[str] = set()
    for domain, weight in weights.items():
        own = book.of(domain)
        if not own:
            raise InputError(f"{book.where}: no path for {domain}, which has weight {weight:g}; name one")
        if not entry.weight_per_path:
            sources.append(Source(domain, weight, tuple(own)))
            continue
        sources += [Source(domain, weight * part, (path,)) for path, part in _parts(own).items() if part > 0]
        if len(own) > 1:
            ways.add("by their tokens" if None not in own.values() else "evenly, as their tokens are not known")
    _check_paths_differ(sources, book)
    return sources, [f"A domain with several paths has its share split over them {way}." for way in sorted(ways)]


def weights_of(entry: TrainerFormat, entries: Entries, paths: Sequence[str] | None) -> dict[str, float]:
    """What a format's `read` gives -> domain -> weight, sum 1.

    Raises:
        InputError: If a path is no domain's.
    """
    if entry.keyed_by_path:
        book = read_paths(paths, entry.pattern, None)
        entries = [(book.domain_of(name), weight) for name, weight in entries]
    weights: dict[str, float] = {}
    for name, weight in entries:
        weights[name] = weights.get(name, 0.0) + weight
    return normalise(weights)


def normalise(weights: Mapping[str, float]) -> dict[str, float]:
    """`weights` scaled to sum 1.

    Raises:
        InputError: If they sum to 0 or less.
    """
    total = math.fsum(weights.values())
    if not total > 0:
        raise InputError(f"the weights sum to {total:g}; numbers above 0 are wanted")
    return {name: weight / total for name, weight in weights.items()}


def read_table(path: Path, weights: Mapping[str, float]) -> Domains:
    """domains.csv, with a row for every domain that has a weight.

    Raises:
        InputError: If a row is missing, or holds no tokens.
    """
    table = Domains.read(path)
    tokens = dict(zip(table.names, table.true_tokens.tolist(), strict=True))
    for domain in [domain for domain, weight in weights.items() if weight > 0]:
        if domain not in tokens:
            raise InputError(
                f"{path}: no row for {domain}, which has weight {weights[domain]:g}{nearest(domain, table.names)}"
            )
        if not tokens[domain]:
            raise InputError(f"{path}: {domain} has no tokens, and weight {weights[domain]:g}; correct one of the two")
    return table


def mean_lengths(table: Domains, weights: Mapping[str, float], path: Path) -> dict[str, float]:
    """Domain -> mean tokens per document, for every domain of `weights`; empty if no documents are counted.

    Raises:
        InputError: If some documents are counted, and none of a domain in `weights`.
    """
    if not table.documents.any():
        return {}
    counts = dict(zip(table.names, zip(table.tokens.tolist(), table.documents.tolist(), strict=True), strict=True))
    for domain, weight in weights.items():
        tokens, documents = counts[domain]
        if not (documents and tokens):
            raise InputError(
                f"{path}: {domain} has weight {weight:g}, {tokens} tokens and {documents} documents, so no "
                "mean document length; correct the row"
            )
    return {domain: counts[domain][0] / counts[domain][1] for domain in weights}


def _parts(paths: Mapping[str, int | None]) -> dict[str, float]:
    """Path -> its part of the domain's weight: by tokens, or equal if those are not known."""
    counts = [tokens for tokens in paths.values() if tokens is not None]
    if len(counts) < len(paths) or sum(counts) == 0:
        return dict.fromkeys(paths, 1 / len(paths))
    return {path: count / sum(counts) for path, count in zip(paths, counts, strict=True)}


def _check_paths_differ(sources: Sequence[Source], book: DomainPaths) -> None:
    owner: dict[str, str] = {}
    for source in sources:
        for path in source.paths:
            if path in owner:
                raise InputError(f"{book.where}: {path} is the path of {owner[path]} and of {source.domain}; keep one")
            owner[path] = source.domain
