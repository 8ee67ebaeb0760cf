"""confirmation.yaml <-> `Confirmation`: the verdict, the differences that it rests on, and how they were measured."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from proxymix.errors import InputError
from proxymix.files import read_yaml, write_yaml
from proxymix.messages import some
from proxymix.records import from_mapping, to_mapping
from regression.confirmation.compared import BASELINE_PHRASES, PROPOSAL
from regression.confirmation.paired import UNDECIDED, VERDICTS, Difference
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
        verdict: better, worse, undecided or not better.
        seeds_to_decide: How many more seeds would decide, where it is undecided; None there if 50 would not.
        objective: Measured, of the objective; with its corrected p-value.
        mean: Measured, of the mean over validation domains.
        predicted: Of the objective, by the regression.
    """

    verdict: str
    seeds_to_decide: int | None
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
        verdict: In words.
        objective: What was minimised.
        min_gain: The smallest gain worth having, in the objective's unit.
        seeds: The fresh seeds, on each of which every mixture was trained.
        method: How the differences were tested, in words.
        differences: Baseline -> the proposal minus it.
        mixtures: Mixture -> what was measured of it; the proposal among them.
        ceilings: Loss column -> whether its ceiling was kept; None where there are no ceilings.
        noise: Differences between mixtures against differences between seeds.
        settings: Of the training and the seeds.
    """

    verdict: str
    objective: MinimisedObjective
    min_gain: float
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
        try:
            found = from_mapping(cls, read_yaml(path), str(path))
        except InputError as error:
            raise InputError(f"{error}; run `proxymix confirm` again, which keeps the runs that are done") from None
        names, compared = {*found.mixtures}, {*found.differences}
        unknown = (names | compared) - {PROPOSAL, *BASELINE_PHRASES}
        told = {comparison.verdict for comparison in found.differences.values()}
        same = {mixture.same_as for mixture in found.mixtures.values()} - {None}
        if unknown or names != {PROPOSAL, *compared} or told - {*VERDICTS} or same - names:
            raise InputError(
                f"{path}: the verdicts ({some(told)}), the differences ({some(compared)}) and the mixtures ({some(names)}) are "
                "not as `proxymix confirm` writes them; run that again"
            )
        return found

    def write(self, path: Path) -> None:
        """Write the confirmation as YAML."""
        write_yaml(path, to_mapping(self))

    def baselines(self, verdict: str) -> list[str]:
        """Those with this verdict."""
        return [name for name, comparison in self.differences.items() if comparison.verdict == verdict]

    @property
    def seeds_to_decide(self) -> int | None:
        """How many more seeds would decide all that is undecided and can be decided; None where there is no such baseline."""
        more = [self.differences[name].seeds_to_decide for name in self.baselines(UNDECIDED)]
        return max((number for number in more if number is not None), default=None)
