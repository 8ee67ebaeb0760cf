"""K litgpt models of one architecture <-> one model that trains all of them at once, each on its own batch.

Every parameter keeps its name and gets a leading dimension of K. GPT.forward is litgpt's own; it sees the K batches as one
batch of K * B sequences. Only the leaf modules (Linear, Embedding, RMSNorm) are replaced. They apply each model's weights
to its own part of the batch, by batched matrix products, so a proxy's results do not depend on its neighbours. A single
proxy is the case K = 1.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from litgpt import GPT


class StackedLinear(torch.nn.Module):
    """K linear maps without bias, weight of shape (K, out, in)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (K * B, ..., in) -> (K * B, ..., out)."""
        flat = x.reshape(len(self.weight), -1, x.shape[-1])
        return torch.bmm(flat, self.weight.transpose(1, 2)).view(*x.shape[:-1], -1)


class StackedHead(StackedLinear):
    """The head during training. It returns the hidden states, because `head.linear_cross_entropy` applies the weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the hidden states as they are."""
        return x


class StackedEmbedding(torch.nn.Module):
    """K embeddings, weight of shape (K, vocabulary, width)."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Shape (K * B, T) -> (K * B, T, width)."""
        k, vocabulary, width = self.weight.shape
        first = torch.arange(k, device=ids.device) * vocabulary  # The first row of each proxy in the joint table.
        flat = (ids.reshape(k, -1) + first[:, None]).view(ids.shape)
        return torch.nn.functional.embedding(flat, self.weight.view(k * vocabulary, width))


class StackedRMSNorm(torch.nn.Module):
    """K RMSNorms, computed in float32 as litgpt does; weight of shape (K, width)."""

    def __init__(self, weight: torch.Tensor, eps: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Shape (K * B, T, width) -> the same shape."""
        flat = x.float().view(len(self.weight), -1, x.shape[-1])
        size = torch.mean(flat * flat, dim=-1, keepdim=True)
        return (flat * torch.rsqrt(size + self.eps) * self.weight[:, None]).to(x.dtype).view(x.shape)


def stacked(models: Sequence["GPT"]) -> "GPT":
    """Models of one configuration -> one model that holds all of them and returns hidden states (see StackedHead).

    Args:
        models: At least one model; the weights are copied.

    Raises:
        NotImplementedError: If a model has a module with parameters that is not one of the leaves above.
    """
    from litgpt import GPT
    from litgpt.model import RMSNorm

    first = models[0]
    with torch.device("meta"):
        stack = GPT(first.config)
    stack.cos, stack.sin = first.cos, first.sin  # All proxies share these buffers.
    weights = [dict(model.named_parameters()) for model in models]
    for name, module in list(stack.named_modules()):
        if not list(module.parameters(recurse=False)):
            continue
        together = torch.stack([own[f"{name}.weight"].detach() for own in weights])
        leaf: torch.nn.Module
        if name == "lm_head":
            leaf = StackedHead(together)
        elif type(module) is torch.nn.Linear and module.bias is None:
            leaf = StackedLinear(together)
        elif type(module) is torch.nn.Embedding:
            leaf = StackedEmbedding(together)
        elif type(module) is RMSNorm and not module.add_unit_offset:
            leaf = StackedRMSNorm(together, module.eps)
        else:
            raise NotImplementedError(f"{name}: no stack of {module}")
        stack.set_submodule(name, leaf)
    return stack


def weights_of(stack: torch.nn.Module, position: int) -> dict[str, torch.Tensor]:
    """The state dict of one proxy as litgpt.GPT loads it; the tensors are copies on the CPU."""
    return {name: p.detach()[position].cpu().clone() for name, p in stack.named_parameters()}


def clip_each(parameters: Sequence[torch.nn.Parameter], most: float) -> torch.Tensor:
    """Scale the gradients of each proxy whose own norm exceeds `most`; returns the norms, shape (K,)."""
    gradients = [p.grad.flatten(1) for p in parameters if p.grad is not None]
    # Sums along rows, because on a CPU their order does not depend on K. `flatten` of a contiguous gradient is a view.
    norms = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g, dim=1) for g in gradients], dim=1), dim=1)
    scale = (most / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale[:, None])
    return norms
