"""Two models on the same rows: what is said of them, and when nothing can be."""

from typing import Any

import numpy as np
import pytest

from tuneline.comparing import Comparison, compare, compare_by_each
from tuneline.errors import Undefined
from tuneline.metrics.significance import mcnemar
from tuneline.tasks import task_class
from tuneline.tasks.base import Prediction, Row, Task

LABELS = ["bad", "good"]
CLASSIFICATION = task_class("text-classification").model_validate({"name": "text-classification"})
REGRESSION = task_class("text-classification").model_validate(
    {"name": "text-classification", "problem_type": "regression", "target_mean": 0, "target_deviation": 1}
)
OPTIONS: dict[str, Any] = {"minimum_effect": 0.0, "confidence": 0.95, "resamples": 2_000}


def said(label: str, sureness: float = 0.9) -> Prediction:
    chances = [1 - sureness, sureness] if label == "good" else [sureness, 1 - sureness]
    return {"label": label, "score": sureness, "probabilities": chances}


def classified(gold: str, predicted: str) -> tuple[list[Row], list[Prediction]]:
    names = {"b": "bad", "g": "good"}
    return [{"text": "", "label": names[each]} for each in gold], [said(names[each]) for each in predicted]


def by_accuracy(gold: str, challenger: str, champion: str, **options: Any) -> Comparison:
    rows, ours = classified(gold, challenger)
    _, theirs = classified(gold, champion)
    return compare(CLASSIFICATION, LABELS, rows, ours, theirs, "accuracy", True, **{**OPTIONS, **options})


def test_a_gain_in_accuracy_worked_by_hand() -> None:
    """Of 20 rows the challenger has 20 right, the champion 12: McNemar's p is 2 / 2**8."""
    found = by_accuracy("bg" * 10, "bg" * 10, "bg" * 6 + "gb" * 4)
    assert (found.challenger, found.champion, found.rows) == (1.0, 0.6, 20)
    assert found.gain == pytest.approx(0.4)
    assert (found.test, found.test_p_value) == ("McNemar's exact test", 2 / 2**8)
    # The gain of a resample is the share of 20 draws that fall on 8 rows of 20: binomial, 2.5% and 97.5% at 4 and 12.
    assert found.interval == pytest.approx((0.2, 0.6), abs=0.051)
    assert found.interval[0] <= found.lower <= found.gain
    assert found.p_value == 1 / 2_001


def test_a_gain_must_be_above_the_minimum_effect() -> None:
    sure = by_accuracy("bg" * 10, "bg" * 10, "bg" * 6 + "gb" * 4, minimum_effect=0.1)
    unsure = by_accuracy("bg" * 10, "bg" * 10, "bg" * 6 + "gb" * 4, minimum_effect=0.4)
    assert sure.p_value < 0.05
    assert unsure.p_value > 0.4
    assert sure.lower == unsure.lower  # the bound is of the gain itself


def test_the_lower_bound_and_the_p_value_say_the_same() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        gold, ours, theirs = ("".join(generator.choice(["b", "g"], 30)) for _ in range(3))
        found = by_accuracy(gold, ours, theirs, resamples=999)
        assert (found.lower > 0) == (found.p_value < 0.05)


def test_where_less_is_better_a_gain_is_a_fall() -> None:
    rows = [{"text": "", "label": float(i)} for i in range(30)]
    near, far = ([{"value": i + error} for i in range(30)] for error in (0.5, 1.0))
    found = compare(REGRESSION, [], rows, near, far, "mae", False, **OPTIONS)
    assert (found.challenger, found.champion, found.gain) == (0.5, 1.0, 0.5)
    assert found.lower == 0.5  # all rows gain the same
    assert found.test == "approximate randomisation"
    assert found.test_p_value < 0.001
    worse = compare(REGRESSION, [], rows, far, near, "mae", False, **OPTIONS)
    assert (worse.gain, worse.p_value) == (-0.5, 1.0)


def test_the_same_predictions_are_no_gain() -> None:
    for metric in ("accuracy", "macro_f1", "roc_auc", "loss"):
        rows, ours = classified("bgbgbgbgbg" * 3, "bgbgbgbbgg" * 3)
        higher = CLASSIFICATION.metrics[metric]
        found = compare(CLASSIFICATION, LABELS, rows, ours, ours, metric, higher, **OPTIONS)
        assert (found.gain, found.interval, found.lower) == (0, (0, 0), 0)
        assert (found.p_value, found.test_p_value) == (1, 1)


