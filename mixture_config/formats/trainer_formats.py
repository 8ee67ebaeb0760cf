"""A mixture as each trainer's own configuration, and the weights back from it: FORMATS, one row a trainer.

What a row says of a trainer's weights (what they count, whether they are normalised, what 0 does) was read in that
trainer's source, which its comment in the exported file names.
"""

import ast
import json
import math
import shlex
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mixture_config.files.mixture import read_mixture
from mixture_config.files.mixture_table import flatten_mix
from proxymix.errors import InputError
from proxymix.progress import say

GRID = 2**53  # multiples of 1 / GRID up to 1 are doubles, and so is every sum of them: no order of adding rounds
LEVANTER_BLOCK, LEVANTER_LARGEST_BLOCK = 2048, 32768  # its default, and the largest power of two that it takes
LOADERS = {"jsonl": "json", "json": "json", "parquet": "parquet", "csv": "csv", "txt": "text", "arrow": "arrow"}


@dataclass(frozen=True)
class Source:
    """What a trainer gives one weight: a domain with its paths, or one path of a domain."""

    domain: str
    share: float
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Blend:
    """All that a format is written from.

    Args:
        sources: In the mixture's order; shares above 0 (RegMix's also 0) that sum to 1.
        notes: What the weights mean, for the file's comment; no line breaks.
        mixture: The mixture's file.
        rest: What the mixture's file holds beside the weights.
        budget: Tokens of the final training, if known.
        repetitions: Domain -> most passes over its data.
    """

    sources: tuple[Source, ...]
    notes: tuple[str, ...]
    mixture: Path
    rest: Mapping[str, Any]
    budget: int | None
    repetitions: Mapping[str, float]


Weights = list[tuple[str, float]]


@dataclass(frozen=True)
class Format:
    """One trainer's configuration.

    Args:
        help: What the export is, and what it is handed to.
        weights: What its weights are to the trainer, and where that is written.
        write: The file's text.
        read: The text (and its path) -> (domain, or path, and weight), as they stand there.
        pattern: Where a domain's data lies unless the user says; {study} is the mixture's folder.
        keyed_by_path: Whether `read` gives paths.
        splits: Whether every path has a weight of its own.
        units: What one sample may be to the trainer, its usual one first: a block of tokens, or a document.
        comments: Whether the file can hold `notes`.
        zeros: Whether domains of weight 0 stay in.
        repeats: Whether it says how often data may repeat.
    """

    help: str
    weights: str
    write: Callable[[Blend], str]
    read: Callable[[str, Path], Weights]
    pattern: str = ""
    keyed_by_path: bool = False
    splits: bool = False
    units: tuple[str, ...] = ("blocks",)
    comments: bool = True
    zeros: bool = False
    repeats: bool = False


def exact_ratios(shares: Sequence[float]) -> list[float]:
    """Shares that sum to exactly 1 in whatever order and way they are added, each within n / 2**53 of the given one.

    Args:
        shares: Above 0, sum 1 within rounding, shape (n,).
    """
    steps = [max(1, round(share * GRID)) for share in shares]
    steps[int(np.argmax(steps))] += GRID - sum(steps)
    return [step / GRID for step in steps]


def comment(notes: Sequence[str]) -> str:
    """`notes` as comment lines; one that is indented (a line of code) stays as it is."""
    lines: list[str] = []
    for note in notes:
        lines += [note] if note.startswith(" ") else textwrap.wrap(note, 110, break_on_hyphens=False)
    return "".join(f"# {line}\n" for line in lines)


def _yaml(blend: Blend, content: Mapping[str, Any], usage: Sequence[str] = ()) -> str:
    text = yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=1000)
    return comment([*blend.notes, *usage]) + text


def _mapping(text: str) -> dict[str, Any]:
    return dict(yaml.safe_load(text))


def _shares(blend: Blend) -> dict[str, float]:
    return {source.domain: source.share for source in blend.sources}


# RegMix, and litgpt with our DataModule


def _write_regmix(blend: Blend) -> str:
    valid = blend.rest.get("valid") or {f"valid_{source.domain}": 1.0 for source in blend.sources}
    model = str(blend.rest.get("model_name", ""))
    content = {
        "train": {f"train_{domain}": share for domain, share in _shares(blend).items()},
        "valid": valid,
        "model_name": model if model.startswith("tinyllama") else "tinyllama_1_1b",  # no other does its trainer know
    }
    return _yaml(blend, content)


