"""Predicted and measured losses -> how well one ranks and predicts the other."""

import numpy as np

OBJECTIVE = "objective"
"""The name of the objective among the targets of scores.csv, predictions.csv and agreement.csv."""

NOISE = "noise floor"
"""The name, among the models of scores.csv, of the rows that hold the noise over seeds."""

MEASURES = ("spearman", "rmse", "r2", "regret", "recall")
"""What `measures` returns, in this order."""


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of two samples, each of shape (num,); 0 where one of them never varies."""
    from scipy.stats import spearmanr

    return float(spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def regret(predicted: np.ndarray, measured: np.ndarray) -> float:
    """How much higher the measured loss of the mixture with the lowest prediction is than the lowest measured loss.

    Where several predictions are the lowest, the mean of their measured losses counts.
    """
    return float(measured[predicted == predicted.min()].mean() - measured.min())


def measures(y: np.ndarray, predicted: np.ndarray, folds: np.ndarray) -> tuple[float, float, float, float, float]:
    """Spearman, root mean squared error, R2, regret, and recall of one repeat's predictions of held-out runs.

    Spearman is 0 for a model whose predictions never vary within a fold, since it ranks nothing (pooled over folds it
    would be negative: leaving out high losses lowers the mean). Regret is how much higher the loss of the run that the
    model would pick from a fold is than the fold's lowest, averaged over folds; tied picks count by their mean. Recall
    is the share of the best tenth of all runs that is in the predicted best tenth.
    """
    from scipy.stats import spearmanr

    groups = [folds == fold for fold in np.unique(folds)]
    ranks = any(np.ptp(predicted[group]) > 0 for group in groups) and np.ptp(y) > 0
    error = predicted - y
    regret = [y[g][predicted[g] == predicted[g].min()].mean() - y[g].min() for g in groups]
    tenth = max(1, len(y) // 10)
    best, picked = np.argsort(y, kind="stable")[:tenth], np.argsort(predicted, kind="stable")[:tenth]
    return (
        float(spearmanr(y, predicted).statistic) if ranks else 0.0,
        float(np.sqrt(np.mean(error**2))),
        float(1 - np.mean(error**2) / np.var(y)) if np.ptp(y) > 0 else 0.0,
        float(np.mean(regret)),
        len(set(best) & set(picked)) / tenth if ranks else tenth / len(y),
    )
