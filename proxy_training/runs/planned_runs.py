"""Mixture YAMLs -> the runs to train, each with its seed, and those of them that are not done."""

from collections.abc import Sequence
from pathlib import Path

from mixture_config.files.mixture import Mixture
from mixture_config.files.mixture_table import mixture_files
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxymix.errors import InputError
from proxymix.messages import some
from proxymix.progress import say


def planned_runs(mixtures: Path, seed: int, only: Sequence[str] | None = None) -> list[Run]:
    """The runs of a folder of mixture YAMLs, or of one YAML; they are named after the files.

    Args:
        mixtures: The folder or the file.
        seed: The seed of every run. A repeat of a mixture has its number (`repeat` in its file) added.
        only: The names of the runs wanted, in this order; all by name if None.

    Raises:
        InputError: If there is no mixture, or no mixture of a name in `only`.
    """
    found = [Path(mixtures)] if Path(mixtures).is_file() else mixture_files(Path(mixtures))
    paths = {path.stem: path for path in found}
    if twice := [path for path in found if paths[path.stem] != path]:
        raise InputError(f"{twice[0]} and {paths[twice[0].stem]} name the same run; remove or rename one")
    for name in only or ():
        if name not in paths:
            raise InputError(
                f"{mixtures}: no mixture {name}.yaml; there are {len(paths)}, from {min(paths)} to {max(paths)}"
            )
    return [_run(paths[name], seed) for name in (only or paths)]


def _run(path: Path, seed: int) -> Run:
    mixture = Mixture.read(path)
    repeat = mixture.extra.get("repeat", 0)
    if isinstance(repeat, bool) or not isinstance(repeat, int) or repeat < 0:
        raise InputError(f"{path}: repeat is {repeat!r:.60}; a whole number at least 0 is wanted")
    return Run(path.stem, mixture.weights, seed + repeat)


def say_what_is_kept(
    runs: Sequence[Run], batches: Sequence[Sequence[Run]], data: TokenData, out: Path, settings: TrainSettings
) -> None:
    """Say, after a stop, how many runs are done, and how many have a state with which they continue."""
    done = {run.id for run in runs if RunFolder(out / run.id).holds(run, settings, data.sha256)}
    with_state = [batch for batch in batches if RunFolder(out / batch[0].id).state_path.exists()]
    begun = {run.id for batch in with_state for run in batch} - done
    say(f"{out}: {len(done | begun)} of {len(runs)} runs are kept ({len(done)} done, {len(begun)} begun)")


def runs_to_train(
    runs: Sequence[Run], data: TokenData, out: Path, settings: TrainSettings, save: bool = False
) -> list[Run]:
    """The runs that are not done, each in out/<run>; runs that only lack a checkpoint are named on stderr.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
    """
    for run in runs:
        data.check(run)
    todo = [run for run in runs if not RunFolder(out / run.id).holds(run, settings, data.sha256, save)]
    again = [run.id for run in todo if save and RunFolder(out / run.id).holds(run, settings, data.sha256)]
    if again:
        say(f"{some(again, 8)}: trained before without a checkpoint, which is asked for now; training again")
    return todo
