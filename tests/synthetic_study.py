"""A planted law of losses -> a study folder as the stages leave it, in seconds and without training.

The loss on a domain falls with what the mixture holds of it and of its relatives. A run adds noise, most of it shared
by all mixtures of a seed, as in training.
"""

import fcntl
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from mixture_config.geometry.constraints import Constraints
from proxy_training.runs.settings import Run, TrainSettings
from proxymix.files import write_yaml
from proxymix.schemas import Domains, Shard, TokensManifest, loss_column, run_id
from proxymix.tables import read_table, write_table

NAMES = [
    "python_source",
    "c_headers",
    "documentation",
    "javascript",
    "type_stubs",
    "json_data",
    "licences",
    "html",
    "language_reference",
    "stylesheets",
]
SETTINGS = TrainSettings(model="50k", sequence_length=128, tokens=409_600, batch_size=32, evaluations=8)
BUDGET, MAX_EPOCHS = 4_000_000, 4.0


class Law:
    """The planted truth: `losses(weights)` without noise, `measure(weights, seed)` with it."""

    def __init__(self, num_domains: int = 10, noise: float = 1.0) -> None:
        rng = np.random.default_rng(0)
        numbers = np.arange(num_domains)
        self.domains = NAMES[:num_domains] if num_domains <= len(NAMES) else [f"topic_{i:02d}" for i in numbers]
        sizes = 4e6 * 1.7**-numbers if num_domains <= 20 else 4e6 / (1.0 + numbers)
        self.tokens = (sizes * rng.uniform(0.7, 1.3, num_domains)).astype(int) + 20_000
        self.floor = rng.uniform(2.6, 4.2, num_domains)
        self.scale = rng.uniform(0.5, 1.1, num_domains) / 2.2
        self.transfer = np.eye(num_domains) + 0.25 * rng.beta(0.4, 2.0, (num_domains, num_domains))
        self.noise = noise

    @property
    def prior(self) -> np.ndarray:
        return self.tokens / self.tokens.sum()

    def losses(self, weights: np.ndarray) -> np.ndarray:
        return self.floor + self.scale * (weights @ self.transfer.T + 0.02) ** -0.3

    def measure(self, weights: np.ndarray, seed: int) -> np.ndarray:
        shared = np.random.default_rng(seed).normal(0, 0.008, len(self.domains))
        own = np.random.default_rng([seed, *np.round(np.asarray(weights) * 1e6).astype(int)])
        return self.losses(weights) + self.noise * (shared + own.normal(0, 0.006, len(self.domains)))


def built_once(temporary: Path, name: str, build: Callable[[Path], object]) -> Path:
    """A folder that the tests of all processes share and only read: the first process that asks for it builds it.

    Args:
        temporary: What `tmp_path_factory.getbasetemp()` says. Processes of pytest-xdist share the folder above it.
        name: The folder's name.
        build: Fills a folder that it is given.
    """
    shared = temporary.parent if "PYTEST_XDIST_WORKER" in os.environ else temporary
    folder, unfinished = shared / name, shared / f"{name}.unfinished"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(unfinished, ignore_errors=True)
            build(unfinished)
            unfinished.rename(folder)
    return folder


def write_study(folder: Path, law: Law, num_runs: int = 40, model: str = "gp", confirmed: bool = True) -> Path:
    """A whole study: the real fit, proposal and confirmation, with the law in place of training."""
    from regression.fit import fit
    from regression.propose import propose
    from regression.search.settings import SearchSettings

    write_sweep(folder, law, num_runs)
    write_data(folder, law)
    write_proxies(folder, law)
    write_settings(folder)
    fit(
        folder / "mixtures.csv",
        folder / "losses.csv",
        folder / "regression",
        model=model,
        num_folds=4,
        num_repeats=1,
        workers=1,
    )
    propose(
        folder / "regression",
        folder / "optimal_mixture.yaml",
        domains=folder / "domains.csv",
        constraints=Constraints(BUDGET, MAX_EPOCHS),
        heuristic=folder / "heuristic_mixture.yaml",
        details=folder / "proposal",
        search=SearchSettings(num_candidates=4000, num_averaged=16),
    )
    if confirmed:
        confirm_study(folder, law)
    return folder


def confirm_study(folder: Path, law: Law, **changed: Any) -> list[Run]:
    """Call the confirmation as a study does; returns the runs that it asked for."""
    from regression.confirm import confirm

    asked: list[Run] = []
    arguments = {
        "fit": folder / "regression",
        "proposal": folder / "optimal_mixture.yaml",
        "domains": folder / "domains.csv",
        "tokens": folder / "tokens",
        "proxies": folder / "confirmation",
        "out": folder / "confirmation.csv",
        "heuristic": folder / "heuristic_mixture.yaml",
        "train": SETTINGS,
    }
    with mock.patch("proxy_training.launch.train_runs.train_runs", training_of(law, asked)):
        confirm(**(arguments | changed))
    return asked


def training_of(law: Law, asked: list[Run]) -> Callable[..., None]:
    """A `train_runs` that measures the law instead of training."""

    def train_runs(runs: Sequence[Run], tokens: Path, out: Path, settings: TrainSettings, **_: object) -> None:
        asked.extend(runs)
        for run in runs:
            write_run(Path(out) / run.id, law, run, settings)

    return train_runs


