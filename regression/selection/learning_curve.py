"""Runs -> how well fewer of them would have done, and so how many more are worth training."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.registry import make_regressor
from regression.models.regressor import Regressor
from regression.models.threads import in_parallel, single_thread
from regression.selection.metrics import regret, spearman
from regression.selection.repeats import same_mixtures

PARTS = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
"""Parts of the runs that are fitted."""
MIN_RUNS = 10
"""Runs in a part, at least."""
NUM_REPEATS = 5
"""How often a part is drawn."""
COSTLY_RUNS, NUM_COSTLY_REPEATS = 96, 2
"""From this many runs on a fit takes long, and a part is drawn this often."""
MIN_SIGNAL_SPEARMAN, ENOUGH_SPEARMAN = 0.2, 0.97
"""Below the first the ranking is noise, and nothing is extrapolated from it. From the second on, the runs are enough."""
MAX_LITTLE = 0.75
"""Twice the runs bring little where they leave more than this part of what is missing to a Spearman of 1."""


@dataclass(frozen=True)
class Point:
    """One fit to some of the runs, and how it ranks the others."""

    num_runs: int
    repeat: int
    spearman: float
    regret: float


def learning_curve(runs: Runs, model: str, objective: Objective, seed: int, workers: int | None = None) -> list[Point]:
    """Fit random parts of the runs, and rank the rest with each; a mixture trained on several seeds is on one side."""
    num, mixtures = len(runs.index), same_mixtures(runs.weights)
    sizes = sorted({round(part * num) for part in PARTS if round(part * num) >= MIN_RUNS})
    rng = np.random.default_rng([seed, 4])
    tasks = [
        (
            runs,
            mixtures,
            make_regressor(model),
            objective,
            size,
            repeat,
            np.argsort(rng.permutation(num)[mixtures], kind="stable"),
        )
        for size in sizes
        for repeat in range(NUM_REPEATS if size < COSTLY_RUNS else NUM_COSTLY_REPEATS)
    ]
    points = in_parallel(_point, tasks, workers, "learning curve", "regressions")
    return [point for point in points if point is not None]


def _point(
    runs: Runs,
    mixtures: np.ndarray,
    unfitted: Regressor,
    objective: Objective,
    size: int,
    repeat: int,
    order: np.ndarray,
) -> Point | None:
    """One fit to the first `size` runs of an order in which the runs of a mixture are neighbours; None if no others are left."""
    seen, unseen = order[:size], order[size:]
    unseen = unseen[mixtures[unseen] != mixtures[seen[-1]]]
    if len(unseen) < 2:
        return None
    predicted = np.full((len(unseen), len(runs.targets)), np.nan)
    weighted = np.flatnonzero(objective.weights)
    with single_thread():
        for t in weighted:
            regressor = unfitted.refit_from_scratch(runs.weights[seen], runs.losses[seen, t])
            predicted[:, t] = regressor.predict(runs.weights[unseen])
    measured, ranked = objective.value(runs.losses[unseen]), objective.value(predicted)
    return Point(size, repeat, spearman(measured, ranked), regret(ranked, measured))


def extrapolated(points: Sequence[Point], num_runs: Sequence[int]) -> np.ndarray | None:
    """Spearman to be expected of more runs, if 1 - Spearman falls as a power of their number, as learning curves do.

    Returns:
        Shape (len(num_runs),); None where fewer than two sizes were tried, or more runs did not help.
    """
    sizes = sorted({p.num_runs for p in points})
    if len(sizes) < 2:
        return None
    missing = [1 - np.mean([p.spearman for p in points if p.num_runs == size]) for size in sizes]
    slope, level = np.polyfit(np.log(sizes), np.log(np.maximum(missing, 1e-4)), 1)
    if slope >= 0:
        return None
    return np.asarray(1 - np.exp(level + slope * np.log(np.asarray(num_runs, dtype=float))))


def num_more(points: Sequence[Point], num_runs: int) -> int:
    """How many more runs are worth training: as many again, or none where they would bring little."""
    expected = extrapolated(points, [num_runs, 2 * num_runs]) if points else None
    if expected is None or _last(points)[1] < MIN_SIGNAL_SPEARMAN:
        return 0
    now, twice = (float(v) for v in expected)
    return 0 if 1 - twice > MAX_LITTLE * (1 - now) or now >= ENOUGH_SPEARMAN else num_runs


def sentence(points: Sequence[Point], num_runs: int, unit: str) -> str:
    """What more runs would bring, in words."""
    if not points:
        return f"{num_runs} runs are too few to say what more would bring."
    most, rank, cost = _last(points)
    said = f"Fitted on {most} runs, the model ranks the others with Spearman {rank:.3f}, and its pick is {cost:.4f} off the best ({unit})."
    expected = extrapolated(points, [num_runs, 2 * num_runs, 4 * num_runs])
    if expected is None or rank < MIN_SIGNAL_SPEARMAN:
        return f"{said} More runs have not helped so far: longer proxies, or mixtures that differ more, might."
    now, twice, four = (float(v) for v in expected)
    said = f"{said} To expect: {now:.3f} from all {num_runs}, {twice:.3f} from {2 * num_runs}, {four:.3f} from {4 * num_runs}"
    if more := num_more(points, num_runs):
        return f"{said}; {more} more are worth training."
    if 1 - twice > MAX_LITTLE * (1 - now):
        return f"{said}; more runs bring little, and longer proxies (less noise) may bring more."
    return f"{said}; these runs are enough to rank mixtures, and more would sharpen the optimum."


def _last(points: Sequence[Point]) -> tuple[int, float, float]:
    """The largest number of runs that was fitted, and the mean Spearman and regret there."""
    most = max(p.num_runs for p in points)
    last = [p for p in points if p.num_runs == most]
    return most, float(np.mean([p.spearman for p in last])), float(np.mean([p.regret for p in last]))
