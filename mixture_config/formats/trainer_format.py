"""What every trainer's format is made of: its entry in the registry, what it is written from, and text that several share."""

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from proxymix.yaml_text import parse_yaml

Entries = list[tuple[str, float]]  # (domain, or path, and weight)


@dataclass(frozen=True)
class Source:
    """What a trainer gives one weight: a domain with its paths, or one path of a domain."""

    domain: str
    weight: float
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Blend:
    """All that a format is written from.

    Args:
        sources: In the mixture's order. Their weights are above 0 (also 0 where the format keeps zeros) and sum to 1.
        notes: What the weights mean, for the file's comment, without line breaks.
        mixture: The mixture's file.
        extra: What the mixture's file holds beside the weights.
        budget: Tokens of the final training, if known.
        repetitions: Domain -> most passes over its data.
    """

    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    mixture: Path
    extra: Mapping[str, Any]
    budget: int | None
    repetitions: Mapping[str, float]

    @property
    def weights(self) -> dict[str, float]:
        """Domain -> weight, where every source is a whole domain."""
        return {source.domain: source.weight for source in self.sources}


@dataclass(frozen=True)
class TrainerFormat:
    """One trainer's data configuration.

    Args:
        key: What `--to` calls it.
        label: What its authors call the trainer.
        help: What the export is, and what it is handed to.
        meaning: What the weights are to the trainer, and where its source says so. The exported file repeats this.
        write: A blend -> the file's text.
        read: The text and its path -> (domain or path, weight), as they stand there.
        pattern: Where a domain's data lies unless the user says so; {study} is the mixture's folder.
        takes_paths: What `--paths` may be: paths for each domain, one folder, or nothing.
        keyed_by_path: Whether `read` gives paths.
        weight_per_path: Whether every path has a weight of its own.
        units: What one sample may be to the trainer, the usual unit first: a block of tokens, or a document.
        has_comments: Whether the file can hold the notes; they go to stderr if it cannot.
        keeps_zeros: Whether domains of weight 0 stay in.
        limits_repetition: Whether the file says how often data may repeat.
    """

    key: str
    label: str
    help: str
    meaning: str
    write: Callable[[Blend], str]
    read: Callable[[str, Path], Entries]
    pattern: str = ""
    takes_paths: Literal["per_domain", "one_folder", "none"] = "per_domain"
    keyed_by_path: bool = False
    weight_per_path: bool = False
    units: tuple[str, ...] = ("blocks",)
    has_comments: bool = True
    keeps_zeros: bool = False
    limits_repetition: bool = False


class _Dumper(yaml.SafeDumper):
    """Puts a name such as 1e3 in quotes, which is text in YAML 1.1 and a number in YAML 1.2."""


_Dumper.yaml_implicit_resolvers = {k: list(v) for k, v in yaml.SafeDumper.yaml_implicit_resolvers.items()}
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9.]+[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
OUR_SHARDS = "{study}/tokens/train/{domain}"


def comment(notes: Sequence[str]) -> str:
    """`notes` as comment lines. A note that is indented (a line of code) stays as it is."""
    lines: list[str] = []
    for note in notes:
        lines += [note] if note.startswith(" ") else textwrap.wrap(note, 110, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def as_yaml(blend: Blend, content: Mapping[str, Any], usage: Sequence[str] = ()) -> str:
    """YAML text below a comment of the blend's notes and of how to use the file."""
    text = yaml.dump(dict(content), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    return comment([*blend.notes, *usage]) + text


def from_yaml(text: str, path: Path) -> Any:
    """What a YAML text holds, with its names as they are written.

    Raises:
        InputError: If it is not YAML, or a name is there twice.
    """
    return parse_yaml(text, str(path))
