"""What our training is compared with: a plain loop over litgpt.GPT, and `litgpt pretrain`; and the tokens that all of them read."""

import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

PRETRAIN = """
model_name: proxy
model_config: {{name: proxy, block_size: {sequence}, vocab_size: {vocabulary}, padded_vocab_size: {vocabulary},
  n_layer: {layers}, n_head: {heads}, n_embd: {width}, rotary_percentage: 1.0, parallel_residual: false, bias: false,
  norm_class_name: RMSNorm, mlp_class_name: LLaMAMLP, intermediate_size: {mlp}}}
data:
  class_path: proxy_training.data_module.MixtureData
  init_args: {{tokens: {tokens}, mixture: {mixture}, train_tokens: {train_tokens}, valid_tokens: {valid_tokens}}}
train: {{max_tokens: {train_tokens}, global_batch_size: {batch}, micro_batch_size: {batch}, lr_warmup_steps: 2,
  save_interval: null, log_interval: 1}}
eval: {{interval: 100000, initial_validation: false, final_validation: {validates}}}
devices: 1
logger_name: csv
out_dir: {folder}/out
"""


def pretrain_command(
    settings: Any, vocabulary: int, tokens: Path, mixture: Path, folder: Path, validates: bool = False, more: str = ""
) -> list[str]:
    """The command of a `litgpt pretrain` with its defaults (compiled), whose configuration is written to the folder.

    Args:
        settings: How the proxy is trained (TrainSettings).
        vocabulary: Ids.
        tokens: The folder of token shards.
        mixture: The mixture's YAML.
        folder: Where the configuration and the results lie.
        validates: Whether it validates at its end.
        more: Further lines of its configuration.
    """
    shape = {**asdict(settings.shape), "batch": settings.batch_size, "sequence": settings.sequence_length}
    shape |= {"vocabulary": vocabulary, "train_tokens": settings.tokens, "valid_tokens": settings.valid_tokens}
    places = {"tokens": tokens, "mixture": mixture, "folder": folder, "validates": str(validates).lower()}
    text = PRETRAIN.format(**shape, **places) + more
    (folder / "pretrain.yaml").write_text(text, encoding="utf-8")
    return [sys.executable, "-m", "litgpt", "pretrain", "--config", str(folder / "pretrain.yaml")]


def step_seconds(output: str) -> list[float]:
    """The time of every step, as `litgpt pretrain` says it."""
    return [float(text) / 1000 for text in re.findall(r"iter time: ([\d.]+) ms", output)]


def plain_step(settings: Any, vocabulary: int, device: str, pieces: int = 1, piece: int = 0) -> Callable[[], None]:
    """A step of one proxy in a loop as one writes it over litgpt.GPT, and as `litgpt pretrain` has it.

    Args:
        settings: How the proxy is trained (TrainSettings).
        vocabulary: Ids.
        device: cpu or cuda.
        pieces: Parts of a step whose gradients are added.
        piece: Sequences of a part; the whole batch unless given.
    """
    import torch
    from litgpt import GPT
    from torch.nn.functional import cross_entropy

    from proxy_training.model.proxy import proxy_config

    model = GPT(proxy_config(settings.model, vocabulary, settings.sequence_length)).to(device)
    options: dict[str, Any] = {"lr": 1e-3, "betas": (0.9, 0.95), "weight_decay": 0.1, "fused": device == "cuda"}
    optimizer = torch.optim.AdamW(model.parameters(), **options)
    shape = (piece or settings.batch_size, settings.sequence_length + 1)

    def take_step() -> None:
        for _ in range(pieces):
            ids = torch.randint(vocabulary, shape, device=device)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=settings.precision == "bf16"):
                logits = model(ids[:, :-1])
                loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return take_step


def write_tokens(folder: Path, vocabulary: int, num_tokens: int, num_domains: int = 4) -> Path:
    """Domains that can be learned: in nine of ten steps the next id is the last one plus the domain's number + 1."""
    import numpy as np

    from data_preparation.tokens.shards import ShardWriter, token_dtype
    from proxymix.schemas import Shard, TokensManifest

    if (folder / "manifest.json").exists():
        return folder
    rng, dtype = np.random.default_rng(0), token_dtype(vocabulary)
    splits: dict[str, dict[str, tuple[Shard, ...]]] = {"train": {}, "valid": {}}
    for split, size in (("train", num_tokens), ("valid", max(20_000, num_tokens // 50))):
        for number in range(num_domains):
            steps = np.where(rng.random(size) < 0.1, rng.integers(vocabulary, size=size), number + 1)
            with ShardWriter(folder, split, f"d{number}", dtype, shard_tokens=size // 2) as writer:
                for part in np.array_split(np.cumsum(steps) % vocabulary, 4):
                    writer.write(part, num_bytes=4 * len(part))
            splits[split][f"d{number}"] = tuple(writer.shards)
    tokenizer = {"name": "made", "sha256": "0", "vocabulary": vocabulary, "eos": 0, "eos_token": "<eos>"}
    sources: dict[str, dict[str, list[str]]] = {split: {name: [] for name in found} for split, found in splits.items()}
    TokensManifest(tokenizer, dtype, splits, sources, {}).write(folder, {}, {})
    return folder
