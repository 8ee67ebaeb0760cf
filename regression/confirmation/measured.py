"""Losses over fresh seeds -> measurements, whether ceilings were kept, and how much of a difference is noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from proxy_training.runs.run_folder import RunFolder
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.schemas import loss_domain
from regression.confirmation.confirmation import CeilingResult, Measurement, Noise, NoiseRatio
from regression.confirmation.paired import t_interval
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.search.proposal import Estimate


def read_losses(folder: Path, columns: Sequence[str]) -> np.ndarray:
    """The final losses of a finished run in the order of loss columns, shape (num_columns,).

    Raises:
        InputError: If one is missing.
    """
    run = RunFolder(folder).result()
    assert run is not None, f"{folder} is done and holds no losses"
    if lacking := [column for column in columns if loss_domain(column) not in run.losses]:
        raise InputError(
            f"{folder / 'losses.csv'}: no loss of {some(map(loss_domain, lacking))}; remove {folder} and confirm again"
        )
    return np.array([run.losses[loss_domain(column)] for column in columns])


def check_measured(targets: Sequence[str], columns: Sequence[str], tokens: Path) -> None:
    """Check that the tokens measure all targets.

    Raises:
        InputError: If a target is not among the columns.
    """
    if missing := [target for target in targets if target not in columns]:
        raise InputError(
            f"{tokens}: the objective asks for {missing[0]}, which no validation domain there gives "
            f"({', '.join(columns[:5])}, ...); confirm trains proxies, so it measures only their validation losses"
        )


def at_targets(values: np.ndarray, columns: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Losses in the order of `targets`, not a number where one was not measured; shape (num_seeds, num_targets)."""
    by_column = dict(zip(columns, values.T, strict=True))
    return np.column_stack([by_column.get(target, np.full(len(values), np.nan)) for target in targets])


def measurement(values: np.ndarray) -> Measurement:
    """Values over seeds, shape (num_seeds,), in the mean and with their spread."""
    return Measurement(float(values.mean()), float(values.std(ddof=1)), *t_interval(values))


def ceilings_kept(objective: Objective, proposal: np.ndarray, prior: np.ndarray) -> dict[str, CeilingResult]:
    """Per target with a ceiling: how far the loss rose over that of the prior, what was allowed, and whether it was kept.

    Kept means that the mean over seeds is within the ceiling. The 95% t interval of the excess (loss minus what is
    allowed, on the same seed) says how sure that is.

    Args:
        objective: The objective.
        proposal: Losses at the proposal, shape (num_seeds, num_targets).
        prior: Losses at the prior on the same seeds.
    """
    kept = {}
    for t, excess in zip(objective.capped, objective.excess(proposal, prior).T, strict=True):
        at_proposal, at_prior = float(proposal[:, t].mean()), float(prior[:, t].mean())
        mean = float(excess.mean())
        kept[objective.targets[t]] = CeilingResult(
            kept=mean <= 0,
            rise=at_proposal / at_prior - 1,
            allowed=float(objective.max_increase[t]),
            proposal=at_proposal,
            prior=at_prior,
            excess=Estimate(mean, *t_interval(excess)),
            seeds_kept=int((excess <= 0).sum()),
        )
    return kept


def noise_of(losses: Mapping[str, np.ndarray], columns: Sequence[str], swept: Runs, objective: Objective) -> Noise:
    """How far losses vary with the mixture (over the sweep) against how far with the seed (pooled over mixtures).

    Args:
        losses: Distinct mixture -> measured losses, shape (num_seeds, num_columns).
        columns: Their loss columns.
        swept: The sweep.
        objective: The objective.
    """

    def ratio(over_mixtures: np.ndarray, over_seeds: np.ndarray) -> NoiseRatio:
        sd, seed_sd = float(over_mixtures.std(ddof=1)), float(np.sqrt(over_seeds.var(axis=1, ddof=1).mean()))
        return NoiseRatio(sd, seed_sd, sd / seed_sd if seed_sd > 0 else None)

    stacked = np.stack([at_targets(values, columns, swept.targets) for values in losses.values()])
    measured = [t for t, target in enumerate(swept.targets) if target in columns]
    return Noise(
        ratio(objective.value(swept.losses), objective.value(stacked)),
        ratio(swept.losses[:, measured].mean(axis=1), stacked[:, :, measured].mean(axis=2)),
        {swept.targets[t]: ratio(swept.losses[:, t], stacked[:, :, t]) for t in measured},
    )
