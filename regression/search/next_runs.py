"""A fit -> the mixtures worth training next: those that may be better than the best that is known, far from each other.

`improvement` ranks candidates near and far by expected improvement (Jones, Schonlau, Welch 1998) over the lowest
prediction, and spreads the batch over the best fifth. On 30 planted laws (6 and 12 domains, 24 runs and two batches of 24)
that misses .016 of the gain from the prior to the optimum, a batch by knowledge gradient .018, and 72 mixtures drawn at
once .036; benchmarks/rounds.py. `climb` draws ever closer around the best runs, as CLIMB does (arXiv 2504.13161).
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mixture_config.design.space_filling import distant, space_filling
from mixture_config.files.mixture import write_mixture
from mixture_config.geometry.simplex import dirichlet
from mixture_config.geometry.tolerances import DISTINCT
from proxymix.errors import InputError
from proxymix.files import remove
from proxymix.progress import say
from proxymix.schemas import loss_domain, run_id
from proxymix.tables import write_table
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.models.fitted import FittedModel
from regression.models.predicted_objective import PredictedObjective
from regression.search.feasible_set import Region
from regression.search.search import descend, wide
from regression.selection.repeats import best_runs

Method = Literal["improvement", "climb"]
CANDIDATES = 120  # drawn for each mixture picked
KEPT = 24  # of these, the best: a batch is spread over them
FEWEST_CANDIDATES = 3000
SMALLEST = 2e-4  # weights below it are none, as on the grid of a sweep
NUM_BEST = 4  # runs
MOST_HALVINGS = 13  # of the reach of climbing draws
NUM_CURVES = 12  # bootstrapped, where a regression does not know how unsure it is


@dataclass(frozen=True)
class Expected:
    """What the fit expects of mixtures, each of shape (num,).

    Attributes:
        predicted: The objective.
        std: Its standard deviation, without the noise of a run.
        improvement: How far below the lowest prediction it is expected to lie, where it does; 0 where it cannot.
    """

    predicted: np.ndarray
    std: np.ndarray
    improvement: np.ndarray


def next_mixtures(
    fitted: FittedModel,
    goal: Objective,
    region: Region,
    num: int,
    rng: np.random.Generator,
    method: Method = "improvement",
) -> np.ndarray:
    """The next mixtures worth training, shape (num, num_domains): allowed, no two alike, none like one that was trained.

    Args:
        fitted: The fit to all runs so far.
        goal: What is minimised; mixtures predicted to be over one of its ceilings come last.
        region: Which mixtures are allowed.
        num: How many.
        rng: Of the candidates.
        method: See the module.

    Raises:
        InputError: If fewer than one is asked for, or the region does not hold as many different mixtures.
    """
    if num < 1:
        raise InputError(f"next is {num}; at least 1 is wanted")
    draw = _near_and_far if method == "improvement" else _closer
    return pick_among(draw(fitted, goal, region, num, rng), fitted, goal, region, num, method)


def pick_among(
    candidates: np.ndarray,
    fitted: FittedModel,
    goal: Objective,
    region: Region,
    num: int,
    method: Method = "improvement",
) -> np.ndarray:
    """Those of some candidates, shape (num_candidates, num_domains), that are worth training next: as `next_mixtures`.

    A batch is spread over the best fifth of them.
    """
    over = PredictedObjective(fitted, goal, region.prior).excess(candidates).max(axis=1, initial=0.0)
    if method == "improvement":
        merit = expected(fitted, goal, region, candidates).improvement
    else:
        merit = -fitted.mean_objective(candidates, goal)
    candidates = candidates[np.lexsort((-merit, over))]
    least = DISTINCT
    while least >= SMALLEST:
        new = candidates[distant(candidates, fitted.runs.weights, least)]
        kept = new[: max(num, min(KEPT * num, len(new) * KEPT // CANDIDATES))]
        if len(kept) >= num:
            picked = kept[space_filling(kept, num, fitted.runs.weights)]
            if all(distant(picked[i : i + 1], picked[:i], least)[0] for i in range(1, num)):
                return picked
        least /= 2
    raise InputError(
        f"next is {num}, and the limits do not hold as many mixtures that differ by {SMALLEST:g} or more from each other "
        "and from those that were trained; ask for fewer, or loosen the limits"
    )


def expected(fitted: FittedModel, goal: Objective, region: Region, X: np.ndarray) -> Expected:
    """What the fit expects of mixtures X, shape (num, num_domains)."""
    return _expected(fitted, goal, lowest(fitted, goal, region), X)


def lowest(fitted: FittedModel, goal: Objective, region: Region) -> np.ndarray:
    """The allowed mixture of lowest predicted objective, from a few starts, shape (num_domains,)."""
    surface, best = PredictedObjective(fitted, goal, region.prior), _best_runs(fitted, goal)
    if surface.smooth:
        uniform = np.full(len(region.prior), 1 / len(region.prior))
        found = descend(surface, region, np.vstack([region.prior, uniform, best]))
    else:
        found = wide(surface, region, region.prior, best, FEWEST_CANDIDATES, 32, np.random.default_rng(0))
    return found[0].weights if found else region.nearest(best[:1])[0]


def numbered(runs: Runs, num: int) -> list[int]:
    """Numbers for further runs, after those that are there."""
    last = max([len(runs.index), *(key for key in runs.index if isinstance(key, int))])
    return list(range(last + 1, last + 1 + num))


def write_mixtures(
    folder: Path, runs: Runs, index: Sequence[int], X: np.ndarray, hopes: Expected, settings: dict[str, Any]
) -> None:
    """FOLDER/n00065.yaml and so on, in the keys of a sweep; after the weights come what is expected of them, and `settings`."""
    validated = [d for d in map(loss_domain, runs.targets) if d in runs.domains]
    columns = {field.name: getattr(hopes, field.name) for field in fields(hopes)}
    for row, (i, weights) in enumerate(zip(index, X, strict=True)):
        named = dict(zip(runs.domains, map(float, weights), strict=True))
        hope = {name: float(values[row]) for name, values in columns.items()}
        extra = {"model_name": "proxymix", **settings, "expected": hope}
        write_mixture(folder / f"{run_id(i)}.yaml", named, extra, validated or None)


def check_room(out: Path, runs: Runs, num: int) -> None:
    """Look whether OUT is free for the next mixtures.

    Raises:
        InputError: If it holds others.
    """
    names = [f"{run_id(i)}.yaml" for i in numbered(runs, num)]
    if others := sorted({path.name for path in (out / "mixtures").glob("[!.]*")} - set(names)):
        raise InputError(
            f"{out / 'mixtures'}: holds {others[0]}, and the next mixtures are {names[0]} to {names[-1]}; choose another "
            "folder with --next_out"
        )


def write_next(
    out: Path, fitted: FittedModel, goal: Objective, region: Region, num: int, rng: np.random.Generator, method: Method
) -> None:
    """A sweep of the next mixtures, numbered after the runs: OUT/mixtures/, then OUT/mixtures.csv.

    Every file records what is predicted of its mixture, and the improvement that is expected of it.

    Raises:
        InputError: If OUT holds other mixtures than these.
    """
    runs = fitted.runs
    check_room(out, runs, num)
    index = numbered(runs, num)
    X = next_mixtures(fitted, goal, region, num, rng, method)
    remove(out / "mixtures.csv")  # it means that all mixtures are there
    write_mixtures(out / "mixtures", runs, index, X, expected(fitted, goal, region, X), {"pick": method})
    header = ("index", *(f"train_{domain}" for domain in runs.domains))
    write_table(out / "mixtures.csv", header, [(i, *map(float, row)) for i, row in zip(index, X, strict=True)])
    say(f"{num} mixtures worth training next: {out / 'mixtures.csv'}")


def _expected(fitted: FittedModel, goal: Objective, best: np.ndarray, X: np.ndarray) -> Expected:
    from scipy.stats import norm

    mean, std = _curve(fitted, goal, np.vstack([best, X]))
    std = np.maximum(std, 1e-12)
    gain = mean[0] - mean
    improvement = np.maximum(gain * norm.cdf(gain / std) + std * norm.pdf(gain / std), 0.0)
    return Expected(mean[1:], std[1:], improvement[1:])


def _curve(fitted: FittedModel, goal: Objective, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The objective and how unsure it is, without the noise of runs."""
    if all(fitted.regressors[t].knows_std for t in goal.used):
        return fitted.predict_objective(X, goal, noise=False)
    draws = fitted.posterior_samples(NUM_CURVES, np.random.default_rng(0))
    return fitted.mean_objective(X, goal), np.std([drawn.mean_objective(X, goal) for drawn in draws], axis=0)


