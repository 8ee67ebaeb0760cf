"""The stages of the main job, in order: the function behind each, and where its files lie in a study.

A stage is named by text ("package.module:function"), so that nothing is imported before it is needed and `proxymix`
imports no package below it. Its parameters are its settings; those listed in `files` are paths in the study folder.
"""

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxymix.errors import InputError
from proxymix.progress import say


@dataclass(frozen=True)
class Stage:
    """One command, and one step of `proxymix run` when `in_study`.

    Args:
        name: The command.
        function: "package.module:function".
        help: What it turns into what, in a line.
        files: Parameter -> path in the study folder.
        writes: Those of `files` that the stage writes; the others it reads.
        section: The section of a study's YAML that holds its settings; empty when it has none of its own.
        answers: Parameters that only shape what a terminal shows, or ask for more than a study holds, and so are no
            settings of one.
        shares: Parameter -> the setting of another stage that fills it in a study.
        positional: The parameter given without a flag, if any.
        in_study: Whether `proxymix run` runs it.
    """

    name: str
    function: str
    help: str
    files: Mapping[str, str] = field(default_factory=dict)
    writes: tuple[str, ...] = ()
    section: str = ""
    answers: tuple[str, ...] = ()
    shares: Mapping[str, str] = field(default_factory=dict)
    positional: str = ""
    in_study: bool = True

    @property
    def settings_section(self) -> str:
        """The key of its renamed settings: its section, or its name where it has none."""
        return self.section or self.name

    def load(self) -> Callable[..., None]:
        """The stage's function (imports its module)."""
        module, name = self.function.split(":")
        return typing.cast(Callable[..., None], getattr(importlib.import_module(module), name))


