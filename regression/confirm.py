"""A proposal -> proof: proxies trained at it and at every baseline, paired over fresh seeds, and the verdict.

python regression/confirm.py --study studies/quickstart

The regression chose the proposal from noisy runs, so its own prediction is no evidence. Here every mixture is trained
again on seeds that the sweep did not use, the same seeds and the same validation blocks for each (common random
numbers), so that what the seeds share cancels in the difference. The verdict may be "not better", or "undecided".
"""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError
from proxymix.progress import say
from proxymix.schemas import Domains, loss_column, read_tokens_manifest
from proxymix.tables import write_table
from regression.confirmation.candidates import candidates_of
from regression.confirmation.conclusion import confirmation_of
from regression.confirmation.measured import at_targets, check_measured, read_losses
from regression.confirmation.statements import confirmation_lines
from regression.data.objective import Objective
from regression.search.proposal import Proposal


def confirm(
    fit: Path,
    proposal: Path,
    domains: Path,
    tokens: Path,
    proxies: Path,
    out: Path,
    heuristic: Path | None = None,
    train: TrainSettings = TrainSettings(),  # noqa: B008
    objective: str | dict[str, Any] | None = None,
    num_seeds: int = 5,
    min_gain: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    wandb: Literal["offline", "online", "disabled"] = "offline",
) -> None:
    """Train at the proposal and at every baseline on fresh seeds, and say which of them the proposal beats.

    The baselines are the prior, the heuristic, the uniform mixture and the best mixture of the sweep. Equal mixtures are
    trained once. Beside the table (a row per mixture and seed) goes a YAML of the same name: paired differences with
    95% intervals, a verdict on each (better, worse, undecided, not better), the regression's predictions next to the
    measurements, the seed noise, and whether the ceilings were kept. More seeds later train only the new ones.

    Args:
        fit: Folder of the regression: its predictions are shown beside the measurements, and the best of its runs is a
            baseline.
        proposal: The mixture to confirm (optimal_mixture.yaml).
        domains: Table of the domains and their tokens (domains.csv), which gives the prior.
        tokens: Folder of token shards.
        proxies: Folder for the run folders, one per mixture and seed.
        out: The table to write (confirmation.csv).
        heuristic: A heuristic mixture to compare with; none when left out.
        train: How a proxy is trained; as in the sweep, or predictions and measurements do not compare.
        objective: What is to be low: mean, zscore, worst, a loss column or its domain, {domain: weight}, or a YAML of
            such weights or of {minimise, max_increase}; that of the proposal when left out.
        num_seeds: Fresh seeds per mixture; with fewer than 5 the intervals are wide.
        min_gain: Smallest gain worth having, in the objective's unit: where the interval excludes it, the verdict is "not
            better". The objective's standard deviation over seeds when left out.
        seed: The sweep's seed; the fresh ones are those that follow it, after those of its repeated mixtures.
        workers: Runs trained at a time; one per core when left out.
        wandb: Whether metrics go to the wandb log too; offline needs no account and no network.

    Raises:
        InputError: If the mixtures name different domains, or the objective is not measured on the tokens.
        StageError: If a run fails.
    """
    from proxy_training.launch.train_runs import train_runs
    from regression.models.fit_files import load_fit
    from regression.selection.repeats import same_mixtures

    if num_seeds < 2:
        raise InputError(f"num_seeds is {num_seeds}; a difference with an interval needs at least 2")
    if min_gain is not None and not 0 <= min_gain < float("inf"):
        raise InputError(f"min_gain is {min_gain}; a gain of 0 or more is wanted, in the unit of the objective")
    # ---- 1. What is compared, by what, and on which seeds
    fitted = load_fit(fit)
    swept, proposed = fitted.runs, Proposal.read(proposal)
    spec = objective or proposed.objective or fitted.objective_spec
    minimised = Objective.of(spec, swept.targets, swept.losses)
    columns = [loss_column(domain) for domain in read_tokens_manifest(tokens).domains("valid")]
    check_measured([swept.targets[t] for t in minimised.used], columns, tokens)
    known = Domains.read(domains).aligned(swept.domains, domains)
    candidates = candidates_of(proposed, proposal, heuristic, known, swept, minimised)
    first = seed + int(np.bincount(same_mixtures(swept.weights)).max())  # the last of k repeats has seed + k - 1
    seeds = list(range(first, first + num_seeds))

    # ---- 2. Train
    runs = [
        Run(f"{name}-s{s}", dict(zip(known.names, map(float, candidates.weights[name]), strict=True)), s)
        for s in seeds
        for name in candidates.trained
    ]
    names = ", ".join(candidates.trained)
    say(f"{len(candidates.trained)} mixtures ({names}) on {num_seeds} fresh seeds each: {len(runs)} proxies")
    group = proxies.resolve().parent.name
    train_runs(runs, tokens, proxies, train, workers=workers, wandb=wandb, group=group, description="confirm")

    # ---- 3. Compare, and write
    losses = {
        name: np.array([read_losses(proxies / f"{candidates.same_as.get(name, name)}-s{s}", columns) for s in seeds])
        for name in candidates.weights
    }
    objectives = {name: minimised.value(at_targets(values, columns, swept.targets)) for name, values in losses.items()}
    rows = [
        (name, s, float(objectives[name][row]), float(values[row].mean()), *values[row].tolist())
        for name, values in losses.items()
        for row, s in enumerate(seeds)
    ]
    settings = {"train": asdict(train), "num_seeds": num_seeds, "seed": seed}
    found = confirmation_of(fitted, minimised, candidates, known, proposed, losses, columns, seeds, min_gain, settings)
    write_table(out, ("mixture", "seed", "objective", "mean", *columns), rows)
    found.write(out.with_suffix(".yaml"))
    for line in [*confirmation_lines(found), f"Every run: {out}; the verdicts: {out.with_suffix('.yaml')}"]:
        say(line)
    say(_next(out, proposal, num_seeds, found.seeds_to_decide))


def _next(out: Path, proposal: Path, num_seeds: int, more: int | None) -> str:
    """The command that comes next: more seeds where these would decide something, else the report."""
    study = shlex.quote(str(out.parent)) if (out.parent / "study.yaml").exists() else ""
    if more:
        in_study, alone = f"proxymix run --study {study} --confirm.num_seeds", "the same command with --num_seeds"
        return f"To decide (only the new seeds are trained): {in_study if study else alone} {num_seeds + more}"
    command = f"report --study {study}" if study else f"export --mixture {shlex.quote(str(proposal))} --to megatron"
    return f"Next: proxymix {command}"


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(confirm)
