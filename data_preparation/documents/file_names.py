"""The names of a corpus' files -> the domain that each belongs to. What can be read in two ways is asked about, not guessed.

`web_0` is the first part of `web` (RegMix's layout), and so are `web-00000-of-00003` and `web.0001`. `web_aa` and `web_ab`, as
`split` writes them, may be too.
"""

import itertools
import re
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from proxymix.errors import InputError
from proxymix.messages import some

LAYOUT = "train/<domain>_0.jsonl and valid/<domain>.jsonl (or .jsonl.gz, .jsonl.zst, .parquet)"

SHARD = r"(?:part|shard|chunk)"
NUMBERED = re.compile(
    rf"(?P<base>.+?)(?P<separator>[-.]{SHARD}[-_.]?|_{SHARD}(?=\d)|[-_.])(?P<number>\d+)"
    r"(?P<of>[-_]of[-_]\d+(-[0-9a-f]{16})?)?"
)
NOT_A_DOMAIN = re.compile(r"(part|shard|chunk|data|dataset|train|file|split|output|documents?)([-.].*)?", re.IGNORECASE)
"""What tools call a shard that has no name of its own."""
SPLIT_ENDS = ["".join(letters) for letters in itertools.product(string.ascii_lowercase, repeat=2)]
"""aa, ab, and so on: what `split` appends."""


@dataclass(frozen=True)
class Part:
    """What a numbered name says."""

    base: str  # without the number
    number: int
    is_regmix: bool  # RegMix's `web_0`, whose number is a part's
    is_shard: bool  # `web-00000-of-00003`, `web.0001` or `web.part1`, whose number is a part's too


def part_of(name: str) -> Part | None:
    """web_12 -> the part 12 of web; None where no number ends the name."""
    match = NUMBERED.fullmatch(name)
    if match is None:
        return None
    number, is_regmix = match["number"], match["separator"] == "_" and not match["of"]
    is_padded = len(number) > 1 and number.startswith("0")
    is_shard = bool(match["of"]) or len(match["separator"]) > 1 or (not is_regmix and is_padded)
    return Part(match["base"], int(number), is_regmix, is_shard)


