"""The proposal's file and the sweep -> the mixtures that are trained: the proposal and its baselines, equal ones once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixture_config.files.mixture import Mixture
from mixture_config.geometry.tolerances import GRID_STEP
from proxymix.schemas import Domains
from regression.confirmation.compared import PROPOSAL
from regression.data.objective import Objective
from regression.data.runs import Runs
from regression.search.proposal import Proposal


@dataclass(frozen=True)
class Candidates:
    """The mixtures that are compared.

    Attributes:
        weights: Mixture -> weights in the order of the sweep's domains, shape (num_domains,); the proposal first.
        origin: Where some of them come from.
        same_as: Mixtures that equal an earlier one -> the name of that one. They are not trained again.
    """

    weights: dict[str, np.ndarray]
    origin: dict[str, str]
    same_as: dict[str, str]

    @property
    def baselines(self) -> list[str]:
        """All but the proposal."""
        return [name for name in self.weights if name != PROPOSAL]

    @property
    def trained(self) -> list[str]:
        """Those that equal no earlier one."""
        return [name for name in self.weights if name not in self.same_as]


def candidates_of(
    proposal: Proposal, where: Path, heuristic: Path | None, known: Domains, swept: Runs, objective: Objective
) -> Candidates:
    """The proposal and its baselines.

    Args:
        where: The file of the proposal.
        heuristic: The file of a heuristic mixture.
        known: The domains, in the order of the sweep's.
        swept: The sweep, of which the run that is best by `objective` is a baseline.

    Raises:
        InputError: If a mixture has other domains than the sweep.
    """
    domains = swept.domains
    best = int(np.argmin(objective.value(swept.losses)))
    weights = {PROPOSAL: Mixture(proposal.weights).aligned(domains, where), "prior": known.prior}
    if heuristic is not None:
        weights["heuristic"] = Mixture.read(heuristic).aligned(domains, heuristic)
    weights |= {"uniform": np.full(len(domains), 1 / len(domains)), "best_seen": swept.weights[best]}
    return Candidates(weights, {"best_seen": f"run {swept.index[best]} of the sweep"}, repeated(weights))


def repeated(mixtures: Mapping[str, np.ndarray]) -> dict[str, str]:
    """Mixtures that equal an earlier one -> its name.

    Treat weights within 2e-4 as equal: sweeps round to a grid of that step, so the uniform mixture of a sweep over 13
    domains is not exactly uniform.
    """
    names = list(mixtures)
    same: dict[str, str] = {}
    for number, name in enumerate(names):
        for earlier in names[:number]:
            if earlier not in same and np.abs(mixtures[name] - mixtures[earlier]).max() <= GRID_STEP:
                same[name] = earlier
                break
    return same


def feeding(
    weights: np.ndarray, known: Domains, budget: int | None, max_epochs: float | None
) -> tuple[dict[str, float] | None, str | None]:
    """Passes over each domain in the final training, and in words the domains that a mixture repeats too often.

    Only the proposal must keep the cap, so a baseline above it is named and not refused.

    Args:
        weights: Shape (num_domains,).
        known: The domains in the same order.
        budget: Tokens of the final training; both results are None without it.
        max_epochs: Passes allowed over a domain.
    """
    if not budget:
        return None, None
    counts = known.true_tokens.tolist()
    epochs = {
        domain: float(weight * budget / tokens) if tokens else float("inf")
        for domain, weight, tokens in zip(known.names, weights, counts, strict=True)
    }
    over = [domain for domain in known.names if max_epochs and epochs[domain] > max_epochs * (1 + 1e-6)]
    if not over:
        return epochs, None
    return epochs, f"{', '.join(f'{domain} {epochs[domain]:.3g}' for domain in over)} epochs, {max_epochs:g} allowed"
