"""MosaicML's LLM-Foundry: streams of MDS folders."""

from pathlib import Path

from mixture_config.formats.trainer_format import Blend, Entries, TrainerFormat, as_yaml, from_yaml


def _write(blend: Blend) -> str:
    streams = {}
    for source in blend.sources:
        several = sum(other.domain == source.domain for other in blend.sources) > 1
        name = f"{source.domain}:{source.paths[0]}" if several else source.domain
        place = "remote" if "://" in source.paths[0] else "local"
        streams[name] = {place: source.paths[0], "proportion": source.weight}
    return as_yaml(blend, {"train_loader": {"name": "text", "dataset": {"streams": streams, "shuffle": True}}})


def _read(text: str, path: Path) -> Entries:
    streams = from_yaml(text, path)["train_loader"]["dataset"]["streams"].values()
    return [(s["local"] if "local" in s else s["remote"], float(s["proportion"])) for s in streams]


LLM_FOUNDRY = TrainerFormat(
    key="llm_foundry",
    label="LLM-Foundry",
    help="LLM-Foundry's train_loader with one stream (an MDS folder or URL) a path, as YAML to merge into a config.",
    meaning="proportion is the share of samples; Streaming normalises the proportions, and without shuffle would "
    "read one stream after the other (streaming/base/stream.py, llmfoundry/data/text_data.py).",
    write=_write,
    read=_read,
    pattern="data/{domain}",
    keyed_by_path=True,
    weight_per_path=True,
    units=("blocks", "documents"),
)
