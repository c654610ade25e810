"""What a task answers for. The pipeline asks these questions in the order of a row's life:

    columns · problem · labels · informed · limit · augmented · encode · varied
    head · condense · decode · fitted · score · calibration · gold_labels · mistake · label_errors · plots
    input_text · agrees · said · expectation · served · observed

A task is also the typed `task:` section of params.yaml. A task module imports neither torch nor transformers:
what it says about them, it says by name, so that validate and tokenize never load them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from tuneline.errors import did_you_mean
from tuneline.metrics.weighted import Measure, once, where_any

Row = Mapping[str, Any]
Feature = dict[str, Any]
Prediction = dict[str, Any]

LOSS_OPTIONS = frozenset({"label_smoothing_factor", "class_weights"})  # keys of `train:` that shape a loss
MASKS = ("[MASK]", "<mask>")  # mask tokens as BERT, RoBERTa and their kin write them
IGNORED_LABEL = -100  # transformers' losses skip positions with this label

# What a column can hold → its Arrow type. In lists, one cell holds all that belongs to a whole text.
KINDS = {
    "text": "string",
    "label": "string",
    "labels": "list<string>",
    "number": "double",
    "words": "list<string>",
    "tags": "list<string>",
    "references": "list<string>",  # texts, each of which is right
    "answers": "list<struct<text: string, answer_start: int64>>",  # answer_start counts characters of the context
}


@dataclass(frozen=True)
class Column:
    """One column that a task reads from the raw rows."""

    meaning: str
    required: bool = True
    kind: str = "text"  # of KINDS

    @property
    def type(self) -> str:
        """The Arrow type of the column, by name."""
        return KINDS[self.kind]

    @property
    def is_list(self) -> bool:
        return self.type.startswith("list")

    @property
    def is_gold(self) -> bool:
        """Whether the column holds what is to be predicted."""
        return self.kind in ("label", "labels", "number", "tags", "references", "answers")

    @property
    def is_text(self) -> bool:
        """Whether it is free text, whose length and encoding are looked at."""
        return self.kind in ("text", "words", "references")


@dataclass(frozen=True)
class Head:
    """The transformers class that carries the task's head, and what goes into its config."""

    auto_class: str
    config: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ("logits",)  # several of them each score the tokens: a position is predicted by each
    loss: str = "cross_entropy"  # of losses.LOSSES: what training lowers
    answers: Literal["logits", "nats", "texts"] = "logits"  # nats: losses of the labelled tokens; texts: Generated
    candidates: int = 1  # with nats: how many of the likeliest tokens come with each
    generation: dict[str, Any] | None = None  # settings of `generate`: of texts, or of what continues a served text


class Generated(NamedTuple):
    """The output of a head that answers in texts."""

    text: str
    score: float  # geometric mean of the probabilities of its tokens


@dataclass(frozen=True)
class Score:
    """Scores of a whole split, and one score per row, for people (higher is better)."""

    measures: Mapping[str, Measure]  # the metrics, as functions of how often each row counts
    per_row: NDArray[Any]
    details: dict[str, Any] = field(default_factory=dict)
    classes: list[str] | None = None  # what the confusion in details is over, where that is not the labels
    # How much gold F1 counts in each row, where that may be none. Rows without any make no slice: F1 says 0 of the best
    # model there.
    support: NDArray[Any] | None = None

    @cached_property
    def metrics(self) -> dict[str, float]:
        """The metrics themselves: each row counts once."""
        return {name: once(measure, len(self.per_row)) for name, measure in self.measures.items()}

    def of_slices(self, metric: str) -> Measure:
        """A metric as slices are scored in it: undefined where there is no gold for it."""
        measure = self.measures[metric]
        return measure if self.support is None else where_any(measure, self.support)


@dataclass(frozen=True)
class Mistake:
    """A wrong prediction, as a person reads it."""

    text: str
    gold: str
    predicted: str
    score: float  # how sure the model was, or how far off: the list begins with the highest


@dataclass(frozen=True)
class LabelError:
    """A gold label that is likely wrong, as a person reads it."""

    position: int  # of its row
    text: str
    gold: str
    suggested: str
    confidence: float  # the probability of what is suggested


class Answer(NamedTuple):
    """What a prediction says, in a form that can be compared over many rows. None: the task has no such thing."""

    labels: Sequence[str] | None = None  # each as often as it is given
    number: float | None = None
    confidence: float | None = None  # a probability


class Encoder(Protocol):
    """The part of `tokenizers.Tokenizer` that a task needs."""

    @property
    def truncation(self) -> dict[str, Any] | None: ...

    def encode_batch(
        self, input: Sequence[Any], is_pretokenized: bool = False, add_special_tokens: bool = True
    ) -> Sequence[Any]: ...

    def enable_truncation(self, max_length: int, **options: Any) -> None: ...

    def no_truncation(self) -> None: ...

    def token_to_id(self, token: str) -> int | None: ...

    def get_vocab_size(self) -> int: ...

    def decode(self, ids: Sequence[int]) -> str: ...


