"""What the sections of gpu.py recorded -> what whole sweeps would take, and the bars that a GPU has to reach."""

from collections.abc import Mapping, Sequence
from typing import Any

from gpu_cases import FIRST_CASE, REGMIX_CASE

PRICE = 3.0  # Money for a GPU and hour, to have a figure to compare with.
REGMIX_TOKENS, REGMIX_RUNS = 1_048_576_000, 512


def bars(found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Results to record; those whose measurements are missing are left out."""
    speeds = {
        line["name"]: line
        for line in found
        if line["section"] == "fast" and line["state"] == "done" and "tokens_per_second" in line
    }
    answers: list[dict[str, Any]] = []

    def add(name: str, value: float, bar: float, met: bool, **more: Any) -> None:
        answers.append(
            {"section": "bars", "name": name, "state": "done", "value": value, "bar": bar, "met": met, **more}
        )

    def best(case: str) -> tuple[str, Mapping[str, Any]] | None:
        own = {name: line for name, line in speeds.items() if name.startswith(f"{case}: K = ")}
        return max(own.items(), key=lambda item: item[1]["tokens_per_second"]) if own else None

    first, regmix, pretrain = best(FIRST_CASE), best(REGMIX_CASE), speeds.get(f"{FIRST_CASE}: litgpt pretrain")
    if first and pretrain:
        times = first[1]["tokens_per_second"] / pretrain["tokens_per_second"]
        add(f"{FIRST_CASE}: times litgpt pretrain", times, 10, times >= 10, way=first[0])
    for case, fastest in ((FIRST_CASE, first), (REGMIX_CASE, regmix)):
        if fastest:
            share = fastest[1]["floor_share"]
            add(f"{case}: share of the floor", share, 0.5, share >= 0.5, way=fastest[0])
    if regmix:
        hours = REGMIX_RUNS * REGMIX_TOKENS / regmix[1]["tokens_per_second"] / 3600
        add("RegMix's 512 x 1B tokens, hours", hours, 48, hours < 48, way=regmix[0], money=hours * PRICE)
    if first:
        minutes = 128 * 100e6 / first[1]["tokens_per_second"] / 60
        add("128 x 100M tokens at a vocabulary of 4,096, minutes", minutes, 30, minutes < 30, way=first[0])
    return answers
