"""Our shards at a mixture inside litgpt: the batches it trains on are the plan's, wherever and however often it stops."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from lightning import Fabric
from litgpt.pretrain import get_dataloaders
from proxies import VOCABULARY, write_tokens

from data_preparation.tokens.shards import open_domain
from mixture_config.files.mixture import Mixture
from proxy_training.data_module import MixtureData
from proxy_training.runs.plan import block_stream, training_plan
from proxymix.errors import InputError
from proxymix.tables import read_table

SIZES = {"code": 1500, "web": 4000, "wiki": 3000}
WEIGHTS = {"web": 0.55, "code": 0.3, "wiki": 0.15}
LENGTH, BATCH = 16, 4
TOKENS = 60 * LENGTH


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    return write_tokens(tmp_path_factory.mktemp("study") / "tokens", SIZES)


@pytest.fixture
def data(tokens, tmp_path):
    """A maker of data modules; what is not given is as above."""

    def make(weights=WEIGHTS, train_tokens=TOKENS, num_workers=0, batch_size=BATCH, length=LENGTH, **more):
        Mixture(weights).write(tmp_path / "mixture.yaml")
        made = MixtureData(tokens, tmp_path / "mixture.yaml", train_tokens, num_workers=num_workers, **more)
        made.connect(tokenizer=None, batch_size=batch_size, max_seq_length=length)
        return made

    return make


def stream(made):
    """All that a loader gives in one lap, shape (items, sequence_length + 1)."""
    made.setup()
    return torch.cat(list(made.train_dataloader())).numpy()


def planned(tokens, weights=WEIGHTS, num_items=TOKENS // LENGTH, seed=42):
    """The same from the plan that proxies are trained on, one block at a time."""
    domains = {name: open_domain(tokens, "train", name, LENGTH) for name in SIZES}
    plan = training_plan(weights, {name: d.num_blocks for name, d in domains.items()}, num_items, seed)
    pairs = zip(plan.domain, plan.block, strict=True)
    return np.concatenate([domains[plan.domains[domain]].gather(np.array([block])) for domain, block in pairs])


def domain_of(sequence):
    """The domain of ids, told by their text alone: in the domain number d an id is the one before it plus d + 1."""
    steps = np.bincount(np.diff(sequence) % VOCABULARY, minlength=VOCABULARY)
    return list(SIZES)[int(steps.argmax()) - 1]


def test_litgpt_is_fed_item_for_item_what_a_proxy_is(data, tokens):
    made = data(seed=7)
    loader, _ = get_dataloaders(Fabric(accelerator="cpu"), made, None, SimpleNamespace(micro_batch_size=4), LENGTH)
    batches = list(Fabric(accelerator="cpu").setup_dataloaders(loader))
    assert {batch.shape for batch in batches} == {(BATCH, LENGTH + 1)} and batches[0].dtype == torch.int64
    np.testing.assert_array_equal(torch.cat(batches), planned(tokens, seed=7))


def test_every_domain_gives_exactly_its_quota(data):
    made = data()
    fed = [domain_of(sequence) for sequence in stream(made)]
    assert {name: fed.count(name) for name in WEIGHTS} == {"web": 33, "code": 18, "wiki": 9} == made.plan.quotas


def test_a_weight_of_zero_draws_nothing_and_needs_no_tokens(data):
    fed = {domain_of(sequence) for sequence in stream(data({"web": 0.5, "code": 0.5, "wiki": 0.0, "gone": 0.0}))}
    assert fed == {"web", "code"}


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_order_does_not_depend_on_the_workers(data, tokens, num_workers):
    np.testing.assert_array_equal(stream(data(num_workers=num_workers)), planned(tokens))


def as_rank(monkeypatch, rank, world_size):
    values = {"is_initialized": True, "get_rank": rank, "get_world_size": world_size}
    for name, value in values.items():
        monkeypatch.setattr(torch.distributed, name, lambda *_, value=value: value)


@pytest.mark.parametrize(("world_size", "batch_size"), [(1, 12), (2, 6), (3, 4), (6, 1)])
def test_ranks_share_out_the_plan_so_that_a_step_trains_on_the_same_items(
    data, tokens, monkeypatch, world_size, batch_size
):
    """Whatever the devices and the micro-batch, a step of 12 sequences takes the next 12 items between them."""
    ranks = []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        ranks.append(stream(data(batch_size=batch_size)))
    share = 12 // world_size
    together = np.concatenate([rank[step * share : (step + 1) * share] for step in range(5) for rank in ranks])
    expected = planned(tokens)
    for step in range(5):
        window = slice(12 * step, 12 * step + 12)
        assert sorted(together[window].tolist()) == sorted(expected[window].tolist())


def test_ranks_have_equally_many_batches_where_the_items_do_not_divide(data, monkeypatch):
    """Else one of them would wait for the others for ever; what is left is less than one batch of all."""
    lengths = []
    for rank in range(3):
        as_rank(monkeypatch, rank, 3)
        lengths.append(len(stream(data(train_tokens=59 * LENGTH))))
    assert lengths == [16, 16, 16]


def test_the_stream_goes_on_after_the_plan_at_the_same_shares_with_the_blocks_that_come_next(data, tokens):
    """litgpt starts its loader again where a run is longer than the plan."""
    made = data()
    made.setup()
    loader = made.train_dataloader()
    laps = [torch.cat(list(loader)).tolist() for _ in range(4)]
    for name, quota in made.plan.quotas.items():
        domain = open_domain(tokens, "train", name, LENGTH)
        fed = [[sequence for sequence in lap if domain_of(sequence) == name] for lap in laps]
        assert [len(sequences) for sequences in fed] == [quota] * 4
        blocks = block_stream(name, domain.num_blocks, 4 * quota, seed=42)
        assert [sequence for lap in fed for sequence in lap] == domain.gather(blocks).tolist()


def test_what_is_less_than_a_batch_is_passed_over_and_the_stream_goes_on_with_the_next_lap(data, tokens):
    made = data(train_tokens=59 * LENGTH)
    made.setup()
    loader = made.train_dataloader()
    laps = [torch.cat(list(loader)).numpy() for _ in range(2)]
    assert [len(lap) for lap in laps] == [56, 56]
    order = [domain_of(sequence) for sequence in planned(tokens, num_items=59)][:56]
    assert [[domain_of(sequence) for sequence in lap] for lap in laps] == [order, order]


@pytest.mark.parametrize(("workers_before", "workers_after", "batch_after"), [(0, 0, 4), (2, 0, 4), (0, 2, 2)])
@pytest.mark.parametrize("batches_before", [7, 20])
def test_a_resumed_run_goes_on_with_the_next_item(
    data, tmp_path, workers_before, workers_after, batch_after, batches_before
):
    """Through Fabric's checkpoints, as litgpt does it; 15 batches are a lap."""
    fabric = Fabric(accelerator="cpu")

    def loader_and_stream(num_workers, batch_size=BATCH):
        made = data(num_workers=num_workers, batch_size=batch_size)
        made.setup()
        loader = fabric.setup_dataloaders(made.train_dataloader())
        return loader, (batch for _ in range(3) for batch in loader)

    _, batches = loader_and_stream(0)
    whole = torch.cat(list(batches))
    before, batches = loader_and_stream(workers_before)
    for _ in range(batches_before):
        next(batches)
    fabric.save(tmp_path / "state.ckpt", {"train_dataloader": before})
    after, batches = loader_and_stream(workers_after, batch_after)
    fabric.load(tmp_path / "state.ckpt", {"train_dataloader": after})
    rest = torch.cat([next(batches) for _ in range(24 // batch_after)])
    torch.testing.assert_close(rest, whole[batches_before * BATCH :][:24], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"weights": {"web": 0.5, "code": 0.5}}, "weights"),
        ({"weights": {"code": 0.3, "web": 0.55, "wiki": 0.15}}, "weights"),
        ({"train_tokens": 2 * TOKENS}, "num_items"),
        ({"length": 32, "train_tokens": 2 * TOKENS}, "sequence_length"),
    ],
)
def test_a_checkpoint_of_another_stream_is_not_resumed(data, changed, name):
    before, after = data(), data(**changed)
    after.setup()
    after = after.train_dataloader()
    data()  # the mixture file as it was
    before.setup()
    with pytest.raises(InputError, match=f"stream.* {name} .*resume"):
        after.load_state_dict(before.train_dataloader().state_dict())


