"""How the regression is searched."""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from proxymix.errors import InputError

SearchMethod = Literal["auto", "simulation", "wide", "gradient"]
DRAWN_IF_SMOOTH, DRAWN_FROM_TREES = 20_000, 100_000
"""Candidates that are drawn unless told otherwise; trees are searched by draws alone."""


@dataclass(frozen=True)
class SearchSettings:
    """How the regression is searched.

    Args:
        method: How to search: auto takes what fits the regression and ends with the best that any search found.
        num_candidates: Candidates drawn by each of simulation and wide; 100,000 for trees and 20,000 otherwise when left
            out. A million costs a minute or more.
        num_averaged: How many of the best candidates are averaged.
        risk_aversion: Standard deviations of the regression that are added to a prediction before mixtures compete; 0
            trusts the regression where no run was trained, 1 and more stays close to the runs.
    """

    FLAT: ClassVar[bool] = True  # each field is a flag and a configuration key of the stage that takes the settings

    method: SearchMethod = "auto"
    num_candidates: int | None = None
    num_averaged: int = 128
    risk_aversion: float = 0.5

    def __post_init__(self) -> None:
        if self.num_averaged < 2:
            raise InputError(
                f"num_averaged is {self.num_averaged}; 2 or more is wanted, since the single best draw is the luckiest"
            )
        if self.num_candidates is not None and self.num_candidates < self.num_averaged:
            raise InputError(
                f"num_candidates is {self.num_candidates:,}; at least num_averaged, {self.num_averaged}, is wanted"
            )
        if not self.risk_aversion >= 0:
            raise InputError(f"risk_aversion is {self.risk_aversion:g}; 0 or more is wanted")

    def resolved(self, smooth: bool) -> "SearchSettings":
        """The settings with a number of candidates where none is given."""
        num = self.num_candidates or (DRAWN_IF_SMOOTH if smooth else DRAWN_FROM_TREES)
        return replace(self, num_candidates=num, num_averaged=min(self.num_averaged, num))
