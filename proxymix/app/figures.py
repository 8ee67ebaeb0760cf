"""What calls from Python returned -> the figures that the report and `proxymix visualize` would draw of it."""

from collections.abc import Mapping
from pathlib import Path

from mixture_config.files.mixture import Mixture, train_domain
from mixture_config.plots.corpus import Sweep, known_corpus
from mixture_config.plots.mixture_figures import mixture_figures
from mixture_config.plots.sweep_figures import sweep_figures
from proxymix.app.results import FitResult, ProposalResult, SweepResult
from proxymix.plots.figures import Figure
from regression.reporting.report_figures import report_figures
from regression.reporting.study_results import StudyResults


def figures_of_fit(
    fit: FitResult, proposal: ProposalResult | None, domains: Path | None, scratch: Path
) -> dict[str, Figure]:
    """The report's figures of a fit, and of what was proposed from it.

    Args:
        fit: The fit.
        proposal: The proposal, if there is one.
        domains: A table of domains, for their order and the prior.
        scratch: A folder to lay out a study in.
    """
    fit.save(scratch / "regression")
    runs = fit.tables["runs"].set_index("index")
    weights = [column for column in runs.columns if train_domain(column) is not None]
    runs[weights].to_csv(scratch / "mixtures.csv")
    runs.drop(columns=weights).to_csv(scratch / "losses.csv")
    if proposal is not None:
        proposal.save(scratch / "proposal.yaml").rename(scratch / "optimal_mixture.yaml")  # its tables are in proposal/
    if domains is not None:
        (scratch / "domains.csv").write_bytes(domains.read_bytes())
    return report_figures(StudyResults(scratch))


def figures_of_sweep(
    sweep: SweepResult,
    mixtures: Mapping[str, Path],
    domains: Path | None,
    budget: int | None,
    max_epochs: float,
    scratch: Path,
) -> dict[str, Figure]:
    """The figures of a sweep, and of mixtures that its map shows.

    Args:
        sweep: The sweep.
        mixtures: Name -> a mixture's YAML.
        domains: A table of domains, for the prior, bounds and epochs.
        budget: Tokens of the final training; the one that the sweep was drawn for unless given.
        max_epochs: Most passes over a domain at `budget`.
        scratch: A folder to write the sweep to.
    """
    folder = sweep.save(scratch / "sweep")
    read = Sweep.read(folder)
    given = {name: Mixture.read(path).weights for name, path in mixtures.items()}
    by_path = {path: given[name] for name, path in mixtures.items()}
    corpus = known_corpus(domains, folder, read, by_path, budget, max_epochs)
    found = [*sweep_figures(read, corpus, given), *(mixture_figures(given, corpus) if given else [])]
    return {figure.name: figure for figure in found}
