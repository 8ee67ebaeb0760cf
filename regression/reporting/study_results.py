"""A study folder -> what it holds, for the report: every stage's files, each read once, or the lack of them."""

import contextlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mixture_config.files.mixture import Mixture, train_column, train_domain
from mixture_config.files.mixture_table import MixtureTable, run_key
from mixture_config.geometry.tolerances import SAME_WEIGHT
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.sealed import read_sealed
from proxymix.errors import InputError
from proxymix.files import read_json, read_text, read_yaml, sha256
from proxymix.messages import some
from proxymix.progress import say
from proxymix.schemas import Domains, is_domain_loss, loss_column
from proxymix.tables import read_table
from regression.confirmation.compared import PROPOSAL
from regression.confirmation.confirmation import Confirmation
from regression.data.objective import Objective, Spec
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.models.fit_files import load_fit
from regression.models.fitted import FittedModel
from regression.search.proposal import Proposal
from regression.selection.metrics import OBJECTIVE

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")

TABLES: dict[str, tuple[str, str, str]] = {
    "regression/scores.csv": ("fit", "model target", "spearman spearman_sd rmse r2 regret"),
    "regression/predictions.csv": ("fit", "index target", "measured predicted std"),
    "regression/learning_curve.csv": ("fit", "", "num_runs repeat spearman regret"),
    "regression/effects.csv": ("fit", "target domain", "correlation effect"),
    "proposal/candidates.csv": ("propose", "", "objective"),
    "proposal/gains.csv": ("propose", "baseline", "gain judged low high"),
    "proposal/line.csv": ("propose", "", "step mean low high"),
    "proposal/epochs.csv": ("propose", "domain", "tokens weight epochs cap"),
    "proposal/weights.csv": ("propose", "domain", "prior weight low high"),
    "proposal/near_optimal.csv": ("propose", "", "objective gain"),
    "confirmation.csv": ("confirm", "mixture", "seed objective mean"),
}
"""File -> the stage that wrote it, its columns of names, and those of numbers that the report needs."""

HASHED = (
    *("study.yaml", "tokens/manifest.json", "domains.csv", "heuristic_mixture.yaml", "mixtures.csv", "losses.csv"),
    *("regression/fit.json", "optimal_mixture.yaml", "confirmation.csv"),
)
"""The files that a report says the hashes of."""


