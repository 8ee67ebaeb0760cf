"""A mixture -> a trainer's own data configuration, and its weights back.

python mixture_config/export.py --mixture optimal_mixture.yaml --to megatron --out blend.txt
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from mixture_config.files.mixture import read_mixture
from mixture_config.formats.paths import DomainPaths, paired, read_paths
from mixture_config.formats.trainer_formats import FORMATS, Blend, Format, Source, normalise
from proxymix.errors import InputError
from proxymix.files import read_text, write_text
from proxymix.messages import nearest, some
from proxymix.progress import say
from proxymix.schemas import Domain, read_domains

DEFAULT_MAX_EPOCHS = 4.0  # costs little (Muennighoff et al. 2023, arXiv:2305.16264)
NEAR = 1e-6  # epochs this near to their cap are at it

To = Literal[
    "regmix",
    "litgpt",
    "litdata",
    "megatron",
    "megatron_args_file",
    "megatron_per_split",
    "megatron_bridge",
    "nemo_automodel",
    "olmo_core",
    "olmix",
    "llm_foundry",
    "nanotron",
    "levanter",
    "torchtitan",
    "huggingface",
    "ml_dist_gen",
]


def export(
    mixture: Path,
    to: To,
    paths: list[str] | None = None,
    out: Path | None = None,
    domains: Path | None = None,
    samples: Literal["auto", "blocks", "documents"] = "auto",
    budget: int | None = None,
    max_epochs: float | None = None,
) -> None:
    """Write a mixture as a trainer's own data configuration.

    The weights of a mixture are shares of tokens. A trainer that draws blocks of a fixed number of tokens takes them
    as they are; for one that draws documents they are divided by the mean document length of `domains` and normalised.
    Weights keep full precision, domains of weight 0 are left out, and the file says what its weights mean (on stderr
    where it has no room for comments).

    FORMATS

    Args:
        mixture: optimal_mixture.yaml, a baseline, or any mixture YAML in RegMix's keys.
        to: The trainer's format.
        paths: Where the data lies: a pattern such as 'data/{domain}_text_document', DOMAIN=PATH (again for more paths
            of a domain), or a file: YAML or JSON with domain: path, domain: [paths] or domain: {path: tokens}; JSONL
            with the keys domain (or lang), path and tokens (or <tokenizer>-tok), such as the counts of `baseline`.
            Where a path needs a weight of its own, a domain's share is split over its paths by their tokens, evenly if
            those are not known.
        out: The file to write; stdout unless given.
        domains: A CSV with domain, tokens, documents (a study's domains.csv), for document lengths and for epochs.
        samples: What one sample is, where that depends on how the data was prepared: blocks for litdata and llm_foundry,
            documents for huggingface, unless given.
        budget: Tokens of the final training, for litgpt, olmo_core and olmix; what the mixture says unless given.
        max_epochs: Most passes over a domain's tokens, for olmo_core and olmix; what the mixture says, else 4, unless
            given.
    """
    for name, value in (("budget", budget), ("max_epochs", max_epochs)):
        if value is not None and not value > 0:
            raise InputError(f"--{name} is {value:g}; a number above 0 is wanted")
    if out is not None and out.resolve() == mixture.resolve():
        raise InputError(f"--out: {out} is the mixture itself; name another file")
    weights, rest = read_mixture(mixture)
    for name in paired(paths or []):
        if name not in weights:
            raise InputError(f"--paths: {name}= names no domain of {mixture}{nearest(name, weights)}")
    kind = FORMATS[to]
    unit = _unit(kind, to, samples)
    table = {} if domains is None else _table(domains, weights)
    budget = _budget(rest) if budget is None else budget
    active = {domain: weight for domain, weight in weights.items() if weight > 0}
    lengths = _lengths(table, active, domains) if unit == "documents" else {}
    shares = normalise({d: w / lengths[d] for d, w in active.items()}) if lengths else active
    repetitions = _repetitions(active, rest, table, budget, max_epochs, mixture) if kind.repeats else {}

    sources, split = _sources(to, kind, shares if not kind.zeros else weights, paths, mixture.parent)
    left_out = [] if kind.zeros else [domain for domain in weights if domain not in active]
    notes = _notes(mixture, to, kind, unit, lengths, left_out, split)
    text = kind.write(Blend(tuple(sources), tuple(notes), mixture, rest, budget, repetitions))
    if not kind.comments:
        for note in notes:
            say(note)
    elif unit == "documents" and not lengths:
        say(f"{to}: shares of tokens, as mean document lengths are not known; --domains domains.csv converts them")
    if to == "regmix":
        _warn_of_prefixes(list(weights))
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)


def read_export(
    path: Path,
    to: To,
    paths: Sequence[str] | None = None,
    domains: Path | None = None,
    samples: Literal["auto", "blocks", "documents"] = "auto",
) -> dict[str, float]:
    """The weights of an exported file, as shares of tokens: domain -> weight, sum 1; what was left out is not there.

    Args:
        path: What `export` wrote.
        to: Its format.
        paths: The `--paths` that it was written with.
        domains: The `--domains` that it was written with.
        samples: The `--samples` that it was written with.

    Raises:
        InputError: If the file is not of the format, or a path in it is no domain's.
    """
    kind = FORMATS[to]
    text = read_text(path)
    try:
        entries = kind.read(text, Path(path))
        if kind.keyed_by_path:
            book = read_paths(paths, kind.pattern, None)
            entries = [(book.domain_of(name), weight) for name, weight in entries]
        weights: dict[str, float] = {}
        for name, weight in entries:
            weights[name] = weights.get(name, 0.0) + weight
        weights = normalise(weights)
    except InputError:
        raise
    except Exception as error:  # whatever a parser makes of a file of another format
        raise InputError(f"{path}: not an export to {to} ({type(error).__name__}: {error})") from None
    if _unit(kind, to, samples) == "documents" and domains is not None:
        lengths = _lengths(_table(domains, weights), weights, domains)
        weights = normalise({d: w * lengths[d] for d, w in weights.items()}) if lengths else weights
    return weights


def _unit(kind: Format, to: str, samples: str) -> str:
    if samples == "auto":
        return kind.units[0]
    if samples not in kind.units:
        raise InputError(f"--samples {samples}: {to} draws blocks of tokens only; leave --samples out")
    return samples


def _table(path: Path, weights: Mapping[str, float]) -> dict[str, Domain]:
    table = {domain.domain: domain for domain in read_domains(path)}
    for domain, weight in weights.items():
        if weight > 0 and domain not in table:
            raise InputError(f"{path}: no row for {domain}, which has weight {weight:g}{nearest(domain, table)}")
    return table


def _lengths(table: Mapping[str, Domain], weights: Mapping[str, float], path: Path | None) -> dict[str, float]:
    """Mean tokens per document; empty when no documents are counted."""
    if not any(domain.documents for domain in table.values()):
        return {}
    for domain in weights:
        row = table[domain]
        if not (row.documents and row.tokens):
            raise InputError(
                f"{path}: {domain} has weight {weights[domain]:g}, {row.tokens} tokens and {row.documents} documents, so no "
                "mean document length; correct the row"
            )
    return {domain: table[domain].tokens / table[domain].documents for domain in weights}


def _budget(rest: Mapping[str, Any]) -> int | None:
    found = rest.get("budget", rest.get("training_tokens"))
    return int(found) if isinstance(found, int | float) and 0 < found < math.inf else None


def _repetitions(
    weights: Mapping[str, float],
    rest: Mapping[str, Any],
    table: Mapping[str, Domain],
    budget: int | None,
    max_epochs: float | None,
    mixture: Path,
) -> dict[str, float]:
    """Domain -> most passes over its data, at least 1, and a thousandth over its cap where the mixture is at it.

    Trainers compare whole tokens, weight * budget against repetitions * tokens, and a mixture at its cap may be a token
    over it after rounding.

    Raises:
        InputError: If the mixture takes more of a domain than that.
    """
    found = rest.get("max_epochs")
    limit = max_epochs or (float(found) if isinstance(found, int | float) and found > 0 else DEFAULT_MAX_EPOCHS)
    said = rest["epochs"] if isinstance(rest.get("epochs"), Mapping) else {}
    epochs: Mapping[str, float] = {d: value for d, value in said.items() if isinstance(value, int | float)}
    if table and budget is not None:
        epochs = {d: weight * budget / table[d].tokens for d, weight in weights.items() if table[d].tokens}
    for domain in weights:
        if epochs.get(domain, 0) > limit * (1 + NEAR):
            raise InputError(
                f"{mixture}: {domain} is read {epochs[domain]:.4g} times, more than max_epochs {limit:g}; the trainer "
                f"would refuse it: give --max_epochs {max(epochs.values()):.4g} or more, or a smaller --budget"
            )
    return {d: max(1.0, limit + (1e-3 if epochs.get(d, 0) > limit * (1 - NEAR) else 0.0)) for d in weights}


def _sources(
    to: str, kind: Format, shares: Mapping[str, float], items: Sequence[str] | None, folder: Path
) -> tuple[list[Source], set[str]]:
    """One entry a weight of the trainer, and how shares were split over several paths."""
    if to == "regmix":
        if items:
            raise InputError(
                "--paths: RegMix's YAML holds no paths (its trainer looks for files by domain); leave it out"
            )
        return [Source(domain, share, ()) for domain, share in shares.items()], set()
    if to == "litgpt":
        if items and (len(items) > 1 or "{domain}" in items[0]):
            raise InputError("--paths: litgpt's data is one folder of token shards; give that folder")
        tokens = items[0] if items else (folder / "tokens").as_posix()
        return [Source(domain, share, (tokens,)) for domain, share in shares.items()], set()
    book = read_paths(items, kind.pattern, folder)
    sources: list[Source] = []
    split: set[str] = set()
    for domain, share in shares.items():
        paths = book.of(domain)
        if not paths:
            raise InputError(f"{book.where}: no path for {domain}, which has weight {share:g}; name one")
        if not kind.splits:
            sources.append(Source(domain, share, tuple(paths)))
            continue
        parts = _parts(paths)
        sources += [Source(domain, share * part, (path,)) for path, part in parts.items() if part > 0]
        if len(paths) > 1:
            split.add("by their tokens" if None not in paths.values() else "evenly, as their tokens are not known")
    _check_paths_differ(sources, book)
    return sources, split


def _parts(paths: Mapping[str, int | None]) -> dict[str, float]:
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


def _notes(
    mixture: Path,
    to: str,
    kind: Format,
    unit: str,
    lengths: Mapping[str, float],
    left_out: Sequence[str],
    split: set[str],
) -> list[str]:
    """What the weights of the file mean."""
    notes = [f"{mixture.name} for {to}, by proxymix export. {kind.weights}"]
    if unit == "blocks" and len(kind.units) > 1:
        notes.append("One sample is taken to be a block of a fixed number of tokens, so these are shares of tokens.")
    elif unit == "documents" and lengths:
        notes.append(
            "One sample is a document, so these are shares of documents: the mixture's shares of tokens, divided by the "
            "mean tokens per document of each domain and normalised. On average the tokens then have the mixture's shares."
        )
    elif unit == "documents":
        notes.append(
            "CAUTION: these are shares of TOKENS, while one sample is a document, and mean document lengths are not known. "
            "Domains of long documents will get too much. Export again with --domains domains.csv (domain, tokens, "
            "documents), or mix after packing to blocks (--samples blocks)."
        )
    if left_out:
        notes.append(f"Left out, as their weight is 0: {', '.join(left_out)}.")
    notes += [f"A domain with several paths has its share split over them {how}." for how in sorted(split)]
    return notes


def _warn_of_prefixes(names: Sequence[str]) -> None:
    clashes = [(a, b) for a in names for b in names if a != b and b.startswith(a)]
    if clashes:
        listed = some([f"{a} takes {b}'s files too" for a, b in clashes], 3)
        say(f"regmix: its trainer reads train_DOMAIN*, so {listed}; rename them")


def _describe_formats() -> str:
    lines = []
    for name, kind in FORMATS.items():
        where = f" Data: {kind.pattern.replace('{study}/', '')}." if "{domain}" in kind.pattern else ""
        lines.append(f"{name}: {kind.help.replace('{study}/', '')}{where}")
    return "\n\n    ".join(lines)


export.__doc__ = (export.__doc__ or "").replace("FORMATS\n", f"{_describe_formats()}\n", 1)

if __name__ == "__main__":
    from proxymix.app.cli import run

    run(export)
