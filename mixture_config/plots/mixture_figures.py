"""A few mixtures -> figures beside the prior and the baselines: the table behind each, its title, and its words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixture_config.design.heuristics import BUDGETED, baseline_weights
from mixture_config.geometry.tolerances import SAME_WEIGHT
from mixture_config.plots import mixture_charts
from mixture_config.plots.corpus import Corpus
from mixture_config.plots.scales import rows_height, rows_width
from mixture_config.plots.sweep_figures import left_out
from proxymix.errors import InputError
from proxymix.messages import listed
from proxymix.plots.figures import Figure
from proxymix.plots.rows import MAX_ROWS
from proxymix.plots.text import counted, epochs_text, large_number
from proxymix.progress import say

if TYPE_CHECKING:
    import pandas as pd

BASELINES = ("prior", "uniform", "temperature", "unimax", "capped")


def mixture_figures(given: Mapping[str, Mapping[str, float]], corpus: Corpus) -> list[Figure]:
    """A few mixtures beside the prior and the baselines, and their epochs where there is a budget.

    Args:
        given: Name -> weights.
        corpus: Their domains.
    """
    weights = {name: corpus.row(mixture) for name, mixture in given.items()}
    figures = [weights_figure(weights, corpus)]
    return figures if corpus.per_epoch is None else [*figures, epochs_figure(weights, corpus)]


def weights_figure(weights: Mapping[str, np.ndarray], corpus: Corpus) -> Figure:
    """The weights of a few mixtures beside those of the baselines."""
    import pandas as pd

    names = listed(list(weights))
    table = pd.DataFrame({"domain": corpus.domains, **baselines(corpus), **weights})
    table.attrs["mixtures"] = list(weights)
    zeros = "; ".join(f"{name} leaves out {(w == 0).sum()}" for name, w in weights.items())
    return Figure(
        "mixture",
        table,
        mixture_charts.mixture_bars,
        f"weights of {names} beside the prior and the baselines",
        **_size(table, weights),
        title=names if corpus.tokens is None else f"{names}, beside the baselines",
        note=f"Of {counted(len(table), 'domain')}, {zeros}. {left_out(corpus, 'mixture.csv')}",
    )


def epochs_figure(weights: Mapping[str, np.ndarray], corpus: Corpus) -> Figure:
    """How often a few mixtures would repeat each domain at the budget."""
    import pandas as pd

    assert corpus.budget is not None and corpus.tokens is not None and corpus.per_epoch is not None
    epochs = {name: np.nan_to_num(w * corpus.per_epoch) for name, w in weights.items()}
    table = pd.DataFrame({"domain": corpus.domains, "tokens": corpus.tokens, **epochs})
    prior_epochs = corpus.budget / corpus.tokens.sum()
    table.attrs |= {"mixtures": list(weights), "max_epochs": corpus.max_epochs, "prior_epochs": prior_epochs}
    text = "; ".join(
        f"{name} repeats {corpus.domains[int(values.argmax())]} most, {epochs_text(values.max(), 3)} times"
        for name, values in epochs.items()
    )
    budget = f"Epochs of a training on {large_number(corpus.budget, 4)} tokens."
    return Figure(
        "mixture_epochs",
        table,
        mixture_charts.epoch_bars,
        text,
        **_size(table, weights),
        title=f"How often {listed(list(weights))} repeat{'s' if len(weights) == 1 else ''} each domain",
        note=f"{budget} {text}. {left_out(corpus, 'mixture_epochs.csv')}",
    )


def names_of(paths: Sequence[str]) -> dict[str, Path]:
    """A name for each mixture's file, none of them a baseline's: its own without the suffix where that will do.

    Raises:
        InputError: If a file is given twice.
    """
    taken = {"domain", "tokens", *BASELINES, *mixture_charts.BASELINE_MARKS}
    names: dict[str, Path] = {}
    for path in map(Path, paths):
        name = next((n for n in (path.stem, path.name, path.as_posix()) if n not in {*taken, *names}), None)
        if name is None:
            raise InputError(f"--mixture: {path} is given twice")
        names[name] = path
    return names


def baselines(corpus: Corpus) -> dict[str, np.ndarray]:
    """The baselines that the table and the budget allow, those that differ: name -> weights."""
    if corpus.tokens is None:
        say("no prior and no baselines but uniform: these take --domains")
        return {"uniform": np.full(len(corpus.domains), 1 / len(corpus.domains))}
    found: dict[str, np.ndarray] = {}
    for name in BASELINES:
        if name in BUDGETED and corpus.budget is None:
            continue
        try:
            weights = baseline_weights(name, corpus.tokens, budget=corpus.budget, max_epochs=corpus.max_epochs)
        except InputError as error:
            say(f"no {name}: {error}")
            continue
        alike = (other for other, there in found.items() if np.allclose(there, weights, rtol=0, atol=SAME_WEIGHT))
        if (same := next(alike, None)) is None:
            found[name] = weights
        else:
            say(f"{name} is the same mixture as {same} here, so it is drawn once")
    return found


def _size(table: "pd.DataFrame", weights: Mapping[str, Any]) -> dict[str, int]:
    width = rows_width(list(table["domain"].head(MAX_ROWS)), len(weights))
    return {"height": rows_height(len(table), len(weights)) + 20, "width": width}
