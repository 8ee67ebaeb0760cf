"""Measured losses of the proposal and its baselines -> `Confirmation`: differences, verdicts, ceilings, noise."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from proxymix.schemas import Domains, loss_domain
from regression.confirmation.candidates import Candidates, feeding
from regression.confirmation.compared import PROPOSAL
from regression.confirmation.confirmation import (
    Comparison,
    Confirmation,
    ConfirmedMixture,
    MinimisedObjective,
    PredictedValue,
)
from regression.confirmation.measured import at_targets, ceilings_kept, measurement, noise_of
from regression.confirmation.paired import (
    BETTER,
    UNDECIDED,
    WORSE,
    corrected,
    paired_difference,
    seeds_to_decide,
    verdict,
)
from regression.confirmation.statements import METHOD, verdict_sentence
from regression.data.objective import Objective
from regression.models.fitted import FittedModel
from regression.search.proposal import Proposal


def confirmation_of(
    fitted: FittedModel,
    objective: Objective,
    candidates: Candidates,
    known: Domains,
    proposed: Proposal,
    losses: Mapping[str, np.ndarray],
    columns: Sequence[str],
    seeds: Sequence[int],
    min_gain: float | None,
    settings: dict[str, Any],
) -> Confirmation:
    """What the losses of the mixtures show.

    Args:
        fitted: The regression, whose predictions stand beside the measurements.
        known: The domains, in the order of the sweep's.
        proposed: The proposal, for its budget.
        losses: Mixture -> measured losses, shape (num_seeds, num_columns).
        columns: Their loss columns.
        seeds: The seeds, in the order of the losses.
        min_gain: The smallest gain worth having; the standard deviation of the objective over seeds when None.
        settings: How the proxies were trained, for the file.
    """
    swept, same_as, baselines = fitted.runs, candidates.same_as, candidates.baselines
    by_target = {name: at_targets(values, columns, swept.targets) for name, values in losses.items()}
    values = {name: objective.value(of_targets) for name, of_targets in by_target.items()}
    means = {name: of_columns.mean(axis=1) for name, of_columns in losses.items()}
    X = np.array(list(candidates.weights.values()))
    predicted = _predicted(candidates.weights, *fitted.predict_objective(X, objective))
    B = np.array([candidates.weights[name] for name in baselines])
    gain, std = fitted.gains(B, candidates.weights[PROPOSAL], objective)
    predicted_differences = _predicted(baselines, -gain, std)
    noise = noise_of({name: losses[name] for name in candidates.trained}, columns, swept, objective)

    # ---- Paired differences and their verdicts; equal mixtures are one comparison
    least = noise.objective.over_seeds if min_gain is None else min_gain
    differences = corrected({name: paired_difference(values[PROPOSAL], values[name]) for name in baselines}, same_as)
    verdicts = {name: verdict(difference, least) for name, difference in differences.items()}
    num_open = sum(verdicts[name] not in (BETTER, WORSE) for name in baselines if name not in same_as)
    comparisons = {
        name: Comparison(
            verdicts[name],
            seeds_to_decide(difference, least, num_open) if verdicts[name] == UNDECIDED else None,
            difference,
            paired_difference(means[PROPOSAL], means[name]),
            predicted_differences[name],
        )
        for name, difference in differences.items()
    }

    # ---- Every mixture
    mixtures = {}
    for name, weights in candidates.weights.items():
        epochs, over_the_cap = feeding(weights, known, proposed.budget, proposed.max_epochs)
        mixtures[name] = ConfirmedMixture(
            same_as.get(name),
            candidates.origin.get(name),
            measurement(values[name]),
            predicted[name],
            epochs,
            over_the_cap,
            dict(zip(known.names, map(float, weights), strict=True)),
        )

    infeasible = [name for name in baselines if mixtures[name].over_the_cap]
    ceilings = ceilings_kept(objective, by_target[PROPOSAL], by_target["prior"])
    broken = [loss_domain(target) for target, ceiling in ceilings.items() if not ceiling.kept]
    return Confirmation(
        verdict_sentence(comparisons, infeasible, broken),
        MinimisedObjective.of(objective),
        least,
        list(seeds),
        METHOD,
        comparisons,
        mixtures,
        ceilings or None,
        noise,
        settings,
    )


def _predicted(names: Iterable[str], mean: np.ndarray, std: np.ndarray) -> dict[str, PredictedValue]:
    return {name: PredictedValue(float(m), float(s)) for name, m, s in zip(names, mean, std, strict=True)}
