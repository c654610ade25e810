"""How far a metric would move with other rows of the same kind: the bootstrap (Efron and Tibshirani 1993, chapter 13).

    4 rows, 3 resamples    [[1, 0, 2, 1],     each line: how often each row was drawn, of 4 draws with replacement
                            [0, 0, 1, 3],
                            [2, 1, 0, 1]]

A metric is computed under each line; the middle 95% of its values is its percentile interval. Rows are taken to be
independent of each other. Where rows come in groups, such as questions about one text, intervals are too narrow.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from tuneline.metrics.weighted import Measure, Values, Weights

SEED = 0
MOST_NUMBERS = 1_000_000  # in the weights at once; a measure holds some arrays of this size, 8 MB each
MOST_UNDEFINED = 0.05  # of the resamples: with more, what is left says nothing of the rest
FEWEST_ROWS = 2  # every resample of a single row is that row


def resamples_of(rows: int, resamples: int, seed: int = SEED) -> Iterator[Weights]:
    """Weights, some resamples at a time. The same seed gives the same ones."""
    generator = np.random.default_rng(seed)
    for count in chunks(rows, resamples):
        drawn = generator.integers(0, rows, (count, rows)) + np.arange(count)[:, None] * rows
        yield np.bincount(drawn.ravel(), minlength=count * rows).reshape(count, rows).astype(np.float64)


def chunks(rows: int, resamples: int) -> Iterator[int]:
    """How many resamples to hold at a time."""
    together = max(1, MOST_NUMBERS // max(rows, 1))
    for start in range(0, resamples, together):
        yield min(together, resamples - start)


def replicates(measures: Mapping[str, Measure], rows: int, resamples: int, seed: int = SEED) -> dict[str, Values]:
    """Each metric under the same resamples of the rows, (resamples,); nan where one leaves it undefined."""
    found = [{name: measure(weights) for name, measure in measures.items()}
             for weights in resamples_of(rows, resamples, seed)]  # fmt: skip
    return {name: np.concatenate([each[name] for each in found]) for name in measures}


def intervals(
    measures: Mapping[str, Measure], rows: int, *, confidence: float, resamples: int, seed: int = SEED
) -> dict[str, tuple[float, float]]:
    """The percentile interval of each metric that has one."""
    if rows < FEWEST_ROWS:
        return {}
    found = {name: interval(values, confidence)
             for name, values in replicates(measures, rows, resamples, seed).items()}  # fmt: skip
    return {name: each for name, each in found.items() if each is not None}


def interval(values: Values, confidence: float) -> tuple[float, float] | None:
    """The middle share of the replicates. confidence: that share.

    Resamples that leave the metric undefined, such as a ROC AUC without a positive row, are left out. None where they
    are more than MOST_UNDEFINED of all.
    """
    known = defined(values)
    if known is None:
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def defined(values: Values) -> Values | None:
    """The replicates that are numbers; None where too few are."""
    known = values[~np.isnan(values)]
    return known if len(known) >= (1 - MOST_UNDEFINED) * len(values) else None
