"""What the sections of gpu.py recorded -> a table to read."""

from collections.abc import Mapping, Sequence
from typing import Any

CHECKS = ("right", "tests")


def wrong(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of results that are not right."""
    return [
        f"{line['section']}: {line['name']}" for line in found if line.get("right") is False or line.get("imported")
    ]


def unchecked(final: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of checks that failed to run, were cut short or left out."""
    return [
        f"{line['name']} ({line['state']})" for line in final if line["section"] in CHECKS and line["state"] != "done"
    ]


def table(found: Sequence[Mapping[str, Any]]) -> str:
    """Every section's results, a line each."""
    lines: list[str] = []
    final = {(line["section"], line["name"]): line for line in found if line["state"] not in ("started", "note")}
    begun = [(line["section"], line["name"]) for line in found if line["state"] == "started"]
    for key in begun:
        final.setdefault(key, {"section": key[0], "name": key[1], "state": "cut short"})
    for section in ("card", "right", "tests", "compile", "fast", "whole"):
        of_section = [line for (name, _), line in final.items() if name == section]
        if not of_section:
            continue
        lines += ["", f"## {section}", ""]
        if section == "fast":
            lines += ["| case | tokens/s | ms/step | of floor | model FLOP | GB |", "|---|---|---|---|---|---|"]
        lines += [row(line) for line in of_section if line["name"] != "tests so far"]
    notes = [line["text"] for line in found if line["state"] == "note"]
    lines += ["", "## sections", "", *notes]
    bad, unknown = wrong(found), unchecked(list(final.values()))
    lines += ["", f"NOT RIGHT: {'; '.join(bad)}" if bad else "everything that was checked is right"]
    lines += ["", f"NOT CHECKED: {'; '.join(unknown)}"] if unknown else []
    return "\n".join(lines).strip() + "\n"


def row(line: Mapping[str, Any]) -> str:
    """One result in a line."""
    name, state = line["name"], line["state"]
    if state != "done":
        return f"| {name} | {state}: {line.get('why', '')[:160]} |"
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
