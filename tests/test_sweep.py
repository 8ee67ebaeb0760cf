"""Sweeps over real worker processes: faults, kills, and the same bytes in the end."""

import errno
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from proxies import TINY, VOCABULARY, InThisProcess, contents, have_ended, wait_for, write_mixtures, write_tokens

from mixture_config.synthesize import synthesize
from proxy_training.collect import collect
from proxy_training.device.layout import Layout
from proxy_training.launch import worker_process
from proxy_training.launch.launcher import Outcome
from proxy_training.launch.local import LocalLauncher
from proxy_training.launch.run_batches import planned_batches
from proxy_training.launch.train_runs import LAUNCHERS, estimate_seconds, train_runs
from proxy_training.runs.settings import Run
from proxy_training.sweep import sweep
from proxymix.errors import InputError, StageError
from proxymix.files import read_yaml
from proxymix.tables import read_table
from regression.data.objective import Objective
from regression.data.runs_table import read_runs
from regression.selection.repeats import noise_floor

LONGER = replace(TINY, tokens=64 * 100, models_per_process=2)
MIXTURES = [{"a": share / 10, "b": 1 - share / 10} for share in (1, 3, 5, 7, 9)]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), {"a": 2000, "b": 1000, "bad": 300}, broken="bad")


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory) -> Path:
    return write_mixtures(tmp_path_factory.mktemp("mixtures"), MIXTURES)


@pytest.fixture(scope="module")
def uninterrupted(tokens, mixtures, tmp_path_factory) -> dict[str, bytes]:
    """The files of a sweep that nothing disturbed, on one worker and without wandb."""
    out = tmp_path_factory.mktemp("uninterrupted")
    sweep(mixtures, tokens, out, LONGER, workers=1, wandb="disabled")
    return contents(out)


@pytest.fixture
def no_workers(monkeypatch) -> None:
    monkeypatch.setitem(LAUNCHERS, "local", InThisProcess())


def workers_of(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if "proxy_training.launch.worker" in child.cmdline()]


def manifests(out: Path) -> list[Path]:
    return list(out.glob("*/manifest.yaml"))


