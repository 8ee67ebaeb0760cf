"""What every stage reads or names: run ids, domains and their loss columns, domains.csv, the manifest of token shards.

In files a domain carries RegMix's prefixes (`train_<domain>`, `metric/<domain>_val_loss`), in memory its bare name. Rows
meet by run id (`n00001`), which files hold as `index` (1).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from proxymix.errors import InputError
from proxymix.files import read_json, write_json
from proxymix.messages import nearest, some
from proxymix.records import from_mapping
from proxymix.tables import Cells, write_table
from proxymix.whole_numbers import whole_number

MAX_COUNT = 1e18
"""Most tokens, documents or bytes of a domain. A larger count is a mistake, and sums of smaller ones are finite."""
THOUSANDS = re.compile(r"\d{1,3}([.,' \u00a0\u202f]\d{3})+")
"""A count with separators: 150.000 may be 150 or 150 thousand, so that it is not guessed at."""
DOMAIN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")


def run_id(index: int) -> str:
    """1 -> n00001, so that listing order is run order."""
    return f"n{index:05d}"


def run_index(run: str) -> int:
    """n00001 -> 1.

    Raises:
        InputError: If `run` is not a run id.
    """
    if not re.fullmatch(r"n\d+", run):
        raise InputError(f"{run!r} is not a run id such as n00001")
    return int(run[1:])


def check_domain_name(name: str, where: str) -> str:
    """`name`, if it can be a file's and a column's name.

    Raises:
        InputError: If it is empty, hidden, or holds a separator.
    """
    if not DOMAIN_NAME.fullmatch(name):
        raise InputError(f"{where}: {name!r} cannot name a domain; use letters, digits, '_', '-', '.' and '+'")
    return name


def plain_name(name: str) -> str:
    """A domain's name as it is used here: Olmix's source:topic, and source/topic, are source.topic."""
    return name.strip().replace(":", ".").replace("/", ".")


def plain_names(sets: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Sets of domains, such as groups, with all names as they are used here."""
    return {plain_name(name): [plain_name(member) for member in members] for name, members in sets.items()}


def domain_name(name: str, where: str) -> str:
    """The domain that a user's file names, wherever in the file.

    Raises:
        InputError: If the name cannot be a file's and a column's. The message begins with `where`.
    """
    return check_domain_name(plain_name(name), where)


def distinct_names(names: Iterable[str], where: str) -> list[str]:
    """The domains that a user's file names.

    Raises:
        InputError: If a name cannot be a domain's, or two of them are one domain.
    """
    found: dict[str, str] = {}
    for name in names:
        if (first := found.setdefault(domain := domain_name(name, where), name)) != name:
            raise InputError(f"{where}: {first!r} and {name!r} are both the domain {domain}; rename or remove one")
    return list(found)


def loss_column(domain: str) -> str:
    """RegMix's (and wandb's) name for a domain's validation loss, in nats per token."""
    return f"metric/{domain}_val_loss"


def loss_domain(column: str) -> str:
    """The domain of a loss column; the column itself when it is not named RegMix's way."""
    match = re.fullmatch(r"metric/(.+)_val_loss", column)
    return plain_name(match[1]) if match else column


def is_domain_loss(column: str) -> bool:
    """Whether a column is named as a domain's validation loss, RegMix's way."""
    return loss_domain(column) != column


