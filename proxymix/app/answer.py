"""A finished study -> what it says: the optimum, what was gained over the baselines, and where the report is."""

from pathlib import Path

from mixture_config.files.mixture import Mixture
from proxymix.files import read_yaml
from proxymix.schemas import loss_domain


def answer(folder: Path) -> str:
    """The best mixture, its measured difference to every baseline with an interval, and the path of the report."""
    lines = ["", f"The best mixture ({folder / 'optimal_mixture.yaml'}):"]
    for domain, weight in sorted(
        Mixture.read(folder / "optimal_mixture.yaml").weights.items(), key=lambda item: -item[1]
    ):
        lines.append(f"  {domain:<28}{weight:8.4f}  {'#' * round(40 * weight)}")
    if (folder / "confirmation.yaml").exists():
        lines += ["", *_measured(folder / "confirmation.yaml")]
    lines += ["", f"Report: {folder / 'report' / 'index.html'}"]
    return "\n".join(lines)


def _measured(confirmation: Path) -> list[str]:
    found = read_yaml(confirmation)
    num_seeds, objective = len(found["seeds"]), found["objective"]
    lines = [
        f"Measured on {num_seeds} fresh seeds, proposal minus baseline ({objective['name']}, {objective['unit']}):"
    ]
    for name, difference in found["differences"].items():
        of = difference["objective"]
        word = next(w for w in ("better", "worse", "no better") if name in found[f"{w.replace(' ', '_')}_than"])
        interval = f"95% {of['low']:+.3f} to {of['high']:+.3f}"
        lines.append(f"  {name:<12}{of['mean']:+.3f}   {interval:<24}{word} ({of['wins']} of {of['num_seeds']} seeds)")
    for target, entry in found.get("ceilings", {}).items():
        rise = f"{100 * entry['rise']:+.2f}% against the prior, {100 * entry['allowed']:.4g}% allowed"
        word = "kept" if entry["kept"] else "NOT kept"
        lines.append(f"  {loss_domain(target):<28}{rise}: {word} ({entry['seeds_kept']} of {num_seeds} seeds)")
    return lines
