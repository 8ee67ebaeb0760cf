"""What calls from Python return: the files that a command would have written, in memory, and their tables.

Printing one says what was found, in a notebook as tables. `save` writes the files.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from mixture_config.files.mixture import Mixture, train_domain
from proxymix.app.shown import bars, html_page, html_table
from proxymix.errors import InputError
from proxymix.files import parse_json, remove, replacing
from proxymix.tables import read_table
from regression.data.objective import Objective
from regression.models.fit_files import load_fit
from regression.models.fitted import FittedModel
from regression.search.proposal import Estimate, Proposal

if TYPE_CHECKING:
    import pandas as pd

    PathLike = str | Path

COLUMNS = {
    "weight": "weight",
    "low": "weight_low",
    "high": "weight_high",
    "prior": "prior",
    "tokens": "tokens",
    "epochs": "epochs",
    "cap": "epochs_cap",
}
"""Columns of a proposal's tables of weights and epochs -> their names where they stand together."""


@dataclass(frozen=True, repr=False, eq=False)
class FitResult:
    """A regression of every target on the mixture.

    Attributes:
        files: Name -> content of the files that `proxymix fit` writes.
        tables: Those that are tables, by name: scores (of every model on every target), predictions (of held-out runs),
            learning_curve, effects, runs, and test_scores where test runs were given.
    """

    files: Mapping[str, bytes]
    tables: "Mapping[str, pd.DataFrame]"

    @classmethod
    def read(cls, folder: "PathLike") -> Self:
        """The fit in a folder that `proxymix fit` wrote.

        Raises:
            InputError: If it holds none, or a table is damaged.
        """
        folder = Path(folder)
        if not (folder / "fit.json").exists():
            raise InputError(f"{folder}: no fit.json, so no finished fit; call proxymix.fit, or run `proxymix fit`")
        files = {"fit.json": (folder / "fit.json").read_bytes()}
        files = {name: (folder / name).read_bytes() for name in parse_json(files["fit.json"])["files"]} | files
        return cls(files, {Path(n).stem: read_table(folder / n) for n in files if n.endswith(".csv")})

    @cached_property
    def content(self) -> dict[str, Any]:
        """What fit.json says: settings, versions, hashes of the inputs."""
        return dict(parse_json(self.files["fit.json"]))

    @cached_property
    def fitted(self) -> FittedModel:
        """The fitted model itself, with `predict`, `predict_objective` and `posterior_samples`."""
        with tempfile.TemporaryDirectory(prefix="proxymix-") as folder:
            return load_fit(self.save(folder))

    @property
    def model(self) -> str:
        """The regressor that was chosen."""
        return str(self.content["model"])

    @property
    def objective(self) -> str:
        """What the model was chosen by, in words."""
        losses = self.tables["runs"][self.targets].to_numpy(dtype=float)
        return Objective.of(self.content["objective"], self.targets, losses).describe()

    @property
    def domains(self) -> list[str]:
        """The domains of a mixture."""
        return list(self.content["domains"])

    @property
    def targets(self) -> list[str]:
        """The losses that are predicted."""
        return list(self.content["targets"])

    @property
    def scores(self) -> "pd.DataFrame":
        """How well every model ranks and predicts the objective of held-out runs, best first. The index is the model."""
        scores = self.tables["scores"]
        scores = scores[scores["target"] == "objective"].drop(columns="target").set_index("model")
        return scores.dropna(axis="columns", how="all").sort_values("spearman", ascending=False)

    def save(self, folder: "PathLike") -> Path:
        """Write the fit, as `proxymix fit --out FOLDER` does; returns the folder."""
        folder = Path(folder).expanduser()
        remove(folder / "fit.json")
        _write({folder / name: content for name, content in self.files.items()})  # fit.json is the last
        return folder

    def __repr__(self) -> str:
        return f"{self._headline()}\n\n{self._shown_scores().to_string()}"

    def _repr_html_(self) -> str:
        return html_page(self._headline(), html_table(self._shown_scores(), marked=self.model))

    def _shown_scores(self) -> "pd.DataFrame":
        scores = self.scores
        return scores[[column for column in scores.columns if not column.endswith("_sd")]].round(4)

    def _headline(self) -> str:
        num = f"{len(self.tables['runs'])} runs, {len(self.domains)} domains, {len(self.targets)} targets"
        spearman = f"Spearman {self.scores['spearman'][self.model]:.3f} on held-out runs ({self.objective})"
        doubt = "" if self.content["ranks"] else "; no better than by chance"
        return f"Fit of {num}: {self.model}, {spearman}{doubt}"


