"""Names of baselines and files of mixtures -> the reference mixtures that a sweep begins with, once or several times."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.design.heuristics import BASELINES
from mixture_config.files.mixture import Mixture
from mixture_config.geometry.limits import Limits
from mixture_config.geometry.tolerances import SAME_WEIGHT
from proxymix.errors import InputError
from proxymix.messages import nearest, some
from proxymix.progress import say
from proxymix.schemas import Domains

NAMES = (*BASELINES, "vertices")
SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True)
class ReferenceMixtures:
    """The first rows of a sweep.

    Attributes:
        steps: Weights in steps of the grid, int32, shape (num_rows, num_domains).
        labels: What each row's YAML says of it after the settings: the name (`anchor`), and the number of a `repeat`.
    """

    steps: np.ndarray
    labels: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.labels)


def check_names(include: Sequence[str]) -> None:
    """Raise an InputError if one of `include` is neither a reference mixture's name nor a YAML's."""
    for name in include:
        if name not in NAMES and Path(name).suffix not in SUFFIXES:
            raise InputError(f"include: {name!r} is none of {', '.join(NAMES)}, nor a YAML{nearest(name, NAMES)}")


def weights_of(path: Path, table: Domains) -> np.ndarray:
    """The weights of a mixture's YAML in the order of the table, shape (num_domains,); 0 where the YAML names none.

    Raises:
        InputError: If it names a domain that is not in the table, or has weight on one without tokens.
    """
    weights = Mixture.read(path).weights
    for name in weights:
        if name not in table.names:
            raise InputError(f"{path}: no domain {name!r} in the table{nearest(name, table.names)}")
    row = np.array([weights.get(name, 0.0) for name in table.names])
    if (lost := (row > 0) & (table.true_tokens == 0)).any():
        which = some([name for name, is_lost in zip(table.names, lost, strict=True) if is_lost])
        raise InputError(f"{path}: weight on {which}, which has no tokens in the table; correct one of them")
    return row


def reference_mixtures(
    include: Sequence[str],
    repeat_seeds: int,
    table: Domains,
    limits: Limits,
    num_steps: int,
    baseline: Callable[[str], np.ndarray],
    present: np.ndarray | None,
) -> ReferenceMixtures:
    """The mixtures of `include` within `limits`, each `repeat_seeds` times, less those that are present.

    All of them come once before any comes twice. The number of a repeat tells the rows of one mixture apart, and training
    takes its seed from this number. If two of `include` are the same mixture, as the prior of equal domains and the uniform
    one are, the first stays.

    Args:
        include: Names of baselines, `vertices` (every domain as far as its bounds allow), and paths of YAMLs.
        repeat_seeds: How often each mixture is wanted.
        table: The domains.
        limits: Bounds that the mixtures keep.
        num_steps: Steps of the grid that make a weight of 1.
        baseline: The name of a baseline -> its weights, shape (num_domains,).
        present: Weights of the sweep that is extended, shape (any, num_domains), if one is.

    Raises:
        InputError: If two mixtures have one name, `limits` hold no mixture on the grid, or a mixture is present on a finer
            grid, so that no row on this grid would be a repeat of it.
    """
    once = _steps_of(_wanted_weights(include, table, limits, baseline), limits, num_steps)
    there = dict.fromkeys(once, 0)
    for name, steps in once.items():
        if present is None:
            break
        apart = np.abs(present - steps / num_steps).sum(axis=1)
        there[name] = int((apart < SAME_WEIGHT).sum())
        if not there[name] and (apart < 1 / num_steps).any():
            if repeat_seeds > 1:
                raise InputError(
                    f"repeat_seeds: {name} is there on a finer grid; leave min_weight as it is in the sweep"
                )
            there[name] = 1
    rows = [(name, k) for k in range(repeat_seeds) for name in once if k >= there[name]]
    steps = np.array([once[name] for name, _ in rows], dtype=np.int32).reshape(len(rows), len(table))
    return ReferenceMixtures(steps, [{"anchor": name, **({"repeat": k} if k else {})} for name, k in rows])


def _wanted_weights(
    include: Sequence[str], table: Domains, limits: Limits, baseline: Callable[[str], np.ndarray]
) -> dict[str, np.ndarray]:
    """Name -> weights, shape (num_domains,), which may break the limits."""
    wanted: dict[str, np.ndarray] = {}
    for name in include:
        if name == "vertices":
            for i in np.flatnonzero((table.true_tokens > 0) & (limits.upper > 0)):
                # What the bounds leave of a vertex goes to the other domains in proportion to the prior.
                wanted[f"vertex {table.names[i]}"] = np.eye(len(table))[i] + 1e-6 * table.prior
            continue
        is_file = Path(name).suffix in SUFFIXES
        title = Path(name).stem if is_file else name
        if title in wanted:
            hint = "rename one of the files" if is_file else "name it once, or rename the file"
            raise InputError(f"include: two mixtures are called {title}; {hint}")
        wanted[title] = weights_of(Path(name), table) if is_file else baseline(name)
    return wanted


def _steps_of(wanted: Mapping[str, np.ndarray], limits: Limits, num_steps: int) -> dict[str, np.ndarray]:
    """Name -> the nearest steps of the grid within the limits, each mixture under one name."""
    grid = limits.on_grid(num_steps)
    found: dict[str, np.ndarray] = {}
    for name, row in wanted.items():
        steps = grid.round(grid.fill(row[None]), num_steps)[0]
        same = next((other for other, there in found.items() if np.array_equal(there, steps)), None)
        if same is None:
            found[name] = steps
        else:
            say(f"include: {name} is the same mixture as {same} here, so it is there once")
    return found