def test_validation_is_the_same_blocks_of_every_domain_whatever_the_mixture(data):
    def validation(**changed):
        made = data(**changed)
        made.setup()
        return torch.cat(list(made.val_dataloader())).numpy()

    ids = validation(valid_tokens=3 * LENGTH)
    assert [domain_of(sequence) for sequence in ids] == list(SIZES) * 3
    assert len({tuple(sequence) for sequence in ids}) == 9
    np.testing.assert_array_equal(ids, validation(valid_tokens=3 * LENGTH, weights={"web": 1.0}, seed=1))
    assert len(validation(valid_tokens=1)) == 3


def test_a_domain_too_short_to_validate_on_is_named_and_left_out(tmp_path, capsys):
    write_tokens(tmp_path / "tokens", {"web": 400}, valid=10)
    Mixture({"web": 1.0}).write(tmp_path / "mixture.yaml")
    made = MixtureData(tmp_path / "tokens", tmp_path / "mixture.yaml", TOKENS)
    made.connect(batch_size=1, max_seq_length=LENGTH)
    made.setup()
    with pytest.raises(InputError, match=r"no domain of the valid split.* 16 tokens.*train.max_seq_length"):
        made.val_dataloader()
    assert "valid/web" in capsys.readouterr().err


def test_a_domain_that_the_shards_do_not_have_is_an_error_with_the_nearest_name(data):
    with pytest.raises(InputError, match=r"mixture.yaml: train_wbe has weight 0.4, .*did you mean web\?"):
        data({"wbe": 0.4, "code": 0.6}).setup()


