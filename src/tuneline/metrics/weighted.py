"""A metric as a function of how often each row counts.

    rows right, right, wrong      weights [[1, 1, 1],     accuracy [2/3,
                                           [0, 2, 1],               2/3,
                                           [1, 0, 0]]               1]

Ones give the metric itself, the draws of a resample its bootstrap replicate, 0 and 1 a slice of the rows. With whole
numbers it is the metric of the rows written down as often: the tests hold every metric of every task to that.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Weights = NDArray[np.float64]  # (resamples, rows): how often each row counts
Values = NDArray[np.float64]  # (resamples,)
Measure = Callable[[Weights], Values]  # a metric under each line of weights; nan where it is undefined


@dataclass(frozen=True)
class Quotient:
    """The sum of one count over the sum of another, as most metrics are: rows that are right over rows, and the like.

    above, below: of each row, (rows,). empty: the value where rows count, but nothing of below; without any row it is
    undefined.
    """

    above: NDArray[Any]
    below: NDArray[Any]
    empty: float = np.nan

    def __call__(self, weights: Weights) -> Values:
        above, below = sums(weights, self.above, self.below)
        return divided(above, below, without_rows(np.full(len(weights), self.empty), weights))

    @property
    def outcomes(self) -> NDArray[np.bool_] | None:
        """Whether each row is right, where the metric is the share of rows that are; else None. (rows,)"""
        is_share = np.all(self.below == 1) and np.all((self.above == 0) | (self.above == 1))
        return self.above == 1 if is_share else None


def mean(points: NDArray[Any], among: NDArray[Any] | None = None) -> Quotient:
    """The mean of a number per row; among: the rows that it is over, where that is not all of them. (rows,)"""
    counted = np.ones(len(points)) if among is None else np.asarray(among, dtype=np.float64)
    return Quotient(np.asarray(points, dtype=np.float64) * counted, counted)


def of_sums(formula: Callable[[NDArray[np.float64]], Values], *counts: NDArray[Any]) -> Measure:
    """A formula of the sums of counts over all rows; undefined where no row counts.

    counts: of each row, (rows,) each. formula: of their sums, (counts, resamples), to (resamples,).
    """
    return lambda weights: without_rows(formula(sums(weights, *counts)), weights)


def where_any(measure: Measure, counted: NDArray[Any]) -> Measure:
    """The measure, but nan where nothing of a count is there. (rows,)"""
    return lambda weights: np.where(sums(weights, counted)[0] > 0, measure(weights), np.nan)


def sums(weights: Weights, *counts: NDArray[Any]) -> NDArray[np.float64]:
    """The sums of counts over rows, (counts, resamples). For a few of them this is faster than a matrix product, and
    gives the same digits with any number of threads."""
    return np.stack([np.einsum("rn,n->r", weights, np.asarray(each, dtype=np.float64)) for each in counts])


def once(measure: Measure, rows: int) -> float:
    """The metric itself: each row counts once."""
    return float(measure(np.ones((1, rows)))[0])


def divided(above: NDArray[Any], below: NDArray[Any], empty: Values | float) -> Values:
    """above / below, and the value for empty where below is 0."""
    return np.divide(above, below, out=np.full(np.shape(above), empty, dtype=np.float64), where=below > 0)


def without_rows(values: Values, weights: Weights) -> Values:
    """The values, but nan where no row counts. They look right there too, where a sum of nothing is 0."""
    return np.where(weights.any(axis=1), values, np.nan)
