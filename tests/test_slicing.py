"""Slices of the test split: which rows they hold, and what they score."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tuneline.errors import ParamsError
from tuneline.metrics.weighted import Measure, mean
from tuneline.params import Evaluate, Slices
from tuneline.slicing import Mask, Slice, SliceScore, measured, scored, slices
from tuneline.tasks import task_class
from tuneline.tasks.base import Task


def a_task(name: str = "text-classification", **options: Any) -> Task:
    task: Task = task_class(name).model_validate({"name": name, **options})
    return task


TEXTS = ["x" * length for length in (1, 2, 3, 4, 5, 6, 7, 8)]
ROWS = pa.table(
    {
        "text": TEXTS,
        "label": ["good", "bad", "good", "bad", "good", "good", "good", "good"],
        "country": ["DE", "DE", "DE", "FR", "FR", "IT", "ES", None],
    }
)
OFF: dict[str, Any] = {"length_groups": 0, "labels": False}


def places(wanted: Slices, table: pa.Table = ROWS, task: Task | None = None) -> dict[str, list[int]]:
    found = slices(table, task or a_task(), wanted)
    return {each.name: np.flatnonzero(each.mask).tolist() for each in found}


def test_lengths_make_groups_of_like_size() -> None:
    assert places(Slices(length_groups=4, labels=False)) == {
        "length: 1 to 2 characters": [0, 1],
        "length: 3 to 4 characters": [2, 3],
        "length: 5 to 6 characters": [4, 5],
        "length: 7 to 8 characters": [6, 7],
    }


def test_rows_of_one_length_stay_together() -> None:
    table = pa.table({"text": ["aa"] * 6 + ["a", "aaa"], "label": ["good"] * 8})
    assert places(Slices(length_groups=4, labels=False), table) == {
        "length: 1 to 2 characters": [0, 1, 2, 3, 4, 5, 6],
        "length: 3 to 3 characters": [7],
    }


def test_the_length_of_a_pair_and_of_words_is_that_of_all_that_is_read() -> None:
    pairs = pa.table({"text": ["ab"], "text_pair": ["cde"], "label": ["good"]})
    assert list(places(Slices(labels=False), pairs)) == ["length: 6 to 6 characters"]  # with what parts them
    words = pa.table({"tokens": [["Ada", "wrote"]], "tags": [["B-PER", "O"]]})
    assert list(places(Slices(labels=False), words, a_task("token-classification"))) == ["length: 9 to 9 characters"]


def test_each_gold_label_is_a_slice() -> None:
    assert places(Slices(length_groups=0)) == {"label: bad": [1, 3], "label: good": [0, 2, 4, 5, 6, 7]}


def test_a_row_with_several_labels_is_in_several_slices() -> None:
    table = pa.table({"text": ["a", "b", "c"], "label": [["lamp", "phone"], [], ["lamp"]]})
    task = a_task(problem_type="multi_label_classification")
    assert places(Slices(length_groups=0), table, task) == {
        "label: lamp": [0, 2], "label: phone": [0],
    }  # fmt: skip


def test_a_sentence_is_in_the_slice_of_each_type_of_its_entities() -> None:
    table = pa.table({"tokens": [["Ada", "wrote"], ["It", "is"], ["In", "Rome"]],
                      "tags": [["B-PER", "O"], ["O", "O"], ["O", "B-LOC"]]})  # fmt: skip
    found = places(Slices(length_groups=0), table, a_task("token-classification"))
    assert found == {"label: LOC": [2], "label: PER": [0]}


def test_a_task_without_labels_has_no_slices_by_label() -> None:
    table = pa.table({"text": ["a"], "label": [1.5]})
    assert places(Slices(length_groups=0), table, a_task(problem_type="regression")) == {}


def test_the_most_frequent_values_of_a_column_are_slices_and_the_rest_is_one() -> None:
    assert places(Slices(**OFF, columns=["country"], most_values=2)) == {
        "country: DE": [0, 1, 2], "country: FR": [3, 4], "country: (others)": [5, 6, 7],
    }  # fmt: skip
    assert "country: (none)" in places(Slices(**OFF, columns=["country"]))


def test_the_label_as_a_column_gives_no_slice_twice() -> None:
    found = [each.name for each in slices(ROWS, a_task(), Slices(length_groups=0, columns=["label"]))]
    assert found == ["label: bad", "label: good"]


def test_a_condition_is_a_slice_even_where_it_holds_for_no_row() -> None:
    wanted = Slices(**OFF, where={"short": "length(text) < 3 and country = 'DE'", "none": "country = 'PL'"})
    assert places(wanted) == {"short": [0, 1], "none": []}


def test_a_condition_that_is_none_is_told_by_its_path() -> None:
    with pytest.raises(ParamsError, match=r"evaluate\.slices\.where\.mine: .* Known columns: text, label, country"):
        slices(ROWS, a_task(), Slices(where={"mine": "contry = 'DE'"}))


# Scores

RIGHT = np.array([1, 0, 1, 1, 1, 1, 0, 0], dtype=float)


def of(mask: list[int]) -> Mask:
    return np.isin(np.arange(8), mask)


def scores(measure: Measure | None = None, *, higher: bool = True, fewest_rows: int = 2) -> list[SliceScore]:
    found = [Slice("a", "where", of([0, 2, 3])), Slice("b", "where", of([0, 1])), Slice("c", "where", of([7])),
             Slice("d", "where", of([4, 5, 6, 7])), Slice("none", "where", of([]))]  # fmt: skip
    return scored(
        found, measure or mean(RIGHT), lambda mask: mean(RIGHT[mask]),
        Evaluate(slices=Slices(fewest_rows=fewest_rows), resamples=2000), higher_is_better=higher,
    )  # fmt: skip


def test_the_worst_slice_stands_first_and_small_ones_are_not_judged() -> None:
    assert [(each.name, each.rows, each.value, each.judged) for each in scores()] == [
        ("b", 2, 0.5, True), ("d", 4, 0.5, True), ("a", 3, 1.0, True), ("c", 1, 0.0, False), ("none", 0, None, False),
    ]  # fmt: skip


def test_where_lower_is_better_the_highest_is_the_worst() -> None:
    assert [each.name for each in scores(higher=False) if each.judged] == ["a", "b", "d"]


def test_a_slice_where_the_metric_says_nothing_is_not_judged() -> None:
    never: Measure = lambda weights: np.full(len(weights), np.nan)  # noqa: E731
    assert {(each.value, each.interval, each.judged) for each in scores(never)} == {(None, None, False)}


def test_an_interval_is_that_of_the_rows_of_the_slice() -> None:
    """Of four rows, two are right: a resample's accuracy is a share of Binomial(4, 1/2), whose middle 95% are all."""
    found = {each.name: each.interval for each in scores()}
    assert found == {"a": (1.0, 1.0), "b": (0.0, 1.0), "d": (0.0, 1.0), "c": None, "none": None}


