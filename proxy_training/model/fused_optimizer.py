"""Gradients of K stacked proxies -> moved weights: clipping and AdamW in two passes over memory, by Triton.

torch reads the gradients for their norm, then reads them again and writes them scaled, and AdamW reads them a third time:
40 bytes per parameter and step. Here the norm is one pass (4 bytes), and AdamW scales the gradients as it reads them
(28 bytes).
"""

from collections.abc import Iterable
from typing import Any

import torch
import triton
import triton.language as tl

BLOCK = 2048


class FusedAdamW(torch.optim.Optimizer):
    """The same AdamW as torch's, with the clipping of each proxy's gradient inside its step.

    Parameters have shape (K, ...), contiguous, float32. `lr` is a number on the device, so that a CUDA graph can read it.
    """

    def __init__(
        self,
        parameters: Iterable[torch.nn.Parameter],
        lr: torch.Tensor,
        betas: tuple[float, float],
        weight_decay: float,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "eps": eps})

    @torch.no_grad()
    def clip_and_step(self, most: float) -> None:
        """Scale every proxy's gradient down to a norm of `most`, and move the weights by it."""
        (group,) = self.param_groups
        parameters = [p for p in group["params"] if p.grad is not None]
        for p in parameters:
            assert p.is_contiguous() and p.grad.is_contiguous()
            if not self.state[p]:
                self.state[p] = {"step": torch.zeros((), device=p.device)}
                self.state[p] |= {name: torch.zeros_like(p) for name in ("exp_avg", "exp_avg_sq")}
        k = len(parameters[0])
        sizes = [p.numel() // k for p in parameters]
        blocks = [triton.cdiv(size, BLOCK) for size in sizes]
        # ---- 1. The norm of each proxy's gradient, from sums of squares by block.
        sums = torch.empty((k, sum(blocks)), device=parameters[0].device)
        first = 0
        for p, size, count in zip(parameters, sizes, blocks, strict=True):
            _square_sums[(count, k)](p.grad, sums, first, sums.shape[1], size, BLOCK=BLOCK)
            first += count
        scale = (most / (sums.sum(dim=1).sqrt() + 1e-6)).clamp(max=1.0)
        # ---- 2. AdamW.
        torch._foreach_add_([self.state[p]["step"] for p in parameters], 1)
        constants: dict[str, Any] = {"beta1": group["betas"][0], "beta2": group["betas"][1], "eps": group["eps"]}
        constants |= {"weight_decay": group["weight_decay"], "BLOCK": BLOCK}
        for p, size, count in zip(parameters, sizes, blocks, strict=True):
            state = self.state[p]
            moments = state["exp_avg"], state["exp_avg_sq"]
            _adamw[(count, k)](p, p.grad, *moments, scale, group["lr"], state["step"], size, **constants)


@triton.jit
def _square_sums(gradient, sums, first, num_sums, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    block, k = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = block * BLOCK + tl.arange(0, BLOCK)
    values = tl.load(gradient + k * size + at, mask=at < size, other=0.0)
    tl.store(sums + k * num_sums + first + block, tl.sum(values * values, 0))


@triton.jit
def _adamw(  # type: ignore[no-untyped-def]
    weight,
    gradient,
    mean,
    mean_square,
    scale,
    rate,
    step,
    size,
    beta1: tl.constexpr,
    beta2: tl.constexpr,
    eps: tl.constexpr,
    weight_decay: tl.constexpr,
    BLOCK: tl.constexpr,
):
    block, k = tl.program_id(0), tl.program_id(1).to(tl.int64)
    at = block * BLOCK + tl.arange(0, BLOCK)
    inside, at = at < size, k * size + at
    lr, t = tl.load(rate), tl.load(step)
    g = tl.load(gradient + at, mask=inside, other=0.0) * tl.load(scale + k)
    m = tl.load(mean + at, mask=inside, other=0.0)
    v = tl.load(mean_square + at, mask=inside, other=0.0)
    w = tl.load(weight + at, mask=inside, other=0.0)
    m = m + (g - m) * (1.0 - beta1)
    v = beta2 * v + (1.0 - beta2) * g * g
    # The moments start at zero, so they are divided by 1 - beta ** t.
    correction1 = 1.0 - tl.exp(t * tl.log(tl.full((), beta1, tl.float32)))
    correction2 = 1.0 - tl.exp(t * tl.log(tl.full((), beta2, tl.float32)))
    w = w * (1.0 - lr * weight_decay) - lr / correction1 * m / (tl.sqrt(v) / tl.sqrt(correction2) + eps)
    tl.store(mean + at, m, mask=inside)
    tl.store(mean_square + at, v, mask=inside)
    tl.store(weight + at, w, mask=inside)
