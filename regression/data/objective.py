"""What to minimise -> one number from the losses of all targets, its slopes, and which losses may not rise.

Every target is predicted on its own and the predictions are aggregated, because a model of the aggregate ranks worse:
on RegMix's 512 runs LightGBM's Spearman on the mean of 13 losses is .974 when it is fitted to the mean, and .994 when
it is fitted to each target.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from proxymix.errors import InputError
from proxymix.files import read_yaml
from proxymix.messages import listed, some
from proxymix.progress import say_once
from proxymix.schemas import is_domain_loss, loss_domain
from regression.data.columns import kind_of
from regression.data.runs import resolve_targets

Spec = str | dict[str, Any]
"""mean, zscore, worst, a loss column or its domain, {column or domain: weight}, or the path of a YAML of such weights.

With bounds on single targets: {minimise: any of these, max_increase: one share for all targets, or {column or domain:
share}}, or the path of such a YAML. Scores, of which more is better, are named below `maximise` in the place of `minimise`.
"""
WORDS = ("mean", "zscore", "worst")
DIRECTIONS = ("minimise", "maximise")
KEYS = (*DIRECTIONS, "max_increase")
MAX_WEIGHT = 1e15
"""The largest weight of a target; beyond, the others are lost to rounding, and a sum may overflow."""
OLD_KEY = "ceilings"
"""What `max_increase` was called before; it is still read."""


@dataclass(frozen=True, eq=False)
class Objective:
    """A number to minimise, made of the losses of all targets, and bounds on the rise of some of them.

    Attributes:
        spec: As resolved: no file behind it, loss columns as names. `Objective.of` takes it back from a YAML.
        targets: Loss columns; T of them.
        weights: Shape (T,), sum 1, or -1 where scores are maximised: the value is low where they are high. A worst case
            has equal weights on the targets that it is taken over.
        worst: False: the value is losses @ weights. True: the worst z-score among the targets with a weight.
        center: Mean of every target over the sweep, shape (T,).
        scale: Standard deviation of every target over the sweep, shape (T,).
        max_increase: How far a target may rise above its loss at a reference mixture, as a share of that loss (0.01 is
            1%); infinite where it may rise freely; shape (T,). The loss that this allows is the target's ceiling.
    """

    spec: Spec
    targets: tuple[str, ...]
    weights: np.ndarray
    worst: bool
    center: np.ndarray
    scale: np.ndarray
    max_increase: np.ndarray

    @classmethod
    def of(cls, spec: Spec, targets: Sequence[str], losses: np.ndarray) -> "Objective":
        """The objective that a spec asks for.

        Args:
            spec: See `Spec`. The mean of z-scores is a weighted mean, the weight of a target 1 / standard deviation.
            losses: Of the sweep's runs, shape (num_runs, T): the scale of z-scores.

        Raises:
            InputError: As `resolved_objective` does, or if z-scores are asked for and a target never varies.
        """
        targets = tuple(targets)
        losses = np.asarray(losses, dtype=float)
        assert losses.ndim == 2, losses.shape
        assert losses.shape[1] == len(targets), (losses.shape, targets)
        resolved = resolved_objective(spec, targets)
        wanted, increase, sign = _parts(resolved)
        center, scale = losses.mean(axis=0), losses.std(axis=0)
        if wanted in ("zscore", "worst"):
            constant = [t for t, values in zip(targets, losses.T, strict=True) if np.ptp(values) == 0]
            if constant:
                raise InputError(
                    f"objective: {wanted} measures losses in standard deviations, and {constant[0]} is "
                    f"{losses[0, targets.index(constant[0])]:g} in all of {len(losses)} runs; leave it out of the targets"
                )
        if isinstance(wanted, dict):
            weights = _by_target(wanted, targets, 0.0)
        else:
            weights = 1 / scale if wanted == "zscore" else np.ones(len(targets))
            weights = weights / weights.sum()
        allowed = increase if isinstance(increase, dict) else dict.fromkeys(targets, increase)
        max_increase = _by_target(allowed, targets, math.inf)
        _check_scores(targets, resolved, weights, max_increase)
        return cls(resolved, targets, sign * weights, wanted == "worst", center, scale, max_increase)

    @property
    def minimise(self) -> Spec:
        """The spec without `max_increase`: mean, zscore, worst, {loss column: weight}, or {maximise: any of these}."""
        wanted, _, sign = _parts(self.spec)
        return wanted if sign > 0 else {"maximise": wanted}

    @property
    def used(self) -> np.ndarray:
        """Positions of the targets that have a weight or a ceiling; the losses of the others are not needed."""
        return np.flatnonzero((self.weights != 0) | np.isfinite(self.max_increase))

    @property
    def capped(self) -> np.ndarray:
        """Positions of the C targets that have a ceiling."""
        return np.flatnonzero(np.isfinite(self.max_increase))

    @property
    def unit(self) -> str:
        """Of the value."""
        if self.worst:
            return "standard deviations of the sweep"
        weighted = [target for target, weight in zip(self.targets, self.weights, strict=True) if weight != 0]
        return "nats/token" if all(is_domain_loss(target) for target in weighted) else "unit of the targets"

    def value(self, losses: np.ndarray) -> np.ndarray:
        """The objective of losses, shape (..., T) -> (...). A loss without a weight may be missing (not a number)."""
        weighted = np.flatnonzero(self.weights)
        of_weighted = np.asarray(losses, dtype=float)[..., weighted]
        if self.worst:
            scores = np.sign(self.weights[weighted]) * (of_weighted - self.center[weighted]) / self.scale[weighted]
            return np.asarray(scores.max(axis=-1))
        return np.asarray(of_weighted @ self.weights[weighted])

    def slopes(self, losses: np.ndarray) -> np.ndarray:
        """The derivative of the value by every loss, shape (..., T) -> (..., T). A worst case has that of its worst target."""
        losses = np.asarray(losses, dtype=float)
        if not self.worst:
            return np.broadcast_to(self.weights, losses.shape).copy()
        weighted = np.flatnonzero(self.weights)
        signs = np.sign(self.weights)
        scores = signs[weighted] * (losses[..., weighted] - self.center[weighted]) / self.scale[weighted]
        worst = weighted[scores.argmax(axis=-1)]
        return np.asarray(np.eye(len(self.targets))[worst] * (signs[worst] / self.scale[worst])[..., None])

    def excess(self, losses: np.ndarray, reference: np.ndarray) -> np.ndarray:
        """How far each capped loss is above its ceiling, shape (..., C); a value of at most 0 keeps the ceiling.

        Args:
            losses: Shape (..., T).
            reference: Losses of the reference mixture (the prior), shape (T,), or one row for each row of `losses`.
        """
        capped = self.capped
        base = np.asarray(reference, dtype=float)[..., capped]
        return np.asarray(
            np.asarray(losses, dtype=float)[..., capped] - base - self.max_increase[capped] * np.abs(base)
        )

    def describe(self) -> str:
        """In words: 'mean of 13 targets', 'weighted mean: 0.7 code, 0.3 prose, with no target more than 1% above the prior'."""
        return ", with ".join(text for text in (self._minimised(), self.describe_max_increase()) if text)

    def describe_max_increase(self) -> str:
        """`max_increase` in words; empty where every target may rise freely."""
        capped = self.max_increase[self.capped]
        if not len(capped):
            return ""
        if len(capped) == len(self.targets) and len(set(capped)) == 1:
            return f"no target more than {100 * capped[0]:.4g}% above the prior"
        limits = [f"{loss_domain(self.targets[t])} at most {100 * self.max_increase[t]:.4g}%" for t in self.capped]
        return f"{', '.join(limits)} above the prior"

    def _minimised(self) -> str:
        wanted, _, sign = _parts(self.spec)
        negated = "" if sign > 0 else "minus the "
        num, names = len(self.targets), [loss_domain(target) for target in self.targets]
        if isinstance(wanted, str):
            of = {"mean": "mean", "zscore": "mean, each divided by its spread,", "worst": "worst z-score"}[wanted]
            return f"{negated}{names[0] if num == 1 and not self.worst else f'{of} of {num} targets'}"
        used = [(name, weight) for name, weight in zip(names, abs(self.weights), strict=True) if weight > 0]
        if len(used) == 1:
            return f"{'minus ' if negated else ''}{used[0][0]}"
        if len({weight for _, weight in used}) == 1:
            of = f"{num} targets" if len(used) == num else ", ".join(name for name, _ in used)
            return f"{negated}mean of {of}"
        return f"{negated}weighted mean: " + ", ".join(f"{weight:.3g} {name}" for name, weight in used)


def resolved_objective(spec: Spec, targets: Sequence[str]) -> Spec:
    """The same objective without a file behind it: targets are named by their columns, and weights sum to 1.

    Raises:
        InputError: If a name is no target (the nearest is suggested), a weight is not a number above 0, a maximal
            increase is not a share, or a loss is maximised.
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
    if {*KEYS, OLD_KEY}.isdisjoint(spec):
        return _weights(spec, targets, where)
    return _bounded(_renamed(spec, where), targets, where)


