"""What to minimise -> one number from the losses of all targets, its slopes, and which losses may not rise.

Targets are predicted one by one and aggregated after, since a model of the aggregate ranks worse (on RegMix's 512 runs
LightGBM's Spearman on the mean of 13 losses is .974 fitted on the mean, .994 fitted per target).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxymix.errors import InputError
from proxymix.files import read_yaml
from proxymix.schemas import loss_domain
from regression.data.runs_table import resolve_targets

Spec = str | dict[str, Any]
"""mean, zscore, worst, a loss column or its domain, {column or domain: weight}, the path of a YAML of such weights, or
{minimise: any of these, ceilings: one share for all targets or {column or domain: share}} and the path of such a YAML."""

WORDS = ("mean", "zscore", "worst")
KEYS = ("minimise", "ceilings")


@dataclass(frozen=True, eq=False)
class Objective:
    """A number to be low, made of the losses of all targets, and ceilings on some of them.

    Attributes:
        spec: As resolved: no file behind it, loss columns as names. `Objective.of` takes it back from a YAML.
        targets: Loss columns; T of them.
        weights: Shape (T,), sum 1. Of a worst case: alike on each of its targets.
        worst: False: the value is losses @ weights. True: the largest z-score among the targets with a weight.
        center: Mean of every target over the sweep, shape (T,).
        scale: Standard deviation of every target over the sweep, shape (T,).
        ceilings: How far a target may rise above a reference mixture, as a share of its loss there (0.01 is 1%);
            infinite where it may rise freely; shape (T,).
    """

    spec: Spec
    targets: tuple[str, ...]
    weights: np.ndarray
    worst: bool
    center: np.ndarray
    scale: np.ndarray
    ceilings: np.ndarray

    @classmethod
    def of(cls, spec: Spec, targets: Sequence[str], losses: np.ndarray) -> "Objective":
        """The objective that a spec asks for.

        Args:
            spec: See `Spec`. The mean of z-scores is a weighted mean, the weight of a target 1 / standard deviation.
            targets: Loss columns, in the order of the losses.
            losses: Of the sweep's runs, shape (num_runs, T): the scale of z-scores.

        Raises:
            InputError: As `resolved_objective` does, or if z-scores are asked for and a target never varies.
        """
        targets = tuple(targets)
        losses = np.asarray(losses, dtype=float)
        assert losses.ndim == 2, losses.shape
        assert losses.shape[1] == len(targets), (losses.shape, targets)
        resolved = resolved_objective(spec, targets)
        minimise, ceilings = _parts(resolved)
        center, scale = losses.mean(axis=0), losses.std(axis=0)
        if minimise in ("zscore", "worst"):
            constant = [t for t, values in zip(targets, losses.T, strict=True) if np.ptp(values) == 0]
            if constant:
                raise InputError(
                    f"objective: {minimise} measures losses in standard deviations, and {constant[0]} is "
                    f"{losses[0, targets.index(constant[0])]:g} in all of {len(losses)} runs; leave it out of the targets"
                )
        if isinstance(minimise, dict):
            weights = _by_target(minimise, targets, 0.0)
        else:
            weights = 1 / scale if minimise == "zscore" else np.ones(len(targets))
            weights = weights / weights.sum()
        allowed = ceilings if isinstance(ceilings, dict) else dict.fromkeys(targets, ceilings)
        rises = _by_target(allowed, targets, math.inf)
        return cls(resolved, targets, weights, minimise == "worst", center, scale, rises)

    @property
    def minimise(self) -> Spec:
        """The spec without its ceilings: mean, zscore, worst, or {loss column: weight}."""
        return _parts(self.spec)[0]

    @property
    def used(self) -> np.ndarray:
        """Positions of the targets that have a weight or a ceiling; the others need not be known."""
        return np.flatnonzero((self.weights > 0) | np.isfinite(self.ceilings))

    @property
    def capped(self) -> np.ndarray:
        """Positions of the C targets that have a ceiling."""
        return np.flatnonzero(np.isfinite(self.ceilings))

    @property
    def unit(self) -> str:
        """Of the value."""
        if self.worst:
            return "standard deviations of the sweep"
        weighted = [target for target, weight in zip(self.targets, self.weights, strict=True) if weight > 0]
        return "nats/token" if all(loss_domain(target) != target for target in weighted) else "unit of the targets"

    def value(self, losses: np.ndarray) -> np.ndarray:
        """The objective of losses, shape (..., T) -> (...); a loss without a weight may be missing (not a number)."""
        weighted = np.flatnonzero(self.weights > 0)
        of_weighted = np.asarray(losses, dtype=float)[..., weighted]
        if self.worst:
            scores = (of_weighted - self.center[weighted]) / self.scale[weighted]
            return np.asarray(scores.max(axis=-1))
        return np.asarray(of_weighted @ self.weights[weighted])

    def slopes(self, losses: np.ndarray) -> np.ndarray:
        """The derivative of the value by every loss, shape (..., T) -> (..., T); in a worst case that of the worst target."""
        losses = np.asarray(losses, dtype=float)
        if not self.worst:
            return np.broadcast_to(self.weights, losses.shape).copy()
        weighted = np.flatnonzero(self.weights > 0)
        scores = (losses[..., weighted] - self.center[weighted]) / self.scale[weighted]
        worst = weighted[scores.argmax(axis=-1)]
        return np.asarray(np.eye(len(self.targets))[worst] / self.scale[worst][..., None])

    def excess(self, losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """How far each capped loss is above what its ceiling allows, shape (..., C); at most 0 keeps the ceiling.

        Args:
            losses: Shape (..., T).
            reference: Losses of the mixture that must not get worse (the prior), shape (T,), or one row per loss.
        """
        capped = self.capped
        base = np.asarray(reference, dtype=float)[..., capped]
        return np.asarray(np.asarray(losses, dtype=float)[..., capped] - base - self.ceilings[capped] * np.abs(base))

    def describe(self) -> str:
        """In words: 'mean of 13 targets', 'weighted mean: 0.7 code, 0.3 prose, with no target more than 1% above the prior'."""
        return ", with ".join(text for text in (self._minimised(), self.describe_ceilings()) if text)

    def describe_ceilings(self) -> str:
        """The ceilings in words; empty where there are none."""
        capped = self.ceilings[self.capped]
        if not len(capped):
            return ""
        if len(capped) == len(self.targets) and len(set(capped)) == 1:
            return f"no target more than {100 * capped[0]:.4g}% above the prior"
        limits = [f"{loss_domain(self.targets[t])} at most {100 * self.ceilings[t]:.4g}%" for t in self.capped]
        return f"{', '.join(limits)} above the prior"

    def _minimised(self) -> str:
        minimise = self.minimise
        num, names = len(self.targets), [loss_domain(target) for target in self.targets]
        if isinstance(minimise, str):
            of = {"mean": "mean", "zscore": "mean, each divided by its spread,", "worst": "worst z-score"}[minimise]
            return names[0] if num == 1 and not self.worst else f"{of} of {num} targets"
        used = [(name, weight) for name, weight in zip(names, self.weights, strict=True) if weight > 0]
        if len(used) == 1:
            return used[0][0]
        if len({weight for _, weight in used}) == 1:
            return f"mean of {num} targets" if len(used) == num else "mean of " + ", ".join(name for name, _ in used)
        return "weighted mean: " + ", ".join(f"{weight:.3g} {name}" for name, weight in used)


def resolved_objective(spec: Spec, targets: Sequence[str]) -> Spec:
    """The same objective without a file behind it, its targets named by their columns, weights of sum 1.

    Raises:
        InputError: If a name is no target (the nearest is suggested), a weight is not a number above 0, or a ceiling not
            a share.
    """
    targets = list(targets)
    where = "objective"
    if isinstance(spec, str):
        if spec in WORDS:
            return spec
        if not spec.endswith((".yaml", ".yml")):
            spec = {spec: 1.0}
        else:
            where, spec = spec, read_yaml(Path(spec))
    if not isinstance(spec, Mapping):
        raise InputError(f"{where} is {spec!r:.60}; {', '.join(WORDS)}, a target, or weights of targets are wanted")
    if set(KEYS).isdisjoint(spec):
        return _weights(spec, targets, where)
    unknown = [key for key in spec if key not in KEYS]
    if unknown:
        raise InputError(f"{where}: no key {unknown[0]!r} beside ceilings; there are {' and '.join(KEYS)}")
    if "minimise" not in spec:
        raise InputError(
            f"{where}: minimise is missing beside ceilings; write what is to be low, such as minimise: mean"
        )
    minimise = resolved_objective(spec["minimise"], targets)
    if minimise != _parts(minimise)[0]:
        raise InputError(f"{where}: minimise has ceilings of its own; write them once, beside minimise")
    if spec.get("ceilings") is None:
        return minimise
    ceilings = spec["ceilings"]
    if not isinstance(ceilings, Mapping):
        return {"minimise": minimise, "ceilings": _share(ceilings, "ceilings", where)}
    if not ceilings:
        raise InputError(
            f"{where}: ceilings names no targets; write <domain or loss column>: <share>, or one share for all"
        )
    columns = resolve_targets([str(name) for name in ceilings], targets, f"{where}: ceilings")
    shares = [_share(share, f"the ceiling of {name}", where) for name, share in ceilings.items()]
    return {"minimise": minimise, "ceilings": dict(zip(columns, shares, strict=True))}


def _parts(resolved: Spec) -> tuple[Spec, Any]:
    """What a resolved spec minimises, and its ceilings (infinite: none)."""
    if isinstance(resolved, dict) and "minimise" in resolved:
        return resolved["minimise"], resolved["ceilings"]
    return resolved, math.inf


def _by_target(values: Mapping[str, float], targets: Sequence[str], other: float) -> np.ndarray:
    return np.array([float(values.get(target, other)) for target in targets])


def _weights(weights: Mapping[str, Any], targets: list[str], where: str) -> dict[str, Any]:
    if not weights:
        raise InputError(f"{where}: no targets in it; write <domain or loss column>: <weight>")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight) or weight <= 0:
            raise InputError(f"{where}: the weight of {name} is {weight!r:.60}; a number above 0 is wanted")
    columns = resolve_targets([str(name) for name in weights], targets, where)
    total = math.fsum(weights.values())
    scale = total if abs(total - 1) > 1e-12 else 1.0  # what full precision leaves is no reason to change a weight
    by_column = dict(zip(columns, weights.values(), strict=True))
    return {target: float(by_column[target] / scale) for target in targets if target in by_column}


def _share(value: Any, what: str, where: str) -> float:
    """A share as 0.01 or "1%"."""
    share = value
    if isinstance(value, str):
        text, percent, _ = value.partition("%")
        try:
            share = float(text) / (100 if percent else 1)
        except ValueError:
            share = math.nan
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share < 1:
        raise InputError(f"{where}: {what} is {value!r:.60}; a share from 0 to below 1 is wanted, as 0.01 or 1%")
    return float(share)