def _read_regmix(text: str, path: Path) -> Weights:
    return [(key.removeprefix("train_"), float(weight)) for key, weight in _mapping(text)["train"].items()]


def _write_litgpt(blend: Blend) -> str:
    if blend.budget is None:
        raise InputError(f"{blend.mixture}: no budget in it, and litgpt's data needs train_tokens; add --budget TOKENS")
    arguments = {
        "tokens": blend.sources[0].paths[0],
        "mixture": blend.mixture.as_posix(),
        "train_tokens": blend.budget,
        "seed": 42,
    }
    data = {"class_path": "proxy_training.data_module.MixtureData", "init_args": arguments}
    return _yaml(blend, {"data": data, "train": {"max_tokens": blend.budget}})


def _read_litgpt(text: str, path: Path) -> Weights:
    named = Path(_mapping(text)["data"]["init_args"]["mixture"])
    return list(read_mixture(named if named.exists() else path.parent / named)[0].items())


# Megatron-LM and its kin: weight, prefix, weight, prefix, ...


def _pairs(blend: Blend) -> list[str]:
    for source in blend.sources:
        if source.paths[0] != source.paths[0].strip():
            raise InputError(
                f"--paths: {source.paths[0]!r} of {source.domain} begins or ends with a space, and Megatron's reader "
                "strips it; rename the data"
            )
    return [text for source in blend.sources for text in (_number(source.share), source.paths[0])]


def _number(share: float) -> str:
    """The shortest text that reads back to `share`, also for readers of YAML 1.1, to whom 2e-05 is no number."""
    text = repr(share)
    return text.replace("e", ".0e") if "." not in text else text


def _unpaired(blend: Sequence[Any]) -> Weights:
    return [(str(path), float(weight)) for weight, path in zip(blend[::2], blend[1::2], strict=True)]


def _line(blend: Blend) -> str:
    return " ".join(shlex.quote(text) for text in _pairs(blend)) + "\n"


def _write_megatron(blend: Blend) -> str:
    return f"--data-path {_line(blend)}"


def _read_line(text: str, path: Path) -> Weights:
    return _unpaired([part for part in shlex.split(text) if part != "--data-path"])


def _write_megatron_file(blend: Blend) -> str:
    for source in blend.sources:
        if len(source.paths[0].split()) != 1:
            raise InputError(
                f"--paths: {source.paths[0]!r} of {source.domain} has a space, at which Megatron's --data-args-path "
                "splits; rename the data, or export to megatron or megatron_per_split"
            )
    pairs = _pairs(blend)
    return "".join(f"{weight} {path}\n" for weight, path in zip(pairs[::2], pairs[1::2], strict=True))


def _read_megatron_file(text: str, path: Path) -> Weights:
    return _unpaired(text.split())


def _write_megatron_splits(blend: Blend) -> str:
    content = {"_comment": list(blend.notes), "train": _pairs(blend), "valid": None, "test": None}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _read_megatron_splits(text: str, path: Path) -> Weights:
    return _unpaired(json.loads(text)["train"])


def _write_bridge(blend: Blend) -> str:
    pairs = _pairs(blend)
    content = {"blend": [pairs[1::2], [source.share for source in blend.sources]], "split": "9999,8,2"}
    return _yaml(blend, {"dataset": content})


def _read_bridge(text: str, path: Path) -> Weights:
    paths, weights = _mapping(text)["dataset"]["blend"]
    return list(zip(paths, weights, strict=True))


def _write_automodel(blend: Blend) -> str:
    target = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
    return _yaml(blend, {"dataset": {"_target_": target, "paths": _pairs(blend), "splits_to_build": "train"}})


def _read_automodel(text: str, path: Path) -> Weights:
    return _unpaired(_mapping(text)["dataset"]["paths"])


# Ai2's


def _write_olmo_core(blend: Blend) -> str:
    ratios = exact_ratios([source.share for source in blend.sources])
    sources = [
        {
            "source_name": source.domain,
            "target_ratio": ratio,
            "max_repetition_ratio": blend.repetitions[source.domain],
            "paths": list(source.paths),
        }
        for source, ratio in zip(blend.sources, ratios, strict=True)
    ]
    return _yaml(blend, {"sources": sources})


