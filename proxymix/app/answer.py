"""A finished study -> what it says: the optimum, what was gained over the baselines, and where the report is."""

from pathlib import Path

from mixture_config.files.mixture import Mixture
from proxymix.schemas import loss_domain
from regression.confirmation.confirmation import Confirmation


def answer(folder: Path) -> str:
    """The best mixture, its measured difference to every baseline with an interval, and the path of the report."""
    lines = ["", f"The best mixture ({folder / 'optimal_mixture.yaml'}):"]
    weights = Mixture.read(folder / "optimal_mixture.yaml").weights
    for domain, weight in sorted(weights.items(), key=lambda item: -item[1]):
        lines.append(f"  {domain:<28}{weight:8.4f}  {'#' * round(40 * weight)}")
    if (folder / "confirmation.yaml").exists():
        lines += ["", *_measured(Confirmation.read(folder / "confirmation.yaml"))]
    lines += ["", f"Report: {folder / 'report' / 'index.html'}"]
    return "\n".join(lines)


def _measured(found: Confirmation) -> list[str]:
    num_seeds, objective = len(found.seeds), found.objective
    lines = [f"Measured on {num_seeds} fresh seeds, proposal minus baseline ({objective.name}, {objective.unit}):"]
    for name, difference in found.differences.items():
        of = difference.objective
        interval = f"95% {of.low:+.3f} to {of.high:+.3f}"
        seeds = f"{of.wins} of {of.num_seeds} seeds"
        lines.append(f"  {name:<12}{of.mean:+.3f}   {interval:<24}{found.verdict_on(name)} ({seeds})")
    for target, ceiling in (found.ceilings or {}).items():
        rise = f"{100 * ceiling.rise:+.2f}% against the prior, {100 * ceiling.allowed:.4g}% allowed"
        word = "kept" if ceiling.kept else "NOT kept"
        lines.append(f"  {loss_domain(target):<28}{rise}: {word} ({ceiling.seeds_kept} of {num_seeds} seeds)")
    return lines
