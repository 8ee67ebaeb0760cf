"""What `--help` shows of a command: examples, and which settings come first."""

from collections.abc import Iterable, Mapping

from proxymix.app.parameters import Parameter
from proxymix.app.stages import STAGES, Stage, shared_key

FIRST_OF_A_STUDY = (
    "study",
    "corpus.path",
    "corpus.counts",
    "objective",
    "budget",
    "max_epochs",
    "synthesize.num_mixtures",
    "train.model",
    "train.tokens",
    "confirm.num_seeds",
    "workers",
)
"""The settings of a study that matter most."""

FIRST: dict[str, tuple[str, ...]] = {
    "tokenize": ("tokenizer", "vocab_size"),
    "count": ("counts", "multiplier"),
    "baseline": ("budget", "method", "max_epochs"),
    "synthesize": ("num_mixtures", "budget", "max_epochs", "limits", "groups", "include", "seed"),
    "sweep": ("train.model", "train.tokens", "workers"),
    "rounds": ("num_rounds", "num_mixtures", "objective", "budget", "max_epochs"),
    "fit": ("objective", "model", "targets"),
    "propose": ("objective", "budget", "max_epochs", "limits", "num_next"),
    "confirm": ("num_seeds", "objective", "workers"),
    "train": ("runs", "train.model", "train.tokens", "devices", "save"),
    "cost": ("train.model", "train.tokens", "num_runs", "device", "price", "calibrate"),
    "export": ("to", "paths"),
}
"""Command -> its settings that matter most, where there are many."""

EXAMPLES: dict[str, tuple[str, ...]] = {
    "run": (
        "proxymix run --config configs/quickstart.yaml --corpus.path MYDATA --study studies/mine --dry_run",
        "proxymix run --config configs/quickstart.yaml --corpus.path MYDATA --study studies/mine --budget 25B",
        "proxymix run --study studies/mine",
        "proxymix run --study studies/mine --synthesize.num_mixtures 96",
    ),
    "init": ("proxymix init MYDATA --out my_study.yaml", "proxymix init MYDATA --study studies/mine --budget 25B"),
    "harvest": ("proxymix harvest --out corpus --megabytes 26",),
    "tokenize": ("proxymix tokenize --input MYDATA --out tokens --vocab_size 4096",),
    "count": ("proxymix count --tokens tokens --out domains.csv --multiplier '{web: 1000, code: 50}'",),
    "baseline": (
        "proxymix baseline --domains domains.csv --budget 400B --method temperature --out heuristic_mixture.yaml",
    ),
    "synthesize": (
        "proxymix synthesize --domains domains.csv --num_mixtures 64 --budget 400B --limits '{code: {min: 0.1}}' --out DIR",
    ),
    "sweep": (
        "proxymix sweep --study studies/mine",
        "proxymix sweep --mixtures DIR/mixtures --tokens tokens --out proxies --train.model 1m --train.tokens 10M",
    ),
    "collect": ("proxymix collect --study studies/mine", "proxymix collect --proxies proxies --out DIR"),
    "rounds": ("proxymix rounds --study studies/mine --num_rounds 3",),
    "fit": (
        "proxymix fit --mixtures mixtures.csv --losses losses.csv --out fit",
        "proxymix fit --study studies/mine --model lightgbm",
    ),
    "propose": (
        "proxymix propose --fit fit --domains domains.csv --budget 25B --max_epochs 4 --out optimal_mixture.yaml",
        "proxymix propose --study studies/mine --objective '{law: 0.7, code: 0.3}' --out law.yaml",
    ),
    "confirm": ("proxymix confirm --study studies/mine --num_seeds 6",),
    "report": ("proxymix report --study studies/mine",),
    "visualize": ("proxymix visualize --mixtures mixtures.csv --domains domains.csv --budget 400B --out figures",),
    "train": (
        "proxymix train --mixtures optimal_mixture.yaml --tokens tokens --out TARGET --save --devices 8 --train.model 1b",
    ),
    "cost": (
        "proxymix cost --config configs/regmix_1m.yaml --vocabulary 50432 --num_domains 17 --device h200 --price 3",
        "proxymix cost --study studies/mine --calibrate",
    ),
    "predict": ("proxymix predict --fit fit --mixtures other_mixtures.csv --out predictions.csv",),
    "scales": (
        "proxymix scales --config scales.yaml --out scales",
        "proxymix scales --scales '{1m: studies/small, 60m: studies/large}' --out scales",
    ),
    "reuse": (
        "proxymix reuse --study studies/old --domains new_domains.csv --split '{web: [news, forums]}' --out reused",
    ),
    "expand": ("proxymix expand --mixtures mixtures.csv --frozen frozen.yaml --out expanded.csv",),
    "export": ("proxymix export --mixture optimal_mixture.yaml --to megatron --paths 'data/{domain}_text_document'",),
    "check": ("proxymix check studies/mine", "proxymix check studies/mine/tokens"),
}
"""Command -> commands to copy."""


def examples(command: str) -> str:
    """The examples of a command as its help shows them."""
    return "\n".join(["examples:", *(f"  {line}" for line in EXAMPLES.get(command, ()))])


def grouped(stage: Stage, settings: Mapping[str, Parameter]) -> dict[str, list[str]]:
    """Title -> the settings of a stage below it: its files, what matters most, the rest, and how proxies are trained."""
    first = FIRST.get(stage.name, ())
    groups: dict[str, list[str]] = {"files": [], "what matters first": list(first), "settings": []}
    for key in settings:
        section = key.rpartition(".")[0]
        if key in stage.files or key == "out":
            groups["files"].append(key)
        elif key not in first:
            groups.setdefault(section or "settings", []).append(key)
    return groups


def grouped_study(settings: Iterable[str]) -> dict[str, list[str]]:
    """Title -> the settings of a study below it: what matters most, then those of each stage."""
    groups: dict[str, list[str]] = {"what matters first": list(FIRST_OF_A_STUDY), "for all stages": []}
    for key in settings:
        if key in FIRST_OF_A_STUDY:
            continue
        section = key.rpartition(".")[0]
        title = "for all stages" if shared_key(key) or not section else _title(section)
        groups.setdefault(title, []).append(key)
    return groups


def _title(section: str) -> str:
    """The name of a section of a study's YAML, and what its stage does."""
    stage = next((stage for stage in STAGES if stage.in_study and stage.section == section), None)
    return f"{section}: {stage.help}" if stage is not None else f"{section}: how a proxy is trained"
