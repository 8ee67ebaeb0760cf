"""Runs split in halves -> what a proposal from one half is worth to a regression of the other, which never saw those runs.

A search ends where its own regression errs on the low side (the winner's curse), so its own prediction of the
proposal is no evidence. A judge fitted to other runs errs independently. This is cross-fitting (Chernozhukov et al. 2018,
arXiv 1608.00060): both halves propose, both judge, over several splits.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from proxymix.progress import progress
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.models.regressor import single_thread
from regression.selection.validation import same_mixtures, split

FEWEST = 16  # runs from which on a half is worth fitting


@dataclass(frozen=True)
class Judgement:
    """Proposals from halves of the runs, as their own regressions and as independent ones see them; S of them.

    Attributes:
        own: Objective predicted by the regression that proposed, shape (S,).
        judged: The same by the judges, shape (S,).
        own_gains: Predicted gain over each of B baselines by the proposing regression, shape (S, B).
        judged_gains: By the judges, shape (S, B).
        own_stds: Standard deviations of the gains by the proposing regression, shape (S, B).
        proposals: Shape (S, num_domains).
    """

    own: np.ndarray
    judged: np.ndarray
    own_gains: np.ndarray
    judged_gains: np.ndarray
    own_stds: np.ndarray
    proposals: np.ndarray

    @property
    def curse(self) -> float:
        """How much better a proposal from half of the runs looks to its own regression than to the other; 0 if it does not.

        The median over baselines: one of them may be far from every run, where two regressions differ by more than that.
        """
        return max(0.0, float(np.median((self.own_gains - self.judged_gains).mean(axis=0))))

    def expected_curse(self, stds: np.ndarray) -> tuple[float, float]:
        """The same for a proposal from all runs, and its standard deviation: between nothing and all of it.

        All of it shrinks as the errors of the regression do. It can be less, since a judge fitted to a half has errors of
        its own, which look like a curse where they flatten the losses.

        Args:
            stds: Standard deviations of the gains that the regression of all runs predicts, shape (B,).
        """
        halves = float(self.own_stds.mean())
        most = self.curse * (min(1.0, float(np.mean(stds)) / halves) if halves > 0 else 1.0)
        return most / 2, most / np.sqrt(12)


def cross_fitted(
    fitted: FittedModel,
    goal: Objective,
    propose: Callable[[FittedModel, np.random.Generator], np.ndarray],
    baselines: np.ndarray,
    num_splits: int,
    seed: int,
    workers: int | None = None,
) -> Judgement | None:
    """Split the runs, let each half propose and the other judge.

    Args:
        fitted: The fit to all runs. Its halves are fitted by the same kind of regressor, proposer and judge alike: a judge
            of another kind may shrink every gain by another factor, which is no curse.
        goal: What is minimised.
        propose: A fit -> its proposal, shape (num_domains,).
        baselines: Mixtures to gain over, shape (B, num_domains).
        num_splits: Ways to split; each gives two proposals.
        seed: Of the splits.
        workers: Processes.

    Returns:
        None where there are too few runs to split.
    """
    import joblib

    mixtures = same_mixtures(fitted.runs.weights)
    if mixtures.max() + 1 < FEWEST or num_splits < 1:
        return None
    halves = split(mixtures, 2, num_splits, seed)
    tasks = [(half == side, number) for number, half in enumerate(halves) for side in (0, 1)]
    jobs = (
        joblib.delayed(_judge)(fitted, goal, propose, baselines, seen, [seed, number, int(seen[0])])
        for seen, number in tasks
    )
    results = []
    with progress("judge", total=len(tasks), unit="splits") as bar:
        for result in joblib.Parallel(min(workers or joblib.cpu_count(), len(tasks)), return_as="generator")(jobs):
            results.append(result)
            bar.advance()
    own, judged, stds, proposals = (np.array(values) for values in zip(*results, strict=True))
    return Judgement(own[:, 0], judged[:, 0], own[:, 1:] - own[:, :1], judged[:, 1:] - judged[:, :1], stds, proposals)


def _judge(
    fitted: FittedModel,
    goal: Objective,
    propose: Callable[[FittedModel, np.random.Generator], np.ndarray],
    baselines: np.ndarray,
    seen: np.ndarray,
    seed: list[int],
) -> tuple[np.ndarray, ...]:
    own, judge = _half(fitted, seen), _half(fitted, ~seen)
    proposal = propose(own, np.random.default_rng(seed))
    X = np.vstack([proposal, baselines])
    _, stds = own.gains(baselines, proposal, goal)
    return own.mean_objective(X, goal), judge.mean_objective(X, goal), stds, proposal


def _half(fitted: FittedModel, rows: np.ndarray) -> FittedModel:
    """Regressors of some of the runs."""
    runs = fitted.runs
    index = [run for run, kept in zip(runs.index, rows, strict=True) if kept]
    part = Runs(index, runs.domains, runs.targets, runs.weights[rows], runs.losses[rows])
    with single_thread():
        regressors = [r.anew(part.weights, y) for r, y in zip(fitted.regressors, part.losses.T, strict=True)]
    return replace(fitted, runs=part, regressors=regressors)
