"""The sections of gpu.py, each a list of items that are measured one after another and recorded as they come."""

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

Item = tuple[str, Callable[[], Mapping[str, Any]]]
BEGUN = (
    "started",
    "done",
)  # Results of an earlier run that is resumed are done; those of a crashed process only started.
FORBIDDEN = ("wandb", "lightgbm")  # Heavy packages that no one needs in order to train.


@dataclass(frozen=True)
class Context:
    """Where a section runs.

    Attributes:
        section: Its name.
        out: Where results go.
        folder: Temporary files that all sections share.
        deadline: When it must have ended, as time.time().
        rehearse: Whether everything is small, on a CPU.
    """

    section: str
    out: Path
    folder: Path
    deadline: float
    rehearse: bool

    @property
    def left(self) -> float:
        """Seconds left."""
        return self.deadline - time.time()

    @property
    def device(self) -> str:
        """cpu or cuda."""
        from proxy_training.device.layout import device_here

        return device_here()

    def record(self, name: str, state: str, **values: Any) -> None:
        """Append a result."""
        line = json.dumps({"section": self.section, "name": name, "state": state, **values}, default=str)
        with (self.out / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        print(f"{time.strftime('%H:%M:%S')} {self.section} {name} {state} {line[:600]}", flush=True)


def run_section(section: str, out: Path, folder: Path, deadline: float, rehearse: bool) -> None:
    """Run the items of a section that no earlier process of it has begun."""
    import gpu_fast
    import gpu_right
    import gpu_whole

    context = Context(section, out, folder, deadline, rehearse)
    items: dict[str, Callable[[Context], Iterator[Item] | Sequence[Item]]] = {
        "card": gpu_fast.card,
        "right": gpu_right.right,
        "tests": gpu_right.tests,
        "compile": gpu_fast.compile_items,
        "fast": gpu_fast.fast,
        "whole": gpu_whole.whole,
    }
    begun = {line["name"] for line in results(out) if line["section"] == section and line["state"] in BEGUN}
    if section == "tests":
        gpu_right.run_tests(context)
        return
    for name, work in items[section](context):
        if name in begun:
            continue
        if context.left < 3:
            context.record(name, "left out", why="no time left")
            continue
        measure(context, name, work)
    found = [name for name in FORBIDDEN if name in sys.modules]
    context.record("imports", "failed" if found else "done", imported=found)


def measure(context: Context, name: str, work: Callable[[], Mapping[str, Any]]) -> None:
    """Run one item and record what it returns, or how it failed."""
    start = time.time()
    context.record(name, "started")
    try:
        context.record(name, "done", **{**work(), "took": round(time.time() - start, 2)})
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        context.record(name, "failed", why=text[:400], took=round(time.time() - start, 2))
        if context.device == "cuda" and "CUDA error" in text and "out of memory" not in text:
            print("the device answers nothing more to this process", flush=True)
            os._exit(3)
    finally:
        gc.collect()
        if context.device == "cuda":
            import torch

            torch.cuda.empty_cache()


def results(out: Path) -> list[dict[str, Any]]:
    """What all sections have recorded so far."""
    from gpu import read_results

    return read_results(out)


def write_tokens(folder: Path, vocabulary: int, num_tokens: int, num_domains: int = 4) -> Path:
    """Domains that can be learned: the next id is the last one plus the domain's number, but for a tenth of noise."""
    import numpy as np

    from data_preparation.tokens.shards import ShardWriter, token_dtype
    from proxymix.files import write_json

    if (folder / "manifest.json").exists():
        return folder
    rng, dtype = np.random.default_rng(0), token_dtype(vocabulary)
    splits: dict[str, dict[str, Any]] = {"train": {}, "valid": {}}
    for split, size in (("train", num_tokens), ("valid", max(20_000, num_tokens // 50))):
        for number in range(num_domains):
            steps = np.where(rng.random(size) < 0.1, rng.integers(vocabulary, size=size), number + 1)
            with ShardWriter(folder, split, f"d{number}", dtype, shard_tokens=size // 2) as writer:
                for part in np.array_split(np.cumsum(steps) % vocabulary, 4):
                    writer.write(part, num_bytes=4 * len(part))
            splits[split][f"d{number}"] = {"source": [], "shards": [asdict(shard) for shard in writer.shards]}
    tokenizer = {"name": "made", "sha256": "0", "vocabulary": vocabulary, "eos": 0, "eos_token": "<eos>"}
    write_json(folder / "manifest.json", {"tokenizer": tokenizer, "dtype": dtype, "settings": {}, **splits})
    return folder


def variants_of(layout: Any) -> dict[str, Any]:
    """A layout -> the faster ways that may be tried on it, each alone and then all together, by name."""
    on_device = {"graph": True, "corpus": "device"}
    every = {**on_device, "head": "fused", "optimizer": "fused"}
    changes: dict[str, dict[str, Any]] = {
        "head fused": {"head": "fused"},
        "head liger": {"head": "liger"},
        "head cut": {"head": "cut"},
        "corpus on device": {"corpus": "device"},
        "graph": {"graph": True},
        "optimiser fused": {"optimizer": "fused"},
        "compiled": {"compile": True},
        "head fused, compiled": {"head": "fused", "compile": True},
        "graph, corpus": on_device,
        "graph, corpus, head": {**on_device, "head": "fused"},
        "everything": every,
        "everything, compiled": {**every, "compile": True},
        "everything, compiled, batch whole": {**every, "compile": True, "micro_batch": 2 * layout.micro_batch},
        "everything, compiled, head liger": {**every, "compile": True, "head": "liger"},
        "everything, compiled, head cut": {**every, "compile": True, "head": "cut"},
    }
    return {name: replace(layout, **change) for name, change in changes.items()}
