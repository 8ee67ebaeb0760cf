"""Mixtures + token shards -> a trained proxy for each: several in a process, and as many processes as there are cores.

python proxy_training/sweep.py --study STUDY
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
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from proxy_training.bundles import bundled
from proxy_training.layout import ACTIVATION_BYTES, Layout, described, free_bytes, layout_of
from proxy_training.model import activation_bytes, total_parameters
from proxy_training.settings import Run, TrainSettings
from proxy_training.train import TokenData, is_done, read_runs
from proxymix.cli import run as run_stage
from proxymix.errors import InputError, StageError
from proxymix.progress import progress, say

__all__ = ["Run", "estimate_seconds", "sweep", "train_runs"]

# One thread a process and one process a core: two threads in one process collapse on a busy machine. The allocator
# keeps its pages, since a step frees and asks for the same megabytes again.
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(2**40),
    "MALLOC_TOP_PAD_": str(2**26),
}
IMPORT_BYTES = 600 * 2**20  # a worker before it has a model: 430 MiB measured, and wandb's service beside it


def sweep(
    mixtures: Path,
    tokens: Path,
    out: Path,
    train: TrainSettings = TrainSettings(),  # noqa: B008
    launcher: Literal["local"] = "local",
    workers: int | None = None,
    seed: int = 0,
    wandb: Literal["offline", "online", "disabled"] = "offline",
) -> None:
    """Train a proxy on every mixture; runs that are done are skipped, so the same command continues a sweep.

    Args:
        mixtures: Folder of mixture YAMLs (n00001.yaml, ...).
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        train: How a proxy is trained.
        launcher: Where runs are trained; local is processes on this machine.
        workers: Processes at a time; by default one per physical core that memory allows, and one where there is a GPU.
        seed: Seed of initialisation and data order, the same for every run, so that runs differ by their mixtures only; a
            repeat of a mixture (`synthesize --repeat_seeds`) has its number added.
        wandb: Where the mirror of the metrics goes; offline needs no account and no network.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
        StageError: If runs failed; the others are trained, and what failed is named.
    """
    group = Path(out).resolve().parent.name
    train_runs(read_runs(mixtures, seed), tokens, out, train, workers, wandb, group, "train proxies")


def train_runs(
    runs: Sequence[Run],
    tokens: Path,
    out: Path,
    settings: TrainSettings,
    workers: int | None = None,
    wandb: Literal["offline", "online", "disabled"] = "offline",
    group: str = "",
    description: str = "train proxies",
) -> None:
    """Train runs that are not done, each in out/<run id>, in bundles (see bundles.py); a free worker takes the next.

    Args:
        runs: What to train.
        tokens: Folder of token shards.
        out: Where the runs' folders go.
        settings: How to train.
        workers: Processes at a time; None fits them to the machine.
        wandb: Where the mirror of the metrics goes.
        group: wandb's name for these runs.
        description: What the progress bar says.

    Raises:
        InputError: If a mixture asks for a domain that the tokens do not have.
        StageError: If a run failed or a worker died; every other run is trained all the same.
    """
    data = TokenData.open(tokens, settings)
    for run in runs:
        data.check(run)
    todo = [run for run in runs if not is_done(Path(out) / run.id, run, settings, data.sha256)]
    if len(todo) < len(runs):
        say(f"{len(runs) - len(todo)} of {len(runs)} runs are done already")
    if not todo:
        return
    count = min(len(todo), workers or default_workers(settings, data.vocabulary))

    def choose() -> Layout:
        return chosen_layout(settings, data.vocabulary, len(todo), count)

    layout, bundles = bundled(Path(out), runs, todo, settings, data.sha256, count, choose)
    say(f"{len(todo)} runs: {described(layout, max(map(len, bundles)))}, {min(count, len(bundles))} processes")
    job: dict[str, Any] = {"settings": asdict(settings), "layout": asdict(layout)}
    job |= {"tokens": str(tokens), "out": str(out), "wandb": wandb, "group": group}
    with progress(description, sum(map(len, bundles)) * settings.num_steps, "steps") as bar:
        team = _Team(job, bundles, settings.num_steps, bar.advance)
        team.work(min(count, len(bundles)))
    if team.no_space is not None:
        raise team.no_space
    if team.problems or team.waiting:
        raise StageError(_what_failed(team, [run.id for run in todo]))
    if team.diverged:
        say("\n".join(f"{name} diverged: {what}" for name, what in sorted(team.diverged.items())))
    if len(team.diverged) == len(runs):
        raise StageError("every run diverged; lower train.learning_rate")


def estimate_seconds(
    num_runs: int, settings: TrainSettings, vocabulary: int, workers: int | None = None, num_domains: int = 10
) -> float:
    """How long `num_runs` will take on this machine, from a few seconds of training on every worker at once.

    Args:
        num_runs: Runs to train.
        settings: How.
        vocabulary: Ids of the tokenizer.
        workers: As for `train_runs`.
        num_domains: Validation domains.
    """
    workers = workers or default_workers(settings, vocabulary)
    layout = chosen_layout(settings, vocabulary, num_runs, workers)
    job = {"settings": asdict(settings), "vocabulary": vocabulary, "layout": asdict(layout)}
    with ExitStack() as stack:
        team = [stack.enter_context(_Worker(job)) for _ in range(workers)]
        costs = [worker.answer().get("seconds_per_token") for worker in team]
    known = [float(cost) for cost in costs if cost is not None]
    if not known:
        raise StageError(f"no worker could train a first step: {team[0].last_words()}")
    # Scoring a token is a forward pass, about .4 of a training step; wandb and files take about .3 s a run.
    tokens = (
        settings.num_items * settings.sequence_length + 0.4 * settings.evaluations * settings.valid_tokens * num_domains
    )
    return -(-num_runs // workers) * (tokens * sum(known) / len(known) + 0.3)


def default_workers(settings: TrainSettings, vocabulary: int) -> int:
    """One process on a GPU, else one per physical core that this process may use, as far as free memory goes."""
    import joblib
    import psutil

    if _has_gpu():
        return 1
    activations = min(ACTIVATION_BYTES["cpu"], settings.tokens_per_step * activation_bytes(settings.model))
    need = IMPORT_BYTES + 20 * total_parameters(settings.model, vocabulary) + 2 * activations
    return max(1, min(joblib.cpu_count(only_physical_cores=True), psutil.virtual_memory().available // need))


def chosen_layout(settings: TrainSettings, vocabulary: int, num_runs: int, workers: int) -> Layout:
    """What the settings leave open, fitted to this machine."""
    layout = layout_of(settings, vocabulary, free_bytes("cpu") // workers if not _has_gpu() else None)
    return replace(layout, stack=max(1, min(layout.stack, -(-num_runs // workers))))


def _has_gpu() -> bool:
    if version("torch").endswith("+cpu"):  # spares the common case an import of seconds
        return False
    import torch

    return torch.cuda.is_available()


class _Worker:
    """A worker process: a job at its start, then runs; its answers in order."""

    def __init__(self, job: dict[str, Any]) -> None:
        # wandb's temporary files go with the worker, which ends without cleaning up.
        self._scratch = tempfile.TemporaryDirectory(prefix="proxymix-", ignore_cleanup_errors=True)
        self._stderr = Path(self._scratch.name) / "stderr"
        root = str(Path(__file__).resolve().parents[1])
        paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {"PYTHONPATH": os.pathsep.join(paths), "TMPDIR": self._scratch.name}
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "proxy_training.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **WORKER_ENVIRONMENT, **environment},
                text=True,
            )
        self.send(job)

    def __enter__(self) -> "_Worker":
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

    def last_words(self) -> str:
        """How the worker ended."""
        code = self._process.wait()
        if code == -signal.SIGKILL:
            return "it was killed, perhaps because memory ran out (then use fewer workers)"
        lines = self._stderr.read_text(errors="replace").strip().splitlines()
        return f"exit status {code}{': ' + lines[-1] if lines else ''}"


@dataclass
class _Team:
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
            workers = [stack.enter_context(_Worker(self.job)) for _ in range(count)]
            threads = [threading.Thread(target=self._lead, args=(worker,), daemon=True) for worker in workers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _lead(self, worker: _Worker) -> None:
        while self.no_space is None:
            try:
                bundle = self._queue.get_nowait()
            except queue.Empty:
                return
            worker.send({"runs": [asdict(run) for run in bundle]})
            if not self._follow(worker, bundle):
                return

    def _follow(self, worker: _Worker, bundle: Sequence[Run]) -> bool:
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


def _what_failed(team: _Team, asked: Sequence[str]) -> str:
    missing = sorted(set(asked) & {*team.problems, *team.waiting})
    lines = list(dict.fromkeys(team.problems[name] for name in missing if name in team.problems))
    if len(lines) > 5:
        lines = [*lines[:5], f"... and {len(lines) - 5} more"]
    names = ", ".join(missing[:8]) + (", ..." if len(missing) > 8 else "")
    lines.append(f"{len(missing)} of {len(asked)} runs are missing ({names}); the same command again trains only these")
    return "\n".join(lines)


if __name__ == "__main__":
    run_stage(sweep)
