"""The covariance of a Gaussian process: Matern 5/2 with a length for each feature, a linear part, and a constant."""

from dataclasses import dataclass

import numpy as np

LEVEL_VARIANCE = 1.0
"""Prior variance of the level, in units of the variance of the logarithms of the losses."""


@dataclass(frozen=True)
class Kernel:
    """amplitude * matern(a, b) + slope * a.b / num_features + LEVEL_VARIANCE.

    Matern 5/2 ranks better than the squared exponential on subsets of 64 of RegMix's runs (median Spearman .981 against
    .975), and its intervals hold (90% intervals cover .89 against .87).

    Attributes:
        lengths: Shape (num_features,).
        amplitude: Variance of the Matern part.
        slope: Variance of the linear part where the features have length sqrt(num_features).
    """

    lengths: np.ndarray
    amplitude: float
    slope: float

    def __call__(self, A: np.ndarray, B: np.ndarray) -> np.ndarray:
        """Covariances between the rows of A and of B, shape (len(A), len(B))."""
        return self.with_derivative(A, B)[0]

    def with_derivative(self, A: np.ndarray, B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Covariances, and the derivative of the Matern part that `slopes` needs."""
        smooth, derivative = matern(squared_distances(A / self.lengths, B / self.lengths))
        return self.amplitude * smooth + self.slope / A.shape[1] * (A @ B.T) + LEVEL_VARIANCE, derivative

    def variance(self, A: np.ndarray) -> np.ndarray:
        """The diagonal of the covariances of A with itself."""
        return self.amplitude + self.slope / A.shape[1] * np.einsum("ij,ij->i", A, A) + LEVEL_VARIANCE

    def slopes(self, A: np.ndarray, B: np.ndarray, derivative: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Slopes along the features of sum_n weights_n kernel(a, B_n), for every row a of A; shape of A.

        Args:
            A: Shape (num_rows, num_features).
            B: Shape (num_others, num_features).
            derivative: From `with_derivative(A, B)`.
            weights: Shape (num_rows, num_others).
        """
        pull = self.amplitude * derivative * weights
        smooth = (pull @ B - pull.sum(axis=1, keepdims=True) * A) / self.lengths**2
        return np.asarray(smooth + self.slope / A.shape[1] * (weights @ B))


def squared_distances(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """Between the rows of A and of B, shape (len(A), len(B))."""
    squares = np.einsum("ij,ij->i", A, A)[:, None] + np.einsum("ij,ij->i", B, B)[None, :] - 2 * (A @ B.T)
    return np.maximum(squares, 0.0)


def matern(squared: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Matern 5/2 of squared distances, and its derivative in log length per squared scaled distance along a feature."""
    root = np.sqrt(5 * squared)
    decay = np.exp(-root)
    return (1 + root + root * root / 3) * decay, 5 / 3 * (1 + root) * decay
