"""What a user asks of a mixture, and what the data can feed -> `Limits` on the weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mixture_config.geometry.limits import Limits, limits_of
from mixture_config.geometry.simplex import epoch_bounds
from proxymix.errors import InputError


@dataclass(frozen=True)
class Constraints:
    """What must be true of a mixture that is proposed or trained next.

    Args:
        budget: Tokens of the final training; with max_epochs it caps what a domain can take.
        max_epochs: Most passes of the final training over a domain's tokens (4 costs little, arXiv:2305.16264).
        limits: Smallest and largest weights, {domain or group: {min, max}}, or the number at which a weight is fixed.
        groups: Names for sets of domains (patterns such as code_* too) that limits may bound as a whole.
        max_distance: Largest share of the tokens that may be moved away from the prior (total variation).
        max_domains: Most domains that may have a weight.
    """

    FLAT: ClassVar[bool] = True  # each field is a flag and a configuration key of the stage that takes the constraints

    budget: int | None = None
    max_epochs: float | None = 4.0
    limits: dict[str, float | dict[str, float]] | None = None
    groups: dict[str, list[str]] | None = None
    max_distance: float | None = None
    max_domains: int | None = None

    def bounds(self, names: Sequence[str], counts: np.ndarray | None = None, where: object = "") -> Limits:
        """The bounds on the weights: what was asked for, within what the data can feed.

        `max_distance` and `max_domains` are not bounds of single weights, and are left to the search.

        Args:
            names: The domains.
            counts: Unique training tokens per domain, shape (num_domains,). They are needed only for a budget.
            where: The file that holds the counts, for messages.

        Raises:
            InputError: If there is a budget and no counts, a name in the limits or groups is unknown, or no mixture is
                within the bounds.
        """
        epochs = np.ones(len(names))
        if self.budget is not None and counts is None:
            raise InputError(
                f"budget is {self.budget:,} tokens, and the tokens of the domains are unknown; give --domains"
            )
        if self.budget is not None and counts is not None and self.max_epochs is not None:
            try:
                epochs = epoch_bounds(counts, self.budget, self.max_epochs)
            except InputError as error:
                raise InputError(f"{where}: {error}") from None
        return limits_of(names, self.limits or {}, self.groups or {}, epochs, np.ones(len(names)))
