"""torchtitan: a Python module that mixes packed datasets."""

import ast
import json
from pathlib import Path

from mixture_config.formats.trainer_format import Blend, Entries, TrainerFormat, comment


def _write(blend: Blend) -> str:
    weights = "".join(f"    {json.dumps(source.domain)}: {source.weight!r},\n" for source in blend.sources)
    paths = "".join(
        f"    {json.dumps(source.domain)}: [{', '.join(map(json.dumps, source.paths))}],\n" for source in blend.sources
    )
    return f"""{comment(blend.notes)}
from torchtitan.components.data import (
    ConcatThenSplitPackingConfig,
    DatasetMixConfig,
    IndexedJsonlSource,
    SingleDatasetConfig,
    WeightedDataset,
)
from torchtitan.hf_datasets.text_datasets import TextProcessor

WEIGHTS = {{
{weights}}}
PATHS = {{
{paths}}}


def text(row):
    return row["text"]


def packed(domain):
    source = IndexedJsonlSource.Config(patterns=tuple(PATHS[domain]))
    documents = SingleDatasetConfig(
        source=source,
        processor=TextProcessor.Config(text_fn=text),
        post_filters=(lambda sample: sample is not None,),
    )
    return ConcatThenSplitPackingConfig(dataset=documents)


mixture = DatasetMixConfig(
    datasets=tuple(WeightedDataset(dataset=packed(domain), weight=weight) for domain, weight in WEIGHTS.items())
)
"""


def _read(text: str, path: Path) -> Entries:
    values = {
        node.targets[0].id: node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return list(ast.literal_eval(values["WEIGHTS"]).items())


TORCHTITAN = TrainerFormat(
    key="torchtitan",
    label="torchtitan",
    help="a Python module for torchtitan (2026 on): hand its `mixture` to GrainDataLoader.Config(dataset=mixture).",
    meaning="Weights are how often a packed row of a domain is drawn, above 0, normalised by torchtitan. As rows are "
    "packed before mixing, they count tokens (torchtitan/components/data/README.md, dataset.py).",
    write=_write,
    read=_read,
    pattern="data/{domain}/*.jsonl",
)
