"""Scores of predicted numbers against gold ones, arrays of shape (rows,).

Definitions follow scikit-learn and SciPy, which the tests hold them to; neither is imported, because these functions
travel inside every model folder.
"""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


def rmse(gold: Numbers, predicted: Numbers) -> float:
    """Root of the mean squared error, in the unit of the numbers. Lower is better."""
    return float(np.sqrt(np.mean((gold - predicted) ** 2)))


def mae(gold: Numbers, predicted: Numbers) -> float:
    """Mean absolute error, in the unit of the numbers. Lower is better."""
    return float(np.mean(np.abs(gold - predicted)))


def pearson(gold: Numbers, predicted: Numbers) -> float:
    """Linear correlation, from -1 to 1. 0 where either side is constant, which shows none (SciPy: nan)."""
    a, b = gold - gold.mean(), predicted - predicted.mean()
    spread = np.linalg.norm(a) * np.linalg.norm(b)
    constant = np.ptp(gold) == 0 or np.ptp(predicted) == 0 or spread == 0
    return 0.0 if constant else float(np.clip(a @ b / spread, -1, 1))


def spearman(gold: Numbers, predicted: Numbers) -> float:
    """Correlation of ranks, equal numbers sharing their mean rank."""
    return pearson(_ranks(gold), _ranks(predicted))


def _ranks(numbers: Numbers) -> Numbers:
    """Ranks from 1, of equal numbers their mean."""
    _, which, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Numbers = (last - (counts - 1) / 2)[which]
    return ranks
