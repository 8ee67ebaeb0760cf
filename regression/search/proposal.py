"""optimal_mixture.yaml <-> `Proposal`: the mixture, what is predicted of it, and what it was made from."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from mixture_config.files.mixture import Mixture
from proxymix.records import from_mapping, to_mapping
from regression.data.objective import Spec


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Halves:
    """Proposals from halves of the runs (`cross_fitted`), in the mean.

    Attributes:
        own: Objective predicted by the regression that proposed.
        held_out: The same by the regression of the other half.
        winners_curse: How much better such a proposal looks to its own regression than to the other.
    """

    own: float
    held_out: float = field(metadata={"key": "judged"})
    winners_curse: float


@dataclass(frozen=True)
class Prediction(Estimate):
    """A run at the proposal, as predicted, with half of the winner's curse added.

    Attributes:
        halves: What halves of the runs say; None where they were not asked.
        own: The mean without the curse, where that was added.
    """

    halves: Halves | None = None
    own: float | None = None


@dataclass(frozen=True)
class BaselinePrediction:
    """A baseline, and what the proposal is predicted to gain over it.

    Attributes:
        predicted: The objective of a run at the baseline.
        gain: How much lower the objective is at the proposal.
        feasible: Whether the baseline is allowed.
        verdict: Whether the proposal is predicted to be better or worse, or cannot be told from the baseline.
        held_out_gain: The gain of proposals from halves of the runs, as the other halves predict it.
        run: The run that the baseline is, if it is one.
        measured: The objective of that run.
        missed: Whether that is outside the interval of what was predicted.
    """

    predicted: Estimate
    gain: Estimate
    feasible: bool
    held_out_gain: float | None = field(default=None, metadata={"key": "judged_gain"})
    run: int | str | None = None
    measured: float | None = None
    missed: bool | None = None
    verdict: str | None = None


@dataclass(frozen=True)
class Proposal:
    """A proposed mixture. Only the weights are known of a mixture that a person wrote.

    Attributes:
        weights: Domain -> weight. The weights sum to 1.
        objective: What was minimised, resolved.
        asked: The objective in words.
        verdict: Which baselines the proposal is predicted to be better than, in words.
        weight_intervals: Domain -> the interval of its weight among the optima of posterior samples.
        budget_assumed: Whether the budget was not given, but assumed from the corpus.
        max_epochs: Passes allowed over a domain.
        epochs: Domain -> passes over it.
        caps: Domain -> the largest weight allowed.
        support: How far the nearest run is, how far runs are from each other, whether the mixture is farther from all runs
            than any run is from the others (far_from_runs), and its domains that no run had (untrained_domains).
        regression: Model, number of runs, hashes of the inputs.
        search: The settings of the search, and which search found the mixture.
        tokenizer: Name and hash.
        data: Hash of the token shards' manifest.
    """

    weights: dict[str, float] = field(metadata={"key": "train"})
    objective: Spec | None = None
    asked: str | None = None
    verdict: str | None = None
    confidence: float | None = None
    predicted: Prediction | None = None
    baselines: dict[str, BaselinePrediction] | None = None
    weight_intervals: dict[str, list[float]] | None = field(default=None, metadata={"key": "weights"})
    budget: int | None = None
    budget_assumed: bool | None = None
    max_epochs: float | None = None
    epochs: dict[str, float] | None = None
    caps: dict[str, float] | None = None
    support: dict[str, Any] | None = None
    regression: dict[str, Any] | None = None
    search: dict[str, Any] | None = None
    tokenizer: dict[str, Any] | None = None
    data: dict[str, Any] | None = None

    @classmethod
    def read(cls, path: Path) -> "Proposal":
        """The proposal in a YAML; of any other mixture's YAML the weights, and what else it says under these keys.

        Raises:
            InputError: If the file holds no mixture, or something else where one of these keys is.
        """
        mixture = Mixture.read(path)
        return from_mapping(cls, {**mixture.extra, "train": mixture.weights}, str(path))

    def write(self, path: Path, targets: Sequence[str] | None = None) -> None:
        """Write the proposal as a mixture in RegMix's keys."""
        content = to_mapping(self)
        if self.budget is not None:  # a budget without a cap on epochs is written as max_epochs: null
            content["max_epochs"] = self.max_epochs
        keys = [str(part.metadata.get("key", part.name)) for part in fields(self)]
        extra = {key: content[key] for key in keys if key in content and key != "train"}
        Mixture(self.weights, {"model_name": "proxymix", **extra}).write(path, targets)
