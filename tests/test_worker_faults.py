"""What goes wrong around the training processes: they die, stop or hang, nobody listens, a folder is gone, files are damaged."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from proxies import TINY, VOCABULARY, InThisProcess, contents, train_run, write_mixtures, write_tokens

from proxy_training.collect import collect
from proxy_training.launch import train_runs as launching
from proxy_training.launch import worker_pool
from proxy_training.launch.local import LocalLauncher
from proxy_training.launch.train_runs import LAUNCHERS, estimate_seconds
from proxy_training.launch.worker_process import Worker
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import Run
from proxy_training.runs.token_data import TokenData
from proxy_training.sweep import sweep
from proxy_training.train import train
from proxymix.errors import InputError, StageError
from proxymix.files import read_yaml
from proxymix.locks import locked

SETTINGS = replace(TINY, tokens=64 * 100, models_per_process=2)
MIXTURES = [{"a": share / 10, "b": 1 - share / 10} for share in (1, 5, 9)]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), {"a": 2000, "b": 1000})


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory) -> Path:
    return write_mixtures(tmp_path_factory.mktemp("mixtures"), MIXTURES)


@pytest.fixture(scope="module")
def undisturbed(tokens, mixtures, tmp_path_factory) -> Path:
    """A sweep to which nothing happened. It is only read."""
    out = tmp_path_factory.mktemp("undisturbed")
    sweep(mixtures, tokens, out, SETTINGS, workers=1, wandb="disabled")
    return out


def to_workers(name: str, before: Callable[[], object] = lambda: None) -> threading.Thread:
    """Send a signal to the first worker of this process as soon as it trains; `before` is called first."""

    def send() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            found = [p for p in psutil.Process().children() if "proxy_training.launch.worker" in p.cmdline()]
            if found and found[0].cpu_times().user > 2.0:
                before()
                found[0].send_signal(getattr(signal, name))
                return
            time.sleep(0.02)

    thread = threading.Thread(target=send)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP"])
def test_the_batch_of_a_worker_that_dies_or_is_stopped_is_tried_once_more(
    tokens, mixtures, undisturbed, tmp_path, monkeypatch, capfd, name
):
    monkeypatch.setitem(LAUNCHERS, "local", LocalLauncher(max_silent_seconds=4))
    sender = to_workers(name)
    sweep(mixtures, tokens, tmp_path, SETTINGS, workers=1, wandb="disabled")
    sender.join()
    assert "trying once more" in capfd.readouterr().err
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.slow
def test_a_batch_that_kills_every_worker_fails_and_the_others_are_trained(tokens, mixtures, tmp_path, monkeypatch):
    class Fragile(Worker):
        def send(self, message):
            if "n00001" in str(message):
                message = {"nothing": "that a worker understands"}
            super().send(message)

    monkeypatch.setattr(worker_pool, "Worker", Fragile)
    with pytest.raises(StageError, match=r"n00001: the worker died(.*\n)+.*2 of 3 runs .*\(n00001, n00002\)"):
        sweep(mixtures, tokens, tmp_path, SETTINGS, workers=1, wandb="disabled")
    assert [folder.path.name for folder in RunFolder.finished_in(tmp_path)] == ["n00003"]


@pytest.mark.slow
def test_a_sweep_to_which_nobody_listens_trains_all_the_same(tokens, mixtures, undisturbed, tmp_path):
    code = f"""
from pathlib import Path
from proxy_training.sweep import sweep
from proxy_training.runs.settings import TrainSettings
import proxymix.progress, os
proxymix.progress.LINE_EVERY_SECONDS = 0.0
from proxy_training.launch import worker_pool
pool_train = worker_pool.WorkerPool.train
def train(self, workers):
    os.close(2)
    os.open(os.devnull, os.O_RDONLY)  # every write to stderr is an error from now on
    return pool_train(self, workers)
