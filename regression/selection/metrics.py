"""Predicted and measured losses -> how well one ranks and predicts the other."""

import numpy as np
from numpy.typing import ArrayLike

OBJECTIVE = "objective"
"""The name of the objective among the targets of scores.csv, predictions.csv and agreement.csv."""
NOISE = "noise floor"
"""The name, among the models of scores.csv, of the rows that hold the noise over seeds."""
MEASURES = ("spearman", "rmse", "r2", "regret", "recall")
"""What `measures` returns, in this order."""


def spearman(a: ArrayLike, b: ArrayLike) -> float:
    """Spearman's rank correlation of two samples, each of shape (num,); 0 where one of them never varies."""
    from scipy.stats import spearmanr

    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def spearman_of_rows(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """`spearman` of every row of A with the same row of B (of bootstrap draws, say); shape (num_rows,)."""
    from scipy.stats import rankdata

    a, b = (ranks - ranks.mean(axis=-1, keepdims=True) for ranks in (rankdata(A, axis=-1), rankdata(B, axis=-1)))
    size = np.sqrt((a**2).sum(axis=-1) * (b**2).sum(axis=-1))
    return np.asarray(np.divide((a * b).sum(axis=-1), size, out=np.zeros_like(size), where=size > 0))


def spearman_of_columns(A: np.ndarray, B: np.ndarray) -> np.ndarray:
    """`spearman` of every column of A with every column of B, nan where a column does not vary.

    Args:
        A: Shape (num, num_a).
        B: Shape (num, num_b).

    Returns:
        Shape (num_a, num_b).
    """
    from scipy.stats import rankdata

    a, b = (rankdata(values, axis=0) for values in (A, B))
    a, b = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((a.T @ b) / np.sqrt((a**2).sum(axis=0)[:, None] * (b**2).sum(axis=0)))


def regret(predicted: np.ndarray, measured: np.ndarray) -> float:
    """How much higher the measured loss of the mixture with the lowest prediction is than the lowest measured loss.

    Where several predictions are the lowest, the mean of their measured losses counts.
    """
    return float(measured[predicted == predicted.min()].mean() - measured.min())


def measures(y: np.ndarray, predicted: np.ndarray, folds: np.ndarray) -> tuple[float, float, float, float, float]:
    """Spearman, root mean squared error, R2, regret, and recall of one repeat's predictions of held-out runs.

    Returns:
        Spearman is 0 for a model whose predictions never vary within a fold, because it ranks nothing; pooled over folds it
        would be negative, since leaving out high losses lowers the mean. Regret is the mean over folds. Recall is the share
        of the best tenth of all runs that is in the predicted best tenth.
    """
    groups = [folds == fold for fold in np.unique(folds)]
    ranks = any(np.ptp(predicted[group]) > 0 for group in groups) and np.ptp(y) > 0
    error = predicted - y
    tenth = max(1, len(y) // 10)
    best, picked = np.argsort(y, kind="stable")[:tenth], np.argsort(predicted, kind="stable")[:tenth]
    return (
        spearman(y, predicted) if ranks else 0.0,
        float(np.sqrt(np.mean(error**2))),
        float(1 - np.mean(error**2) / np.var(y)) if np.ptp(y) > 0 else 0.0,
        float(np.mean([regret(predicted[group], y[group]) for group in groups])),
        len(set(best) & set(picked)) / tenth if ranks else tenth / len(y),
    )
