"""`--paths` -> where each domain's data lies: a pattern, DOMAIN=PATH pairs, or a YAML, JSON or JSONL file."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from proxymix.errors import InputError
from proxymix.files import json_value, read_json, read_text, read_yaml
from proxymix.messages import nearest
from proxymix.schemas import plain_name

PLACEHOLDER = "{domain}"
STUDY = "{study}/"  # in a default pattern, the folder of the mixture: a study's folder also holds tokens/
TokensOf = dict[str, int | None]  # path -> its tokens, if known


class DomainPaths:
    """The paths of every domain, and the domain of every path.

    Args:
        named: Domain -> its paths, each with its tokens if they are known.
        pattern: The path, with {domain} in it, of every domain that `named` lacks. If it is None, such a domain is an error.
        where: Where the paths came from, for messages.
    """

    def __init__(self, named: Mapping[str, TokensOf], pattern: str | None, where: str) -> None:
        self.named, self.pattern, self.where = dict(named), pattern, where
        self._owner: dict[str, str] = {}
        for domain, paths in self.named.items():
            for path in paths:
                if path in self._owner:
                    raise InputError(f"{where}: {path} is there for {self._owner[path]} and for {domain}; remove one")
                self._owner[path] = domain

    def of(self, domain: str) -> TokensOf:
        """The paths of `domain`, in the order given.

        Raises:
            InputError: If the domain has none.
        """
        if domain in self.named:
            return self.named[domain]
        if self.pattern is None:
            raise InputError(
                f"{self.where}: no path for {domain}, which has a weight{nearest(domain, self.named)} "
                f"(add {domain}=PATH to --paths, or a pattern with {PLACEHOLDER} for the rest)"
            )
        return {self.pattern.replace(PLACEHOLDER, domain): None}

    def domain_of(self, path: str) -> str:
        """The domain whose data `path` is.

        Raises:
            InputError: If it is no domain's.
        """
        if path in self._owner:
            return self._owner[path]
        match = _expression(self.pattern).fullmatch(path) if self.pattern is not None else None
        if match is None:
            like = f" and is not like {self.pattern}" if self.pattern is not None else ""
            raise InputError(f"{self.where}: {path} is no domain's path{like}; give the --paths of the export")
        return match["domain"]


def read_paths(items: Sequence[str] | None, default: str, folder: Path | None) -> DomainPaths:
    """The paths that the command line's `--paths` names, or those of the pattern `default` if it names none.

    Args:
        items: A pattern with {domain}, DOMAIN=PATH (again for more paths of a domain), or a file: YAML or JSON with
            domain: path, domain: [paths] or domain: {path: tokens}; JSONL with the keys domain (or lang), path and, if
            known, tokens (or <tokenizer>-tok).
        default: The pattern if there are no items. {study} in it is the mixture's folder.
        folder: The mixture's folder; None to accept any folder.

    Raises:
        InputError: If an item is none of these, or a file does not hold what it should.
    """
    if not items:
        usual = default if folder is None else default.replace("{study}", folder.as_posix()).removeprefix("./")
        return DomainPaths({}, usual, "--paths")
    named: dict[str, TokensOf] = {}
    pattern: str | None = None
    for item in items:
        if PLACEHOLDER in item:
            if pattern is not None:
                raise InputError(f"--paths: two patterns, {pattern} and {item}; keep one, and name the other paths")
            pattern = item
        elif Path(item).is_file() or ("=" not in item and Path(item).suffix in (".yaml", ".yml", ".json", ".jsonl")):
            for domain, path, tokens in _entries(Path(item)):
                _add(named, domain, path, tokens, item)
        elif paired([item]):
            domain, _, path = item.partition("=")
            _add(named, domain, path, None, "--paths")
        else:
            raise InputError(
                f"--paths: {item!r} is no pattern with {PLACEHOLDER}, no DOMAIN=PATH and no YAML, JSON or JSONL file"
            )
    files = [item for item in items if PLACEHOLDER not in item and "=" not in item]
    return DomainPaths(named, pattern, files[0] if len(files) == 1 else "--paths")


def paired(items: Sequence[str]) -> list[str]:
    """The domains that `--paths` names as DOMAIN=PATH."""
    pairs = [item for item in items if re.match(r"[^=/]+=.", item) and PLACEHOLDER not in item]
    return [plain_name(item.partition("=")[0]) for item in pairs if not Path(item).is_file()]


def _add(named: dict[str, TokensOf], domain: str, path: str, tokens: int | None, where: str) -> None:
    paths = named.setdefault(plain_name(domain), {})
    if path in paths:
        raise InputError(f"{where}: {path} is there twice for {domain}; remove one")
    paths[path] = tokens


def _entries(path: Path) -> Iterator[tuple[str, str, int | None]]:
    if path.suffix == ".jsonl":
        for number, line in enumerate(read_text(path).split("\n"), start=1):
            if line.strip():
                yield _row(line, f"{path}:{number}")
        return
    content = read_json(path) if path.suffix == ".json" else read_yaml(path)
    for domain, value in content.items():
        where = f"{path}: {domain}"
        if isinstance(value, Mapping):
            for file, tokens in value.items():
                yield str(domain), _path(file, where), _tokens(tokens, f"{where}: {file}")
        else:
            for file in value if isinstance(value, list) else [value]:
                yield str(domain), _path(file, where), None


def _row(line: str, where: str) -> tuple[str, str, int | None]:
    row = json_value(line, where)
    if not isinstance(row, dict):
        raise InputError(f"{where}: a JSON object is wanted, found {line.strip()[:60]}")
    domain = row.get("domain", row.get("lang"))
    if not isinstance(domain, str) or "path" not in row:
        raise InputError(f"{where}: the keys domain (or lang) and path are needed; found {', '.join(row) or 'none'}")
    counted = [key for key in row if key == "tokens" or key.endswith("-tok")]
    return domain, _path(row["path"], where), _tokens(row[counted[0]], f"{where}: {counted[0]}") if counted else None


def _path(value: Any, where: str) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{where}: {value!r} is no path; text is wanted")
    return value


def _tokens(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise InputError(f"{where} is {value!r}; the tokens of the path, a whole number >= 0, are wanted")
    return value


def _expression(pattern: str) -> re.Pattern[str]:
    """`pattern` as a regular expression whose group `domain` is the name. {domain} may be in the pattern more than once."""
    anywhere = r"(?:.*/)?" if pattern.startswith(STUDY) else ""
    parts = [re.escape(part) for part in pattern.removeprefix(STUDY).split(PLACEHOLDER)]
    first, *others = parts
    name = r"(?P<domain>[A-Za-z0-9][A-Za-z0-9_.+-]*)"
    return re.compile(anywhere + first + name + r"(?P=domain)".join(others))
