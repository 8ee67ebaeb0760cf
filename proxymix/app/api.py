"""The public Python API: the stages as functions of tables, which return what they found and write files only when asked.

`import proxymix` offers them: `fit = proxymix.fit("mixtures.csv", "losses.csv")`. docs/python.md has examples.
"""

import contextlib
import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from proxymix.app.calls import DomainsLike, MixtureLike, PathLike, TableLike, flags, stage_call, with_settings_of
from proxymix.app.figures import figures_of_fit, figures_of_sweep
from proxymix.app.results import FitResult, MixtureResult, ProposalResult, SweepResult
from proxymix.app.run import run_command
from proxymix.app.study_result import StudyResult
from proxymix.errors import InputError
from proxymix.plots.figures import Figure
from proxymix.progress import listening, message_stream
from proxymix.tables import read_table
from regression.reporting.report_figures import report_figures
from regression.reporting.study_results import StudyResults

if TYPE_CHECKING:
    import pandas as pd


@with_settings_of("fit")
def fit(
    mixtures: "TableLike | SweepResult",
    losses: "TableLike",
    *,
    test_mixtures: "TableLike | SweepResult | None" = None,
    test_losses: "TableLike | None" = None,
    out: PathLike | None = None,
    **settings: Any,
) -> FitResult:
    """Fit every target's loss as a function of the mixture, with a model chosen on held-out runs.

    Args:
        mixtures: The runs' mixtures: a path or a DataFrame with columns train_<domain>. Rows are keyed by a column index
            (or run, run_id, name), else by the DataFrame's index.
        losses: The runs' losses, likewise: metric/<domain>_val_loss, or columns that are losses by their names.
        test_mixtures: Mixtures of test runs, which are scored and never fitted or chosen by.
        test_losses: Losses of the test runs.
        out: A folder to write the fit to. Nothing is written unless it is given.
        settings: SETTINGS

    Raises:
        InputError: If the tables do not match, or hold too few runs or losses that never vary.
    """
    with stage_call("fit") as call:
        tables = {"mixtures": mixtures, "losses": losses, "test_mixtures": test_mixtures, "test_losses": test_losses}
        folder = call.out(out, "fit")
        call.run({name: call.table(name, value) for name, value in tables.items()} | {"out": folder}, settings)
        return FitResult.read(folder)


@with_settings_of("predict")
def predict(
    fit: FitResult | PathLike,
    mixtures: "TableLike | MixtureLike | SweepResult",
    *,
    out: PathLike | None = None,
    **settings: Any,
) -> "pd.DataFrame":
    """Predict every target's loss for mixtures, with a run's standard deviation around it.

    Args:
        fit: What `fit` returned, or its folder.
        mixtures: A table as `fit` takes it, a sweep, or one mixture: {domain: weight}.
        out: A table to write. Nothing is written unless it is given.
        settings: SETTINGS

    Returns:
        A row for every mixture; for every target a column of its name, and one <target>_std.

    Raises:
        InputError: If there is no such fit, or the mixtures name other domains.
    """
    with stage_call("predict") as call:
        path = call.out(out, "predictions.csv")
        call.run({"fit": call.fit("fit", fit), "mixtures": call.mixtures("mixtures", mixtures), "out": path}, settings)
        return read_table(path).set_index("index")


@with_settings_of("propose")
def propose(
    fit: FitResult | PathLike,
    domains: "DomainsLike | None" = None,
    *,
    heuristic: "MixtureLike | None" = None,
    num_next: int = 0,
    out: PathLike | None = None,
    **settings: Any,
) -> ProposalResult:
    """Search a fit for the mixture of lowest objective that the data can feed.

    Args:
        fit: What `fit` returned, or its folder.
        domains: Tokens of the domains, for the prior and the caps: a path or a DataFrame (domain, tokens), or
            {domain: tokens}.
        heuristic: A mixture to compare with: a path, {domain: weight}, or what `baseline` returned.
        num_next: Also find this many mixtures that are worth training next.
        out: The YAML to write; its tables are written beside it. Nothing is written unless it is given.
        settings: SETTINGS

    Raises:
        InputError: If the domains differ from the fit's, or no mixture keeps the limits.
    """
    with stage_call("propose") as call:
        path = call.out(out, "optimal_mixture.yaml")
        files = {"fit": call.fit("fit", fit), "domains": call.domains("domains", domains), "out": path}
        call.run({**files, "heuristic": call.mixture("heuristic", heuristic)}, {**settings, "num_next": num_next})
        return ProposalResult.read(path, has_next=num_next > 0)


@with_settings_of("synthesize")
def synthesize(
    domains: "DomainsLike",
    num_mixtures: int = 512,
    *,
    around: "MixtureLike | None" = None,
    out: PathLike | None = None,
    **settings: Any,
) -> SweepResult:
    """Draw the mixtures that proxies are trained on.

    Args:
        domains: Tokens of the domains: a path or a DataFrame (domain, tokens), or {domain: tokens}.
        num_mixtures: How many.
        around: The mixture that the design `around` draws near: a path, {domain: weight}, or what `propose` returned.
        out: A folder to write the sweep to. Nothing is written unless it is given.
        settings: SETTINGS

    Raises:
        InputError: If no mixture keeps the limits, or a setting is out of its range.
    """
    with stage_call("synthesize") as call:
        folder = call.out(out, "sweep")
        files = {"domains": call.domains("domains", domains), "around": call.mixture("around", around), "out": folder}
        call.run(files, {**settings, "num_mixtures": num_mixtures})
        return SweepResult.read(folder)


