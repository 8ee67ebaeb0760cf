"""A preset, a user's settings and those of an older sweep -> how mixtures are drawn."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from mixture_config.geometry.simplex import grid_steps
from mixture_config.geometry.tolerances import GRID_STEP
from proxymix.errors import InputError

Design = Literal["dirichlet", "space_filling", "around"]
Preset = Literal["proxymix", "regmix"]

_BOTH = {"min_weight": GRID_STEP, "maximum_usage": 15.0}
_OURS = {
    "design": "space_filling",
    "temperature": 0.3,
    "sample_multiplier": 1,
}  # the concentrations depend on the domains
_REGMIX = {"design": "dirichlet", "temperature": 0.5, "sample_multiplier": 100}
_REGMIX |= {"min_concentration": 0.1, "max_concentration": 5.0}
PRESETS: dict[str, dict[str, Any]] = {"proxymix": _BOTH | _OURS, "regmix": _BOTH | _REGMIX}
RECORDED_AS = {"min_concentration": "min_strength", "max_concentration": "max_strength", "min_weight": "minimum"}
"""Settings that a mixture's YAML records under the names of RegMix's script; the others keep their own names."""


@dataclass(frozen=True)
class SamplerSettings:
    """How mixtures are drawn. `proxymix synthesize --help` says what each setting does."""

    design: Design
    temperature: float
    min_concentration: float
    max_concentration: float
    min_weight: float
    maximum_usage: float
    sample_multiplier: int

    def __post_init__(self) -> None:
        usage = "at least 1 (the caps are multiples of the prior, which must fit below them)"
        for name, (smallest, largest, wanted) in {
            "temperature": (1e-6, 100, "above 0, and at most 100"),
            "min_concentration": (1e-6, 1e9, "above 0"),
            "max_concentration": (self.min_concentration, 1e9, "at least min_concentration"),
            "min_weight": (1e-6, 1, "from 1e-6 to 1"),
            "sample_multiplier": (1, math.inf, "at least 1"),
            "maximum_usage": (1, math.inf, usage),
        }.items():
            if not smallest <= getattr(self, name) <= largest:
                raise InputError(f"{name} is {getattr(self, name)}; a number {wanted} is wanted")

    @classmethod
    def of(
        cls,
        num_domains: int,
        preset: Preset | None = None,
        given: Mapping[str, Any] | None = None,
        recorded: Mapping[str, Any] | None = None,
    ) -> "SamplerSettings":
        """Each setting as given, else as recorded in the sweep that is extended, else as in the preset.

        Args:
            num_domains: Number of domains, on which the usual concentrations depend.
            preset: If there is one, it takes the place of what is recorded; if not, proxymix is the preset.
            given: Setting -> value. A setting whose value is None is not given.
            recorded: What the mixtures of the older sweep record (see `recorded`).
        """
        base = PRESETS[preset or "proxymix"]
        older = {} if preset is not None or recorded is None else recorded
        names = [field.name for field in fields(cls)]
        values = base | _known({name: older.get(RECORDED_AS.get(name, name)) for name in names})
        given = _known(given or {})
        design = given.get("design", values["design"])
        if design != values["design"]:  # the recorded concentrations are those of another design
            values = base | {name: value for name, value in values.items() if not name.endswith("concentration")}
        # Draws around the prior range from a few domains to all of them, those around a mixture from .3 to .05 away from it.
        low, high = (2.0 * num_domains, 60.0 * num_domains) if design == "around" else (2.0, 4.0 * num_domains)
        return cls(**{"min_concentration": low, "max_concentration": high} | values | given)

    @property
    def num_steps(self) -> int:
        """Steps of the grid that make a weight of 1."""
        return grid_steps(self.min_weight)

    def recorded(self) -> dict[str, Any]:
        """The settings as a mixture's YAML records them."""
        return {RECORDED_AS.get(name, name): value for name, value in asdict(self).items()}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