def _read_olmo_core(text: str, path: Path) -> Weights:
    return [(source["source_name"], float(source["target_ratio"])) for source in _mapping(text)["sources"]]


def _write_olmix(blend: Blend) -> str:
    sources = [{"name": source.domain, "paths": list(source.paths)} for source in blend.sources]
    mix = {
        source.domain: {"weight": source.share, "repetition_factor": blend.repetitions[source.domain]}
        for source in blend.sources
    }
    return _yaml(blend, {"data": {"sources": sources}, "mix": mix})


def _read_olmix(text: str, path: Path) -> Weights:
    return list(flatten_mix(_mapping(text)["mix"]).items())


# The others


def _write_litdata(blend: Blend) -> str:
    content = {
        "datasets": [{"input_dir": source.paths[0], "shuffle": True, "drop_last": True} for source in blend.sources],
        "weights": [source.share for source in blend.sources],
        "seed": 42,
        "iterate_over_all": False,
    }
    usage = [
        "Use, where blocks of tokens need TokensLoader in every dataset, of one block_size:",
        "  c = yaml.safe_load(open(FILE)); loader = TokensLoader(block_size=...)",
        "  c['datasets'] = [StreamingDataset(**d, item_loader=loader) for d in c['datasets']]",
        "  dataset = CombinedStreamingDataset(**c)",
    ]
    return _yaml(blend, content, usage)


def _read_litdata(text: str, path: Path) -> Weights:
    content = _mapping(text)
    return [(d["input_dir"], float(w)) for d, w in zip(content["datasets"], content["weights"], strict=True)]


def _write_foundry(blend: Blend) -> str:
    streams = {}
    for source in blend.sources:
        several = sum(other.domain == source.domain for other in blend.sources) > 1
        name = f"{source.domain}:{source.paths[0]}" if several else source.domain
        place = "remote" if "://" in source.paths[0] else "local"
        streams[name] = {place: source.paths[0], "proportion": source.share}
    return _yaml(blend, {"train_loader": {"name": "text", "dataset": {"streams": streams, "shuffle": True}}})


def _read_foundry(text: str, path: Path) -> Weights:
    streams = _mapping(text)["train_loader"]["dataset"]["streams"].values()
    return [(s["local"] if "local" in s else s["remote"], float(s["proportion"])) for s in streams]


def _write_nanotron(blend: Blend) -> str:
    dataset = {
        "dataset_folder": [source.paths[0] for source in blend.sources],
        "dataset_weights": [source.share for source in blend.sources],
    }
    data = {"dataset": dataset, "seed": 42, "num_loading_workers": 1}
    return _yaml(blend, {"data_stages": [{"name": "mixture", "start_training_step": 1, "data": data}]})


def _read_nanotron(text: str, path: Path) -> Weights:
    dataset = _mapping(text)["data_stages"][0]["data"]["dataset"]
    return list(zip(dataset["dataset_folder"], dataset["dataset_weights"], strict=True))


def _write_levanter(blend: Blend) -> str:
    smallest = min(source.share for source in blend.sources)
    block = LEVANTER_BLOCK
    while block < LEVANTER_LARGEST_BLOCK and smallest * block < 20:  # whole sequences of a block: 1 in 20 is 5% off
        block *= 2
    never = [source.domain for source in blend.sources if source.share * block < 1]
    usage = [f"Never drawn, as less than one sequence of a block: {', '.join(never)}."] if never else []
    for line in usage:
        say(f"levanter: {line}")
    data = {
        "components": {
            source.domain: {"source": {"type": "url", "train_urls": list(source.paths)}} for source in blend.sources
        },
        "train_weights": _shares(blend),
        "mixture_block_size": block,
    }
    return _yaml(blend, {"data": data}, usage)


def _read_levanter(text: str, path: Path) -> Weights:
    return [(name, float(weight)) for name, weight in _mapping(text)["data"]["train_weights"].items()]


def _write_torchtitan(blend: Blend) -> str:
    weights = "".join(f"    {json.dumps(source.domain)}: {source.share!r},\n" for source in blend.sources)
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