def domain_names(train: Collection[str], valid: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The domain that each training and each validation file belongs to, by the files' names without extension.

    `web_0` is the first part of `web`, but `gutenberg_pg_19` may be a domain of its own. RegMix's layout decides: a
    validation file has the name of its domain, a training file has that name or the name and a number. So a validation
    name is a domain if training files have it, with a number or without; other numbers are those of parts.

    Raises:
        InputError: If there are two readings: some numbered names are in both splits and some in one, domains differ in a
            number only, or a name says nothing but a number.
    """
    parts = _believable_parts(train, valid)
    bases = {part.base for part in parts.values()}  # domains that have numbered training files
    domains = {name for name in valid if name in bases or name in train}
    for name in sorted(domains & set(parts) - bases):
        base = parts[name].base
        siblings = {other for other in parts if parts[other].base == base and other not in bases}
        odd = sorted(siblings - set(valid), key=lambda other: parts[other].number)
        if odd:
            raise InputError(
                f"train/{odd[0]} and valid/{name}: is {odd[0]!r} a domain without validation, or a part of the domain "
                f"{base!r}? Name validation files as the domain, and training files as the domain and a number: {LAYOUT}"
            )
        if parts[name].is_shard:
            raise _question(siblings, f"{base}_0.jsonl, {base}_1.jsonl, and valid/{base}.jsonl")

    def domain_of(name: str) -> str:
        return name if name in domains or name in bases or name not in parts else parts[name].base

    def valid_domain_of(name: str) -> str:
        part = part_of(name)
        return part.base if name not in domains and part and (part.base in bases or part.base in train) else name

    named = {name: domain_of(name) for name in train}
    _ask_about_names(named, valid)
    return named, {name: valid_domain_of(name) for name in valid}


def presumed_parts(named: Mapping[str, str], valid: Collection[str]) -> dict[str, list[str]]:
    """Domain -> its files, where only numbers say that these are parts of it, and no validation file does."""
    found: dict[str, list[str]] = {}
    for name, domain in named.items():
        if name != domain and domain not in valid:
            found.setdefault(domain, []).append(name)
    return {domain: names for domain, names in found.items() if len(names) > 1 or not _is_regmix(names[0])}


def _believable_parts(train: Collection[str], valid: Collection[str]) -> dict[str, Part]:
    """The training names that end in the number of a part, as far as the names tell.

    The number of `web-2` may also belong to the name. It is a part's where valid/web.jsonl says so, or where it is one of
    several that begin with 0. The numbers of RegMix's `web_2` are those of parts, but parts begin with 0 or 1.
    """
    numbered = {name: part for name in train if (part := part_of(name))}
    siblings: dict[str, list[str]] = {}
    for name, part in numbered.items():
        siblings.setdefault(part.base, []).append(name)
    found = {}
    for base, names in siblings.items():
        first = min(numbered[name].number for name in names)
        several, named_by_valid = len(names) > 1, base in valid
        for name in names:
            part = numbered[name]
            if part.is_shard or part.is_regmix or named_by_valid or (several and first == 0):
                found[name] = part
        if several and first > 1 and not named_by_valid and not set(names) & set(valid):
            padded = all(numbered[name].is_shard or re.search(r"[-_.]0\d+$", name) for name in names)
            if not padded:
                raise _question(names, f"{base}_0.jsonl, {base}_1.jsonl")
    return found | _lettered_parts(train, valid)


def _lettered_parts(train: Collection[str], valid: Collection[str]) -> dict[str, Part]:
    """The parts that `split` named web_aa, web_ab and so on, where valid/web.jsonl says so: aa and ab are languages too.

    Raises:
        InputError: If no validation file has the name of the domain or of the parts.
    """
    families: dict[str, dict[int, str]] = {}
    for name in train:
        if name[-2:] in SPLIT_ENDS:
            families.setdefault(name[:-2], {})[SPLIT_ENDS.index(name[-2:])] = name
    found = dict[str, Part]()
    for before, named in families.items():
        is_sequence = len(named) > 1 and 0 in named and max(named) < 2 * len(named)
        if is_sequence and not set(named.values()) & set(valid):
            base = before.rstrip("-_.")
            if base not in valid:
                raise _question(named.values(), f"{base or '<domain>'}_0.jsonl, {base or '<domain>'}_1.jsonl")
            found |= {name: Part(base, number, is_regmix=False, is_shard=True) for number, name in named.items()}
    return found


def _ask_about_names(named: Mapping[str, str], valid: Collection[str]) -> None:
    """Raise InputError where training names do not tell the domain. Names that validation has are domains."""
    families: dict[str, set[str]] = {}
    for name, domain in sorted(named.items()):
        if domain in valid:
            continue
        if not re.search(r"[A-Za-z]", domain) or (not _is_regmix(name) and NOT_A_DOMAIN.fullmatch(domain)):
            raise InputError(
                f"train/{name}: the name does not say which domain the text belongs to; name the files <domain>_0.jsonl, "
                "<domain>_1.jsonl and so on, or add valid/<domain>.jsonl"
            )
        families.setdefault(re.sub(r"\d+", "0", domain), set()).add(domain)
    for family in families.values():
        if len(family) > 1 and not all(_is_regmix(name) for name, domain in named.items() if domain in family):
            raise _question(family, re.sub(r"[-_.]?\d+", "", min(family)) + "_0.jsonl and so on")


def _question(names: Collection[str], as_parts: str) -> InputError:
    ordered = sorted(names)
    return InputError(
        f"train: {some(ordered)} differ in their ends only: are they parts of one domain, or domains of their own? Name parts "
        f"{as_parts}, and files of domains {ordered[0]}_0.jsonl, {ordered[1 % len(ordered)]}_0.jsonl"
    )


def _is_regmix(name: str) -> bool:
    part = part_of(name)
    return part is not None and part.is_regmix
