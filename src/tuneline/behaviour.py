"""Behavioural tests: what a model must do with rows that are edited or made up, whatever its score.

    {"name": "typos", "kind": "invariance", "rows": 200, "passed": 187, "pass_rate": 0.935, "examples": [
        {"before": "Broke after two days.", "after": "Brkoe after two days.", "expected": "negative",
         "found": "positive"}, ...]}

The kinds are those of CheckList (Ribeiro et al. 2020, https://aclanthology.org/2020.acl-main.442).
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.random import Generator

from tuneline import augmentation, conditions
from tuneline.errors import ParamsError
from tuneline.params import Augmentation, Behaviour, Direction, EditTest, Invariance, Minimum
from tuneline.params.behaviour import SLOT, problems
from tuneline.tasks.base import Editor, Prediction, Row, Task
from tuneline.tasks.pushed import PushedTask

SHOWN = 3  # failing rows
LENGTH = 300  # characters of each, at most
NAMES = (
    "Amara", "Anna", "Carlos", "Chen", "Daniel", "David", "Elena", "Emma", "Fatima", "Hannah", "Hiroshi", "Ibrahim",
    "Ivan", "James", "Jamal", "Jessica", "John", "Jose", "Julia", "Kofi", "Lakshmi", "Laura", "Lucas", "Maria",
    "Michael", "Mohammed", "Nadia", "Olga", "Omar", "Paul", "Peter", "Priya", "Robert", "Sarah", "Sofia", "Susan",
    "Thomas", "Wei", "Yuki", "Yusuf",
)  # fmt: skip
OTHER_NAMES = {name.lower(): [other.lower() for other in NAMES if other != name] for name in NAMES}
CLOSING = re.compile(r"[.!?]+$")
VERB = re.compile(r"\b(is|are|was|were|would|could|should)(n['’]t| not)?\b", re.IGNORECASE)

Predict = Callable[[Sequence[Row]], list[Prediction]]


@dataclass(frozen=True)
class Case:
    """A row to predict, and what is expected of its prediction."""

    row: Row
    before: str | None  # the text that was edited
    expected: str
    passes: Callable[[Prediction], bool]
    said: Callable[[Prediction], str]


@dataclass(frozen=True)
class Outcome:
    """How a model stands a test."""

    name: str
    kind: str
    rows: int
    passed: int
    pass_rate: float | None  # None where no row was found to try
    examples: list[dict[str, str | None]]  # rows that fail: before, after, expected, found


def check(tests: Sequence[Behaviour], task: Task, labels: Sequence[str]) -> None:
    """ParamsError with each test that this task or these labels cannot answer."""
    told = list(problems(tests, task, labels))
    if told:
        raise ParamsError("\n".join(told))


def run(
    tests: Sequence[Behaviour],
    task: Task,
    labels: Sequence[str],
    table: pa.Table,
    predictions: Sequence[Prediction],
    predict: Predict,
) -> list[Outcome]:
    """The outcome of each test, all of which passed check. table: the test rows, whose predictions these are."""
    given = {f"evaluate.behaviour.{n}.where": test.where for n, test in enumerate(tests) if isinstance(test, EditTest)}
    masks = conditions.holds(table, {path: condition for path, condition in given.items() if condition})
    rows = table.to_pylist()
    everywhere = np.ones(len(rows), bool)
    outcomes = []
    for number, test in enumerate(tests):
        among = np.flatnonzero(masks.get(f"evaluate.behaviour.{number}.where", everywhere)).tolist()
        cases = (
            _made_up(test, task, labels)
            if isinstance(test, Minimum)
            else _edited(test, task, labels, {place: (rows[place], predictions[place]) for place in among})
        )
        outcomes.append(_outcome(test, task, cases, predict([case.row for case in cases]) if cases else []))
    return outcomes


def _outcome(test: Behaviour, task: Task, cases: Sequence[Case], predictions: Sequence[Prediction]) -> Outcome:
    pairs = list(zip(cases, predictions, strict=True))
    failed = [(case, prediction) for case, prediction in pairs if not case.passes(prediction)]
    passed = len(pairs) - len(failed)
    examples = [_example(case, task.input_text(case.row), prediction) for case, prediction in failed[:SHOWN]]
    return Outcome(test.name, test.kind, len(pairs), passed, passed / len(pairs) if pairs else None, examples)


def _example(case: Case, after: str, prediction: Prediction) -> dict[str, str | None]:
    before = case.before
    if before is not None:
        before, after = augmentation.from_edit(before, after)
    return {
        "before": before and before[:LENGTH],
        "after": after[:LENGTH],
        "expected": case.expected,
        "found": case.said(prediction),
    }


def _seed(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest())


# Edited rows


def _edited(
    test: Invariance | Direction, task: Task, labels: Sequence[str], among: Mapping[int, tuple[Row, Prediction]]
) -> list[Case]:
    """Cases from rows that the edit changes, in their order. among: rows and their predictions, by place."""
    seed = _seed(test.name)
    cases: dict[int, Case] = {}
    for place in np.random.default_rng(seed).permutation(sorted(among)).tolist():
        if len(cases) == test.rows:
            break
        row, prediction = among[place]
        if not _concerned(test, task, prediction):
            continue
        inputs = {name: row.get(name) for name, column in task.columns.items() if not column.is_gold}
        changed = inputs | _changed(test, task, row, np.random.default_rng((seed, place)))
        if changed != inputs:
            cases[place] = _case(test, task, labels, changed, task.input_text(row), prediction)
    return [case for _, case in sorted(cases.items(), key=lambda each: each[0])]


def _concerned(test: Invariance | Direction, task: Task, prediction: Prediction) -> bool:
    """Whether a row with this prediction can tell something: one that has the label already cannot get it."""
    if isinstance(test, Direction) and test.becomes is not None:
        return not _gives(task, prediction, test.becomes)
    if isinstance(test, Direction) and test.leaves is not None:
        return _gives(task, prediction, test.leaves)
    return True


def _gives(task: Task, prediction: Prediction, label: str) -> bool:
    return label in (task.observed(prediction).labels or ())


def _case(
    test: Invariance | Direction, task: Task, labels: Sequence[str], changed: Row, before: str, prediction: Prediction
) -> Case:
    if isinstance(test, Invariance):
        return Case(changed, before, task.said(prediction), lambda other: task.agrees(prediction, other), task.said)
    if test.becomes is not None:
        label = test.becomes
        return Case(changed, before, label, lambda other: _gives(task, other, label), task.said)
    if test.leaves is not None:
        label = test.leaves
        return Case(changed, before, f"not {label}", lambda other: not _gives(task, other, label), task.said)
    return _bounded(test, task, labels, changed, before, prediction)


def _bounded(
    test: Direction, task: Task, labels: Sequence[str], changed: Row, before: str, prediction: Prediction
) -> Case:
    """A case whose number must not rise, or fall."""
    assert isinstance(task, PushedTask), "check lets no other through"

    def degree(of: Prediction) -> float:
        return task.degree(of, labels, test.label)

    rises = test.must_not == "rise"
    bound = degree(prediction) + (test.tolerance if rises else -test.tolerance)
    what = f"{test.label} " if test.label else ""
    return Case(
        changed,
        before,
        f"{what}at {'most' if rises else 'least'} {bound:.4f}",
        lambda other: degree(other) <= bound if rises else degree(other) >= bound,
        lambda other: f"{what}{degree(other):.4f}",
    )


def _changed(test: EditTest, task: Task, row: Row, random: Generator) -> dict[str, Any]:
    """The columns that the test edits, edited."""
    if test.is_of_whole_texts:
        column = test.column or task.edited[0]
        return {column: _whole(test, row[column], random)} if row.get(column) else {}
    edited = task.augmented(row, editor(test, random))
    return {name: edited.get(name) for name in ([test.column] if test.column else task.edited)}


def editor(test: EditTest, random: Generator) -> Editor:
    """What edits the words of one row."""
    if test.replace:
        return Substitution({word.lower(): others for word, others in test.replace.items()}, random)
    if test.edit == "names":
        return Substitution(OTHER_NAMES, random)
    return augmentation.Editor(Augmentation.model_validate({test.edit: test.share}), "", random)


class Substitution:
    """An Editor that puts other words in the place of some: the same one for the same, in the same case."""

    def __init__(self, others: Mapping[str, Sequence[str]], random: Generator) -> None:
        self.others, self.random = others, random
        self.chosen: dict[str, str] = {}
        words = "|".join(re.escape(word) for word in sorted(others, key=len, reverse=True))
        self.pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)

    def text(self, text: str) -> str:
        return self.pattern.sub(lambda found: self._other(found.group()), text)

    def groups(self, groups: Sequence[Sequence[str]]) -> list[tuple[int, list[str]]]:
        return [(number, [self.text(word) for word in words]) for number, words in enumerate(groups)]

    def _other(self, word: str) -> str:
        others = self.others[word.lower()]
        other = self.chosen.setdefault(word.lower(), others[int(self.random.integers(len(others)))])
        if len(word) > 1 and word.isupper():
            return other.upper()
        return other[:1].upper() + other[1:] if word[:1].isupper() else other


def _whole(test: EditTest, text: str, random: Generator) -> str:
    if test.append:
        return f"{text.rstrip()} {test.append[int(random.integers(len(test.append)))]}"
    return negated(text) if test.edit == "negation" else punctuated(text)


def negated(text: str) -> str:
    """The text with its first "is", or a verb of the kind, negated, or without its "not"; as it is without one."""
    return VERB.sub(lambda found: found[1] if found[2] else f"{found[1]} not", text, count=1)


def punctuated(text: str) -> str:
    """The text without the marks at its end, or with a full stop where it has none."""
    bare = CLOSING.sub("", text.rstrip())
    return bare if bare != text.rstrip() else f"{bare}."


# Rows from templates


def _made_up(test: Minimum, task: Task, labels: Sequence[str]) -> list[Case]:
    """A case for each combination of what the slots may hold, or for some of them."""
    templates = test.texts(task)
    sizes = [len(values) for values in test.slots.values()]
    count = math.prod(sizes)
    chosen = np.random.default_rng(_seed(test.name)).choice(count, min(count, test.rows), replace=False)
    return [
        _from_template(test, task, labels, templates, dict(_fillings(test.slots, number)))
        for number in np.sort(chosen).tolist()
    ]


def _fillings(slots: Mapping[str, Sequence[str]], number: int) -> Iterator[tuple[str, str]]:
    """What each slot holds in a combination, by its number: the last slot turns fastest."""
    for name, values in reversed(list(slots.items())):
        number, place = divmod(number, len(values))
        yield name, values[place]


def _from_template(
    test: Minimum, task: Task, labels: Sequence[str], templates: Mapping[str, str], filling: Mapping[str, str]
) -> Case:
    row: dict[str, Any] = {name: None for name, column in task.columns.items() if not column.is_gold}
    for name, template in templates.items():
        text = _filled(template, filling)
        row[name] = text.split() if task.columns[name].is_list else text
    answer = _filled(test.expected, filling) if isinstance(test.expected, str) else test.expected
    expected = task.expectation(answer, labels)
    return Case(row, None, task.said(expected), lambda prediction: task.agrees(expected, prediction), task.said)


def _filled(template: str, filling: Mapping[str, str]) -> str:
    return SLOT.sub(lambda found: filling[found[1]], template)
