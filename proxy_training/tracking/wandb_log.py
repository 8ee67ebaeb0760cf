"""A run's metrics -> wandb, under RegMix's names. metrics.csv is the record; wandb shows it, and never stops training."""

import contextlib
import functools
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PROJECT = "proxymix"
WandbMode = Literal["offline", "online", "disabled"]
MAX_WAIT_SECONDS = 100.0
"""Longest wait for wandb. A service that has not answered then is ended, and training goes on without it."""
CONNECT_SECONDS = 60.0
"""Longest wait for wandb's server at the start of a run. A process waits once; its later runs write files only."""
CLOSE_SECONDS = 5.0
"""Longest wait for wandb's service to end."""
NAMES = {"train_loss": "metric/train_loss", "learning_rate": "lr"}
"""Names of our metrics that RegMix calls otherwise."""


@dataclass
class WandbService:
    """What this process has found out about wandb, whose service all its runs share."""

    hangs: bool = False  # It did not answer, so no further run is logged.
    has_server: bool = True  # It could be reached; otherwise further runs write files only.


SERVICE = WandbService()


class WandbLog:
    """The wandb run of one proxy, which `start` starts. After wandb's first failure, of which `warn` is told, it does
    nothing more.
    """

    def __init__(
        self, run: str, mode: WandbMode, start: Callable[[WandbMode], Any], warn: Callable[[str], None]
    ) -> None:
        self._run, self._warn = run, warn
        self._wandb: Any = None
        if mode == "online" and SERVICE.has_server:
            self._wandb = self._guarded(lambda: start("online"))
            if self._wandb is None and not SERVICE.hangs:
                SERVICE.has_server = False
                warn(f"{run}: wandb writes the files of this and later runs only; `wandb sync` sends them")
        if self._wandb is None and mode != "disabled":
            self._wandb = self._guarded(lambda: start("offline"))

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
        if SERVICE.hangs:
            return None
        try:
            return _within(MAX_WAIT_SECONDS, action)
        except queue.Empty:
            SERVICE.hangs = True
            close_service(kill=True)
            self._warn(
                f"{self._run}: wandb failed (no answer for {MAX_WAIT_SECONDS:.0f} s) and is left out from here on; "
                "losses.csv and metrics.csv hold everything"
            )
        except Exception as error:  # Whatever goes wrong in wandb, training goes on.
            self._warn(f"{self._run}: wandb failed and is left out of this run ({type(error).__name__}: {error})")
        self._wandb = None
        return None


def _within(seconds: float, action: Callable[[], Any]) -> Any:
    """What an action returns or raises, or queue.Empty if that takes longer; it is left behind in a thread of its own."""
    ended: queue.SimpleQueue[Callable[[], Any]] = queue.SimpleQueue()

    def work() -> None:
        try:
            result = action()
        except BaseException as error:
            ended.put(functools.partial(_raise, error))
        else:
            ended.put(lambda: result)
        if SERVICE.hangs:  # It was given up, and may have started a service only now.
            _kill_service()

    threading.Thread(target=work, daemon=True).start()
    return ended.get(timeout=seconds)()


def _raise(error: BaseException) -> None:
    raise error


def close_service(kill: bool = False) -> None:
    """End wandb's service, for which this process would otherwise wait at its exit, however long that takes.

    Args:
        kill: Kill it first. Otherwise it may end by itself, and it is left to runs that others have opened in this process.
    """
    wandb: Any = sys.modules.get("wandb")  # Not imported here: an import that hangs would be waited for.
    if not hasattr(wandb, "teardown") or (wandb.run is not None and not kill):
        return
    if kill:
        _kill_service()
    with contextlib.suppress(Exception, SystemExit):  # The connection to a service that was killed is broken.
        _within(CLOSE_SECONDS, wandb.teardown)
        return
    _kill_service()


def _kill_service() -> None:
    import psutil

    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.name().startswith("wandb"):
                process.kill()


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
        folder, run: The run's folder, and its name, which wandb shows.
        group: What wandb groups runs by: the study and the stage.
        config: Settings and mixture.
        warn: Called with a message if wandb fails.
    """

    def start(mode: WandbMode) -> Any:
        os.environ.setdefault("WANDB_SILENT", "true")
        if "wandb" not in sys.modules:  # The service of the process that started this one is not ours to end.
            os.environ.pop("WANDB_SERVICE", None)
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # It would look for wandb's server, offline too.
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
            init_timeout=CONNECT_SECONDS,
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

    log = WandbLog(run, mode, start, warn)
    failed = True
    try:
        yield log
        failed = False
    finally:
        log.close(failed)
