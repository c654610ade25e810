"""One label per text.

    {"text": "Broke after two days.", "label": "negative"}

Columns: `text`, optionally `text_pair` (a second text for sentence-pair tasks), and `label`.
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from tuneline.errors import did_you_mean
from tuneline.metrics import classification
from tuneline.tasks.base import Column, Encoder, Feature, Head, Mistake, Prediction, Row, Score, Task

CURVE_POINTS = 200  # points kept of each plotted curve


class TextClassification(Task):
    """One label per text."""

    name: Literal["text-classification"]
    label_names: list[str] | None = Field(
        None,
        min_length=2,
        description="Every label that may occur. Without it, the labels found in the training rows are the set.",
    )

    columns: ClassVar = {
        "text": Column("the text to classify"),
        "text_pair": Column("the second text of a sentence pair", required=False),
        "label": Column("the gold label", kind="label"),
    }
    texts: ClassVar = {"text": columns["text"], "text_pair": columns["text_pair"]}
    edited: ClassVar = ("text", "text_pair")
    feature_types: ClassVar = {"input_ids": "list<int32>", "token_type_ids": "list<int8>", "labels": "int64"}
    answer_types: ClassVar = {"label": "string", "score": "double"}  # probabilities would outweigh all the rest
    metrics: ClassVar = {
        "accuracy": True,
        "macro_f1": True,
        "weighted_f1": True,
        "roc_auc": True,
        "pr_auc": True,
        "loss": False,
    }
    baseline: ClassVar = "bag-of-words"

    @field_validator("label_names")
    @classmethod
    def _distinct(cls, names: list[str] | None) -> list[str] | None:
        if names and len(set(names)) < len(names):
            raise ValueError("a label stands in the list twice")
        return names

    def problem(self, row: Row) -> str | None:
        label = row["label"]
        if self.label_names is None or label in self.label_names:
            return None
        known = ", ".join(sorted(self.label_names))
        return f"label is {label!r}. Known labels: {known}.{did_you_mean(label, self.label_names)}"

    def labels(self, rows: Iterable[Row]) -> list[str]:
        return sorted(self.label_names or {row["label"] for row in rows})

    def encode(self, tokenizer: Encoder, rows: Sequence[Row], labels: Sequence[str]) -> list[Feature]:
        texts = [(row["text"], row["text_pair"]) if row.get("text_pair") else row["text"] for row in rows]
        features: list[Feature] = [
            {"input_ids": e.ids, "token_type_ids": e.type_ids} for e in tokenizer.encode_batch(texts)
        ]
        code = {label: number for number, label in enumerate(labels)}
        for feature, row in zip(features, rows, strict=True):
            if row.get("label") is not None:
                feature["labels"] = code[row["label"]]
        return features

    def head(self, labels: Sequence[str]) -> Head:
        return Head(
            "AutoModelForSequenceClassification",
            {
                "num_labels": len(labels),
                "id2label": dict(enumerate(labels)),
                "label2id": {label: number for number, label in enumerate(labels)},
                "problem_type": "single_label_classification",
            },
        )

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        probabilities = classification.softmax(np.reshape(outputs, (len(outputs), len(labels))))
        best = probabilities.argmax(axis=1)
        return [
            {"label": labels[code], "score": float(row[code]), "probabilities": [float(p) for p in row]}
            for code, row in zip(best, probabilities, strict=True)
        ]

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        gold, predicted, probabilities = _arrays(predictions, rows, labels)
        matrix = classification.confusion_matrix(gold, predicted, len(labels))
        table = classification.per_label(matrix)
        chosen = np.clip(probabilities[np.arange(len(gold)), gold], 1e-12, None)
        metrics = {
            "accuracy": classification.accuracy(gold, predicted),
            "macro_f1": classification.macro_f1(table),
            "weighted_f1": classification.weighted_f1(table),
            "loss": float(-np.log(chosen).mean()),
        }
        if len(labels) == 2 and 0 < gold.sum() < len(gold):
            metrics["roc_auc"] = classification.roc_auc(gold, probabilities[:, 1])
            metrics["pr_auc"] = classification.average_precision(gold, probabilities[:, 1])
        details = {"per_label": dict(zip(labels, table, strict=True)), "confusion": matrix.tolist()}
        return Score(metrics, (gold == predicted).astype(float), details)

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        return Mistake(row["text"], row["label"], prediction["label"], prediction["score"])

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        gold, _, probabilities = _arrays(predictions, rows, labels)
        positive = range(1, 2) if len(labels) == 2 else range(len(labels))
        roc: list[dict[str, Any]] = []
        precision_recall: list[dict[str, Any]] = []
        for code in positive:
            is_label = (gold == code).astype(np.int64)
            if not is_label.any():
                continue
            false_rate, true_rate = classification.roc_curve(is_label, probabilities[:, code])
            recall, precision = classification.precision_recall_curve(is_label, probabilities[:, code])
            roc += _curve(labels[code], false_positive_rate=false_rate, true_positive_rate=true_rate)
            precision_recall += _curve(labels[code], recall=recall, precision=precision)
        confusion = [
            {"gold": row["label"], "predicted": prediction["label"]}
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        return {"confusion": confusion, "roc": roc, "precision_recall": precision_recall}


def _arrays(
    predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
) -> tuple[classification.Codes, classification.Codes, classification.Scores]:
    """Gold codes (rows,), predicted codes (rows,) and probabilities (rows, labels)."""
    code = {label: number for number, label in enumerate(labels)}
    gold = np.array([code[row["label"]] for row in rows], dtype=np.int64)
    predicted = np.array([code[p["label"]] for p in predictions], dtype=np.int64)
    return gold, predicted, np.array([p["probabilities"] for p in predictions], dtype=np.float64)


def _curve(label: str, **axes: NDArray[Any]) -> list[dict[str, Any]]:
    """At most CURVE_POINTS rows of a curve, evenly chosen, ends kept."""
    length = len(next(iter(axes.values())))
    kept = np.unique(np.linspace(0, length - 1, CURVE_POINTS).round().astype(int))
    return [{"label": label, **{name: round(float(axis[i]), 6) for name, axis in axes.items()}} for i in kept]


TASK = TextClassification
