"""A trained sweep -> further rounds of proxies, each decided by the runs before it, and the table of all runs.

python regression/rounds.py --study STUDY

The folder holds mixtures/ and proxies/ of the further rounds, rounds.csv (which round trained what, and what was expected),
and last mixtures.csv and losses.csv of all runs, the sweep's among them, which the regression then reads.
"""

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mixture_config.files.mixture_table import MixtureTable
from mixture_config.geometry.constraints import Constraints
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError
from proxymix.files import remove
from proxymix.messages import next_command
from proxymix.progress import say
from proxymix.schemas import Domains, loss_domain, read_tokens_manifest, run_id, run_index
from proxymix.tables import write_table
from regression.data.objective import Objective
from regression.data.runs import Runs, write_losses
from regression.data.runs_table import read_runs
from regression.search.feasible_set import FeasibleSet
from regression.search.next_runs import Acquisition, Expectation, NextRuns
from regression.search.next_sweep import numbers_after, write_mixtures
from regression.search.proposal_messages import budget_line
from regression.selection.model_choice import fit_runs

TABLES = ("rounds.csv", "mixtures.csv", "losses.csv")
MODEL = "gp"
"""The regressor of the rounds: it knows best where it is unsure, and holds up on few runs."""


def rounds(
    mixtures: Path,
    losses: Path,
    domains: Path,
    tokens: Path,
    out: Path,
    num_rounds: int = 1,
    num_mixtures: int = 24,
    acquisition: Acquisition = "improvement",
    train: TrainSettings = TrainSettings(),  # noqa: B008
    constraints: Constraints = Constraints(),  # noqa: B008
    objective: str | dict[str, Any] = "mean",
    seed: int = 0,
    workers: int | None = None,
    wandb: Literal["offline", "online", "disabled"] = "offline",
) -> None:
    """Train further rounds of proxies, each where the runs before it leave most to be learnt about the best mixture.

    The sweep is the first round. Before every other round the runs so far are fitted (Gaussian processes), and the mixtures
    are chosen that are worth training next. Over a dozen domains, 3 rounds of 24 find a better optimum than 72 mixtures
    drawn at once (benchmarks/rounds.py). Runs that are done are kept, so the same command continues, and ends with the
    same bytes.

    Args:
        mixtures: The sweep's mixtures.
        losses: The sweep's losses.
        domains: Table of the domains and their tokens (domains.csv), for the prior and the caps.
        tokens: Folder of token shards.
        out: Folder for the further rounds, and the tables of all runs.
        num_rounds: Rounds in all, the sweep among them; 1 trains nothing more.
        num_mixtures: Proxies in each further round.
        acquisition: Which mixtures are trained: improvement takes those that may be better than the best that is known,
            far from each other; climb draws ever closer around the best runs (CLIMB, arXiv 2504.13161).
        train: How a proxy is trained; as in the sweep, or the runs do not compare.
        constraints: What the mixtures must keep.
        objective: What is to be low, as for `fit`.
        seed: Seed of the sweep's proxies, which these share, and of the choice of mixtures.
        workers: Proxies trained at a time; one per core when left out.
        wandb: Whether metrics go to the wandb log too; offline needs no account and no network.

    Raises:
        InputError: If the tables do not match, or the limits hold too few different mixtures.
        StageError: If a run fails.
    """
    from proxy_training.launch.train_runs import train_runs

    for name, value, least in (("num_rounds", num_rounds, 2), ("num_mixtures", num_mixtures, 1)):
        if value < least:
            raise InputError(f"{name} is {value}; at least {least} is wanted (the sweep is the first round)")
    _check_separate(out, mixtures, losses, domains)
    runs = read_runs(mixtures, losses)
    minimised = Objective.of(objective, runs.targets, runs.losses)
    _check_measured(runs, losses, tokens)
    known = Domains.read(domains).aligned(runs.domains, domains)
    feasible = FeasibleSet.of(constraints, runs.domains, known.prior, known.true_tokens.astype(float), domains)
    say(budget_line(constraints.budget, constraints.max_epochs))
    for name in TABLES:  # a table means that every round is over
        remove(out / name)
    rows: list[list[object]] = []
    for number in range(2, num_rounds + 1):
        # ---- 1. Choose
        choice = NextRuns(fit_runs(runs, MODEL, objective, seed, workers), minimised, feasible)
        X = choice.mixtures(num_mixtures, np.random.default_rng([seed, number]), acquisition)
        expected = choice.expectation(X)
        table = MixtureTable([*numbers_after(runs, len(X))], runs.domains, X)
        write_mixtures(out / "mixtures", runs, table, expected, {"round": number, "pick": acquisition})
        say(f"round {number} of {num_rounds}: {_said(expected, minimised.value(runs.losses))}")

        # ---- 2. Train
        todo = [
            Run(run_id(i), dict(zip(runs.domains, map(float, weights), strict=True)), seed)
            for i, weights in zip(numbers_after(runs, len(X)), X, strict=True)
        ]
        group, title = out.resolve().parent.name, f"round {number} of {num_rounds}"
        train_runs(todo, tokens, out / "proxies", train, workers, wandb, group, title)

        # ---- 3. Learn
        runs = _joined(runs, todo, X, out / "proxies")
        measured = minimised.value(runs.losses[-len(X) :])
        columns = (table.index, expected.predicted, expected.std, expected.improvement, measured)
        rows += [[number, i, *map(float, values)] for i, *values in zip(*columns, strict=True)]
    write_table(out / "rounds.csv", ("round", "index", "predicted", "std", "improvement", "measured"), rows)
    runs.mixtures.write(out / "mixtures.csv")
    write_losses(out / "losses.csv", runs.index, runs.targets, runs.losses)
    _say_end(minimised, runs, len(rows), out)


