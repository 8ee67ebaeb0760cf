"""The sections of gpu.py, each a list of items that are measured one after another and recorded as they come."""

import gc
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Item = tuple[str, Callable[[], Mapping[str, Any]]]
# States of items that are not run again: those of an earlier run that is resumed are done, one that crashed is only started.
BEGUN = ("started", "done")
FORBIDDEN = ("wandb", "lightgbm")  # Heavy packages that training does not need.
TESTS_SO_FAR = "tests so far"  # The result that section "tests" records after each test.
MIN_SECONDS = 3.0  # An item is not started with less time.


class WantsGpu(Exception):
    """An item cannot be measured on a CPU."""


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
    """Run the items of a section that no earlier process has begun. All items are made before the first one runs."""
    import gpu_baselines
    import gpu_card
    import gpu_fast
    import gpu_right
    import gpu_whole

    context = Context(section, out, folder, deadline, rehearse)
    items: dict[str, Callable[[Context], Iterator[Item] | Sequence[Item]]] = {
        "card": gpu_card.card,
        "right": gpu_right.right,
        "tests": gpu_right.tests,
        "compile": gpu_fast.compile_items,
        "pretrain": gpu_baselines.pretrain_items,
        "fast": gpu_fast.fast,
        "whole": gpu_whole.whole,
    }
    begun = {line["name"] for line in results(out) if line["section"] == section and line["state"] in BEGUN}
    found = list(items[section](context))
    assert len({name for name, _ in found}) == len(found), "two items have one name"
    for name, work in found:
        if name in begun:
            continue
        if context.left < MIN_SECONDS:
            context.record(name, "left out", why="no time left")
            continue
        measure(context, name, work)
    imported = [name for name in FORBIDDEN if name in sys.modules]
    context.record("imports", "failed" if imported else "done", imported=imported)


def measure(context: Context, name: str, work: Callable[[], Mapping[str, Any]]) -> None:
    """Run one item and record what it returns, or how it failed."""
    start = time.time()
    context.record(name, "started")
    try:
        context.record(name, "done", **{**work(), "took": round(time.time() - start, 2)})
    except WantsGpu as error:
        context.record(name, "wants a GPU", why=str(error))
    except Exception as error:
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        context.record(name, "failed", why=text[:400], took=round(time.time() - start, 2))
        if context.device == "cuda" and "CUDA error" in text and "out of memory" not in text:
            print("this process has lost the GPU", flush=True)
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
