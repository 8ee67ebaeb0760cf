"""Hidden states and the heads' weights of K proxies -> cross entropy, without holding all logits at once.

At a vocabulary of 4,096 and width 64 the logits are by far the largest tensor of a step. The head therefore computes them
in pieces, and replaces each piece by its gradient at once. On a CPU, pieces that stay in the cache take .7 to .9 of the time
of whole logits (benchmarks/README.md). On a GPU the passes over the logits between the matrix products cost most; "fused"
puts them into one kernel.
"""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch

CHUNK_BYTES = {"cpu": 2**23, "cuda": 2**30}  # Logits of a piece, in float32.
FUSED_CHUNK = 4  # Factor on CHUNK_BYTES for the fused kernel, which holds no float32 copy of the logits.
CHUNK_ROWS = 128  # Smallest piece, in tokens: with fewer rows, reading the weights bounds a matrix product.


def linear_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, head: str = "pieces"
) -> torch.Tensor:
    """Mean cross entropy of `hidden @ weight.T` per proxy, in nats, shape (K,); differentiable in hidden and weight.

    Args:
        hidden: Shape (K, num_tokens, width). Its dtype is that of the matrix products; losses are computed in float32.
        weight: Shape (K, vocabulary, width), float32.
        targets: Ids, shape (K, num_tokens).
        head: How the work between the matrix products is done: "pieces" by plain torch, in place; "compiled" by one
            kernel of torch.compile; "fused" by one kernel of ours, on a GPU.
    """
    return _MeanLoss.apply(hidden, weight, targets, head)


def token_losses(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Cross entropy of each token, in nats, float32, shape (K, num_tokens). Not differentiable."""
    losses = torch.empty(targets.shape, dtype=torch.float32, device=hidden.device)
    transposed = weight.to(hidden.dtype).transpose(1, 2)
    for ks, rows in _chunks(hidden, weight):
        logits = torch.bmm(hidden[ks, rows], transposed[ks]).float()
        losses[ks, rows] = _nats(torch.log_softmax(logits, dim=2), targets[ks, rows])
    return losses


class _MeanLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, head: str) -> torch.Tensor:
        weight_cast = weight.to(hidden.dtype)
        grad_hidden, grad_weight = torch.empty_like(hidden), torch.zeros_like(weight)
        losses = torch.empty(targets.shape, dtype=torch.float32, device=hidden.device)
        losses_and_gradient = _BETWEEN_PRODUCTS[head]()
        for ks, rows in _chunks(hidden, weight, FUSED_CHUNK if head == "fused" else 1):
            logits = torch.bmm(hidden[ks, rows], weight_cast[ks].transpose(1, 2))
            losses[ks, rows], gradient = losses_and_gradient(logits, targets[ks, rows])
            grad_hidden[ks, rows] = torch.bmm(gradient, weight_cast[ks])
            if hidden.dtype == weight.dtype:
                grad_weight[ks].baddbmm_(gradient.transpose(1, 2), hidden[ks, rows])
            else:  # The sum over pieces is kept in float32, because in bf16 it would lose too much.
                grad_weight[ks] += torch.bmm(gradient.transpose(1, 2), hidden[ks, rows])
        ctx.save_for_backward(grad_hidden, grad_weight)
        return losses.mean(dim=1)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = (grad_outputs[0] / grad_hidden.shape[1])[:, None, None]
        return grad_hidden.mul_(scale), grad_weight.mul_(scale), None, None


LossesAndGradient = Callable[[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


def _losses_and_gradient(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss of each token in float32, and the gradient of the sum of losses by the logits, in the logits' dtype.

    In float32 the gradient overwrites the logits.
    """
    wide = logits.float()
    torch.log_softmax(wide, dim=2, out=wide)
    losses = _nats(wide, targets)
    gradient = wide.exp_()  # The gradient is softmax minus one at the target.
    gradient.scatter_(2, targets[..., None], gradient.gather(2, targets[..., None]) - 1)
    return losses, gradient.to(logits.dtype)


def _as_one_kernel(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`_losses_and_gradient` by operations that a compiler can fuse: nothing in place, no gather, no scatter."""
    wide = logits.float()
    total = torch.logsumexp(wide, dim=2, keepdim=True)
    is_target = torch.arange(logits.shape[2], device=logits.device) == targets[..., None]
    losses = total[..., 0] - torch.where(is_target, wide, 0.0).sum(dim=2)
    return losses, ((wide - total).exp() - is_target.float()).to(logits.dtype)


@functools.cache
def _compiled() -> LossesAndGradient:
    return torch.compile(_as_one_kernel, dynamic=False)


@functools.cache
def _fused() -> LossesAndGradient:
    from proxy_training.model.head_kernel import losses_and_gradient_in_place

    return lambda logits, targets: (losses_and_gradient_in_place(logits, targets, 1.0), logits)


_BETWEEN_PRODUCTS: dict[str, Callable[[], LossesAndGradient]] = {
    "pieces": lambda: _losses_and_gradient,
    "compiled": _compiled,
    "fused": _fused,
}


def _nats(log_probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return -log_probabilities.gather(2, targets[..., None])[..., 0]


def _chunks(hidden: torch.Tensor, weight: torch.Tensor, times: int = 1) -> Iterator[tuple[slice, slice]]:
    """Slices of proxies and of tokens whose logits fit into CHUNK_BYTES; on a CPU each slice has one proxy."""
    (k, num_tokens, _), vocabulary = hidden.shape, weight.shape[1]
    rows = max(CHUNK_ROWS, times * CHUNK_BYTES[hidden.device.type] // (4 * vocabulary))
    together = max(1, rows // num_tokens) if hidden.is_cuda else 1
    for first in range(0, k, together):
        for start in range(0, num_tokens, rows):
            yield slice(first, first + together), slice(start, start + rows)
