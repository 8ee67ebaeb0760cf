"""confirmation.yaml <-> `Confirmation`: the verdict, the differences that it rests on, and how they were measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from proxymix.messages import some
from proxymix.records import from_mapping, to_mapping
from regression.confirmation.compared import BASELINE_PHRASES, PROPOSAL
from regression.confirmation.paired import Difference
from regression.data.objective import Objective, Spec
from regression.search.proposal import Estimate


@dataclass(frozen=True)
class MinimisedObjective:
    """What was minimised: in words, its unit, the resolved spec, and the weights of the targets (those that are not 0)."""

    name: str
    unit: str
    spec: Spec
    weights: dict[str, float]

    @classmethod
    def of(cls, objective: Objective) -> Self:
        """The objective as the file holds it."""
        weights = {t: float(w) for t, w in zip(objective.targets, objective.weights, strict=True) if w != 0}
        return cls(objective.describe(), objective.unit, objective.spec, weights)


@dataclass(frozen=True)
class PredictedValue:
    """What the regression predicted, and the standard deviation of that."""

    mean: float
    std: float


@dataclass(frozen=True)
class Comparison:
    """The proposal minus a baseline.

    Attributes:
        objective: Measured, of the objective; with its corrected p-value.
        mean: Measured, of the mean over validation domains.
        predicted: Of the objective, by the regression.
    """

    objective: Difference
    mean: Difference
    predicted: PredictedValue


@dataclass(frozen=True)
class Measurement:
    """The objective over seeds: mean, standard deviation, and the 95% t interval of the mean."""

    mean: float
    sd: float
    low: float
    high: float


@dataclass(frozen=True)
class ConfirmedMixture:
    """A mixture that was trained on fresh seeds.

    Attributes:
        measured: Its objective.
        predicted: The same by the regression.
        weights: Domain -> weight.
        same_as: The mixture that it equals and was trained as, if there is one.
        origin: Where it comes from, if that needs saying.
        epochs: Domain -> passes of the final training over it, where there is a budget.
        over_the_cap: The domains that it would repeat too often, in words.
    """

    same_as: str | None
    origin: str | None
    measured: Measurement
    predicted: PredictedValue
    epochs: dict[str, float] | None
    over_the_cap: str | None
    weights: dict[str, float]


@dataclass(frozen=True)
class CeilingResult:
    """Whether a loss kept its ceiling.

    Attributes:
        kept: Whether the mean over seeds is at most what is allowed.
        rise: How far the loss rose above that of the prior, as a share.
        allowed: How far it may rise, as a share.
        proposal: The loss at the proposal, mean over seeds.
        prior: The same at the prior.
        excess: The loss minus what is allowed on the same seed, with the 95% t interval of the mean.
        seeds_kept: Seeds on which the loss is at most what is allowed.
    """

    kept: bool
    rise: float
    allowed: float
    proposal: float
    prior: float
    excess: Estimate
    seeds_kept: int


@dataclass(frozen=True)
class NoiseRatio:
    """Standard deviation of a loss over the sweep's mixtures and over the seeds of one mixture, and their ratio.

    The ratio is None where a loss does not vary over seeds.
    """

    over_mixtures: float
    over_seeds: float
    ratio: float | None = None


@dataclass(frozen=True)
class Noise:
    """How far losses vary with the mixture against how far they vary with the seed."""

    objective: NoiseRatio
    mean: NoiseRatio
    targets: dict[str, NoiseRatio]


@dataclass(frozen=True)
class Confirmation:
    """What was measured at the proposal and at the baselines.

    Attributes:
        verdict: In words, with the numbers.
        better_than: Baselines that the proposal is better than.
        no_better_than: Baselines from which it is not shown to differ.
        worse_than: Baselines that are better than it.
        objective: What was minimised.
        seeds: The fresh seeds, on each of which every mixture was trained.
        method: How the differences were tested, in words.
        differences: Baseline -> the proposal minus it.
        mixtures: Mixture -> what was measured of it; the proposal among them.
        ceilings: Loss column -> whether its ceiling was kept; None where there are no ceilings.
        noise: Differences between mixtures against differences between seeds.
        settings: Of the training and the seeds.
    """

    verdict: str
    better_than: list[str]
    no_better_than: list[str]
    worse_than: list[str]
    objective: MinimisedObjective
    seeds: list[int]
    method: str
    differences: dict[str, Comparison]
    mixtures: dict[str, ConfirmedMixture]
    ceilings: dict[str, CeilingResult] | None
    noise: Noise
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Confirmation":
        """The confirmation in a YAML.

        Raises:
            InputError: If there is no such file, or something is missing in it.
        """
        found = from_mapping(cls, read_yaml(path), str(path))
        names, compared = {*found.mixtures}, {*found.differences}
        unknown = (names | compared) - {PROPOSAL, *BASELINE_PHRASES}
        told = [*found.better_than, *found.no_better_than, *found.worse_than]
        same = {mixture.same_as for mixture in found.mixtures.values()} - {None}
        if unknown or PROPOSAL not in names or compared - names or sorted(told) != sorted(compared) or same - names:
            raise InputError(
                f"{path}: the verdict, the differences ({some(compared)}) and the mixtures ({some(names)}) do not name the same "
                "baselines, so this is not as `proxymix confirm` wrote it; run that again"
            )
        return found

    def write(self, path: Path) -> None:
        """Write the confirmation as YAML."""
        write_yaml(path, to_mapping(self))

    def verdict_on(self, baseline: str) -> str:
        """better, worse or no better."""
        words = {"better": self.better_than, "worse": self.worse_than, "no better": self.no_better_than}
        return next(word for word, names in words.items() if baseline in names)
