"""The proxies whose speed gpu.py measures, the layouts that are tried on them, and the speeds that were found."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from contenders import write_tokens
from gpu_sections import Context, results

FIRST_CASE = "1m, 4k, 16 x 512"
REGMIX_CASE = "1m, 50k, RegMix's 512 x 2048"
FASTEST_WAY = "everything, compiled"
ON_DEVICE: dict[str, Any] = {"graph": True, "corpus": "device"}
EVERYTHING: dict[str, Any] = {**ON_DEVICE, "head": "fused", "optimizer": "fused"}
WAYS: dict[str, dict[str, Any]] = {
    "head fused": {"head": "fused"},
    "corpus on device": {"corpus": "device"},
    "graph": {"graph": True},
    "optimiser fused": {"optimizer": "fused"},
    "compiled": {"compile": True},
    "graph, corpus": ON_DEVICE,
    "everything": EVERYTHING,
    FASTEST_WAY: {**EVERYTHING, "compile": True},
}
"""Faster ways, each a change of a reference layout."""


@dataclass(frozen=True)
class Case:
    """A kind of proxy whose speed is measured.

    Attributes:
        vocabulary: Ids.
        settings: How it is trained; the number of tokens does not matter.
        counts: Numbers of proxies in a process that are measured in the reference layout.
        best: The number of proxies in a process with which faster ways are measured.
        ways: Names of further WAYS to measure, beside FASTEST_WAY.
    """

    vocabulary: int
    settings: Any
    counts: tuple[int, ...]
    best: int
    ways: tuple[str, ...] = ()


def cases(context: Context) -> dict[str, Case]:
    """Cases by name, in order of worth. A rehearsal has the same names and ways, for proxies that are trained in no time."""
    from proxy_training.runs.settings import TrainSettings

    def settings(model: str, sequence: int, batch: int) -> TrainSettings:
        return TrainSettings(
            model,
            sequence_length=sequence,
            batch_size=batch,
            tokens=2**24,
            precision="bf16",
            evaluations=1,
            valid_tokens=2048,
        )

    found = {
        FIRST_CASE: Case(
            4096,
            settings("1m", 512, 16),
            (1, 4, 16, 64),
            64,
            (
                "everything",
                "compiled",
                "head fused",
                "graph",
                "graph, corpus",
                "corpus on device",
                "optimiser fused",
            ),
        ),
        REGMIX_CASE: Case(50_432, settings("1m", 2048, 512), (1,), 1, ("head fused", "compiled")),
        "60m, 50k, 64 x 2048": Case(50_432, settings("60m", 2048, 64), (1,), 1),
        "tiny, 8 x 64": Case(512, settings("80k", 64, 8), (1, 16, 64), 64, ("everything", "graph")),
        "1m, 50k, 16 x 512": Case(50_432, settings("1m", 512, 16), (1, 4, 16), 16, ("everything",)),
        "1m, 4k, RegMix's 512 x 2048": Case(4096, settings("1m", 2048, 512), (1,), 1),
    }
    if not context.rehearse:
        return found
    tiny = TrainSettings("50k", sequence_length=32, batch_size=4, valid_tokens=64, evaluations=1, precision="fp32")
    return {
        name: Case(256, tiny, tuple(sorted({min(k, 4) for k in case.counts})), min(case.best, 4), case.ways)
        for name, case in found.items()
    }


def layout_for(case: Case, models_per_process: int, way: str = "") -> Any:
    """The reference layout of so many proxies, or a faster way of it.

    Raises:
        KeyError: If no way has that name.
    """
    from proxy_training.device.layout import layout_of

    usual = layout_of(replace(case.settings, models_per_process=models_per_process), case.vocabulary)
    return replace(usual, **WAYS[way]) if way else usual


def measurement(case_name: str, models_per_process: int, way: str = "") -> str:
    """The name of an item that measures the speed of a layout."""
    return f"{case_name}: K = {models_per_process}{f', {way}' if way else ''}"


def tokens_of(context: Context, case: Case) -> Any:
    """A folder of learnable tokens with the case's vocabulary."""
    folder = context.folder / context.section / str(case.vocabulary)
    return write_tokens(folder, case.vocabulary, 50_000 if context.rehearse else 2_000_000)


def training_of(context: Context, case: Case, layout: Any) -> Any:
    """A training that takes steps. Its proxies begin alike, because building many models takes seconds."""
    from proxy_training.loop import trainer
    from proxy_training.loop.distributed import OneDevice
    from proxy_training.runs.settings import Run
    from proxy_training.runs.token_data import TokenData, plan_of

    _build_once(trainer)
    num_steps = max(64, min(20_000, 2**29 // (case.settings.tokens_per_step * layout.models_per_process)))
    settings = replace(case.settings, tokens=num_steps * case.settings.tokens_per_step)
    data = TokenData.open(tokens_of(context, case), settings)
    runs = [Run(f"n{k}", dict.fromkeys(data.train, 1 / len(data.train)), k) for k in range(layout.models_per_process)]
    plan = plan_of(runs[0], data, settings)
    return trainer.Training(runs, [plan] * len(runs), data, settings, layout, OneDevice())


@functools.cache
def _build_once(trainer: Any) -> None:
    """Let the trainer build one model for all proxies of a shape."""
    build, last = trainer.build_proxy, {}

    def build_cached(config: Any, seed: int) -> Any:
        key = str(config)
        if key not in last:
            last.clear()
            last[key] = build(config, 0)
        return last[key]

    trainer.build_proxy = build_cached


def speeds(context: Context) -> dict[str, Mapping[str, Any]]:
    """What "fast" has measured so far, by the name of the item."""
    return {
        line["name"]: line
        for line in results(context.out)
        if line["section"] == "fast" and line["state"] == "done" and "tokens_per_second" in line
    }


def fastest(context: Context, name: str, case: Case) -> Any:
    """The layout with the most tokens a second that was measured for a case; the reference layout if none was."""
    layouts = {measurement(name, case.best, way): (case.best, way) for way in ("", FASTEST_WAY, *case.ways)}
    layouts |= {measurement(name, k): (k, "") for k in case.counts}
    known = {key: line["tokens_per_second"] for key, line in speeds(context).items() if key in layouts}
    return layout_for(case, *(layouts[max(known, key=lambda key: known[key])] if known else (case.best, "")))
