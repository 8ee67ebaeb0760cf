"""Fitted regressors, one per target -> losses and objectives of mixtures, and how far each may be off."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from regression.data.objective import Objective, Spec
from regression.data.runs import Runs
from regression.models.regressor import JointRandomness, Regressor
from regression.models.threads import in_parallel, single_thread

BLOCK_ROWS = 8192
"""Rows predicted at a time, so that memory does not grow with the number of candidates."""


@dataclass(frozen=True)
class FittedModel:
    """A fitted regressor per target, with standard deviations scaled to the errors on held-out runs.

    Attributes:
        model: Name of the regressors, a key of REGRESSORS, or ensemble.
        preset: The preset asked for, if any.
        objective_spec: The objective by which the model was chosen, resolved (`Objective.spec`).
        runs: The training data; `domains` and `targets` are its columns.
        regressors: One per target.
        std_scale: What a regressor's own standard deviation is multiplied by, shape (num_targets,).
        std_constant: The standard deviation of a regressor that has none of its own, else 0; shape (num_targets,).
        correlation: Of the targets' errors on held-out runs, shape (num_targets, num_targets). The uncertainty of an
            objective depends on it.
        inputs: SHA-256 of the files that were fitted.
        ranks: Whether held-out runs are ranked better than by chance. If not, an optimum means nothing.
    """

    model: str
    preset: str | None
    objective_spec: Spec
    runs: Runs
    regressors: list[Regressor]
    std_scale: np.ndarray
    std_constant: np.ndarray
    correlation: np.ndarray
    inputs: dict[str, str]
    ranks: bool = True

    @property
    def domains(self) -> list[str]:
        """The order of weights in a row of X."""
        return self.runs.domains

    @property
    def targets(self) -> list[str]:
        """The order of losses in a row of predictions."""
        return self.runs.targets

    @property
    def curve_scale(self) -> np.ndarray:
        """What standard deviations of the curves are multiplied by, shape (num_targets,).

        Never below 1: where held-out errors are smaller than expected, there is less run noise, which says nothing of
        the curve.
        """
        return np.maximum(self.std_scale, 1.0)

    @cached_property
    def objective(self) -> Objective:
        """The objective of the fit."""
        return self.objective_of(self.objective_spec)

    def objective_of(self, spec: Spec) -> Objective:
        """Another objective over these targets."""
        return Objective.of(spec, self.targets, self.runs.losses)

    def predict(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Losses and their standard deviations for mixtures in rows of X, each of shape (num_rows, num_targets).

        The standard deviation is that of one run's measured loss: of the curve and of the run around it.
        """
        mean, curve, noise = self._predict(X, np.arange(len(self.targets)))
        return mean, np.hypot(curve, noise)

    def losses(self, X: np.ndarray, used: Sequence[int] | np.ndarray) -> np.ndarray:
        """Losses alone, shape (num_rows, num_targets), of the targets at the positions `used`; the others are nan."""
        losses = np.full((len(X), len(self.targets)), np.nan)
        with single_thread():
            for start in range(0, len(X), BLOCK_ROWS):
                rows = slice(start, start + BLOCK_ROWS)
                for t in used:
                    losses[rows, t] = self.regressors[t].predict(X[rows])
        return losses

    def predict_objective(
        self, X: np.ndarray, objective: Objective, noise: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The objective and its standard deviation per row of X, each of shape (num_rows,).

        Args:
            noise: Whether the standard deviation is that of a run's measured objective, or of the curve alone.
        """
        used = objective.used
        mean, curve, run_noise = self._predict(X, used)
        losses = np.full((len(X), len(self.targets)), np.nan)
        losses[:, used] = mean
        std = np.hypot(curve, run_noise) if noise else curve
        return objective.value(losses), self.aggregated_std(std * objective.slopes(losses)[:, used], used)

    def mean_objective(self, X: np.ndarray, objective: Objective) -> np.ndarray:
        """The objective alone, shape (num_rows,), which is several times as fast as with its standard deviation."""
        return objective.value(self.losses(X, objective.used))

    def gains(self, baselines: np.ndarray, proposal: np.ndarray, objective: Objective) -> tuple[np.ndarray, np.ndarray]:
        """How much lower the objective is at the proposal than at each baseline, and the standard deviation of that.

        What is uncertain about both mixtures alike (the level of the losses) cancels. Run noise is left out. For a
        regressor without covariances the two errors count as independent, which is cautious.

        Args:
            baselines: Shape (B, num_domains).
            proposal: Shape (num_domains,).

        Returns:
            Gains and standard deviations, each of shape (B,).
        """
        X, used = np.vstack([proposal, baselines]), objective.used
        losses = self.losses(X, used)
        slopes = objective.slopes(losses)
        std = np.empty((len(baselines), len(used)))
        same = (X[1:] == X[0]).all(axis=1)
        with single_thread():
            for position, t in enumerate(used):
                covariance = self.regressors[t].covariance(X)
                at, slope = slopes[0, t], slopes[1:, t]
                own = slope**2 * np.diag(covariance)[1:] + at**2 * covariance[0, 0] - 2 * at * slope * covariance[0, 1:]
                alone = (slope**2 + at**2) * self.std_constant[t] ** 2
                variance = self.curve_scale[t] ** 2 * np.maximum(own, 0.0) + np.where(same, 0.0, alone)
                std[:, position] = np.sqrt(variance)
        values = objective.value(losses)
        return values[1:] - values[0], self.aggregated_std(std, used)

    @property
    def has_posterior(self) -> bool:
        """Whether curves are drawn from a posterior, rather than refitted to bootstrap samples."""
        return all(regressor.has_posterior for regressor in self.regressors)

    def posterior_samples(self, num: int, rng: np.random.Generator, workers: int | None = 1) -> list["FittedModel"]:
        """Fits of other curves that the runs allow, spread as this fit is uncertain.

        Gaussian processes and laws draw curves from their posterior, with the errors of the targets correlated and scaled
        as on held-out runs. Other regressors are refitted to bootstrap samples of the runs, all targets to the same sample.
        """
        if self.has_posterior:
            with single_thread():
                return [self._sampled(JointRandomness(rng, self.correlation)) for _ in range(num)]
        num_runs = len(self.runs.index)
        samples = [(np.sort(rng.integers(num_runs, size=num_runs)),) for _ in range(num)]
        return in_parallel(self._refitted, samples, workers, "bootstrap", "samples")

    def _sampled(self, randomness: JointRandomness) -> "FittedModel":
        """One posterior sample of every target."""
        scaled = zip(self.regressors, self.curve_scale, strict=True)
        curves = [r.posterior_sample(randomness, t, scale) for t, (r, scale) in enumerate(scaled)]
        return replace(self, regressors=curves)

    def _refitted(self, rows: np.ndarray) -> "FittedModel":
        """The same model on these rows of the runs, where a row may stand several times."""
        weights, losses = self.runs.weights[rows], self.runs.losses[rows]
        with single_thread():
            return replace(self, regressors=[r.refit(weights, losses[:, t]) for t, r in enumerate(self.regressors)])

    def _predict(self, X: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Means, standard deviations of the curves, and those of the runs around them, for the targets in `used`."""
        X = np.asarray(X, dtype=float)
        means, stds = np.empty((len(X), len(used))), np.empty((len(X), len(used)))
        with single_thread():
            for start in range(0, len(X), BLOCK_ROWS):
                rows = slice(start, start + BLOCK_ROWS)
                for position, t in enumerate(used):
                    means[rows, position], stds[rows, position] = self.regressors[t].predict(X[rows], return_std=True)
        noise = np.array([self.regressors[t].noise_ for t in used])
        curve = self.curve_scale[used] * np.sqrt(np.maximum(stds**2 - noise**2, 0.0))
        return (
            means,
            np.hypot(curve, self.std_constant[used]),
            np.broadcast_to(self.std_scale[used] * noise, stds.shape),
        )

    def aggregated_std(self, scaled: np.ndarray, used: np.ndarray) -> np.ndarray:
        """Standard deviation of the sum of correlated errors, shape (num_rows,).

        Args:
            scaled: Standard deviation of each target's error, times its weight; shape (num_rows, len(used)).
            used: Positions of the targets.
        """
        correlation = self.correlation[np.ix_(used, used)]
        return np.sqrt(np.maximum(np.einsum("ni,ij,nj->n", scaled, correlation, scaled), 0.0))
