"""Commands that are stopped while they train: what they have is kept, nothing is left behind, and they continue."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from proxies import TINY, contents, have_ended, wait_for, write_mixtures, write_tokens

from proxy_training.launch.scratch import scratch_folder
from proxy_training.sweep import sweep
from proxymix.files import this_machine

SETTINGS = replace(TINY, tokens=64 * 2000, models_per_process=2)
FLAGS = ["--train.model=50k", "--train.sequence_length=16", "--train.tokens=128000", "--train.batch_size=4"]
FLAGS += ["--train.learning_rate=0.01", "--train.valid_tokens=64", "--train.evaluations=2"]
FLAGS += ["--train.models_per_process=2", "--wandb=disabled"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tokens, two mixtures, and the sweep to which nothing happened."""
    folder = tmp_path_factory.mktemp("place")
    tokens = write_tokens(folder / "tokens", {"a": 2000, "b": 1000})
    mixtures = write_mixtures(folder / "mixtures", [{"a": 0.2, "b": 0.8}, {"a": 0.7, "b": 0.3}])
    sweep(mixtures, tokens, folder / "plain", SETTINGS, workers=1, wandb="disabled")
    return folder


def heed_interrupts() -> None:
    """A shell that starts tests in the background has them, and what they start, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.slow
@pytest.mark.parametrize(("command", "name"), [("sweep", "SIGTERM"), ("train", "SIGINT")])
def test_a_command_that_is_stopped_keeps_what_a_batch_has_and_continues_with_it(place, tmp_path, command, name):
    """The signal reaches the whole process group, as Ctrl+C and the end of a Slurm job do."""
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    argv = [sys.executable, "-m", "proxymix.app.cli", command, f"--mixtures={place / 'mixtures'}"]
    argv += [f"--tokens={place / 'tokens'}", f"--out={out}", *FLAGS, *(["--workers=1"] if command == "sweep" else [])]
    environment = {**os.environ, "TMPDIR": str(scratch)}
    options = {"stderr": subprocess.PIPE, "text": True, "env": environment, "start_new_session": True}
    job = subprocess.Popen(argv, preexec_fn=heed_interrupts, **options)
    wait_for((out / "n00002").exists)  # The batch has begun.
    processes = psutil.Process(job.pid).children(recursive=True)
    os.killpg(job.pid, getattr(signal, name))
    errors = job.communicate(timeout=300)[1]
    assert job.returncode == 130 and "2 of 2 runs are kept (0 done, 2 begun)" in errors and "Traceback" not in errors
    assert (out / ".n00001.state").exists() and not list(scratch.glob("proxymix-*"))
    assert have_ended(processes)

    again = subprocess.run(argv, stderr=subprocess.PIPE, text=True, env=environment)
    assert again.returncode == 0, again.stderr
    kept = [path for path in contents(place / "plain") if path != "bundles.yaml" or command == "sweep"]
    assert {path: contents(out)[path] for path in kept} == {path: contents(place / "plain")[path] for path in kept}
    assert not (out / ".n00001.state").exists()


def test_only_the_scratch_folders_of_processes_that_are_no_more_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead = f"proxymix-{this_machine()}-{ended.pid}"
    others = [f"proxymix-{this_machine()}-{os.getppid()}-a", f"proxymix-00000000-{ended.pid}-a", "proxymix-notes"]
    for name in [f"{dead}-a", *others]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "stderr").write_text("")
    (tmp_path / f"{dead}-file").write_text("")
    (tmp_path / f"{dead}-link").symlink_to(tmp_path / "proxymix-notes")
    with scratch_folder() as folder:
        left = sorted(path.name for path in tmp_path.iterdir())
        assert left == sorted([*others, f"{dead}-file", f"{dead}-link", folder.name])
        assert (tmp_path / "proxymix-notes" / "stderr").exists()
    assert not folder.exists()
