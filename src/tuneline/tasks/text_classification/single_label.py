"""One label per text.

{"text": "Broke after two days.", "label": "negative"}
"""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tuneline.metrics import calibration, classification, label_errors
from tuneline.metrics.weighted import Measure
from tuneline.tasks.base import Answer, Feature, LabelError, Mistake, Prediction, Row, Score, check_labels
from tuneline.tasks.text_classification.texts import LabelledTexts, rate_tables


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
        "ece": False,
        "brier": False,
    }
    baseline: ClassVar = "bag-of-words"
    answer: ClassVar = "label"

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
        probabilities = classification.softmax(np.reshape(outputs, (len(outputs), len(labels))), self.heat)
        best = probabilities.argmax(axis=1)
        return [
            {"label": labels[code], "score": float(row[code]), "probabilities": [float(p) for p in row]}
            for code, row in zip(best, probabilities, strict=True)
        ]

    def fitted(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> "SingleLabelClassification":
        """With the temperature that these rows call for (calibration.temperature)."""
        chosen = calibration.temperature(np.reshape(outputs, (len(outputs), len(labels))), _gold(rows, labels))
        return self.model_copy(update={"temperature": chosen})

    def observed(self, prediction: Prediction) -> Answer:
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
        measures |= calibration.measures(calibration.of_classes(probabilities, gold))
        matrix = classification.confusion_matrix(gold, predicted, len(labels))
        table = classification.per_label(matrix)
        details = {"per_label": dict(zip(labels, table, strict=True)), "confusion": matrix.tolist()}
        return Score(measures, (gold == predicted).astype(float), details)

    def claims(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str], heat: float = 1.0
    ) -> calibration.Claims:
        """Of each row, its likeliest label."""
        gold, _, probabilities = _arrays(predictions, rows, labels)
        return calibration.of_classes(calibration.without(probabilities, heat), gold)

    def gold_labels(self, row: Row) -> list[str]:
        return [row["label"]]

    def expectation(self, value: Any, labels: Sequence[str]) -> Prediction:
        prediction = super().expectation(value, labels)
        check_labels([value], labels)
        return prediction

    def degree(self, prediction: Prediction, labels: Sequence[str], label: str | None) -> float:
        return float(prediction["probabilities"][labels.index(str(label))])

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        return Mistake(self.input_text(row), row["label"], prediction["label"], prediction["score"])

    def label_errors(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[LabelError]:
        gold, _, probabilities = _arrays(predictions, rows, labels)
        return [
            LabelError(
                found.item, self.input_text(rows[found.item]), rows[found.item]["label"], labels[found.suggested],
                found.confidence,
            )
            for found in label_errors.suspects(gold, probabilities)
        ]  # fmt: skip

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The confusion, the curves (of two labels those of the second, else those of each against the rest), and how
        reliable the probabilities are."""
        gold, _, probabilities = _arrays(predictions, rows, labels)
        positive = range(1, 2) if len(labels) == 2 else range(len(labels))
        confusion = [
            {"gold": row["label"], "predicted": prediction["label"]}
            for row, prediction in zip(rows, predictions, strict=True)
        ]
        is_label = np.eye(len(labels), dtype=np.int64)[gold]
        reliability = calibration.reliability(self.claims(predictions, rows, labels))
        curves = rate_tables(is_label, probabilities, labels, positive)
        return {"confusion": confusion, **curves, "reliability": reliability}


def _gold(rows: Sequence[Row], labels: Sequence[str]) -> classification.Codes:
    code = {label: number for number, label in enumerate(labels)}
    return np.array([code[row["label"]] for row in rows], dtype=np.int64)


def _arrays(
    predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
) -> tuple[classification.Codes, classification.Codes, classification.Scores]:
    """Gold codes (rows,), predicted codes (rows,) and probabilities (rows, labels)."""
    code = {label: number for number, label in enumerate(labels)}
    predicted = np.array([code[p["label"]] for p in predictions], dtype=np.int64)
    return _gold(rows, labels), predicted, np.array([p["probabilities"] for p in predictions], dtype=np.float64)
