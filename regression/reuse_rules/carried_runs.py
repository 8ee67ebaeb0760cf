"""Old runs and rules -> the runs over the new domains, which of them still count, and new runs below them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mixture_config.files.mixture_table import Key
from mixture_config.geometry.tolerances import SUM_ROUNDOFF
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import loss_domain
from proxymix.tables import write_table
from regression.data.runs import Runs, write_losses
from regression.reuse_rules.weight_rules import WeightRules


@dataclass(frozen=True)
class CarriedRuns:
    """Old runs over the new domains.

    Attributes:
        runs: All of them, with weights over the new domains.
        deviations: Rule -> how far each run deviates from what it was trained on (total variation), shape (num_runs,).
        kept: Which of them count, shape (num_runs,).
    """

    runs: Runs
    deviations: dict[str, np.ndarray]
    kept: np.ndarray

    @property
    def deviation(self) -> np.ndarray:
        """How far the runs deviate by all rules together, shape (num_runs,)."""
        return sum(self.deviations.values(), start=np.zeros(len(self.kept)))


def carry_over(runs: Runs, rules: WeightRules, tolerance: float, where: str) -> CarriedRuns:
    """Old runs over the new domains, and which of them are near enough to what they were trained on.

    Raises:
        InputError: If none is.
    """
    weights, deviations = rules.apply(runs.weights)
    carried = CarriedRuns(
        replace(runs, domains=rules.new, weights=weights), deviations, np.ones(len(weights), dtype=bool)
    )
    kept = (carried.deviation <= tolerance + SUM_ROUNDOFF) & (weights.sum(axis=1) > 0.5)
    if not kept.any():
        raise InputError(
            f"{where}: none of {len(kept)} runs counts over the new domains; the nearest is {carried.deviation.min():.3g} off "
            f"(total variation), and tolerance is {tolerance:g}. Raise it, or train new runs"
        )
    return replace(carried, kept=kept)


def join_runs(carried: CarriedRuns, fresh: Runs | None, changed: Sequence[str], where: str) -> Runs:
    """The old runs that count, and below them the new ones, with the targets that both have.

    New runs whose keys are taken are numbered after the old ones.

    Args:
        changed: Domains whose name stayed and whose data did not: their old and new losses are not one target.

    Raises:
        InputError: If the new runs are over other domains, or share no target with the old.
    """
    runs = carried.runs.rows(carried.kept)
    stale = [target for target in runs.targets if loss_domain(target) in changed]
    if fresh is None:
        if stale:
            say(f"{some(map(loss_domain, stale))}: the losses are those on the old data of that name")
        return runs
    weights = fresh.mixtures.aligned(runs.domains, where)
    targets = [target for target in runs.targets if target in fresh.targets and target not in stale]
    left = [t for t in dict.fromkeys((*runs.targets, *fresh.targets)) if t not in targets]
    if not targets:
        raise InputError(f"{where}: old and new runs have no target in common ({some(map(loss_domain, left), 12)})")
    if left:
        say(f"left out, as old and new runs do not share them: the targets {some(map(loss_domain, left), 12)}")
    old_columns, new_columns = ([r.targets.index(target) for target in targets] for r in (runs, fresh))
    return Runs(
        runs.index + _free_keys(fresh.index, carried.runs.index),
        runs.domains,
        targets,
        np.vstack([runs.weights, weights]),
        np.vstack([runs.losses[:, old_columns], fresh.losses[:, new_columns]]),
    )


def write_runs(out: Path, carried: CarriedRuns, joined: Runs, fresh: Sequence[Key]) -> None:
    """Write reuse.csv, losses.csv, and last mixtures.csv."""
    rules = list(carried.deviations)
    rows: list[list[object]] = []
    for i, key in enumerate(carried.runs.index):
        rows.append([key, "old", key, "yes" if carried.kept[i] else "no", float(carried.deviation[i])])
        rows[-1] += [float(carried.deviations[rule][i]) for rule in rules]
    for key, source in zip(joined.index[int(carried.kept.sum()) :], fresh, strict=True):
        rows.append([key, "new", source, "yes", 0.0, *[0.0] * len(rules)])
    columns = [f"off_{rule.replace(' ', '_')}" for rule in rules]
    write_table(out / "reuse.csv", ["index", "runs", "source_index", "counts", "off", *columns], rows)
    write_losses(out / "losses.csv", joined.index, joined.targets, joined.losses)
    joined.mixtures.write(out / "mixtures.csv")


def say_runs(carried: CarriedRuns, tolerance: float, out: Path) -> None:
    """Say how many old runs count, and how far those are off that are not exact."""
    kept, total = carried.kept, carried.deviation
    say(f"{kept.sum()} of {len(kept)} old runs count over the new domains")
    for rule, deviation in carried.deviations.items():
        inexact = deviation > SUM_ROUNDOFF
        if inexact.any():
            say(
                f"  {rule}: {inexact.sum()} runs are not exact, off by {np.median(deviation[inexact]):.3g} in the median and "
                f"{deviation.max():.3g} at most (total variation); {(inexact & kept).sum()} of them are kept"
            )
    if not kept.all():
        left_out = [key for key, keep in zip(carried.runs.index, kept, strict=True) if not keep]
        say(
            f"  left out, further off than tolerance {tolerance:g}: {some(left_out)}; {out}/reuse.csv lists them. "
            f"The nearest of them is {total[~kept].min():.3g} off"
        )
    tables = (shlex.quote(str(out / name)) for name in ("mixtures.csv", "losses.csv"))
    say(f"Written: {out} (mixtures.csv, losses.csv, reuse.csv)")
    say("Next: proxymix fit --mixtures {} --losses {} --out fit".format(*tables))


def _free_keys(keys: Sequence[Key], taken: Sequence[Key]) -> list[Key]:
    """`keys` as they are if they can stand beside `taken`, else numbered after these or marked as new."""
    if not set(keys) & set(taken) and {type(k) for k in keys} == {type(k) for k in taken}:
        return list(keys)
    if all(isinstance(k, int) for k in (*keys, *taken)):
        last = max(int(k) for k in taken)
        return [last + int(k) for k in keys] if min(map(int, keys)) > 0 else [last + i for i in range(1, len(keys) + 1)]
    return [f"new-{k}" for k in keys]
