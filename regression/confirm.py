"""A proposal -> proof: proxies trained at it and at every baseline, paired over fresh seeds, and the verdict.

python regression/confirm.py --study studies/quickstart

The regression chose the proposal from noisy runs, so its own prediction is no evidence. Here every mixture is trained
again on seeds that the sweep did not use, the same seeds and the same validation blocks for each (common random
numbers), so that what the seeds share cancels in the difference. The verdict may be "no better".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mixture_config.files.mixture import read_mixture
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.errors import InputError
from proxymix.files import write_yaml
from proxymix.messages import listed
from proxymix.progress import say
from proxymix.schemas import Domain, loss_column, loss_domain, read_domains, read_tokens_manifest
from proxymix.tables import write_table
from regression.confirmation.compared import BASELINE_PHRASES, PROPOSAL
from regression.confirmation.paired import Difference, Verdict, holm, interval, paired_difference, verdict
from regression.data.objective import Objective
from regression.data.runs import Runs, align_domains

SAME = 2e-4  # mixtures whose weights differ by no more are one: a sweep's lie on a grid of that, so its uniform is not 1/13
METHOD = (
    "every mixture on the same fresh seeds and validation blocks; paired t test over seeds, two-sided, at 5% with Holm's "
    "correction for the number of distinct baselines; intervals are 95% t intervals of one difference, uncorrected"
)


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
    seed: int = 0,
    workers: int | None = None,
    wandb: Literal["offline", "online", "disabled"] = "offline",
) -> None:
    """Train at the proposal and at every baseline on fresh seeds, and say which of them the proposal beats.

    The baselines are the prior, the heuristic, the uniform mixture and the best mixture of the sweep; equal ones are
    trained once. Beside the table (a row per mixture and seed) goes a YAML of the same name: paired differences with
    95% intervals, the regression's predictions next to the measurements, the seed noise, whether the ceilings were kept,
    and the verdict.

    Args:
        fit: Folder of the regression: its predictions are shown beside the measurements, and of its runs the best is a
            baseline.
        proposal: The mixture to confirm (optimal_mixture.yaml).
        domains: Table of the domains and their tokens (domains.csv), which gives the prior.
        tokens: Folder of token shards.
        proxies: Folder for the run folders, one per mixture and seed.
        out: The table to write (confirmation.csv).
        heuristic: A heuristic mixture to compare with; none when left out.
        train: How a proxy is trained; as in the sweep, or predictions and measurements do not compare.
        objective: What is to be low: mean, zscore, worst, a loss column or its domain, {domain: weight}, or a YAML of
            such weights or of {minimise, ceilings}; that of the proposal when left out.
        num_seeds: Fresh seeds per mixture; with fewer than 5 the intervals are wide.
        seed: The sweep's seed; the fresh ones are those that follow it, after those of its repeated mixtures.
        workers: Runs trained at a time; one per core when left out.
        wandb: Where the mirror of the metrics goes; offline needs no account and no network.

    Raises:
        InputError: If the mixtures name different domains, or the objective is not measured on the tokens.
        StageError: If a run fails.
    """
    from proxy_training.launch.train_runs import train_runs
    from regression.models.fit_files import load_fit
    from regression.selection.repeats import same_mixtures

    if num_seeds < 2:
        raise InputError(f"num_seeds is {num_seeds}; a difference with an interval needs at least 2")
    fitted = load_fit(fit)
    swept = fitted.runs
    settings = read_mixture(proposal)[1]
    goal = Objective.of(objective or settings.get("objective") or fitted.objective_spec, swept.targets, swept.losses)
    columns = [loss_column(domain) for domain in read_tokens_manifest(tokens).domains("valid")]
    _check_measured([swept.targets[t] for t in goal.used], columns, tokens)
    catalogue = read_domains(domains)
    compared, origin = candidates(proposal, heuristic, catalogue, swept, goal)
    same_as = repeated(compared)
    names = [name for name in compared if name not in same_as]
    first = seed + int(np.bincount(same_mixtures(swept.weights)).max())  # the last of k repeats has seed + k - 1
    seeds = range(first, first + num_seeds)
    runs = [Run(f"{name}-s{s}", _mapping(fitted.domains, compared[name]), s) for s in seeds for name in names]
    say(f"{len(names)} mixtures ({', '.join(names)}) on {num_seeds} fresh seeds each: {len(runs)} proxies")
    train_runs(
        runs,
        tokens,
        proxies,
        train,
        workers=workers,
        wandb=wandb,
        group=proxies.resolve().parent.name,
        description="confirm",
    )

    losses_of = {
        name: np.array([_read_losses(proxies / f"{same_as.get(name, name)}-s{s}", columns) for s in seeds])
        for name in compared
    }
    at_targets = {name: _at_targets(values, columns, swept.targets) for name, values in losses_of.items()}
    objectives = {name: goal.value(values) for name, values in at_targets.items()}
    write_table(
        out,
        ("mixture", "seed", "objective", "mean", *columns),
        [
            (name, s, float(objectives[name][row]), float(values[row].mean()), *values[row].tolist())
            for name, values in losses_of.items()
            for row, s in enumerate(seeds)
        ],
    )
    others = [name for name in compared if name != PROPOSAL]
    predicted = _by_name(compared, *fitted.predict_objective(np.array(list(compared.values())), goal))
    gains = fitted.gains(np.array([compared[name] for name in others]), compared[PROPOSAL], goal)
    predicted_differences = _by_name(others, -gains[0], gains[1])
    differences = {name: paired_difference(objectives[PROPOSAL], objectives[name]) for name in others}
    of_means = {
        name: paired_difference(losses_of[PROPOSAL].mean(axis=1), losses_of[name].mean(axis=1)) for name in others
    }
    tested = {name: differences[name].p for name in others if name not in same_as}  # equal mixtures are one comparison
    corrected = holm(tested)
    adjusted = {name: corrected.get(same_as.get(name, name), 1.0) for name in others}
    found = verdict(differences, adjusted)
    ceilings = ceilings_kept(goal, at_targets[PROPOSAL], at_targets["prior"])
    feeding = {name: _epochs(mixture, fitted.domains, catalogue, settings) for name, mixture in compared.items()}
    infeasible = [name for name, entry in feeding.items() if "over_the_cap" in entry]
    words = sentence(found, differences, goal, num_seeds, len(tested), infeasible) + ceilings_sentence(ceilings)
    write_yaml(
        out.with_suffix(".yaml"),
        {
            "verdict": words,
            **asdict(found),
            "objective": {
                "name": goal.describe(),
                "unit": goal.unit,
                "spec": goal.spec,
                "weights": {t: float(w) for t, w in zip(goal.targets, goal.weights, strict=True) if w > 0},
            },
            "seeds": list(seeds),
            "method": METHOD,
            "differences": {
                name: {
                    "objective": {**asdict(difference), "p_holm": adjusted[name]},
                    "mean": asdict(of_means[name]),
                    "predicted": predicted_differences[name],
                }
                for name, difference in differences.items()
            },
            "mixtures": {
                name: {
                    **({"same_as": same_as[name]} if name in same_as else {}),
                    **({"origin": origin[name]} if name in origin else {}),
                    "measured": _measurement(objectives[name]),
                    "predicted": predicted[name],
                    **feeding[name],
                    "weights": _mapping(fitted.domains, mixture),
                }
                for name, mixture in compared.items()
            },
            **({"ceilings": ceilings} if ceilings else {}),
            "noise": noise({name: losses_of[name] for name in names}, columns, swept, goal),
            "settings": {"train": asdict(train), "num_seeds": num_seeds, "seed": seed},
        },
    )
    say(words)


def candidates(
    proposal: Path,
    heuristic: Path | None,
    catalogue: Sequence[Domain],
    swept: Runs,
    goal: Objective,
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The proposal and its baselines as weights in the order of the sweep's domains, and where some of them come from.

    Raises:
        InputError: If one of them names other domains.
    """
    domains = swept.domains
    share = {d.domain: d.prior for d in catalogue}
    files = {PROPOSAL: proposal, **({} if heuristic is None else {"heuristic": heuristic})}
    read = {
        name: align_domains(np.array(list(mixture.values())), list(mixture), domains, str(path))
        for name, path in files.items()
        for mixture in (read_mixture(path)[0],)
    }
    best = int(np.argmin(goal.value(swept.losses)))
    baselines = {
        "prior": align_domains(np.array(list(share.values())), list(share), domains, "domains.csv"),
        **({"heuristic": read["heuristic"]} if "heuristic" in read else {}),
        "uniform": np.full(len(domains), 1 / len(domains)),
        "best_seen": swept.weights[best],
    }
    return {PROPOSAL: read[PROPOSAL], **baselines}, {"best_seen": f"run {swept.index[best]} of the sweep"}