class StudyResults:
    """What a study folder holds, read when it is first asked for; None (or empty) where a stage has not run.

    Args:
        folder: The study.

    Raises:
        InputError: If the study has no runs.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.resolve().name
        self._tables: dict[str, pd.DataFrame | None] = {}
        for name in ("mixtures.csv", "losses.csv"):
            if not (folder / name).exists():
                raise InputError(
                    f"{folder}: no {name}, so there are no runs to report; `proxymix sweep` and `collect` make it"
                )

    @cached_property
    def date(self) -> str:
        """The day (UTC) of the newest of its results: '27 November 2026'."""
        results = ("losses.csv", "optimal_mixture.yaml", "confirmation.yaml")
        newest = max((self.folder / name).stat().st_mtime for name in results if (self.folder / name).exists())
        day = datetime.fromtimestamp(newest, UTC)
        return f"{day.day} {day:%B %Y}"

    # ---- The question: settings, domains, and what was to be low

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What the study was made with: the sealed copy of study.yaml; study.yaml itself where there is no whole copy."""
        with contextlib.suppress(InputError):
            return read_sealed(self.folder / "stages" / "study.yaml", needs_hash=True)
        return self._read("study.yaml", read_yaml, {})

    @cached_property
    def catalogue(self) -> Domains | None:
        """domains.csv."""
        found = self._read("domains.csv", Domains.read, None)
        lacking = [domain for domain in self.runs.domains if domain not in found.names] if found else []
        if lacking:
            where = self.folder / "domains.csv"
            raise InputError(f"{where}: no row of {some(lacking)}, which the mixtures have; run `proxymix count` again")
        return found

    @cached_property
    def tokens(self) -> dict[str, int]:
        """Unique training tokens by domain, of the whole corpus."""
        known = self.catalogue
        return dict(zip(known.names, known.true_tokens.tolist(), strict=True)) if known else {}

    @cached_property
    def prior(self) -> dict[str, float]:
        """Token shares."""
        return dict(zip(self.catalogue.names, self.catalogue.prior.tolist(), strict=True)) if self.catalogue else {}

    @cached_property
    def domains(self) -> list[str]:
        """Domains by prior, largest first; without a prior, by their mean weight in the sweep."""
        size = self.prior or dict(zip(self.runs.domains, self.runs.weights.mean(axis=0), strict=True))
        return sorted(self.runs.domains, key=lambda d: -size.get(d, 0.0))

    @cached_property
    def targets(self) -> list[str]:
        """Loss columns in the order of the domains, followed by those that are no domain's."""
        order = [loss_column(d) for d in self.domains]
        return [t for t in order if t in self.runs.targets] + [t for t in self.runs.targets if t not in order]

    @cached_property
    def of_domains(self) -> bool:
        """Whether all targets are validation losses of domains, in nats per token."""
        return all(is_domain_loss(target) for target in self.runs.targets)

    @cached_property
    def loss_unit(self) -> str:
        """Of the losses; that of the objective is `objective.unit`."""
        return "nats/token" if self.of_domains else "unit of the targets"

    @cached_property
    def objective(self) -> Objective:
        """What was to be low, of the losses in the order of `runs.targets`: as propose was asked, else fit, else the study."""
        given: list[Spec | None] = [
            self.proposal.objective,
            self.fit.objective_spec if self.fit else None,
            self.settings.get("objective"),
        ]
        spec = next((objective for objective in given if objective), "mean")
        return Objective.of(spec, self.runs.targets, self.runs.losses)

    def objective_of(self, table: "pd.DataFrame") -> np.ndarray:
        """The objective of rows that hold loss columns."""
        return self.objective.value(table[self.runs.targets].to_numpy(dtype=float))

    @cached_property
    def budget(self) -> int | None:
        """Tokens of the final training."""
        return self.proposal.budget or self.settings.get("budget")

    @property
    def is_budget_assumed(self) -> bool:
        """Whether nobody gave a budget, as far as the study tells."""
        return bool(self.proposal.budget_assumed) or ("budget" in self.settings and self.settings["budget"] is None)

    @cached_property
    def max_epochs(self) -> float | None:
        """Passes allowed over a domain; None without a budget."""
        return self.proposal.max_epochs or self.settings.get("max_epochs") if self.budget else None

    # ---- The sweep

    @cached_property
    def runs(self) -> Runs:
        """Mixtures and losses of every run that the fit used; without a fit, of every run that can be used."""
        if self.fit:
            return self.fit.runs
        return read_runs(self.folder / "mixtures.csv", self.folder / "losses.csv", allow_missing=True)

    @cached_property
    def run_folders(self) -> list[RunFolder]:
        """The finished runs of the sweep: those that the table of mixtures has. Other folders are named."""
        known = {str(key) for key in MixtureTable.read(self.folder / "mixtures.csv").index}
        found = RunFolder.finished_in(self.folder / "proxies", "*")
        runs = [run for run in found if {run.path.name, str(run_key(run.path.name))} & known]
        if strays := [run.path.name for run in found if run not in runs]:
            say(f"{self.folder / 'proxies'}: {some(strays)} not in mixtures.csv, left out of the report")
        return runs

    @cached_property
    def first_manifest(self) -> dict[str, Any]:
        """How the first run of the sweep was trained; empty where none was trained here."""
        return self.run_folders[0].manifest() if self.run_folders else {}

    @property
    def proxy_scale(self) -> str:
        """How large the proxies are: '57,664 parameters, 200,000 tokens each'; empty where none was trained here."""
        settings, size = self.first_manifest.get("settings", {}), self.first_manifest.get("num_parameters")
        if not settings:
            return ""
        return f"{'' if size is None else f'{size:,} parameters, '}{settings['tokens']:,} tokens each"

    @cached_property
    def sampler(self) -> dict[str, Any]:
        """How the mixtures were drawn: every mixture's file records it."""
        return self._read("mixtures/n00001.yaml", Mixture.read, Mixture({})).extra

    @cached_property
    def num_picked(self) -> int:
        """Runs whose mixtures were decided by the runs before them."""
        return len(list((self.folder / "rounds" / "mixtures").glob("*.yaml")))

    # ---- The regression

    @cached_property
    def fit(self) -> FittedModel | None:
        """The regression."""
        return load_fit(self.folder / "regression") if (self.folder / "regression" / "fit.json").exists() else None

    @cached_property
    def fitted_for_objective(self) -> bool:
        """Whether the fit was made for this kind of objective, so that its scores of the objective are of this one."""
        return self.fit is not None and self.fit.objective.minimise == self.objective.minimise

    @property
    def scores(self) -> "pd.DataFrame | None":
        """Cross-validation of every model tried."""
        return self._table("regression/scores.csv")

    @property
    def out_of_fold(self) -> "pd.DataFrame | None":
        """Predictions of runs by fits that have not seen them."""
        table = self._table("regression/predictions.csv")
        if table is not None and self.fit:
            pairs = table[["index", "target"]].astype(str).itertuples(index=False, name=None)
            wanted = {(str(run), target) for run in self.runs.index for target in (*self.runs.targets, OBJECTIVE)}
            self._check_rows("regression/predictions.csv", pairs, wanted)
        return table

    @property
    def learning_curve(self) -> "pd.DataFrame | None":
        """How well fits to some of the runs rank the others."""
        return self._table("regression/learning_curve.csv")

    @property
    def effects(self) -> "pd.DataFrame | None":
        """What each domain does to each target, as the regression has it."""
        return self._table("regression/effects.csv")

    # ---- The proposal

    @cached_property
    def proposal(self) -> Proposal:
        """The optimal mixture and what its file says about it; without weights where there is none."""
        return self._read("optimal_mixture.yaml", Proposal.read, Proposal({}))

    @property
    def optimum(self) -> dict[str, float]:
        """The optimal mixture."""
        return self.proposal.weights

    @cached_property
    def heuristic(self) -> dict[str, float]:
        """The heuristic mixture."""
        return self._read("heuristic_mixture.yaml", Mixture.read, Mixture({})).weights

    @cached_property
    def epochs(self) -> dict[str, float]:
        """Epochs of the optimum over each domain at the budget; empty where these are not known."""
        if not self.budget or not self.tokens:
            return {}
        spent = {d: self.optimum.get(d, 0.0) * self.budget for d in self.domains}
        return {d: spent[d] / self.tokens[d] if self.tokens.get(d) else 0.0 for d in self.domains}

    @property
    def capped(self) -> list[str]:
        """Domains that the optimum holds at the cap on epochs."""
        cap = self.max_epochs
        return [d for d, epochs in self.epochs.items() if cap and epochs >= cap * (1 - 1e-3)]

    def proposed(self, name: str) -> "pd.DataFrame | None":
        """A table of the folder proposal/, if the folder is of the mixture at hand."""
        candidates = self._table("proposal/candidates.csv")
        if candidates is None:
            return None
        first = candidates.iloc[0]  # the mixture that was proposed
        deviation = [abs(first.get(train_column(d), 0.0) - weight) for d, weight in self.optimum.items()]
        if not all(d < SAME_WEIGHT for d in deviation):
            return None
        table = self._table(f"proposal/{name}.csv")
        if table is not None and "domain" in table.columns:
            self._check_rows(f"proposal/{name}.csv", zip(table["domain"].astype(str)), {(d,) for d in self.domains})
        if table is not None and name == "gains" and self.proposal.baselines:
            self._check_rows("proposal/gains.csv", zip(table["baseline"]), {(b,) for b in self.proposal.baselines})
        if table is not None and name == "line":
            self._check_rows("proposal/line.csv", zip(table["step"].iloc[[0, -1]].astype(str)), {("0.0",), ("1.0",)})
        return table

    # ---- The confirmation

    @cached_property
    def _any_confirmation(self) -> Confirmation | None:
        return self._read("confirmation.yaml", Confirmation.read, None)

    @cached_property
    def is_stale(self) -> bool:
        """Whether the confirmation is of another proposal than the one at hand."""
        if self._any_confirmation is None:
            return False
        trained = self._any_confirmation.mixtures[PROPOSAL].weights
        return any(abs(trained.get(d, 0.0) - self.optimum.get(d, 0.0)) > SAME_WEIGHT for d in {*trained, *self.optimum})

    @property
    def confirmation(self) -> Confirmation | None:
        """confirmation.yaml, if it is of this proposal."""
        return None if self.is_stale else self._any_confirmation

    @property
    def confirmed(self) -> "pd.DataFrame | None":
        """confirmation.csv."""
        table, found = self._table("confirmation.csv") if self.confirmation else None, self.confirmation
        if found is not None and table is None:
            raise InputError(
                f"{self.folder / 'confirmation.csv'}: missing beside confirmation.yaml; run `proxymix confirm` again"
            )
        if table is not None and found is not None:
            pairs = table[["mixture", "seed"]].astype(str).itertuples(index=False, name=None)
            wanted = {(name, str(seed)) for name in found.mixtures for seed in found.seeds}
            self._check_rows("confirmation.csv", pairs, wanted)
            for name, mean in table.groupby("mixture")["objective"].mean().to_dict().items():
                if abs(mean - (told := found.mixtures[str(name)].measured.mean)) > 1e-9 * max(abs(told), 1.0):
                    raise InputError(
                        f"{self.folder / 'confirmation.csv'}: the objective of {name} is {mean:.6g} in the mean, and "
                        f"confirmation.yaml says {told:.6g}; run `proxymix confirm` again"
                    )
        return table

    def confirmation_runs(self, mixture: str) -> list[RunFolder]:
        """The runs that confirmed a mixture, one for each seed; those of the mixture that it equals, if it was not trained."""
        if self.confirmation is None:
            return []
        trained = self.confirmation.mixtures[mixture].same_as or mixture
        return [RunFolder(self.folder / "confirmation" / f"{trained}-s{seed}") for seed in self.confirmation.seeds]

    # ---- How it was made

    @cached_property
    def versions(self) -> dict[str, str]:
        """Name -> version of what made the study, or all versions where stages had different ones.

        The record of a stage that is damaged is named and left out: the study's results are not in it.
        """
        found: dict[str, set[str]] = {}
        for path in sorted(self.folder.glob("stages/*.json")):
            try:
                versions = read_json(path).get("versions")
            except InputError as error:
                say(f"{error}; `proxymix run` makes it again")
                continue
            for name, version in versions.items() if isinstance(versions, dict) else ():
                found.setdefault(name, set()).add(str(version))
        return {name: " and ".join(sorted(versions)) for name, versions in found.items()}

    @cached_property
    def tokenizer(self) -> dict[str, Any]:
        """What the shards' manifest says of the tokenizer."""
        path = self.folder / "tokens" / "manifest.json"
        found = read_json(path).get("tokenizer") if path.exists() else {}
        if not isinstance(found, dict):
            raise InputError(
                f"{path}: tokenizer is {found!r:.60}, so this is no token manifest; run `proxymix tokenize` again"
            )
        return found

    @cached_property
    def hashes(self) -> dict[str, str]:
        """File -> SHA-256, of the files that the report is made from."""
        return {name: sha256(self.folder / name) for name in HASHED if (self.folder / name).exists()}

    # ---- Reading

    def _read(self, name: str, read: Callable[[Path], T], otherwise: T) -> T:
        """What a file of the study holds, or something else where there is no such file."""
        return read(self.folder / name) if (self.folder / name).exists() else otherwise

    @cached_property
    def _fitted_files(self) -> dict[str, str]:
        """Table of the fit -> its SHA-256, as fit.json has it; older fits have it for few of the tables."""
        path = self.folder / "regression" / "fit.json"
        files = read_json(path).get("files") if path.exists() else None
        return {f"regression/{name}": digest for name, digest in files.items()} if isinstance(files, dict) else {}

    def _table(self, name: str) -> "pd.DataFrame | None":
        if name not in self._tables:
            self._tables[name] = self._read_table(name) if (self.folder / name).exists() else None
        return self._tables[name]

    def _read_table(self, name: str) -> "pd.DataFrame":
        """A table that a stage wrote.

        Raises:
            InputError: If a column is missing, or words or nothing stand where it holds numbers.
        """
        import pandas as pd

        path, (stage, names, numbers) = self.folder / name, TABLES[name]
        again = f"not as `proxymix {stage}` wrote it; run that again"
        if name in self._fitted_files and self._fitted_files[name] != sha256(path):
            raise InputError(f"{path}: {again} (its sha256 differs from fit.json's)")
        try:
            if not read_text(path).endswith("\n"):
                raise InputError(f"{path}: cut short, its last line has no end")
            table = read_table(path)
        except InputError as error:
            raise InputError(f"{error}; {again}") from None
        weights = [column for column in table.columns if train_domain(str(column)) is not None]
        for column in (*names.split(), *numbers.split()):
            if column not in table.columns:
                raise InputError(f"{path}: no column {column}, {again}")
        for column in (*numbers.split(), *weights):
            values = pd.to_numeric(table[column], errors="coerce")
            if not (wrong := table[column][values.isna() & (table[column].notna() | (column in weights))]).empty:
                raise InputError(f"{path}: {column} is {wrong.iloc[0]!r:.40} where a number is wanted, {again}")
        if table[names.split()].isna().any(axis=None):
            raise InputError(f"{path}: a row without {' or '.join(names.split())}, {again}")
        return table

    def _check_rows(self, name: str, found: Iterable[tuple[str, ...]], wanted: Iterable[tuple[str, ...]]) -> None:
        """Check that a table has exactly the rows that are wanted, by their keys.

        Raises:
            InputError: If it has not, as after a write that was cut short.
        """
        rows, wanted = list(found), set(wanted)
        again = f"not as `proxymix {TABLES[name][0]}` wrote it; run that again"
        if lacking := sorted(wanted - set(rows)):
            more = f"(and {len(lacking) - 1} more)"
            raise InputError(f"{self.folder / name}: no row of {', '.join(lacking[0])} {more}, {again}")
        if len(rows) > len(wanted):
            raise InputError(f"{self.folder / name}: {len(rows)} rows where {len(wanted)} are wanted, {again}")
