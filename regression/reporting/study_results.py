"""A study folder -> what it holds, for the report: every stage's files, or the lack of them."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixture_config.files.mixture import read_mixture
from proxymix.app.stages import STAGES
from proxymix.errors import InputError
from proxymix.files import read_json, read_yaml
from proxymix.messages import listed
from proxymix.schemas import Domain, loss_column, loss_domain, read_domains
from proxymix.tables import read_table
from regression.data.objective import Objective, Spec
from regression.data.runs import Runs
from regression.data.runs_table import read_runs
from regression.models.fit_files import load_fit
from regression.models.fitted import FittedModel

if TYPE_CHECKING:
    import pandas as pd


class Evidence:
    """What a study folder holds, read when it is asked for; None (or empty) where a stage has not run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("mixtures.csv", "losses.csv"):
            if not (folder / name).exists():
                raise InputError(
                    f"{folder}: no {name}, so there are no runs to report; `proxymix sweep` and `collect` make it"
                )

    def _yaml(self, name: str) -> dict[str, Any]:
        return read_yaml(self.folder / name) if (self.folder / name).exists() else {}

    def _table(self, name: str) -> "pd.DataFrame | None":
        return read_table(self.folder / name) if (self.folder / name).exists() else None

    @cached_property
    def settings(self) -> dict[str, Any]:
        """study.yaml."""
        return self._yaml("study.yaml")

    @cached_property
    def runs(self) -> Runs:
        """The sweep: mixtures and losses of every run that the fit used; without a fit, of every run that can be used."""
        if self.fit:
            return self.fit.runs
        return read_runs(self.folder / "mixtures.csv", self.folder / "losses.csv", allow_missing=True)

    @cached_property
    def fit(self) -> FittedModel | None:
        """The regression."""
        return load_fit(self.folder / "regression") if (self.folder / "regression" / "fit.json").exists() else None

    @cached_property
    def scores(self) -> "pd.DataFrame | None":
        """Cross-validation of every model tried."""
        return self._table("regression/scores.csv")

    @cached_property
    def out_of_fold(self) -> "pd.DataFrame | None":
        """Predictions of runs by fits that have not seen them."""
        return self._table("regression/predictions.csv")

    @cached_property
    def learning_curve(self) -> "pd.DataFrame | None":
        """How well fits to some of the runs rank the others."""
        return self._table("regression/learning_curve.csv")

    @cached_property
    def effects(self) -> "pd.DataFrame | None":
        """What each domain does to each target, as the regression has it."""
        return self._table("regression/effects.csv")

    def proposed(self, name: str) -> "pd.DataFrame | None":
        """A table of the folder proposal/, if that is of the mixture at hand."""
        candidates = self._table("proposal/candidates.csv")
        if candidates is None:
            return None
        first = candidates.iloc[0]  # the mixture that was proposed
        same = all(abs(first.get(f"train_{d}", 0.0) - weight) < 1e-9 for d, weight in self.optimum.items())
        return self._table(f"proposal/{name}.csv") if same else None

    @cached_property
    def catalogue(self) -> list[Domain]:
        """domains.csv."""
        path = self.folder / "domains.csv"
        return read_domains(path) if path.exists() else []

    @cached_property
    def prior(self) -> dict[str, float]:
        """Token shares."""
        return {d.domain: d.prior for d in self.catalogue}

    @cached_property
    def domains(self) -> list[str]:
        """Domains by prior, largest first; without a prior, by their mean weight in the sweep."""
        size = self.prior or dict(zip(self.runs.domains, self.runs.weights.mean(axis=0), strict=True))
        return sorted(self.runs.domains, key=lambda d: -size.get(d, 0.0))

    @cached_property
    def targets(self) -> list[str]:
        """Loss columns in the order of the domains, those that are no domain's after them."""
        order = [loss_column(d) for d in self.domains]
        return [t for t in order if t in self.runs.targets] + [t for t in self.runs.targets if t not in order]

    @cached_property
    def proposal(self) -> tuple[dict[str, float], dict[str, Any]]:
        """The optimal mixture and what its file says about it; empty without one."""
        path = self.folder / "optimal_mixture.yaml"
        return read_mixture(path) if path.exists() else ({}, {})

    @property
    def optimum(self) -> dict[str, float]:
        """The optimal mixture."""
        return self.proposal[0]

    @cached_property
    def heuristic(self) -> dict[str, float]:
        """The heuristic mixture."""
        path = self.folder / "heuristic_mixture.yaml"
        return read_mixture(path)[0] if path.exists() else {}

    @cached_property
    def confirmation(self) -> dict[str, Any]:
        """confirmation.yaml, if it is of this proposal."""
        return {} if self.stale else self._yaml("confirmation.yaml")

    @cached_property
    def stale(self) -> bool:
        """Whether the confirmation is of another proposal than the one at hand."""
        trained = self._yaml("confirmation.yaml").get("mixtures", {}).get("proposal", {}).get("weights")
        if trained is None:
            return False
        return any(abs(trained.get(d, 0.0) - self.optimum.get(d, 0.0)) > 1e-9 for d in {*trained, *self.optimum})

    @cached_property
    def confirmed(self) -> "pd.DataFrame | None":
        """confirmation.csv."""
        return self._table("confirmation.csv") if self.confirmation else None

    @cached_property
    def objective(self) -> Objective:
        """What was to be low, of the losses in the order of `runs.targets`."""
        return Objective.of(self.asked, self.runs.targets, self.runs.losses)

    @cached_property
    def objective_phrase(self) -> str:
        """The objective as a sentence uses it: 'validation loss averaged over 10 domains'."""
        weights = self.objective.weights
        used = [(loss_domain(t), float(w)) for t, w in zip(self.runs.targets, weights, strict=True) if w > 0]
        what = "validation loss" if self.of_domains else "metric"
        if self.objective.minimise in ("zscore", "worst"):
            kind = "worst" if self.objective.worst else "mean"
            over = "domains" if self.of_domains else "metrics"
            return f"{kind} z-score over {len(used)} {over} ({what} in standard deviations of the sweep)"
        if len(used) == 1:
            return f"{what} on {used[0][0]}"
        if len({weight for _, weight in used}) == 1:
            over = "domains" if self.of_domains else "targets"
            return f"{what} averaged over {f'{len(used)} {over}' if len(used) > 4 else listed([n for n, _ in used])}"
        largest = sorted(used, key=lambda item: -item[1])
        shown = ", ".join(f"{weight:.3g} {name}" for name, weight in largest[:4])
        more = f" and {len(largest) - 4} more" if len(largest) > 4 else ""
        return f"weighted {what} ({shown}{more})"

    @property
    def asked(self) -> Spec:
        """The objective as it was given: to propose, else to fit, else in the study's settings."""
        given = [
            self.proposal[1].get("objective"),
            self.fit.objective_spec if self.fit else None,
            self.settings.get("objective"),
        ]
        return next((objective for objective in given if objective), "mean")

    @cached_property
    def of_domains(self) -> bool:
        """Whether all targets are validation losses of domains, in nats per token."""
        return all(loss_domain(target) != target for target in self.runs.targets)

    @cached_property
    def loss_unit(self) -> str:
        """Of the losses; that of the objective is `objective.unit`."""
        return "nats/token" if self.of_domains else "unit of the targets"

    def objective_of(self, table: "pd.DataFrame") -> np.ndarray:
        """The objective of rows that hold loss columns."""
        return self.objective.value(table[self.runs.targets].to_numpy(dtype=float))

    @cached_property
    def budget(self) -> int | None:
        """Tokens of the final training."""
        return self.proposal[1].get("budget") or self.settings.get("budget")

    @cached_property
    def max_epochs(self) -> float | None:
        """Passes allowed over a domain."""
        return self.proposal[1].get("max_epochs") or self.settings.get("max_epochs") if self.budget else None

    @cached_property
    def run_folders(self) -> list[Path]:
        """The finished runs of the sweep."""
        return sorted(path.parent for path in self.folder.glob("proxies/*/manifest.yaml"))

    @cached_property
    def records(self) -> list[dict[str, Any]]:
        """What each stage was made from and with, in the order of the stages."""
        paths = [self.folder / "stages" / f"{stage.name}.json" for stage in STAGES]
        return [read_json(path) for path in paths if path.exists()]
