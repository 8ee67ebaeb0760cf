"""What the sections of gpu.py recorded -> a table to read."""

from collections.abc import Mapping, Sequence
from typing import Any

from gpu_sections import TESTS_SO_FAR

SECTIONS = ("card", "right", "tests", "compile", "pretrain", "fast", "whole", "bars")
CHECKS = ("right", "tests")


def wrong(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of results that are not right."""
    return [
        f"{line['section']}: {line['name']}" for line in found if line.get("right") is False or line.get("imported")
    ]


def last_of_each(found: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The last result of each item; an item that was started and has none was cut short."""
    final: dict[tuple[str, str], Mapping[str, Any]] = {}
    for line in found:
        if line["state"] not in ("started", "note"):
            final[line["section"], line["name"]] = line
    for line in found:
        key = line["section"], line["name"]
        if line["state"] == "started" and key not in final:
            so_far = final.get((line["section"], TESTS_SO_FAR), {}) if line["section"] == "tests" else {}
            counts = ", ".join(f"{value} {name}" for name, value in so_far.items() if isinstance(value, int))
            final[key] = {"section": key[0], "name": key[1], "state": "cut short", "why": counts}
    return [line for line in final.values() if line["name"] != TESTS_SO_FAR]


def unchecked(final: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Checks that failed to run, were cut short, left out, or want a GPU."""
    return [line for line in final if line["section"] in CHECKS and line["state"] != "done"]


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Every section's results, a line each."""
    lines: list[str] = []
    final = last_of_each(found)
    for section in SECTIONS:
        of_section = [line for line in final if line["section"] == section]
        if not of_section:
            continue
        lines += ["", f"## {section}", ""]
        if section in ("compile", "fast"):
            lines += ["| case | tokens/s | ms/step | of floor | model FLOP | GB |", "|---|---|---|---|---|---|"]
        lines += [row(line) for line in of_section]
    notes = [line["text"] for line in found if line["state"] == "note"]
    lines += ["", "## sections", "", *notes]
    bad = wrong(found)
    unknown = [f"{line['name']} ({explained(line)})" for line in unchecked(final)]
    lines += ["", f"NOT RIGHT: {'; '.join(bad)}" if bad else "everything that was checked is right"]
    lines += ["", f"NOT CHECKED: {'; '.join(unknown)}"] if unknown else []
    return "\n".join(lines).strip() + "\n"


def explained(line: Mapping[str, Any]) -> str:
    """Why an item has no result."""
    why = " ".join(str(line.get("why", "")).split())[:160]
    return f"{line['state']}: {why}" if why else line["state"]


def row(line: Mapping[str, Any]) -> str:
    """One result in a line."""
    name = line["name"]
    if line["state"] != "done":
        return f"| {name} | {explained(line)} |"
    if "milliseconds_per_step" in line:
        cells = [f"{line['tokens_per_second']:,.0f}", f"{line['milliseconds_per_step']:.3f}"]
        cells += [f"{line[key]:.1%}" if key in line else "" for key in ("floor_share", "model_flops_share")]
        return f"| {name} | {' | '.join(cells)} | {line.get('gigabytes', 0):.1f} |"
    skipped = ("section", "name", "state")
    values = ", ".join(f"{key} {shown(value)}" for key, value in line.items() if key not in skipped)
    return f"- {name}: {values}"


def shown(value: Any) -> str:
    """A value, short."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} {shown(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(shown(each) for each in value) + "]"
    return str(value)
