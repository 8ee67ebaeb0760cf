"""Worker processes that train bundles of runs, each handed its next one when it is free.

The protocol is JSON lines (see worker.py), so that a worker that dies takes nothing with it but its own bundle.
"""

import contextlib
import errno
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy_training.device.layout import num_gpus
from proxy_training.runs.settings import Run
from proxymix.errors import InputError, StageError
from proxymix.files import cache_folder
from proxymix.progress import say

# One thread a process and one process a core: two threads in one process collapse on a busy machine. The allocator
# keeps its pages, since a step frees and asks for the same megabytes again.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # the same sums each time, which is read before the first product
}


class Worker:
    """A worker process: a job at its start, then runs; its answers in order. Environment variables of its own, if any."""

    def __init__(self, job: dict[str, Any], variables: Mapping[str, str] = MappingProxyType({})) -> None:
        # wandb's temporary files go with the worker, which ends without cleaning up.
        self._scratch = tempfile.TemporaryDirectory(prefix="proxymix-", ignore_cleanup_errors=True)
        self._stderr = Path(self._scratch.name) / "stderr"
        root = str(Path(__file__).resolve().parents[2])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": self._scratch.name, **_compiler_cache()}
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy_training.launch.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **WORKER_ENVIRONMENT, **environment, **variables},
                text=True,
            )
        self.send(job)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]
        self._scratch.cleanup()

    def send(self, message: dict[str, Any]) -> None:
        """Hand over a job or a run; a dead worker is noticed at the next answer."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """The next answer; empty when the worker is dead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else {}

    @property
    def has_ended(self) -> bool:
        """Whether the process is no more."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """How the worker ended."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "it was killed, perhaps because memory ran out (then use fewer workers)"
        lines = self._stderr.read_text(errors="replace").strip().splitlines()
        return f"exit status {code}{': ' + lines[-1] if lines else ''}"


def one_gpu(number: int) -> dict[str, str]:
    """The variables that show a worker one GPU: the workers in turn have all that there are."""
    count = num_gpus()
    if not count:
        return {}
    names = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))).split(",")
    return {"CUDA_VISIBLE_DEVICES": names[number % count]}


def _compiler_cache() -> dict[str, str]:
    """Where torch.compile keeps what it made: by default with temporary files, which would end with each worker."""
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # no such home
        return {}
    return {"TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR") or str(folder)}


@dataclass
class Team:
    """Workers that share a list of bundles."""

    job: dict[str, Any]
    todo: Sequence[Sequence[Run]]
    run_steps: int
    advance: Callable[[float], None]
    problems: dict[str, str] = field(default_factory=dict)  # run id -> what happened
    diverged: dict[str, str] = field(default_factory=dict)
    no_space: OSError | None = None

    def __post_init__(self) -> None:
        self._queue: queue.SimpleQueue[Sequence[Run]] = queue.SimpleQueue()
        for bundle in self.todo:
            self._queue.put(bundle)
        self._lock = threading.Lock()
        self._warned: set[str] = set()

    @property
    def waiting(self) -> list[str]:
        """Runs that no worker took."""
        left = []
        while not self._queue.empty():
            left.append(self._queue.get())
        for bundle in left:
            self._queue.put(bundle)
        return [run.id for bundle in left for run in bundle]

    def work(self, count: int) -> None:
        """Train with `count` workers until the list is empty or no worker is left."""
        with ExitStack() as stack:
            workers = [stack.enter_context(Worker(self.job, one_gpu(number))) for number in range(count)]
            threads = [threading.Thread(target=self._lead, args=(worker,), daemon=True) for worker in workers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _lead(self, worker: Worker) -> None:
        while self.no_space is None:
            try:
                bundle = self._queue.get_nowait()
            except queue.Empty:
                return
            worker.send({"runs": [asdict(run) for run in bundle]})
            if not self._follow(worker, bundle):
                return

    def _follow(self, worker: Worker, bundle: Sequence[Run]) -> bool:
        """Listen until a bundle is over; False when the worker is dead."""
        seen = 0
        while True:
            answer = worker.answer()
            with self._lock:
                if "warning" in answer:
                    self._warn_once(answer["warning"])
                    continue
                if "steps" in answer:
                    seen += answer["steps"]
                    self.advance(answer["steps"])
                    continue
                self.advance(self.run_steps * len(bundle) - seen)
                if not answer:
                    words = worker.last_words()
                    self.problems |= {run.id: f"{run.id}: the worker died: {words}" for run in bundle}
                    return False
                self.diverged |= answer.get("diverged", {})
                if "failed" in answer:
                    if answer["errno"] in (errno.ENOSPC, errno.EDQUOT):
                        self.no_space = OSError(answer["errno"], os.strerror(answer["errno"]), self.job["out"])
                    known = answer["kind"] in (StageError.__name__, InputError.__name__)
                    what = answer["error"] if known else f"{answer['kind']}: {answer['error']}"
                    self.problems |= {run.id: what if known else f"{run.id}: {what}" for run in bundle}
                return True

    def _warn_once(self, message: str) -> None:
        what = message.partition(": ")[2]  # without the run: the same trouble is said for the first of them
        if what not in self._warned:
            self._warned.add(what)
            say(message)