def _best_runs(fitted: FittedModel, goal: Objective) -> np.ndarray:
    return fitted.runs.weights[best_runs(fitted.runs, goal)[:NUM_BEST]]


def _near_and_far(
    fitted: FittedModel, goal: Objective, region: Region, num: int, rng: np.random.Generator
) -> np.ndarray:
    """Draws around the mixture of lowest prediction, around the best runs, and as a sweep draws them."""
    best, count = lowest(fitted, goal, region), max(FEWEST_CANDIDATES, CANDIDATES * num)
    num_domains = len(best)
    flat = region.prior**0.3 / (region.prior**0.3).sum()
    centers = np.vstack([np.tile(best, (2, 1)), _best_runs(fitted, goal), np.tile(flat, (4, 1))])
    centers = 0.95 * centers + 0.05 / num_domains
    strengths = np.exp(rng.uniform(np.log(2.0), np.log(20.0 * num_domains), count))
    draws = dirichlet(rng, centers[rng.integers(len(centers), size=count)], strengths)
    return _allowed(region, np.vstack([best, draws]), rng)


def _closer(fitted: FittedModel, goal: Objective, region: Region, num: int, rng: np.random.Generator) -> np.ndarray:
    """Draws around the best runs, twice as close with every batch."""
    num_domains, count = len(region.prior), max(FEWEST_CANDIDATES, CANDIDATES * num)
    centers = 0.95 * _best_runs(fitted, goal) + 0.05 / num_domains
    strength = 2.0 ** min(1 + len(fitted.runs.index) / num, MOST_HALVINGS) * num_domains
    draws = dirichlet(rng, centers[rng.integers(len(centers), size=count)], np.full(count, strength))
    return _allowed(region, draws, rng)


def _allowed(region: Region, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws brought into the region, and mixtures between them: of a narrow region draws reach little but its corners."""
    smallest = min(SMALLEST, 0.5 / draws.shape[1])

    def admitted(weights: np.ndarray) -> np.ndarray:
        return region.nearest(region.admit(np.where(weights < smallest, 0.0, weights)))

    X = admitted(draws)
    one, other = X[rng.integers(len(X), size=(2, len(X) // 4))]
    X = np.vstack([X, admitted(other + rng.random((len(one), 1)) * (one - other))])
    X = X[region.holds(X)]
    tiny = ((X > 0) & (smallest > X)).any(axis=1)
    X = X if tiny.all() else X[~tiny]
    return X[np.unique(np.round(X, 6), axis=0, return_index=True)[1]]