worker_pool.WorkerPool.train = train
sweep(Path({str(mixtures)!r}), Path({str(tokens)!r}), Path({str(tmp_path)!r}), {SETTINGS!r}, workers=1, wandb="disabled")
"""
    subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    assert contents(tmp_path) == contents(undisturbed)


@pytest.mark.slow
def test_a_worker_that_ends_when_its_temporary_folder_is_gone_is_replaced(
    tokens, mixtures, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    sender = to_workers("SIGTERM", lambda: [shutil.rmtree(path) for path in tmp_path.glob("proxymix-*")])
    sweep(mixtures, tokens, tmp_path / "out", SETTINGS, workers=1, wandb="disabled")
    sender.join()
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_an_error_in_a_thread_that_leads_a_worker_is_no_success_without_results(
    tokens, mixtures, tmp_path, monkeypatch
):
    class Broken:
        def __init__(self, *_):
            raise KeyError("what")

    monkeypatch.setattr(worker_pool, "Worker", Broken)
    with pytest.raises(StageError, match=r"n00001: .*KeyError(.*\n)+.*3 of 3 runs are missing"):
        sweep(mixtures, tokens, tmp_path, SETTINGS, workers=1, wandb="disabled")


@pytest.mark.slow
def test_a_worker_takes_no_module_from_the_folder_that_the_command_is_run_in(
    tokens, mixtures, undisturbed, tmp_path, monkeypatch
):
    for name in ("queue", "yaml", "torch", "wandb"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the user\\'s own module ran')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    sweep(mixtures, tokens, tmp_path / "out", SETTINGS, workers=1, wandb="disabled")
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_a_commands_helper_processes_take_no_module_from_the_current_folder_either(tmp_path, monkeypatch):
    """joblib's are started with `python -m`, which puts the current folder first."""
    (tmp_path / "queue.py").write_text("raise SystemExit('the user's own module ran')")
    monkeypatch.chdir(tmp_path)
    code = "import sys; from proxymix.app.cli import main; main(['--version']); import subprocess\n"
    code += "subprocess.run([sys.executable, '-m', 'json.tool', '--help'], check=True, stdout=subprocess.DEVNULL)\n"
    code += "subprocess.run([sys.executable, '-c', 'import queue'], check=True)"
    root = str(Path(__file__).parent.parent)
    subprocess.run([sys.executable, "-P", "-c", code], check=True, env={**os.environ, "PYTHONPATH": root})


def test_an_estimate_starts_no_more_processes_than_there_are_runs_or_cores(monkeypatch):
    started = []

    def measured(settings, vocabulary, layouts, workers=1):
        started.append(workers)
        raise StageError("a worker could not train a first step")

    monkeypatch.setattr(launching, "measured", measured)
    monkeypatch.setattr("joblib.cpu_count", lambda *_, **__: 2)
    for num_runs in (8, 1):
        with pytest.raises(StageError):
            estimate_seconds([num_runs], TINY, VOCABULARY, workers=14)
    assert started == [2, 1]


@pytest.mark.parametrize("command", [sweep, train])
def test_two_commands_do_not_write_to_one_folder(tokens, mixtures, tmp_path, command):
    with locked(tmp_path), pytest.raises(StageError, match=f"{tmp_path}: another proxymix command"):
        command(mixtures, tokens, tmp_path, train=TINY, wandb="disabled")


@pytest.mark.slow
def test_a_finished_sweep_needs_no_lock_because_it_writes_nothing(tokens, mixtures, undisturbed):
    with locked(undisturbed):
        sweep(mixtures, tokens, undisturbed, SETTINGS, workers=1, wandb="disabled")


# ---- Damaged files ----

DAMAGES = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "noise": lambda content: bytes(255 - byte for byte in content),
    "digit": lambda content: content.replace(b"1", b"2", 1) if b"1" in content else content + b"2",
    "first line": lambda content: content.partition(b"\n")[2],
    "last line": lambda content: content[: content.rstrip(b"\n").rindex(b"\n") + 1],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["manifest.yaml", "losses.csv", "metrics.csv"])
def test_a_damaged_result_does_not_count_as_done_and_is_never_collected(tokens, undisturbed, tmp_path, name, damage):
    if (name, damage) == ("manifest.yaml", "first line"):
        pytest.skip("what is left is whole: a manifest of an older version")
    shutil.copytree(undisturbed / "n00002", tmp_path / "n00002")
    path = tmp_path / "n00002" / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    data = TokenData.open(tokens, SETTINGS)
    assert not RunFolder(tmp_path / "n00002").holds(Run("n00002", MIXTURES[1], 0), SETTINGS, data.sha256)
    with pytest.raises(InputError, match=rf"(?s){name}.*`proxymix sweep` again"):
        collect(tmp_path, tmp_path / "collected")


