"""The table of stages, in the order of the main job: the function behind each, and where its files lie in a study.

A stage is named by text ("package.module:function"), so that nothing is imported before it is needed. Its parameters
are its settings, except for those listed in `files`, which are paths in the study folder.
"""

import importlib
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Training:
    """The proxies that a stage trains in a study.

    Args:
        runs: Pattern of their folders in the study.
        planned: Configuration of the study (dotted keys) -> how many proxies the stage trains.
        at_most: Whether `planned` is an upper bound only.
        mixtures: Pattern of the mixture files in the study, where there is one for each run.
    """

    runs: str
    planned: Callable[[Mapping[str, Any]], int]
    at_most: bool = False
    mixtures: str = ""


def _always(config: Mapping[str, Any]) -> bool:
    return True


def _as_listed(study: Path, config: Mapping[str, Any]) -> dict[str, Path | None]:
    return {}


@dataclass(frozen=True)
class Stage:
    """One command, and one step of `proxymix run` when `in_study`.

    Args:
        name: The command.
        function: "package.module:function".
        help: What it turns into what, in a line.
        files: Parameter -> path in the study folder.
        writes: What the stage writes: parameters among `files`, or paths in the study folder. It reads the other `files`.
        may_write: Those of `writes` that it writes only if asked to.
        section: The section of a study's YAML that holds its settings; empty when it has none of its own.
        display_only: Parameters that only shape what a terminal shows, or ask for more than a study holds. They are no
            settings of a study.
        taken_from: Parameter -> the setting of another stage that fills it in a study.
        positional: The parameter given without a flag, if any.
        in_study: Whether `proxymix run` runs it.
        needed: Configuration (dotted keys) -> whether a study so configured needs the stage.
        other_files: Study folder and configuration -> the parameters whose files lie elsewhere than `files` says, or
            which have no file (None).
        training: The proxies that the stage trains, if it trains any.
    """

    name: str
    function: str
    help: str
    files: Mapping[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    may_write: tuple[str, ...] = ()
    section: str = ""
    display_only: tuple[str, ...] = ()
    taken_from: Mapping[str, str] = field(default_factory=dict)
    positional: str = ""
    in_study: bool = True
    needed: Callable[[Mapping[str, Any]], bool] = _always
    other_files: Callable[[Path, Mapping[str, Any]], Mapping[str, Path | None]] = _as_listed
    training: Training | None = None

    def load(self) -> Callable[..., None]:
        """The stage's function (imports its module)."""
        module, name = self.function.split(":")
        return typing.cast(Callable[..., None], getattr(importlib.import_module(module), name))

    @property
    def settings_section(self) -> str:
        """The key of the stage in RENAMED: its section, or its name where it has none."""
        return self.section or self.name


def further_rounds(config: Mapping[str, Any]) -> int:
    """How many rounds of proxies follow the sweep."""
    return max(int(config.get("rounds.num_rounds") or 1) - 1, 0)


def _given_corpus(study: Path, config: Mapping[str, Any]) -> dict[str, Path | None]:
    given = config.get("corpus.path")
    return {"input": Path(str(given))} if given else {}


def _tables_of_all_rounds(study: Path, config: Mapping[str, Any]) -> dict[str, Path | None]:
    """The rounds end with tables of all runs; without further rounds there are only the sweep's."""
    if not further_rounds(config):
        return {"further_proxies": None}
    return {name: study / "rounds" / f"{name}.csv" for name in ("mixtures", "losses")}


MAX_CONFIRMED = 5
"""Most mixtures that are confirmed: the proposal, the prior, the heuristic, the uniform one, and the best one seen."""

STAGES = (
    Stage("harvest", "data_preparation.harvest:harvest", "real text found on this machine -> a corpus of domains",
          files={"out": "corpus"}, writes=("out",), section="corpus",
          needed=lambda config: not config.get("corpus.path")),
    Stage("tokenize", "data_preparation.tokenization:tokenize", "a corpus -> token shards (trains a BPE unless given one)",
          files={"input": "corpus", "out": "tokens"}, writes=("out",), section="tokenize", other_files=_given_corpus),
    Stage("count", "data_preparation.count:count", "token shards -> domains.csv with the prior",
          files={"tokens": "tokens", "out": "domains.csv"}, writes=("out",), section="corpus"),
    Stage("baseline", "mixture_config.baseline:baseline", "token counts -> the heuristic mixture",
          files={"domains": "domains.csv", "out": "heuristic_mixture.yaml"}, writes=("out",), section="baseline",
          display_only=("summary", "path", "json")),
    Stage("synthesize", "mixture_config.synthesize:synthesize", "domains -> mixtures to train proxies on",
          files={"domains": "domains.csv", "out": "."}, writes=("mixtures", "mixtures.csv", "holdout"),
          may_write=("holdout",),
          section="synthesize", display_only=("extend",)),
    Stage("sweep", "proxy_training.sweep:sweep", "mixtures + token shards -> a trained proxy for each",
          files={"mixtures": "mixtures", "tokens": "tokens", "out": "proxies"}, writes=("out",), section="sweep",
          training=Training("proxies/n*", lambda config: int(config["synthesize.num_mixtures"]),
                            mixtures="mixtures/n*.yaml")),
    Stage("collect", "proxy_training.collect:collect", "run folders (or wandb files) -> losses.csv",
          files={"proxies": "proxies", "mixtures": "mixtures.csv", "out": "."}, writes=("losses.csv",), section="collect"),
    Stage("rounds", "regression.rounds:rounds", "further rounds of proxies, each decided by the runs before it",
          files={"mixtures": "mixtures.csv", "losses": "losses.csv", "domains": "domains.csv", "tokens": "tokens",
                 "out": "rounds"}, writes=("out",), section="rounds",
          taken_from={name: f"propose.{name}" for name in ("limits", "groups", "max_distance", "max_domains")},
          needed=lambda config: further_rounds(config) > 0,
          training=Training("rounds/proxies/n*",
                            lambda config: further_rounds(config) * int(config["rounds.num_mixtures"]))),
    Stage("fit", "regression.fit:fit", "mixtures + losses -> a regression, chosen by cross-validation",
          files={"mixtures": "mixtures.csv", "losses": "losses.csv", "proxies": "proxies",
                 "further_proxies": "rounds/proxies", "out": "regression"}, writes=("out",), section="fit",
          other_files=_tables_of_all_rounds),
    Stage("propose", "regression.propose:propose", "a regression -> the best mixture that the data can feed",
          files={"fit": "regression", "domains": "domains.csv", "heuristic": "heuristic_mixture.yaml", "tokens": "tokens",
                 "out": "optimal_mixture.yaml", "details": "proposal"}, writes=("out", "details"), section="propose",
          taken_from={"budget_assumed": "budget_assumed"}, display_only=("num_next", "next_out", "acquisition")),
    Stage("confirm", "regression.confirm:confirm", "trains at the proposal and at every baseline, over fresh seeds",
          files={"fit": "regression", "proposal": "optimal_mixture.yaml", "heuristic": "heuristic_mixture.yaml",
                 "domains": "domains.csv", "tokens": "tokens", "proxies": "confirmation", "out": "confirmation.csv"},
          writes=("proxies", "out", "confirmation.yaml"), section="confirm",
          training=Training("confirmation/*", lambda config: MAX_CONFIRMED * int(config["confirm.num_seeds"]),
                            at_most=True)),
    Stage("report", "regression.report:report", "a study -> one page for a colleague",
          files={"study": ".", "out": "report"}, writes=("out",), section="report"),
    Stage("visualize", "mixture_config.visualize:visualize", "a sweep, or a few mixtures -> figures and their tables",
          files={"mixtures": "mixtures.csv", "domains": "domains.csv", "out": "figures"}, writes=("out",), in_study=False),
    Stage("train", "proxy_training.train:train", "trains the listed runs in this process",
          files={"mixtures": "mixtures", "tokens": "tokens", "out": "proxies"}, in_study=False),
    Stage("cost", "proxy_training.cost:cost", "settings of a sweep -> its FLOP, bytes, parameters, time and money",
          files={"tokens": "tokens", "mixtures": "mixtures"}, taken_from={"num_runs": "synthesize.num_mixtures"},
          in_study=False),
    Stage("predict", "regression.predict:predict", "a regression + mixtures -> predicted losses",
          files={"fit": "regression"}, in_study=False),
    Stage("scales", "regression.scales:scales", "the same mixtures at several sizes -> rank agreement, a larger size's losses",
          in_study=False),
    Stage("reuse", "regression.reuse:reuse", "old runs + what became of their domains -> runs that still count",
          files={"mixtures": "mixtures.csv", "losses": "losses.csv", "old_domains": "domains.csv",
                 "old_tokens": "tokens"}, in_study=False),
    Stage("expand", "regression.expand:expand", "mixtures over frozen and changed domains -> over all domains",
          in_study=False),
    Stage("export", "mixture_config.export:export", "a mixture -> a trainer's own data configuration",
          files={"mixture": "optimal_mixture.yaml", "domains": "domains.csv"}, in_study=False),
    Stage("check", "data_preparation.check:check", "a study or token shards -> which files are damaged, and what mends them",
          files={"tokens": "tokens"}, positional="tokens", in_study=False),
)  # fmt: skip

SHARED_SETTINGS = {
    "seed": ("seed",),
    "budget": ("budget",),
    "max_epochs": ("max_epochs",),
    "objective": ("objective",),
    "workers": ("workers",),
    "wandb": ("wandb",),
}
"""Settings that several stages share stand once, at the top level of a study's YAML: key -> the parameters it fills."""

RENAMED: dict[str, dict[str, str]] = {
    "baseline": {"counts": "domains", "training_tokens": "budget"},
    "synthesize": {
        "min_strength": "min_concentration",
        "max_strength": "max_concentration",
        "minimum": "min_weight",
    },
    "train": {"stack": "models_per_process"},
    "rounds": {"pick": "acquisition"},
    "propose": {"top": "num_averaged", "caution": "risk_aversion", "next": "num_next", "pick": "acquisition"},
}
"""Section of a study's YAML (or a stage's name where it has none) -> old name of a setting -> its name today.

The old name is still read, as a flag and in a YAML, with a note on stderr.
"""

ALIASES = {
    "run": {"corpus": "corpus.path", "input": "corpus.path", "counts": "corpus.counts"},
    "tokenize": {"corpus": "input", "corpus.path": "input"},
}
"""Command -> flag that stands for another one, because the same thing has that name elsewhere."""

RETIRED = ("fit.proxies",)
"""Settings of older versions that are none today; in a YAML they are passed over with a note."""


def shared_key(parameter: str) -> str | None:
    """The top-level key that fills a parameter; None for a setting of one stage alone."""
    return next((key for key, names in SHARED_SETTINGS.items() if parameter in names), None)


def stage_named(name: str) -> Stage:
    """The stage with this command name."""
    return next(stage for stage in STAGES if stage.name == name)
