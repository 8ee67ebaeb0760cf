"""Residuals of a law at several scales -> the part that every scale has alike, which a further scale will have too."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class LastingResiduals:
    """What a law misses of a mixture at every scale alike.

    Attributes:
        mean: The mean of the mixture's residuals, shrunk towards 0; shape (num_mixtures,). It is 0 for mixtures without a run.
        std: Standard deviation of that, shape (num_mixtures,).
    """

    mean: np.ndarray
    std: np.ndarray


def lasting_residuals(residuals: np.ndarray, mixture: np.ndarray, num_mixtures: int) -> LastingResiduals:
    """The best linear guess of the residuals at another scale.

    The covariance between residuals of one mixture at different scales is the variance of the part that lasts. The rest
    is noise. Where no mixture has two runs, nothing is known to last.

    Args:
        residuals: Of the runs, shape (num_rows,).
        mixture: Which mixture each run has, shape (num_rows,).
    """
    counts = np.bincount(mixture, minlength=num_mixtures)
    sums = np.bincount(mixture, residuals, minlength=num_mixtures)
    squares = np.bincount(mixture, residuals**2, minlength=num_mixtures)
    pairs = (counts * (counts - 1)).sum()
    lasting = max(float((sums**2 - squares).sum() / pairs), 0.0) if pairs else 0.0
    noise = max(float(np.mean(residuals**2)) - lasting, 1e-18)
    return LastingResiduals(
        lasting * sums / (counts * lasting + noise), np.sqrt(lasting * noise / (counts * lasting + noise))
    )
