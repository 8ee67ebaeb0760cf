"""Hidden states and the head's weights -> cross entropy, without ever holding all logits.

At a vocabulary of 4,096 and width 64 the logits are the largest thing in a step by far: written, read and rewritten as
a whole they cost more time than the transformer. In pieces that stay in the processor's cache, with the gradient taken
on the spot, a step takes half the time.
"""

from typing import Any

import torch

CPU_CHUNK_BYTES = 2**20  # about one core's second-level cache; larger pieces are slower again
GPU_CHUNK_BYTES = 2**30


class HiddenHead(torch.nn.Linear):
    """Stands for GPT.lm_head while training: the same weight under the same name, but GPT.forward ends before it."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """The hidden states as they are; `linear_cross_entropy` takes the weight."""
        return input


def stop_before_head(model: torch.nn.Module) -> torch.nn.Module:
    """Make an untouched litgpt.GPT return hidden states; its parameters and their names stay as they are."""
    assert type(model.lm_head) is torch.nn.Linear and model.lm_head.bias is None
    model.lm_head.__class__ = HiddenHead
    return model


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy of `hidden @ weight.T`, in nats, differentiable in hidden and weight.

    Args:
        hidden: Shape (num_tokens, width); its dtype is that of the matrix products (losses are taken in float32).
        weight: Shape (vocabulary, width), float32.
        targets: Ids, shape (num_tokens,).
    """
    return _MeanLoss.apply(hidden, weight, targets)


def token_losses(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each token, in nats, float32, shape (num_tokens,). Not differentiable."""
    transposed, losses = weight.to(hidden.dtype).t(), []
    for rows in _chunks(hidden, weight):
        losses.append(_nats(torch.log_softmax((hidden[rows] @ transposed).float(), dim=1), targets[rows]))
    return torch.cat(losses)


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        weight_cast = weight.to(hidden.dtype)
        transposed = weight_cast.t().contiguous()  # this and the next layout give the faster matrix products
        grad_hidden, grad_transposed = torch.empty_like(hidden), torch.zeros_like(transposed)
        losses = []
        for rows in _chunks(hidden, weight):
            logits = (hidden[rows] @ transposed).float()
            torch.log_softmax(logits, dim=1, out=logits)
            losses.append(_nats(logits, targets[rows]))
            gradient = logits.exp_()  # of the sum over tokens: softmax minus one at the target
            gradient[torch.arange(len(gradient), device=gradient.device), targets[rows]] -= 1
            gradient = gradient.to(hidden.dtype)
            torch.mm(gradient, weight_cast, out=grad_hidden[rows])
            grad_transposed.addmm_(hidden[rows].t(), gradient)
        ctx.save_for_backward(grad_hidden, grad_transposed)
        ctx.weight_dtype = weight.dtype
        return torch.cat(losses).mean()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        grad_hidden, grad_transposed = ctx.saved_tensors
        scale = grad_outputs[0] / len(grad_hidden)
        grad_weight = grad_transposed.t().to(ctx.weight_dtype, memory_format=torch.contiguous_format)
        return grad_hidden * scale.to(grad_hidden.dtype), grad_weight * scale, None


def _nats(log_probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -log_probabilities.gather(1, targets[:, None])[:, 0]


def _chunks(hidden: torch.Tensor, weight: torch.Tensor) -> list[slice]:
    budget = GPU_CHUNK_BYTES if hidden.is_cuda else CPU_CHUNK_BYTES
    rows = max(32, budget // (4 * len(weight)))
    return [slice(start, start + rows) for start in range(0, len(hidden), rows)]
