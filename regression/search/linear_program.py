"""The demands on a mixture as rows of a linear program -> proven bounds, and the lowest point of several planes."""

import math
from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class LinearProgram:
    """A polytope of x = (weights, slacks): above @ x <= bounds, whole @ x = 1, low <= x <= high."""

    above: np.ndarray
    bounds: np.ndarray
    whole: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def with_rows(self, slopes: np.ndarray, most: np.ndarray) -> "LinearProgram":
        """The same with slopes @ weights <= most, shapes (num_rows, num_domains) and (num_rows,), as well."""
        rows = np.hstack([slopes, np.zeros((len(slopes), len(self.low) - slopes.shape[1]))])
        return replace(self, above=np.vstack([self.above, rows]), bounds=np.append(self.bounds, most))

    def lower_bound(self, slopes: np.ndarray) -> float:
        """A number that slopes @ weights, slopes of shape (num_domains,), is nowhere below; the lowest up to rounding.

        Multipliers of the right sign always prove a bound, so the bound holds however the solver rounded its own.
        """
        from scipy.optimize import linprog

        cost = np.append(slopes, np.zeros(len(self.low) - len(slopes)))
        box = np.stack([self.low, self.high], axis=1)
        answer = linprog(cost, self.above, self.bounds, self.whole, [1.0], box, method="highs")
        if answer.x is None:
            return -math.inf
        prices, price = np.minimum(answer.ineqlin.marginals, 0.0), answer.eqlin.marginals
        reduced = cost - self.above.T @ prices - self.whole.T @ price
        return float(prices @ self.bounds + price.sum() + np.minimum(reduced * self.low, reduced * self.high).sum())

    def lowest_of_largest(
        self, values: np.ndarray, slopes: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Where the largest of several planes, values + slopes @ weights, is lowest, and which planes matter there.

        Args:
            values: Shape (num_planes,).
            slopes: Shape (num_planes, num_domains).
            low: Floors, at least those of the polytope, shape (num_domains,).

        Returns:
            Weights (to the solver's precision), and the multipliers of the planes, which sum to 1; None if the solver
            fails.
        """
        from scipy.optimize import linprog

        num_domains, num = slopes.shape[1], len(self.low)
        above = np.block([
            [self.above, np.zeros((len(self.above), 1))],
            [slopes, np.zeros((len(slopes), num - num_domains)), np.full((len(slopes), 1), -1.0)],
        ])  # fmt: skip
        box = np.stack([np.append(self.low, -np.inf), np.append(self.high, np.inf)], axis=1)
        box[:num_domains] = np.stack([low, high], axis=1)
        cost, whole = np.append(np.zeros(num), 1.0), np.hstack([self.whole, [[0.0]]])
        answer = linprog(cost, above, np.append(self.bounds, -values), whole, [1.0], box, method="highs")
        if answer.x is None:
            return None
        multipliers = np.maximum(-answer.ineqlin.marginals[len(self.above) :], 0.0)
        total = multipliers.sum()
        even = np.full(len(values), 1 / len(values))
        return answer.x[:num_domains], multipliers / total if total > 0 else even