STAGES = (
    Stage("harvest", "data_preparation.harvest:harvest", "real text found on this machine -> a corpus of domains",
          files={"out": "corpus"}, writes=("out",), section="corpus"),
    Stage("tokenize", "data_preparation.tokenization:tokenize", "a corpus -> token shards (trains a BPE unless given one)",
          files={"input": "corpus", "out": "tokens"}, writes=("out",), section="tokenize"),
    Stage("count", "data_preparation.count:count", "token shards -> domains.csv with the prior",
          files={"tokens": "tokens", "out": "domains.csv"}, writes=("out",)),
    Stage("baseline", "mixture_config.baseline:baseline", "token counts -> the heuristic mixture",
          files={"counts": "domains.csv", "out": "heuristic_mixture.yaml"}, writes=("out",), section="baseline",
          answers=("summary", "path", "json")),
    Stage("synthesize", "mixture_config.synthesize:synthesize", "domains -> mixtures to train proxies on",
          files={"domains": "domains.csv", "out": "."}, writes=("mixtures", "mixtures.csv", "holdout"),
          section="synthesize", answers=("extend",)),
    Stage("sweep", "proxy_training.sweep:sweep", "mixtures + token shards -> a trained proxy for each",
          files={"mixtures": "mixtures", "tokens": "tokens", "out": "proxies"}, writes=("out",), section="sweep"),
    Stage("collect", "proxy_training.collect:collect", "run folders (or wandb files) -> losses.csv",
          files={"proxies": "proxies", "mixtures": "mixtures.csv", "out": "."}, writes=("losses.csv",), section="collect"),
    Stage("rounds", "regression.rounds:rounds", "further rounds of proxies, each decided by the runs before it",
          files={"mixtures": "mixtures.csv", "losses": "losses.csv", "domains": "domains.csv", "tokens": "tokens",
                 "out": "rounds"}, writes=("out",), section="rounds",
          shares={name: f"propose.{name}" for name in ("limits", "groups", "max_distance", "max_domains")}),
    Stage("fit", "regression.fit:fit", "mixtures + losses -> a regression, chosen by cross-validation",
          files={"mixtures": "mixtures.csv", "losses": "losses.csv", "out": "regression"}, writes=("out",), section="fit"),
    Stage("propose", "regression.propose:propose", "a regression -> the best mixture that the data can feed",
          files={"fit": "regression", "domains": "domains.csv", "heuristic": "heuristic_mixture.yaml", "tokens": "tokens",
                 "out": "optimal_mixture.yaml", "details": "proposal"}, writes=("out", "details"), section="propose",
          answers=("next", "next_out", "pick")),
    Stage("confirm", "regression.confirm:confirm", "trains at the proposal and at every baseline, over fresh seeds",
          files={"fit": "regression", "proposal": "optimal_mixture.yaml", "heuristic": "heuristic_mixture.yaml",
                 "domains": "domains.csv", "tokens": "tokens", "proxies": "confirmation", "out": "confirmation.csv"},
          writes=("proxies", "out", "confirmation.yaml"), section="confirm"),
    Stage("report", "regression.report:report", "a study -> one page for a colleague",
          files={"study": ".", "out": "report"}, writes=("out",), section="report"),
    Stage("visualize", "mixture_config.visualize:visualize", "a sweep, or a few mixtures -> pictures and their tables",
          files={"mixtures": "mixtures.csv", "domains": "domains.csv", "out": "figures"}, writes=("out",), in_study=False),
    Stage("train", "proxy_training.train:train", "trains the listed runs in this process",
          files={"mixtures": "mixtures", "tokens": "tokens", "out": "proxies"}, in_study=False),
    Stage("cost", "proxy_training.cost:cost", "settings of a sweep -> its FLOP, bytes, parameters, time and money",
          files={"tokens": "tokens", "mixtures": "mixtures"}, shares={"num_runs": "synthesize.num_mixtures"},
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
    Stage("check", "data_preparation.check:check", "verifies token shards against their manifest",
          files={"tokens": "tokens"}, positional="tokens", in_study=False),
)  # fmt: skip

# Settings that several stages share stand once, at the top level of a study's YAML: its key -> the parameters it fills.
SHARED = {
    "seed": ("seed",),
    "budget": ("budget", "training_tokens"),
    "max_epochs": ("max_epochs",),
    "objective": ("objective",),
    "workers": ("workers",),
    "wandb": ("wandb",),
}
SHARED_KEY = {parameter: key for key, parameters in SHARED.items() for parameter in parameters}


RENAMED: dict[str, dict[str, str]] = {
    "train": {"stack": "models_per_process"},
}
"""Section of a study's YAML (or a stage's name where it has none) -> old name of a setting -> its name today.

The old name is still read, as a flag and in a YAML, with a note on stderr.
"""


_NOTED: set[str] = set()


def old_keys(sections: Iterable[str], own: str = "") -> dict[str, str]:
    """Old key -> key of today, dotted; the settings of the section `own` stand without its name."""
    return {
        (old if section == own else f"{section}.{old}"): (new if section == own else f"{section}.{new}")
        for section in {*sections}
        for old, new in RENAMED.get(section, {}).items()
    }


def renamed(values: Mapping[str, Any], old: Mapping[str, str], source: str) -> dict[str, Any]:
    """`values` under the keys of today; each old key is noted once on stderr.

    Args:
        values: Key -> value.
        old: Old key -> key of today.
        source: Where the values come from, for the note.

    Raises:
        InputError: If both the old and the new key of a setting are there.
    """
    current: dict[str, Any] = {}
    for key, value in values.items():
        new = old.get(key, key)
        if new != key:
            if new in values:
                raise InputError(f"{source}: both {key} and {new} are given; {key} is the old name of {new}, remove it")
            note_old_name(source, key, new)
        current[new] = value
    return current


def note_old_name(source: str, old: str, new: str) -> None:
    """Say once on stderr that a setting has another name today."""
    if (note := f"{source}: {old} is called {new} today; the old name is still read") not in _NOTED:
        _NOTED.add(note)
        say(note)


@dataclass(frozen=True)
class Parameter:
    """A parameter of a stage function: its type, its default (or REQUIRED), and its line of the docstring.

    Args:
        name: The parameter, or the field of a flat dataclass.
        type: Its type.
        default: Its default; inspect.Parameter.empty when there is none.
        help: What its docstring says.
        part_of: The dataclass parameter that it is a field of, if that is flat.
    """

    name: str
    type: Any
    default: Any
    help: str
    part_of: str = ""

    @property
    def required(self) -> bool:
        """Whether the caller must give it."""
        return self.default is inspect.Parameter.empty

    @property
    def is_section(self) -> bool:
        """Whether it is a dataclass of settings, shared by stages as a section of its own."""
        return dataclasses.is_dataclass(self.type)


def parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    """The parameters of a stage function, or the fields of a settings dataclass, in order.

    The fields of a dataclass that says `FLAT = True` stand among the parameters, in its place.
    """
    found: dict[str, Parameter] = {}
    for name, parameter in _signature(function).items():
        if not _is_flat(parameter.type):
            found[name] = parameter
            continue
        for key, field_ in _signature(parameter.type).items():
            default = field_.default if parameter.required else getattr(parameter.default, key)
            found[key] = dataclasses.replace(field_, default=default, part_of=name)
    return found


def bound(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of `parameters(function)` -> the function's arguments: flat dataclasses are built."""
    arguments: dict[str, Any] = {}
    parts: dict[str, dict[str, Any]] = {}
    wanted = parameters(function)
    for name, value in values.items():
        if name in wanted and wanted[name].part_of:
            parts.setdefault(wanted[name].part_of, {})[name] = value
        else:
            arguments[name] = value
    if not parts:
        return arguments
    signature = _signature(function)
    for name, fields in parts.items():
        default = signature[name].default
        made = signature[name].type(**fields) if signature[name].required else dataclasses.replace(default, **fields)
        arguments[name] = made
    return arguments


def _is_flat(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) and bool(getattr(kind, "FLAT", False))


def _signature(function: Callable[..., Any]) -> dict[str, Parameter]:
    import docstring_parser

    hints = typing.get_type_hints(function if not isinstance(function, type) else vars(function)["__init__"])
    documented = {
        p.arg_name: (p.description or "").strip() for p in docstring_parser.parse(function.__doc__ or "").params
    }
    return {
        name: Parameter(name, hints.get(name, Any), parameter.default, documented.get(name, ""))
        for name, parameter in inspect.signature(function).parameters.items()
    }


def stage_named(name: str) -> Stage:
    """The stage with this command name."""
    return next(stage for stage in STAGES if stage.name == name)
