"""A run's rows -> wandb under RegMix's metric names, a thinned mirror of metrics.csv. Whatever wandb does, training goes on."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

PROJECT = "proxymix"


class Mirror:
    """Passes rows on until the first failure, which is said once."""

    def __init__(self, run: str, start: Callable[[], Any] | None, warn: Callable[[str], None]) -> None:
        self._run, self._warn = run, warn
        self._wandb: Any = None if start is None else self._guarded(start)

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Pass the last of some rows on: about a hundred a run, as each costs half a millisecond; the CSV has all."""
        if self._wandb is not None:
            self._guarded(lambda: self._wandb.log(_renamed(rows[-1]), step=int(rows[-1]["step"])))

    def close(self, failed: bool) -> None:
        """End the run."""
        if self._wandb is not None:
            self._guarded(lambda: self._wandb.finish(exit_code=int(failed)))

    def _guarded(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:  # a mirror must never stop what it mirrors
            self._warn(f"{self._run}: wandb failed and is left out of this run ({type(error).__name__}: {error})")
            self._wandb = None
            return None


@contextmanager
def open_mirror(
    mode: Literal["offline", "online", "disabled"],
    folder: Path,
    run: str,
    group: str,
    config: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Iterator[Mirror]:
    """A wandb run in folder/wandb, closed with the block; one that does nothing where wandb is disabled or fails.

    Args:
        mode: "offline" writes files, "online" also sends them, "disabled" does nothing.
        folder: The run's folder.
        run: Its id, which wandb shows as the name.
        group: What wandb groups it by: the study and the stage.
        config: Settings and mixture.
        warn: Told once when wandb fails.
    """

    def start() -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")
        import wandb

        settings = wandb.Settings(
            console="off",
            disable_git=True,
            save_code=False,
            x_disable_stats=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_save_requirements=False,  # a tenth of a second a run; the manifest has the versions that count
            silent=True,
        )
        return wandb.init(
            project=PROJECT,
            name=run,
            group=group or None,
            dir=folder,
            config=dict(config),
            mode=mode,
            settings=settings,
            reinit="create_new",  # the proxies of a bundle have a run each,
        )

    mirror = Mirror(run, None if mode == "disabled" else start, warn)
    failed = True
    try:
        yield mirror
        failed = False
    finally:
        mirror.close(failed)


def _renamed(row: Mapping[str, float]) -> dict[str, float]:
    names = {"train_loss": "metric/train_loss", "learning_rate": "lr"}
    return {names.get(key, key): value for key, value in row.items()}
