"""The tokens of the final training: as given, or assumed from the corpus."""

from pathlib import Path

from proxymix.app.config import Config
from proxymix.errors import InputError
from proxymix.schemas import Domains

SUGGESTION = "give the tokens of your final training, such as --budget 25B"


def with_budget(study: Path, config: Config) -> Config:
    """`config` with a budget where it has none: half of the corpus' tokens, as a round number.

    So the epoch caps mean something for every corpus, and every corpus can meet them. The key `budget_assumed`, which is no
    setting, says whether that is so.
    """
    path = study / "domains.csv"
    if config.get("budget") is not None or not path.exists():
        return Config(config | {"budget_assumed": config.get("budget") is None})
    try:
        tokens = sum(Domains.read(path).true_tokens.tolist())
    except InputError:  # whichever stage reads it says so, and `count` makes it again
        return Config(config | {"budget_assumed": True})
    half = max(tokens // 2, 1)
    unit = 10 ** (len(str(half)) - 1)
    return Config(config | {"budget": half // unit * unit, "budget_assumed": True})


def budget_line(study: Path, config: Config) -> str:
    """What the budget is, and whether it was given."""
    epochs = f"at most {config['max_epochs']:g} passes over a domain"
    if config.get("budget") is not None:
        return f"budget: {config['budget']:,} tokens; {epochs}"
    found = with_budget(study, config).get("budget")
    known = f"{found:,} tokens" if found is not None else "half of the corpus' tokens"
    return f"budget: {known}, ASSUMED ({'half of the corpus; ' if found is not None else ''}{SUGGESTION}); {epochs}"
