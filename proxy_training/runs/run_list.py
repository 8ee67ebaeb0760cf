"""A folder of mixture YAMLs -> the runs to train, each with its seed."""

from collections.abc import Sequence
from pathlib import Path

from mixture_config.files.mixture import read_mixture
from proxy_training.runs.settings import Run
from proxymix.errors import InputError


def read_runs(mixtures: Path, seed: int, only: Sequence[str] | None = None) -> list[Run]:
    """A folder of mixture YAMLs, or one of them -> runs named after the files, in their order.

    A run's seed is `seed`, plus the number that a repeat of a mixture has as `repeat` in its file.

    Raises:
        InputError: If there is none, or one of `only` is not there.
    """
    found = [Path(mixtures)] if Path(mixtures).is_file() else sorted(Path(mixtures).glob("*.yaml"))
    paths = {path.stem: path for path in found}
    if not paths:
        raise InputError(f"{mixtures}: no mixtures (n00001.yaml, ...); run `proxymix synthesize`")
    for name in only or ():
        if name not in paths:
            raise InputError(
                f"{mixtures}: no mixture {name}.yaml; there are {len(paths)}, from {min(paths)} to {max(paths)}"
            )
    return [_run(paths[name], seed) for name in (only or paths)]


def _run(path: Path, seed: int) -> Run:
    weights, content = read_mixture(path)
    repeat = content.get("repeat", 0)
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0:
        raise InputError(f"{path}: repeat is {repeat!r:.60}; a whole number at least 0 is wanted")
    return Run(path.stem, weights, seed + repeat)
