"""A trained sweep -> further rounds of proxies, each decided by the runs before it, and the table of all runs.

python regression/rounds.py --study STUDY

The folder holds mixtures/ and proxies/ of the further rounds, rounds.csv (which round trained what, and what it hoped
for), and last mixtures.csv and losses.csv of all runs, the sweep's among them, which the regression then reads.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError
from proxymix.files import remove
from proxymix.progress import say
from proxymix.schemas import loss_domain, read_tokens_manifest, run_id
from proxymix.tables import write_table
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.propose import catalogue_of, region_of
from regression.search.next_runs import Expected, Method, expected, next_mixtures, numbered, write_mixtures
from regression.selection.model_choice import fit_runs

TABLES = ("rounds.csv", "mixtures.csv", "losses.csv")
MODEL = "gp"  # it knows best where it is unsure, and holds up on few runs


def rounds(
    mixtures: Path,
    losses: Path,
    domains: Path,
    tokens: Path,
    out: Path,
    num_rounds: int = 1,
    num_mixtures: int = 24,
    pick: Method = "improvement",
    train: TrainSettings = TrainSettings(),  # noqa: B008
    budget: int | None = None,
    max_epochs: float | None = 4.0,
    limits: dict[str, float | dict[str, float]] | None = None,
    groups: dict[str, list[str]] | None = None,
    max_distance: float | None = None,
    max_domains: int | None = None,
    objective: str | dict[str, Any] = "mean",
    seed: int = 0,
    workers: int | None = None,
    wandb: Literal["offline", "online", "disabled"] = "offline",
) -> None:
    """Train further rounds of proxies, each where the runs before it leave most to be learnt about the best mixture.

    The sweep is the first round. Before every other one the runs so far are fitted (Gaussian processes), and the mixtures
    picked that are worth training next; so, over a dozen domains, 3 rounds of 24 find a better optimum than 72 mixtures
    drawn at once (benchmarks/rounds.py). Runs that are done are kept, so the same command continues, and ends with the same bytes.

    Args:
        mixtures: The sweep's mixtures.
        losses: The sweep's losses.
        domains: Table of the domains and their tokens (domains.csv), for the prior and the caps.
        tokens: Folder of token shards.
        out: Folder for the further rounds, and the tables of all runs.
        num_rounds: Rounds in all, the sweep among them; 1 trains nothing more.
        num_mixtures: Proxies in each further round.
        pick: improvement takes mixtures that may be better than the best that is known, far from each other; climb
            draws ever closer around the best runs (CLIMB, arXiv 2504.13161).
        train: How a proxy is trained; as in the sweep, or the runs do not compare.
        budget: Tokens of the final training; with max_epochs it caps what a domain can take.
        max_epochs: Most passes of the final training over a domain's tokens.
        limits: Smallest and largest weights, {domain or group: {min, max}}, or the number at which a weight is fixed.
        groups: Names for sets of domains that limits may bound as a whole.
        max_distance: Largest share of the tokens that may be moved away from the prior (total variation).
        max_domains: Most domains that may have a weight.
        objective: What is to be low, as for `fit`.
        seed: Seed of the sweep's proxies, which these share, and of the picks.
        workers: Proxies trained at a time; one per core when left out.
        wandb: Where the mirror of the metrics goes; offline needs no account and no network.

    Raises:
        InputError: If the tables do not match, or the limits hold too few different mixtures.
        StageError: If a run fails.
    """
    from proxy_training.launch.train_runs import train_runs

    for name, value, least in (("num_rounds", num_rounds, 2), ("num_mixtures", num_mixtures, 1)):
        if value < least:
            raise InputError(f"{name} is {value}; at least {least} is wanted (the sweep is the first round)")
    runs = read_runs(mixtures, losses)
    goal = Objective.of(objective, runs.targets, runs.losses)
    scored = read_tokens_manifest(tokens).domains("valid")
    if others := [target for target in runs.targets if loss_domain(target) not in scored]:
        raise InputError(
            f"{losses}: {others[0]} is no validation loss of {tokens}, so further rounds cannot measure it"
        )
    catalogue = catalogue_of(domains, runs.domains)
    prior, counts = np.array([d.prior for d in catalogue]), np.array([float(d.tokens) for d in catalogue])
    asked = (limits or {}, groups or {}, prior, counts, budget, max_epochs, max_distance, max_domains)
    region = region_of(runs.domains, *asked, domains)
    for name in TABLES:  # they mean that every round is over
        remove(out / name)
    rows: list[list[object]] = []
    for number in range(2, num_rounds + 1):
        fitted = fit_runs(runs, MODEL, objective, seed, workers)
        X = next_mixtures(fitted, goal, region, num_mixtures, np.random.default_rng([seed, number]), pick)
        hopes = expected(fitted, goal, region, X)
        index = numbered(runs, len(X))
        write_mixtures(out / "mixtures", runs, index, X, hopes, {"round": number, "pick": pick})
        say(f"round {number} of {num_rounds}: {said(hopes, goal.value(runs.losses))}")
        todo = [Run(run_id(i), _named(runs.domains, weights), seed) for i, weights in zip(index, X, strict=True)]
        group, title = out.resolve().parent.name, f"round {number} of {num_rounds}"
        train_runs(todo, tokens, out / "proxies", train, workers, wandb, group, title)
        runs = _joined(runs, index, X, out / "proxies")
        measured = goal.value(runs.losses[-len(X) :])
        columns = (index, hopes.predicted, hopes.std, hopes.improvement, measured)
        rows += [[number, i, *map(float, values)] for i, *values in zip(*columns, strict=True)]
    write_table(out / "rounds.csv", ("round", "index", "predicted", "std", "improvement", "measured"), rows)
    weights = [(key, *map(float, row)) for key, row in zip(runs.index, runs.weights, strict=True)]
    measured_rows = [(key, *map(float, row)) for key, row in zip(runs.index, runs.losses, strict=True)]
    write_table(out / "mixtures.csv", ("index", *(f"train_{domain}" for domain in runs.domains)), weights)
    write_table(out / "losses.csv", ("index", *runs.targets), measured_rows)


def said(hopes: Expected, measured: np.ndarray) -> str:
    """What a round hopes for, against the best run so far."""
    return (
        f"{len(hopes.predicted)} mixtures predicted at {hopes.predicted.min():.4f} to {hopes.predicted.max():.4f}, "
        f"the best run so far at {measured.min():.4f}; expected improvement up to {hopes.improvement.max():.4f}"
    )


def _joined(runs: Runs, index: list[int], X: np.ndarray, proxies: Path) -> Runs:
    """The runs so far and those of a round, with the losses that were measured."""
    losses = np.empty((len(index), len(runs.targets)))
    for row, i in enumerate(index):
        found = RunFolder(proxies / run_id(i)).result()
        assert found is not None, f"{run_id(i)} was trained, and is not there"
        losses[row] = [found.losses[loss_domain(target)] for target in runs.targets]
    return replace(
        runs,
        index=[*runs.index, *index],
        weights=np.vstack([runs.weights, X]),
        losses=np.vstack([runs.losses, losses]),
    )


def _named(domains: list[str], weights: np.ndarray) -> dict[str, float]:
    return dict(zip(domains, map(float, weights), strict=True))


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(rounds)
