"""The table of regressors: what `model` may name."""

from regression.models.gaussian_process import GP
from regression.models.laws import ExponentialLaw, LogLinear, PowerLaw, SaturatingLaw
from regression.models.regressor import Linear, Mean, Regressor
from regression.models.trees import LightGBM, SmallLightGBM

REGRESSORS: dict[str, type[Regressor]] = {
    "gp": GP,
    "linear": Linear,
    "lightgbm": LightGBM,
    "lightgbm_small": SmallLightGBM,
    "log_linear": LogLinear,
    "exponential": ExponentialLaw,
    "power": PowerLaw,
    "saturating": SaturatingLaw,
}
"""What `model` may name; `auto` tries each. A new regressor is a class and a line here."""

BASELINE = "mean"
ENSEMBLE = "ensemble"


def make_regressor(name: str) -> Regressor:
    """A fresh regressor of REGRESSORS, or the mean predictor."""
    return Mean() if name == BASELINE else REGRESSORS[name]()