class Editor(Protocol):
    """What `augmentation.Editor` offers a task that edits its own rows."""

    def text(self, text: str) -> str: ...

    def groups(self, groups: Sequence[Sequence[str]]) -> list[tuple[int, list[str]]]: ...


class Task(BaseModel):
    """A task, and at once the `task:` section of params.yaml."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str

    columns: ClassVar[dict[str, Column]]
    texts: ClassVar[dict[str, Column]]  # what a file of texts to score holds
    feature_types: ClassVar[dict[str, str]]  # Arrow type of each part of a feature, by name
    edited: ClassVar[tuple[str, ...]] = ()  # columns that augmentation edits; none where it makes no sense
    windows: ClassVar[bool] = False  # a long row becomes overlapping windows: nothing of it is cut
    is_one_text: ClassVar[bool] = False  # encode reads the token ids of one text alone, where a row has no second one
    packed: ClassVar[bool] = False  # neighbouring rows share blocks of max_length tokens: nothing is cut or padded
    compared: ClassVar[str] = "rows"  # what a confusion matrix counts
    kept_together: ClassVar[str | None] = None  # rows alike in this column share a split, where params name no group
    gold_options: ClassVar[tuple[str, ...]] = ()  # options that say what is right: models compare where they are alike
    one_gold: ClassVar[bool] = True  # rows with the same text and other gold contradict each other
    cut: ClassVar[Mapping[str, str]] = {}  # lists of a feature beside input_ids → the option with the most tokens
    worst: ClassVar[str] = "The mistakes the model was surest of. A wrong gold label often shows here first."
    answer: ClassVar[str | None] = (
        None  # the part of a prediction that behavioural tests look at; None: they make no sense
    )

    @classmethod
    def forms(cls) -> tuple[type[Task], ...]:
        """The classes that a section of this name is read into: one, or one for each problem that an option names."""
        return (cls,)

    @property
    @abstractmethod
    def metrics(self) -> Mapping[str, bool]:
        """Metric name → True when higher is better. The first one decides, unless params name another."""

    @property
    def default_metric(self) -> str:
        return next(iter(self.metrics))

    @property
    def metric_in_training(self) -> str:
        """The validation metric that chooses the best weights where params name none: one of metrics, or loss."""
        return self.default_metric

    @property
    def baseline(self) -> str | None:
        """Name in baselines.BASELINES."""
        return None

    @property
    @abstractmethod
    def answer_types(self) -> Mapping[str, str]:
        """Arrow type of each part of a prediction that a scored file carries, by name."""

    @property
    def pipeline_tag(self) -> str:
        """What the Hugging Face hub calls the task."""
        return self.name

    @property
    def fits(self) -> bool:
        """Whether something of the task is chosen on the validation split."""
        return False

    @property
    def separator(self) -> str | None:
        """What stands between the items of a gold list where a file can only hold it as a string."""
        return None

    @property
    def loss_options(self) -> frozenset[str]:
        """Those of LOSS_OPTIONS that make sense."""
        return LOSS_OPTIONS

    @property
    def counted(self) -> str:
        """What the table per label counts."""
        return "rows"

    @property
    def gold(self) -> list[str]:
        """The columns that hold what is to be predicted."""
        return [name for name, column in self.columns.items() if column.is_gold]

    @classmethod
    def fitting(cls, rows: Sequence[Row]) -> dict[str, Any]:
        """Options of the `task:` section that rows of a new data set call for, beyond the defaults."""
        return {}

    @abstractmethod
    def problem(self, row: Row) -> str | None:
        """What is wrong with a row that has all its columns, in a sentence; None when it is sound."""

    @abstractmethod
    def labels(self, rows: Iterable[Row]) -> list[str]:
        """The label set, sorted, as found in the gold of the training rows (or as params name it)."""

    def informed(self, rows: Iterable[Row]) -> Task:
        """The task with what it takes from the gold of the training rows, beside the labels, such as their scale.

        tokenize and fine-tune ask alike. It is saved with the model.
        """
        return self

    def inputs(self, row: Row) -> Row:
        """What a row to predict says, under our names. Gold, if there, is not looked at."""
        return {name: row.get(name) for name, column in self.columns.items() if not column.is_gold}

    def served(self, row: Row) -> Row:
        """A row of the data set as a file of texts to score would hold it: the columns of `texts`."""
        return {name: row.get(name) for name in self.texts}

    def limit(self, tokenizer: Encoder, max_length: int) -> None:
        """Cut inputs at max_length tokens from now on, the longer text of a pair first."""
        tokenizer.enable_truncation(max_length, strategy="longest_first")

    def augmented(self, row: Row, edit: Editor) -> Row:
        """A copy of a training row with its `edited` columns edited, and its gold still right.

        This one is for texts whose gold does not depend on their words' places.
        """
        return {**row, **{name: edit.text(row[name]) for name in self.edited if row.get(name)}}

    @abstractmethod
    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        """The features of the rows, in order. Rows without gold (serving) give features without `labels`.

        Where a row gives several, its second one has `window` 1, its third 2.
        """

    def varied(self, feature: Feature, tokenizer: Encoder, random: np.random.Generator) -> Feature:
        """A training feature as one epoch reads it."""
        return feature

    @abstractmethod
    def head(self, labels: Sequence[str]) -> Head:
        """The model class and config of the head that fits the label set."""

    def condense(self, logits: NDArray[Any]) -> NDArray[Any]:
        """What decode needs of a batch of logits: (features, ...) to (features, ...). The rest is not kept."""
        return logits

    @abstractmethod
    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """One prediction per row, in the words of the gold column.

        outputs: condensed logits of each feature; where they have an axis for tokens, padding may follow. Of a head
        that answers in nats, those of the feature's labelled tokens; of one that answers in texts, Generated.
        """

    def worded(self, prediction: Prediction, tokenizer: Encoder) -> Prediction:
        """A prediction as it is served: what decode had to leave as token ids, in words."""
        return prediction

    def observed(self, prediction: Prediction) -> Answer:
        """What a served prediction says, for the comparison of many with many (drift). Nothing, unless a task tells."""
        return Answer()

    def fitted(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> Task:
        """The task with what is best chosen on the validation split, such as thresholds. It is saved with the model.

        Asked only of a task that `fits`. The arguments are those of decode.
        """
        return self

    @abstractmethod
    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Compare predictions with the gold in rows, row by row. What this gold leaves undefined is not there."""

    @property
    def heat(self) -> float:
        """The temperature that logits are divided by before they become probabilities."""
        return 1.0

    def calibration(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, Any] | None:
        """The temperature, and what the probabilities are worth with it and without; None without a temperature."""
        return None

    def gold_labels(self, row: Row) -> list[str]:
        """The labels that the gold of a row names, by which scores are sliced. Empty where the task has none."""
        return []

    def input_text(self, row: Row) -> str:
        """All that the model reads of a row, as a person reads it: one text below the other."""
        cells = [row.get(name) for name, column in self.columns.items() if not column.is_gold]
        return "\n".join(cell if isinstance(cell, str) else " ".join(cell) for cell in cells if cell)

    def agrees(self, prediction: Prediction, other: Prediction) -> bool:
        """Whether two predictions give the same answer."""
        return bool(prediction[str(self.answer)] == other[str(self.answer)])

    def said(self, prediction: Prediction) -> str:
        """The answer of a prediction, as a person reads it."""
        return str(prediction[str(self.answer)])

    def expectation(self, value: Any, labels: Sequence[str]) -> Prediction:
        """What a behavioural test expects, as a prediction that holds nothing but the answer. ValueError, with a
        sentence, when it cannot be one. labels: empty where they are not known yet."""
        if not isinstance(value, str):
            raise ValueError(f"is {value!r}. Expected a text")
        return {str(self.answer): value}

    @abstractmethod
    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        """A row whose score is below 1, for the list of the worst errors."""

    def label_errors(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[LabelError]:
        """Gold labels that are likely wrong, the likeliest first (metrics.label_errors), where the task can tell."""
        return []

    @abstractmethod
    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Tables to plot, by file name without ending."""


def row_types(task: Task, kept: Iterable[str]) -> dict[str, str]:
    """The Arrow type of each column of a validated row, by name. kept: columns that are not the task's."""
    types = {name: column.type for name, column in task.columns.items()}
    return {"row": "int64", "id": "string", **types, **dict.fromkeys(kept, "string"), "file": "string", "line": "int64"}


def check_labels(named: Iterable[str], labels: Sequence[str]) -> None:
    """ValueError, with a sentence, when a behavioural test names a label that is not in the label set, if known."""
    unknown = next((label for label in named if labels and label not in labels), None)
    if unknown is not None:
        raise ValueError(f"unknown label {unknown!r}.{did_you_mean(unknown, labels)} Known labels: {', '.join(labels)}")


def classes(labels: Sequence[str]) -> dict[str, Any]:
    """What the config of a head that classifies says of the label set."""
    code = {label: number for number, label in enumerate(labels)}
    return {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": code}


def by_row(features: Iterable[Feature]) -> list[list[Feature]]:
    """The features of each row: one that is a later window goes with the one before it."""
    rows: list[list[Feature]] = []
    for feature in features:
        if feature.get("window"):
            rows[-1].append(feature)
        else:
            rows.append([feature])
    return rows
