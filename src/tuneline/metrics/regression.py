"""Scores of predicted numbers against gold ones, arrays of shape (rows,).

Metrics are functions of the weights of the rows (weighted.py). Definitions follow scikit-learn and SciPy, which the
tests hold them to; neither is imported, because these functions travel inside every model folder.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tuneline.metrics.weighted import Measure, Quotient, Values, Weights, divided, mean, of_sums, without_rows

Numbers = NDArray[np.float64]
SAME = 1e-12  # of the mean square: a variance below it is that of equal numbers, but for rounding


def rmse(gold: Numbers, predicted: Numbers) -> Measure:
    """Root of the mean squared error, in the unit of the numbers. Lower is better."""
    mean_square = mean((gold - predicted) ** 2)
    return lambda weights: np.sqrt(mean_square(weights))


def mae(gold: Numbers, predicted: Numbers) -> Quotient:
    """Mean absolute error, in the unit of the numbers. Lower is better."""
    return mean(np.abs(gold - predicted))


def pearson(gold: Numbers, predicted: Numbers) -> Measure:
    """Linear correlation, from -1 to 1. 0 where either side is constant, which shows none (SciPy: nan)."""
    a, b = gold - gold.mean(), predicted - predicted.mean()  # keeps the digits of the sums

    def formula(sums: Numbers) -> Values:
        mean_a, mean_b, square_a, square_b, product = (divided(each, sums[0], np.nan) for each in sums[1:])
        return _correlation(product - mean_a * mean_b, square_a - mean_a**2, square_b - mean_b**2,
                            SAME * square_a, SAME * square_b)  # fmt: skip

    return of_sums(formula, np.ones(len(a)), a, b, a * a, b * b, a * b)


def spearman(gold: Numbers, predicted: Numbers) -> Measure:
    """Correlation of ranks, equal numbers sharing their mean rank. 0 where either side is constant."""
    rank_gold, rank_predicted = _centered_ranks(gold), _centered_ranks(predicted)

    def measure(weights: Weights) -> Values:
        a, b = rank_gold(weights), rank_predicted(weights)
        product, of_a, of_b = (np.einsum("rn,rn,rn->r", weights, *pair) for pair in ((a, b), (a, a), (b, b)))
        return without_rows(_correlation(product, of_a, of_b, 0.0, 0.0), weights)

    return measure


def _correlation(
    product: Values, variance: Values, other: Values, least: Values | float, other_least: Values | float
) -> Values:
    """0 where a variance is not above its least, that of equal numbers."""
    varies = (variance > least) & (other > other_least)
    spread = np.sqrt(np.where(varies, variance * other, 1.0))
    return np.where(varies | np.isnan(product), np.clip(product / spread, -1, 1), 0.0)


def _centered_ranks(numbers: Numbers) -> Callable[[Weights], Numbers]:
    """Ranks of the rows less their mean, as if each row stood there as often as it counts: (resamples, rows)."""
    distinct, which = np.unique(numbers, return_inverse=True)
    order = np.argsort(which, kind="stable")
    first = np.flatnonzero(np.diff(which[order], prepend=-1))

    def ranks(weights: Weights) -> Numbers:
        equal = np.add.reduceat(np.take(weights, order, axis=1), first, axis=1)  # (resamples, distinct numbers)
        middle = np.cumsum(equal, axis=1) - equal / 2
        middle[:, np.isnan(distinct)] = np.nan  # what is no number has no rank
        return np.take(middle - weights.sum(axis=1, keepdims=True) / 2, which, axis=1)

    return ranks
