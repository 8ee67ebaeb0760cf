"""A mixture -> a trainer's own data configuration, and its weights back.

python mixture_config/export.py --mixture optimal_mixture.yaml --to megatron --out blend.txt
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mixture_config.files.mixture import Mixture
from mixture_config.formats.paths import STUDY, paired
from mixture_config.formats.registry import FORMATS, described, format_named
from mixture_config.formats.sources import mean_lengths, normalise, read_table, sources_of, weights_of
from mixture_config.formats.trainer_format import Blend, TrainerFormat
from proxymix.errors import InputError
from proxymix.files import read_text, write_text
from proxymix.messages import nearest
from proxymix.progress import say
from proxymix.schemas import Domains

DEFAULT_MAX_EPOCHS = 4.0  # costs little (Muennighoff et al. 2023, arXiv:2305.16264)
AT_CAP = 1e-6  # relative: a domain whose epochs are this near to their cap is at the cap
ROOM_AT_CAP = 1e-3  # epochs that a domain at its cap may take more, since whole tokens may be a token over it
Samples = Literal["auto", "blocks", "documents"]
if TYPE_CHECKING:
    To = str
else:
    To = Literal[tuple(FORMATS)]


def export(
    mixture: Path,
    to: To,
    paths: list[str] | None = None,
    out: Path | None = None,
    domains: Path | None = None,
    samples: Samples = "auto",
    budget: int | None = None,
    max_epochs: float | None = None,
) -> None:
    """Write a mixture as a trainer's own data configuration.

    The weights of a mixture are shares of tokens. A trainer that draws blocks of a fixed number of tokens takes them as
    they are. For a trainer that draws documents, the weights are divided by the mean document length of `domains` and
    normalised. Weights keep full precision, and domains of weight 0 are left out. The file says what its weights mean; where
    it has no room for comments, this is said on stderr.

    FORMATS

    Args:
        mixture: optimal_mixture.yaml, a baseline, or any mixture YAML in RegMix's keys.
        to: The trainer's format.
        paths: Where the data lies: a pattern such as 'data/{domain}_text_document', DOMAIN=PATH (again for more paths
            of a domain), or a file: YAML or JSON with domain: path, domain: [paths] or domain: {path: tokens}; JSONL
            with the keys domain (or lang), path and tokens (or <tokenizer>-tok), such as the counts of `baseline`.
            Where a path needs a weight of its own, a domain's share is split over its paths by their tokens, or evenly if
            those are not known.
        out: The file to write; stdout unless given.
        domains: A CSV with domain, tokens, documents (a study's domains.csv), for document lengths and for epochs.
        samples: What one sample is, where that depends on how the data was prepared: blocks for litdata and llm_foundry,
            and documents for huggingface, unless given.
        budget: Tokens of the final training, for litgpt, olmo_core and olmix; what the mixture says unless given.
        max_epochs: Most passes over a domain's tokens, for olmo_core and olmix. Unless given it is what the mixture says,
            or else 4.
    """
    for name, value in (("budget", budget), ("max_epochs", max_epochs)):
        if value is not None and not value > 0:
            raise InputError(f"--{name} is {value:g}; a number above 0 is wanted")
    if out is not None and out.resolve() == mixture.resolve():
        raise InputError(f"--out: {out} is the mixture itself; name another file")
    entry = format_named(to)
    unit = _unit(entry, samples)
    given = Mixture.read(mixture)
    for name in paired(paths or []):
        if name not in given.weights:
            raise InputError(f"--paths: {name}= names no domain of {mixture}{nearest(name, given.weights)}")
    table = None if domains is None else read_table(domains, given.weights)
    budget = _recorded_budget(given.extra) if budget is None else budget
    drawn = {domain: weight for domain, weight in given.weights.items() if weight > 0}
    lengths: dict[str, float] = {}
    if unit == "documents" and domains is not None and table is not None:
        lengths = mean_lengths(table, drawn, domains)
    repetitions: dict[str, float] = {}
    if entry.limits_repetition:
        repetitions = _repetitions(drawn, given.extra, table, budget, max_epochs, mixture)

    weights = normalise({d: w / lengths[d] for d, w in drawn.items()}) if lengths else drawn
    sources, divided = sources_of(entry, given.weights if entry.keeps_zeros else weights, paths, mixture.parent)
    left_out = [] if entry.keeps_zeros else [domain for domain in given.weights if domain not in drawn]
    notes = [*_notes(mixture, entry, unit, lengths, left_out), *divided]
    if table is not None and table.is_sample and not paths and STUDY in entry.pattern:
        notes.append("The tokens beside the mixture are a sample of the corpus; --paths names where all of it lies.")
        say(f"{to}: {notes[-1]}")
    text = entry.write(Blend(tuple(sources), tuple(notes), mixture, given.extra, budget, repetitions))
    if not entry.has_comments:
        for note in notes:
            say(note)
    elif unit == "documents" and not lengths:
        say(f"{to}: shares of tokens, as mean document lengths are not known; --domains domains.csv converts them")
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        say(f"Written: {out}, {len(drawn)} domains for {entry.label}: {entry.help.replace('{study}/', '')}")


def read_export(
    path: Path,
    to: To,
    paths: Sequence[str] | None = None,
    domains: Path | None = None,
    samples: Samples = "auto",
) -> dict[str, float]:
    """The weights of an exported file, as shares of tokens: domain -> weight, sum 1. What was left out is not there.

    Args:
        path: What `export` wrote.
        to: Its format.
        paths: The `--paths` that it was written with.
        domains: The `--domains` that it was written with.
        samples: The `--samples` that it was written with.

    Raises:
        InputError: If the file is not of the format, or a path in it is no domain's.
    """
    entry = format_named(to)
    text = read_text(path)
    try:
        weights = weights_of(entry, entry.read(text, Path(path)), paths)
    except InputError as error:
        raise InputError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from None
    except Exception as error:  # whatever a parser makes of a file of another format
        raise InputError(f"{path}: not an export to {to} ({type(error).__name__}: {error})") from None
    if _unit(entry, samples) == "documents" and domains is not None:
        lengths = mean_lengths(read_table(domains, weights), weights, domains)
        weights = normalise({d: w * lengths[d] for d, w in weights.items()}) if lengths else weights
    return weights


def _unit(entry: TrainerFormat, samples: Samples) -> str:
    if samples == "auto":
        return entry.units[0]
    if samples not in entry.units:
        raise InputError(f"--samples {samples}: {entry.key} draws blocks of tokens only; leave --samples out")
    return samples


def _recorded_budget(extra: Mapping[str, Any]) -> int | None:
    found = extra.get("budget", extra.get("training_tokens"))
    return int(found) if isinstance(found, int | float) and 0 < found < math.inf else None


def _repetitions(
    weights: Mapping[str, float],
    extra: Mapping[str, Any],
    table: Domains | None,
    budget: int | None,
    max_epochs: float | None,
    mixture: Path,
) -> dict[str, float]:
    """Domain -> most passes over its data, at least 1, and slightly more than its cap where the mixture is at the cap.

    Trainers compare whole tokens, weight * budget against repetitions * tokens, and rounding may put a mixture at its cap a
    token over it.

    Raises:
        InputError: If the mixture takes more of a domain than its cap.
    """
    found = extra.get("max_epochs")
    limit = max_epochs or (float(found) if isinstance(found, int | float) and found > 0 else DEFAULT_MAX_EPOCHS)
    recorded = extra["epochs"] if isinstance(extra.get("epochs"), Mapping) else {}
    epochs: Mapping[str, float] = {d: value for d, value in recorded.items() if isinstance(value, int | float)}
    if table is not None and budget is not None:
        tokens = dict(zip(table.names, table.true_tokens.tolist(), strict=True))
        epochs = {domain: weight * budget / tokens[domain] for domain, weight in weights.items()}
    for domain in weights:
        if epochs.get(domain, 0) > limit * (1 + AT_CAP):
            raise InputError(
                f"{mixture}: {domain} is read {epochs[domain]:.4g} times, more than max_epochs {limit:g}; the trainer "
                f"would refuse it: give --max_epochs {max(epochs.values()):.4g} or more, or a smaller --budget"
            )
    return {d: max(1.0, limit + (ROOM_AT_CAP if epochs.get(d, 0) > limit * (1 - AT_CAP) else 0.0)) for d in weights}


def _notes(
    mixture: Path, entry: TrainerFormat, unit: str, lengths: Mapping[str, float], left_out: Sequence[str]
) -> list[str]:
    """What the weights of the file mean."""
    notes = [f"{mixture.name} for {entry.key}, by proxymix export. {entry.meaning}"]
    if unit == "blocks" and len(entry.units) > 1:
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
    return notes


export.__doc__ = (export.__doc__ or "").replace("FORMATS\n", textwrap.indent(described(), " " * 4).lstrip() + "\n", 1)

if __name__ == "__main__":
    from proxymix.app.cli import run

    run(export)