def test_a_domain_with_a_weight_and_without_a_whole_sequence_is_an_error(data):
    with pytest.raises(InputError, match=r"train/code .*1,500 .*1,601 .*set train_code to 0.*train.max_seq_length"):
        data({"code": 1.0}, length=1600).setup()


@pytest.mark.parametrize("size", [0, LENGTH])
def test_a_domain_of_hardly_any_tokens_is_an_error_only_when_it_has_a_weight(tmp_path, size):
    write_tokens(tmp_path / "tokens", {"web": 400, "small": size})
    for weight in (0.1, 0.0):
        Mixture({"web": 1 - weight, "small": weight}).write(tmp_path / "mixture.yaml")
        made = MixtureData(tmp_path / "tokens", tmp_path / "mixture.yaml", TOKENS)
        made.connect(batch_size=1, max_seq_length=LENGTH)
        if weight:
            with pytest.raises(InputError, match=f"train/small .*{size} tokens.*set train_small to 0"):
                made.setup()
        else:
            made.setup()


def test_shards_that_are_not_there_are_an_error(tmp_path):
    Mixture({"web": 1.0}).write(tmp_path / "mixture.yaml")
    made = MixtureData(tmp_path / "tokens", tmp_path / "mixture.yaml", TOKENS)
    made.connect(batch_size=1, max_seq_length=LENGTH)
    with pytest.raises(InputError, match=r"tokens/manifest.json: no such file.*proxymix tokenize"):
        made.setup()


def test_fewer_tokens_than_one_batch_of_all_devices_are_an_error(data, monkeypatch):
    as_rank(monkeypatch, 0, 2)
    with pytest.raises(InputError, match=r"train_tokens is 100.* 4 x 2 x 16 = 128; set it to train.max_tokens"):
        data(train_tokens=100).setup()


