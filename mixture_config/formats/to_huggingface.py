"""Hugging Face's: datasets and nanotron."""

from pathlib import Path
from typing import Any

from mixture_config.formats.trainer_format import (
    OUR_SHARDS,
    Blend,
    Entries,
    Source,
    TrainerFormat,
    as_yaml,
    from_yaml,
)
from proxymix.errors import InputError

LOADERS = {"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv", "txt": "text", "arrow": "arrow"}


def _write_huggingface(blend: Blend) -> str:
    datasets = {source.domain: _load_arguments(source) for source in blend.sources}
    content = {
        "datasets": datasets,
        "probabilities": [source.weight for source in blend.sources],
        "seed": 42,
        "stopping_strategy": "all_exhausted",
    }
    usage = [
        "Use:",
        "  c = yaml.safe_load(open(FILE))",
        "  c['datasets'] = [load_dataset(**arguments) for arguments in c['datasets'].values()]",
        "  dataset = interleave_datasets(**c)",
    ]
    return as_yaml(blend, content, usage)


def _load_arguments(source: Source) -> dict[str, Any]:
    """The arguments of load_dataset: files by their suffix (compressed ones too), else a folder or a name on the Hub."""
    loaders = {_loader(path) for path in source.paths}
    if loaders == {None} and len(source.paths) == 1:
        return {"path": source.paths[0], "split": "train", "streaming": True}
    if len(loaders) > 1 or None in loaders:
        raise InputError(
            f"--paths: the paths of {source.domain} cannot be one dataset ({', '.join(source.paths)}); "
            f"give files of one kind ({', '.join(LOADERS)}), or a single folder or Hub name"
        )
    return {"path": loaders.pop(), "data_files": list(source.paths), "split": "train", "streaming": True}


def _loader(path: str) -> str | None:
    suffixes = [part for part in Path(path).name.split(".")[1:] if part not in ("gz", "zst", "xz", "bz2")]
    return LOADERS.get(suffixes[-1]) if suffixes else None


def _read_huggingface(text: str, path: Path) -> Entries:
    content = from_yaml(text, path)
    return [(domain, float(p)) for domain, p in zip(content["datasets"], content["probabilities"], strict=True)]


HUGGINGFACE = TrainerFormat(
    key="huggingface",
    label="Hugging Face datasets",
    help="the arguments of Hugging Face's load_dataset and interleave_datasets, as YAML.",
    meaning="probabilities are the chances of rows and must sum to 1; all_exhausted goes on, over again where data "
    "ends, until every dataset was read once, so a 0 would never end (datasets/combine.py).",
    write=_write_huggingface,
    read=_read_huggingface,
    pattern="data/{domain}/*.jsonl",
    units=("documents", "blocks"),
)


def _write_nanotron(blend: Blend) -> str:
    dataset = {
        "dataset_folder": [source.paths[0] for source in blend.sources],
        "dataset_weights": [source.weight for source in blend.sources],
    }
    data = {"dataset": dataset, "seed": 42, "num_loading_workers": 1}
    return as_yaml(blend, {"data_stages": [{"name": "mixture", "start_training_step": 1, "data": data}]})


def _read_nanotron(text: str, path: Path) -> Entries:
    dataset = from_yaml(text, path)["data_stages"][0]["data"]["dataset"]
    return list(zip(dataset["dataset_folder"], dataset["dataset_weights"], strict=True))


NANOTRON = TrainerFormat(
    key="nanotron",
    label="nanotron",
    help="nanotron's data_stages with Nanosets, as YAML to merge into a config; our token shards serve as they are.",
    meaning="dataset_weights are shares of samples of sequence_length tokens each; nanotron normalises them "
    "(src/nanotron/data/nanoset.py). A folder without .metadata needs token_size_in_bytes (2 or 4) and vocab_size "
    "set beside them (src/nanotron/config/config.py).",
    write=_write_nanotron,
    read=_read_nanotron,
    pattern=OUR_SHARDS,
    keyed_by_path=True,
    weight_per_path=True,
)
