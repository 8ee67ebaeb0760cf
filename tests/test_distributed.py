"""One run on several devices: the losses, tokens and weights of one device, and no process left behind."""

import contextlib
import os
import re
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from proxies import TINY, contents, wait_for, write_mixtures, write_tokens

from mixture_config.files.mixture import Mixture
from proxy_training.device.layout import Layout
from proxy_training.loop.distributed import loopback
from proxy_training.loop.trainer import fit
from proxy_training.runs.settings import Run
from proxy_training.runs.token_data import TokenData, plan_of
from proxy_training.train import train
from proxymix.errors import InputError, StageError
from proxymix.files import read_yaml
from proxymix.tables import read_table

ROOT = Path(__file__).parent.parent
MIXTURE = {"a": 0.3, "b": 0.7}
# Two pieces on each of two devices, four on one; 15 blocks to score, of which each of two takes 8.
PIECES = replace(TINY, micro_batch=1, valid_tokens=80)


@pytest.fixture(scope="module")
def tokens(tmp_path_factory) -> Path:
    return write_tokens(tmp_path_factory.mktemp("tokens"), {"a": 2000, "b": 1000, "bad": 300}, broken="bad")


@pytest.fixture(scope="module")
def mixture(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("study") / "optimal_mixture.yaml"
    Mixture(MIXTURE).write(path)
    return path


@pytest.fixture(scope="module")
def alone(tokens, mixture, tmp_path_factory) -> Path:
    """The run's folder, trained on one device."""
    out = tmp_path_factory.mktemp("alone")
    train(mixture, tokens, out, train=PIECES, wandb="disabled", save=True)
    return out / "optimal_mixture"


def same_training(found: Path, wanted: Path, tolerance: float) -> None:
    ours, theirs = (read_table(folder / "metrics.csv") for folder in (found, wanted))
    np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), atol=tolerance)
    ours, theirs = (read_table(folder / "losses.csv").set_index("domain") for folder in (found, wanted))
    np.testing.assert_allclose(ours.to_numpy(), theirs.to_numpy(), atol=tolerance)
    manifests = [read_yaml(folder / "manifest.yaml") for folder in (found, wanted)]
    for key in ("declared_tokens", "realised_tokens", "settings", "weights"):
        assert manifests[0][key] == manifests[1][key]
    assert set(contents(found)) == set(contents(wanted))
    weights = [
        torch.load(folder / "checkpoint" / "lit_model.pth", weights_only=True)["model"] for folder in (found, wanted)
    ]
    assert list(weights[0]) == list(weights[1])
    for name, value in weights[0].items():
        torch.testing.assert_close(value, weights[1][name], atol=tolerance, rtol=0)


