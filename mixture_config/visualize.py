"""A sweep, or a few mixtures -> pictures, each with the CSV behind it.

python mixture_config/visualize.py --mixtures STUDY --domains domains.csv --budget 20e9 --out figures
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixture_config.files.mixture import read_mixture
from mixture_config.files.mixture_table import Mixtures, mixture_files, read_mixtures, recorded_settings, run_key
from mixture_config.plots import pictures
from proxymix.errors import InputError
from proxymix.messages import nearest, some
from proxymix.plots.figures import Figure, percent
from proxymix.progress import progress, say
from proxymix.schemas import read_domains

if TYPE_CHECKING:
    import pandas as pd

MOST_NEIGHBOURS = 2_000  # mixtures whose nearest other is looked for; each is compared with all
MAX_EPOCHS = 4.0
MOST_DIFFERENCES = 5 * 10**9  # of weights: ten seconds or so
ALIKE = 0.01  # mixtures nearer than this teach the regression little that is new
NEARLY_ONE = 0.9  # a mixture with more on one domain is nearly that domain


def visualize(
    out: Path,
    mixtures: Path | None = None,
    mixture: list[str] | None = None,
    domains: Path | None = None,
    budget: int | None = None,
    max_epochs: float = MAX_EPOCHS,
) -> None:
    """Draw what a sweep covers, and what a mixture changes: pictures (PNG), each with the table behind it (CSV).

    Of a sweep: weights.png (the weights of every domain, its prior and its bounds), active.png (over how many domains a
    mixture spreads), coverage.png (a map of the mixtures), distances.png (how far each is from the nearest other) and, with
    a budget, epochs.png. Of mixtures given by --mixture: mixture.png and, with a budget, mixture_epochs.png. Pictures show
    the 64 largest domains, tables all.

    Args:
        out: The folder for the pictures; those of an earlier call are replaced.
        mixtures: A sweep: mixtures.csv, a folder of mixture YAMLs, or a study.
        mixture: One to four mixture YAMLs, to be compared with the prior and the baselines; with a sweep, its map shows them.
        domains: A CSV with the columns domain and tokens, such as a study's domains.csv; without it nothing is said about
            the prior, bounds and epochs.
        budget: Tokens of the final training, for epochs and caps; the one that a sweep was drawn for unless given.
        max_epochs: Most passes over a domain's tokens at `budget` (4 costs little, arXiv:2305.16264).
    """
    if mixtures is None and not mixture:
        raise InputError("nothing to draw: give a sweep with --mixtures, or a mixture's YAML with --mixture")
    if len(mixture or []) > pictures.MOST_MIXTURES:
        raise InputError(
            f"--mixture: {len(mixture or [])} mixtures, and a picture tells {pictures.MOST_MIXTURES} apart; give fewer, or the "
            "folder that holds them with --mixtures"
        )
    if (budget is not None and budget <= 0) or max_epochs <= 0:
        raise InputError(f"--budget {budget} and --max_epochs {max_epochs:g}: both must be above 0")
    sweep = None if mixtures is None else _read_sweep(Path(mixtures))
    given = {name: read_mixture(path)[0] for name, path in _labels(mixture or []).items()}
    corpus = _corpus(domains, mixtures, sweep, mixture or [], given, budget, max_epochs)
    figures = [] if sweep is None else sweep_figures(sweep, corpus, given)
    figures += comparison_figures(given, corpus) if given else []
    with progress("draw", total=len(figures), unit="pictures") as bar:
        for figure in figures:
            figure.write(Path(out))
            print(f"{Path(out) / figure.name}.png, .csv: {figure.alt}")
            bar.advance()


@dataclass(frozen=True)
class Sweep:
    """Mixtures, the anchor that each is ("" for most), and the sampler's settings where its YAMLs tell.

    repeats: Rows that are an anchor again, for another seed; they have no name of their own.
    """

    mixtures: Mixtures
    anchors: list[str]
    settings: dict[str, Any]
    repeats: tuple[int, ...] = ()


@dataclass(frozen=True)
class Corpus:
    """The domains in the order of the pictures (the largest first), and what is known of them.

    tokens: Shape (num_domains,); None without a table.
    """

    domains: list[str]
    tokens: np.ndarray | None
    budget: int | None
    max_epochs: float

    @property
    def prior(self) -> np.ndarray | None:
        """Token shares, shape (num_domains,)."""
        return None if self.tokens is None else self.tokens / self.tokens.sum()

    @property
    def per_epoch(self) -> np.ndarray | None:
        """Epochs of each domain at a weight of 1 (not a number where it has no tokens); None without a budget."""
        if self.tokens is None or self.budget is None:
            return None
        return self.budget / np.where(self.tokens > 0, self.tokens, np.nan)

    def weights(self, domains: Sequence[str], weights: np.ndarray) -> np.ndarray:
        """Columns named `domains` -> columns in the pictures' order; a domain that is not among them has 0."""
        place = {domain: column for column, domain in enumerate(domains)}
        extended = np.append(weights, np.zeros((len(weights), 1)), axis=1)
        return extended[:, [place.get(domain, -1) for domain in self.domains]]


