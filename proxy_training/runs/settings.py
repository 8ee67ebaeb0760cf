"""How a proxy is trained: one section of a study's YAML, the same for every run of a sweep."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from proxymix.errors import InputError


@dataclass(frozen=True)
class Shape:
    """What differs between the named proxies; all else is the same for each (see model/proxy.py)."""

    layers: int
    heads: int
    width: int
    mlp: int

    @property
    def num_parameters(self) -> int:
        """Parameters without the embedding and the head: attention, SwiGLU and norms."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.mlp + 2 * self.width) + self.width


SHAPES = {
    "50k": Shape(layers=2, heads=4, width=64, mlp=64),
    "80k": Shape(layers=2, heads=4, width=64, mlp=128),
    "200k": Shape(layers=2, heads=6, width=96, mlp=192),
    "300k": Shape(layers=2, heads=4, width=128, mlp=256),
    "1m": Shape(layers=2, heads=8, width=256, mlp=512),  # RegMix's 1M
    "3m": Shape(layers=4, heads=8, width=256, mlp=768),  # OLMo2-30M, whose name counts an embedding of 100,278 rows
    "5m": Shape(layers=8, heads=8, width=256, mlp=512),
    "15m": Shape(layers=8, heads=6, width=384, mlp=1024),
    "30m": Shape(layers=8, heads=8, width=512, mlp=1792),
    "60m": Shape(layers=10, heads=8, width=768, mlp=1536),  # RegMix's 60M
    "150m": Shape(layers=12, heads=16, width=1024, mlp=2816),
    "400m": Shape(layers=20, heads=20, width=1280, mlp=3456),
    "1b": Shape(layers=22, heads=16, width=2048, mlp=5632),  # RegMix's 1B
}
"""Proxies by their non-embedding parameters."""


RANGES: dict[str, tuple[str, Callable[[float], bool]]] = {
    **dict.fromkeys(("learning_rate", "gradient_clip"), ("a number above 0", lambda value: 0 < value < math.inf)),
    "weight_decay": ("a number of at least 0, such as 0.1,", lambda value: 0 <= value < math.inf),
    "min_learning_rate": ("a fraction of learning_rate, 0 to 1,", lambda value: 0 <= value <= 1),
    **dict.fromkeys(("warmup", "beta1", "beta2"), ("a fraction from 0 to below 1", lambda value: 0 <= value < 1)),
}
"""What each setting may be, in words and as a test."""

LAYOUT = ("models_per_process", "micro_batch", "compile")
"""The settings that lay out the work on a device. They change speed and rounding, and are no part of a run's identity."""


