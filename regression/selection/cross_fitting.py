"""Runs split in halves -> what a proposal from one half is worth to a regression of the other, which never saw those runs.

A search ends where its own regression errs on the low side (the winner's curse), so its own prediction of the proposal is
no evidence. A regression of other runs errs independently. This is cross-fitting (Chernozhukov et al. 2018, arXiv
1608.00060): each half proposes, and the regression of the other half predicts the held-out gain, over several splits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.models.threads import in_parallel, single_thread
from regression.selection.cross_validation import split
from regression.selection.repeats import same_mixtures

MIN_MIXTURES = 16
"""Different mixtures from which on a half is worth fitting."""


@dataclass(frozen=True)
class CrossFitting:
    """S proposals from halves of the runs, as their own regressions and as those of the other halves predict them.

    Attributes:
        own: Objective predicted by the regression that proposed, shape (S,).
        held_out: The same by the regression of the other half, shape (S,).
        own_gains: Gain over each of B baselines, predicted by the proposing regression, shape (S, B).
        held_out_gains: The same by the regression of the other half, shape (S, B).
        own_stds: Standard deviations of the gains by the proposing regression, shape (S, B).
        proposals: Shape (S, num_domains).
    """

    own: np.ndarray
    held_out: np.ndarray
    own_gains: np.ndarray
    held_out_gains: np.ndarray
    own_stds: np.ndarray
    proposals: np.ndarray

    @property
    def winners_curse(self) -> float:
        """How much better a proposal from half of the runs looks to its own regression than to the other; at least 0.

        The median over baselines, because one of them may be far from every run, where two regressions differ by more.
        """
        return max(0.0, float(np.median((self.own_gains - self.held_out_gains).mean(axis=0))))

    def expected_curse(self, stds: np.ndarray) -> tuple[float, float]:
        """The winner's curse of a proposal from all runs, and its standard deviation: between nothing and all of it.

        It shrinks as the errors of the regression do. It can be less, because the regression of a half has errors of its
        own, which look like a curse where they flatten the losses.

        Args:
            stds: Standard deviations of the gains that the regression of all runs predicts, shape (B,).
        """
        halves = float(self.own_stds.mean())
        most = self.winners_curse * (min(1.0, float(np.mean(stds)) / halves) if halves > 0 else 1.0)
        return most / 2, most / np.sqrt(12)


def cross_fitted(
    fitted: FittedModel,
    objective: Objective,
    propose: Callable[[FittedModel, np.random.Generator], np.ndarray],
    baselines: np.ndarray,
    num_splits: int,
    seed: int,
    workers: int | None = None,
) -> CrossFitting | None:
    """Split the runs, let each half propose, and predict its proposal by the other.

    Args:
        fitted: The fit to all runs. Both halves are fitted by the same kind of regressor, because another kind may shrink
            every gain by another factor, which is no curse.
        propose: A fit -> its proposal, shape (num_domains,).
        baselines: Mixtures to gain over, shape (B, num_domains).

    Returns:
        None where there are too few runs to split.
    """
    mixtures = same_mixtures(fitted.runs.weights)
    if mixtures.max() + 1 < MIN_MIXTURES or num_splits < 1:
        return None
    halves = split(mixtures, 2, num_splits, seed)
    parts = [(half == side, number) for number, half in enumerate(halves) for side in (0, 1)]
    tasks = [(fitted, objective, propose, baselines, seen, [seed, number, int(seen[0])]) for seen, number in parts]
    results = in_parallel(_propose_and_predict, tasks, workers, "cross-fit", "splits")
    own, other, stds, proposals = (np.array(values) for values in zip(*results, strict=True))
    gains, held_out_gains = own[:, 1:] - own[:, :1], other[:, 1:] - other[:, :1]
    return CrossFitting(own[:, 0], other[:, 0], gains, held_out_gains, stds, proposals)


def _propose_and_predict(
    fitted: FittedModel,
    objective: Objective,
    propose: Callable[[FittedModel, np.random.Generator], np.ndarray],
    baselines: np.ndarray,
    seen: np.ndarray,
    seed: list[int],
) -> tuple[np.ndarray, ...]:
    own, other = _half(fitted, seen), _half(fitted, ~seen)
    proposal = propose(own, np.random.default_rng(seed))
    X = np.vstack([proposal, baselines])
    _, stds = own.gains(baselines, proposal, objective)
    return own.mean_objective(X, objective), other.mean_objective(X, objective), stds, proposal


def _half(fitted: FittedModel, rows: np.ndarray) -> FittedModel:
    """Regressors of some of the runs; `rows` is a mask."""
    part = fitted.runs.rows(rows)
    with single_thread():
        regressors = [
            r.refit_from_scratch(part.weights, y) for r, y in zip(fitted.regressors, part.losses.T, strict=True)
        ]
    return replace(fitted, runs=part, regressors=regressors)
