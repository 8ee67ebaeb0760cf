"""Scales -> which of their runs have the same mixture."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixture_config.files.mixture_table import Key
from mixture_config.geometry.tolerances import SAME_PUBLISHED
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import loss_domain
from regression.scaling.scale import Scale
from regression.scaling.size_laws import Points

MIN_SHARED_MIXTURES = 4
"""Mixtures that two scales must share to be compared."""


@dataclass(frozen=True)
class MatchedScales:
    """All runs of all scales, and which of them have the same mixture.

    Attributes:
        scales: The smallest first.
        keys: A key of every mixture.
        weights: Shape (num_mixtures, num_domains).
        scale: Which scale each run is of, shape (num_runs,).
        mixture: Which mixture each run has, shape (num_runs,).
        losses: Shape (num_runs, num_targets).
    """

    scales: list[Scale]
    domains: list[str]
    targets: list[str]
    keys: list[Key]
    weights: np.ndarray
    scale: np.ndarray
    mixture: np.ndarray
    losses: np.ndarray

    def points(self, rows: np.ndarray) -> Points:
        """Mixtures and sizes of the runs in `rows`."""
        sizes = np.array([(s.params, s.tokens) for s in self.scales])[self.scale[rows]]
        return Points(self.weights[self.mixture[rows]], sizes[:, 0], sizes[:, 1])

    def at(self, scale: int) -> np.ndarray:
        """Losses at a scale, shape (num_mixtures, num_targets); nan where the scale has no run."""
        losses = np.full((len(self.keys), len(self.targets)), np.nan)
        rows = self.scale == scale
        losses[self.mixture[rows]] = self.losses[rows]
        return losses


def match_scales(found: Sequence[Scale]) -> MatchedScales:
    """Find which runs have the same mixture: by key where keys agree with weights, else by weights.

    Raises:
        InputError: If domains or targets differ, or no two scales have MIN_SHARED_MIXTURES mixtures in common.
    """
    first = found[0]
    domains, names = first.runs.domains, first.runs.targets
    keys: list[Key] = []
    weights: list[np.ndarray] = []
    columns: list[np.ndarray] = []
    for scale in found:
        runs = scale.runs
        _check_same(scale.name, "domains", runs.domains, first.name, domains)
        _check_same(scale.name, "targets", runs.targets, first.name, names)
        rows = runs.weights[:, [runs.domains.index(domain) for domain in domains]]
        column = _matched(rows, runs.index, np.array(weights).reshape(-1, len(domains)), keys, scale.name)
        for row in np.flatnonzero(column < 0):
            key = runs.index[row]
            column[row] = len(keys)
            keys.append(key if key not in keys else f"{scale.name}-{key}")
            weights.append(rows[row])
        columns.append(column)
    shared = max(len(set(a.tolist()) & set(b.tolist())) for i, a in enumerate(columns) for b in columns[:i])
    if shared < MIN_SHARED_MIXTURES:
        raise InputError(
            f"scales: {some(s.name for s in found)} have {shared} mixtures in common, and {MIN_SHARED_MIXTURES} are the least that can "
            "be ranked; train the same mixtures at both sizes"
        )
    losses = [s.runs.losses[:, [s.runs.targets.index(name) for name in names]] for s in found]
    scale_of = np.repeat(np.arange(len(found)), [len(column) for column in columns])
    return MatchedScales(
        list(found), domains, names, keys, np.array(weights), scale_of, np.concatenate(columns), np.vstack(losses)
    )


def _check_same(name: str, what: str, found: Sequence[str], first: str, wanted: Sequence[str]) -> None:
    missing, extra = [x for x in wanted if x not in found], [x for x in found if x not in wanted]
    if missing or extra:
        parts = [f"lacks {some(map(loss_domain, missing))}"] if missing else []
        parts += [f"has {some(map(loss_domain, extra))} beside"] if extra else []
        do = (
            "`proxymix reuse` writes runs over other domains"
            if what == "domains"
            else "name shared ones with --targets"
        )
        raise InputError(f"scales.{name}: its {what} are not those of {first}: {name} {' and '.join(parts)}; {do}")


def _matched(rows: np.ndarray, index: Sequence[Key], known: np.ndarray, keys: Sequence[Key], name: str) -> np.ndarray:
    """Which known mixture each row is, -1 for none; shape (num_rows,)."""
    none = np.full(len(rows), -1)
    position = {key: i for i, key in enumerate(keys)}
    by_key = np.array([position.get(key, -1) for key in index])
    shared = by_key >= 0
    if not len(known):
        return none
    if shared.any() and 0.5 * np.abs(rows[shared] - known[by_key[shared]]).sum(axis=1).max() <= SAME_PUBLISHED:
        return by_key
    apart = np.array([0.5 * np.abs(row - known).sum(axis=1) for row in rows])
    nearest_known, nearest_row = apart.argmin(axis=1), apart.argmin(axis=0)
    each = np.arange(len(rows))
    same = (apart[each, nearest_known] <= SAME_PUBLISHED) & (nearest_row[nearest_known] == each)
    if shared.any():
        say(
            f"scales.{name}: its keys name other mixtures than before, so runs meet by their weights: {same.sum()} of "
            f"{len(rows)} mixtures are there already"
        )
    return np.where(same, nearest_known, none)