@dataclass(frozen=True, repr=False, eq=False)
class MixtureResult:
    """One mixture.

    Attributes:
        weights: Domain -> weight, of sum 1.
        table: What is known of each domain, by name: its weight, and of a proposal the interval of the weight, the prior,
            tokens, epochs and their cap.
        extra: What else the mixture's YAML says.
        files: Path beside the mixture's YAML -> content. The YAML itself has the path "".
    """

    weights: dict[str, float]
    table: "pd.DataFrame"
    extra: dict[str, Any] = field(default_factory=dict)
    files: Mapping[str, bytes] = field(default_factory=dict)

    @classmethod
    def read(cls, path: "PathLike") -> Self:
        """The mixture in a YAML.

        Raises:
            InputError: If there is none.
        """
        import pandas as pd

        mixture = Mixture.read(Path(path))
        columns = {"weight": mixture.weights} | {
            name: mixture.extra[name] for name in ("epochs",) if isinstance(mixture.extra.get(name), Mapping)
        }
        table = pd.DataFrame(columns, index=pd.Index(mixture.weights, name="domain"))
        return cls(mixture.weights, table, mixture.extra, {"": Path(path).read_bytes()})

    def save(self, path: "PathLike") -> Path:
        """Write the mixture's YAML, and what belongs to it beside it; returns the path."""
        path = Path(path).expanduser()
        _write({path.parent / name.format(stem=path.stem) if name else path: c for name, c in self.files.items()})
        return path

    def __repr__(self) -> str:
        return "\n".join([self._headline(), *bars(self.weights), *self._remarks()])

    def _repr_html_(self) -> str:
        shown = self.table.sort_values("weight", ascending=False)
        return html_page(self._headline(), html_table(shown, bar_of="weight"), *self._remarks())

    def _headline(self) -> str:
        return f"Mixture of {len(self.weights)} domains ({self.extra.get('method', 'weights')})"

    def _remarks(self) -> list[str]:
        return []


@dataclass(frozen=True, repr=False, eq=False)
class ProposalResult(MixtureResult):
    """The mixture that a search proposes.

    Attributes:
        proposal: What the YAML says: prediction, baselines, verdict, epochs, caps, provenance.
        tables: The tables beside it by name: gains (over every baseline), candidates, line, and where they were asked for
            weights, near_optimal, epochs.
        next: Mixtures worth training next, where `num_next` asked for them.
    """

    proposal: Proposal = field(default_factory=lambda: Proposal({}))
    tables: "Mapping[str, pd.DataFrame]" = field(default_factory=dict)
    next: "SweepResult | None" = None

    @classmethod
    def read(cls, path: "PathLike", details: "PathLike | None" = None, has_next: bool = False) -> Self:
        """The proposal in a YAML that `proxymix propose` wrote.

        Args:
            path: The YAML.
            details: The folder of its tables; beside it and named after it unless given.
            has_next: Whether mixtures worth training next are in the folder next beside it.

        Raises:
            InputError: If there is none.
        """
        path = Path(path)
        mixture = MixtureResult.read(path)
        found = sorted((Path(details) if details is not None else path.with_suffix("")).glob("*.csv"))
        tables, table = {file.stem: read_table(file) for file in found}, mixture.table
        for more in (tables[name].set_index("domain") for name in ("weights", "epochs") if name in tables):
            table = table.join(more[[column for column in more.columns if column not in table.columns]])
        table = table[[column for column in COLUMNS if column in table.columns]].rename(columns=COLUMNS)
        files = {**mixture.files, **{f"{{stem}}/{file.name}": file.read_bytes() for file in found}}
        following = SweepResult.read(path.with_name("next")) if has_next else None
        if following is not None:
            files |= {f"next/{name}": content for name, content in following.files.items()}
        return cls(mixture.weights, table, mixture.extra, files, Proposal.read(path), tables, following)

    @property
    def gains(self) -> "pd.DataFrame":
        """How much lower the objective is predicted to be than at every baseline. The index is the baseline."""
        return self.tables["gains"].set_index("baseline")

    @property
    def verdict(self) -> str:
        """Which baselines the proposal is predicted to be better than, in words."""
        return self.proposal.verdict or ""

    def _headline(self) -> str:
        return f"Proposal for {self.proposal.asked}: {self.verdict}"

    def _remarks(self) -> list[str]:
        found = self.proposal
        level = "" if found.confidence is None else f"{100 * found.confidence:g}%: "
        lines = [f"predicted {_interval(found.predicted, level, '')}"] if found.predicted is not None else []
        lines += [f"gain over {name}: {_interval(e.gain, level, '+')}" for name, e in (found.baselines or {}).items()]
        if found.budget_assumed:
            lines.append(f"for a budget of {found.budget:,} tokens, which was assumed; give your own")
        if (found.support or {}).get("far_from_runs"):
            lines.append("far from every run, so little is known there; train some runs there first")
        return lines