@pytest.mark.slow
def test_two_processes_train_what_one_does_by_the_command_that_docs_show(tokens, mixture, alone, tmp_path):
    block = re.search(r"^```sh\n(proxymix train [^`]*--devices[^`]*)^```", (ROOT / "docs/gpus.md").read_text(), re.M)
    assert block is not None
    command = block[1].replace("STUDY/tokens", str(tokens)).replace("STUDY/optimal_mixture.yaml", str(mixture))
    changes = {"devices": "2", "train.micro_batch": "1", "train.valid_tokens": "80", "train.evaluations": "2"}
    changes |= {f"train.{key}": str(getattr(PIECES, key)) for key in ("model", "tokens", "sequence_length")}
    changes |= {f"train.{key}": str(getattr(PIECES, key)) for key in ("batch_size", "learning_rate")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(ROOT), "PATH": path}
    script = command.strip() + "".join(f" --{key} {value}" for key, value in changes.items())
    done = subprocess.run(["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    same_training(tmp_path / "TARGET" / "optimal_mixture", alone, 1e-4)
    assert read_yaml(tmp_path / "TARGET" / "optimal_mixture" / "manifest.yaml")["devices"] == 2
    assert [path.name for path in (tmp_path / "TARGET").iterdir()] == ["optimal_mixture"], "its state goes with its end"


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="wants two GPUs")
def test_two_gpus_train_sharded_what_one_does(tokens, mixture, tmp_path):
    settings = replace(PIECES, precision="fp32")
    for devices in (1, 2):
        train(mixture, tokens, tmp_path / str(devices), None, settings, wandb="disabled", save=True, devices=devices)
    same_training(tmp_path / "2" / "optimal_mixture", tmp_path / "1" / "optimal_mixture", 1e-3)


@pytest.mark.slow
def test_the_same_command_under_torchrun_is_one_of_its_processes(tokens, mixture, alone, tmp_path):
    flags = {"mixtures": mixture, "tokens": tokens, "out": tmp_path / "out", "wandb": "disabled"}
    flags |= {f"train.{key}": getattr(PIECES, key) for key in ("model", "sequence_length", "tokens", "batch_size")}
    flags |= {f"train.{key}": getattr(PIECES, key) for key in ("learning_rate", "valid_tokens", "evaluations")}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["proxy_training/train.py", "--save", "--train.micro_batch", "1"]
    command += [f"--{key}={value}" for key, value in flags.items()]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "GLOO_SOCKET_IFNAME": loopback(), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    same_training(tmp_path / "out" / "optimal_mixture", alone, 1e-4)


ONE_OF_TWO = """
import sys
from dataclasses import replace
from pathlib import Path

import torch
from proxies import TINY, VOCABULARY

from proxy_training.loop import trainer
from proxy_training.loop.distributed import join, part_of
from proxy_training.runs.settings import Run
from proxy_training.runs.token_data import TokenData, plan_of

devices, run = join(Path("rendezvous").resolve()), Run("x", {"a": 0.3, "b": 0.7}, 0)
data = TokenData.open(Path(sys.argv[1]), TINY)
trainer.STATE_SECONDS = -1 if devices.rank == 0 else 1e9  # the first one's clock counts


class Stopped(Exception):
    pass


def fit(settings, **options):
    plans = [plan_of(run, data, settings)]
    layout = part_of(settings, VOCABULARY, devices.size)
    return trainer.fit([run], plans, data, settings, layout, devices=devices, **options)[0]


def stop(count, steps=[]):
    steps.append(count)
    if len(steps) == 8:
        raise Stopped


try:
    fit(TINY, on_steps=stop, state=Path("state"))
except Stopped:
    pass
taken = []
take = trainer.Training.take_step
trainer.Training.take_step = lambda self: (taken.append(self.step), take(self))
found = fit(TINY, state=Path("state"))
Path("state").unlink(missing_ok=True)
wild = fit(replace(TINY, learning_rate=1e30, gradient_clip=1e30))
content = {"first": taken[0], "rows": found.rows, "fed": found.tokens_fed, "diverged": wild.diverged}
torch.save({**content, "before": len(wild.rows)}, f"rank{devices.rank}")
devices.leave()
"""


@pytest.mark.slow
def test_stopped_and_continued_on_two_and_divergence_stops_both(tokens, tmp_path):
    (tmp_path / "one_of_two.py").write_text(ONE_OF_TWO)
    variables = {
        "CUDA_VISIBLE_DEVICES": "",
        "GLOO_SOCKET_IFNAME": loopback(),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    variables["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    processes = [
        subprocess.Popen(
            [sys.executable, "one_of_two.py", str(tokens)],
            cwd=tmp_path,
            env={**os.environ, **variables, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(2)
    ]
    assert [process.wait(timeout=300) for process in processes] == [0, 0]
    ranks = [torch.load(tmp_path / f"rank{rank}", weights_only=True) for rank in range(2)]
    assert ranks[0]["first"] == ranks[1]["first"] == 7, "it started from the beginning"
    assert ranks[0] == ranks[1]
    assert "lower train.learning_rate" in ranks[0]["diverged"] and ranks[0]["before"] < TINY.num_steps
    run = Run("x", MIXTURE, 0)
    data = TokenData.open(tokens, TINY)
    layout = Layout("cpu", "fp32", models_per_process=1, micro_batch=4, compile=False)
    (wanted,) = fit([run], [plan_of(run, data, TINY)], data, TINY, layout)
    assert ranks[0]["fed"] == wanted.tokens_fed
    for ours, theirs in zip(ranks[0]["rows"], wanted.rows, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def processes_by_rank() -> dict[str, psutil.Process]:
    found = {}
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):  # It may end while it is looked at.
            found[child.environ().get("RANK", "")] = child
    return {rank: child for rank, child in found.items() if rank}


@pytest.mark.slow
def test_a_process_that_fails_or_dies_ends_all_and_says_why(tokens, mixture, tmp_path):
    bad = write_mixtures(tmp_path / "mixtures", [{"bad": 1.0}])
    with pytest.raises(InputError, match=r"train/bad holds the id \d+"):
        train(bad, tokens, tmp_path / "bad", train=TINY, wandb="disabled", devices=2)
    assert not processes_by_rank()

    def kill() -> None:
        wait_for((tmp_path / "out" / "optimal_mixture").exists)  # the first process is about to train
        processes_by_rank()["1"].kill()

    killer = threading.Thread(target=kill)
    killer.start()
    long = replace(TINY, tokens=64 * 100_000)
    with pytest.raises(StageError, match=r"optimal_mixture: the process of device 1 died: it was killed"):
        train(mixture, tokens, tmp_path / "out", train=long, wandb="disabled", devices=2)
    killer.join()
    assert not processes_by_rank()


def test_devices_must_share_a_batch_evenly(tokens, mixture, tmp_path):
    with pytest.raises(InputError, match=r"train\.batch_size is 4, .* 3 devices; set it to 3"):
        train(mixture, tokens, tmp_path, train=TINY, devices=3)
    with pytest.raises(InputError, match=r"--devices is 0"):
        train(mixture, tokens, tmp_path, train=TINY, devices=0)
    assert not list(tmp_path.iterdir())


def test_without_a_list_all_runs_of_a_folder_are_trained(tokens, tmp_path):
    mixtures = write_mixtures(tmp_path / "mixtures", [{"a": 1.0}, MIXTURE])
    train(mixtures, tokens, tmp_path / "out", train=TINY, wandb="disabled")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["n00001", "n00002"]
