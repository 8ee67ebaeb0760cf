"""Proxies, alone and together: the model, the loss, the loop, and the files that they leave."""

import errno
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from proxies import TINY, VOCABULARY, contents, train_run, train_together, write_mixtures, write_tokens

from proxy_training.device.layout import layout_of
from proxy_training.model.proxy import build_proxy, flops_per_token, proxy_config, total_parameters
from proxy_training.runs.plan import evenly_spaced, training_plan
from proxy_training.runs.run_folder import RunFolder
from proxy_training.runs.settings import SHAPES, Run, TrainSettings
from proxy_training.runs.token_data import TokenData
from proxy_training.train import train
from proxymix.errors import InputError
from proxymix.files import read_json, read_yaml, write_json
from proxymix.tables import read_table

EVEN = Run("n00001", {"a": 0.5, "b": 0.25, "c": 0.25}, seed=0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> TokenData:
    return TokenData.open(write_tokens(tmp_path_factory.mktemp("tokens"), {"a": 2000, "b": 1000, "c": 200}), TINY)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "2m"}, r"train\.model .*'2m'.* 50k"),
        ({"tokens": 63}, r"train\.tokens .*63.* 64"),
        ({"batch_size": 0}, r"train\.batch_size .*0"),
        ({"learning_rate": float("nan")}, r"train\.learning_rate .*nan"),
        ({"warmup": 1.0}, r"train\.warmup .*1\.0"),
        ({"min_learning_rate": 4e1}, r"train\.min_learning_rate .*40\.0"),
        ({"valid_tokens": 15}, r"train\.valid_tokens .*15.* 16"),
        ({"precision": "fp16"}, r"train\.precision .*'fp16'.*auto, fp32, bf16"),
    ],
)
def test_a_setting_that_cannot_be_says_which_and_what_to_do(change, message):
    with pytest.raises(InputError, match=message):
        replace(TINY, **change)


def test_regmix_1m_has_the_published_size_and_cost():
    assert round(SHAPES["1m"].num_parameters, -5) == 1_300_000
    assert round(total_parameters("1m", 50_432), -5) == 27_100_000
    assert round(flops_per_token("1m", 50_432, 2048), -5) == 97_900_000


@pytest.mark.parametrize("name", SHAPES)
def test_a_proxy_is_as_large_as_its_name_says_and_as_litgpt_counts(name):
    import torch
    from litgpt import GPT

    config = proxy_config(name, 1000, 32)
    with torch.device("meta"):
        model = GPT(config)
    assert sum(p.numel() for p in model.parameters()) == total_parameters(name, 1000)
    unit = {"k": 1e3, "m": 1e6, "b": 1e9}[name[-1]]
    assert SHAPES[name].num_parameters == pytest.approx(float(name[:-1]) * unit, rel=0.35)
    assert config.padded_vocab_size == 1000  # no rows that no text has