def test_several_metrics_are_compared_on_the_same_resamples() -> None:
    generator = np.random.default_rng(1)
    rows, ours = classified("bg" * 20, "".join(generator.choice(["b", "g"], 40)))
    _, theirs = classified("bg" * 20, "".join(generator.choice(["b", "g"], 40)))
    both = compare_by_each(CLASSIFICATION, LABELS, rows, ours, theirs, {"accuracy": True, "macro_f1": True}, **OPTIONS)
    alone = [compare(CLASSIFICATION, LABELS, rows, ours, theirs, name, True, **OPTIONS)
             for name in ("accuracy", "macro_f1")]  # fmt: skip
    assert list(both.values()) == alone


def test_chosen_rows_are_compared_as_if_there_were_no_others() -> None:
    gold, ours, theirs = "bg" * 10, "bg" * 10, "bg" * 6 + "gb" * 4
    chosen = np.arange(20) >= 10
    assert by_accuracy(gold, ours, theirs, chosen=chosen) == by_accuracy(gold[10:], ours[10:], theirs[10:])


def test_nothing_can_be_said_from_one_row() -> None:
    with pytest.raises(Undefined, match=r"no comparing of two models on 1 rows\. Expected 2 at least"):
        by_accuracy("b", "b", "g")
    with pytest.raises(Undefined, match="on 0 rows"):
        by_accuracy("bg", "bg", "gg", chosen=np.zeros(2, bool))


def test_a_metric_that_is_no_number_is_an_error_and_no_zero() -> None:
    rows, ours = classified("bg" * 5, "bg" * 5)
    broken = [*ours[:-1], {**ours[-1], "probabilities": [np.nan, np.nan]}]
    for pair, who in (((broken, ours), "challenger"), ((ours, broken), "champion")):
        with pytest.raises(Undefined, match=f"loss of the {who} is nan on these 10 rows. Expected a number"):
            compare(CLASSIFICATION, LABELS, rows, *pair, "loss", False, **OPTIONS)


def test_a_metric_that_the_rows_do_not_define_is_an_error() -> None:
    rows, ours = classified("bbbb", "bbbb")
    with pytest.raises(Undefined, match=r"roc_auc of the challenger is nan.* Measured: accuracy, macro_f1"):
        compare(CLASSIFICATION, LABELS, rows, ours, ours, "roc_auc", True, **OPTIONS)
    rows, ours = classified("g" + "b" * 19, "b" * 20)
    with pytest.raises(Undefined, match=r"roc_auc is undefined in .* of 2,000 resamples of these 20 rows"):
        compare(CLASSIFICATION, LABELS, rows, ours, ours, "roc_auc", True, **OPTIONS)


def test_a_metric_that_is_undefined_does_not_lose_the_others() -> None:
    rows, ours = classified("bbbb", "bbbb")
    _, theirs = classified("bbbb", "bbgg")
    found = compare_by_each(CLASSIFICATION, LABELS, rows, ours, theirs, CLASSIFICATION.metrics, **OPTIONS)
    assert list(found) == list(CLASSIFICATION.metrics)
    assert found["accuracy"] == compare(CLASSIFICATION, LABELS, rows, ours, theirs, "accuracy", True, **OPTIONS)
    assert isinstance(found["roc_auc"], Undefined)
    assert "roc_auc of the challenger is nan" in str(found["roc_auc"])
    few = compare_by_each(CLASSIFICATION, LABELS, rows[:1], ours[:1], theirs[:1], {"accuracy": True}, **OPTIONS)
    assert "on 1 rows" in str(few["accuracy"])


def test_rows_that_all_changed_are_as_sure_as_the_bootstrap_can_be_and_mcnemar_knows_how_few_they_are() -> None:
    found = by_accuracy("bgbg", "bgbg", "gbgb")
    assert (found.gain, found.interval, found.lower, found.p_value) == (1, (1, 1), 1, 1 / 2_001)
    assert found.test_p_value == mcnemar(np.ones(4, bool), np.zeros(4, bool)) == 1 / 8


def test_entities_are_compared_by_approximate_randomisation() -> None:
    task: Task = task_class("token-classification").model_validate({"name": "token-classification"})
    rows = [{"tokens": ["a", "b"], "tags": ["B-X", "O"]}] * 12
    right, wrong = {"tags": ["B-X", "O"]}, {"tags": ["O", "O"]}
    found = compare(task, ["B-X", "O"], rows, [right] * 12, [right] * 4 + [wrong] * 8, "f1", True, **OPTIONS)
    assert (found.challenger, found.champion) == (1.0, pytest.approx(0.5))
    # A swap of 8 rows leaves as large a gain only where all or none of them change sides: 2 of 2**8.
    assert found.test == "approximate randomisation"
    assert found.test_p_value == pytest.approx(2 / 2**8, abs=0.006)
