"""Mixtures, model sizes, token counts and losses -> laws of the loss that know the size.

Three published laws, w the weights, N the parameters, D the tokens:

- `additive`: E + 1 / sum_i C_i w_i^g_i + A / N^a + B / D^b (Shukor et al. 2025, arXiv:2507.09404). The best mixture is the
  same at every size.
- `joint`: the same with A and B times (sum_i c_i w_i)^z, one such factor each, so that the best mixture moves with size.
- `bimix`: w^-a (B / S^b + C), w the weight of the target's own domain (Ge et al. 2024, arXiv:2405.14908; its A_i is a
  part of B and C). S is the tokens, or the parameters where only they differ, or the product where both differ. The law
  has no value at a weight of 0, so w stands for w + e, with e fitted.

All parameters are positive and fitted as logarithms, with weak priors that settle what the runs leave open. The priors
matter for the exponents of size, which two scales cannot tell from the floor E. Half of their mass lies between .23 and
.39 (Hoffmann et al. 2022 found .34 and .28), and their width is a part of the intervals of what is predicted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LAWS = ("additive", "joint", "bimix")
"""The laws, the simpler first."""
NUM_STARTS = 6
MAX_STEPS = 60
PROBE = 0.1
"""Part of a step at which the curvature along the step is measured."""
HUBER = 1.5
"""Standard deviations from which on a residual counts by its size, not its square, so that a diverged run bends no law."""
EXPONENT_PRIOR = (float(np.log(0.3)), 0.4)
"""Mean and standard deviation of an exponent's logarithm."""
MIN_GAIN = 1e-4
"""A descent ends when a step gains less log likelihood than this."""
MIN_RELATIVE_STD = 1e-4
"""The least residual standard deviation, in standard deviations of the losses."""


@dataclass(frozen=True)
class Points:
    """Where a law is evaluated.

    Attributes:
        weights: Shape (num_rows, num_domains).
        params: Parameters of the models, shape (num_rows,).
        tokens: Training tokens, shape (num_rows,).
    """

    weights: np.ndarray
    params: np.ndarray
    tokens: np.ndarray


