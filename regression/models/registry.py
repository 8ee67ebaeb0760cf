"""The regressors that `model` may name. A new regressor is a module beside this one and a row here."""

from collections.abc import Callable
from dataclasses import dataclass

from regression.models.averaged_gp import GP
from regression.models.exponential_laws import ExponentialLaw, LogLinear
from regression.models.linear import Linear, Mean
from regression.models.power_laws import PowerLaw, SaturatingLaw
from regression.models.regressor import Regressor
from regression.models.trees import LightGBM, small_lightgbm


@dataclass(frozen=True)
class Entry:
    """A regressor as commands, messages and the report know it.

    Attributes:
        key: What `model` names, and what a fit's files hold.
        label: Its name in the report.
        help: What it is, in a line; it is shown to who asks for a model that does not exist.
        make: Makes an unfitted one.
        in_auto: Whether `auto` tries it.
    """

    key: str
    label: str
    help: str
    make: Callable[[], Regressor]
    in_auto: bool = True


REGRESSORS: dict[str, Entry] = {
    entry.key: entry
    for entry in (
        Entry("gp", "Gaussian process", "two Gaussian processes on stretched weights, averaged", GP),
        Entry("linear", "linear", "a line in the weights", Linear),
        Entry(
            "lightgbm", "LightGBM as in RegMix", "boosted trees with RegMix's settings, for hundreds of runs", LightGBM
        ),
        Entry("lightgbm_small", "LightGBM for few runs", "boosted trees for 32 to 128 runs", small_lightgbm),
        Entry("log_linear", "log-linear law", "c + exp(line in the weights), c > 0, fitted as Olmix does", LogLinear),
        Entry("exponential", "exponential law", "c + exp(line in the weights)", ExponentialLaw),
        Entry("power", "power law", "c + (line in the weights)^-a", PowerLaw),
        Entry("saturating", "saturating law", "c + (sum of powers of the weights)^-a", SaturatingLaw),
    )
}
TRUSTED_MODEL = "gp"
"""The model that is never dropped before a whole cross-validation and always has a part in the ensemble.

A Gaussian process knows where it is unsure. A law is not trusted alone: it does not know where its shape is wrong.
"""
ENSEMBLE = "ensemble"
"""The name of a weighted mean of several regressors, which is no entry because it is made of entries."""
BASELINE = "mean"
"""The name of predicting the mean of the losses, which every regressor is compared with."""
_OTHER_LABELS = {ENSEMBLE: "ensemble of the best", BASELINE: "predicting the mean"}


def make_regressor(key: str) -> Regressor:
    """An unfitted regressor of REGRESSORS, or the one that predicts the mean."""
    return Mean() if key == BASELINE else REGRESSORS[key].make()


def label(key: str) -> str:
    """What the report calls a model: a key of REGRESSORS, `ensemble` or `mean`. Another name stands for itself."""
    return REGRESSORS[key].label if key in REGRESSORS else _OTHER_LABELS.get(key, key)
