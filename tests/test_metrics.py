"""Metrics against hand-worked numbers and against scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as reference

from tuneline.metrics import classification
from tuneline.metrics.weighted import once


def test_a_hand_worked_confusion_gives_its_scores() -> None:
    gold, predicted = np.array([0, 0, 0, 1, 1]), np.array([0, 0, 1, 1, 0])
    matrix = classification.confusion_matrix(gold, predicted, 2)
    assert matrix.tolist() == [[2, 1], [1, 1]]
    first, second = classification.per_label(matrix)
    assert first == {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "support": 3}
    assert second == {"precision": 0.5, "recall": 0.5, "f1": 0.5, "support": 2}
    assert once(classification.accuracy(gold, predicted), 5) == 0.6


@pytest.mark.parametrize("labels", [2, 3, 77])
def test_f1_scores_are_those_of_scikit_learn(labels: int) -> None:
    generator = np.random.default_rng(labels)
    gold = generator.integers(0, labels, 500)
    predicted = np.where(generator.random(500) < 0.7, gold, generator.integers(0, labels, 500))
    counts = classification.label_counts(gold, predicted, labels)
    present = sorted(set(gold))
    assert once(classification.macro_f1(counts), 500) == pytest.approx(
        reference.f1_score(gold, predicted, average="macro", labels=present, zero_division=0)
    )
    assert once(classification.weighted_f1(counts), 500) == pytest.approx(
        reference.f1_score(gold, predicted, average="weighted")
    )


@pytest.mark.parametrize("digits", [1, 12])
def test_curve_areas_are_those_of_scikit_learn_also_with_ties(digits: int) -> None:
    generator = np.random.default_rng(digits)
    gold = generator.integers(0, 2, 400)
    scores = np.round(gold * 0.3 + generator.random(400) * 0.7, digits)
    assert once(classification.roc_auc(gold, scores), 400) == pytest.approx(reference.roc_auc_score(gold, scores))
    assert once(classification.average_precision(gold, scores), 400) == pytest.approx(
        reference.average_precision_score(gold, scores)
    )


def test_softmax_of_large_logits_stays_finite() -> None:
    assert classification.softmax(np.array([[1000.0, 0.0]])).tolist() == [[1.0, 0.0]]
