"""A finished study -> what it says: the optimum, what was gained over the baselines, and where the report is."""

from pathlib import Path

from mixture_config.files.mixture import Mixture
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.statements import confirmation_lines


def answer(folder: Path) -> str:
    """The best mixture, its measured difference to every baseline with an interval, and the path of the report."""
    lines = ["", f"The best mixture ({folder / 'optimal_mixture.yaml'}):"]
    weights = Mixture.read(folder / "optimal_mixture.yaml").weights
    for domain, weight in sorted(weights.items(), key=lambda item: -item[1]):
        lines.append(f"  {domain:<28}{weight:8.4f}  {'#' * round(40 * weight)}")
    if (folder / "confirmation.yaml").exists():
        lines += ["", *confirmation_lines(Confirmation.read(folder / "confirmation.yaml"))]
    lines += ["", f"Report: {folder / 'report' / 'index.html'}"]
    return "\n".join(lines)
