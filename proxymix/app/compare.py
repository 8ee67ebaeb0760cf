"""Two studies, or two mixtures -> what they have in common and where they differ, side by side.

proxymix compare studies/a studies/b
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixture_config.files.mixture import Mixture
from proxymix.app.config import Config, is_execution, plain
from proxymix.app.saved_config import SavedConfig
from proxymix.app.study_check import is_study
from proxymix.errors import InputError
from proxymix.messages import aligned
from regression.confirmation.confirmation import Confirmation

USAGE = """usage: proxymix compare A B

Shows two studies, or two mixtures, side by side: weights, what was measured, and the settings that differ.

examples:
  proxymix compare studies/a studies/b
  proxymix compare studies/a/optimal_mixture.yaml heuristic_mixture.yaml"""


def compare_command(arguments: Sequence[str]) -> None:
    """`proxymix compare A B`."""
    if {"-h", "--help"} & set(arguments):
        print(USAGE)
        return
    if len(arguments) != 2 or any(argument.startswith("-") for argument in arguments):
        raise InputError("proxymix compare: two studies or two mixtures are wanted: proxymix compare A B")
    print(compare(*(Path(argument).expanduser() for argument in arguments)))


def compare(first: Path, second: Path) -> str:
    """Two studies, or two mixtures, side by side, as text.

    Args:
        first: A study's folder, or a mixture's YAML. A study beside a mixture stands for its proposal.
        second: The other.

    Raises:
        InputError: If one of them is neither, or is a study without a proposal beside a mixture.
    """
    both = (first, second)
    for path in both:
        if not path.exists():
            raise InputError(f"{path}: no such study or mixture")
    lines = [f"first:  {first}", f"second: {second}"]
    mixtures = [_mixture(path) for path in both]
    if all(is_study(path) for path in both):
        lines += _differing_settings(both) + _measured(both)
    elif missing := [str(path) for path, mixture in zip(both, mixtures, strict=True) if mixture is None]:
        raise InputError(f"{missing[0]}: no optimal_mixture.yaml yet; `proxymix run --study {missing[0]}` makes it")
    return "\n".join(lines + _weights(mixtures))


def _mixture(path: Path) -> Mixture | None:
    """A mixture, or the proposal of a study; None where a study has none yet."""
    if path.is_dir() and not is_study(path):
        raise InputError(f"{path}: no study (it has no study.yaml); give a study's folder or a mixture's YAML")
    file = path / "optimal_mixture.yaml" if path.is_dir() else path
    return Mixture.read(file) if file.exists() else None


def _weights(mixtures: Sequence[Mixture | None]) -> list[str]:
    """The weights of the two, those that differ most first, and how far they are apart."""
    found = [mixture.weights if mixture is not None else {} for mixture in mixtures]
    names = list(dict.fromkeys([*found[0], *found[1]]))
    gaps = {name: found[1].get(name, 0.0) - found[0].get(name, 0.0) for name in names}
    rows = {
        name: [*(f"{weights[name]:.4f}" if name in weights else "-" for weights in found), f"{gaps[name]:+.4f}"]
        for name in sorted(names, key=lambda name: -abs(gaps[name]))
    }
    lines = _table("weights", ["first", "second", "second - first"], rows)
    if all(found):
        lines.append(f"{sum(map(abs, gaps.values())) / 2:.1%} of the tokens are moved (total variation)")
    return lines


def _differing_settings(studies: Sequence[Path]) -> list[str]:
    configs = [Config(Config.defaults() | SavedConfig(study).read()) for study in studies]
    keys = [key for key in {**configs[0], **configs[1]} if key != "study" and not is_execution(key)]
    shown = {key: [_shown(config.get(key)) for config in configs] for key in keys}
    rows = {key: values for key, values in shown.items() if values[0] != values[1]}
    return _table("settings that differ", ["first", "second"], rows) if rows else ["", "the same settings"]


def _measured(studies: Sequence[Path]) -> list[str]:
    """What each confirmation says of each baseline."""
    paths = [study / "confirmation.yaml" for study in studies]
    found = [Confirmation.read(path) if path.exists() else None for path in paths]
    names = dict.fromkeys(name for one in found if one is not None for name in one.differences)
    rows = {name: [_verdict(one, name) for one in found] for name in names}
    lines = _table("proposal minus", ["first", "second"], rows) if rows else ["", "nothing is confirmed yet"]
    units = {one.objective.name for one in found if one is not None}
    return lines + ["these are of different objectives, so their sizes do not compare"] * (len(units) > 1)


def _verdict(found: Confirmation | None, name: str) -> str:
    if found is None or name not in found.differences:
        return "-"
    of = found.differences[name]
    return f"{of.objective.mean:+.4f} ({of.objective.low:+.4f} to {of.objective.high:+.4f}) {of.verdict}"


def _shown(value: Any) -> str:
    text = "not given" if value is None else str(plain(value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else text[:40]


def _table(title: str, header: Sequence[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    """A titled table with a row for each key."""
    return ["", aligned([[title, *header], *([key, *values] for key, values in rows.items())])]