def _read_torchtitan(text: str, path: Path) -> Weights:
    values = {
        node.targets[0].id: node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    return list(ast.literal_eval(values["WEIGHTS"]).items())


def _write_huggingface(blend: Blend) -> str:
    datasets = {source.domain: _load_arguments(source) for source in blend.sources}
    content = {
        "datasets": datasets,
        "probabilities": [source.share for source in blend.sources],
        "seed": 42,
        "stopping_strategy": "all_exhausted",
    }
    usage = [
        "Use:",
        "  c = yaml.safe_load(open(FILE))",
        "  c['datasets'] = [load_dataset(**arguments) for arguments in c['datasets'].values()]",
        "  dataset = interleave_datasets(**c)",
    ]
    return _yaml(blend, content, usage)


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


def _read_huggingface(text: str, path: Path) -> Weights:
    content = _mapping(text)
    return [(domain, float(p)) for domain, p in zip(content["datasets"], content["probabilities"], strict=True)]


OURS = "{study}/tokens/train/{domain}"
PREFIX = "data/{domain}_text_document"
MEGATRON = (
    "Weights are shares of samples of sequence_length tokens each; Megatron normalises them "
    "(megatron/core/datasets/utils.py: get_blend_from_list, blended_dataset.py)."
)

FORMATS: dict[str, Format] = {
    "regmix": Format(
        help="RegMix's mixture YAML, for --data_yaml_file of its pretrain/tinyllama.py; 0 stays in.",
        weights="train_<domain> is the share of samples; RegMix normalises the shares and never draws 0 "
        "(sail-sg/regmix, model_training/pretrain/tinyllama.py). It reads all files whose names begin with the key.",
        write=_write_regmix,
        read=_read_regmix,
        zeros=True,
    ),
    "litgpt": Format(
        help="a config for `litgpt pretrain --config`, with our DataModule; it names the mixture's file, needs a budget, "
        "and --paths is the folder of token shards ({study}/tokens unless given).",
        weights="The weights are those of the file at data.init_args.mixture, shares of tokens that train_tokens meets "
        "exactly; relative paths count from where litgpt starts (proxy_training/data_module.py). Keep train_tokens and "
        "train.max_tokens the same.",
        write=_write_litgpt,
        read=_read_litgpt,
        pattern="{study}/tokens",
        zeros=True,
    ),
    "litdata": Format(
        help="the arguments of litdata's CombinedStreamingDataset, as YAML.",
        weights="weights are the chances of items, normalised by litdata, which takes them only with "
        "iterate_over_all false and ends with the first dataset that does (litdata/streaming/combined.py).",
        write=_write_litdata,
        read=_read_litdata,
        pattern="data/{domain}",
        keyed_by_path=True,
        splits=True,
        units=("blocks", "documents"),
    ),
    "megatron": Format(
        help="the --data-path line of Megatron-LM's command.",
        weights=MEGATRON,
        write=_write_megatron,
        read=_read_line,
        pattern=PREFIX,
        keyed_by_path=True,
        splits=True,
        comments=False,
    ),
    "megatron_args_file": Format(
        help="the file for Megatron-LM's --data-args-path.",
        weights=MEGATRON,
        write=_write_megatron_file,
        read=_read_megatron_file,
        pattern=PREFIX,
        keyed_by_path=True,
        splits=True,
        comments=False,
    ),
    "megatron_per_split": Format(
        help="the JSON for Megatron-LM's --per-split-data-args-path, with valid and test left null.",
        weights=f"{MEGATRON} train, valid and test must all be there; a null one has no data.",
        write=_write_megatron_splits,
        read=_read_megatron_splits,
        pattern=PREFIX,
        keyed_by_path=True,
        splits=True,
    ),
    "megatron_bridge": Format(
        help="Megatron-Bridge's dataset.blend, as YAML for a recipe's --config-file.",
        weights=f"{MEGATRON} blend is [prefixes, weights]; split, which a blend needs, is Megatron-Bridge's own for real "
        "data (src/megatron/bridge/recipes/utils/dataset_utils.py).",
        write=_write_bridge,
        read=_read_bridge,
        pattern=PREFIX,
        keyed_by_path=True,
        splits=True,
    ),
    "nemo_automodel": Format(
        help="the dataset section of a NeMo Automodel recipe (paths of MegatronPretraining), as YAML.",
        weights="paths are weight, prefix, weight, prefix and so on: shares of samples of seq_length tokens each, which "
        "Automodel normalises (nemo_automodel/components/datasets/llm/megatron_dataset.py).",
        write=_write_automodel,
        read=_read_automodel,
        pattern=PREFIX,
        keyed_by_path=True,
        splits=True,
    ),
    "olmo_core": Format(
        help="OLMo-core's source mixture YAML, for SourceMixtureList.from_yaml; our token shards serve as they are.",
        weights="target_ratio is the share of requested_tokens, above 0, and all must sum to 1: here exactly, in any "
        "order of adding. max_repetition_ratio is max_epochs; OLMo-core refuses to take a source more often "
        "(src/olmo_core/data/source_mixture.py).",
        write=_write_olmo_core,
        read=_read_olmo_core,
        pattern=f"{OURS}/*.ds",
        repeats=True,
    ),
    "olmix": Format(
        help="the data and mix sections of an Olmix launch config, as YAML.",
        weights="weight is the share of tokens, and OLMo-core's target_ratio; 0 is skipped. repetition_factor is "
        "max_epochs; data is not taken more often (allenai/olmix, olmix/aliases.py, launch/utils.py).",
        write=_write_olmix,
        read=_read_olmix,
        pattern=f"{OURS}/*.ds",
        repeats=True,
    ),
    "llm_foundry": Format(
        help="LLM-Foundry's train_loader with one stream (an MDS folder or URL) a path, as YAML to merge into a config.",
        weights="proportion is the share of samples; Streaming normalises the proportions, and without shuffle would "
        "read one stream after the other (streaming/base/stream.py, llmfoundry/data/text_data.py).",
        write=_write_foundry,
        read=_read_foundry,
        pattern="data/{domain}",
        keyed_by_path=True,
        splits=True,
        units=("blocks", "documents"),
    ),
    "nanotron": Format(
        help="nanotron's data_stages with Nanosets, as YAML to merge into a config; our token shards serve as they are.",
        weights="dataset_weights are shares of samples of sequence_length tokens each; nanotron normalises them "
        "(src/nanotron/data/nanoset.py). A folder without .metadata needs token_size_in_bytes (2 or 4) and vocab_size "
        "set beside them (src/nanotron/config/config.py).",
        write=_write_nanotron,
        read=_read_nanotron,
        pattern=OURS,
        keyed_by_path=True,
        splits=True,
    ),
    "levanter": Format(
        help="the data section of a Levanter config, as YAML; tokenizer and cache_dir are to be added.",
        weights="train_weights are shares of sequences of tokens; Levanter normalises them, leaves 0 out, and meets them "
        "in whole sequences of every mixture_block_size (lib/levanter/src/levanter/data/mixture.py, "
        "text/datasets.py). Before 2026 components was configs, and train_urls stood right below a name.",
        write=_write_levanter,
        read=_read_levanter,
        pattern="data/{domain}/*.jsonl",
    ),
    "torchtitan": Format(
        help="a Python module for torchtitan (2026 on): hand its `mixture` to GrainDataLoader.Config(dataset=mixture).",
        weights="Weights are how often a packed row of a domain is drawn, above 0, normalised by torchtitan. As rows are "
        "packed before mixing, they count tokens (torchtitan/components/data/README.md, dataset.py).",
        write=_write_torchtitan,
        read=_read_torchtitan,
        pattern="data/{domain}/*.jsonl",
    ),
    "huggingface": Format(
        help="the arguments of Hugging Face's load_dataset and interleave_datasets, as YAML.",
        weights="probabilities are the chances of rows and must sum to 1; all_exhausted goes on, over again where data "
        "ends, until every dataset was read once, so a 0 would never end (datasets/combine.py).",
        write=_write_huggingface,
        read=_read_huggingface,
        pattern="data/{domain}/*.jsonl",
        units=("documents", "blocks"),
    ),
    "ml_dist_gen": Format(
        help="the line of ml-dist-gen's --path (share path share path ...), which Megatron's --data-path takes too.",
        weights="Shares of tokens, in the order of the mixture (vitiugin/ml-dist-gen, run.py).",
        write=_line,
        read=_read_line,
        pattern="data_tok/{domain}",
        keyed_by_path=True,
        splits=True,
        comments=False,
    ),
}


def normalise(weights: Mapping[str, float]) -> dict[str, float]:
    """`weights` scaled to sum 1."""
    total = math.fsum(weights.values())
    if not total > 0:
        raise InputError(f"the weights sum to {total:g}; numbers above 0 are wanted")
    return {name: weight / total for name, weight in weights.items()}
