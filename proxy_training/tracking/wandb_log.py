"""A run's metrics -> wandb, under RegMix's names. metrics.csv is the record; wandb shows it, and never stops training."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

PROJECT = "proxymix"
WandbMode = Literal["offline", "online", "disabled"]
NAMES = {"train_loss": "metric/train_loss", "learning_rate": "lr"}
"""Names of our metrics that RegMix calls otherwise."""


class WandbLog:
    """The wandb run of one proxy. After wandb's first failure, which is reported, it does nothing more."""

    def __init__(self, run: str, start: Callable[[], Any] | None, warn: Callable[[str], None]) -> None:
        self._run, self._warn = run, warn
        self._wandb: Any = None if start is None else self._guarded(start)

    def log(self, rows: Sequence[Mapping[str, float]]) -> None:
        """Log the last of some rows. A call costs half a millisecond, so about a hundred rows a run are logged."""
        if self._wandb is not None:
            last = rows[-1]
            metrics = {NAMES.get(key, key): value for key, value in last.items()}
            self._guarded(lambda: self._wandb.log(metrics, step=int(last["step"])))

    def close(self, failed: bool) -> None:
        """End the wandb run."""
        if self._wandb is not None:
            self._guarded(lambda: self._wandb.finish(exit_code=int(failed)))

    def _guarded(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:  # Whatever goes wrong in wandb, training goes on.
            self._warn(f"{self._run}: wandb failed and is left out of this run ({type(error).__name__}: {error})")
            self._wandb = None
            return None


@contextmanager
def open_wandb_log(
    mode: WandbMode,
    folder: Path,
    run: str,
    group: str,
    config: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Iterator[WandbLog]:
    """A wandb run in folder/wandb, which ends with the block; one that does nothing if wandb is disabled or fails.

    Args:
        mode: "offline" writes files, "online" also sends them, "disabled" does nothing.
        folder: The run's folder.
        run: The run's name, which wandb shows.
        group: What wandb groups runs by: the study and the stage.
        config: Settings and mixture.
        warn: Called once with a message if wandb fails.
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
            x_save_requirements=False,  # This costs a tenth of a second a run; the manifest holds the versions.
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
            reinit="create_new",  # Each proxy of a run batch has a wandb run of its own.
        )

    log = WandbLog(run, None if mode == "disabled" else start, warn)
    failed = True
    try:
        yield log
        failed = False
    finally:
        log.close(failed)
