"""Logits -> losses, with the gradient in place of the logits, by one Triton kernel for a GPU.

A matrix product writes the logits; this kernel reads them twice and writes them once. Each program works on one row, so the
second reading comes from the cache if the rows of all programs in flight fit there. Liger's kernel moves as much, for one
model at a time; this one works on the rows of K models.
"""

import torch
import triton
import triton.language as tl

MAX_BLOCK = 8192  # Logits of a row in registers at a time.


def losses_and_gradient_in_place(logits: torch.Tensor, targets: torch.Tensor, scale: float) -> torch.Tensor:
    """Cross entropy of each row, float32, shape of targets; the logits become its gradient times `scale`.

    Args:
        logits: Shape (..., vocabulary), contiguous; overwritten.
        targets: Ids, shape (...), contiguous.
        scale: What the gradient is multiplied by.
    """
    assert logits.is_contiguous() and logits.shape[:-1] == targets.shape
    targets = targets.contiguous()
    losses = torch.empty(targets.shape, dtype=torch.float32, device=logits.device)
    vocabulary = logits.shape[-1]
    block = min(MAX_BLOCK, triton.next_power_of_2(vocabulary))
    warps = 4 if block <= 2048 else 8
    _kernel[(targets.numel(),)](logits, targets, losses, scale, VOCABULARY=vocabulary, BLOCK=block, num_warps=warps)
    return losses


@triton.jit
def _kernel(logits, targets, losses, scale, VOCABULARY: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    logits += row * VOCABULARY
    target = tl.load(targets + row)
    at_target = tl.load(logits + target).to(tl.float32)
    # ---- 1. The largest logit and the sum of exponentials, corrected whenever a larger logit appears.
    largest = float("-inf")
    total = 0.0
    for start in range(0, VOCABULARY, BLOCK):
        ids = start + tl.arange(0, BLOCK)
        values = tl.load(logits + ids, mask=ids < VOCABULARY, other=float("-inf")).to(tl.float32)
        larger = tl.maximum(largest, tl.max(values, 0))
        total = total * tl.exp(largest - larger) + tl.sum(tl.exp(values - larger), 0)
        largest = larger
    normaliser = largest + tl.log(total)
    tl.store(losses + row, normaliser - at_target)
    # ---- 2. Softmax minus one at the target, over the logits.
    tl.debug_barrier()  # Every thread has read the target's logit before one overwrites it.
    for start in range(0, VOCABULARY, BLOCK):
        ids = start + tl.arange(0, BLOCK)
        values = tl.load(logits + ids, mask=ids < VOCABULARY, other=float("-inf")).to(tl.float32)
        gradient = tl.exp(values - normaliser)
        gradient = tl.where(ids == target, gradient - 1.0, gradient) * scale
        tl.store(logits + ids, gradient.to(logits.dtype.element_ty), mask=ids < VOCABULARY)
