"""A sweep, or a few mixtures -> figures, each with the CSV behind it.

python mixture_config/visualize.py --mixtures STUDY --domains domains.csv --budget 20e9 --out figures
"""

from pathlib import Path

from mixture_config.files.mixture import Mixture
from mixture_config.plots.corpus import MAX_EPOCHS, Sweep, known_corpus
from mixture_config.plots.mixture_charts import MAX_MIXTURES
from mixture_config.plots.mixture_figures import mixture_figures, names_of
from mixture_config.plots.sweep_figures import sweep_figures
from proxymix.errors import InputError
from proxymix.progress import progress


def visualize(
    out: Path,
    mixtures: Path | None = None,
    mixture: list[str] | None = None,
    domains: Path | None = None,
    budget: int | None = None,
    max_epochs: float = MAX_EPOCHS,
) -> None:
    """Draw what a sweep covers, and what a mixture changes: figures (PNG), each with the table behind it (CSV).

    Of a sweep: weights.png (the weights of every domain, its prior and its bounds), active.png (over how many domains a
    mixture spreads), coverage.png (a map of the mixtures), distances.png (how far each is from the nearest other) and, with
    a budget, epochs.png. Of mixtures given by --mixture: mixture.png and, with a budget, mixture_epochs.png. Figures show
    the 64 largest domains, tables show all.

    Args:
        out: The folder for the figures; those of an earlier call are replaced.
        mixtures: A sweep: mixtures.csv, a folder of mixture YAMLs, or a study.
        mixture: One to four mixture YAMLs, to be compared with the prior and the baselines; with a sweep, its map shows them.
        domains: A CSV with the columns domain and tokens, such as a study's domains.csv. Without it the figures say nothing
            about the prior, bounds and epochs.
        budget: Tokens of the final training, for epochs and caps; the one that a sweep was drawn for unless given.
        max_epochs: Most passes over a domain's tokens at `budget` (4 costs little, arXiv:2305.16264).
    """
    if mixtures is None and not mixture:
        raise InputError("nothing to draw: give a sweep with --mixtures, or a mixture's YAML with --mixture")
    if len(mixture or []) > MAX_MIXTURES:
        raise InputError(
            f"--mixture: {len(mixture or [])} mixtures, and a figure tells {MAX_MIXTURES} apart; give fewer, or the folder "
            "that holds them with --mixtures"
        )
    if (budget is not None and budget <= 0) or max_epochs <= 0:
        raise InputError(f"--budget {budget} and --max_epochs {max_epochs:g}: both must be above 0")
    sweep = None if mixtures is None else Sweep.read(Path(mixtures))
    paths = names_of(mixture or [])
    given = {name: Mixture.read(path).weights for name, path in paths.items()}
    by_path = {path: given[name] for name, path in paths.items()}
    corpus = known_corpus(domains, None if mixtures is None else Path(mixtures), sweep, by_path, budget, max_epochs)
    figures = [] if sweep is None else sweep_figures(sweep, corpus, given)
    figures += mixture_figures(given, corpus) if given else []
    with progress("draw", total=len(figures), unit="figures") as bar:
        for figure in figures:
            figure.write(Path(out))
            print(f"{Path(out) / figure.name}.png, .csv: {figure.alt}")
            bar.advance()


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(visualize)
