"""Scores of a classifier, from whole columns of labels and probabilities.

Label arrays are integer codes of shape (rows,); probabilities have shape (rows, labels).
Definitions follow scikit-learn, which the tests hold them to; scikit-learn itself is not imported because
these functions travel inside every model folder.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.int64]
Scores = NDArray[np.float64]


def confusion_matrix(gold: Codes, predicted: Codes, labels: int) -> NDArray[np.int64]:
    """Counts of shape (labels, labels): gold label down, predicted label across."""
    flat = np.bincount(gold * labels + predicted, minlength=labels * labels)
    return flat.reshape(labels, labels)


def accuracy(gold: Codes, predicted: Codes) -> float:
    """Share of rows whose predicted label is the gold one."""
    return float(np.mean(gold == predicted))


def per_label(matrix: NDArray[np.int64]) -> list[dict[str, float]]:
    """Precision, recall, F1 and support of each label. An empty denominator scores zero."""
    return score_lines(np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0))


def score_lines(hits: Codes, support: Codes, predicted: Codes) -> list[dict[str, float]]:
    """Precision, recall, F1 and support from three counts of each label: right, in gold, predicted. (labels,)"""
    precision = _ratio(hits, predicted)
    recall = _ratio(hits, support)
    f1 = _ratio(2 * hits, support + predicted)
    return [
        {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(n)}
        for p, r, f, n in zip(precision, recall, f1, support, strict=True)
    ]


def macro_f1(table: list[dict[str, float]]) -> float:
    """Mean F1 over the labels that occur in the gold rows."""
    return float(np.mean([row["f1"] for row in table if row["support"]]))


def weighted_f1(table: list[dict[str, float]]) -> float:
    """Mean F1 over labels, weighted by how often each occurs in the gold rows."""
    return float(np.average([row["f1"] for row in table], weights=[row["support"] for row in table]))


def roc_curve(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """False and true positive rates at each distinct threshold, from the highest down, starting at (0, 0)."""
    true, false = _counts_by_threshold(gold, scores)
    return np.r_[0.0, false / max(false[-1], 1)], np.r_[0.0, true / max(true[-1], 1)]


def precision_recall_curve(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """Recall and precision at each distinct threshold, from the highest down, starting at (0, 1)."""
    true, false = _counts_by_threshold(gold, scores)
    return np.r_[0.0, true / max(true[-1], 1)], np.r_[1.0, true / (true + false)]


def roc_auc(gold: Codes, scores: Scores) -> float:
    """Area under the ROC curve: the chance that a positive row scores above a negative one."""
    false_rate, true_rate = roc_curve(gold, scores)
    return float(np.trapezoid(true_rate, false_rate))


def average_precision(gold: Codes, scores: Scores) -> float:
    """Area under the precision-recall curve as a sum of steps (no interpolation)."""
    recall, precision = precision_recall_curve(gold, scores)
    return float(np.sum(np.diff(recall) * precision[1:]))


def f1_by_threshold(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """The distinct scores, from the highest down, and the F1 when everything at or above each is called positive."""
    true, false = _counts_by_threshold(gold, scores)
    return np.unique(scores)[::-1], _ratio(2 * true, true + false + gold.sum())


def sigmoid(logits: NDArray[Any], temperature: float = 1.0) -> Scores:
    """The probability of each logit by itself."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64) / temperature))  # no large logit overflows


def softmax(logits: NDArray[Any], temperature: float = 1.0) -> Scores:
    """Probabilities over the last axis."""
    shifted = np.exp((logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)) / temperature)
    return shifted / shifted.sum(axis=-1, keepdims=True)


def _counts_by_threshold(gold: Codes, scores: Scores) -> tuple[Scores, Scores]:
    """True and false positives when everything at or above each distinct score is called positive."""
    order = np.argsort(-scores, kind="stable")
    gold, scores = gold[order], scores[order]
    last_of_score = np.r_[np.flatnonzero(np.diff(scores)), len(scores) - 1]
    true = np.cumsum(gold)[last_of_score].astype(float)
    return true, 1 + last_of_score - true


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Scores:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
