"""What every problem about whole texts shares: its columns, and how a text or a pair of them becomes token ids."""

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tuneline.errors import did_you_mean
from tuneline.metrics import classification
from tuneline.tasks.base import Column, Encoder, Feature, Head, Row, classes
from tuneline.tasks.calibrated import CalibratedTask
from tuneline.tasks.pushed import PushedTask

CURVE_POINTS = 200  # points kept of each plotted curve


class TextTask(PushedTask):
    """Something to be said of a whole text."""

    name: Literal["text-classification"]
    problem_type: str

    columns: ClassVar = {
        "text": Column("the text to classify"),
        "text_pair": Column("the second text of a sentence pair", required=False),
        "label": Column("the gold label, list of labels, or number", kind="label"),
    }
    texts: ClassVar = {"text": columns["text"], "text_pair": columns["text_pair"]}
    is_one_text: ClassVar = True
    gold_options: ClassVar = ("problem_type",)
    edited: ClassVar = ("text", "text_pair")

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        texts = [(row["text"], row["text_pair"]) if row.get("text_pair") else row["text"] for row in rows]
        features: list[Feature] = [
            {"input_ids": e.ids, "token_type_ids": e.type_ids} for e in tokenizer.encode_batch(texts)
        ]
        code = {label: number for number, label in enumerate(labels)}
        for feature, row in zip(features, rows, strict=True):
            if row.get("label") is not None:
                feature["labels"] = self.target(row["label"], code)
        return features

    @abstractmethod
    def target(self, label: Any, code: dict[str, int]) -> Any:
        """What a gold label is in a feature. code: the number of each label."""


class LabelledTexts(TextTask, CalibratedTask):
    """A problem with a set of labels."""

    pushed: ClassVar = "label"

    label_names: list[str] | None = Field(
        None,
        min_length=2,
        description="Every label that may occur. Without it, the labels found in the training rows are the set.",
    )

    @field_validator("label_names")
    @classmethod
    def _distinct(cls, names: list[str] | None) -> list[str] | None:
        if names and len(set(names)) < len(names):
            raise ValueError("a label stands in the list twice")
        return names

    def unknown(self, label: str) -> str | None:
        """That a label is none of label_names, in a sentence."""
        if self.label_names is None or label in self.label_names:
            return None
        known = ", ".join(sorted(self.label_names))
        return f"label is {label!r}. Known labels: {known}.{did_you_mean(label, self.label_names)}"

    def head(self, labels: Sequence[str]) -> Head:
        return Head("AutoModelForSequenceClassification", {**classes(labels), "problem_type": self.problem_type})


def rate_tables(
    gold: NDArray[np.int64], probabilities: classification.Scores, labels: Sequence[str], positive: Iterable[int]
) -> dict[str, list[dict[str, Any]]]:
    """The points of the ROC and the precision-recall curve of each label against the rest.

    gold: 1 where a row has a label, (rows, labels), as probabilities. positive: codes of the labels to draw.
    """
    tables: dict[str, list[dict[str, Any]]] = {"roc": [], "precision_recall": []}
    for code in positive:
        if gold[:, code].any():
            false_rate, true_rate = classification.roc_curve(gold[:, code], probabilities[:, code])
            recall, precision = classification.precision_recall_curve(gold[:, code], probabilities[:, code])
            tables["roc"] += _curve(labels[code], false_positive_rate=false_rate, true_positive_rate=true_rate)
            tables["precision_recall"] += _curve(labels[code], recall=recall, precision=precision)
    return tables


def _curve(label: str, **axes: NDArray[Any]) -> list[dict[str, Any]]:
    """At most CURVE_POINTS rows of a curve, evenly chosen, ends kept."""
    length = len(next(iter(axes.values())))
    kept = np.unique(np.linspace(0, length - 1, CURVE_POINTS).round().astype(int))
    return [{"label": label, **{name: round(float(axis[i]), 6) for name, axis in axes.items()}} for i in kept]