@dataclass(frozen=True)
class TrainSettings:
    """How one proxy is trained.

    Args:
        model: Size by parameters without embedding and head: 50k (57.7K), 80k (82.2K), 200k (185K), 300k (328K), 1m (1.31M,
            RegMix's), 3m (3.41M, the shape of OLMo2-30M), 5m (5.25M), 15m (14.2M), 30m (30.4M), 60m (59.0M, RegMix's),
            150m (154M), 400m (397M), 1b (1.13B, RegMix's). `proxymix cost` says what each costs.
        sequence_length: Tokens in a sequence, which is also a block of the token shards.
        tokens: Training tokens of one run, rounded to whole batches.
        batch_size: Sequences per step. Short runs need small batches, because weights only move at steps.
        learning_rate: Peak of the cosine schedule.
        min_learning_rate: End of the schedule, as a fraction of learning_rate.
        warmup: Fraction of the steps over which the learning rate rises from 0.
        weight_decay: AdamW's decoupled decay, applied to all parameters as in litgpt and RegMix.
        beta1: AdamW's decay of the mean of gradients.
        beta2: AdamW's decay of the mean of squared gradients.
        gradient_clip: Largest norm of the gradient.
        valid_tokens: Validation tokens scored per domain, in whole blocks spread evenly over it. They are the same for
            every run.
        evaluations: Times that all domains are scored during a run. The last time is at its end; the others draw curves.
        precision: fp32, or bf16 (autocast, weights stay fp32); auto is bf16 if the processor has it.
        simulated_budget: Tokens of the final training. Each domain is then cut to the fraction tokens / simulated_budget of
            its blocks, the same blocks for every run, so that it repeats in the proxy as often as in the final training.
        models_per_process: Proxies that one process trains together. This changes no result, except by rounding in bf16
            and on a GPU. auto fits it to the device.
        micro_batch: Sequences of a proxy that pass through the model at once. A larger batch is passed in pieces, which
            changes results only by rounding. auto fits it to the memory.
        compile: Whether torch.compile is used. auto uses it in sweeps that are long enough to regain the minute it takes.
    """

    model: str = "1m"
    sequence_length: int = 128
    tokens: int = 1_000_000
    batch_size: int = 4
    learning_rate: float = 2e-3
    min_learning_rate: float = 0.1
    warmup: float = 0.05
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    gradient_clip: float = 1.0
    valid_tokens: int = 16_384
    evaluations: int = 4
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    simulated_budget: int | None = None
    models_per_process: int | Literal["auto"] = "auto"
    micro_batch: int | Literal["auto"] = "auto"
    compile: bool | Literal["auto"] = "auto"

    def __post_init__(self) -> None:
        if self.model not in SHAPES:
            raise InputError(f"train.model is {self.model!r}; choose one of {', '.join(SHAPES)}")
        for key, choices in {"precision": ("auto", "fp32", "bf16"), "compile": ("auto", True, False)}.items():
            if getattr(self, key) not in choices:
                raise InputError(f"train.{key} is {getattr(self, key)!r}; choose one of {', '.join(map(str, choices))}")
        whole = ["sequence_length", "tokens", "batch_size", "valid_tokens", "evaluations"]
        whole += [key for key in ("models_per_process", "micro_batch") if getattr(self, key) != "auto"]
        whole += ["simulated_budget"] if self.simulated_budget is not None else []
        for key in whole:
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"train.{key} is {value!r}; a whole number of at least 1 is wanted")
        for key, (wanted, is_right) in RANGES.items():
            if not is_right(getattr(self, key)):
                raise InputError(f"train.{key} is {getattr(self, key)!r}; {wanted} is wanted")
        if self.tokens < self.tokens_per_step:
            raise InputError(
                f"train.tokens is {self.tokens:,}, less than one step of batch_size x sequence_length = "
                f"{self.tokens_per_step:,}; raise it or make the batch smaller"
            )
        if self.simulated_budget is not None and self.simulated_budget < self.tokens:
            raise InputError(
                f"train.simulated_budget is {self.simulated_budget:,}, less than train.tokens, {self.tokens:,}; set it to the "
                "tokens of the final training"
            )
        if self.valid_tokens < self.sequence_length:
            raise InputError(
                f"train.valid_tokens is {self.valid_tokens:,}, less than one block of {self.sequence_length:,} tokens; "
                "raise it or lower sequence_length"
            )

    @property
    def identity(self) -> dict[str, Any]:
        """What determines the results, as a manifest records it: every setting except those of LAYOUT."""
        return {key: value for key, value in asdict(self).items() if key not in LAYOUT}

    @property
    def shape(self) -> Shape:
        """The named shape."""
        return SHAPES[self.model]

    @property
    def tokens_per_step(self) -> int:
        """Tokens in a batch."""
        return self.batch_size * self.sequence_length

    @property
    def num_steps(self) -> int:
        """Optimiser steps of one run."""
        return round(self.tokens / self.tokens_per_step)

    @property
    def num_items(self) -> int:
        """Sequences of one run."""
        return self.num_steps * self.batch_size


@dataclass(frozen=True)
class Run:
    """One proxy to train."""

    id: str  # Also the name of its folder.
    weights: dict[str, float]  # Domain -> weight, sum 1.
    seed: int  # Of its first weights and of its data order.
