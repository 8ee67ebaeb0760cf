"""Changes of domains -> how weights over the old domains become weights over the new ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import Domains
from regression.reuse_rules.changes import Changes

MAX_TOKEN_CHANGE = 0.01
"""Of a split domain's tokens: parts whose tokens differ by more are not quite its data, which is said."""


@dataclass(frozen=True)
class WeightRules:
    """How weights over old domains become weights over new ones.

    Attributes:
        transfer: The part of an old weight that goes to each new domain, shape (num_old, num_new).
        merged: New domain -> (positions of its old parts, their shares of its tokens).
        dropped: Positions of the old domains that are gone.
        changed: Names that old and new domains share though their data differ.
    """

    transfer: np.ndarray
    new: list[str]
    merged: dict[str, tuple[np.ndarray, np.ndarray]]
    dropped: np.ndarray
    changed: list[str]

    def apply(self, weights: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Weights over the new domains, and how far rows deviate by each rule that may be inexact.

        Args:
            weights: Shape (num_rows, num_old).

        Returns:
            Weights of shape (num_rows, num_new), whose rows sum to 1 (to 0 where all was dropped), and "merged <domain>" or
            "dropped" -> the deviation of each row, shape (num_rows,). A deviation is the total variation between what a run
            was trained on and what its new row says.
        """
        deviations = {
            f"merged {name}": 0.5
            * np.abs(weights[:, parts] - weights[:, parts].sum(axis=1, keepdims=True) * shares).sum(axis=1)
            for name, (parts, shares) in self.merged.items()
        }
        if len(self.dropped):
            deviations["dropped"] = weights[:, self.dropped].sum(axis=1)
        moved = weights @ self.transfer
        total = moved.sum(axis=1, keepdims=True)
        return np.divide(moved, total, out=np.zeros_like(moved), where=total > 0), deviations


def make_rules(
    old: Sequence[str],
    domains: Domains,
    changes: Changes,
    old_domains: Domains | None = None,
    where: object = "",
    old_where: object = "",
) -> WeightRules:
    """The rules for `changes`: splits by the tokens of the new table, merges by those of the old.

    Raises:
        InputError: If tokens that a rule needs are not known.
    """
    new = list(domains.names)
    tokens = _tokens(domains)
    old_tokens = _tokens(old_domains) if old_domains is not None else {}
    transfer = np.zeros((len(old), len(new)))
    kept = changes.unchanged(old)
    for name in kept:
        transfer[old.index(name), new.index(name)] = 1
    for name, parts in changes.split.items():
        shares = _token_shares(parts, tokens, where, f"the weight of {name} is shared by")
        transfer[old.index(name), [new.index(part) for part in parts]] = shares
        total = sum(tokens[part] for part in parts)
        if name in old_tokens and abs(total - old_tokens[name]) > MAX_TOKEN_CHANGE * old_tokens[name]:
            say(
                f"{name} had {old_tokens[name]:,} tokens, and the parts it was split into have {total:,}: they are not quite "
                "its data, and old runs say that much less about them"
            )
    merged = {}
    for name, parts in changes.merge.items():
        positions = np.array([old.index(part) for part in parts])
        if old_domains is None:
            raise InputError(
                f"merge {name}: old_domains is missing; the old tokens of {some(parts)} say in which ratio training on "
                f"{name} draws them"
            )
        merged[name] = positions, _token_shares(parts, old_tokens, old_where, f"{name} draws its parts by")
        transfer[positions, new.index(name)] = 1
    dropped = np.array([old.index(name) for name in changes.drop], dtype=int)
    return WeightRules(transfer, new, merged, dropped, [d for d in new if d in old and d not in kept])


def _tokens(domains: Domains) -> dict[str, int]:
    return dict(zip(domains.names, domains.tokens.tolist(), strict=True))


def _token_shares(parts: Sequence[str], tokens: Mapping[str, int], where: object, why: str) -> np.ndarray:
    if missing := [part for part in parts if part not in tokens]:
        raise InputError(f"{where}: no tokens of {some(missing)}, and {why} its parts' tokens; add the row")
    counts = np.array([tokens[part] for part in parts], dtype=float)
    if counts.sum() == 0:
        raise InputError(f"{where}: {some(parts)} have no tokens, and {why} its parts' tokens; fill them in")
    return counts / counts.sum()