def sweep_figures(sweep: Sweep, corpus: Corpus, given: dict[str, dict[str, float]]) -> list[Figure]:
    """The pictures of a sweep; what cannot be drawn is said."""
    weights = corpus.weights(sweep.mixtures.domains, sweep.mixtures.weights)
    figures = [weights_figure(weights, corpus, sweep.settings), active_figure(weights, sweep.mixtures.index, corpus)]
    if len(weights) < 3 or not np.ptp(weights, axis=0).any():
        say("no map and no distances: these take three mixtures, and some that differ")
    else:
        others = np.delete(np.arange(len(weights)), list(sweep.repeats))
        distances = distances_figure(weights[others], [sweep.mixtures.index[row] for row in others])
        figures += [coverage_figure(weights, sweep, corpus, given), distances]
    if corpus.per_epoch is None:
        missing = "--domains" if corpus.tokens is None else "--budget"
        say(f"no epochs: these take {missing}")
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
        # Unlike `epoch_bounds` for any budget: that no mixture can meet it is worth seeing.
        table.insert(2, "epoch_limit", np.minimum(np.nan_to_num(corpus.max_epochs / corpus.per_epoch), 1.0))
        table.attrs["epoch_limit"] = f"{corpus.max_epochs:g} epochs of {_tokens(corpus.budget)} tokens"
    never = [d for d, used in zip(corpus.domains, table["used"], strict=True) if used == 0]
    zeros = (weights == 0).mean()
    title = f"What {_count(len(weights), 'mixture')} hold of {_count(len(corpus.domains), 'domain')}"
    note = f"{pictures.percent_whole(zeros)} of all weights are zero, and the bars are of the others. "
    note += f"In no mixture: {some(never, 3)}. " if never else ""
    note += _left_out(corpus, "weights.csv")
    return Figure(
        "weights",
        table,
        pictures.weight_ranges,
        f"weights of every domain in {len(weights):,} mixtures; {pictures.percent_whole(zeros)} are zero",
        height=pictures.rows_height(len(table)),
        width=pictures.rows_width(corpus.domains[: pictures.MOST_ROWS]),
        title=title,
        note=note,
    )


