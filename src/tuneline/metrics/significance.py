"""Whether one model is better than another on the same rows, or only on these rows by chance.

    paired bootstrap            both models on the same resamples: how far the gain would move with other rows
    McNemar's exact test        where rows are right or wrong: of those that one model alone has right, whose are they
    approximate randomisation   for any metric: how often a gain as large comes from swapping the models' predictions

Sources: Efron and Tibshirani 1993; Koehn 2004, "Statistical significance tests for machine translation evaluation";
McNemar 1947; Yeh 2000, "More accurate tests for the statistical significance of result differences"; Riezler and
Maxwell 2005; Dror et al. 2018, "The hitchhiker's guide to testing statistical significance in NLP".
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneline.metrics.resampling import SEED, chunks, replicates
from tuneline.metrics.weighted import Measure, Values

ROUNDING = 1e-9  # of a metric: two that should be equal may differ by as much


def bootstrap_differences(first: Measure, second: Measure, rows: int, *, resamples: int, seed: int = SEED) -> Values:
    """The metric of the first model less that of the second, under each resample of the rows. (resamples,)"""
    found = replicates({"first": first, "second": second}, rows, resamples, seed)
    return found["first"] - found["second"]


def share_with_correction(hits: int, draws: int) -> float:
    """The p-value that so many of the draws say: what was observed is counted among them, so it is never 0 (Davison
    and Hinkley 1997, chapter 4)."""
    return (hits + 1) / (draws + 1)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """The two-sided p-value that two models are right equally often. first, second: whether each row is right, (rows,).

    Only rows that one model alone has right count: under no difference each is the one's or the other's by the toss of
    a coin. Exact, by whole numbers. 1 where there is no such row.
    """
    gained, lost = int((first & ~second).sum()), int((second & ~first).sum())
    tosses, fewer = gained + lost, min(gained, lost)
    ways, tail = 1, 0  # `tosses` choose k, and the sum of them up to k
    for k in range(fewer + 1):
        tail += ways
        ways = ways * (tosses - k) // (k + 1)
    return min(1.0, 2 * tail / 2**tosses)


def randomisation(mixed: Measure, rows: int, *, resamples: int, seed: int = SEED) -> float:
    """The two-sided p-value that two models are equal by a metric, by approximate randomisation.

    mixed: the metric over the predictions of the first model, then those of the second, of the same rows in the same
    order: a function of (resamples, 2 * rows) weights. Each draw swaps the two predictions of every row by the toss of
    a coin. A draw that leaves the metric undefined counts as one that is as large.
    """
    generator = np.random.default_rng(seed)
    first, second = (values[0] for values in _swapped(mixed, np.zeros((1, rows))))
    as_large = abs(first - second) - ROUNDING * max(abs(first), abs(second))
    hits = 0
    for count in chunks(2 * rows, resamples):
        swapped = generator.integers(0, 2, (count, rows)).astype(np.float64)
        first, second = _swapped(mixed, swapped)
        hits += int((~(np.abs(first - second) < as_large)).sum())
    return share_with_correction(hits, resamples)


def _swapped(mixed: Measure, swapped: NDArray[Any]) -> tuple[Values, Values]:
    """The metric of the first model and of the second, after the predictions of some rows changed sides.

    swapped: 1 where they do, (resamples, rows).
    """
    first = np.concatenate([1 - swapped, swapped], axis=1)
    return mixed(first), mixed(1 - first)
