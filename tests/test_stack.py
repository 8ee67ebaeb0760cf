"""Proxies that train together get the losses that they get alone, to the bit, whatever their neighbours are."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from litgpt import GPT
from proxies import TINY, VOCABULARY, contents, train_together, write_tokens

from data_preparation.tokens.shards import TokenDomain
from proxy_training.device.layout import Layout, layout_of
from proxy_training.loop import trainer
from proxy_training.loop.batches import Batches, DeviceBatches
from proxy_training.loop.distributed import OneDevice
from proxy_training.loop.graphed_step import GraphedStep
from proxy_training.model.proxy import build_proxy, proxy_config
from proxy_training.model.stack import clip_each, stacked, weights_of
from proxy_training.runs.settings import Run, TrainSettings
from proxy_training.runs.token_data import TokenData, plan_of

LAYOUT = Layout("cpu", "fp32", models_per_process=8, micro_batch=4, compile=False)
RUNS = [Run(f"n{k:05d}", {"a": k / 8, "b": 1 - k / 8}, seed=k % 3) for k in range(1, 8)]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TokenData:
    return TokenData.open(write_tokens(tmp_path_factory.mktemp("tokens"), {"a": 2000, "b": 1000}), TINY)


def fit(runs: list[Run], data: TokenData, settings: TrainSettings = TINY, layout: Layout = LAYOUT, **options):
    plans = [plan_of(run, data, settings) for run in runs]
    return trainer.fit(runs, plans, data, settings, layout, **options)


@pytest.mark.slow
@pytest.mark.parametrize("model", ["50k", "200k"])
def test_together_every_proxy_has_the_losses_that_it_has_alone_to_the_bit(data, model):
    settings = replace(TINY, model=model)
    alone = [fit([run], data, settings)[0] for run in RUNS[:4]]
    for size in (2, 4):
        together = [result for i in range(0, 4, size) for result in fit(RUNS[i : i + size], data, settings)]
        assert [r.rows for r in together] == [r.rows for r in alone]
        assert [r.tokens_fed for r in together] == [r.tokens_fed for r in alone]


def test_whoever_the_neighbours_are_and_in_whatever_order(data):
    first = fit(RUNS, data)
    backwards = fit(RUNS[::-1], data)[::-1]
    assert [r.rows for r in first] == [r.rows for r in backwards]


def test_a_proxy_that_diverges_does_not_touch_its_neighbours(data, monkeypatch):
    """One of three begins with weights that are no numbers."""
    wanted = fit(RUNS[:3], data)

    def broken(config, seed):
        model = build_proxy(config, seed)
        if seed == RUNS[1].seed:
            torch.nn.init.constant_(model.transformer.wte.weight, float("nan"))
        return model

    monkeypatch.setattr(trainer, "build_proxy", broken)
    found = fit(RUNS[:3], data)
    assert "the training loss is nan at step 1 of 20" in found[1].diverged
    assert len(found[1].rows) == 1
    for k in (0, 2):
        assert found[k].rows == wanted[k].rows
        assert not found[k].diverged


def test_training_ends_early_when_all_have_diverged(data):
    steps = []
    hopeless = replace(TINY, learning_rate=1e30, gradient_clip=1e30, tokens=64 * 400)
    found = fit(RUNS[:2], data, hopeless, on_steps=steps.append)
    assert all(result.diverged for result in found)
    assert sum(steps) == 2 * 400  # what is left counts as done
    assert sum(result.tokens_fed["a"] + result.tokens_fed["b"] for result in found) < 2 * 64 * 400


class Stopped(Exception):
    pass


@pytest.mark.parametrize("after", [1, 7, 19])
def test_stopped_anywhere_and_continued_it_ends_with_the_same_losses(data, tmp_path, monkeypatch, after):
    monkeypatch.setattr(trainer, "STATE_SECONDS", -1)  # at every report
    wanted = fit(RUNS[:2], data)
    state, steps = tmp_path / "state", []

    def stop(count: int) -> None:
        steps.append(count)
        if len(steps) > after:
            raise Stopped

    with pytest.raises(Stopped):
        fit(RUNS[:2], data, on_steps=stop, state=state)
    taken, again = [], []
    take = trainer.Training.take_step
    monkeypatch.setattr(trainer.Training, "take_step", lambda self: (taken.append(self.step), take(self)))
    found = fit(RUNS[:2], data, on_rows=lambda k, rows: again.extend(rows), state=state)
    assert taken[0] == after, "it started from the beginning"
    assert [r.rows for r in found] == [r.rows for r in wanted]
    assert [r.tokens_fed for r in found] == [r.tokens_fed for r in wanted]
    assert len(again) == 2 * TINY.num_steps, "the tracker must get the rows of both attempts"


def test_states_do_not_wait_for_reports(data, tmp_path, monkeypatch):
    """A run of days reports a hundred times, and must not lose hours."""
    monkeypatch.setattr(trainer, "STATE_SECONDS", -1)
    monkeypatch.setattr(trainer, "STATE_STEPS", 5)
    monkeypatch.setattr(trainer, "REPORTS", 1)
    written = []
    write = trainer.Training._write
    monkeypatch.setattr(trainer.Training, "_write", lambda self, path: (written.append(self.step), write(self, path)))
    settings = replace(TINY, evaluations=1)
    wanted = fit(RUNS[:2], data, settings)
    state = tmp_path / "state"

    def stop(self) -> None:
        if self.step == 13:
            raise Stopped
        take(self)

    take = trainer.Training.take_step
    monkeypatch.setattr(trainer.Training, "take_step", stop)
    with pytest.raises(Stopped):
        fit(RUNS[:2], data, settings, state=state)
    assert written == [5, 10]
    monkeypatch.setattr(trainer.Training, "take_step", take)
    assert [r.rows for r in fit(RUNS[:2], data, settings, state=state)] == [r.rows for r in wanted]
    assert written == [5, 10, 15, 20]


def test_a_state_of_other_runs_is_not_taken_up(data, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer, "STATE_SECONDS", -1)
    fit(RUNS[:2], data, state=tmp_path / "state")
    for runs, settings in ((RUNS[1:3], TINY), (RUNS[:2], replace(TINY, learning_rate=0.005))):
        assert [r.rows for r in fit(runs, data, settings, state=tmp_path / "state")] == [
            r.rows for r in fit(runs, data, settings)
        ]


def test_weights_go_in_and_out_of_a_stack_unchanged_and_litgpt_takes_them():
    config = proxy_config("50k", VOCABULARY, 16)
    models = [build_proxy(config, seed) for seed in range(3)]
    stack = stacked(models)
    ids = torch.randint(VOCABULARY, (3, 2, 16))
    hidden = stack(ids.flatten(0, 1)).view(3, 2, 16, -1)
    for k, model in enumerate(models):
        weights = weights_of(stack, k)
        assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())
        fresh = GPT(config)
        fresh.load_state_dict(weights)
        logits = hidden[k] @ stack.lm_head.weight[k].t()
        torch.testing.assert_close(fresh(ids[k]), logits)


def test_every_proxy_is_clipped_by_its_own_norm():
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.zeros(2, 3, 4)), torch.nn.Parameter(torch.zeros(2, 5))]
    for p in parameters:
        p.grad = torch.randn_like(p) * torch.tensor([10.0, 0.01]).view(-1, *[1] * (p.ndim - 1))
    before = [p.grad.clone() for p in parameters]
    norms = clip_each(parameters, 1.0)
    assert norms[0] > 1 > norms[1]
    after = torch.stack([torch.cat([p.grad[k].flatten() for p in parameters]).norm() for k in range(2)])
    torch.testing.assert_close(after, torch.stack([torch.tensor(1.0), norms[1]]), atol=1e-5, rtol=1e-5)
    assert all(torch.equal(p.grad[1], was[1]) for p, was in zip(parameters, before, strict=True))


def test_in_bf16_neighbours_move_a_loss_by_far_less_than_a_seed(data):
    layout = replace(LAYOUT, precision="bf16")
    alone = [fit([run], data, layout=layout)[0].rows[-1]["metric/a_val_loss"] for run in RUNS[:2]]
    together = [result.rows[-1]["metric/a_val_loss"] for result in fit(RUNS[:2], data, layout=layout)]
    assert together == pytest.approx(alone, abs=0.01)


def test_a_run_batch_of_which_some_runs_are_done_trains_the_same_and_does_not_touch_those(data, tmp_path):
    layout = layout_of(replace(TINY, models_per_process=3), VOCABULARY)
    train_together(RUNS[:3], data, tmp_path / "whole", TINY, layout)
    wanted = contents(tmp_path / "whole")
    train_together(RUNS[:3], data, tmp_path / "part", TINY, layout)
    for name in ("manifest.yaml", "losses.csv"):
        (tmp_path / "part" / "n00002" / name).unlink()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "part" / "n00001").iterdir()}
    train_together(RUNS[:3], data, tmp_path / "part", TINY, layout)
    assert contents(tmp_path / "part") == wanted
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_out_of_memory_halves_the_pieces_and_not_the_result(data, tmp_path, monkeypatch):
    said, real = [], trainer.fit

    def scarce(*args, **kwargs):
        if args[4].micro_batch > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(*args, **kwargs)

    layout = layout_of(TINY, VOCABULARY)
    train_together(RUNS[:1], data, tmp_path / "whole", TINY, layout)
    monkeypatch.setattr(trainer, "fit", scarce)
    train_together(RUNS[:1], data, tmp_path / "scarce", TINY, layout, warn=said.append)
    assert [line.rpartition("; ")[2] for line in said] == [
        "again with 2 sequences at a time",
        "again with 1 sequences at a time",
    ]
    losses = [
        [float(line.split(",")[1]) for line in (tmp_path / name / "n00001" / "losses.csv").read_text().split()[1:]]
        for name in ("whole", "scarce")
    ]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_simulated_epochs_repeat_a_domain_as_often_as_the_final_training_would(data, tmp_path):
    """1,280 tokens stand for 12,800: each domain is a tenth of what it is."""
    settings = replace(TINY, simulated_budget=12_800)
    small = TokenData.open(Path(data.folder), settings)
    plan, whole = plan_of(RUNS[3], small, settings), plan_of(RUNS[3], data, TINY)
    assert small.train["a"].num_blocks == round(data.train["a"].num_blocks / 10)
    assert plan.quotas == whole.quotas
    assert plan.epochs["a"] == pytest.approx(10 * whole.epochs["a"], rel=0.1)
    there = {tuple(row) for row in data.train["a"].gather(range(data.train["a"].num_blocks))}
    assert {tuple(row) for row in small.train["a"].gather(range(small.train["a"].num_blocks))} <= there
    assert small.valid["a"].num_blocks == data.valid["a"].num_blocks


@pytest.fixture
def replayed(monkeypatch):
    """CUDA graphs on a CPU: what is captured is the work itself, which a replay does again."""

    class Graph:
        def __init__(self, work) -> None:
            self.replay = work

    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda which: nullcontext())
    monkeypatch.setattr(GraphedStep, "_capture", lambda self: setattr(self, "graph", Graph(self._work)))


@pytest.mark.parametrize("corpus", ["host", "device"])
def test_a_replayed_step_and_a_corpus_on_the_device_change_no_loss(data, tmp_path, monkeypatch, replayed, corpus):
    layout = replace(LAYOUT, graph=True, corpus=corpus)
    wanted = fit(RUNS[:3], data)
    found = fit(RUNS[:3], data, layout=layout)
    for ours, theirs in zip(found, wanted, strict=True):
        assert [row["train_loss"] for row in ours.rows] == pytest.approx(
            [row["train_loss"] for row in theirs.rows], abs=1e-5
        )
    monkeypatch.setattr(trainer, "STATE_SECONDS", -1)
    steps = []

    def stop(count: int) -> None:
        steps.append(count)
        if len(steps) > 9:
            raise Stopped

    with pytest.raises(Stopped):
        fit(RUNS[:3], data, layout=layout, on_steps=stop, state=tmp_path / "state")
    assert [r.rows for r in fit(RUNS[:3], data, layout=layout, state=tmp_path / "state")] == [r.rows for r in found]


def test_a_corpus_on_the_device_gives_the_same_batches_to_the_bit(tmp_path):
    """Of domains in several shards, one of them with a share of its blocks only, and ids that fill 16 bits."""
    settings = replace(TINY, simulated_budget=4 * TINY.tokens)
    data = TokenData.open(write_tokens(tmp_path, {"a": 2000, "b": 3000}, shard=450), settings)
    wide = replace(data, train={name: with_high_ids(domain) for name, domain in data.train.items()})
    wide.manifest.tokenizer["vocabulary"] = 2**16
    runs = RUNS[:3]
    plans = [plan_of(run, wide, settings) for run in runs]
    host, device = (kind(plans, wide, settings, LAYOUT, OneDevice()) for kind in (Batches, DeviceBatches))
    for step in range(settings.num_steps):
        assert torch.equal(host.rows(step), device.rows(step))
        assert torch.equal(host.rows(step), device.rows_at(torch.tensor([step])))
    assert host.rows(0).max() > 2**15
    assert host.fed(7) == device.fed(7)


def with_high_ids(domain: TokenDomain) -> TokenDomain:
    return TokenDomain([np.asarray(65_535 - shard, dtype="<u2") for shard in domain.shards], 16, domain.share)