@dataclass(frozen=True, repr=False, eq=False)
class SweepResult:
    """Mixtures to train proxies on.

    Attributes:
        table: One mixture a row, one column train_<domain> a domain. The index is the run's number.
        settings: How they were drawn.
        files: Path in the sweep's folder -> content: mixtures/n00001.yaml and so on, mixtures.csv.
        holdout: Further mixtures for testing a regression, where they were asked for.
    """

    table: "pd.DataFrame"
    settings: dict[str, Any]
    files: Mapping[str, bytes]
    holdout: "pd.DataFrame | None" = None

    @classmethod
    def read(cls, folder: "PathLike") -> Self:
        """The sweep in a folder that `proxymix synthesize` wrote.

        Raises:
            InputError: If it holds none.
        """
        folder = Path(folder)
        table = read_table(folder / "mixtures.csv").set_index("index")
        yamls = sorted(folder.glob("mixtures/n*.yaml"))
        held_out = folder / "holdout" / "mixtures.csv"
        others = [*sorted(folder.glob("holdout/mixtures/n*.yaml")), held_out] if held_out.exists() else []
        paths = [*yamls, *others, folder / "mixtures.csv"]
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}
        settings = {key: value for key, value in Mixture.read(yamls[0]).extra.items() if key != "valid"}
        return cls(table, settings, files, read_table(held_out).set_index("index") if others else None)

    def save(self, folder: "PathLike") -> Path:
        """Write the mixtures, as `proxymix synthesize --out FOLDER` does; returns the folder.

        Raises:
            InputError: If it holds other mixtures.
        """
        folder = Path(folder).expanduser()
        there = [name for name in ("mixtures", "mixtures.csv") if (folder / name).exists()]
        if there:
            raise InputError(f"{folder}: holds {there[0]} already; choose another folder")
        _write({folder / name: content for name, content in self.files.items()})
        return folder

    def __repr__(self) -> str:
        return f"{self._headline()}\n\n{self._weights().describe().loc[['min', 'mean', 'max']].T.round(4).to_string()}"

    def _repr_html_(self) -> str:
        return html_page(
            self._headline(), html_table(self._weights().describe().loc[["min", "mean", "max"]].T.round(4))
        )

    def _weights(self) -> "pd.DataFrame":
        return self.table.rename(columns=lambda column: train_domain(column) or column)

    def _headline(self) -> str:
        held = "" if self.holdout is None else f" and {len(self.holdout)} held out"
        return f"{len(self.table)} mixtures{held} of {self.table.shape[1]} domains, seed {self.settings.get('seed')}"


def _interval(found: Estimate, level: str, sign: str) -> str:
    return f"{found.mean:{sign}.4f} ({level}{found.low:{sign}.4f} to {found.high:{sign}.4f})"


def _write(contents: Mapping[Path, bytes]) -> None:
    """Write files, each whole or not at all, in this order."""
    for path, content in contents.items():
        with replacing(path) as temporary:
            temporary.write_bytes(content)