@dataclass(frozen=True, eq=False)
class Domains:
    """The domains of a corpus and their unique training data: what domains.csv holds, in its order.

    Args:
        names: Names of the domains.
        tokens: Unique training tokens on disk per domain, int64, shape (num_domains,). What proxies repeat.
        documents: Documents on disk per domain, int64, shape (num_domains,); 0 where they were not counted.
        bytes: UTF-8 bytes of their text per domain, int64, shape (num_domains,); 0 where they were not counted.
        available_tokens: Tokens per domain of the corpus that those on disk are a sample of, int64, shape
            (num_domains,); None if they are all there is.
    """

    names: tuple[str, ...]
    tokens: np.ndarray
    documents: np.ndarray
    bytes: np.ndarray
    available_tokens: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        for name in ("tokens", "documents", "bytes", *(["available_tokens"] if self.is_sample else [])):
            counts = np.asarray(getattr(self, name), dtype=np.int64)
            assert counts.shape == (len(self.names),), f"{name} has the shape {counts.shape}"
            object.__setattr__(self, name, counts)

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, tokens: Mapping[str, int]) -> Self:
        """Domains of which only the tokens are known."""
        nothing = np.zeros(len(tokens), dtype=np.int64)
        return cls(tuple(tokens), np.array([*tokens.values()], dtype=np.int64), nothing, nothing)

    @classmethod
    def read(cls, path: Path) -> Self:
        """domains.csv -> domains, in the file's order. Only the columns `domain` and `tokens` are needed.

        Where the field of `available_tokens` is empty, the domain has no more tokens than those on disk.

        Raises:
            InputError: If a column is missing, a name is repeated, or a count is not a whole number >= 0.
        """
        cells = Cells.read(path)
        for column in ("domain", "tokens"):
            if column not in cells.header:
                hint = nearest(column, cells.header)
                raise InputError(f"{path}: no column {column!r}{hint} (found {', '.join(cells.header)})")
        if not cells.rows:
            raise InputError(f"{path}: no rows; a CSV with the columns domain,tokens is wanted")
        counts: dict[str, tuple[int, ...]] = {}
        for line, cell in zip(cells.lines, cells.rows, strict=True):
            row = dict(zip(cells.header, cell, strict=True))
            name = domain_name(row["domain"], f"{path}:{line}")
            if name in counts:
                raise InputError(f"{path}:{line}: the domain {name!r} is there twice")
            row["available_tokens"] = row.get("available_tokens") or row["tokens"]
            keys = ("tokens", "documents", "bytes", "available_tokens")
            counts[name] = tuple(_count(row.get(key, "0"), f"{path}:{line}: {key}") for key in keys)
        tokens, documents, num_bytes, available = np.array(list(counts.values()), dtype=np.int64).T
        domains = cls(
            tuple(counts), tokens, documents, num_bytes, available if "available_tokens" in cells.header else None
        )
        if not domains.true_tokens.any():
            raise InputError(f"{path}: no domain has any tokens")
        return domains

    def write(self, path: Path) -> None:
        """Write domains.csv: domain, tokens, documents, bytes, prior, and available_tokens where these are a sample."""
        columns = {"tokens": self.tokens, "documents": self.documents, "bytes": self.bytes, "prior": self.prior}
        if self.available_tokens is not None:
            columns["available_tokens"] = self.available_tokens
        rows = list(zip(self.names, *(column.tolist() for column in columns.values()), strict=True))
        write_table(path, ("domain", *columns), rows)

    @property
    def is_sample(self) -> bool:
        """Whether the tokens on disk are known to be a sample of a larger corpus."""
        return self.available_tokens is not None

    @property
    def true_tokens(self) -> np.ndarray:
        """Unique tokens of each domain of the whole corpus, int64, shape (num_domains,): what weights, caps and epochs go by."""
        return self.tokens if self.available_tokens is None else self.available_tokens

    @property
    def prior(self) -> np.ndarray:
        """Share of each domain in all tokens of the whole corpus, shape (num_domains,)."""
        return self.true_tokens / self.true_tokens.sum(dtype=np.float64)  # a sum of int64 could overflow

    def aligned(self, names: Sequence[str], where: object) -> Self:
        """These domains in the order of `names`; `where` names their file in the message.

        Raises:
            InputError: If the two do not name the same domains.
        """
        order = positions(self.names, names, where)
        available = None if self.available_tokens is None else self.available_tokens[order]
        return type(self)(tuple(names), self.tokens[order], self.documents[order], self.bytes[order], available)


def positions(found: Sequence[str], wanted: Sequence[str], where: object) -> list[int]:
    """Where each of the `wanted` domains stands among those `found`, of which there must be no others.

    Raises:
        InputError: If the two do not name the same domains. The message begins with `where`.
    """
    missing = [name for name in wanted if name not in set(found)]
    unknown = [name for name in found if name not in set(wanted)]
    if missing or unknown:
        parts = [f"lacks {some(missing)}"] if missing else []
        parts += [f"has the unknown {some(unknown)}"] if unknown else []
        alike = [(u, m) for u in unknown for m in missing if m.endswith(u) or u.endswith(m)]
        if unknown and len(alike) == len(unknown) == len(missing):  # a prefix is there in one file and not in the other
            raise InputError(
                f"{where}: {alike[0][0]} is named {alike[0][1]} elsewhere; name all {len(found)} domains alike"
            )
        raise InputError(f"{where}: {' and '.join(parts)}; those wanted are {some(wanted, 40)}")
    return [list(found).index(name) for name in wanted]


def _count(text: str, where: str) -> int:
    if not text:
        raise InputError(f"{where}: the field is empty; write the count, or 0 where there is none")
    if THOUSANDS.fullmatch(text):
        raise InputError(f"{where} is {text!r}; write it without separators: {re.sub(r'[^0-9]', '', text)}")
    try:
        value = whole_number(text)
    except ValueError:
        value = -1
    if not 0 <= value <= MAX_COUNT:
        raise InputError(f"{where} is {text!r:.60}; a whole number from 0 to {MAX_COUNT:g} is wanted")
    return value


