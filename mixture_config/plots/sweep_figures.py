"""A sweep -> its figures: the table behind each, its title, and its words for those who do not see it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixture_config.geometry.constraints import limits_of
from mixture_config.plots import sweep_charts
from mixture_config.plots.corpus import MAX_EPOCHS, Corpus, Sweep
from mixture_config.plots.coverage_chart import coverage_map
from mixture_config.plots.scales import rows_height, rows_width
from proxymix.messages import some
from proxymix.plots.figures import Figure
from proxymix.plots.rows import MAX_ROWS
from proxymix.plots.text import counted, large_number, percent, percent_whole
from proxymix.progress import progress, say

if TYPE_CHECKING:
    import pandas as pd

MAX_NEIGHBOURS = 2_000  # mixtures whose nearest other is looked for; each is compared with all
MAX_DIFFERENCES = 5 * 10**9  # of weights, which take ten seconds or so
ALIKE = 0.01  # total variation: a mixture nearer than this to another teaches the regression little
NEARLY_ONE = 0.9  # a mixture with more weight on one domain is nearly that domain


def sweep_figures(sweep: Sweep, corpus: Corpus, given: Mapping[str, Mapping[str, float]]) -> list[Figure]:
    """The figures of a sweep; a note on stderr says what cannot be drawn.

    Args:
        sweep: The mixtures.
        corpus: Their domains.
        given: Name -> weights of mixtures that the map shows too.
    """
    weights = corpus.weights(sweep.mixtures.domains, sweep.mixtures.weights)
    figures = [weights_figure(weights, corpus, sweep.settings), active_figure(weights, sweep.mixtures.index, corpus)]
    if len(weights) < 3 or not np.ptp(weights, axis=0).any():
        say("no map and no distances: these take three mixtures, and some that differ")
    else:
        others = np.delete(np.arange(len(weights)), list(sweep.repeats))
        distances = distances_figure(weights[others], [sweep.mixtures.index[row] for row in others])
        figures += [coverage_figure(weights, sweep, corpus, given), distances]
    if corpus.per_epoch is None:
        say(f"no epochs: these take {'--domains' if corpus.tokens is None else '--budget'}")
    else:
        figures.append(epochs_figure(weights, corpus))
    return figures


def weights_figure(weights: np.ndarray, corpus: Corpus, settings: Mapping[str, Any]) -> Figure:
    """Per domain: how many mixtures hold it, and how much of it."""
    table = _ranges(weights, corpus)
    if corpus.prior is not None:
        table.insert(1, "prior", corpus.prior)
        lower, upper = sweep_bounds(corpus, settings)
        if (upper < 1).any():
            table.insert(2, "largest_allowed", upper)
        if (lower > 0).any():
            table.insert(2, "smallest_allowed", lower)
        by_usage = "limits" not in settings and "maximum_usage" in settings
        limit = f"{settings['maximum_usage']:g} × prior, the sweep's limit" if by_usage else "the most allowed"
        table.attrs |= {"largest_allowed": limit, "smallest_allowed": "the least allowed"}
    if corpus.per_epoch is not None and corpus.budget is not None:
        # Unlike `epoch_bounds`, this takes any budget: that no mixture can meet it is worth seeing.
        table.insert(2, "epoch_limit", np.minimum(np.nan_to_num(corpus.max_epochs / corpus.per_epoch), 1.0))
        table.attrs["epoch_limit"] = f"{corpus.max_epochs:g} epochs of {large_number(corpus.budget, 4)} tokens"
    never = [d for d, used in zip(corpus.domains, table["used"], strict=True) if used == 0]
    zeros = percent_whole((weights == 0).mean())
    note = f"{zeros} of all weights are zero, and the bars are of the others. "
    note += f"In no mixture: {some(never, 3)}. " if never else ""
    return _rows_figure(
        "weights",
        table,
        corpus,
        sweep_charts.weight_ranges,
        f"weights of every domain in {len(weights):,} mixtures; {zeros} are zero",
        title=f"What {counted(len(weights), 'mixture')} hold of {counted(len(corpus.domains), 'domain')}",
        note=note,
    )


def sweep_bounds(corpus: Corpus, settings: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest weights that a sweep's recorded settings allow, 0 and 1 where they say nothing.

    Args:
        corpus: With its prior.
        settings: maximum_usage, limits and groups, budget and max_epochs, as the sampler writes them; each may be missing.
    """
    assert corpus.prior is not None and corpus.tokens is not None
    epochs = usage = np.ones(len(corpus.domains))
    if settings.get("budget"):
        epochs = np.minimum(float(settings.get("max_epochs", MAX_EPOCHS)) * corpus.tokens / settings["budget"], 1.0)
    if settings.get("maximum_usage"):
        usage = np.minimum(settings["maximum_usage"] * corpus.prior, 1.0)
    if not settings.get("limits"):
        return np.zeros(len(usage)), np.minimum(epochs, usage)
    bounds = limits_of(corpus.domains, settings["limits"], settings.get("groups", {}), epochs, usage)
    return bounds.lower, bounds.upper


