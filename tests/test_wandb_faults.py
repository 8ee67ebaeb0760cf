"""A wandb service that hangs, and a server that is not there."""

import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from proxies import TINY, contents, write_mixtures, write_tokens

from proxy_training.tracking import wandb_log
from proxy_training.tracking.wandb_log import WandbLog, WandbService
from proxy_training.train import train

SETTINGS = replace(TINY, tokens=64 * 100, models_per_process=1)
MIXTURES = [{"a": 0.1, "b": 0.9}, {"a": 0.5, "b": 0.5}, {"a": 0.9, "b": 0.1}]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Tokens, mixtures, and the runs that are trained without wandb."""
    folder = tmp_path_factory.mktemp("place")
    tokens = write_tokens(folder / "tokens", {"a": 2000, "b": 1000})
    train(write_mixtures(folder / "mixtures", MIXTURES), tokens, folder / "plain", train=SETTINGS, wandb="disabled")
    return folder


def run_training(place: Path, out: Path, wandb: str, before: str = "", **variables: str) -> subprocess.CompletedProcess:
    """A command that trains all mixtures in a process of its own; `before` is what this process does first."""
    code = f"""
import contextlib
import signal
from pathlib import Path
import psutil
from proxy_training.runs.settings import TrainSettings
from proxy_training.tracking import wandb_log
from proxy_training.train import train

def services():
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # It may end while it is looked at.
            found += [process] * process.name().startswith("wandb")
    return found

def stop_services():
    found = services()
    assert found, "no wandb service to stop"
    for process in found:
        process.send_signal(signal.SIGSTOP)
    wandb_log.MAX_WAIT_SECONDS = 1.0  # Not before: to import wandb and to start its service takes seconds.

{before}
place = Path({str(place)!r})
train(place / "mixtures", place / "tokens", Path({str(out)!r}), train={SETTINGS!r}, wandb={wandb!r})
print([process.pid for process in psutil.wait_procs(services(), timeout=60)[1]])
"""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, timeout=500)


STOPPED = {
    "while it logs": """
log = wandb_log.WandbLog.log
def stop_and_log(self, rows):
    wandb_log.WandbLog.log = log
    stop_services()
    log(self, rows)
wandb_log.WandbLog.log = stop_and_log
""",
    "after the last run": """
close = wandb_log.close_service
import proxy_training.train
def stop_and_close():
    stop_services()
    close()
proxy_training.train.close_service = stop_and_close
""",
}


@pytest.fixture
def proxy() -> Iterator[socket.socket]:
    """Listens where everything that is asked of the network would arrive; no name is looked up beside it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening


@pytest.mark.slow
@pytest.mark.parametrize("when", STOPPED)
def test_a_service_that_is_stopped_is_left_behind_and_the_network_is_not_used(place, tmp_path, proxy, when):
    """It is stopped by the process that trains, so that neither is ever too early or too late for the other."""
    address = f"http://127.0.0.1:{proxy.getsockname()[1]}"
    through = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "https_proxy", "http_proxy"), address)
    job = run_training(place, tmp_path, "offline", STOPPED[when], **through, NO_PROXY="", no_proxy="")
    assert job.returncode == 0 and job.stdout == "[]\n" and "Traceback" not in job.stderr, job.stderr
    assert job.stderr.count("wandb failed") == (when == "while it logs"), job.stderr
    assert contents(tmp_path) == contents(place / "plain")
    assert not select.select([proxy], [], [], 0)[0], "something was asked of the network"


@pytest.mark.slow
def test_the_service_of_the_process_that_started_the_command_is_neither_used_nor_ended(place, tmp_path, monkeypatch):
    """Such as a notebook with a wandb run of its own."""
    theirs = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(theirs))
        listening.listen()
        job = run_training(place, tmp_path / "out", "offline", WANDB_SERVICE=f"3-{os.getpid()}-unix-{theirs}")
        assert job.returncode == 0 and "wandb failed" not in job.stderr, job.stderr
        assert not select.select([listening], [], [], 0)[0], "the other process's service was spoken to"
    assert len(list((tmp_path / "out").glob("*/wandb/offline-run-*/run-*.wandb"))) == len(MIXTURES)


@pytest.mark.slow
def test_a_server_that_is_not_there_is_waited_for_once_and_the_files_are_written(place, tmp_path):
    there_is_nothing = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
    job = run_training(place, tmp_path, "online", "wandb_log.CONNECT_SECONDS = 1.0", **there_is_nothing)
    assert job.stderr.count("wandb failed") == 1 and "wandb sync" in job.stderr, job.stderr
    assert contents(tmp_path) == contents(place / "plain")
    assert len(list(tmp_path.glob("*/wandb/offline-run-*/run-*.wandb"))) == len(MIXTURES)


@pytest.mark.parametrize("hangs_at", ["start", "log", "finish"])
def test_a_call_that_does_not_return_is_waited_for_once_in_a_process(monkeypatch, hangs_at):
    calls: list[str] = []

    class Stuck:
        def __getattr__(self, name):
            return lambda *_, **__: self.call(name)

        def call(self, name):
            calls.append(name)
            if name == hangs_at:
                threading.Event().wait()

    def start(mode):
        Stuck().start()
        return Stuck()

    monkeypatch.setattr(wandb_log, "MAX_WAIT_SECONDS", 0.2)
    monkeypatch.setattr(wandb_log, "SERVICE", WandbService())
    warnings: list[str] = []
    for run in ("n00001", "n00002"):
        log = WandbLog(run, "offline", start, warnings.append)
        log.log([{"step": 1, "train_loss": 2.0}])
        log.close(failed=False)
    assert calls[-1] == hangs_at and calls.count(hangs_at) == 1, "wandb was called again after it hung"
    assert len(warnings) == 1 and re.match("n00001: wandb failed", warnings[0])