@dataclass(frozen=True)
class Shard:
    """One token file of a domain: `path` is relative to the manifest's folder."""

    path: str
    tokens: int
    documents: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class TokensManifest:
    """tokens/manifest.json: tokenizer (name, sha256, vocabulary, eos), dtype, and per split and domain the shards.

    `bytes` counts UTF-8 bytes of the source text, so that loss in nats per token turns into bits per byte.
    """

    tokenizer: dict[str, Any]
    dtype: str
    splits: dict[str, dict[str, tuple[Shard, ...]]]  # split -> domain -> shards
    sources: dict[str, dict[str, list[str]]]  # split -> domain -> source files, relative to the corpus
    settings: dict[str, Any]

    def write(self, folder: Path, versions: Mapping[str, str], inputs: Mapping[str, str]) -> None:
        """Write FOLDER/manifest.json, with the packages' versions and the SHA-256 of every source file."""
        content = {
            "tokenizer": self.tokenizer,
            "dtype": self.dtype,
            "settings": self.settings,
            "versions": dict(versions),
            "inputs": dict(inputs),
            **{split: {d: self._entry(split, d) for d in self.domains(split)} for split in self.splits},
        }
        write_json(folder / "manifest.json", content)

    def _entry(self, split: str, domain: str) -> dict[str, Any]:
        counts = {count: self.total(split, domain, count) for count in ("tokens", "documents", "bytes")}
        shards = [asdict(shard) for shard in self.splits[split][domain]]
        return {**counts, "source": self.sources[split][domain], "shards": shards}

    def domains(self, split: str = "train") -> list[str]:
        """The names of a split's domains, in the file's order."""
        return list(self.splits[split])

    def total(self, split: str, domain: str, count: str) -> int:
        """The sum of a count (`tokens`, `documents` or `bytes`) over a domain's shards."""
        return sum(getattr(shard, count) for shard in self.splits[split][domain])


def read_tokens_manifest(folder: Path) -> TokensManifest:
    """TOKENS/manifest.json, checked for shape.

    Raises:
        InputError: If it is missing or does not hold what the format promises.
    """
    path = Path(folder) / "manifest.json"
    if not path.exists():
        raise InputError(f"{path}: no such file, so {folder} holds no finished token shards; run `proxymix tokenize`")
    try:
        file = from_mapping(_File, read_json(path), str(path))
        _check_file(file, path)
    except InputError as error:
        raise InputError(f"{error}; this is no token manifest, so run `proxymix tokenize` again") from None
    splits = {"train": file.train, "valid": file.valid}
    return TokensManifest(
        tokenizer={"file": "tokenizer.json", **file.tokenizer},
        dtype=file.dtype,
        splits={split: {d: entry.shards for d, entry in found.items()} for split, found in splits.items()},
        sources={split: {d: entry.source for d, entry in found.items()} for split, found in splits.items()},
        settings=file.settings,
    )


@dataclass(frozen=True)
class _Entry:
    """A domain of a split, as the file has it: sums over its shards, source files, shards."""

    tokens: int
    documents: int
    bytes: int
    source: list[str]
    shards: tuple[Shard, ...]


@dataclass(frozen=True)
class _Tokenizer:
    """What the file must say of the tokenizer."""

    name: str
    sha256: str
    vocabulary: int
    eos: int
    eos_token: str
    file: str


@dataclass(frozen=True)
class _File:
    """The content of tokens/manifest.json."""

    tokenizer: dict[str, Any]
    dtype: str
    settings: dict[str, Any]
    train: dict[str, _Entry]
    valid: dict[str, _Entry]


def _check_file(file: _File, path: Path) -> None:
    """Raise InputError for what the types do not tell: numbers, names and paths that cannot be."""
    tokenizer = from_mapping(_Tokenizer, {"file": "tokenizer.json", **file.tokenizer}, f"{path}: tokenizer")
    if not 0 <= tokenizer.eos < tokenizer.vocabulary <= MAX_COUNT:
        raise InputError(f"{path}: tokenizer: eos is {tokenizer.eos} in a vocabulary of {tokenizer.vocabulary}")
    _check_inside(tokenizer.file, f"{path}: tokenizer: file")
    if file.dtype not in ("uint16", "uint32"):
        raise InputError(f"{path}: dtype is {file.dtype!r:.60}; uint16 or uint32 is wanted")
    for split, domains in (("train", file.train), ("valid", file.valid)):
        for domain, entry in domains.items():
            where = f"{path}: {split}: {domain}"
            check_domain_name(domain, f"{path}: {split}")
            for shard in entry.shards:
                _check_inside(shard.path, f"{where}: path")
                for count in (shard.tokens, shard.documents, shard.bytes):
                    if not 0 <= count <= MAX_COUNT:
                        raise InputError(f"{where}: {shard.path}: {count!r:.60} where a count is wanted")
            for what in ("tokens", "documents", "bytes"):
                if (found := sum(getattr(shard, what) for shard in entry.shards)) != getattr(entry, what):
                    raise InputError(f"{where}: {getattr(entry, what)} {what}, but its shards have {found}")


def _check_inside(path: str, where: str) -> None:
    """Raise InputError unless this is the path of a file inside of the folder that it belongs to."""
    if not path or "\0" in path or Path(path).is_absolute() or ".." in Path(path).parts:
        raise InputError(f"{where} is {path!r:.60}; the path of a file in the same folder is wanted")