def _bounded(spec: Mapping[str, Any], targets: list[str], where: str) -> Spec:
    """A resolved {minimise or maximise, max_increase}."""
    if unknown := [key for key in spec if key not in KEYS]:
        raise InputError(f"{where}: no key {unknown[0]!r} beside {next(iter(spec))}; there are {listed(KEYS)}")
    directions = [key for key in DIRECTIONS if key in spec]
    if not directions:
        raise InputError(
            f"{where}: minimise is missing beside max_increase; write what is to be low, such as minimise: mean"
        )
    if len(directions) > 1:
        raise InputError(f"{where}: minimise and maximise are both there; losses and scores have no unit in common")
    direction = directions[0]
    wanted = resolved_objective(spec[direction], targets)
    if isinstance(wanted, dict) and not {*KEYS}.isdisjoint(wanted):
        inner = "max_increase" if "max_increase" in wanted else next(iter(wanted))
        raise InputError(f"{where}: {direction} has a {inner} of its own; write it once, beside {direction}")
    if direction == "maximise" and (losses := [t for t in _weighted(wanted, targets) if kind_of(t) == "loss"]):
        raise InputError(f"{where}: maximise names {some(losses)}, by its name a loss; write minimise: {losses[0]}")
    scores = [target for target in _weighted(wanted, targets) if kind_of(target) == "score"]
    increase = spec.get("max_increase")
    if increase is None:
        return {direction: wanted} if direction == "maximise" or scores else wanted
    if not isinstance(increase, Mapping):
        return {direction: wanted, "max_increase": _share(increase, "max_increase", where)}
    if not increase:
        raise InputError(
            f"{where}: max_increase names no targets; write <domain or loss column>: <share>, or one share for all"
        )
    columns = resolve_targets([str(name) for name in increase], targets, f"{where}: max_increase")
    shares = [_share(share, f"the max_increase of {name}", where) for name, share in increase.items()]
    return {direction: wanted, "max_increase": dict(zip(columns, shares, strict=True))}


