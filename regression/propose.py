"""A regression -> optimal_mixture.yaml: the mixture of lowest predicted objective among those that the data can feed.

python regression/propose.py --fit regression --domains domains.csv --budget 25000000000 --out optimal_mixture.yaml
"""

from pathlib import Path
from typing import Any

from mixture_config.geometry.constraints import Constraints
from regression.models.fit_files import load_fit
from regression.search.find_mixture import find_mixture
from regression.search.next_runs import Acquisition
from regression.search.next_sweep import check_room
from regression.search.proposal import Proposal
from regression.search.proposal_messages import say_proposal
from regression.search.settings import SearchSettings


def propose(
    fit: Path,
    out: Path,
    domains: Path | None = None,
    constraints: Constraints = Constraints(),  # noqa: B008
    objective: str | dict[str, Any] | None = None,
    heuristic: Path | None = None,
    tokens: Path | None = None,
    details: Path | None = None,
    search: SearchSettings = SearchSettings(),  # noqa: B008
    num_curves: int | None = None,
    num_splits: int = 2,
    seed: int = 0,
    workers: int | None = None,
    num_next: int = 0,
    next_out: Path | None = None,
    acquisition: Acquisition = "improvement",
    budget_assumed: bool = False,
) -> Proposal:
    """Search the regression for the mixture of lowest objective that the data can feed.

    Smooth regressions are searched along their slopes from many starts. The others are searched by drawing candidates
    around the prior (as RegMix does), over all of the simplex, and around the best runs; the result is the mean of the
    best candidates, since the best single one is the luckiest.

    Then the proposal is held against what it was not made from. Halves of the runs propose, and the other halves predict
    what such a proposal gains, which tells how much of the gain is the winner's curse. Posterior samples of the regression
    say which weights matter, and which other mixtures do as well. The verdict can be that the proposal is no better than a
    baseline. A fit with the preset regmix is searched exactly as RegMix's notebook does.

    Args:
        fit: Folder of the regression (`proxymix fit`).
        out: The mixture to write, in RegMix's keys, with what is predicted of it and of the baselines.
        domains: Table of the domains and their tokens (domains.csv), for the prior and the caps.
        constraints: What the mixture must keep.
        objective: What is to be low: mean, zscore, worst, a loss column or its domain, {domain: weight}, or a YAML of
            weights, or of minimise and max_increase; {maximise: any of these} for scores; that of the fit when left out.
        heuristic: A heuristic mixture to compare with.
        tokens: Folder of token shards, whose hashes go into the file.
        details: Folder for the tables; beside the mixture and named after it when left out.
        search: How the regression is searched.
        num_curves: Posterior samples for the intervals of the weights; 40 when left out, and 12 where a sample is a
            bootstrap sample refitted (trees); 0 leaves the intervals out.
        num_splits: Ways to split the runs into a half that proposes and one that predicts; 0 leaves this out.
        seed: Seed of all draws.
        workers: Processes for the halves; one per core when left out.
        num_next: Also write this many mixtures that are worth training next, numbered after the runs: what `proxymix sweep
            --mixtures NEXT_OUT/mixtures` trains.
        next_out: Folder for them (mixtures/ and mixtures.csv); next, beside the mixture, when left out.
        acquisition: Which mixtures are worth training: improvement takes those that may be better than the best that is
            known, far from each other; climb draws ever closer around the best runs (CLIMB, arXiv 2504.13161).
        budget_assumed: Whether the budget is no plan but an assumption, as in a study without one; the file then says so.

    Raises:
        InputError: If the domains differ from the fit's, no mixture keeps the limits, or none keeps the ceilings.
    """
    fitted = load_fit(fit)
    next_out, details = next_out or out.with_name("next"), details or out.with_suffix("")
    if num_next:
        check_room(next_out, fitted.runs, num_next)
    found = find_mixture(
        fitted,
        domains,
        constraints,
        objective,
        heuristic,
        tokens,
        search,
        num_curves,
        num_splits,
        seed,
        workers,
        num_next,
        acquisition,
        budget_assumed,
    )
    if found.next_sweep is not None:
        found.next_sweep.write(next_out)
    found.save(out, details)
    say_proposal(found, out, details)
    return found.proposal


if __name__ == "__main__":
    from proxymix.app.cli import run

    run(propose)
