"""`evaluate.behaviour:` what the model must do with rows that are edited or made up (CheckList, Ribeiro et al. 2020,
https://aclanthology.org/2020.acl-main.442).

    {name: typos, kind: invariance, edit: typos}                       the same answer as before
    {name: negation, kind: direction, edit: negation, leaves: positive}      another one
    {name: praise, kind: minimum, template: "The {thing} is {good}.", slots: {...}, expected: positive}
"""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tuneline.errors import did_you_mean
from tuneline.params.section import Section
from tuneline.tasks.base import Task
from tuneline.tasks.pushed import PushedTask

SLOT = re.compile(r"\{(\w+)\}")
RULES = ("becomes", "leaves", "must_not")  # of a test of direction
WHOLE = ("punctuation", "negation")  # edits of a text as a whole: its words change in number


class BehaviouralTest(Section):
    """What all tests have."""

    name: str = Field(min_length=1, max_length=100)
    """Name of the test, as reports show it."""
    rows: int = Field(200, ge=1, le=100_000)
    """At most this many rows, chosen with a seed that the name gives."""


class EditTest(BehaviouralTest):
    """A test that edits test rows. Rows that the edit leaves as they are do not count. One edit is needed: edit,
    replace or append."""

    edit: Literal["typos", "case", "names", "punctuation", "negation"] | None = None
    """typos: slips of the keyboard. case: words in lower case, upper case or with a capital. names: other first names.
    punctuation: the mark at the end taken away, or a full stop put there. negation: "is" becomes "is not", and "is
    not" becomes "is", in the first place where one of them stands."""
    replace: dict[str, list[str]] = Field({})
    """Words, and what may stand in their place, as in {kettle: [lamp, phone]}. Case counts for nothing."""
    append: list[str] = Field([])
    """Sentences, one of which is put at the end."""
    share: float = Field(0.1, gt=0, le=1)
    """With typos and case: share of the words that are edited."""
    column: str | None = None
    """The column to edit. null takes all that the task edits; for punctuation, negation and append, the first one."""
    where: str | None = Field(None, min_length=1)
    """A condition in SQL over the columns of a row, as in evaluate.slices.where. null takes any row."""

    @model_validator(mode="after")
    def _one_edit(self) -> "EditTest":
        given = [name for name in ("edit", "replace", "append") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(f"needs one of edit, replace and append, found {' and '.join(given) or 'none'}")
        if not all(self.replace.values()) or not all(word.strip() for word in self.replace):
            raise ValueError("replace: each word needs at least one other")
        return self

    @property
    def is_of_whole_texts(self) -> bool:
        return bool(self.append) or self.edit in WHOLE


class Invariance(EditTest):
    """The answer must stay the same."""

    kind: Literal["invariance"]
    """The edited row must get the same answer."""


class Direction(EditTest):
    """The answer must change, or a label must not get more likely, or less. One rule is needed: becomes, leaves or
    must_not."""

    kind: Literal["direction"]
    """The edited row must get another answer, or a score that moves no way but one."""
    becomes: str | None = None
    """Rows that do not get this label must get it."""
    leaves: str | None = None
    """Rows that get this label must not get it any more."""
    must_not: Literal["rise", "fall"] | None = None
    """What the probability of label must not do; of a number, the number itself."""
    label: str | None = None
    """With must_not: the label."""
    tolerance: float = Field(0.05, ge=0, allow_inf_nan=False)
    """With must_not: how far it may move all the same."""

    @model_validator(mode="after")
    def _one_rule(self) -> "Direction":
        given = [name for name in RULES if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"needs one of becomes, leaves and must_not, found {' and '.join(given) or 'none'}")
        return self


class Minimum(BehaviouralTest):
    """Rows made from a template, with a known answer: the least that the model must be able to do."""

    kind: Literal["minimum"]
    """The rows are made up, and must get the expected answer."""
    template: str | dict[str, str]
    """A text with {slots}, for the task's first text column; or one for each column, as in {question: ..., context:
    ...}. Words stand apart, where the task reads words."""
    slots: dict[str, list[str]] = Field({})
    """What each slot may hold. Every combination is a row."""
    expected: str | float | list[str]
    """The answer, in the words of the gold column: a label, a list of labels or tags, a number, or a text, which may
    hold slots."""

    @model_validator(mode="after")
    def _slots_fit(self) -> "Minimum":
        templates = self.template.values() if isinstance(self.template, dict) else [self.template]
        used = {name for text in templates for name in SLOT.findall(text)}
        told = [f"slots: {{{name}}} of the template has no values" for name in sorted(used) if not self.slots.get(name)]
        told += [f"slots.{name}: the template has no {{{name}}}" for name in self.slots if name not in used]
        asked = set(SLOT.findall(self.expected)) if isinstance(self.expected, str) else set()
        told += [f"expected: the template has no {{{name}}}" for name in sorted(asked - used)]
        if told:
            raise ValueError("; ".join(told))
        return self

    def texts(self, task: Task) -> dict[str, str]:
        """The template of each column."""
        return self.template if isinstance(self.template, dict) else {task.edited[0]: self.template}


Behaviour = Annotated[Invariance | Direction | Minimum, Field(discriminator="kind")]


def problems(tests: Sequence[Behaviour], task: Task, labels: Sequence[str]) -> Iterator[str]:
    """What the tests ask of a task that it cannot answer, each with its path. labels: empty where not known yet."""
    if tests and task.answer is None:
        yield f"evaluate.behaviour: makes no sense for the task {task.name}. Leave it out"
        return
    for number, test in enumerate(tests):
        told = _of_template(test, task, labels) if isinstance(test, Minimum) else _of_edit(test, task, labels)
        yield from (f"evaluate.behaviour.{number}.{sentence}" for sentence in told)


def _of_edit(test: Invariance | Direction, task: Task, labels: Sequence[str]) -> Iterator[str]:
    if test.column is not None and test.column not in task.edited:
        yield f"column: {task.name} edits no {test.column!r}. Expected one of {', '.join(task.edited)}"
    elif test.is_of_whole_texts and task.columns[test.column or task.edited[0]].is_list:
        edit = test.edit or "append"
        yield f"{edit}: words would change in number, and {task.name} has a tag for each. Use another edit"
    if isinstance(test, Direction):
        yield from _of_direction(test, task, labels)


def _of_direction(test: Direction, task: Task, labels: Sequence[str]) -> Iterator[str]:
    if not isinstance(task, PushedTask):
        yield f"kind: {task.name} gives neither one label nor a number for a row. Use invariance or minimum"
    elif task.pushed == "number" and test.must_not is None:
        yield "must_not: expected rise or fall, for a number is predicted"
    elif task.pushed == "label":
        named = {name: getattr(test, name) for name in ("becomes", "leaves", "label")}
        if test.must_not is not None and test.label is None:
            yield "label: is missing. Expected the label whose probability must not move"
        for name, label in named.items():
            if label is not None:
                yield from _not_expected(name, label, task, labels)


def _of_template(test: Minimum, task: Task, labels: Sequence[str]) -> Iterator[str]:
    columns = {name: column for name, column in task.columns.items() if not column.is_gold}
    written = test.texts(task)
    for name in written:
        if name not in columns:
            hint = f"{did_you_mean(name, columns)} Known columns: {', '.join(columns)}"
            yield f"template.{name}: {task.name} reads no such column.{hint}"
    missing = [name for name, column in columns.items() if column.required and name not in written]
    if missing:
        yield f"template: has no text for {', '.join(missing)}. Write one for each column"
    told = list(_not_expected("expected", test.expected, task, labels))
    yield from told
    if not told and isinstance(test.expected, list) and any(column.is_list for column in columns.values()):
        yield from _wrong_count(test, written[task.edited[0]], test.expected)


def _not_expected(path: str, value: Any, task: Task, labels: Sequence[str]) -> Iterator[str]:
    try:
        task.expectation(value, labels)
    except ValueError as error:
        yield f"{path}: {error}"


def _wrong_count(test: Minimum, template: str, tags: Sequence[str]) -> Iterator[str]:
    """A slot is one word, so that each word has its tag."""
    words = len(template.split())
    several = [value for values in test.slots.values() for value in values if len(value.split()) != 1]
    if several:
        yield f"slots: {several[0]!r} is not one word, and each has its tag"
    elif words != len(tags):
        yield f"expected: has {len(tags)} tags for the {words} words of the template"