def repeated(mixtures: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Mixtures that equal an earlier one -> its name: they are trained once."""
    names = list(mixtures)
    same: dict[str, str] = {}
    for number, name in enumerate(names):
        earlier = (o for o in names[:number] if o not in same and np.abs(mixtures[name] - mixtures[o]).max() <= SAME)
        if (match := next(earlier, None)) is not None:
            same[name] = match
    return same


def sentence(
    found: Verdict,
    differences: Mapping[str, Difference],
    goal: Objective,
    num_seeds: int,
    num_tests: int,
    infeasible: Sequence[str] = (),
) -> str:
    """The verdict with its numbers, in words; baselines that the data cannot feed at the budget are said to be so."""

    def name(baseline: str) -> str:
        d = differences[baseline]
        note = "; the data cannot feed it" if baseline in infeasible else ""
        return f"{BASELINE_PHRASES[baseline]} ({d.mean:+.3f}, {d.low:+.3f} to {d.high:+.3f}{note})"

    groups = (
        ("better than", found.better_than),
        ("no better than", found.no_better_than),
        ("worse than", found.worse_than),
    )
    parts = "; ".join(f"{words} {listed([name(b) for b in baselines])}" for words, baselines in groups if baselines)
    return (
        f"By {goal.describe()}, the proposal is {parts}. In {goal.unit}, with 95% intervals, proposal minus baseline, over "
        f"{num_seeds} fresh seeds; better and worse hold at 5%, corrected for {num_tests} comparisons (Holm)."
    )


def ceilings_kept(goal: Objective, proposal: np.ndarray, prior: np.ndarray) -> dict[str, dict[str, Any]]:
    """Per target with a ceiling: how far it rose over the prior, what was allowed, and whether that was kept.

    Kept means that the mean over seeds is within the ceiling; the 95% t interval of the excess (loss minus what is
    allowed, on the same seed) says how sure that is.

    Args:
        goal: The objective.
        proposal: Losses at the proposal, shape (num_seeds, num_targets).
        prior: Losses at the prior on the same seeds.
    """
    kept = {}
    for t, excess in zip(goal.capped, goal.excess(proposal, prior).T, strict=True):
        at_proposal, at_prior, (low, high) = proposal[:, t].mean(), prior[:, t].mean(), interval(excess)
        kept[goal.targets[t]] = {
            "kept": bool(excess.mean() <= 0),
            "rise": float(at_proposal / at_prior - 1),
            "allowed": float(goal.max_increase[t]),
            "proposal": float(at_proposal),
            "prior": float(at_prior),
            "excess": {"mean": float(excess.mean()), "low": low, "high": high},
            "seeds_kept": int((excess <= 0).sum()),
        }
    return kept


def ceilings_sentence(ceilings: Mapping[str, Mapping[str, Any]]) -> str:
    """Which ceilings were kept, in words; nothing where there are none."""
    if not ceilings:
        return ""
    broken = [
        f"{loss_domain(target)} ({100 * entry['rise']:+.2f}% against the prior, {100 * entry['allowed']:.4g}% allowed)"
        for target, entry in ceilings.items()
        if not entry["kept"]
    ]
    if not broken:
        return f" Kept: the ceilings on all {len(ceilings)} targets that have one."
    kept = len(ceilings) - len(broken)
    return f" Not kept: the ceilings on {listed(broken)}{f'; kept: those on {kept} others' if kept else ''}."


def noise(losses: Mapping[str, np.ndarray], columns: Sequence[str], swept: Runs, goal: Objective) -> dict[str, Any]:
    """How far losses vary with the mixture (sd over the sweep) against how far with the seed (sd, pooled over mixtures).

    Args:
        losses: Distinct mixture -> measured losses, shape (num_seeds, num_columns).
        columns: Their loss columns.
        swept: The sweep.
        goal: The objective.
    """

    def compare(spread: np.ndarray, over_seeds: np.ndarray) -> dict[str, float]:
        sd, seed_sd = float(spread.std(ddof=1)), float(np.sqrt(over_seeds.var(axis=1, ddof=1).mean()))
        return {"over_mixtures": sd, "over_seeds": seed_sd, **({"ratio": sd / seed_sd} if seed_sd > 0 else {})}

    stacked = np.stack([_at_targets(values, columns, swept.targets) for values in losses.values()])
    measured = [t for t, target in enumerate(swept.targets) if target in columns]
    return {
        "objective": compare(goal.value(swept.losses), goal.value(stacked)),
        "mean": compare(swept.losses[:, measured].mean(axis=1), stacked[:, :, measured].mean(axis=2)),
        "targets": {swept.targets[t]: compare(swept.losses[:, t], stacked[:, :, t]) for t in measured},
    }


def _at_targets(values: np.ndarray, columns: Sequence[str], targets: Sequence[str]) -> np.ndarray:
    """Losses in the order of `targets`, not a number where one was not measured; shape (num_seeds, num_targets)."""
    by_column = dict(zip(columns, values.T, strict=True))
    return np.column_stack([by_column.get(target, np.full(len(values), np.nan)) for target in targets])


def _check_measured(targets: Sequence[str], columns: Sequence[str], tokens: Path) -> None:
    missing = [target for target in targets if target not in columns]
    if missing:
        raise InputError(
            f"{tokens}: the objective asks for {missing[0]}, which no validation domain there gives "
            f"({', '.join(columns[:5])}, ...); confirm trains proxies, so it measures only their validation losses"
        )


def _read_losses(folder: Path, columns: Sequence[str]) -> np.ndarray:
    run = RunFolder(folder).result()
    assert run is not None, f"{folder} is done and holds no losses"
    return np.array([run.losses[loss_domain(column)] for column in columns])


def _measurement(values: np.ndarray) -> dict[str, float]:
    low, high = interval(values)
    return {"mean": float(values.mean()), "sd": float(values.std(ddof=1)), "low": low, "high": high}


def _epochs(
    mixture: np.ndarray, domains: Sequence[str], catalogue: Sequence[Domain], settings: Mapping[str, Any]
) -> dict[str, Any]:
    """Passes over each domain in the final training, and a note on those over the cap (only the proposal must keep it)."""
    budget, cap = settings.get("budget"), settings.get("max_epochs")
    if not budget:
        return {}
    tokens = {d.domain: d.tokens for d in catalogue}
    epochs = {
        d: float(weight * budget / tokens[d]) if tokens[d] else float("inf")
        for d, weight in zip(domains, mixture, strict=True)
    }
    over = [d for d in domains if cap and epochs[d] > cap * (1 + 1e-6)]
    note = (
        {"over_the_cap": f"{', '.join(f'{d} {epochs[d]:.3g}' for d in over)} epochs, {cap:g} allowed"} if over else {}
    )
    return {"epochs": epochs, **note}


def _by_name(names: Iterable[str], mean: np.ndarray, std: np.ndarray) -> dict[str, dict[str, float]]:
    return {name: {"mean": float(m), "std": float(s)} for name, m, s in zip(names, mean, std, strict=True)}


def _mapping(domains: Sequence[str], weights: np.ndarray) -> dict[str, float]:
    return {domain: float(weight) for domain, weight in zip(domains, weights, strict=True)}


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(confirm)
