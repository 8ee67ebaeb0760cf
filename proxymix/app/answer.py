"""A finished study -> the last screen of `proxymix run`: the verdict, the mixture, where the files are, what comes next."""

import shlex
from pathlib import Path

from mixture_config.files.mixture import Mixture
from proxymix.app.budget import budget_line
from proxymix.app.config import Config
from proxymix.app.saved_config import SavedConfig
from proxymix.app.shown import bars
from proxymix.app.stages import further_rounds
from proxymix.schemas import Domains
from proxymix.tables import read_table
from regression.confirmation.confirmation import Confirmation
from regression.confirmation.statements import confirmation_lines
from regression.selection.learning_curve import Point, num_more

EXAMPLE_BUDGET, EXAMPLE_TOKENS = "25B", 25_000_000_000
"""Tokens of somebody's training, for a command to be changed."""
FILES = {
    "report": "report/index.html",
    "mixture": "optimal_mixture.yaml",
    "measured": "confirmation.csv",
    "models": "regression/scores.csv",
}


def answer(folder: Path) -> str:
    """The last screen of a study."""
    config = Config(Config.defaults() | SavedConfig(folder).read())
    path = folder / "confirmation.yaml"
    confirmation = Confirmation.read(path) if path.exists() else None
    lines = [""]
    if confirmation is not None:
        lines += [f"{confirmation.verdict}.", ""]
    lines.append("The best mixture:")
    weights = Mixture.read(folder / "optimal_mixture.yaml").weights
    lines += bars(weights)
    if confirmation is not None:
        lines += ["", *confirmation_lines(confirmation)[:-1]]  # its last line is the verdict
    lines += ["", budget_line(folder, config), "", "Files:"]
    lines += [f"  {name:<10}{folder / file}" for name, file in FILES.items() if (folder / file).exists()]
    lines += ["", "Next:"]
    for purpose, command in _next(folder, config, confirmation):
        lines += [f"  {purpose}:", f"    {command}"]
    return "\n".join(lines)


def _next(folder: Path, config: Config, confirmation: Confirmation | None) -> list[tuple[str, str]]:
    """What can come next, and the command for it."""
    run, mixture = f"proxymix run --study {shlex.quote(str(folder))}", shlex.quote(str(folder / FILES["mixture"]))
    found = []
    if confirmation is not None and (more := confirmation.seeds_to_decide):
        num = len(confirmation.seeds) + more
        found.append(("seeds that would decide what is undecided", f"{run} --confirm.num_seeds {num}"))
    if more := 0 if further_rounds(config) else _more_proxies(folder):
        num = int(config["synthesize.num_mixtures"]) + more
        found.append((f"{more} more proxies, which are worth training", f"{run} --synthesize.num_mixtures {num}"))
    if config.get("budget") is None:
        found.append(_with_true_budget(folder, config, run))
    return [*found, ("the mixture for your trainer", f"proxymix export --mixture {mixture} --to megatron")]


def _with_true_budget(folder: Path, config: Config, run: str) -> tuple[str, str]:
    """The same study for a budget that is given: with true sizes too, where the corpus could not feed such a budget."""
    run = f"{run} --budget {EXAMPLE_BUDGET}"
    if config["max_epochs"] * sum(Domains.read(folder / "domains.csv").true_tokens.tolist()) >= EXAMPLE_TOKENS:
        return "the same for the tokens of your training, with new mixtures", f"{run} --update"
    purpose = "the same for the tokens of your training and the true sizes of your domains (a CSV of domain,tokens)"
    return purpose, f"{run} --corpus.counts sizes.csv --update"


def _more_proxies(folder: Path) -> int:
    """How many more proxies are worth training, by the fit's learning curve."""
    path = folder / "regression" / "learning_curve.csv"
    if not path.exists():
        return 0
    columns = read_table(path)[["num_runs", "repeat", "spearman", "regret"]].to_numpy()
    points = [Point(int(num), int(repeat), float(spearman), float(regret)) for num, repeat, spearman, regret in columns]
    return num_more(points, len(read_table(folder / "regression" / "runs.csv")))