def test_a_slice_scores_as_its_rows_alone_would() -> None:
    """F1 of the first four rows, one of two right for each label, is 1/2; of the last four, all gold `good` and three
    of them found, 2 * 3 / (4 + 3)."""
    task = a_task(label_names=["bad", "good"])
    predictions = [{"label": label, "score": 0.9, "probabilities": [0.9, 0.1] if label == "bad" else [0.1, 0.9]}
                   for label in ("good", "good", "bad", "bad", "good", "good", "bad", "good")]  # fmt: skip
    by_f1_class: type[Task] = type("ByF1", (type(task),), {"metrics": {"macro_f1": True}})
    by_f1 = by_f1_class.model_validate(task.model_dump())
    score = by_f1.score(predictions, ROWS.to_pylist(), ["bad", "good"])
    wanted = Evaluate(slices=Slices(length_groups=2, labels=False, fewest_rows=4), resamples=200)
    found = measured(ROWS, by_f1, predictions, score, ["bad", "good"], wanted)
    assert [(each.name, each.value) for each in found] == [
        ("length: 1 to 4 characters", pytest.approx(0.5)), ("length: 5 to 8 characters", pytest.approx(6 / 7)),
    ]  # fmt: skip
    assert all(each.interval and each.interval[0] < each.value < each.interval[1] for each in found if each.value)


def perfect(table: pa.Table, task: Task, predictions: list[dict[str, Any]], labels: list[str]) -> dict[str, Any]:
    """Slice → value, interval, whether it is judged: of a model that has every row right."""
    rows, wanted = table.to_pylist(), Slices(length_groups=0, labels=False, columns=["kind"], fewest_rows=2)
    score = task.score(predictions, rows, labels)
    found = measured(table, task, predictions, score, labels, Evaluate(slices=wanted, resamples=100))
    return {each.name: (each.value, each.interval, each.judged) for each in found}


KINDS = ["some", "some", "none", "none"]


def test_micro_f1_says_nothing_of_texts_without_a_label() -> None:
    gold = [["lamp"], ["lamp"], [], []]
    table = pa.table({"text": list("abcd"), "label": pa.array(gold, pa.list_(pa.string())), "kind": KINDS})
    predictions = [{"labels": each, "probabilities": {"lamp": 0.9 if each else 0.1}} for each in gold]
    task = a_task(problem_type="multi_label_classification")
    assert perfect(table, task, predictions, ["lamp"]) == {
        "kind: some": (1.0, (1.0, 1.0), True), "kind: none": (None, None, False),
    }  # fmt: skip


def test_f1_of_entities_says_nothing_of_sentences_without_one() -> None:
    tags = [["B-PER", "O"], ["O", "B-PER"], ["O", "O"], ["O", "O"]]
    table = pa.table({"tokens": [["Ada", "Bob"]] * 4, "tags": tags, "kind": KINDS})
    predictions = [{"tags": each, "scores": [0.9, 0.9]} for each in tags]
    assert perfect(table, a_task("token-classification"), predictions, ["B-PER", "O"]) == {
        "kind: some": (1.0, (1.0, 1.0), True), "kind: none": (None, None, False),
    }  # fmt: skip
