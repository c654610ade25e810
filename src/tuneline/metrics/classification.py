"""Scores of a classifier, from whole columns of labels and probabilities.

Label arrays are integer codes of shape (rows,); probabilities have shape (rows, labels). Metrics are functions of the
weights of the rows (weighted.py). Definitions follow scikit-learn, which the tests hold them to; scikit-learn itself is
not imported because these functions travel inside every model folder.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tuneline.metrics.weighted import Measure, Quotient, Values, Weights, divided, mean

Codes = NDArray[np.int64]
Scores = NDArray[np.float64]
# Rows that are right, in gold, and predicted, of each label: (resamples, labels) each.
LabelCounts = Callable[[Weights], tuple[Scores, Scores, Scores]]
LEAST = 1e-12  # probability, so that its logarithm is finite


def confusion_matrix(gold: Codes, predicted: Codes, labels: int) -> NDArray[np.int64]:
    """Counts of shape (labels, labels): gold label down, predicted label across."""
    flat = np.bincount(gold * labels + predicted, minlength=labels * labels)
    return flat.reshape(labels, labels)


def per_label(matrix: NDArray[np.int64]) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of each label. An empty denominator scores zero."""
    return score_lines(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def score_lines(hits: Codes, support: Codes, predicted: Codes) -> list[dict[str, float]]:
    """Precision, recall, F1 and support from three counts of each label: right, in gold, predicted. (labels,)"""
    precision, recall = divided(hits, predicted, 0.0), divided(hits, support, 0.0)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for p, r, f, n in zip(precision, recall, _f1(hits, support, predicted), support, strict=True)
    ]


def accuracy(gold: Codes, predicted: Codes) -> Quotient:
    """Share of rows whose predicted label is the gold one."""
    return mean(gold == predicted)


def log_loss(gold: Codes, probabilities: Scores) -> Quotient:
    """Mean of minus the logarithm of the gold label's probability, in nats. Lower is better."""
    return mean(-np.log(np.clip(probabilities[np.arange(len(gold)), gold], LEAST, None)))


def label_counts(gold: Codes, predicted: Codes, labels: int) -> LabelCounts:
    """Of rows with one gold and one predicted label each."""
    cells, which = np.unique(gold * labels + predicted, return_inverse=True)
    order = np.argsort(which, kind="stable")
    first = np.searchsorted(which[order], np.arange(len(cells)))
    in_gold, in_predicted = (np.eye(labels)[codes] for codes in np.divmod(cells, labels))

    def counts(weights: Weights) -> tuple[Scores, Scores, Scores]:
        confusion = np.add.reduceat(np.take(weights, order, axis=1), first, axis=1)  # (resamples, cells)
        return confusion @ (in_gold * in_predicted), confusion @ in_gold, confusion @ in_predicted

    return counts


def table_counts(hits: NDArray[Any], support: NDArray[Any], predicted: NDArray[Any]) -> LabelCounts:
    """Of rows that each have counts of every label: tables of shape (rows, labels)."""
    tables = [np.asarray(table, dtype=np.float64) for table in (hits, support, predicted)]

    def counts(weights: Weights) -> tuple[Scores, Scores, Scores]:
        right, there, found = (weights @ table for table in tables)
        return right, there, found

    return counts


def macro_f1(counts: LabelCounts) -> Measure:
    """Mean F1 over the labels that occur in the gold rows; undefined where none does."""

    def measure(weights: Weights) -> Values:
        right, there, found = counts(weights)
        occurs = there > 0
        return divided((_f1(right, there, found) * occurs).sum(axis=1), occurs.sum(axis=1), np.nan)

    return measure


def weighted_f1(counts: LabelCounts) -> Measure:
    """Mean F1 over labels, weighted by how often each occurs in the gold rows; undefined where none does."""

    def measure(weights: Weights) -> Values:
        right, there, found = counts(weights)
        return divided((_f1(right, there, found) * there).sum(axis=1), there.sum(axis=1), np.nan)

    return measure