@pytest.mark.parametrize("way", ["pieces", pytest.param("compiled", marks=pytest.mark.slow)])
def test_the_head_taken_in_pieces_is_cross_entropy_with_its_gradients(monkeypatch, way):
    import torch

    from proxy_training.model import head

    monkeypatch.setattr(head, "CHUNK_BYTES", {"cpu": 1})
    monkeypatch.setattr(head, "CHUNK_ROWS", 32)  # 3 whole pieces and a rest
    torch.manual_seed(0)
    hidden, weight = torch.randn(2, 100, 8, requires_grad=True), torch.randn(2, 50, 8, requires_grad=True)
    targets, scale = torch.randint(50, (2, 100)), torch.tensor([3.0, 1.0])
    logits = hidden @ weight.transpose(1, 2)
    wanted = torch.stack([torch.nn.functional.cross_entropy(logits[k], targets[k]) for k in range(2)])
    gradients = torch.autograd.grad((scale * wanted).sum(), (hidden, weight))
    loss = head.linear_cross_entropy(hidden, weight, targets, way)
    torch.testing.assert_close(loss, wanted)
    for ours, theirs in zip(torch.autograd.grad((scale * loss).sum(), (hidden, weight)), gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    losses = head.token_losses(hidden.detach(), weight.detach(), targets)
    assert losses.shape == (2, 100)
    torch.testing.assert_close(losses.mean(dim=1), wanted.detach())


def test_a_proxy_trains_as_the_plain_loop_over_litgpt_does(data, tmp_path):
    """The same numbers from GPT.forward, torch's cross entropy, litgpt's schedule and a loop anyone would write."""
    import torch
    from litgpt.pretrain import get_lr

    train_run(EVEN, data, tmp_path / "run", TINY)
    model = build_proxy(proxy_config("50k", VOCABULARY, 16), seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    plan = training_plan(EVEN.weights, {n: d.num_blocks for n, d in data.train.items()}, 80, seed=0)
    losses = []
    for step in range(20):
        items = range(4 * step, 4 * step + 4)
        rows = [data.train["abc"[plan.domain[k]]].gather(plan.block[k : k + 1])[0] for k in items]
        ids = torch.from_numpy(np.stack(rows))
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = get_lr(0.01, step + 1, 1, 20, 0.001)
        optimizer.step()
        losses.append(loss.item())
    table = read_table(tmp_path / "run" / "metrics.csv")
    np.testing.assert_allclose(table["train_loss"], losses, atol=1e-4)
    with torch.no_grad():
        for domain, blocks in data.valid.items():
            ids = torch.from_numpy(blocks.gather(evenly_spaced(blocks.num_blocks, 4)))
            loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            assert table[f"metric/{domain}_val_loss"].iloc[-1] == pytest.approx(loss.item(), abs=1e-4)


def test_a_batch_in_pieces_gives_the_same_losses(data, tmp_path):
    train_run(EVEN, data, tmp_path / "whole", TINY)
    train_run(EVEN, data, tmp_path / "pieces", TINY, micro_batch=3)  # of 4: pieces of 3 and 1
    whole, pieces = (read_table(tmp_path / name / "metrics.csv") for name in ("whole", "pieces"))
    np.testing.assert_allclose(whole.to_numpy(), pieces.to_numpy(), atol=1e-4)


def test_a_run_leaves_its_curves_its_losses_and_last_its_manifest(data, tmp_path):
    train_run(EVEN, data, tmp_path / "n00001", TINY)
    metrics = read_table(tmp_path / "n00001" / "metrics.csv")
    assert metrics["step"].tolist() == list(range(1, 21)) and metrics["tokens"].iloc[-1] == 1280
    assert metrics["metric/a_val_loss"].notna().tolist() == [step in (10, 20) for step in range(1, 21)]
    assert metrics["learning_rate"].iloc[[0, -1]].tolist() == pytest.approx([0.01, 0.001])
    losses = read_table(tmp_path / "n00001" / "losses.csv").set_index("domain")
    assert losses.loc["a", "loss_nats"] == metrics["metric/a_val_loss"].iloc[-1]
    np.testing.assert_allclose(
        losses["bpb"], losses["loss_nats"] / np.log(2) / 4
    )  # the test corpus has 4 bytes a token
    assert losses["tokens"].tolist() == [64, 64, 64]
    manifest = read_yaml(tmp_path / "n00001" / "manifest.yaml")
    assert manifest["declared_tokens"] == manifest["realised_tokens"] == {"a": 640, "b": 320, "c": 320}
    assert manifest["epochs"]["c"] == pytest.approx(20 / data.train["c"].num_blocks)
    assert manifest["settings"] == TINY.identity and manifest["weights"] == EVEN.weights
    assert str(tmp_path) not in (tmp_path / "n00001" / "manifest.yaml").read_text()


def test_a_mixture_teaches_what_it_holds(data, tmp_path):
    settings = replace(TINY, tokens=6400)
    for name, run in {"a": Run("x", {"a": 1.0}, 0), "b": Run("x", {"b": 1.0}, 0)}.items():
        train_run(run, data, tmp_path / name, settings)
    on_a, on_b = (read_table(tmp_path / name / "losses.csv").set_index("domain")["loss_nats"] for name in "ab")
    assert on_a["a"] < on_b["a"] - 0.5 and on_b["b"] < on_a["b"] - 0.5


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(data, tmp_path):
    for name, seed in (("one", 0), ("two", 0), ("other", 1)):
        train_run(replace(EVEN, seed=seed), data, tmp_path / name, TINY)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert contents(tmp_path / "one")["losses.csv"] != contents(tmp_path / "other")["losses.csv"]


def test_runs_of_one_seed_begin_from_the_same_weights():
    import torch

    config = proxy_config("50k", VOCABULARY, 16)
    one, two, other = (build_proxy(config, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["lm_head.weight"], other["lm_head.weight"])


def test_bf16_trains_to_about_the_same_losses(data, tmp_path):
    for precision in ("fp32", "bf16"):
        train_run(EVEN, data, tmp_path / precision, replace(TINY, precision=precision))
    fp32, bf16 = (read_table(tmp_path / p / "losses.csv")["loss_nats"] for p in ("fp32", "bf16"))
    np.testing.assert_allclose(fp32, bf16, atol=0.05)
    assert fp32.tolist() != bf16.tolist()


@given(st.integers(1, 300), st.integers(1, 50))
def test_validation_blocks_are_distinct_and_spread_over_the_domain(num_blocks, wanted):
    blocks = evenly_spaced(num_blocks, wanted)
    count = min(num_blocks, wanted)
    assert len(set(blocks.tolist())) == count and blocks.min() >= 0 and blocks.max() < num_blocks
    edges = np.arange(count + 1) * num_blocks / count
    assert ((blocks >= np.floor(edges[:-1])) & (blocks <= edges[1:])).all()  # one in each of `count` equal parts


def test_a_proxy_that_diverges_is_marked_and_ends_where_it_did(data, tmp_path):
    found = train_run(EVEN, data, tmp_path / "n00001", replace(TINY, learning_rate=1e30, gradient_clip=1e30))
    assert re.match(r".*training loss .*step \d+ of 20 .*lower train\.learning_rate", found["n00001"])
    assert read_yaml(tmp_path / "n00001" / "manifest.yaml")["diverged"] == found["n00001"]
    assert read_table(tmp_path / "n00001" / "losses.csv")["loss_nats"].isna().all()
    assert 1 <= len(read_table(tmp_path / "n00001" / "metrics.csv")) < 20


def test_a_full_disk_leaves_no_manifest(data, tmp_path, monkeypatch):
    import proxymix.files

    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(proxymix.files, "_fsync", full)
    with pytest.raises(OSError, match="No space left"):
        train_run(EVEN, data, tmp_path / "run", TINY)
    assert not contents(tmp_path / "run")


def test_a_domain_smaller_than_a_block_says_how_small_and_what_to_do(tmp_path):
    tokens = write_tokens(tmp_path / "tokens", {"a": 500, "b": 16})
    data = TokenData.open(tokens, TINY)
    with pytest.raises(InputError, match=r"n1: .*train/b .*16 tokens.* 17 .*train\.sequence_length"):
        data.check(Run("n1", {"a": 0.5, "b": 0.5}, 0))
    data.check(Run("n1", {"a": 1.0, "b": 0.0}, 0))
    with pytest.raises(InputError, match=r"n1: .*'c'.* a, b"):
        data.check(Run("n1", {"a": 0.5, "c": 0.5}, 0))
    with pytest.raises(InputError, match=r"valid/a .*100 tokens.* 129 "):
        TokenData.open(tokens, replace(TINY, sequence_length=128, valid_tokens=128))


def test_the_train_stage_trains_the_listed_runs_and_skips_what_is_done(tmp_path, capsys):
    tokens = write_tokens(tmp_path / "tokens", {"a": 500, "b": 500})
    mixtures = write_mixtures(tmp_path / "mixtures", [{"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.0}, {"a": 0.1, "b": 0.9}])
    train(mixtures, tokens, tmp_path / "out", ["n00002", "n00003"], TINY, wandb="disabled")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["n00002", "n00003"]
    first = contents(tmp_path / "out")
    train(mixtures, tokens, tmp_path / "out", ["n00003"], TINY, wandb="disabled")
    said = capsys.readouterr().err
    assert "n00003: done already" in said
    assert contents(tmp_path / "out") == first
    of_a, of_b = read_table(tmp_path / "out" / "n00003" / "losses.csv")["loss_nats"]
    table = said.split("Validation loss (nats/token):")[2]  # Of the second command, which trained nothing.
    rows = [line.split() for line in table.splitlines()[1:5]]
    assert rows == [
        ["domain", "n00003"],
        ["a", f"{of_a:.4f}"],
        ["b", f"{of_b:.4f}"],
        ["mean", f"{(of_a + of_b) / 2:.4f}"],
    ]
    assert f"{tmp_path / 'out' / 'n00003'}: losses.csv" in table
    with pytest.raises(InputError, match=r"n00009\.yaml; .*n00001 to n00003"):
        train(mixtures, tokens, tmp_path / "out", ["n00009"], TINY, wandb="disabled")
    with pytest.raises(InputError, match=r"nowhere: no mixtures.*proxymix synthesize"):
        train(tmp_path / "nowhere", tokens, tmp_path / "out", ["n00001"], TINY, wandb="disabled")


def test_train_reads_the_same_files_of_a_folder_as_other_commands(tmp_path):
    tokens = write_tokens(tmp_path / "tokens", {"a": 500, "b": 500})
    mixtures = write_mixtures(tmp_path / "mixtures", [{"a": 0.5, "b": 0.5}])
    (mixtures / "n00001.yaml").rename(mixtures / "n00001.yml")
    train(mixtures, tokens, tmp_path / "out", train=TINY, wandb="disabled")
    assert RunFolder(tmp_path / "out" / "n00001").is_finished
    write_mixtures(tmp_path / "mixtures", [{"a": 1.0, "b": 0.0}])
    with pytest.raises(InputError, match=r"n00001\.y.*n00001\.y.*same run"):
        train(mixtures, tokens, tmp_path / "out", train=TINY, wandb="disabled")


def test_a_run_is_done_only_for_the_same_settings_seed_mixture_and_tokens(data, tmp_path):
    folder = tmp_path / "n00001"
    train_run(EVEN, data, folder, TINY)
    assert RunFolder(folder).holds(EVEN, TINY, data.sha256)
    assert RunFolder(folder).holds(EVEN, replace(TINY, models_per_process=2, micro_batch=1), data.sha256)
    assert not RunFolder(folder).holds(replace(EVEN, seed=1), TINY, data.sha256)
    assert not RunFolder(folder).holds(replace(EVEN, weights={"a": 1.0}), TINY, data.sha256)
    assert not RunFolder(folder).holds(EVEN, replace(TINY, learning_rate=0.02), data.sha256)
    assert not RunFolder(folder).holds(EVEN, TINY, "another")
    assert not RunFolder(Path(tmp_path / "nowhere")).holds(EVEN, TINY, data.sha256)


def validation_losses(model, data: TokenData, settings: TrainSettings = TINY) -> dict[str, float]:
    """Mean nats per token of every validation domain, by GPT.forward and torch's cross entropy."""
    import torch

    found = {}
    with torch.no_grad():
        for domain, blocks in data.valid.items():
            wanted = settings.valid_tokens // settings.sequence_length
            ids = torch.from_numpy(blocks.gather(evenly_spaced(blocks.num_blocks, wanted)))
            loss = torch.nn.functional.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
            found[domain] = loss.item()
    return found


def test_litgpt_loads_a_checkpoint_and_measures_the_recorded_losses(data, tmp_path):
    import torch
    from litgpt import GPT, Config

    layout = layout_of(replace(TINY, models_per_process=2), VOCABULARY)
    runs = [EVEN, Run("n00002", {"b": 1.0}, seed=0)]
    train_together(runs, data, tmp_path, TINY, layout, save=True)
    for run in runs:
        folder = tmp_path / run.id
        content = torch.load(folder / "checkpoint" / "lit_model.pth", weights_only=True)
        model = GPT(Config.from_file(folder / "checkpoint" / "model_config.yaml"))
        model.load_state_dict(content["model"])
        recorded = read_table(folder / "losses.csv").set_index("domain")["loss_nats"]
        assert validation_losses(model, data) == pytest.approx(recorded.to_dict(), abs=1e-5)
    assert not list(tmp_path.rglob("tokenizer*")), "these shards have none"


def test_a_converted_checkpoint_is_a_llama_as_its_config_describes_it(data, tmp_path):
    """By the commands of docs/gpus.md. Where transformers is installed, it loads the folder and measures the losses."""
    import torch
    from litgpt.scripts.convert_lit_checkpoint import convert_lit_checkpoint

    train_together([EVEN], data, tmp_path, TINY, layout_of(TINY, VOCABULARY), save=True)
    (tmp_path / "TARGET").mkdir()
    (tmp_path / EVEN.id).rename(tmp_path / "TARGET" / "optimal_mixture")
    page = (Path(__file__).parents[1] / "docs" / "gpus.md").read_text()
    convert, *others = [line for line in page.splitlines() if re.match(r"(litgpt convert_from_litgpt|mv|cp) ", line)]
    convert_lit_checkpoint(*(tmp_path / name for name in convert.split()[2:]))  # That is litgpt's command.
    subprocess.run(" && ".join(others), shell=True, check=True, cwd=tmp_path)

    weights = torch.load(tmp_path / "HF" / "pytorch_model.bin", weights_only=True)
    ours = torch.load(tmp_path / "TARGET/optimal_mixture/checkpoint/lit_model.pth", weights_only=True)["model"]
    joined = [weights[f"model.layers.1.self_attn.{name}_proj.weight"] for name in "qkv"]
    torch.testing.assert_close(torch.cat(joined), ours["transformer.h.1.attn.qkv.weight"])
    torch.testing.assert_close(weights["model.layers.0.mlp.gate_proj.weight"], ours["transformer.h.0.mlp.fc_1.weight"])
    config = read_json(tmp_path / "HF" / "config.json")
    width, hidden, layers = config["hidden_size"], config["intermediate_size"], range(config["num_hidden_layers"])
    per_layer = {f"self_attn.{name}_proj": (width, width) for name in "qkvo"}
    per_layer |= {"mlp.gate_proj": (hidden, width), "mlp.up_proj": (hidden, width), "mlp.down_proj": (width, hidden)}
    per_layer |= {"input_layernorm": (width,), "post_attention_layernorm": (width,)}
    described = {f"model.layers.{k}.{name}.weight": shape for k in layers for name, shape in per_layer.items()}
    ends = dict.fromkeys(("model.embed_tokens", "lm_head"), (config["vocab_size"], width)) | {"model.norm": (width,)}
    described |= {f"{name}.weight": shape for name, shape in ends.items()}
    assert {name: tuple(value.shape) for name, value in weights.items()} == described
    assert config["architectures"] == ["LlamaForCausalLM"] and width % config["num_attention_heads"] == 0

    transformers = pytest.importorskip("transformers")
    model, found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "HF", output_loading_info=True)
    assert not any(found.values())
    recorded = read_table(tmp_path / "TARGET/optimal_mixture/losses.csv").set_index("domain")["loss_nats"]
    assert validation_losses(lambda ids: model(ids).logits, data) == pytest.approx(recorded.to_dict(), abs=1e-5)


def test_the_shards_tokenizer_goes_along_so_that_litgpt_reads_text(data, tmp_path):
    from litgpt.tokenizer import Tokenizer
    from litgpt.utils import check_valid_checkpoint_dir

    from data_preparation.tokens.tokenizer import train_tokenizer

    tokens = write_tokens(tmp_path / "tokens", {"a": 500})
    train_tokenizer(["some text, and some more"], 300).save(str(tokens / "tokenizer.json"))
    manifest = read_json(tokens / "manifest.json")
    manifest["tokenizer"] |= {"eos_token": "<|endoftext|>"}
    write_json(tokens / "manifest.json", manifest)
    run = Run("n00001", {"a": 1.0}, seed=0)
    train_together([run], TokenData.open(tokens, TINY), tmp_path, TINY, layout_of(TINY, VOCABULARY), save=True)
    check_valid_checkpoint_dir(tmp_path / run.id / "checkpoint", raise_error=True)
    tokenizer = Tokenizer(tmp_path / run.id / "checkpoint")
    assert tokenizer.decode(tokenizer.encode("some text")) == "some text"
    assert tokenizer.eos_id == tokenizer.token_to_id("<|endoftext|>")


def test_keeping_the_weights_changes_no_result_and_trains_again_what_has_none(tmp_path, capsys):
    tokens = write_tokens(tmp_path / "tokens", {"a": 500, "b": 500})
    mixtures = write_mixtures(tmp_path / "mixtures", [{"a": 0.5, "b": 0.5}, {"a": 1.0, "b": 0.0}])
    out, runs = tmp_path / "out", ["n00001", "n00002"]
    train(mixtures, tokens, out, runs, TINY, wandb="disabled")
    without = contents(out)
    train(mixtures, tokens, out, runs[:1], TINY, wandb="disabled", save=True)
    assert "n00001: trained before without a checkpoint" in capsys.readouterr().err
    train(mixtures, tokens, out, runs, TINY, wandb="disabled", save=True)
    assert "n00001: done already" in capsys.readouterr().err
    found = contents(out)
    assert {name for name in found if name not in without} == {
        f"{run}/checkpoint/{name}" for run in runs for name in ("lit_model.pth", "model_config.yaml", "config.json")
    }
    assert {name: found[name] for name in without if "manifest" not in name} == {
        name: value for name, value in without.items() if "manifest" not in name
    }
    train(mixtures, tokens, out, runs, TINY, wandb="disabled")
    assert contents(out) == found, "a checkpoint stays when it is not asked for again"
    train(mixtures, tokens, out, runs, replace(TINY, learning_rate=0.005), wandb="disabled")
    assert not list(out.rglob("checkpoint")), "those of other settings go with their runs"


def test_a_proxy_that_diverged_has_no_checkpoint_and_is_done(data, tmp_path):
    wild = replace(TINY, learning_rate=1e30, gradient_clip=1e30)
    train_together([EVEN], data, tmp_path, wild, layout_of(wild, VOCABULARY), save=True)
    assert RunFolder(tmp_path / EVEN.id).holds(EVEN, wild, data.sha256, checkpoint=True)
    assert not (tmp_path / EVEN.id / "checkpoint").exists()


def test_defaults_are_valid():
    assert TrainSettings().num_steps > 1
