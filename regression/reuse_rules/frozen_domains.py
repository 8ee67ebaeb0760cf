"""Domains that did not change <-> one virtual domain, at the relative weights of a mixture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixture_config.files.mixture import Mixture
from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import Domains

FROZEN = "frozen"
"""The name of the virtual domain."""


@dataclass(frozen=True)
class FrozenDomains:
    """A virtual domain that stands for several, as frozen.yaml holds it.

    Attributes:
        members: Domain -> its weight within the virtual one (sum 1; 0 where the mixture has none of it).
        domains: All domains, which `proxymix expand` leads back to.
        name: The name of the virtual domain.
    """

    members: dict[str, float]
    domains: list[str]
    name: str = FROZEN

    @classmethod
    def read(cls, path: Path) -> "FrozenDomains":
        """Read frozen.yaml.

        Raises:
            InputError: If it is not what `proxymix reuse --freeze` writes.
        """
        content = read_yaml(path)
        name, members, domains = (content.get(key) for key in ("frozen", "members", "domains"))
        if not isinstance(name, str) or not isinstance(members, dict) or not isinstance(domains, list):
            raise InputError(
                f"{path}: no frozen, members and domains; give the frozen.yaml of `proxymix reuse --freeze`"
            )
        if len(set(map(str, domains))) < len(domains):
            raise InputError(f"{path}: a domain is there twice; write it again with `proxymix reuse`")
        if strange := [domain for domain in members if domain not in domains]:
            raise InputError(
                f"{path}: the member {strange[0]!r} is not among its domains; write it again with `proxymix reuse`"
            )
        weights = Mixture.normalised({str(domain): w for domain, w in members.items()}, f"{path}: members").weights
        return cls(weights, domains, name)

    def write(self, path: Path, mixture_sha256: str) -> None:
        """Write frozen.yaml, with the hash of the mixture that the weights are from."""
        content = {"frozen": self.name, "members": self.members, "domains": self.domains}
        write_yaml(path, content | {"mixture_sha256": mixture_sha256})

    @property
    def reduced(self) -> list[str]:
        """The virtual domain, and the domains that are not in it."""
        return [self.name, *(domain for domain in self.domains if domain not in self.members)]

    def expanded(self, weights: np.ndarray) -> np.ndarray:
        """Weights over all domains, shape (num_rows, num_domains).

        Args:
            weights: Over `reduced`, shape (num_rows, len(reduced)).
        """
        affected = self.reduced[1:]
        spread = np.zeros((1 + len(affected), len(self.domains)))
        spread[0, [self.domains.index(domain) for domain in self.members]] = list(self.members.values())
        spread[np.arange(1, len(spread)), [self.domains.index(domain) for domain in affected]] = 1
        full = weights @ spread
        return np.asarray(full / full.sum(axis=1, keepdims=True))


def freeze_domains(
    domains: Domains, mixture: Mapping[str, float], unchanged: Sequence[str], where: str
) -> tuple[FrozenDomains, Domains]:
    """The virtual domain, and the table of domains to draw mixtures from: the virtual one first, then those that changed.

    The virtual domain's tokens are those that it can give at these weights before a member repeats, so an epoch cap on
    it is one on each of its members.

    Args:
        mixture: Domain -> weight, over the old domains.
        unchanged: Domains that keep their relative weights.

    Raises:
        InputError: If the mixture has no weight there, or weight on a domain without tokens.
    """
    inside = math.fsum(mixture[name] for name in unchanged)
    if inside <= 0:
        raise InputError(
            f"{where}: no weight on any unchanged domain ({some(unchanged, 12)}), so there is nothing to freeze"
        )
    if FROZEN in domains.names:
        raise InputError(
            f"{where}: a domain is named {FROZEN!r}, which is what the virtual domain is called; rename it"
        )
    members = {name: mixture[name] / inside for name in unchanged}
    used = {name: share for name, share in members.items() if share > 0}
    position = {name: i for i, name in enumerate(domains.names)}
    if empty := [name for name in used if domains.tokens[position[name]] == 0]:
        raise InputError(f"{where}: weight on {some(empty)}, which has no tokens in the new table")

    def given(counts: np.ndarray) -> int:
        """Tokens that the virtual domain can give; rounding must not cost one."""
        return math.floor(min(counts[position[name]] / share for name, share in used.items()) * (1 + 1e-12))

    tokens = given(domains.tokens)
    documents, num_bytes = (  # in proportion to the tokens
        round(sum(tokens * share * of[position[name]] / domains.tokens[position[name]] for name, share in used.items()))
        for of in (domains.documents, domains.bytes)
    )
    affected = [name for name in domains.names if name not in members]
    rest = [position[name] for name in affected]
    available = domains.available_tokens
    table = Domains(
        (FROZEN, *affected),
        np.array([tokens, *domains.tokens[rest]]),
        np.array([documents, *domains.documents[rest]]),
        np.array([num_bytes, *domains.bytes[rest]]),
        None if available is None else np.array([given(available), *available[rest]]),
    )
    return FrozenDomains(members, list(domains.names)), table


def say_frozen(table: Domains, frozen: FrozenDomains, total: int, folder: Path) -> None:
    """Say which domains are one now, and what to do next."""
    affected = table.names[1:]
    if not affected:
        say(
            f"Nothing has to be learnt again: no domain is new or changed, and {folder}/carried_mixture.yaml has the weights of "
            "those that are left"
        )
        return
    say(
        f"{folder}/domains.csv: {FROZEN} ({len(frozen.members)} domains as they were) and {some(affected, 12)}. {FROZEN} has "
        f"{table.true_tokens[0]:,} of its {total:,} tokens, as many as it can give at these weights before one repeats. Next:\n"
        f"  proxymix synthesize --domains {folder}/domains.csv --out {folder}\n"
        f"  proxymix expand --mixtures {folder} --frozen {folder}/frozen.yaml --out {folder}/expanded"
    )