def roc_auc(gold: Codes, scores: Scores) -> Measure:
    """Area under the ROC curve: the chance that a positive row scores above a negative one, equal scores counting
    half. Undefined where rows are all positive or all negative."""
    by_threshold = _by_threshold(gold, scores)

    def measure(weights: Weights) -> Values:
        true, false = by_threshold(weights)
        reached = np.cumsum(true, axis=1)
        right = np.einsum("rt,rt->r", reached, false) - np.einsum("rt,rt->r", true, false) / 2
        return divided(right, reached[:, -1] * false.sum(axis=1), np.nan)

    return measure


def average_precision(gold: Codes, scores: Scores, rows: Codes | None = None) -> Measure:
    """Area under the precision-recall curve as a sum of steps (no interpolation). Undefined without a positive row.

    rows: the row that each gold and score is of, where a row has several.
    """
    reached = scores >= scores[gold == 1].min(initial=np.inf)  # no threshold below the last positive adds anything
    kept = np.flatnonzero(reached)
    by_threshold = _by_threshold(gold[kept], scores[kept], kept if rows is None else rows[kept])

    def measure(weights: Weights) -> Values:
        true, false = by_threshold(weights)
        found = np.cumsum(true, axis=1)
        precision = divided(found, found + np.cumsum(false, axis=1), 0.0)
        return divided(np.einsum("rt,rt->r", true, precision), true.sum(axis=1), np.nan)

    return measure


def roc_curve(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """False and true positive rates at each distinct threshold, from the highest down, starting at (0, 0)."""
    true, false = _counts_by_threshold(gold, scores)
    return np.r_[0.0, false / max(false[-1], 1)], np.r_[0.0, true / max(true[-1], 1)]


def precision_recall_curve(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """Recall and precision at each distinct threshold, from the highest down, starting at (0, 1)."""
    true, false = _counts_by_threshold(gold, scores)
    return np.r_[0.0, true / max(true[-1], 1)], np.r_[1.0, true / (true + false)]


def f1_by_threshold(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """The distinct scores, from the highest down, and the F1 when everything at or above each is called positive."""
    true, false = _counts_by_threshold(gold, scores)
    return np.unique(scores)[::-1], _f1(true, gold.sum(), true + false)


def sigmoid(logits: NDArray[Any]) -> Scores:
    """The probability of each logit by itself."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))  # no large logit overflows


def softmax(logits: NDArray[Any]) -> Scores:
    """Probabilities over the last axis."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _counts_by_threshold(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """True and false positives when everything at or above each distinct score is called positive."""
    true, false = _by_threshold(gold, scores, merged=False)(np.ones((1, len(gold))))
    return np.cumsum(true[0]), np.cumsum(false[0])


def _by_threshold(
    gold: Codes, scores: Scores, rows: Codes | None = None, *, merged: bool = True
) -> Callable[[Weights], tuple[Scores, Scores]]:
    """Positives and negatives at each distinct score, from the highest down: (resamples, scores) each.

    merged: scores without a positive that follow each other count as one. Areas are the same, and sooner found.
    """
    order = np.argsort(-scores, kind="stable")
    is_gold, source = gold[order] == 1, order if rows is None else rows[order]
    first = np.flatnonzero(np.diff(scores[order], prepend=np.inf))
    if merged and len(first):
        only_negative = ~np.logical_or.reduceat(is_gold, first)
        first = first[~(only_negative & np.r_[False, only_negative[:-1]])]
    of_positive = np.searchsorted(first, np.flatnonzero(is_gold), side="right") - 1
    groups, first_positive = np.unique(of_positive, return_index=True)

    def counts(weights: Weights) -> tuple[Scores, Scores]:
        true = np.zeros((len(weights), len(first)))
        true[:, groups] = _added(np.take(weights, source[is_gold], axis=1), first_positive)
        return true, _added(np.take(weights, source, axis=1), first) - true

    return counts


def _added(values: Scores, first: NDArray[np.int64]) -> Scores:
    """Sums over neighbouring columns, from each of first to the next: (resamples, columns) to (resamples, sums)."""
    return values if len(first) == values.shape[1] else np.add.reduceat(values, first, axis=1)


def _f1(hits: NDArray[Any], support: NDArray[Any], predicted: NDArray[Any]) -> Scores:
    """Of each label; 0 where it neither occurs nor is predicted."""
    return divided(2.0 * hits, support + predicted, 0.0)
