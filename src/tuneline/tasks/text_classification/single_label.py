"""One label per text.

{"text": "Broke after two days.", "label": "negative"}
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tuneline.metrics import classification
from tuneline.metrics.weighted import Measure
from tuneline.tasks.base import Answer, Feature, Mistake, Prediction, Row, Score
from tuneline.tasks.text_classification.texts import LabelledTexts, rate_tables, text_of


class SingleLabelClassification(LabelledTexts):
    """One label per text."""

    problem_type: Literal["single_label_classification"] = Field(
        "single_label_classification", description="Each text has one label."
    )

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

    def problem(self, row: Row) -> str | None:
        return self.unknown(row["label"])

    def labels(self, rows: Iterable[Row]) -> list[str]:
        return sorted(self.label_names or {row["label"] for row in rows})

    def target(self, label: Any, code: dict[str, int]) -> int:
        return code[label]

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """label; score, its probability; probabilities, of every label."""
        probabilities = classification.softmax(np.reshape(outputs, (len(outputs), len(labels))))
        best = probabilities.argmax(axis=1)
        return [
            {"label": labels[code], "score": float(row[code]), "probabilities": [float(p) for p in row]}
            for code, row in zip(best, probabilities, strict=True)
        ]

    def answer(self, prediction: Prediction) -> Answer:
        return Answer(labels=[prediction["label"]], confidence=prediction["score"])

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Each row's own score is 1 where its label is right, else 0."""
        gold, predicted, probabilities = _arrays(predictions, rows, labels)
        counts = classification.label_counts(gold, predicted, len(labels))
        measures: dict[str, Measure] = {
            "accuracy": classification.accuracy(gold, predicted),
            "macro_f1": classification.macro_f1(counts),
            "weighted_f1": classification.weighted_f1(counts),
            "loss": classification.log_loss(gold, probabilities),
        }
        if len(labels) == 2 and 0 < gold.sum() < len(gold):
            measures["roc_auc"] = classification.roc_auc(gold, probabilities[:, 1])
            measures["pr_auc"] = classification.average_precision(gold, probabilities[:, 1])
        matrix = classification.confusion_matrix(gold, predicted, len(labels))
        table = classification.per_label(matrix)
        details = {"per_label": dict(zip(labels, table, strict=True)), "confusion": matrix.tolist()}
        return Score(measures, (gold == predicted).astype(float), details)

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        return Mistake(text_of(row), row["label"], prediction["label"], prediction["score"])

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The confusion, and the curves: of two labels those of the second, else those of each against the rest."""
        gold, _, probabilities = _arrays(predictions, rows, labels)
        positive = range(1, 2) if len(labels) == 2 else range(len(labels))
        confusion = [
            {"gold": row["label"], "predicted": prediction["label"]}
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        is_label = np.eye(len(labels), dtype=np.int64)[gold]
        return {"confusion": confusion, **rate_tables(is_label, probabilities, labels, positive)}


def _arrays(
    predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
) -> tuple[classification.Codes, classification.Codes, classification.Scores]:
    """Gold codes (rows,), predicted codes (rows,) and probabilities (rows, labels)."""
    code = {label: number for number, label in enumerate(labels)}
    gold = np.array([code[row["label"]] for row in rows], dtype=np.int64)
    predicted = np.array([code[p["label"]] for p in predictions], dtype=np.int64)
    return gold, predicted, np.array([p["probabilities"] for p in predictions], dtype=np.float64)
