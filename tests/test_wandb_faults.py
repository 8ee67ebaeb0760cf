"""A wandb service that hangs, and a server that is not there."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
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


def start_training(place: Path, out: Path, wandb: str, max_wait: float, **variables: str) -> subprocess.Popen:
    code = f"""
from pathlib import Path
from proxy_training.runs.settings import TrainSettings
from proxy_training.tracking import wandb_log
from proxy_training.train import train
wandb_log.MAX_WAIT_SECONDS, wandb_log.CONNECT_SECONDS = {max_wait}, 1.0
place = Path({str(place)!r})
train(place / "mixtures", place / "tokens", Path({str(out)!r}), train={SETTINGS!r}, wandb={wandb!r})
"""
    environment = {**os.environ, **variables}
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment)


def wandb_services(job: subprocess.Popen) -> list[psutil.Process]:
    """The services that a job has started; it is waited for the first one for as long as the job runs."""
    while job.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):  # A process may end while it is looked at.
            children = psutil.Process(job.pid).children(recursive=True)
            if services := [process for process in children if process.name().startswith("wandb")]:
                return services
        time.sleep(0.02)
    raise AssertionError(f"the job ended without a wandb service: {job.communicate()[1]}")


@pytest.mark.slow
def test_a_service_that_is_stopped_is_left_behind_and_training_goes_on(place, tmp_path):
    job = start_training(place, tmp_path, "offline", max_wait=20.0)
    services = wandb_services(job)
    services[0].send_signal(signal.SIGSTOP)
    errors = job.communicate(timeout=120)[1]
    assert job.returncode == 0 and errors.count("wandb failed") == 1 and "Traceback" not in errors, errors
    assert contents(tmp_path) == contents(place / "plain")
    assert not psutil.wait_procs(services, timeout=10)[1], "a service outlived the command"


@pytest.mark.slow
def test_a_server_that_is_not_there_is_waited_for_once_and_the_files_are_written(place, tmp_path):
    there_is_nothing = {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}
    errors = start_training(place, tmp_path, "online", max_wait=60.0, **there_is_nothing).communicate(timeout=120)[1]
    assert errors.count("wandb failed") == 1 and "wandb sync" in errors
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
