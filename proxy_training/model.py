"""The name of a proxy and a vocabulary -> a litgpt.GPT with litgpt's own initialisation.

All proxies are RegMix's architecture: pre-norm RMSNorm, rotary positions on the whole head, SwiGLU, no biases, a head
that is not tied to the embedding. The vocabulary is not padded: a padded row would take part in the softmax, and the
loss would be over ids that no text has.
"""

from typing import TYPE_CHECKING

from proxy_training.settings import SHAPES

if TYPE_CHECKING:
    from litgpt import GPT, Config


def proxy_config(model: str, vocabulary: int, sequence_length: int) -> "Config":
    """litgpt's configuration of a named proxy."""
    from litgpt.config import Config

    shape = SHAPES[model]
    return Config(
        # Always a name of ours: litgpt switches behaviour on substrings of it (gemma, olmo, phi, qwen).
        name=f"proxymix-{model}",
        block_size=sequence_length,
        vocab_size=vocabulary,
        padded_vocab_size=vocabulary,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        norm_eps=1e-5,
        mlp_class_name="LLaMAMLP",
        intermediate_size=shape.mlp,
    )


def build_proxy(config: "Config", seed: int) -> "GPT":
    """A freshly initialised model on the CPU; the same seed gives the same weights on every machine."""
    import torch
    from litgpt import GPT
    from litgpt.pretrain import initialize_weights

    class OneDevice:  # all that litgpt asks of a Fabric here is whether its strategy is FSDP
        strategy = None

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT(config)
        initialize_weights(OneDevice(), model, n_layer=config.n_layer, n_embd=config.n_embd)
    return model


def flops_per_token(model: str, vocabulary: int, sequence_length: int) -> int:
    """Training FLOP per token: 6 per parameter of a matrix product, and attention as PaLM counts it (no causal half).

    RegMix's 1M (vocabulary 50,432, sequences of 2,048) is 97.9 MFLOP, 79% of it in the head.
    """
    shape = SHAPES[model]
    return 6 * (shape.num_parameters + shape.width * vocabulary) + 12 * shape.layers * shape.width * sequence_length


def total_parameters(model: str, vocabulary: int) -> int:
    """All parameters, embedding and head included."""
    return SHAPES[model].num_parameters + 2 * SHAPES[model].width * vocabulary


def activation_bytes(model: str) -> int:
    """What a token keeps for the backward pass in float32, within 1% of measured."""
    shape = SHAPES[model]
    return 4 * (shape.layers * (13 * shape.width + 4 * shape.mlp) + 2 * shape.width)
