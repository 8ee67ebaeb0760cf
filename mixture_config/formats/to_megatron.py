"""Megatron-LM and the trainers that read its blends: weight, prefix, weight, prefix and so on."""

import json
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from mixture_config.formats.trainer_format import Blend, Entries, TrainerFormat, as_yaml, from_yaml
from proxymix.errors import InputError
from proxymix.files import parse_json

_prefixed = partial(TrainerFormat, pattern="data/{domain}_text_document", keyed_by_path=True, weight_per_path=True)
MEANING = (
    "Weights are shares of samples of sequence_length tokens each; Megatron normalises them "
    "(megatron/core/datasets/utils.py: get_blend_from_list, blended_dataset.py)."
)


def _pairs(blend: Blend) -> list[str]:
    for source in blend.sources:
        if source.paths[0] != source.paths[0].strip():
            raise InputError(
                f"--paths: {source.paths[0]!r} of {source.domain} begins or ends with a space, and Megatron's reader "
                "strips it; rename the data"
            )
    return [text for source in blend.sources for text in (_number(source.weight), source.paths[0])]


def _number(weight: float) -> str:
    """The shortest text that reads back to `weight`, also for readers of YAML 1.1, to whom 2e-05 is no number."""
    text = repr(weight)
    return text.replace("e", ".0e") if "." not in text else text


def _unpaired(blend: Sequence[Any]) -> Entries:
    return [(str(path), float(weight)) for weight, path in zip(blend[::2], blend[1::2], strict=True)]


def _line(blend: Blend) -> str:
    return " ".join(shlex.quote(text) for text in _pairs(blend)) + "\n"


def _read_line(text: str, path: Path) -> Entries:
    return _unpaired([part for part in shlex.split(text) if part != "--data-path"])


MEGATRON = _prefixed(
    key="megatron",
    label="Megatron-LM",
    help="the --data-path line of Megatron-LM's command.",
    meaning=MEANING,
    write=lambda blend: f"--data-path {_line(blend)}",
    read=_read_line,
    has_comments=False,
)


def _write_args_file(blend: Blend) -> str:
    for source in blend.sources:
        if len(source.paths[0].split()) != 1:
            raise InputError(
                f"--paths: {source.paths[0]!r} of {source.domain} has a space, at which Megatron's --data-args-path "
                "splits; rename the data, or export to megatron or megatron_per_split"
            )
    pairs = _pairs(blend)
    return "".join(f"{weight} {path}\n" for weight, path in zip(pairs[::2], pairs[1::2], strict=True))


MEGATRON_ARGS_FILE = _prefixed(
    key="megatron_args_file",
    label="Megatron-LM",
    help="the file for Megatron-LM's --data-args-path.",
    meaning=MEANING,
    write=_write_args_file,
    read=lambda text, path: _unpaired(text.split()),
    has_comments=False,
)


def _write_per_split(blend: Blend) -> str:
    content = {"_comment": list(blend.notes), "train": _pairs(blend), "valid": None, "test": None}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


MEGATRON_PER_SPLIT = _prefixed(
    key="megatron_per_split",
    label="Megatron-LM",
    help="the JSON for Megatron-LM's --per-split-data-args-path, with valid and test left null.",
    meaning=f"{MEANING} train, valid and test must all be there; a null one has no data.",
    write=_write_per_split,
    read=lambda text, path: _unpaired(parse_json(text)["train"]),
)


def _write_bridge(blend: Blend) -> str:
    prefixes, weights = _pairs(blend)[1::2], [source.weight for source in blend.sources]
    return as_yaml(blend, {"dataset": {"blend": [prefixes, weights], "split": "9999,8,2"}})


def _read_bridge(text: str, path: Path) -> Entries:
    prefixes, weights = from_yaml(text, path)["dataset"]["blend"]
    return list(zip(prefixes, weights, strict=True))


MEGATRON_BRIDGE = _prefixed(
    key="megatron_bridge",
    label="Megatron-Bridge",
    help="Megatron-Bridge's dataset.blend, as YAML for a recipe's --config-file.",
    meaning=f"{MEANING} blend is [prefixes, weights]; split, which a blend needs, is Megatron-Bridge's own for real "
    "data (src/megatron/bridge/recipes/utils/dataset_utils.py).",
    write=_write_bridge,
    read=_read_bridge,
)


def _write_automodel(blend: Blend) -> str:
    target = "nemo_automodel.components.datasets.llm.megatron_dataset.MegatronPretraining"
    return as_yaml(blend, {"dataset": {"_target_": target, "paths": _pairs(blend), "splits_to_build": "train"}})


NEMO_AUTOMODEL = _prefixed(
    key="nemo_automodel",
    label="NeMo Automodel",
    help="the dataset section of a NeMo Automodel recipe (paths of MegatronPretraining), as YAML.",
    meaning="paths are weight, prefix, weight, prefix and so on: shares of samples of seq_length tokens each, which "
    "Automodel normalises (nemo_automodel/components/datasets/llm/megatron_dataset.py).",
    write=_write_automodel,
    read=lambda text, path: _unpaired(from_yaml(text, path)["dataset"]["paths"]),
)


ML_DIST_GEN = _prefixed(
    key="ml_dist_gen",
    label="ml-dist-gen",
    help="the line of ml-dist-gen's --path (share path share path ...), which Megatron's --data-path takes too.",
    meaning="Shares of tokens, in the order of the mixture (vitiugin/ml-dist-gen, run.py).",
    write=_line,
    read=_read_line,
    pattern="data_tok/{domain}",
    has_comments=False,
)
