"""A worker process as its parent sees it: messages go in, answers come out (see worker.py)."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from proxy_training.device.layout import num_gpus
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
    # cuBLAS reads this before its first product; with it, sums have the same order each time.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}


class Worker:
    """A worker process. It is given a job, then run batches, and is killed at the end of the `with` block.

    Args:
        job: The first message.
        variables: Environment variables of this worker alone.
    """

    def __init__(self, job: dict[str, Any], variables: Mapping[str, str] = MappingProxyType({})) -> None:
        # A worker ends without cleaning up, so wandb's temporary files go into a folder that is removed with the worker.
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
        """Hand over a message. If the worker is dead, the next answer says so."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the next answer; it is empty when the worker is dead."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return json.loads(line) if line.endswith("\n") else {}

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def exit_reason(self) -> str:
        """How the process ended: its exit status and the last line that it wrote to stderr."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "it was killed, perhaps because memory ran out (then use fewer workers)"
        lines = self._stderr.read_text(errors="replace").strip().splitlines()
        return f"exit status {code}{': ' + lines[-1] if lines else ''}"


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