TWO_RANKS = """
from types import SimpleNamespace

import numpy as np
from lightning import Fabric
from litgpt.pretrain import get_dataloaders
from litgpt.utils import CycleIterator

from proxy_training.data_module import MixtureData

fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch()


def start():
    data = MixtureData("tokens", "mixture.yaml", train_tokens=960, num_workers=1)
    loaders = fabric.setup_dataloaders(*get_dataloaders(fabric, data, None, SimpleNamespace(micro_batch_size=4), 16))
    return loaders[0], CycleIterator(loaders[0]), loaders[1]


loader, batches, valid = start()
first = [next(batches) for _ in range(3)]
fabric.save("state.ckpt", {"train_dataloader": loader})
fabric.barrier()
loader, batches, _ = start()
fabric.load("state.ckpt", {"train_dataloader": loader})
rest = [next(batches) for _ in range(5)]
np.savez(f"rank{fabric.global_rank}.npz", *(batch.numpy() for batch in (*first, *rest, *valid)))
"""


@pytest.mark.slow
def test_two_processes_under_fabric_share_out_the_plan_and_resume(tokens, tmp_path):
    """60 items are 7 steps of 2 x 4; then the loader starts again."""
    (tmp_path / "tokens").symlink_to(tokens)
    (tmp_path / "two_ranks.py").write_text(TWO_RANKS)
    Mixture(WEIGHTS).write(tmp_path / "mixture.yaml")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "two_ranks.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    ranks = [list(np.load(tmp_path / f"rank{rank}.npz").values()) for rank in range(2)]
    together = np.concatenate([batch for pair in zip(*(rank[:7] for rank in ranks), strict=True) for batch in pair])
    np.testing.assert_array_equal(together, planned(tokens)[:56])
    assert [domain_of(sequence) for rank in ranks for sequence in rank[7]] == list(map(domain_of, planned(tokens)[:8]))
    assert len(ranks[0]) == len(ranks[1])
    scored = [domain_of(sequence) for rank in ranks for batch in rank[8:] for sequence in batch]
    assert {scored.count(name) for name in SIZES} == {6}


PRETRAIN = """
model_name: tiny
model_config: {{name: tiny, block_size: 16, vocab_size: {vocabulary}, padded_vocab_size: {vocabulary}, n_layer: 1,
  n_head: 2, n_embd: 16}}
data:
  class_path: proxy_training.data_module.MixtureData
  init_args:
    tokens: {tokens}
    mixture: {mixture}
    train_tokens: &train_tokens 384
    valid_tokens: 48
    num_workers: 0
train:
  max_tokens: *train_tokens
  global_batch_size: 4
  micro_batch_size: 2
  lr_warmup_steps: 2
  save_interval: 4
eval: {{interval: 6}}
precision: 32-true
devices: 1
logger_name: csv
out_dir: {out}
"""


@pytest.mark.slow
def test_litgpt_pretrain_trains_and_resumes_on_it(tokens, tmp_path):
    """The command itself, on a YAML; a run resumed from step 4 of 6 has the losses of the one that went through."""
    Mixture(WEIGHTS).write(tmp_path / "mixture.yaml")
    paths = {"tokens": tokens, "mixture": tmp_path / "mixture.yaml", "out": tmp_path / "out"}
    (tmp_path / "pretrain.yaml").write_text(PRETRAIN.format(vocabulary=VOCABULARY, **paths))
    through = pretrain(tmp_path, "logs_through")
    assert through["total_tokens"].dropna().tolist() == [64, 128, 192, 256, 320, 384]
    resumed = pretrain(tmp_path, "logs_resumed", "--resume", "true", "--data.init_args.num_workers", "2")
    assert resumed["iter"].dropna().tolist() == [10, 12]
    for column in ("loss", "learning_rate", "val_loss"):
        expected, got = (table[column].dropna().tolist() for table in (through, resumed))
        assert got == expected[-len(got) :]


def pretrain(folder: Path, keep: str, *flags: str):
    """Run `litgpt pretrain` and move its logs away; the table it logged."""
    command = [sys.executable, "-m", "litgpt", "pretrain", "--config", str(folder / "pretrain.yaml"), *flags]
    environment = {**os.environ, "TORCHDYNAMO_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}  # a compiler takes a minute
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "out" / "logs").rename(folder / keep)
    (metrics,) = (folder / keep).rglob("metrics.csv")
    return read_table(metrics)
