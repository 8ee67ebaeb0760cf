"""Levanter: the data section of its config."""

from pathlib import Path

from mixture_config.formats.trainer_format import Blend, Entries, TrainerFormat, as_yaml, from_yaml
from proxymix.progress import say

USUAL_BLOCK, LARGEST_BLOCK = 2048, 32768  # sequences: Levanter's default, and the largest power of two that it takes
ENOUGH = 20  # whole sequences of the smallest domain in a block: one sequence more or less is then 5%


def _write(blend: Blend) -> str:
    smallest = min(source.weight for source in blend.sources)
    block = USUAL_BLOCK
    while block < LARGEST_BLOCK and smallest * block < ENOUGH:
        block *= 2
    never = [source.domain for source in blend.sources if source.weight * block < 1]
    usage = [f"Never drawn, as less than one sequence of a block: {', '.join(never)}."] if never else []
    for line in usage:
        say(f"levanter: {line}")
    data = {
        "components": {
            source.domain: {"source": {"type": "url", "train_urls": list(source.paths)}} for source in blend.sources
        },
        "train_weights": blend.weights,
        "mixture_block_size": block,
    }
    return as_yaml(blend, {"data": data}, usage)


def _read(text: str, path: Path) -> Entries:
    return [(name, float(weight)) for name, weight in from_yaml(text, path)["data"]["train_weights"].items()]


LEVANTER = TrainerFormat(
    key="levanter",
    label="Levanter",
    help="the data section of a Levanter config, as YAML; tokenizer and cache_dir are to be added.",
    meaning="train_weights are shares of sequences of tokens; Levanter normalises them, leaves 0 out, and meets them "
    "in whole sequences of every mixture_block_size (lib/levanter/src/levanter/data/mixture.py, "
    "text/datasets.py). Before 2026 components was configs, and train_urls stood right below a name.",
    write=_write,
    read=_read,
    pattern="data/{domain}/*.jsonl",
)