@with_settings_of("baseline")
def baseline(domains: "DomainsLike", *, out: PathLike | None = None, **settings: Any) -> MixtureResult:
    """Turn token counts into a mixture that needs no proxies, such as token shares with a floor and caps.

    Args:
        domains: Tokens of the domains: a path (domains.csv, or JSONL with a dataset a line), a DataFrame (domain, tokens),
            or {domain: tokens}.
        out: The YAML to write. Nothing is written unless it is given.
        settings: SETTINGS

    Raises:
        InputError: If floor, caps and fixed shares leave no mixture, or the counts cannot be read.
    """
    with stage_call("baseline") as call:
        path = call.out(out, "heuristic_mixture.yaml")
        call.run({"domains": call.domains("domains", domains), "out": path}, settings)
        return MixtureResult.read(path)


@with_settings_of("export")
def export(
    mixture: "MixtureLike",
    to: str,
    paths: "Mapping[str, PathLike | Sequence[PathLike]] | Sequence[str] | str | None" = None,
    *,
    domains: "DomainsLike | None" = None,
    out: PathLike | None = None,
    **settings: Any,
) -> str:
    """A mixture as a trainer's own data configuration: the text of its file.

    Args:
        mixture: A path, {domain: weight}, or what `propose` or `baseline` returned.
        to: The trainer's format: megatron, litgpt, olmo_core, huggingface, ... (docs/exports.md).
        paths: Where the data lies: a pattern such as "data/{domain}_text_document", {domain: path or paths}, or a list as
            for the command.
        domains: Tokens and documents of the domains, for document lengths and for epochs.
        out: The file to write. Nothing is written unless it is given.
        settings: SETTINGS

    Raises:
        InputError: If there is no such format, or a path is missing.
    """
    with stage_call("export") as call:
        path = call.out(out, "mixture.txt")
        if isinstance(paths, Mapping):
            several = {domain: place if isinstance(place, list | tuple) else [place] for domain, place in paths.items()}
            paths = [f"{domain}={place}" for domain, places in several.items() for place in places]
        listed = [paths] if isinstance(paths, str) else paths
        files = {"mixture": call.mixture("mixture", mixture), "domains": call.domains("domains", domains), "out": path}
        call.run(files, {**settings, "to": to, "paths": listed})
        return path.read_text(encoding="utf-8")


def figures(
    of: FitResult | SweepResult | StudyResult,
    proposal: ProposalResult | None = None,
    *,
    domains: "DomainsLike | None" = None,
    mixtures: "Mapping[str, MixtureLike] | None" = None,
    budget: float | None = None,
    max_epochs: float = 4.0,
) -> dict[str, Figure]:
    """Figures by name. A notebook shows a figure that is the last line of a cell; `write(folder)` makes PNG and CSV.

    Args:
        of: A fit, a sweep, or a study, of which these are the report's.
        proposal: Of a fit: what was proposed from it.
        domains: Tokens of the domains, for the prior, bounds and epochs: a path, a DataFrame or {domain: tokens}.
        mixtures: Of a sweep: up to four mixtures by name, to compare with the baselines and to show on its map.
        budget: Of a sweep: tokens of the final training; those that it was drawn for unless given.
        max_epochs: Of a sweep: most passes over a domain at the budget.

    Raises:
        InputError: If the domains are not those of the fit or sweep.
    """
    given = {"proposal": proposal, "domains": domains, "mixtures": mixtures, "budget": budget}
    taken = {StudyResult: (), FitResult: ("proposal", "domains"), SweepResult: ("domains", "mixtures", "budget")}
    if type(of) not in taken:
        raise InputError(
            f"proxymix.figures: {of!r:.60} is no fit, sweep or study; give what proxymix.fit returned, or study"
        )
    if strays := [name for name, value in given.items() if value is not None and name not in taken[type(of)]]:
        raise InputError(f"proxymix.figures: {strays[0]} is not for a {type(of).__name__}; leave it out")
    if isinstance(of, StudyResult):
        return report_figures(StudyResults(of.path))
    with stage_call("report" if isinstance(of, FitResult) else "visualize") as call, listening(call.hear):
        table = call.domains("domains", domains)
        if isinstance(of, FitResult):
            return figures_of_fit(of, proposal, table, call.scratch)
        named = {name: call.mixture(name, value) for name, value in (mixtures or {}).items()}
        paths = {name: path for name, path in named.items() if path is not None}
        tokens = None if budget is None else int(budget)
        return figures_of_sweep(of, paths, table, tokens, max_epochs, call.scratch)


def study(path: PathLike) -> StudyResult:
    """What a study folder holds: `domains`, `mixtures`, `losses`, `fit`, `proposal`, `confirmation`, `status`.

    Args:
        path: The folder of `proxymix run`.

    Raises:
        InputError: If there is no such folder.
    """
    return StudyResult(Path(path).expanduser())


def run(study: PathLike, config: PathLike | None = None, *, update: bool = False, **settings: Any) -> StudyResult:
    """Bring a study to its end, as `proxymix run` does: text in, a confirmed mixture out. What is done is skipped.

    Args:
        study: The folder, which need not exist. Everything is written into it.
        config: A study's YAML; where the study exists its own, unless given.
        update: Whether results that the settings change may be made again.
        settings: Settings by their names in the YAML, sections as mappings: budget=25e9, train={"tokens": 200_000}.

    Raises:
        InputError: If a setting is wrong, or results would be replaced and `update` is false.
        StageError: If a stage fails, or another process works on the study.
    """
    arguments = ["--study", str(study), *(["--config", str(config)] if config is not None else [])]
    arguments += [*(["--update"] if update else []), *flags(settings)]
    say_here = partial(print, file=message_stream(), flush=True)
    with listening(say_here), contextlib.redirect_stdout(io.StringIO()):  # the answer is what is returned
        run_command(arguments)
    return StudyResult(Path(study).expanduser())