@pytest.mark.slow
def test_a_sweep_killed_and_continued_ends_with_the_same_bytes(tokens, mixtures, uninterrupted, tmp_path):
    """kill -9 of the parent; its workers end by themselves; two workers and wandb change nothing either."""
    code = f"""
from pathlib import Path
from proxy_training.sweep import sweep
from proxy_training.runs.settings import TrainSettings
sweep(Path({str(mixtures)!r}), Path({str(tokens)!r}), Path({str(tmp_path)!r}), {LONGER!r}, workers=2)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    wait_for(lambda: manifests(tmp_path))
    workers = workers_of(parent.pid)
    assert len(workers) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert have_ended(workers), "a worker outlived its parent"
    done = {path: path.stat().st_mtime_ns for path in manifests(tmp_path)}
    assert 1 <= len(done) < len(MIXTURES)

    sweep(mixtures, tokens, tmp_path, LONGER, workers=2)
    assert contents(tmp_path) == uninterrupted
    assert {path: path.stat().st_mtime_ns for path in done} == done, "a finished run was trained again"
    assert all(len(list(path.parent.glob("wandb/offline-run-*"))) == 1 for path in manifests(tmp_path))


def test_repeats_of_a_mixture_are_trained_alike_on_seeds_of_their_own(tokens, tmp_path, no_workers):
    """So their losses differ by noise alone; every other run ends with the bytes that it has in an unrepeated sweep."""
    (tmp_path / "domains.csv").write_text("domain,tokens\na,2000\nb,1000\n")
    alone = replace(TINY, models_per_process=1)
    for name, repeat_seeds in (("once", 1), ("thrice", 3)):
        out = tmp_path / name
        synthesize(tmp_path / "domains.csv", out, num_mixtures=4, include=["prior"], repeat_seeds=repeat_seeds)
        sweep(out / "mixtures", tokens, out / "proxies", alone, workers=1, seed=5, wandb="disabled")
        collect(out / "proxies", out)
    of_prior = [tmp_path / "thrice" / "proxies" / f"n0000{number}" for number in (1, 2, 3)]
    found = [read_yaml(folder / "manifest.yaml") for folder in of_prior]
    assert [manifest["seed"] for manifest in found] == [5, 6, 7]
    for key in ("weights", "declared_tokens", "realised_tokens", "settings"):
        assert found[0][key] == found[1][key] == found[2][key]
    runs = read_runs(tmp_path / "thrice" / "mixtures.csv", tmp_path / "thrice" / "losses.csv")
    assert (np.ptp(runs.losses[:3], axis=0) > 1e-4).all() and (np.ptp(runs.weights[:3], axis=0) == 0).all()
    assert set(noise_floor(runs, Objective.of("mean", runs.targets, runs.losses))) == {"objective", *runs.targets}
    assert contents(of_prior[0]) == contents(tmp_path / "once" / "proxies" / "n00001")
    seeds = {read_yaml(path)["seed"] for path in manifests(tmp_path / "once" / "proxies")}
    assert seeds == {5} == {read_yaml(tmp_path / "thrice" / "proxies" / "n00004" / "manifest.yaml")["seed"]}


@pytest.mark.parametrize("repeat", ["-1", "true", "one", "1.5"])
def test_a_repeat_that_is_no_number_is_named(tokens, tmp_path, repeat):
    mixtures = write_mixtures(tmp_path / "mixtures", MIXTURES[:1])
    (mixtures / "n00001.yaml").write_text((mixtures / "n00001.yaml").read_text() + f"repeat: {repeat}\n")
    with pytest.raises(InputError, match=r"n00001\.yaml: repeat is "):
        sweep(mixtures, tokens, tmp_path / "out", TINY, wandb="disabled")


@pytest.mark.slow
def test_a_failing_run_is_reported_at_the_end_and_stops_no_other(tokens, tmp_path, capfd):
    runs = [Run("x1", {"a": 1.0}, 0), Run("x2", {"a": 0.5, "bad": 0.5}, 0), Run("x3", {"b": 1.0}, 0)]
    with pytest.raises(StageError, match=r"train/bad .*id \d+.* 64 (.*\n)+1 of 3 runs .*\(x2\)"):
        train_runs(
            runs,
            tokens,
            tmp_path,
            replace(TINY, models_per_process=1),
            workers=1,
            wandb="disabled",
            description="confirm",
        )
    assert sorted(path.parent.name for path in manifests(tmp_path)) == ["x1", "x3"]
    # changed settings retrain, unchanged ones do not
    train_runs([runs[0]], tokens, tmp_path, TINY, workers=1, wandb="disabled")
    assert "1 of 1 runs are done already" in capfd.readouterr().err


def test_unknown_domains_stop_a_sweep_before_anything_is_trained(tokens, tmp_path):
    mixtures = write_mixtures(tmp_path / "mixtures", [{"a": 1.0}, {"a": 0.5, "typo": 0.5}])
    with pytest.raises(InputError, match=r"n00002: .*'typo'.* a, b, bad"):
        sweep(mixtures, tokens, tmp_path / "out", TINY)
    assert not (tmp_path / "out").exists()


def test_any_launcher_is_given_the_planned_batches_and_what_it_does_not_leave_on_disk_is_missing(
    tokens, tmp_path, monkeypatch
):
    class Elsewhere(LocalLauncher):
        def choose_layout(self, *_):
            return Layout("cpu", "fp32", 2, 4, compile=False)

        def train(self, job, layout, batches, workers, advance):
            assert job.message()["out"] == str(tmp_path) and batches == [runs[:2], runs[2:]] and workers == 2
            assert read_yaml(tmp_path / "bundles.yaml")["bundles"] == [["x1", "x2"], ["x3"]], "written before"
            return Outcome(failed={"x1": "x1: no such partition"}, not_started=["x3"])

    monkeypatch.setitem(LAUNCHERS, "local", Elsewhere())
    runs = [Run(f"x{number}", {"a": 1.0}, 0) for number in (1, 2, 3)]
    with pytest.raises(StageError, match=r"x1: no such partition\n3 of 3 runs .*\(x1, x2, x3\)"):
        train_runs(runs, tokens, tmp_path, TINY, workers=2, wandb="disabled")


def test_a_full_disk_stops_the_sweep_with_the_systems_own_error(tokens, tmp_path, monkeypatch):
    def answers(self):
        return {"failed": "x1", "error": "No space left on device", "kind": "OSError", "errno": errno.ENOSPC}

    monkeypatch.setattr(worker_process.Worker, "answer", answers)
    runs = [Run(f"x{number}", {"a": 1.0}, 0) for number in range(50)]
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as error:
        train_runs(runs, tokens, tmp_path, TINY, workers=1)
    assert error.value.errno == errno.ENOSPC


def test_a_worker_that_cannot_start_says_why(tokens, mixtures, tmp_path, monkeypatch):
    monkeypatch.setitem(worker_process.WORKER_ENVIRONMENT, "PYTHONHOME", str(tmp_path / "nowhere"))
    with pytest.raises(StageError, match=r"n00001: .*died: exit status 1(.*\n)+5 of 5 runs"):
        sweep(mixtures, tokens, tmp_path / "out", TINY, workers=1, wandb="disabled")


@pytest.mark.slow
def test_a_failing_wandb_is_reported_once_and_changes_nothing(
    tokens, mixtures, uninterrupted, tmp_path, monkeypatch, capfd
):
    monkeypatch.setitem(worker_process.WORKER_ENVIRONMENT, "WANDB__SERVICE_WAIT", "not a number")
    sweep(mixtures, tokens, tmp_path, LONGER, workers=1)
    assert capfd.readouterr().err.count("wandb failed") == 1
    assert contents(tmp_path) == uninterrupted


def test_workers_fit_the_memory(monkeypatch):
    class Memory:
        available = 2**31

    monkeypatch.setattr(psutil, "virtual_memory", Memory)
    monkeypatch.setattr("joblib.cpu_count", lambda only_physical_cores: 64)
    assert LocalLauncher().num_workers(TINY, VOCABULARY) == 3
    assert LocalLauncher().num_workers(replace(TINY, model="60m"), 50_000) == 1


def test_workers_have_the_gpus_in_turn(monkeypatch):
    monkeypatch.setattr(worker_process, "num_gpus", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert [worker_process.one_gpu(number)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,7")
    assert [worker_process.one_gpu(number)["CUDA_VISIBLE_DEVICES"] for number in range(3)] == ["GPU-a", "7", "GPU-a"]
    monkeypatch.setattr(worker_process, "num_gpus", lambda: 0)
    assert worker_process.one_gpu(0) == {}


@pytest.mark.slow
def test_the_estimate_comes_from_training_on_every_worker():
    seconds = estimate_seconds([4, 6], LONGER, VOCABULARY, workers=1, num_domains=2)
    assert 10 * 0.3 < seconds < 10 * 60


def batches(out: Path) -> list[list[str]]:
    return read_yaml(out / "bundles.yaml")["bundles"]


@pytest.mark.slow
def test_which_runs_share_a_process_is_planned_once(tokens, mixtures, uninterrupted, tmp_path, no_workers):
    """A run that is lost is trained again among its old neighbours, whoever else is done; more workers change nothing."""
    sweep(mixtures, tokens, tmp_path, LONGER, workers=1, wandb="disabled")
    assert batches(tmp_path) == [["n00001", "n00002"], ["n00003", "n00004"], ["n00005"]]
    for name in ("n00002", "n00005"):
        (tmp_path / name / "manifest.yaml").unlink()
    sweep(mixtures, tokens, tmp_path, replace(LONGER, models_per_process="auto"), workers=2, wandb="disabled")
    assert contents(tmp_path) == uninterrupted


@pytest.mark.parametrize("asked", [{"models_per_process": 16}, {"models_per_process": 3, "micro_batch": 8}])
def test_batches_stay_as_planned_where_more_was_asked_than_is_possible(tmp_path, asked):
    """Sixteen in a process where two processes have five each; eight sequences at a time of batches of four."""
    runs, settings = [Run(f"n{k:05d}", {"a": 1.0}, 0) for k in range(10)], replace(TINY, **asked)
    possible = Layout("cpu", "fp32", min(asked["models_per_process"], 5), settings.batch_size, compile=False)
    planned = planned_batches(tmp_path, runs, runs, settings, "0", 2, lambda: possible)[1]
    left = planned_batches(tmp_path, runs, runs[4:], settings, "0", 2, lambda: possible)[1]
    assert left == [batch for batch in planned if batch[-1] in runs[4:]]


def test_a_sweep_that_grows_keeps_its_batches_and_files_and_adds_others(tokens, tmp_path, capfd, no_workers):
    few, more = (write_mixtures(tmp_path / str(count), MIXTURES[:count]) for count in (3, 5))
    sweep(few, tokens, tmp_path / "out", replace(TINY, models_per_process=2), workers=1, wandb="disabled")
    kept = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "out").glob("n*/*")}
    sweep(more, tokens, tmp_path / "out", replace(TINY, models_per_process=2), workers=1, wandb="disabled")
    assert batches(tmp_path / "out") == [["n00001", "n00002"], ["n00003"], ["n00004", "n00005"]]
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in kept} == kept
    said = capfd.readouterr().err
    assert "3 of 5 runs are done already" in said and "2 runs: 2 proxies a process" in said
    assert "out: 5 runs; mean validation loss from " in said and "Next: proxymix collect --proxies " in said
    # other settings are another sweep
    sweep(
        more,
        tokens,
        tmp_path / "out",
        replace(TINY, models_per_process=4, learning_rate=0.02),
        workers=1,
        wandb="disabled",
    )
    assert batches(tmp_path / "out") == [["n00001", "n00002", "n00003"], ["n00004", "n00005"]]


def test_a_sweep_planned_when_models_per_process_was_called_stack_keeps_its_batches(tmp_path):
    """The file still has that name, so a study that was begun before the setting was renamed goes on as planned."""
    runs, settings = [Run(f"n{k:05d}", {"a": 1.0}, 0) for k in range(4)], replace(TINY, models_per_process=2)
    layout = Layout("cpu", "fp32", 2, 4, compile=False)
    planned = planned_batches(tmp_path, runs, runs, settings, "0", 1, lambda: layout)
    content = read_yaml(tmp_path / "bundles.yaml")
    assert content["asked"] == {"stack": 2} and content["layout"]["stack"] == 2
    assert "models_per_process" not in str(content)
    again = planned_batches(tmp_path, runs, runs, settings, "0", 4, lambda: pytest.fail("planned already"))
    assert again == planned == (layout, [runs[:2], runs[2:]])


def test_diverged_runs_are_named_marked_and_not_trained_again(tokens, tmp_path, capfd, no_workers):
    wild = replace(TINY, learning_rate=1e30, gradient_clip=1e30)
    with pytest.raises(StageError, match="every run diverged"):
        train_runs([Run("x1", {"a": 1.0}, 0)], tokens, tmp_path, wild, workers=1, wandb="disabled")
    assert "x1 diverged: " in capfd.readouterr().err
    train_runs([Run("x1", {"a": 1.0}, 0)], tokens, tmp_path, wild, workers=1, wandb="disabled")
    assert "1 of 1 runs are done already" in capfd.readouterr().err


@pytest.mark.slow
def test_a_sweep_keeps_the_weights_of_every_run_when_asked(tokens, mixtures, tmp_path):
    sweep(mixtures, tokens, tmp_path, TINY, workers=1, wandb="disabled", save=True)
    assert len(list(tmp_path.glob("n*/checkpoint/lit_model.pth"))) == len(MIXTURES)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="wants a C++ compiler")
def test_compiled_proxies_learn_the_same_and_what_was_compiled_is_kept(tokens, mixtures, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    runs = [Run(f"n{k:05d}", weights, 0) for k, weights in enumerate(MIXTURES[:2])]
    for compiled in (False, True):
        settings = replace(TINY, models_per_process=2, compile=compiled)
        train_runs(runs, tokens, tmp_path / str(compiled), settings, workers=1, wandb="disabled")
    plain, same = ([read_table(path) for path in sorted(tmp_path.glob(f"{c}/*/losses.csv"))] for c in (False, True))
    for ours, theirs in zip(same, plain, strict=True):
        np.testing.assert_allclose(ours["loss_nats"], theirs["loss_nats"], atol=1e-4)
    assert read_yaml(tmp_path / "True" / "n00000" / "manifest.yaml")["compile"] is True
    kernels = list((tmp_path / "cache" / "proxymix" / "compiled").rglob("*.so"))
    assert kernels, "compiled again by every worker"