def _say_end(minimised: Objective, runs: Runs, num_trained: int, out: Path) -> None:
    values = minimised.value(runs.losses)
    best, of_sweep = int(np.argmin(values)), float(values[: len(values) - num_trained].min())
    say(
        f"{num_trained} runs in further rounds; the best of all {len(values)} is {runs.index[best]}, "
        f"{minimised.describe()} {values[best]:.4f}, and the sweep's best has {of_sweep:.4f}"
    )
    say(f"Written: {out / 'mixtures.csv'} and losses.csv of all runs, and rounds.csv")
    mixtures, losses = (shlex.quote(str(out / name)) for name in ("mixtures.csv", "losses.csv"))
    say(f"Next: {next_command(out, 'fit', f'--mixtures {mixtures} --losses {losses} --out regression')}")


def _check_separate(out: Path, *inputs: Path) -> None:
    """Check that nothing that is read would be removed or overwritten."""
    written = [(out / name).resolve() for name in TABLES]
    for path in inputs:
        if path.resolve() in written or path.resolve().is_relative_to((out / "mixtures").resolve()):
            raise InputError(f"{path}: lies where the rounds would write ({out}); choose another folder for out")


def _check_measured(runs: Runs, losses: Path, tokens: Path) -> None:
    """Check that proxies measure every target of the sweep."""
    scored = read_tokens_manifest(tokens).domains("valid")
    if others := [target for target in runs.targets if loss_domain(target) not in scored]:
        raise InputError(
            f"{losses}: {others[0]} is no validation loss of {tokens}, so further rounds cannot measure it"
        )


def _said(expected: Expectation, measured: np.ndarray) -> str:
    """What is expected of a round, against the best run so far."""
    return (
        f"{len(expected.predicted)} mixtures predicted at {expected.predicted.min():.4f} to "
        f"{expected.predicted.max():.4f}, the best run so far at {measured.min():.4f}; expected improvement up to "
        f"{expected.improvement.max():.4f}"
    )


def _joined(runs: Runs, trained: Sequence[Run], X: np.ndarray, proxies: Path) -> Runs:
    """The runs so far and those of a round, with the losses that were measured."""
    losses = np.empty((len(trained), len(runs.targets)))
    for row, run in enumerate(trained):
        found = RunFolder(proxies / run.id).result()
        assert found is not None, f"{run.id} was trained, and is not there"
        losses[row] = [found.losses[loss_domain(target)] for target in runs.targets]
    return replace(
        runs,
        index=[*runs.index, *(run_index(run.id) for run in trained)],
        weights=np.vstack([runs.weights, X]),
        losses=np.vstack([runs.losses, losses]),
    )


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(rounds)
