"""A preset, a user's settings and those of an older sweep -> how mixtures are drawn."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from mixture_config.geometry.tolerances import GRID_STEP
from proxymix.errors import InputError

Design = Literal["dirichlet", "space_filling", "around"]
Preset = Literal["proxymix", "regmix"]

PRESETS: dict[str, dict[str, Any]] = {
    "proxymix": {
        "design": "space_filling",
        "temperature": 0.3,
        "min_concentration": None,  # these two depend on the number of domains
        "max_concentration": None,
        "min_weight": GRID_STEP,
        "maximum_usage": 15.0,
        "sample_multiplier": 1,
    },
    "regmix": {
        "design": "dirichlet",
        "temperature": 0.5,
        "min_concentration": 0.1,
        "max_concentration": 5.0,
        "min_weight": GRID_STEP,
        "maximum_usage": 15.0,
        "sample_multiplier": 100,
    },
}
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
        for name, (smallest, largest, wanted) in {
            "temperature": (1e-6, 100, "above 0, and at most 100"),
            "min_concentration": (1e-6, 1e9, "above 0"),
            "max_concentration": (self.min_concentration, 1e9, "at least min_concentration"),
            "min_weight": (1e-6, 1, "from 1e-6 to 1"),
            "sample_multiplier": (1, math.inf, "at least 1"),
            "maximum_usage": (
                1,
                math.inf,
                "at least 1 (the caps are multiples of the prior, which must fit below them)",
            ),
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
        given = {name: value for name, value in (given or {}).items() if value is not None}
        names = [field.name for field in fields(cls)]
        there = {name: older.get(RECORDED_AS.get(name, name)) for name in names}
        values = base | {name: value for name, value in there.items() if value is not None}
        if given.get("design", values["design"]) != values["design"]:  # another design has other concentrations
            values |= {name: base[name] for name in ("min_concentration", "max_concentration")}
        values |= given
        usual = _usual_concentrations(values["design"], num_domains)
        values |= {name: value for name, value in usual.items() if values[name] is None}
        return cls(**values)

    def recorded(self) -> dict[str, Any]:
        """The settings as a mixture's YAML records them."""
        return {RECORDED_AS.get(name, name): value for name, value in asdict(self).items()}


def _usual_concentrations(design: str, num_domains: int) -> dict[str, float]:
    """Draws around the prior range from a few domains to all of them, those around a mixture from .3 to .05 away from it."""
    low, high = (2.0 * num_domains, 60.0 * num_domains) if design == "around" else (2.0, 4.0 * num_domains)
    return {"min_concentration": low, "max_concentration": high}
