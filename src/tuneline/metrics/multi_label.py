"""Scores where a row has any number of labels, from whole tables of decisions and probabilities.

    gold       [[1, 0, 1],     predicted  [[1, 0, 0],    micro F1 2·1/(2 + 1) = 0.67, subset accuracy 0.5,
                [0, 0, 0]]                 [0, 0, 0]]    hamming loss 1/6, Jaccard of each row 0.5 and 1

Tables have shape (rows, labels) and hold 0 and 1; probabilities have the same shape. Metrics are functions of the
weights of the rows (weighted.py). Definitions follow scikit-learn, which the tests hold them to.
"""

import numpy as np
from numpy.typing import NDArray

from tuneline.metrics.classification import (
    LEAST,
    LabelCounts,
    Scores,
    average_precision,
    f1_by_threshold,
    score_lines,
    table_counts,
)
from tuneline.metrics.weighted import Measure, Quotient, Values, Weights, mean

Table = NDArray[np.int64]

FEWEST_ROWS = 5  # with a label, and without it: a threshold chosen on fewer says more of these rows than of the label
USUAL_THRESHOLD = 0.5
MOST_CELLS = 10_000_000  # looked at at once: of some tens of megabytes for each array in use


def per_label(gold: Table, predicted: Table) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of each label. An empty denominator scores zero."""
    return score_lines((gold & predicted).sum(axis=0), gold.sum(axis=0), predicted.sum(axis=0))


def micro_f1(gold: Table, predicted: Table) -> Quotient:
    """F1 over all cells together: a frequent label counts more. 0 where no label stands in either table."""
    return Quotient(2 * (gold & predicted).sum(axis=1), (gold + predicted).sum(axis=1), empty=0.0)


def label_counts(gold: Table, predicted: Table) -> LabelCounts:
    """What classification.macro_f1 is a function of."""
    return table_counts(gold & predicted, gold, predicted)


def subset_accuracy(gold: Table, predicted: Table) -> Quotient:
    """Share of rows whose labels are all right, and none too many."""
    return mean((gold == predicted).all(axis=1))


def hamming_loss(gold: Table, predicted: Table) -> Quotient:
    """Share of cells that are wrong. Lower is better."""
    return mean((gold != predicted).mean(axis=1))


def log_loss(gold: Table, probabilities: Scores) -> Quotient:
    """Mean over all cells of minus the logarithm of the probability of what is right, in nats. Lower is better."""
    right = np.where(gold == 1, probabilities, 1 - probabilities)
    return mean(-np.log(np.clip(right, LEAST, None)).mean(axis=1))


def jaccard(gold: Table, predicted: Table) -> Scores:
    """Of each row, labels in both over labels in either; 1 where neither has any. (rows,)"""
    either = (gold | predicted).sum(axis=1)
    return np.divide((gold & predicted).sum(axis=1), either, out=np.ones(len(gold)), where=either > 0)


def micro_average_precision(gold: Table, probabilities: Scores) -> Measure:
    """Average precision over all cells together; undefined where no row has a label."""
    of_cell = np.repeat(np.arange(len(gold)), gold.shape[1])
    whole = average_precision(gold.ravel(), probabilities.ravel(), of_cell)
    together = max(1, MOST_CELLS // max(gold.size, 1))

    def measure(weights: Weights) -> Values:
        return np.concatenate([whole(weights[at : at + together]) for at in range(0, len(weights), together)])

    return measure


def thresholds(gold: Table, probabilities: Scores) -> list[float]:
    """Of each label, the probability from which on it is best given: the one with the highest F1 on these rows.

    Halfway to the next lower probability, and of equally good ones the nearest to 0.5. A label that fewer than
    FEWEST_ROWS rows have, or lack, keeps 0.5: chosen on so few, thresholds of rare labels come out too high or too
    low (Fan and Lin 2007, "A Study on Threshold Selection for Multi-label Classification", on SCut).
    """
    return [_threshold(*column) for column in zip(gold.T, probabilities.T, strict=True)]


def _threshold(gold: Table, probabilities: Scores) -> float:
    if min(gold.sum(), len(gold) - gold.sum()) < FEWEST_ROWS:
        return USUAL_THRESHOLD
    chances, f1 = f1_by_threshold(gold, probabilities)
    halfway = (chances + np.r_[chances[1:], 0.0]) / 2
    best = halfway[f1 == f1.max()]
    return float(best[np.abs(best - USUAL_THRESHOLD).argmin()])