def _weighted(wanted: Spec, targets: Sequence[str]) -> list[str]:
    """The targets that a resolved spec without bounds gives a weight."""
    return [target for target in targets if not isinstance(wanted, dict) or target in wanted]


def _check_scores(targets: Sequence[str], resolved: Spec, weights: np.ndarray, max_increase: np.ndarray) -> None:
    """Check that scores, of which more is better, are taken with a direction that was asked for.

    Raises:
        InputError: If a score is minimised without `minimise` or bounded by `max_increase`, or losses and scores are
            averaged.
    """
    used = [target for target, weight in zip(targets, weights, strict=True) if weight > 0]
    scores = [target for target in used if kind_of(target) == "score"]
    if scores and not (isinstance(resolved, dict) and set(DIRECTIONS) & set(resolved)):
        raise InputError(
            f"objective: {some(scores)} {'is a score by its name' if len(scores) == 1 else 'are scores by their names'}, "
            f"and what has no direction is minimised; write {{maximise: {scores[0]}}} (or {{minimise: {scores[0]}}}, if "
            "low is good), or leave it out with --targets"
        )
    if scores and len(scores) < len(used) and isinstance(_parts(resolved)[0], str):
        other = next(target for target in used if target not in scores)
        raise InputError(
            f"objective: {_parts(resolved)[0]} would average {scores[0]}, a score by its name, with {other}; name the "
            "targets of the objective, or leave the others out with --targets"
        )
    for target, increase in zip(targets, max_increase, strict=True):
        if math.isfinite(increase) and (kind_of(target) == "score" or (target in used and _parts(resolved)[2] < 0)):
            raise InputError(
                f"objective: max_increase bounds {target}, which is better the higher it is; name the losses that may not "
                "rise, as max_increase: {<domain or loss column>: <share>}"
            )


def _renamed(spec: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """The spec with its old key under the name of today.

    Raises:
        InputError: If both are there.
    """
    if OLD_KEY not in spec:
        return spec
    if "max_increase" in spec:
        raise InputError(f"{where}: both ceilings and max_increase are given; ceilings is the old name, remove it")
    say_once(f"{where}: ceilings is called max_increase today; the old name is still read")
    return {"max_increase" if key == OLD_KEY else key: value for key, value in spec.items()}


def _parts(resolved: Spec) -> tuple[Spec, Any, float]:
    """What a resolved spec asks for, its `max_increase` (infinite where it has none), and 1 to minimise, -1 to maximise."""
    for key, sign in (("minimise", 1.0), ("maximise", -1.0)):
        if isinstance(resolved, dict) and key in resolved:
            return resolved[key], resolved.get("max_increase", math.inf), sign
    return resolved, math.inf, 1.0


def _by_target(values: Mapping[str, float], targets: Sequence[str], other: float) -> np.ndarray:
    return np.array([float(values.get(target, other)) for target in targets])


def _weights(weights: Mapping[str, Any], targets: list[str], where: str) -> dict[str, Any]:
    if not weights:
        raise InputError(f"{where}: no targets in it; write <domain or loss column>: <weight>")
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= MAX_WEIGHT:
            raise InputError(
                f"{where}: the weight of {name} is {weight!r:.60}; a number above 0 (and up to {MAX_WEIGHT:g}) is wanted"
            )
    columns = resolve_targets([str(name) for name in weights], targets, where)
    total = math.fsum(weights.values())
    scale = total if abs(total - 1) > 1e-12 else 1.0  # weights of full precision are kept to the last bit
    by_column = dict(zip(columns, weights.values(), strict=True))
    return {target: float(by_column[target] / scale) for target in targets if target in by_column}


def _share(value: Any, what: str, where: str) -> float:
    """A share that is written as 0.01 or as "1%"."""
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