@pytest.mark.parametrize("damage", [*DAMAGES, "missing"])
def test_a_damaged_record_of_batches_is_written_anew(tokens, mixtures, undisturbed, tmp_path, damage):
    """Nothing is trained: the manifests know the batches."""
    shutil.copytree(undisturbed, tmp_path / "out")
    path = tmp_path / "out" / "bundles.yaml"
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(DAMAGES[damage](path.read_bytes()))
    sweep(mixtures, tokens, tmp_path / "out", SETTINGS, workers=1, wandb="disabled")
    if damage != "first line":  # What is left is whole: a file of an older version.
        assert contents(tmp_path / "out") == contents(undisturbed)


@pytest.mark.slow
def test_a_run_that_is_lost_with_the_record_of_batches_is_trained_among_its_old_neighbours(
    tokens, mixtures, undisturbed, tmp_path, monkeypatch
):
    monkeypatch.setitem(LAUNCHERS, "local", InThisProcess())
    shutil.copytree(undisturbed, tmp_path / "out")
    (tmp_path / "out" / "bundles.yaml").write_bytes(b"\0" * 200)
    (tmp_path / "out" / "n00001" / "losses.csv").unlink()
    sweep(mixtures, tokens, tmp_path / "out", SETTINGS, workers=1, wandb="disabled")
    assert contents(tmp_path / "out") == contents(undisturbed)


def test_run_folders_of_older_versions_hold_no_hashes_and_still_count_as_done(undisturbed, tokens, tmp_path):
    shutil.copytree(undisturbed / "n00001", tmp_path / "n00001")
    folder = RunFolder(tmp_path / "n00001")
    text = folder.manifest_path.read_text()
    folder.manifest_path.write_text(text[text.index("run:") : text.index("files:")])
    data = TokenData.open(tokens, SETTINGS)
    assert folder.holds(Run("n00001", MIXTURES[0], 0), SETTINGS, data.sha256)
    assert folder.result() == RunFolder(undisturbed / "n00001").result()


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["n00001", "n00002"])
def test_train_records_the_same_batch_however_often_it_was_begun(tokens, mixtures, tmp_path, lost):
    train(mixtures, tokens, tmp_path, train=SETTINGS, wandb="disabled")
    before = contents(tmp_path)
    assert read_yaml(tmp_path / "n00001" / "manifest.yaml")["stack"] == ["n00001", "n00002"]
    (tmp_path / lost / "manifest.yaml").unlink()
    train(mixtures, tokens, tmp_path, train=SETTINGS, wandb="disabled")
    assert contents(tmp_path) == before


# ---- States of training ----


def leave_a_state(data: TokenData, out: Path, monkeypatch) -> None:
    """Train half of a run, and stop after its state was written."""
    from proxy_training.loop import trainer

    monkeypatch.setattr(trainer, "STATE_SECONDS", -1.0)
    write = trainer.Training._write

    def write_and_stop(self, path):
        write(self, path)
        if self.step >= 50:
            raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Training, "_write", write_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_run(Run("n00001", MIXTURES[0], 0), data, out / "n00001", SETTINGS)
    assert (out / ".n00001.state").exists()
    monkeypatch.undo()


@pytest.mark.slow
def test_a_state_is_not_taken_up_on_other_tokens(tokens, tmp_path, monkeypatch):
    other = TokenData.open(write_tokens(tmp_path / "tokens", {"b": 2000, "a": 1000}), SETTINGS)
    run = Run("n00001", MIXTURES[0], 0)
    leave_a_state(TokenData.open(tokens, SETTINGS), tmp_path / "out", monkeypatch)
    train_run(run, other, tmp_path / "out" / "n00001", SETTINGS)
    train_run(run, other, tmp_path / "clean" / "n00001", SETTINGS)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "empty", "zeros", "noise"])
def test_a_damaged_state_is_begun_again(tokens, tmp_path, monkeypatch, damage):
    data, run = TokenData.open(tokens, SETTINGS), Run("n00001", MIXTURES[0], 0)
    leave_a_state(data, tmp_path / "out", monkeypatch)
    state = tmp_path / "out" / ".n00001.state"
    state.write_bytes(DAMAGES[damage](state.read_bytes()))
    train_run(run, data, tmp_path / "out" / "n00001", SETTINGS)
    train_run(run, data, tmp_path / "clean" / "n00001", SETTINGS)
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")