def epochs_figure(weights: np.ndarray, corpus: Corpus) -> Figure:
    """Per domain: how often the mixtures would repeat it at the budget."""
    assert corpus.tokens is not None and corpus.per_epoch is not None and corpus.budget is not None
    epochs = np.nan_to_num(weights * corpus.per_epoch)
    over = epochs > corpus.max_epochs * (1 + 1e-9)
    table = _ranges(epochs, corpus)
    table.insert(1, "tokens", corpus.tokens)
    table.insert(2, "over", over.mean(axis=0))
    table.attrs |= {"max_epochs": corpus.max_epochs, "prior_epochs": corpus.budget / corpus.tokens.sum()}
    share = float(over.any(axis=1).mean())
    some_over = "None" if share == 0 else percent_whole(share)
    alt = f"epochs of every domain at {corpus.budget:,} tokens; {some_over.lower()} of the mixtures repeat one over "
    note = f"Epochs of a training on {large_number(corpus.budget, 4)} tokens. {some_over} of the mixtures repeat some domain "
    return _rows_figure(
        "epochs",
        table,
        corpus,
        sweep_charts.epoch_ranges,
        f"{alt}{corpus.max_epochs:g} times",
        title=f"How often {counted(len(weights), 'mixture')} would repeat each domain",
        note=f"{note}more than {corpus.max_epochs:g} times. ",
    )


def active_figure(weights: np.ndarray, index: Sequence[int | str], corpus: Corpus) -> Figure:
    """Over how many domains each mixture spreads."""
    import pandas as pd

    active = (weights > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.exp(-np.nansum(weights * np.log(weights), axis=1))
    columns = {
        "index": list(index),
        "active_domains": active,
        "effective_domains": effective,
        "largest_domain": [corpus.domains[column] for column in weights.argmax(axis=1)],
        "largest_weight": weights.max(axis=1),
    }
    nearly_one = percent_whole(float((columns["largest_weight"] > NEARLY_ONE).mean()))
    median = f"the median mixture holds {np.median(active):g} of {counted(len(corpus.domains), 'domain')}"
    return Figure(
        "active",
        pd.DataFrame(columns),
        sweep_charts.active_counts,
        f"{median}; {nearly_one} are over 90% one domain",
        height=340,
        title=f"T{median[1:]}",
        note=f"The effective number (e to the entropy of the weights; median {np.median(effective):.1f}) is that of domains with "
        f"equal weights that would be as mixed. {nearly_one} of the mixtures are over 90% one domain.",
    )


def coverage_figure(
    weights: np.ndarray, sweep: Sweep, corpus: Corpus, given: Mapping[str, Mapping[str, float]]
) -> Figure:
    """The mixtures, the anchors and the single domains on a plane."""
    import pandas as pd

    rows = [("mixture", str(index), row) for index, row in zip(sweep.mixtures.index, weights, strict=True)]
    anchors = [(name, row) for name, row in zip(sweep.anchors, weights, strict=True) if name]
    rows += [("single domain" if name.startswith("vertex ") else "anchor", name, row) for name, row in anchors]
    reference = {} if corpus.prior is None else {"prior": corpus.prior}
    reference["uniform"] = np.full(len(corpus.domains), 1 / len(corpus.domains))
    rows += [("anchor", name, row) for name, row in reference.items() if name not in dict(anchors)]
    rows += [("given", name, corpus.row(mixture)) for name, mixture in given.items()]
    plane, explained = principal_plane(np.sqrt(weights))
    corners = np.eye(len(corpus.domains))
    furthest = np.argsort(-np.hypot(*plane(corners).T), kind="stable")
    rows += [("domain", corpus.domains[column], corners[column]) for column in furthest]
    places = plane(np.sqrt([row for _, _, row in rows]))
    table = pd.DataFrame([(kind, name) for kind, name, _ in rows], columns=["kind", "name"])
    table = table.assign(x=places[:, 0], y=places[:, 1])
    table.attrs["explained"] = explained
    share = percent_whole(sum(explained))
    return Figure(
        "coverage",
        table,
        coverage_map,
        f"a map of the {len(weights):,} mixtures, with {share} of their variance",
        height=560,
        title=f"Where {counted(len(weights), 'mixture')} lie",
        note=f"The two principal directions of the square roots of the weights, which hold {share} of their variance: what is "
        "far apart here differs, what is near may differ elsewhere. Triangles: all weight on the named domain.",
    )


def principal_plane(points: np.ndarray) -> tuple[Callable[[np.ndarray], np.ndarray], tuple[float, float]]:
    """The plane of the largest variance: (a function from points to x and y, the shares of the variance along both).

    Args:
        points: Shape (num_points, num_dimensions).
    """
    center = points.mean(axis=0)
    centered = points - center
    values, vectors = np.linalg.eigh(centered.T @ centered)
    axes = vectors[:, -1:-3:-1]
    if axes.shape[1] < 2:
        axes = np.append(axes, np.zeros((len(axes), 1)), axis=1)
    # An eigenvector has either sign: the one is taken whose largest component is positive.
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1, 1)
    shares = [*(np.maximum(values[::-1], 0) / values.sum())[:2], 0.0]
    return lambda rows: (rows - center) @ axes, (float(shares[0]), float(shares[1]))