def sweep_bounds(corpus: Corpus, settings: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The smallest and largest weights that a sweep's recorded settings allow, 0 and 1 where they say nothing.

    Args:
        corpus: With its prior.
        settings: maximum_usage, limits and groups, budget and max_epochs, as the sampler writes them; each may be missing.
    """
    from mixture_config.geometry.constraints import limits_of

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
    part = float(over.any(axis=1).mean())
    some_over = "None" if part == 0 else pictures.percent_whole(part)
    return Figure(
        "epochs",
        table,
        pictures.epoch_ranges,
        f"epochs of every domain at {corpus.budget:,} tokens; {some_over.lower()} of the mixtures repeat one over "
        f"{corpus.max_epochs:g} times",
        height=pictures.rows_height(len(table)),
        width=pictures.rows_width(corpus.domains[: pictures.MOST_ROWS]),
        title=f"How often {_count(len(weights), 'mixture')} would repeat each domain",
        note=f"Epochs of a training on {_tokens(corpus.budget)} tokens. {some_over} of the mixtures repeat some domain more than "
        f"{corpus.max_epochs:g} times. {_left_out(corpus, 'epochs.csv')}",
    )


def active_figure(weights: np.ndarray, index: Sequence[int | str], corpus: Corpus) -> Figure:
    """Over how many domains each mixture spreads."""
    import pandas as pd

    active = (weights > 0).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = np.exp(-np.nansum(weights * np.log(weights), axis=1))
    largest = weights.argmax(axis=1)
    table = pd.DataFrame(
        {
            "index": list(index),
            "active_domains": active,
            "effective_domains": effective,
            "largest_domain": [corpus.domains[column] for column in largest],
            "largest_weight": weights.max(axis=1),
        }
    )
    nearly_one = pictures.percent_whole(float((table["largest_weight"] > NEARLY_ONE).mean()))
    median = np.median(active)
    return Figure(
        "active",
        table,
        pictures.active_counts,
        f"the median mixture holds {median:g} of {_count(len(corpus.domains), 'domain')}; {nearly_one} are over 90% one domain",
        height=340,
        title=f"The median mixture holds {median:g} of {_count(len(corpus.domains), 'domain')}",
        note=f"The effective number (e to the entropy of the weights; median {np.median(effective):.1f}) is that of domains with "
        f"equal weights that would be as mixed. {nearly_one} of the mixtures are over 90% one domain.",
    )


def coverage_figure(weights: np.ndarray, sweep: Sweep, corpus: Corpus, given: dict[str, dict[str, float]]) -> Figure:
    """The mixtures, the anchors and the single domains on a plane."""
    import pandas as pd

    rows = [("mixture", str(index), row) for index, row in zip(sweep.mixtures.index, weights, strict=True)]
    anchors = [(name, row) for name, row in zip(sweep.anchors, weights, strict=True) if name]
    rows += [("single domain" if name.startswith("vertex ") else "anchor", name, row) for name, row in anchors]
    reference = {} if corpus.prior is None else {"prior": corpus.prior}
    reference["uniform"] = np.full(len(corpus.domains), 1 / len(corpus.domains))
    rows += [("anchor", name, row) for name, row in reference.items() if name not in dict(anchors)]
    rows += [
        ("given", name, corpus.weights(list(row), np.array([list(row.values())]))[0]) for name, row in given.items()
    ]
    plane, explained = principal_plane(np.sqrt(weights))
    corners = np.eye(len(corpus.domains))
    ends = plane(corners)
    furthest = np.argsort(-np.hypot(*ends.T), kind="stable")
    rows += [("domain", corpus.domains[column], corners[column]) for column in furthest]
    places = plane(np.sqrt([row for _, _, row in rows]))
    table = pd.DataFrame(
        {
            "kind": [kind for kind, _, _ in rows],
            "name": [name for _, name, _ in rows],
            "x": places[:, 0],
            "y": places[:, 1],
        }
    )
    table.attrs["explained"] = explained
    share = pictures.percent_whole(sum(explained))
    return Figure(
        "coverage",
        table,
        pictures.coverage_map,
        f"a map of the {len(weights):,} mixtures, with {share} of their variance",
        height=560,
        title=f"Where {_count(len(weights), 'mixture')} lie",
        note=f"The two principal directions of the square roots of the weights, which hold {share} of their variance: what is "
        "far apart here differs, what is near may differ elsewhere. Triangles: all weight on the named domain.",
    )


def principal_plane(points: np.ndarray) -> tuple[Any, tuple[float, float]]:
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
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), [0, 1]] < 0, -1, 1)  # of the two signs, always the same
    shares = [*(np.maximum(values[::-1], 0) / values.sum())[:2], 0.0]
    return lambda rows: (rows - center) @ axes, (float(shares[0]), float(shares[1]))


def distances_figure(weights: np.ndarray, index: Sequence[int | str]) -> Figure:
    """How far each mixture is from the nearest other."""
    import pandas as pd

    most = max(min(len(weights), MOST_NEIGHBOURS, MOST_DIFFERENCES // weights.size), 100)
    chosen = np.unique(np.linspace(0, len(weights) - 1, most).astype(int))
    other, distance = nearest_others(weights, chosen)
    table = pd.DataFrame(
        {"index": [index[i] for i in chosen], "nearest": [index[i] for i in other], "distance": distance}
    )
    alike = int((distance < ALIKE).sum())
    of = f"{len(chosen):,}" + (f" (evenly chosen among {len(weights):,})" if len(chosen) < len(weights) else "")
    return Figure(
        "distances",
        table,
        pictures.distances,
        f"the median mixture is {percent(float(np.median(distance)))} from the nearest other; {alike:,} of {of} under {ALIKE:.0%}",
        height=300,
        title=f"At the median, a mixture is {percent(float(np.median(distance)))} from the nearest other",
        note="Total variation: the share of the tokens that would come from other domains. Mixtures with another within "
        f"{ALIKE:.0%}, which teach little that is new: {alike:,} of {of}.",
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


def comparison_figures(given: dict[str, dict[str, float]], corpus: Corpus) -> list[Figure]:
    """A few mixtures beside the prior and the baselines, and their epochs."""
    import pandas as pd

    weights = {name: corpus.weights(list(row), np.array([list(row.values())]))[0] for name, row in given.items()}
    table = pd.DataFrame({"domain": corpus.domains, **baselines(corpus), **weights})
    table.attrs["mixtures"] = list(weights)
    names = " and ".join(filter(None, (", ".join(list(weights)[:-1]), list(weights)[-1])))
    size = {
        "height": pictures.rows_height(len(table), len(weights)) + 20,
        "width": pictures.rows_width(corpus.domains[: pictures.MOST_ROWS], len(weights)),
    }
    zeros = "; ".join(f"{name} leaves out {(w == 0).sum()}" for name, w in weights.items())
    figures = [
        Figure(
            "mixture",
            table,
            pictures.mixture_bars,
            f"weights of {names} beside the prior and the baselines",
            **size,
            title=f"{names}, beside the baselines" if corpus.tokens is not None else names,
            note=f"Of {_count(len(table), 'domain')}, {zeros}. {_left_out(corpus, 'mixture.csv')}",
        )
    ]
    if corpus.per_epoch is None:
        return figures
    assert corpus.budget is not None and corpus.tokens is not None
    epochs = {name: np.nan_to_num(w * corpus.per_epoch) for name, w in weights.items()}
    table = pd.DataFrame({"domain": corpus.domains, "tokens": corpus.tokens, **epochs})
    table.attrs |= {
        "mixtures": list(weights),
        "max_epochs": corpus.max_epochs,
        "prior_epochs": corpus.budget / corpus.tokens.sum(),
    }
    most = {name: int(values.argmax()) for name, values in epochs.items()}
    text = "; ".join(
        f"{name} repeats {corpus.domains[most[name]]} most, {pictures.epochs_text(epochs[name][most[name]])} times"
        for name in epochs
    )
    figures.append(
        Figure(
            "mixture_epochs",
            table,
            pictures.epoch_bars,
            text,
            **size,
            title=f"How often {names} repeat{'s' if len(weights) == 1 else ''} each domain",
            note=f"Epochs of a training on {_tokens(corpus.budget)} tokens. {text}. {_left_out(corpus, 'mixture_epochs.csv')}",
        )
    )
    return figures


def baselines(corpus: Corpus) -> dict[str, np.ndarray]:
    """The baselines that the table and the budget allow, those that differ: name -> weights."""
    from mixture_config.baseline import baseline_shares

    if corpus.tokens is None:
        say("no prior and no baselines but uniform: these take --domains")
        return {"uniform": np.full(len(corpus.domains), 1 / len(corpus.domains))}
    found: dict[str, np.ndarray] = {}
    for name in ("prior", "uniform", "temperature", "unimax", "capped"):
        if name in ("unimax", "capped") and corpus.budget is None:
            continue
        try:
            shares = baseline_shares(name, corpus.tokens, budget=corpus.budget, max_epochs=corpus.max_epochs)
        except InputError as error:
            say(f"no {name}: {error}")
            continue
        same = next((other for other, there in found.items() if np.allclose(there, shares, rtol=0, atol=1e-9)), None)
        if same is None:
            found[name] = shares
        else:
            say(f"{name} is the same mixture as {same} here, so it is drawn once")
    return found


def _read_sweep(path: Path) -> Sweep:
    found = read_mixtures(path)
    folder = path if path.is_dir() else path.parent / "mixtures"
    files = {}
    if folder.is_dir():
        try:
            files = {run_key(file.stem): file for file in mixture_files(folder)}
        except InputError:
            if not (path / "mixtures.csv").exists():
                raise
    settings: dict[str, Any] = {}
    anchors, repeats = ["" for _ in found.index], []
    if found.index[0] in files:
        recorded = recorded_settings(files[found.index[0]])
        first, settings = recorded.weights, recorded.extra
        row = dict(zip(found.domains, found.weights[0], strict=True))
        if any(abs(first.get(domain, 0.0) - weight) > 1e-6 for domain, weight in row.items()):
            say(
                f"{folder}: other mixtures than those of {path}, so their settings and anchors are not taken from there"
            )
            return Sweep(found, anchors, {})
        for position, index in enumerate(found.index):
            text = files[index].read_text("utf-8") if index in files else ""
            named = re.search(r"^anchor: *(.+?) *$", text, re.M)
            if re.search(r"^repeat:", text, re.M):
                repeats.append(position)
            elif named:
                anchors[position] = named[1].strip("'\"")
    return Sweep(found, anchors, settings, tuple(repeats))


def _labels(paths: Sequence[str]) -> dict[str, Path]:
    """A name for each file, none of them a baseline's: its own without the suffix where that will do."""
    taken = {"prior", "domain", "tokens", *pictures.BASELINE_MARKS, "uniform"}
    labels: dict[str, Path] = {}
    for path in map(Path, paths):
        name = next(n for n in (path.stem, path.name, path.as_posix(), None) if n not in {*taken, *labels})
        if name is None:
            raise InputError(f"--mixture: {path} is given twice")
        labels[name] = path
    return labels


def _corpus(
    domains: Path | None,
    mixtures: Path | None,
    sweep: Sweep | None,
    files: Sequence[str],
    given: dict[str, dict[str, float]],
    budget: int | None,
    max_epochs: float,
) -> Corpus:
    """What is known of the domains; all mixtures must be over the same."""
    settings = {} if sweep is None else sweep.settings
    if budget is None and settings.get("budget") is not None:
        budget, max_epochs = int(settings["budget"]), float(settings.get("max_epochs", max_epochs))
    table = None if domains is None else read_domains(domains)
    in_sweep = [] if sweep is None else sweep.mixtures.domains
    known = (
        [d.domain for d in table]
        if table
        else in_sweep or list(dict.fromkeys(d for row in given.values() for d in row))
    )
    where = str(domains if table else mixtures)
    sources = [] if sweep is None else [(str(mixtures), in_sweep)]
    for path, names in [*sources, *zip(files, map(list, given.values()), strict=True)]:
        strange = [name for name in names if name not in set(known)]
        if strange:
            raise InputError(
                f"{path}: {some(strange)} {'is' if len(strange) == 1 else 'are'} not in {where}{nearest(strange[0], known)}; "
                "give the mixtures and the table of one corpus"
            )
    leaves_out_zeros = (
        mixtures is not None and Path(mixtures).is_dir() and not (Path(mixtures) / "mixtures.csv").exists()
    )
    missing = [name for name in known if name not in set(in_sweep)]
    if sweep is not None and table and missing and not leaves_out_zeros:
        raise InputError(
            f"{mixtures}: no column for {some(missing)}, of {domains}; give the mixtures and the table of one corpus"
        )
    if table is None:
        say("no --domains, so nothing about the prior, bounds or epochs")
        size = (
            sweep.mixtures.weights.mean(axis=0)
            if sweep is not None
            else np.array([[row.get(d, 0.0) for d in known] for row in given.values()]).mean(axis=0)
        )
    else:
        size = np.array([d.tokens for d in table], dtype=float)
    order = np.argsort(-size, kind="stable")
    return Corpus(
        [known[i] for i in order],
        size[order] if table else None,
        budget,
        max_epochs,
    )


def _ranges(values: np.ndarray, corpus: Corpus) -> "pd.DataFrame":
    """Per domain: the mean over all mixtures, the share of them that hold it, and quantiles over these."""
    import pandas as pd

    columns: dict[str, list[float]] = {name: [] for name in ("mean", "used", *pictures.QUANTILES, "highest")}
    for column in values.T:
        held = column[column > 0]
        columns["mean"].append(column.mean())
        columns["used"].append(len(held) / len(column))
        columns["highest"].append(column.max())
        quantiles = (
            np.quantile(held, list(pictures.QUANTILES.values())) if len(held) else [np.nan] * len(pictures.QUANTILES)
        )
        for name, value in zip(pictures.QUANTILES, quantiles, strict=True):
            columns[name].append(float(value))
    return pd.DataFrame({"domain": corpus.domains, **columns})


def _left_out(corpus: Corpus, table: str) -> str:
    rest = len(corpus.domains) - pictures.MOST_ROWS
    if rest <= 0:
        return ""
    part = (
        "" if corpus.prior is None else f" ({percent(float(corpus.prior[pictures.MOST_ROWS :].sum()))} of the tokens)"
    )
    return f"The {pictures.MOST_ROWS} largest domains are shown; {table} has the other {rest:,}{part} too."


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _tokens(budget: int) -> str:
    for size, name in ((10**12, "trillion"), (10**9, "billion"), (10**6, "million")):
        if budget >= size:
            return f"{budget / size:.4g} {name}"
    return f"{budget:,}"


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(visualize)
