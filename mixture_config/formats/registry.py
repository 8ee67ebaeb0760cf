"""Every trainer's format: one module a family of trainers, and one row here.

What an entry says of a trainer's weights (what they count, whether they are normalised, what 0 does) was read in that
trainer's source, which the entry names.
"""

from mixture_config.formats.to_ai2 import OLMIX, OLMO_CORE
from mixture_config.formats.to_huggingface import HUGGINGFACE, NANOTRON
from mixture_config.formats.to_levanter import LEVANTER
from mixture_config.formats.to_litgpt import LITDATA, LITGPT
from mixture_config.formats.to_llm_foundry import LLM_FOUNDRY
from mixture_config.formats.to_megatron import (
    MEGATRON,
    MEGATRON_ARGS_FILE,
    MEGATRON_BRIDGE,
    MEGATRON_PER_SPLIT,
    ML_DIST_GEN,
    NEMO_AUTOMODEL,
)
from mixture_config.formats.to_regmix import REGMIX
from mixture_config.formats.to_torchtitan import TORCHTITAN
from mixture_config.formats.trainer_format import TrainerFormat
from proxymix.errors import InputError
from proxymix.messages import nearest

FORMATS: dict[str, TrainerFormat] = {
    entry.key: entry
    for entry in (
        REGMIX,
        LITGPT,
        LITDATA,
        MEGATRON,
        MEGATRON_ARGS_FILE,
        MEGATRON_PER_SPLIT,
        MEGATRON_BRIDGE,
        NEMO_AUTOMODEL,
        OLMO_CORE,
        OLMIX,
        LLM_FOUNDRY,
        NANOTRON,
        LEVANTER,
        TORCHTITAN,
        HUGGINGFACE,
        ML_DIST_GEN,
    )
}


def format_named(key: str) -> TrainerFormat:
    """The format that `--to` names.

    Raises:
        InputError: If there is none of this name.
    """
    if key not in FORMATS:
        raise InputError(f"--to: {key!r} is none of {', '.join(FORMATS)}{nearest(key, FORMATS)}")
    return FORMATS[key]


def described() -> str:
    """A paragraph for each format: what it is, what it is handed to, and where the data is expected."""
    lines = []
    for entry in FORMATS.values():
        where = f" Data: {entry.pattern.replace('{study}/', '')}." if "{domain}" in entry.pattern else ""
        lines.append(f"{entry.key}: {entry.help.replace('{study}/', '')}{where}")
    return "\n\n".join(lines)
