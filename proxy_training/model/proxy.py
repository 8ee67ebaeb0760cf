"""The name of a proxy and a vocabulary -> a litgpt.GPT with litgpt's own initialisation; its weights -> a checkpoint.

All proxies have RegMix's architecture: pre-norm RMSNorm, rotary positions on the whole head, SwiGLU, no biases, a head
that is not tied to the embedding. The vocabulary is not padded, because a padded row would take part in the softmax and
change the loss.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxy_training.runs.settings import SHAPES
from proxymix.files import replacing, write_json

if TYPE_CHECKING:
    import torch
    from litgpt import GPT, Config


def proxy_config(model: str, vocabulary: int, sequence_length: int) -> "Config":
    """litgpt's configuration of a named proxy."""
    from litgpt.config import Config

    shape = SHAPES[model]
    return Config(
        # The name starts with proxymix, because litgpt changes its behaviour for names with gemma, olmo, phi or qwen.
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
    """A newly initialised model on the CPU; the same seed gives the same weights on every machine."""
    import torch
    from litgpt import GPT
    from litgpt.pretrain import initialize_weights

    class OneDevice:  # litgpt asks the Fabric only whether its strategy is FSDP.
        strategy = None

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = GPT(config)
        initialize_weights(OneDevice(), model, n_layer=config.n_layer, n_embd=config.n_embd)
    return model


def write_checkpoint(
    folder: Path,
    config: "Config",
    weights: Mapping[str, "torch.Tensor"],
    tokens: Path,
    tokenizer: Mapping[str, Any],
) -> None:
    """Write a folder that litgpt loads (generate, evaluate, finetune, convert_from_litgpt), completely or not at all.

    litgpt chooses its conversion to Hugging Face by the name of the model and the class of its MLP. The name here is not that
    of a family and the MLP is LLaMAMLP, so litgpt converts the model like a LLaMA, and splits the joined query, key and
    value. config.json makes Hugging Face load the converted weights as LlamaForCausalLM.

    Args:
        folder: Gets lit_model.pth, model_config.yaml, config.json and the tokenizer's two files.
        config, weights: The model's configuration, and its state dict as litgpt.GPT has it.
        tokens: The folder of the shards. Without a tokenizer.json there, litgpt loads the model, but no tokenizer.
        tokenizer: The tokenizer as the shards' manifest records it; eos and eos_token end a document.
    """
    from litgpt.utils import save_config

    with replacing(folder) as temporary:
        temporary.mkdir()
        write_tensors(temporary / "lit_model.pth", {"model": dict(weights)})
        save_config(config, temporary)
        write_json(
            temporary / "config.json",
            {
                "architectures": ["LlamaForCausalLM"],
                "model_type": "llama",
                "vocab_size": config.padded_vocab_size,
                "hidden_size": config.n_embd,
                "intermediate_size": config.intermediate_size,
                "num_hidden_layers": config.n_layer,
                "num_attention_heads": config.n_head,
                "num_key_value_heads": config.n_query_groups,
                "max_position_embeddings": config.block_size,
                "rms_norm_eps": config.norm_eps,
                "rope_theta": config.rope_base,
                "hidden_act": "silu",
                "tie_word_embeddings": False,
                "torch_dtype": "float32",
                "bos_token_id": None,
                "eos_token_id": tokenizer["eos"],
            },
        )
        if (tokens / "tokenizer.json").exists():
            shutil.copyfile(tokens / "tokenizer.json", temporary / "tokenizer.json")
            settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": tokenizer["eos_token"]}
            write_json(temporary / "tokenizer_config.json", {**settings, "add_bos_token": False})


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
    """Bytes that a token keeps for the backward pass in float32; measurements agree within 1%."""
    shape = SHAPES[model]
    return 4 * (shape.layers * (13 * shape.width + 4 * shape.mlp) + 2 * shape.width)


def write_tensors(path: Path, content: Mapping[str, Any]) -> None:
    """`torch.save`.

    Raises:
        OSError: If the file cannot be written. torch hides this error behind another, which says nothing of the cause.
    """
    import torch

    try:
        with path.open("wb") as file:
            torch.save(dict(content), file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
