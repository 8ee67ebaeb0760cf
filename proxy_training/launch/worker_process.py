"""A worker process as its parent sees it: messages go in, answers come out (see worker.py)."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy_training.device.layout import num_gpus
from proxy_training.launch.scratch import scratch_folder
from proxymix.files import cache_folder

WORKER_ENVIRONMENT = {
    # One thread a process and one process a core: two threads in one process are very slow on a busy machine.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # The allocator keeps its pages, because each step frees and asks for the same megabytes.
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
    # Modules are not taken from the folder that the command is run in, by the worker or by processes that it starts.
    "PYTHONSAFEPATH": "1",
    # cuBLAS reads this before its first product; with it, sums have the same order each time.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
START_SECONDS = 600
"""Longest time until a worker's first sign of life: importing torch from a network disk takes minutes."""
MAX_SILENT_SECONDS = 300
"""Longest time without a sign of life afterwards. Workers give one every second (worker.py)."""
STOP_SECONDS = 10.0
"""Longest time that workers are given to finish a step and write their states."""


class Worker:
    """A worker process, with environment variables of its own. It is given a job, then run batches, and is killed at the
    end of the `with` block.
    """

    def __init__(
        self,
        job: dict[str, Any],
        variables: Mapping[str, str] = MappingProxyType({}),
        max_silent_seconds: int = MAX_SILENT_SECONDS,
    ) -> None:
        self._max_silent_seconds = max_silent_seconds
        self._received = b""
        self._problem = ""  # Why it was given up.
        self._has_spoken = False
        # A worker ends without cleaning up, so wandb's temporary files go into a folder that is removed with the worker.
        self._scratch = contextlib.ExitStack()
        scratch = self._scratch.enter_context(scratch_folder())
        self._stderr = scratch / "stderr"
        root = str(Path(__file__).resolve().parents[2])
        # An empty entry would be the folder that the command is run in.
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        environment = {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(scratch), **_compiler_cache()}
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy_training.launch.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **WORKER_ENVIRONMENT, **environment, **variables},
            )
        self.send(job)

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self.wait(10)
        for stream in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr]
        self._scratch.close()

    def send(self, message: dict[str, Any]) -> None:
        """Hand over a message. If the worker is dead, the next answer says so."""
        # A stopped worker does not read. A long message would then be waited for here, so a thread writes it.
        threading.Thread(target=self._write, args=(json.dumps(message).encode() + b"\n",), daemon=True).start()

    def _write(self, line: bytes) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):  # The worker is dead, or its `with` block has ended.
            self._process.stdin.write(line)
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer; it is empty when the worker is dead, or was given up because it was silent."""
        while True:
            line, newline, rest = self._received.partition(b"\n")
            if newline:
                self._received = rest
                try:
                    answer: dict[str, Any] = json.loads(line)
                except ValueError:
                    return self._give_up(f"its answer cannot be read: {line[:60]!r}")
                if "alive" not in answer:
                    return answer
            else:
                limit = self._max_silent_seconds if self._has_spoken else START_SECONDS
                if not self._can_read(limit):
                    return self._give_up(f"it gave no sign of life for {limit} s, so it was stopped or hangs")
                assert self._process.stdout is not None
                data = os.read(self._process.stdout.fileno(), 2**16)
                if not data:
                    return {}
                self._received += data
                self._has_spoken = True

    def _can_read(self, seconds: int) -> bool:
        """Wait for output. Short waits are counted, not the clock: this process may be suspended for a while itself."""
        poll = select.poll()
        poll.register(self._process.stdout, select.POLLIN)  # type: ignore[arg-type]
        return any(poll.poll(1000) for _ in range(seconds))

    def _give_up(self, problem: str) -> dict[str, Any]:
        self._problem = problem
        self._process.kill()
        return {}

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def wait(self, seconds: float) -> None:
        """Wait until the process has ended, so long at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):  # A process that waits for a dead disk cannot be killed.
            self._process.wait(timeout=max(seconds, 0.0))

    def exit_reason(self) -> str:
        """Why it was given up, or how the process ended: its exit status and the last line that it wrote to stderr."""
        if self._problem:
            return self._problem
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return "it closed its output and did not end"
        if code == -signal.SIGKILL:
            return "it was killed, perhaps because memory ran out (then use fewer workers)"
        try:
            lines = self._stderr.read_text(errors="replace").strip().splitlines()
        except OSError as error:
            lines = [f"what it wrote to stderr is gone ({error.strerror})"]
        return f"exit status {code}{': ' + lines[-1] if lines else ''}"


def stop(workers: Iterable[Worker]) -> None:
    """Have workers write the states of what they train and end, and wait for that a while."""
    deadline = time.monotonic() + STOP_SECONDS
    for worker in workers:
        worker.send({"stop": True})
    for worker in workers:
        worker.wait(deadline - time.monotonic())


def one_gpu(number: int) -> dict[str, str]:
    """The environment variables that show one GPU to a worker, taking the GPUs in turn; none where there is no GPU."""
    count = num_gpus()
    if not count:
        return {}
    names = (os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))).split(",")
    return {"CUDA_VISIBLE_DEVICES": names[number % count]}


def _compiler_cache() -> dict[str, str]:
    """Where torch.compile keeps compiled code. By default that is a temporary folder, which would end with each worker."""
    folder = cache_folder() / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # The cache folder cannot be written, so each worker compiles for itself.
        return {}
    return {"TORCHINDUCTOR_CACHE_DIR": os.environ.get("TORCHINDUCTOR_CACHE_DIR") or str(folder)}
