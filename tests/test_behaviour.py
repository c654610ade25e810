"""Behavioural tests: which rows they try, what the edits do, and when a row passes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import TypeAdapter

from tuneline.behaviour import NAMES, Outcome, check, editor, negated, punctuated, run
from tuneline.errors import ParamsError
from tuneline.params import Behaviour, Invariance
from tuneline.tasks import task_class
from tuneline.tasks.base import Prediction, Row, Task
from tuneline.tasks.text_classification.texts import LabelledTexts

LABELS = ["negative", "positive"]
TESTS: TypeAdapter[list[Any]] = TypeAdapter(list[Behaviour])


def a_task(name: str = "text-classification", **options: Any) -> Task:
    task: Task = task_class(name).model_validate({"name": name, **options})
    return task


def says(text: str) -> Prediction:
    """A model that knows one word: the more often it finds `good` beside its other words, the surer it is."""
    words = text.split()
    chance = words.count("good") / max(len(words), 1)
    return {"label": LABELS[int(chance > 0)], "score": max(chance, 1 - chance), "probabilities": [1 - chance, chance]}


def outcomes(
    tests: list[dict[str, Any]],
    rows: Sequence[Row],
    say: Callable[[str], Prediction] = says,
    task: Task | None = None,
) -> list[Outcome]:
    task = task or a_task()

    def predict(several: Sequence[Row]) -> list[Prediction]:
        return [say(task.input_text(row)) for row in several]

    labels = LABELS if isinstance(task, LabelledTexts) else []
    return run(TESTS.validate_python(tests), task, labels, pa.Table.from_pylist(list(rows)), predict(rows), predict)


def outcome(test: dict[str, Any], *texts: str) -> Outcome:
    rows = [{"text": text, "text_pair": None, "label": "positive", "country": "DE"} for text in texts]
    return outcomes([{"name": "test", **test}], rows)[0]


# Edits


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It is good.", "It is not good."),
        ("It isn't good.", "It is good."),
        ("They were not good and it was late.", "They were good and it was late."),
        ("This one was good, that one is not.", "This one was not good, that one is not."),
        ("No verb here.", "No verb here."),
        ("An isle.", "An isle."),
    ],
)
def test_a_verb_is_negated_or_loses_its_negation(text: str, expected: str) -> None:
    assert negated(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("Good!?", "Good"), ("Good", "Good."), ("Good. ", "Good"), ("1.5", "1.5.")]
)
def test_the_mark_at_the_end_goes_or_comes(text: str, expected: str) -> None:
    assert punctuated(text) == expected


def an_edit(**options: Any) -> Invariance:
    return Invariance.model_validate({"name": "test", "kind": "invariance", **options})


def test_words_are_replaced_whole_in_their_case_and_alike_within_a_row() -> None:
    edit = editor(an_edit(replace={"kettle": ["lamp", "phone"], "tea pot": ["cup"]}), np.random.default_rng(0))
    first, second, third, rest = edit.text("Kettle, kettle; KETTLE: kettles").split(" ")
    assert first.removesuffix(",") in ("Lamp", "Phone")
    assert (second, third, rest) == (f"{first[:-1].lower()};", f"{first[:-1].upper()}:", "kettles")
    assert edit.text("A tea pot.") == "A cup."


def test_a_name_becomes_another_one() -> None:
    text = editor(an_edit(edit="names"), np.random.default_rng(0)).text("Anna met Annabel and anna's dog")
    first, _, annabel, _, third, _ = text.split()
    assert first in NAMES
    assert first != "Anna"
    assert (annabel, third) == ("Annabel", f"{first.lower()}'s")


# Which rows are tried


def test_rows_that_the_edit_leaves_as_they_are_do_not_count() -> None:
    found = outcome({"kind": "invariance", "replace": {"kettle": ["lamp"]}}, "a good kettle", "a good phone", "kettle")
    assert (found.rows, found.passed, found.pass_rate) == (2, 2, 1.0)


def test_a_test_that_finds_no_row_has_no_pass_rate() -> None:
    found = outcome({"kind": "invariance", "replace": {"kettle": ["lamp"]}}, "a phone")
    assert found == Outcome("test", "invariance", 0, 0, None, [])


def test_only_rows_that_a_condition_holds_for_are_tried() -> None:
    test = {"kind": "invariance", "append": ["Yes."], "where": "length(text) < 5 and country = 'DE'"}
    assert outcome(test, "good", "a good phone", "bad").rows == 2


def test_at_most_so_many_rows_are_tried_the_same_ones_each_time() -> None:
    texts = [f"{'good' if n % 2 else 'bad'} number {n}" for n in range(50)]
    test = {"kind": "invariance", "append": ["not good"], "rows": 10}
    first, again = outcome(test, *texts), outcome(test, *texts)
    assert first.rows == 10
    assert first == again
    other = outcomes([{"name": "other", **test}], [{"text": text, "label": "positive"} for text in texts])[0]
    assert other.examples != first.examples


# When a row passes


def test_invariance_wants_the_same_answer() -> None:
    found = outcome({"kind": "invariance", "replace": {"fine": ["good"]}}, "a fine phone", "a fine and good phone")
    assert (found.rows, found.passed, found.pass_rate) == (2, 1, 0.5)
    assert found.examples == [
        {"before": "a fine phone", "after": "a good phone", "expected": "negative", "found": "positive"}
    ]


def test_what_becomes_a_label_is_tried_where_it_was_another() -> None:
    test = {"kind": "direction", "replace": {"bad": ["good"], "good": ["fine"]}, "becomes": "positive"}
    found = outcome(test, "bad", "good", "a bad phone")
    assert (found.rows, found.passed) == (2, 2)


def test_what_leaves_a_label_is_tried_where_it_was_that_one() -> None:
    test = {"kind": "direction", "edit": "negation", "leaves": "positive"}
    found = outcome(test, "it is good", "it is bad")
    assert (found.rows, found.passed) == (1, 0)
    assert found.examples[0]["expected"] == "not positive"


def test_a_probability_may_move_one_way_and_a_little_the_other() -> None:
    """`good` is 1 of 2 words, then 1 of 3, then 2 of 4: 0.5, 0.33, 0.5; of `bad bad` 0, then 1 of 4."""
    test = {"kind": "direction", "append": ["no"], "must_not": "rise", "label": "positive"}
    assert outcome(test, "good phone").passed == 1
    falls = outcome(test | {"must_not": "fall"}, "good phone")
    assert falls.examples == [
        {"before": "good phone", "after": "good phone no", "expected": "positive at least 0.4500",
         "found": "positive 0.3333"}
    ]  # fmt: skip
    assert outcome(test | {"must_not": "fall", "tolerance": 0.17}, "good phone").passed == 1
    assert outcome(test | {"append": ["oh good"]}, "bad bad").passed == 0


def test_a_template_gives_each_combination_of_its_slots() -> None:
    found = outcome({"kind": "minimum", "template": "The {thing} is {how}.", "expected": "positive",
                     "slots": {"thing": ["lamp", "phone", "kettle"], "how": ["good indeed", "fine"]}})  # fmt: skip
    assert (found.rows, found.passed) == (6, 3)
    assert [each["after"] for each in found.examples] == [
        "The lamp is fine.",
        "The phone is fine.",
        "The kettle is fine.",
    ]
    assert {(each["before"], each["expected"], each["found"]) for each in found.examples} == {
        (None, "positive", "negative")
    }


def test_of_more_combinations_than_rows_some_are_drawn() -> None:
    test = {"kind": "minimum", "template": "{a} {b}", "expected": "positive", "rows": 7,
            "slots": {"a": [f"a{n}" for n in range(1000)], "b": [f"b{n}" for n in range(10**4)]}}  # fmt: skip
    assert outcome(test).rows == 7


def test_a_long_text_is_shown_from_a_little_before_the_edit() -> None:
    text = f"{'word ' * 100}bad{' word' * 100}"
    shown = outcome({"kind": "invariance", "replace": {"bad": ["good"]}}, text).examples[0]
    assert (str(shown["before"]).find("bad"), str(shown["after"]).find("good")) == (80, 80)
    assert len(str(shown["after"])) == 300


# Other tasks


def test_of_several_labels_the_order_does_not_count() -> None:
    task = a_task(problem_type="multi_label_classification")
    answers = {"lamp": ["a", "b"], "lamp.": ["b", "a"], "phone": ["a"], "phone.": ["a", "b"]}
    rows = [{"text": text, "label": ["a"]} for text in ("lamp", "phone")]
    test = {"name": "test", "kind": "invariance", "edit": "punctuation"}
    found = outcomes([test], rows, lambda text: {"labels": answers[text]}, task)[0]
    assert (found.rows, found.passed) == (2, 1)
    assert found.examples == [{"before": "phone", "after": "phone.", "expected": "a", "found": "a, b"}]


def test_numbers_a_tenth_of_a_deviation_apart_are_the_same() -> None:
    task = a_task(problem_type="regression", target_mean=3.0, target_deviation=2.0)
    rows = [{"text": text, "label": 1.0} for text in ("a", "b")]
    values = {"a": 1.0, "a.": 1.19, "b": 1.0, "b.": 1.21}
    tests: list[dict[str, Any]] = [
        {"name": "same", "kind": "invariance", "edit": "punctuation"},
        {"name": "up", "kind": "direction", "edit": "punctuation", "must_not": "rise", "tolerance": 0.2},
    ]
    for found in outcomes(tests, rows, lambda text: {"value": values[text]}, task):
        assert (found.rows, found.passed) == (2, 1)
        assert [each["after"] for each in found.examples] == ["b."]


def test_words_stay_in_number_and_each_has_its_tag() -> None:
    task = a_task("token-classification")
    rows = [{"tokens": ["Anna", "lives", "in", "Rome"], "tags": ["B-PER", "O", "O", "B-LOC"]}]
    seen: list[str] = []

    def tagged(text: str) -> Prediction:
        seen.append(text)
        return {"tags": ["B-PER" if word in ("Anna", "Rome") else "O" for word in text.split()]}

    tests: list[dict[str, Any]] = [
        {"name": "names", "kind": "invariance", "edit": "names"},
        {"name": "place", "kind": "minimum", "template": "in {place}", "slots": {"place": ["Rome", "Bonn"]},
         "expected": ["O", "B-PER"]},
    ]  # fmt: skip
    names, place = outcomes(tests, rows, tagged, task)
    assert (names.rows, names.passed, place.rows, place.passed) == (1, 0, 2, 1)
    assert seen[1].split()[1:] == ["lives", "in", "Rome"]
    assert (names.examples[0]["expected"], names.examples[0]["found"]) == ("B-PER O O B-PER", "O O O B-PER")


def test_a_gold_answer_is_never_edited_and_only_the_column_that_is_named() -> None:
    task = a_task("question-answering")
    context = "It was Ada who wrote it all"
    row = {"question": "Who wrote it all?", "context": context, "answers": [{"text": "Ada", "answer_start": 7}]}
    seen: list[str] = []

    def answered(text: str) -> Prediction:
        seen.append(text)
        return {"answer": "the Ada" if len(seen) > 1 else "Ada"}  # alike but for an article

    test = {"name": "typos", "kind": "invariance", "edit": "typos", "share": 1.0}
    assert outcomes([test], [row], answered, task)[0].passed == 1
    question, edited = seen[1].split("\n")
    assert " Ada " in edited
    assert question != row["question"]
    seen.clear()
    outcomes([test | {"column": "context"}], [row], answered, task)
    assert seen[1].split("\n")[0] == row["question"]
    assert seen[1].split("\n")[1] != context


def test_a_template_for_each_column_and_an_answer_with_slots() -> None:
    task = a_task("question-answering")
    test = {"name": "who", "kind": "minimum",
            "template": {"question": "Who wrote {book}?", "context": "{who} wrote {book}."},
            "slots": {"book": ["Emma"], "who": ["Austen", "Sand"]}, "expected": "{who}"}  # fmt: skip
    row = {"question": "?", "context": ".", "answers": []}
    found = outcomes([test], [row], lambda text: {"answer": "Austen"}, task)[0]
    assert (found.rows, found.passed) == (2, 1)
    assert found.examples[0]["expected"] == "Sand"


# What cannot be asked


@pytest.mark.parametrize(
    ("test", "said"),
    [
        ({"kind": "direction", "edit": "negation", "leaves": "postive"},
         "evaluate.behaviour.0.leaves: unknown label 'postive'. Did you mean 'positive'? Known labels: negative, p"),
        ({"kind": "direction", "edit": "negation", "must_not": "rise"}, "evaluate.behaviour.0.label: is missing"),
        ({"kind": "minimum", "template": "x", "expected": "postive"}, "0.expected: unknown label 'postive'"),
        ({"kind": "minimum", "template": "x", "expected": 1}, "0.expected: is 1.0. Expected a text"),
        ({"kind": "minimum", "template": {"txt": "x"}, "expected": "positive"}, "template.txt: text-classification re"),
        ({"kind": "minimum", "template": {"text_pair": "x"}, "expected": "positive"}, "template: has no text for text"),
        ({"kind": "invariance", "edit": "typos", "column": "label"}, "column: text-classification edits no 'label'"),
    ],
)  # fmt: skip
def test_what_the_task_or_its_labels_cannot_answer_is_told_by_its_path(test: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError) as caught:
        check(TESTS.validate_python([{"name": "test", **test}]), a_task(), LABELS)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("task", "test", "said"),
    [
        ("masked-lm", {"kind": "invariance", "edit": "typos"}, "makes no sense for the task masked-lm"),
        ("token-classification", {"kind": "invariance", "edit": "negation"}, "negation: words would change in number"),
        ("token-classification", {"kind": "direction", "edit": "typos", "leaves": "O"}, "kind: token-classification g"),
        ("token-classification", {"kind": "minimum", "template": "a b", "expected": ["O"]}, "1 tags for the 2 words"),
        ("token-classification", {"kind": "minimum", "template": "a {b}", "slots": {"b": ["c d"]},
                                  "expected": ["O", "O"]}, "slots: 'c d' is not one word"),
        ("question-answering", {"kind": "minimum", "template": "who?", "expected": "Ada"}, "has no text for context"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_for_a_task_is_told(task: str, test: dict[str, Any], said: str) -> None:
    with pytest.raises(ParamsError, match=r"evaluate\.behaviour") as caught:
        check(TESTS.validate_python([{"name": "test", **test}]), a_task(task), [])
    assert said in str(caught.value)
