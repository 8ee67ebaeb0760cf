"""Least squares for a batch of problems at once, which numpy solves faster than one by one."""

import numpy as np


def times(matrices: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """A matrix by a vector, for every pair of the batch."""
    return np.matmul(matrices, vectors[..., None])[..., 0]


def solve_normal(J: np.ndarray, weights: np.ndarray, diagonal: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Solve (J' W J + D) x = right for a batch, with W and D diagonal.

    By the normal equations, or by a system of the size of the runs where these are fewer (Woodbury).

    Args:
        J: Shape (num_problems, num_runs, num_parameters).
        weights: The diagonal of W, shape (num_problems, num_runs).
        diagonal: The diagonal of D, shape (num_problems, num_parameters).
        right: Shape (num_problems, num_parameters).
    """
    num_runs, size = J.shape[1:]
    if num_runs >= size:
        normal = np.matmul((J * weights[..., None]).transpose(0, 2, 1), J)
        normal[:, range(size), range(size)] += diagonal
        return np.linalg.solve(normal, right[..., None])[..., 0]
    scaled = J / diagonal[:, None, :]
    gram = np.matmul(scaled, J.transpose(0, 2, 1))
    gram[:, range(num_runs), range(num_runs)] += 1 / weights
    first = right / diagonal
    runs = np.linalg.solve(gram, times(J, first)[..., None])[..., 0]
    return first - times(scaled.transpose(0, 2, 1), runs)


def ridge_slopes(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Slopes of a ridge regression without intercept, shape (num_columns,); runs count by `weights`, shape (num_runs,)."""
    weights = weights / weights.max()
    ridge = 1e-3 * float((weights[:, None] * X * X).sum()) / X.shape[1]
    return solve_normal(X[None], weights[None] + 1e-12, np.full((1, X.shape[1]), ridge), ((weights * y) @ X)[None])[0]