def write_sweep(folder: Path, law: Law, num_runs: int = 40, seed: int = 0) -> None:
    """mixtures.csv and losses.csv: all that the regression needs."""
    rng = np.random.default_rng(seed)
    concentrations = np.exp(rng.uniform(np.log(1.0), np.log(6.0), num_runs)) * len(law.domains) / 8
    center = law.prior**0.5 / (law.prior**0.5).sum()
    weights = np.stack([rng.dirichlet(concentration * center) for concentration in concentrations])
    weights[weights < 2e-4] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    mixtures = MixtureTable(list(range(1, num_runs + 1)), law.domains, weights)
    mixtures.write(folder / "mixtures.csv")
    losses = [(i, *law.measure(row, seed).tolist()) for i, row in zip(mixtures.index, weights, strict=True)]
    write_table(folder / "losses.csv", ("index", *map(loss_column, law.domains)), losses)


def repeat_first(folder: Path, law: Law, seeds: Sequence[int]) -> None:
    """Append the first mixture of the sweep on other seeds to its tables, and fit all of them again."""
    from regression.fit import fit

    mixtures, losses = (read_table(folder / name) for name in ("mixtures.csv", "losses.csv"))
    first, last = mixtures.iloc[0].to_numpy()[1:], len(mixtures)
    rows = [(last + k, *first.tolist()) for k in range(1, len(seeds) + 1)]
    measured = [(last + k, *law.measure(first, seed).tolist()) for k, seed in enumerate(seeds, start=1)]
    for name, table, more in (("mixtures.csv", mixtures, rows), ("losses.csv", losses, measured)):
        write_table(folder / name, list(table.columns), [*table.itertuples(index=False, name=None), *more])
    fit(folder / "mixtures.csv", folder / "losses.csv", folder / "regression", model="gp", num_repeats=1, workers=1)


def write_data(folder: Path, law: Law) -> None:
    """domains.csv, heuristic_mixture.yaml and a token manifest."""
    Domains(tuple(law.domains), law.tokens, law.tokens // 400, law.tokens * 3).write(folder / "domains.csv")
    weights = law.prior**0.8 / (law.prior**0.8).sum()
    heuristic = dict(zip(law.domains, weights.tolist(), strict=True))
    Mixture(heuristic, {"model_name": "baseline"}).write(folder / "heuristic_mixture.yaml")
    split = {d: (Shard(f"{d}.ds", t, 9, t * 3, ""),) for d, t in zip(law.domains, law.tokens.tolist(), strict=True)}
    splits, sources = {"train": split, "valid": split}, {d: list[str]() for d in split}
    tokenizer = {"name": "bpe-4096", "sha256": "ab" * 32, "vocabulary": 4096, "eos": 0, "eos_token": "<|eos|>"}
    manifest = TokensManifest(tokenizer, "uint16", splits, {"train": sources, "valid": sources}, {})
    manifest.write(folder / "tokens", {}, {})


def write_proxies(folder: Path, law: Law, seed: int = 0) -> None:
    """A run folder for every row of mixtures.csv."""
    for row in read_table(folder / "mixtures.csv").itertuples(index=False):
        weights = dict(zip(law.domains, map(float, row[1:]), strict=True))
        write_run(folder / "proxies" / run_id(int(row[0])), law, Run(run_id(int(row[0])), weights, seed))


def write_run(folder: Path, law: Law, run: Run, settings: TrainSettings = SETTINGS) -> None:
    """A run folder, manifest last."""
    weights = np.array([run.weights[d] for d in law.domains])
    final = law.measure(weights, run.seed)
    columns = [loss_column(d) for d in law.domains]
    evaluated = {round(settings.num_steps * k / settings.evaluations) for k in range(1, settings.evaluations + 1)}
    rows: list[list[object]] = []
    for step in range(5, settings.num_steps + 1, 5):
        done = step / settings.num_steps
        values = final + 2.4 * (np.exp(-3.2 * done) - np.exp(-3.2)) * (0.6 + weights.max())
        losses = values.tolist() if step in evaluated else [""] * len(columns)
        rows.append([step, step * settings.tokens_per_step, settings.learning_rate, float(values.mean()), *losses])
    write_table(folder / "metrics.csv", ("step", "tokens", "learning_rate", "train_loss", *columns), rows)
    scored = [(d, loss, loss / 2.2, 16_384) for d, loss in zip(law.domains, final.tolist(), strict=True)]
    write_table(folder / "losses.csv", ("domain", "loss_nats", "bpb", "tokens"), scored)
    manifest = {"run": run.id, "seed": run.seed, "settings": asdict(settings), "weights": dict(run.weights)}
    write_yaml(folder / "manifest.yaml", {**manifest, "num_parameters": settings.shape.num_parameters})


def write_settings(folder: Path) -> None:
    """study.yaml."""
    content = {"seed": 0, "budget": BUDGET, "max_epochs": MAX_EPOCHS, "objective": "mean"}
    write_yaml(folder / "study.yaml", {**content, "synthesize": {"num_mixtures": 40}, "train": asdict(SETTINGS)})
