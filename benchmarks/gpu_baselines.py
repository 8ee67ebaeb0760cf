"""What proxies are compared with in gpu.py: a plain loop over litgpt.GPT, and `litgpt pretrain`."""

import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from gpu_cases import FIRST_CASE, Case, cases, tokens_of
from gpu_sections import Context, Item
from gpu_timing import steady


def plain_speed(context: Context, case: Case, seconds: float) -> Mapping[str, Any]:
    """Tokens a second of one proxy in a loop as one writes it over litgpt.GPT, and as `litgpt pretrain` has it."""
    import torch
    from litgpt import GPT
    from torch.nn.functional import cross_entropy

    from proxy_training.model.proxy import proxy_config

    settings, device = case.settings, context.device
    model = GPT(proxy_config(settings.model, case.vocabulary, settings.sequence_length)).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    piece = max(1, min(settings.batch_size, 2**30 // (case.vocabulary * settings.sequence_length)))
    pieces = max(1, min(settings.batch_size // piece, 8))  # Part of a long step is enough.

    def take_step() -> None:
        for _ in range(pieces):
            ids = torch.randint(case.vocabulary, (piece, settings.sequence_length + 1), device=device)
            with torch.autocast(device, dtype=torch.bfloat16, enabled=settings.precision == "bf16"):
                logits = model(ids[:, :-1])
                loss = cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
            loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    per_step = steady(take_step, device, seconds)
    tokens = pieces * piece * settings.sequence_length
    return {"tokens_per_second": tokens / per_step, "milliseconds_per_step": 1000 * per_step, "micro_batch": piece}


PRETRAIN = """
model_name: proxy
model_config: {{name: proxy, block_size: {sequence}, vocab_size: {vocabulary}, padded_vocab_size: {vocabulary},
  n_layer: {layers}, n_head: {heads}, n_embd: {width}, rotary_percentage: 1.0, parallel_residual: false, bias: false,
  norm_class_name: RMSNorm, mlp_class_name: LLaMAMLP, intermediate_size: {mlp}}}
data:
  class_path: proxy_training.data_module.MixtureData
  init_args: {{tokens: {tokens}, mixture: {mixture}, train_tokens: {train_tokens}, valid_tokens: {sequence}}}
train: {{max_tokens: {train_tokens}, global_batch_size: {batch}, micro_batch_size: {batch}, lr_warmup_steps: 2,
  save_interval: null, log_interval: 1}}
eval: {{interval: 100000, initial_validation: false, final_validation: false}}
devices: 1
logger_name: csv
out_dir: {out}
"""


def pretrain_items(context: Context) -> Iterator[Item]:
    """A short `litgpt pretrain`, beside other sections, fills the compiler's cache; the one that counts is in "fast"."""
    if not context.rehearse:
        yield f"{FIRST_CASE}: litgpt pretrain", lambda: pretrain(context, cases(context)[FIRST_CASE], 20)


def pretrain(context: Context, case: Case, steps: int = 200) -> Mapping[str, Any]:
    """One `litgpt pretrain` with its defaults (compiled, bf16-mixed): its whole time, and its steady steps as it times them."""
    from mixture_config.files.mixture import Mixture

    settings, folder = case.settings, context.folder / context.section / "pretrain"
    tokens = tokens_of(context, case)
    Mixture({f"d{number}": 0.25 for number in range(4)}, {}).write(folder / "mixture.yaml")
    shape = {**asdict(settings.shape), "batch": settings.batch_size, "sequence": settings.sequence_length}
    steps = 10 if context.rehearse else steps
    text = PRETRAIN.format(
        vocabulary=case.vocabulary,
        tokens=tokens,
        mixture=folder / "mixture.yaml",
        train_tokens=steps * settings.tokens_per_step,
        out=folder / "out",
        **shape,
    )
    (folder / "pretrain.yaml").write_text(text, encoding="utf-8")
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "litgpt", "pretrain", "--config", str(folder / "pretrain.yaml")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=max(5.0, min(110.0, context.left - 2)),
        env={**os.environ, **({"TORCHDYNAMO_DISABLE": "1"} if context.rehearse else {})},
    )
    print(done.stdout[-1500:], done.stderr[-3000:], flush=True)
    times = [float(text) / 1000 for text in re.findall(r"iter time: ([\d.]+) ms", done.stdout)]
    if done.returncode or len(times) < 5:
        raise RuntimeError(f"exit status {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    step = statistics.median(times[len(times) // 2 :])
    return {
        "tokens_per_second": settings.tokens_per_step / step,
        "milliseconds_per_step": 1000 * step,
        "all_seconds": time.perf_counter() - start,
        "steps": len(times),
    }
