"""Answers that changed between two versions, and metrics that are compared only on the same rows."""

from collections.abc import Sequence

from tuneline.flips import Answered, flips
from tuneline.tasks import task_class
from tuneline.tasks.base import Row

TASK = task_class("text-classification").model_validate({"name": "text-classification"})
LABELS = ["bad", "good"]


def answered(texts: str, gold: str, answers: str, scores: Sequence[float]) -> Answered:
    """One row per letter; gold and answers are g or b."""
    names = {"g": "good", "b": "bad"}
    rows: list[Row] = [
        {"id": text, "text": text, "label": names[label]} for text, label in zip(texts, gold, strict=True)
    ]
    predictions = [
        {"label": names[answer], "score": score, "probabilities": [1 - score, score]}
        for answer, score in zip(answers, scores, strict=True)
    ]
    right = [float(label == answer) for label, answer in zip(gold, answers, strict=True)]
    return Answered(TASK, LABELS, rows, predictions, right)


def test_both_ways_are_counted_and_the_surest_mistakes_come_first() -> None:
    then = answered("vwxyz", "gggbb", "gggbg", [0.9, 0.9, 0.9, 0.9, 0.7])
    now = answered("vwxyz", "gggbb", "gbbbb", [0.9, 0.6, 0.8, 0.9, 0.9])
    found = flips(then, now)
    assert (found["rows"], found["counts"]) == (5, {"right_to_wrong": 2, "wrong_to_right": 1})
    lost, won = found["examples"]["right_to_wrong"], found["examples"]["wrong_to_right"]
    assert [(each["text"], each["answer"], each["score"]) for each in lost] == [("x", "bad", 0.8), ("w", "bad", 0.6)]
    assert [(each["text"], each["gold"], each["answer"], each["score"]) for each in won] == [("z", "bad", "good", 0.7)]


def test_only_rows_with_the_same_texts_and_gold_on_both_sides_are_looked_at() -> None:
    then = answered("axy", "ggg", "ggg", [0.9] * 3)
    now = answered("yxb", "gbg", "bbb", [0.9] * 3)  # x was relabelled, a went, b came
    found = flips(then, now)
    assert (found["rows"], found["counts"]) == (1, {"right_to_wrong": 1, "wrong_to_right": 0})


def test_rows_that_are_more_than_right_or_wrong_get_better_or_worse() -> None:
    then, now = answered("xyz", "ggg", "ggg", [0.9] * 3), answered("xyz", "ggg", "gbb", [0.9, 0.8, 0.7])
    then.row_scores[:], now.row_scores[:] = [0.5, 0.5, 0.5], [0.75, 0.4, 0.0]
    found = flips(then, now)
    assert found["counts"] == {"worse": 2, "better": 1}
    assert [each["text"] for each in found["examples"]["worse"]] == ["z", "y"]


def test_versions_of_different_tasks_are_not_compared() -> None:
    other = task_class("masked-lm").model_validate({"name": "masked-lm"})
    then, now = answered("x", "g", "g", [0.9]), Answered(other, [], [], [], [])
    assert flips(then, now) == {"not_compared": "the tasks differ: text-classification, masked-lm"}
