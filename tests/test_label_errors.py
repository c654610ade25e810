"""Likely label errors: worked by hand, and found again where they were planted."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from tuneline.metrics import label_errors
from tuneline.tasks import task_class


def test_suspects_worked_by_hand() -> None:
    gold = np.array([0, 0, 0, 1, 1])
    chances = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.7, 0.3], [0.3, 0.7]])
    assert label_errors.thresholds(gold, chances).tolist() == [pytest.approx(0.6), pytest.approx(0.5)]
    first, second = label_errors.suspects(gold, chances)
    assert (first.item, first.suggested, first.confidence) == (2, 1, 0.9)
    assert first.margin == pytest.approx(0.1 - 0.9)
    assert (second.item, second.suggested, second.confidence) == (3, 0, 0.7)
    assert second.margin == pytest.approx(0.3 - 0.7)


def test_a_mistake_of_a_model_that_is_unsure_of_a_label_is_no_suspect() -> None:
    # Both rows of 0 are half believed to be 1, but rows of 1 are believed to be so by 0.95: none reaches that.
    gold, chances = np.array([0, 0, 1, 1]), np.array([[0.4, 0.6], [0.45, 0.55], [0.05, 0.95], [0.05, 0.95]])
    assert label_errors.suspects(gold, chances) == []


def test_labels_that_no_item_has_and_items_that_the_model_does_not_know_are_left_out() -> None:
    chances = np.array([[0.2, 0.1, 0.7], [0.1, 0.2, 0.7]])
    assert label_errors.suspects(np.array([0, 1]), chances) == []
    assert label_errors.suspects(np.array([-1, -1]), chances) == []


def test_planted_flips_are_found() -> None:
    """Three clouds of points, 5% of whose labels are flipped; the model sees each point's label only of the others."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 600)
    points = np.array([[0.0, 4.0], [4.0, 0.0], [-3.0, -3.0]])[truth] + generator.normal(size=(600, 2))
    flipped = generator.choice(600, 30, replace=False)
    gold = truth.copy()
    gold[flipped] = (truth[flipped] + generator.integers(1, 3, 30)) % 3
    chances = cross_val_predict(LogisticRegression(), points, gold, cv=5, method="predict_proba")
    found = label_errors.suspects(gold, chances)
    planted = set(flipped.tolist())
    hits = [suspect for suspect in found if suspect.item in planted]
    assert len(hits) / len(planted) >= 0.9
    assert len(hits) / len(found) > 0.8
    assert all(suspect.suggested == truth[suspect.item] for suspect in hits)
    assert [suspect.margin for suspect in found] == sorted(suspect.margin for suspect in found)
    assert {suspect.item for suspect in found[:20]} <= planted


def test_a_suspect_reads_as_its_row() -> None:
    task = task_class("text-classification").model_validate({"name": "text-classification"})
    labels, chances = ["bad", "good"], [[0.9, 0.1], [0.02, 0.98], [0.03, 0.97]]
    rows = [{"text": "x", "label": "bad"}, {"text": "y", "text_pair": "z", "label": "bad"},
            {"text": "w", "label": "good"}]  # fmt: skip
    predictions = [{"label": labels[int(p[1] > 0.5)], "score": max(p), "probabilities": p} for p in chances]
    [found] = task.label_errors(predictions, rows, labels)
    assert (found.position, found.text, found.gold, found.suggested) == (1, "y\nz", "bad", "good")
    assert found.confidence == 0.98


def test_each_of_any_number_of_labels_is_a_suspect_by_itself() -> None:
    """Thresholds of a: yes (0.9 + 0.05) / 2, no (0.9 + 0.95) / 2. Row 1 likely lacks its a: no by 0.95. Of b: yes 0.9,
    no (0.9 + 0.8 + 0.08) / 3. Row 3 likely has b: yes by 0.92, which it does not say."""
    task = task_class("text-classification").model_validate(
        {"name": "text-classification", "problem_type": "multi_label_classification"}
    )
    gold, chances = [["a"], ["a", "b"], [], []], [(0.9, 0.1), (0.05, 0.9), (0.1, 0.2), (0.05, 0.92)]
    rows = [{"text": f"text {n}", "label": labels} for n, labels in enumerate(gold)]
    predictions = [
        {"labels": [name for name, chance in zip("ab", each, strict=True) if chance >= 0.5],
         "probabilities": dict(zip("ab", each, strict=True))}
        for each in chances
    ]  # fmt: skip
    found = task.label_errors(predictions, rows, ["a", "b"])
    assert [(each.text, each.gold, each.suggested, each.confidence) for each in found] == [
        ("text 1", "a, b", "b", 0.95), ("text 3", "(no label)", "b", 0.92),
    ]  # fmt: skip


def test_a_word_is_a_suspect_by_itself() -> None:
    task = task_class("token-classification").model_validate({"name": "token-classification", "scheme": "plain"})
    rows = [
        {"tokens": ["they", "run"], "tags": ["PRON", "NOUN"]},
        {"tokens": ["runs", "dog"], "tags": ["VERB", "NOUN"]},
    ]
    chances = [[[0, 0.98, 0.02], [0.1, 0, 0.9]], [[0.2, 0, 0.8], [0.9, 0.1, 0]]]
    predictions = [{"tags": ["PRON", "VERB"], "scores": [0.98, 0.9], "probabilities": chances[0]},
                   {"tags": ["VERB", "NOUN"], "scores": [0.8, 0.9], "probabilities": chances[1]}]  # fmt: skip
    # Thresholds: NOUN (0.1 + 0.9) / 2, PRON 0.98, VERB 0.8
    [found] = task.label_errors(predictions, rows, ["NOUN", "PRON", "VERB"])
    assert (found.position, found.text, found.gold, found.suggested) == (0, "they run", "run: NOUN", "run: VERB")