def distances_figure(weights: np.ndarray, index: Sequence[int | str]) -> Figure:
    """How far each mixture is from the nearest other."""
    import pandas as pd

    num_chosen = max(min(len(weights), MAX_NEIGHBOURS, MAX_DIFFERENCES // weights.size), 100)
    chosen = np.unique(np.linspace(0, len(weights) - 1, num_chosen).astype(int))
    other, distance = nearest_others(weights, chosen)
    table = pd.DataFrame(
        {"index": [index[i] for i in chosen], "nearest": [index[i] for i in other], "distance": distance}
    )
    of = f"{len(chosen):,}" + (f" (evenly chosen among {len(weights):,})" if len(chosen) < len(weights) else "")
    alike = f"{int((distance < ALIKE).sum()):,} of {of}"
    median = percent(float(np.median(distance)))
    return Figure(
        "distances",
        table,
        sweep_charts.distances,
        f"the median mixture is {median} from the nearest other; {alike} under {ALIKE:.0%}",
        height=300,
        title=f"At the median, a mixture is {median} from the nearest other",
        note="Total variation: the share of the tokens that would come from other domains. Mixtures with another within "
        f"{ALIKE:.0%}, which teach little that is new: {alike}.",
    )


def nearest_others(weights: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other mixture of each chosen one: (its row, total variation distance), shapes (num_chosen,).

    Args:
        weights: Shape (num_mixtures, num_domains), two mixtures or more.
        chosen: Rows, shape (num_chosen,).
    """
    from scipy.spatial.distance import cdist

    other, distance = np.empty(len(chosen), dtype=int), np.empty(len(chosen))
    with progress("distances", total=len(chosen), unit="mixtures") as bar:
        for start in range(0, len(chosen), 100):
            block = chosen[start : start + 100]
            apart = cdist(weights[block], weights, "cityblock") / 2
            apart[np.arange(len(block)), block] = np.inf
            other[start : start + 100] = apart.argmin(axis=1)
            distance[start : start + 100] = apart.min(axis=1)
            bar.advance(len(block))
    return other, distance


def left_out(corpus: Corpus, table: str) -> str:
    """A sentence about the domains that a figure has no room for; nothing where it shows all."""
    rest = len(corpus.domains) - MAX_ROWS
    if rest <= 0:
        return ""
    part = "" if corpus.prior is None else f" ({percent(float(corpus.prior[MAX_ROWS:].sum()))} of the tokens)"
    return f"The {MAX_ROWS} largest domains are shown; {table} has the other {rest:,}{part} too."


def _rows_figure(
    name: str, table: "pd.DataFrame", corpus: Corpus, draw: Callable[..., Any], alt: str, title: str, note: str
) -> Figure:
    """A figure with a row for each of the largest domains."""
    height, width = rows_height(len(table)), rows_width(corpus.domains[:MAX_ROWS])
    return Figure(name, table, draw, alt, height, width, title=title, note=note + left_out(corpus, f"{name}.csv"))


def _ranges(values: np.ndarray, corpus: Corpus) -> "pd.DataFrame":
    """Per domain: the mean over all mixtures, the share of them that hold it, and quantiles over these."""
    import pandas as pd

    quantiles = sweep_charts.QUANTILES
    rows = []
    for column in values.T:
        held = column[column > 0]
        found = np.quantile(held, list(quantiles.values())) if len(held) else [np.nan] * len(quantiles)
        rows.append((column.mean(), len(held) / len(column), *map(float, found), column.max()))
    table = pd.DataFrame(rows, columns=["mean", "used", *quantiles, "highest"])
    table.insert(0, "domain", corpus.domains)
    return table
