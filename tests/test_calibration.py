"""Calibration against hand-worked numbers, scikit-learn and SciPy; and in tasks that are fitted with a temperature."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss

from tests.test_training import LABELS as TRAINED_LABELS
from tests.test_training import split, train
from tuneline import charts
from tuneline.inference import Predictor
from tuneline.metrics import calibration
from tuneline.metrics.calibration import Claims
from tuneline.metrics.classification import softmax
from tuneline.stages.evaluate import calibration_of
from tuneline.tasks import task_class
from tuneline.tasks.base import Task
from tuneline.tasks.calibrated import CalibratedTask
from tuneline.tasks.text_classification.multi_label import MultiLabelClassification

LABELS = ["a", "b", "c"]


def task(**options: Any) -> Task:
    return task_class("text-classification").model_validate({"name": "text-classification", **options})


def random_logits(seed: int, items: int = 400, scale: float = 4.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are `scale` times too large for how often they are right, and gold drawn from what is true."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(items, len(LABELS))) * 1.5
    gold = np.array([generator.choice(len(LABELS), p=row) for row in softmax(logits)])
    return (logits * scale).astype(np.float32), gold


# ECE, Brier and reliability


def test_ece_worked_by_hand() -> None:
    claims = calibration.of_classes(
        np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.7, 0.3]]), np.array([0, 1, 1, 0])
    )  # the second one is wrong
    assert claims.right.tolist() == [1, 0, 1, 1]
    # The bin of 0.9 holds 2.7 of confidence and 2 right ones, that of 0.7 holds 0.7 and 1.
    assert calibration.scores(claims)["ece"] == pytest.approx((0.7 + 0.3) / 4)
    # Squared errors over both classes: 2 · 0.01, 2 · 0.81, 2 · 0.01, 2 · 0.09
    assert calibration.scores(claims)["brier"] == pytest.approx((0.02 + 1.62 + 0.02 + 0.18) / 4)


def test_each_weight_counts_a_row_that_often() -> None:
    logits, gold = random_logits(0, items=60)
    row = np.sort(np.random.default_rng(1).integers(0, 20, 60))  # several items to a row
    probabilities = softmax(logits)
    measures = calibration.measures(calibration.of_classes(probabilities, gold, row, 20))
    weights = np.random.default_rng(2).multinomial(20, [1 / 20] * 20, size=5).astype(float)
    for name, measure in measures.items():
        for line, found in zip(weights, measure(weights), strict=True):
            chosen = np.concatenate([np.flatnonzero(row == i) for i, n in enumerate(line) for _ in range(int(n))])
            again = calibration.of_classes(probabilities[chosen], gold[chosen])
            assert found == pytest.approx(calibration.scores(again)[name])
        assert np.isnan(measure(np.zeros((1, 20))))


@pytest.mark.parametrize("labels", [2, 3, 7])
def test_brier_is_that_of_scikit_learn(labels: int) -> None:
    generator = np.random.default_rng(labels)
    probabilities, gold = generator.dirichlet(np.ones(labels), 300), generator.integers(0, labels, 300)
    found = calibration.scores(calibration.of_classes(probabilities, gold))["brier"]
    assert found == pytest.approx(brier_score_loss(gold, probabilities, labels=range(labels), scale_by_half=False))
    table = (generator.random((50, labels)) < probabilities[:50]).astype(np.int64)
    found = calibration.scores(calibration.of_labels(probabilities[:50], table))["brier"]
    assert found == pytest.approx(brier_score_loss(table.ravel(), probabilities[:50].ravel()))


def test_a_label_that_the_model_does_not_know_is_the_whole_error() -> None:
    claims = calibration.of_classes(np.array([[0.8, 0.2]]), np.array([-1]))
    assert claims.right.tolist() == [0]
    assert claims.squared_error.tolist() == [pytest.approx(0.8**2 + 0.2**2 + 1)]


def test_reliability_says_what_each_bin_holds() -> None:
    confidence, right = np.array([0.61, 0.65, 0.99, 1.0, 0.0]), np.array([1.0, 0.0, 1.0, 1.0, 0.0])
    claims = Claims(confidence, right, confidence, np.arange(5), 5)
    assert calibration.reliability(claims) == [
        {"from": 0.0, "to": 0.0667, "confidence": 0.0, "share_right": 0.0, "count": 1},
        {"from": 0.6, "to": 0.6667, "confidence": 0.63, "share_right": 0.5, "count": 2},
        {"from": 0.9333, "to": 1.0, "confidence": 0.995, "share_right": 1.0, "count": 2},
    ]
    assert calibration.reliability(None) == []


def test_reliability_can_be_drawn() -> None:
    logits, gold = random_logits(3)
    bins = calibration.reliability(calibration.of_classes(softmax(logits), gold))
    spec = charts.reliability(bins)
    assert spec is not None
    picture = charts.svg(spec)
    assert "share right" in picture
    assert f">{bins[0]['count']}<" in picture
    assert charts.reliability([]) is None


# Temperature


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_a_temperature_is_where_scipy_finds_the_lowest_loss(scale: float) -> None:
    logits, gold = random_logits(5, scale=scale)

    def loss(temperature: float) -> float:
        return float(-np.log(softmax(logits, temperature)[np.arange(len(gold)), gold]).mean())

    best = minimize_scalar(loss, bounds=(0.05, 20), method="bounded", options={"xatol": 1e-7}).x
    assert calibration.temperature(logits, gold) == pytest.approx(best, abs=1e-3)
    assert best == pytest.approx(scale, rel=0.3)  # 400 rows say about what the logits were multiplied by


def test_a_temperature_stays_one_where_the_rows_cannot_say_it() -> None:
    logits, gold = random_logits(6)
    assert calibration.temperature(logits[:49], gold[:49]) == 1
    assert calibration.temperature(logits, logits.argmax(axis=1)) == 1  # none is wrong: the colder, the likelier


def test_a_temperature_stays_within_its_bounds() -> None:
    logits, _ = random_logits(7)
    away = (logits.argmax(axis=1) + 1) % len(LABELS)  # always wrong: the hotter, the likelier
    assert calibration.temperature(logits, away) == calibration.HOTTEST


def test_a_temperature_can_be_taken_out_again() -> None:
    logits = np.array([[12.0, -3.0, 0.5], [900.0, -900.0, 0.0]])
    assert calibration.without(softmax(logits, 2.5), 2.5) == pytest.approx(softmax(logits))
    yes = softmax(calibration.pairs(np.array([3.0, -8.0])), 0.4)[:, 1]
    assert calibration.without_each(yes, 0.4) == pytest.approx(1 / (1 + np.exp([-3.0, 8.0])))


# Tasks


def test_one_label_is_fitted_and_decoded_with_its_temperature() -> None:
    logits, gold = random_logits(8)
    rows = [{"text": "x", "label": LABELS[code]} for code in gold]
    plain, fitted = task(), task().fitted(list(logits), [], rows, LABELS)
    assert isinstance(fitted, CalibratedTask)
    assert fitted.temperature == calibration.temperature(logits, gold) == pytest.approx(4, rel=0.2)
    assert plain.fits and not fitted.fits
    before, after = (each.decode(list(logits), [], rows, LABELS) for each in (plain, fitted))
    assert [each["label"] for each in before] == [each["label"] for each in after]
    scores = [each.score(found, rows, LABELS).metrics for each, found in ((plain, before), (fitted, after))]
    assert scores[0]["accuracy"] == scores[1]["accuracy"]
    assert scores[0]["ece"] > 0.1 > scores[1]["ece"]
    found = fitted.calibration(after, rows, LABELS)
    assert found == {
        "temperature": fitted.temperature,
        "ece": scores[1]["ece"],
        "brier": scores[1]["brier"],
        "uncalibrated": {name: pytest.approx(scores[0][name]) for name in ("ece", "brier")},
    }


def test_evaluate_says_whether_the_temperature_was_fitted() -> None:
    logits, gold = random_logits(8)
    rows = [{"text": "x", "label": LABELS[code]} for code in gold]

    def is_fitted(asked: Any, used: Any) -> bool:
        found = calibration_of(asked, used, used.decode(list(logits), [], rows, LABELS), rows, LABELS)
        assert found is not None and found["temperature"] == used.heat
        return bool(found["fitted"])

    assert is_fitted(task(), task().fitted(list(logits), [], rows, LABELS))
    assert not is_fitted(task(), task())  # no validation rows
    assert not is_fitted(task(), task().fitted(list(logits[:49]), [], rows[:49], LABELS))  # too few
    assert not is_fitted(task(temperature=2.0), task(temperature=2.0))  # named in params


def test_any_number_of_labels_is_fitted_before_its_thresholds() -> None:
    generator = np.random.default_rng(9)
    truth = generator.normal(size=(300, 2)) * 1.5 - 0.5
    gold = (generator.random((300, 2)) < 1 / (1 + np.exp(-truth))).astype(int)
    rows = [{"text": "x", "label": [LABELS[code] for code in np.flatnonzero(line)]} for line in gold]
    plain = task(problem_type="multi_label_classification")
    fitted = plain.fitted(list(3 * truth), [], rows, LABELS[:2])
    assert isinstance(fitted, CalibratedTask)
    assert fitted.temperature == pytest.approx(3, rel=0.2)
    assert not fitted.fits
    # A threshold is where it was, in other units: logit(calibrated) = logit(plain) / temperature.
    at_one = plain.model_copy(update={"temperature": 1.0}).fitted(list(3 * truth), [], rows, LABELS[:2])
    [calibrated, before] = (each.decode(list(3 * truth), [], rows, LABELS[:2]) for each in (fitted, at_one))
    same = np.mean([a["labels"] == b["labels"] for a, b in zip(calibrated, before, strict=True)])
    assert same > 0.98
    found = fitted.calibration(calibrated, rows, LABELS[:2])
    assert found is not None
    assert found["ece"] < found["uncalibrated"]["ece"]
    assert found["uncalibrated"] == {
        name: pytest.approx(value)
        for name, value in at_one.score(before, rows, LABELS[:2]).metrics.items()
        if name in ("ece", "brier")
    }
    given = plain.model_copy(update={"thresholds": {"a": 0.4}}).fitted(list(3 * truth), [], rows, LABELS[:2])
    assert isinstance(given, MultiLabelClassification)
    assert given.thresholds == {"a": 0.4}


def tagged(scale: float = 4.0) -> tuple[list[np.ndarray], list[dict[str, Any]], list[dict[str, Any]]]:
    """Outputs, features and rows of 100 sentences of four words, the last of which has no piece."""
    logits, gold = random_logits(10, items=300, scale=scale)
    outputs = [np.concatenate([np.zeros((1, 3)), each, np.zeros((1, 3))]) for each in logits.reshape(100, 3, 3)]
    features = [{"window": 0, "words": [-1, 0, 1, 2, -1]} for _ in outputs]
    rows = [{"tokens": list("wxyz"), "tags": [LABELS[code] for code in each] + ["a"]} for each in gold.reshape(100, 3)]
    return outputs, features, rows


def test_words_are_fitted_and_those_without_a_piece_are_left_out() -> None:
    outputs, features, rows = tagged()
    plain = task_class("token-classification").model_validate({"name": "token-classification", "scheme": "plain"})
    fitted = plain.fitted(outputs, features, rows, LABELS)
    assert isinstance(fitted, CalibratedTask)
    assert fitted.temperature == pytest.approx(4, rel=0.2)
    before, after = (each.decode(outputs, features, rows, LABELS) for each in (plain, fitted))
    assert [each["tags"] for each in before] == [each["tags"] for each in after]
    assert all(each["probabilities"][3] is None for each in after)
    found, score = fitted.calibration(after, rows, LABELS), fitted.score(after, rows, LABELS)
    assert found is not None
    assert (score.metrics["ece"], score.metrics["brier"]) == (found["ece"], found["brier"])
    assert (
        found["ece"]
        < 0.1
        < found["uncalibrated"]["ece"]
        == pytest.approx(plain.score(before, rows, LABELS).metrics["ece"])
    )
    assert sum(line["count"] for line in fitted.plots(after, rows, LABELS)["reliability"]) == 300
    assert score.measures["ece"](np.ones((1, 100)))[0] == score.metrics["ece"]


def test_served_words_come_without_the_probabilities_of_every_tag() -> None:
    outputs, features, rows = tagged()
    plain = task_class("token-classification").model_validate({"name": "token-classification", "scheme": "plain"})
    [prediction, *_] = plain.decode(outputs, features, rows, LABELS)
    assert set(plain.worded(prediction, None)) == {"tags", "scores"}  # type: ignore[arg-type]  # looks at no tokenizer


def test_tags_of_a_baseline_claim_nothing() -> None:
    _, _, rows = tagged()
    plain = task_class("token-classification").model_validate({"name": "token-classification", "scheme": "plain"})
    predictions = [{"tags": row["tags"]} for row in rows]
    assert set(plain.score(predictions, rows, LABELS).metrics) == {"accuracy", "macro_f1"}
    assert plain.calibration(predictions, rows, LABELS) is None
    assert plain.label_errors(predictions, rows, LABELS) == []


def test_training_keeps_its_plain_loss_and_gives_a_fitted_task(toy_checkpoint: Path, tmp_path: Path) -> None:
    found = train(toy_checkpoint, tmp_path, num_train_epochs=1, learning_rate=0.001)
    features, rows = split(toy_checkpoint, 30, start=100)
    assert isinstance(found.task, CalibratedTask)
    assert found.task.temperature == 1  # fewer than calibration.FEWEST_ITEMS
    predictor = Predictor(found.task, TRAINED_LABELS, found.model, None)
    scores = found.task.score(predictor.predict_features(features, rows), rows, TRAINED_LABELS).metrics
    assert {name: found.best[name] for name in scores} == pytest.approx(scores, rel=1e-4)
    last = [point for point in found.history if "eval_loss" in point][-1]
    assert found.best["loss"] == last["eval_loss"]