@dataclass
class SizeLaw:
    """One law for one target.

    Args:
        name: One of LAWS.
        own: Position of the target's own domain. Only `bimix` needs it.

    Attributes:
        reference_: Parameters and tokens that sizes are relative to.
        varies_: Whether parameters and tokens differ among the runs. A size that does not differ has no term.
        theta_: Logarithms of the parameters.
        sigma_: Standard deviation of the residuals.
    """

    name: str
    own: int | None = None
    reference_: tuple[float, float] = (1.0, 1.0)
    varies_: tuple[bool, bool] = (False, False)
    theta_: np.ndarray = field(default_factory=lambda: np.zeros(0))
    sigma_: float = 0.0
    _center: np.ndarray = field(default_factory=lambda: np.zeros(0))
    _width: np.ndarray = field(default_factory=lambda: np.ones(0))
    _terms: list[tuple[int, int]] = field(
        default_factory=list
    )  # positions of a term that falls with size and of its exponent

    def fit(self, points: Points, losses: np.ndarray, rng: np.random.Generator) -> "SizeLaw":
        """Least squares with Huber's loss, from several starts."""
        # ---- 1. Units, and which sizes have a term
        sizes = (points.params, points.tokens)
        self.reference_ = (float(np.exp(np.log(sizes[0]).mean())), float(np.exp(np.log(sizes[1]).mean())))
        self.varies_ = (bool(np.ptp(sizes[0]) > 0), bool(np.ptp(sizes[1]) > 0))
        self._set_priors(points, losses)
        spread = float(np.std(losses)) or 1e-9
        everywhere = np.ones(len(losses))

        # ---- 2. The best of several descents, at a guess of the noise
        self.sigma_ = 0.2 * spread
        starts = [self._center + 0.7 * self._width * rng.normal(size=len(self._center)) for _ in range(NUM_STARTS - 1)]
        found = [
            self._descend(start, points, losses, everywhere, self._center, MAX_STEPS)
            for start in (self._center, *starts)
        ]
        self.theta_ = min(found, key=lambda pair: pair[1])[0]

        # ---- 3. Noise and parameters in turn, because Huber's loss depends on the noise
        for _ in range(3):
            residuals = losses - self.predict(points)
            freedom = max(len(losses) - len(self.theta_), len(losses) / 4)
            scatter = 1.4826 * np.median(np.abs(residuals)) * np.sqrt(len(losses) / freedom)
            self.sigma_ = max(float(scatter), MIN_RELATIVE_STD * spread)
            self.theta_ = self._descend(self.theta_, points, losses, everywhere, self._center, MAX_STEPS)[0]
        return self

    def refit(self, points: Points, losses: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Parameters fitted to a bootstrap draw, shape of `theta_`.

        The centers of the priors are drawn from the priors, so that what only the priors settle varies as much as they
        allow (randomise, then optimise: Bardsley et al. 2014).

        Args:
            counts: How often each run is drawn, shape (num_rows,).
        """
        center = self._center + self._width * rng.normal(size=len(self._center))
        return self._descend(self.theta_, points, losses, counts, center, MAX_STEPS)[0]

    def predict(self, points: Points, theta: np.ndarray | None = None) -> np.ndarray:
        """Losses, shape (num_rows,)."""
        return self._value(self.theta_ if theta is None else theta, points)[0]

    def parameters(self, domains: Sequence[str]) -> dict[str, Any]:
        """The fitted parameters by their names in the law. Sizes are relative to `reference`."""
        values = np.exp(self.theta_).tolist()
        named: dict[str, Any] = {"reference": {"params": self.reference_[0], "tokens": self.reference_[1]}}
        for name, value in zip(self._names(domains), values, strict=True):
            key, _, domain = name.partition(" ")
            if domain:
                named.setdefault(key, {})[domain] = value
            else:
                named[key] = value
        return named

    def _names(self, domains: Sequence[str]) -> list[str]:
        params, tokens = self.varies_
        if self.name == "bimix":
            return ["a", "C", "e", *(("B", "b") if params or tokens else ())]
        names = ["E", *(f"C {d}" for d in domains), *(f"g {d}" for d in domains)]
        for varies, term, exponent in ((params, "A", "a"), (tokens, "B", "b")):
            if varies:
                names += [term, exponent]
                if self.name == "joint":
                    names += [f"z_{term}", *(f"c_{term} {d}" for d in domains)]
        return names

    def _set_priors(self, points: Points, losses: np.ndarray) -> None:
        """Centers and widths of the parameters' logarithms, in the order of `_names`."""
        num_domains = points.weights.shape[1]
        spread, low, mean = float(np.std(losses)) or 1e-9, float(losses.min()), float(losses.mean())
        pairs: list[tuple[float, float]]
        if self.name == "bimix":
            pairs = [(np.log(0.1), 1.0), (np.log(0.7 * mean), 1.0), (np.log(0.01), 1.5)]
            if any(self.varies_):
                pairs += [(np.log(0.3 * mean), 1.5), EXPONENT_PRIOR]
        else:
            pairs = [(np.log(0.7 * low), 1.0)]
            pairs += [(-np.log(2 * spread), 2.0)] * num_domains + [(np.log(0.5), 0.7)] * num_domains
            for varies in self.varies_:
                if varies:
                    pairs += [(np.log(spread), 2.0), EXPONENT_PRIOR]
                    if self.name == "joint":
                        pairs += [(0.0, 0.5)] * (1 + num_domains)
        self._center, self._width = (np.array(values) for values in zip(*pairs, strict=True))
        self._terms = [(at - 1, at) for at, pair in enumerate(pairs) if pair == EXPONENT_PRIOR]

    def _value(self, theta: np.ndarray, points: Points) -> tuple[np.ndarray, Callable[[], np.ndarray]]:
        """Losses, and a function for their derivatives by `theta`, shape (num_rows, num_parameters)."""
        p = np.exp(np.clip(theta, -60, 60))
        params, tokens = points.params / self.reference_[0], points.tokens / self.reference_[1]
        if self.name == "bimix":
            assert self.own is not None
            size = params ** self.varies_[0] * tokens ** self.varies_[1]
            base = points.weights[:, self.own] + p[2]
            front = base ** -p[0]
            term = p[3] * size ** -p[4] if any(self.varies_) else np.zeros(len(size))
            value = front * (p[1] + term)

            def bimix_slopes() -> np.ndarray:
                columns = [-p[0] * np.log(base) * value, front * p[1], -p[0] * p[2] / base * value]
                if any(self.varies_):
                    columns += [front * term, -p[4] * np.log(size) * front * term]
                return np.column_stack(columns)

            return value, bimix_slopes
        weights = points.weights
        num_domains = weights.shape[1]
        logs = np.log(np.where(weights > 0, weights, 1.0))
        exponents = p[1 + num_domains : 1 + 2 * num_domains]
        parts = np.where(weights > 0, p[1 : 1 + num_domains] * np.exp(exponents * logs), 0.0)
        total = np.maximum(parts.sum(axis=1), 1e-12)
        terms = []
        at = 1 + 2 * num_domains
        for varies, size in zip(self.varies_, (params, tokens), strict=True):
            if not varies:
                continue
            term = p[at] * size ** -p[at + 1]
            mixed = weights @ p[at + 3 : at + 3 + num_domains] if self.name == "joint" else None
            terms.append((size, term if mixed is None else term * mixed ** p[at + 2], mixed, at))
            at += 2 if mixed is None else 3 + num_domains
        value = p[0] + 1 / total + sum((term for _, term, _, _ in terms), start=np.zeros(len(weights)))

        def slopes() -> np.ndarray:
            inner = -parts / total[:, None] ** 2
            columns = [np.full((len(weights), 1), p[0]), inner, inner * exponents * logs]
            for size, term, mixed, start in terms:
                columns += [term[:, None], (-p[start + 1] * np.log(size) * term)[:, None]]
                if mixed is not None:
                    factors = p[start + 3 : start + 3 + num_domains]
                    columns += [(p[start + 2] * np.log(mixed) * term)[:, None]]
                    columns += [p[start + 2] * (term / mixed)[:, None] * weights * factors]
            return np.hstack(columns)

        return value, slopes

    def _descend(
        self,
        theta: np.ndarray,
        points: Points,
        losses: np.ndarray,
        counts: np.ndarray,
        center: np.ndarray,
        max_steps: int,
    ) -> tuple[np.ndarray, float]:
        """Levenberg's and Marquardt's method on Huber's loss plus the priors, from `theta`.

        Runs settle the level at the reference size and the slope there, while only an exponent tells the floor from the
        terms above it. Steps are therefore taken in level and slope, in place of floor and size of the terms. The valley
        is still curved, so a step follows the second derivative along it (Transtrum and Sethna 2012, arXiv:1201.5885),
        which takes 20 steps where straight ones take 200.
        """

        def cost_of(residuals: np.ndarray, theta: np.ndarray) -> float:
            size = np.abs(residuals)
            huber = np.where(size <= HUBER, 0.5 * size**2, HUBER * (size - 0.5 * HUBER))
            return float(counts @ huber + 0.5 * np.sum(((theta - center) / self._width) ** 2))

        value, slopes = self._value(theta, points)
        residuals = (losses - value) / self.sigma_
        cost, damping = cost_of(residuals, theta), 1e-2
        for _ in range(max_steps):
            J = slopes() / self.sigma_
            trust = counts * np.minimum(1.0, HUBER / np.maximum(np.abs(residuals), 1e-12))
            to_theta = self._valley(theta)
            H = to_theta.T @ ((J * trust[:, None]).T @ J + np.diag(self._width**-2.0)) @ to_theta
            downhill = to_theta.T @ (J.T @ (trust * residuals) - (theta - center) / self._width**2)
            for _ in range(8):  # a step that does not gain is damped and tried again
                damped = H + damping * np.diag(np.diag(H))
                step = np.clip(np.linalg.solve(damped, downhill), -5, 5)
                ahead = self._value(self._moved(theta, PROBE * step), points)[0]
                bend = 2 / PROBE**2 * ((ahead - value) / self.sigma_ - PROBE * (J @ (to_theta @ step)))
                turn = -0.5 * np.linalg.solve(damped, to_theta.T @ (J.T @ (trust * bend)))
                if np.linalg.norm(turn) < 0.75 * np.linalg.norm(step):  # false where not a number
                    step = step + turn
                candidate = self._moved(theta, np.clip(step, -2, 2))
                if np.isfinite(candidate).all():
                    new_value, new_slopes = self._value(candidate, points)
                    new_residuals = (losses - new_value) / self.sigma_
                    new_cost = cost_of(new_residuals, candidate)
                    if new_cost < cost:
                        break
                damping *= 4
            else:
                return theta, cost
            gained = cost - new_cost
            theta, value, residuals, slopes, cost = candidate, new_value, new_residuals, new_slopes, new_cost
            damping = max(damping / 10, 1e-9)
            if gained < MIN_GAIN:
                break
        return theta, cost

    def _moved(self, theta: np.ndarray, step: np.ndarray) -> np.ndarray:
        """`theta` after a step in the coordinates of `_descend`, with nan as the floor where it would be below 0."""
        moved = theta + step
        level = np.exp(theta[self._floor]) + sum(np.exp(theta[term]) for term, _ in self._terms)
        floor = level * np.exp(step[self._floor])
        for term, exponent in self._terms:
            moved[term] = theta[term] + step[term] - step[exponent]
            floor -= np.exp(moved[term])
        moved[self._floor] = np.log(floor) if floor > 0 else np.nan
        return moved

    def _valley(self, theta: np.ndarray) -> np.ndarray:
        """Derivatives of `theta` by the coordinates of `_descend`, which has log level and log slope for floor and term."""
        slopes = np.eye(len(theta))
        floor = np.exp(theta[self._floor])
        slopes[self._floor, self._floor] += sum(np.exp(theta[term]) for term, _ in self._terms) / floor
        for term, exponent in self._terms:
            slopes[term, exponent] = -1
            slopes[self._floor, [term, exponent]] = np.array([-1, 1]) * np.exp(theta[term]) / floor
        return slopes

    @property
    def _floor(self) -> int:
        """Position of the loss that no size goes below (E, or C of `bimix`)."""
        return 1 if self.name == "bimix" else 0
