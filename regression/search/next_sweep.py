"""The mixtures worth training next, numbered after the runs -> the files of a sweep."""

import shlex
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import MixtureTable
from proxymix.errors import InputError
from proxymix.files import remove
from proxymix.messages import study_of
from proxymix.progress import say
from proxymix.schemas import loss_domain, run_id
from regression.data.runs import Runs
from regression.search.next_runs import Acquisition, Expectation, NextRuns


def numbers_after(runs: Runs, num: int) -> list[int]:
    """Numbers for further runs, after those that are there."""
    last = max([len(runs.index), *(key for key in runs.index if isinstance(key, int))])
    return list(range(last + 1, last + 1 + num))


def write_mixtures(
    folder: Path, runs: Runs, table: MixtureTable, expected: Expectation, settings: dict[str, Any]
) -> None:
    """FOLDER/n00065.yaml and so on, in the keys of a sweep; after the weights come `settings` and what is expected."""
    validated = [domain for domain in map(loss_domain, runs.targets) if domain in runs.domains]
    columns = {field.name: getattr(expected, field.name) for field in fields(expected)}
    for row, (number, weights) in enumerate(zip(table.index, table.weights, strict=True)):
        named = dict(zip(table.domains, map(float, weights), strict=True))
        of_row = {name: float(values[row]) for name, values in columns.items()}
        extra = {"model_name": "proxymix", **settings, "expected": of_row}
        assert isinstance(number, int)
        Mixture(named, extra).write(folder / f"{run_id(number)}.yaml", validated or None)


def check_room(out: Path, runs: Runs, num: int) -> None:
    """Check that OUT/mixtures holds no other mixtures than the next ones.

    Raises:
        InputError: If it does.
    """
    names = [f"{run_id(i)}.yaml" for i in numbers_after(runs, num)]
    if others := sorted({path.name for path in (out / "mixtures").glob("[!.]*")} - set(names)):
        raise InputError(
            f"{out / 'mixtures'}: holds {others[0]}, and the next mixtures are {names[0]} to {names[-1]}; choose another "
            "folder with --next_out"
        )


@dataclass(frozen=True)
class NextSweep:
    """The mixtures that are worth training next, numbered after the runs, and what is expected of them."""

    runs: Runs
    table: MixtureTable
    expected: Expectation
    acquisition: Acquisition

    def write(self, out: Path) -> None:
        """Write OUT/mixtures/, then OUT/mixtures.csv."""
        remove(out / "mixtures.csv")  # the table means that all mixtures are there
        write_mixtures(out / "mixtures", self.runs, self.table, self.expected, {"pick": self.acquisition})
        self.table.write(out / "mixtures.csv")
        study = study_of(out)
        source = "--tokens TOKENS" if study is None else f"--study {shlex.quote(str(study))}"
        mixtures, proxies = (shlex.quote(str(out / name)) for name in ("mixtures", "proxies"))
        say(f"{len(self.table.index)} mixtures worth training next: {out / 'mixtures.csv'}. To train them:")
        say(f"  proxymix sweep {source} --mixtures {mixtures} --out {proxies}")


def next_sweep(choice: NextRuns, num: int, rng: np.random.Generator, acquisition: Acquisition) -> NextSweep:
    """The next mixtures, as `NextRuns.mixtures` chooses them."""
    runs, X = choice.fitted.runs, choice.mixtures(num, rng, acquisition)
    table = MixtureTable([*numbers_after(runs, num)], runs.domains, X)
    return NextSweep(runs, table, choice.expectation(X), acquisition)
