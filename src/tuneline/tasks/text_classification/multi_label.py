"""Any number of labels per text.

    {"text": "Broke, and no refund.", "label": ["quality", "service"]}
    {"text": "It came on Monday.", "label": []}

In CSV and TSV the labels of a text stand in one cell: `quality|service`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from tuneline.metrics import calibration, classification, label_errors, multi_label
from tuneline.metrics.weighted import Measure
from tuneline.tasks.base import Answer, Feature, Head, LabelError, Mistake, Prediction, Row, Score, check_labels
from tuneline.tasks.text_classification.texts import LabelledTexts, TextTask, rate_tables

NO_LABEL = "(no label)"
SEPARATORS = ("|", ";", ",")  # as public data sets have them; the first is the default


class MultiLabelClassification(LabelledTexts):
    """Any number of labels per text."""

    problem_type: Literal["multi_label_classification"] = Field(
        description="Each text has any number of labels: a list, or a string with separators."
    )
    label_separator: str = Field(
        SEPARATORS[0],
        min_length=1,
        max_length=5,
        description="What stands between labels where a file holds them as one string. It stands in no label.",
    )
    allow_empty: bool = Field(True, description="Whether a text may have no label at all.")
    thresholds: dict[str, float] | None = Field(
        None,
        description="The probability from which on each label is given. null chooses on the validation split the "
        "one with the highest F1 for each label, and 0.5 where too few rows have it.",
    )

    columns: ClassVar = TextTask.columns | {"label": replace(TextTask.columns["label"], kind="labels")}
    feature_types: ClassVar = {"input_ids": "list<int32>", "token_type_ids": "list<int8>", "labels": "list<int8>"}
    answer_types: ClassVar = {"labels": "list<string>", "scores": "list<double>"}
    metrics: ClassVar = {
        "micro_f1": True,
        "macro_f1": True,
        "subset_accuracy": True,
        "hamming_loss": False,
        "micro_average_precision": True,
        "loss": False,
        "ece": False,
        "brier": False,
    }
    baseline: ClassVar = "bag-of-words-per-label"
    answer: ClassVar = "labels"

    @field_validator("thresholds")
    @classmethod
    def _are_probabilities(cls, thresholds: dict[str, float] | None) -> dict[str, float] | None:
        strange = [f"{label}: {value:g}" for label, value in (thresholds or {}).items() if not 0 <= value <= 1]
        if strange:
            raise ValueError(f"expected probabilities from 0 to 1, found {', '.join(strange)}")
        return thresholds

    @model_validator(mode="after")
    def _names_fit(self) -> "MultiLabelClassification":
        holding = [name for name in self.label_names or () if self.label_separator in name]
        if holding:
            raise ValueError(f"label_names: {', '.join(holding)} holds label_separator {self.label_separator!r}")
        told = [self.unknown(name) for name in self.thresholds or {}]
        if any(told):
            raise ValueError("\n".join(f"thresholds: {sentence}" for sentence in told if sentence))
        return self

    @property
    def separator(self) -> str:
        return self.label_separator

    @property
    def fits(self) -> bool:
        return self.thresholds is None or super().fits

    def problem(self, row: Row) -> str | None:
        labels = row["label"]
        if not labels and not self.allow_empty:
            return "label is empty. Expected a label, or task.allow_empty: true where a text may have none"
        told = (self._wrong(label, labels[:position]) for position, label in enumerate(labels))
        return next((sentence for sentence in told if sentence), None)

    def _wrong(self, label: str, before: Sequence[str]) -> str | None:
        """What is wrong with a label of a list, in a sentence."""
        if not label.strip():
            return f"label: number {len(before) + 1} of the list is blank"
        if label in before:
            return f"label: {label!r} stands twice in the list"
        if self.label_separator in label:
            return (
                f"label: {label!r} holds the separator {self.label_separator!r}. Write several labels as several items "
                "of the list, or set task.label_separator to what stands in no label"
            )
        return self.unknown(label)

    def labels(self, rows: Iterable[Row]) -> list[str]:
        return sorted(self.label_names or {label for row in rows for label in row["label"]})

    def target(self, label: Any, code: dict[str, int]) -> list[int]:
        """1 for each label that the row has, (labels,)."""
        given = {code[each] for each in label}
        return [int(number in given) for number in code.values()]

    def head(self, labels: Sequence[str]) -> Head:
        return replace(super().head(labels), loss="binary_cross_entropy")

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """labels, those whose probability reaches their threshold; scores, theirs; probabilities, by label."""
        probabilities = classification.sigmoid(_logits(outputs, labels), self.heat)
        given = probabilities >= [(self.thresholds or {}).get(label, multi_label.USUAL_THRESHOLD) for label in labels]
        return [
            {
                "labels": [labels[int(code)] for code in np.flatnonzero(mask)],
                "scores": row[mask].tolist(),
                "probabilities": dict(zip(labels, row.tolist(), strict=True)),
            }
            for mask, row in zip(given, probabilities, strict=True)
        ]

    def observed(self, prediction: Prediction) -> Answer:
        """As sure as it is of its labels in the mean."""
        scores = prediction["scores"]
        return Answer(labels=prediction["labels"] or [NO_LABEL], confidence=float(np.mean(scores)) if scores else None)

    def fitted(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> "MultiLabelClassification":
        """With the temperature that these rows call for (calibration.temperature), and then the threshold of each
        label that has the highest F1 on them (multi_label.thresholds); of both what params do not say."""
        gold, logits = _table([row["label"] for row in rows], labels), _logits(outputs, labels)
        heat, thresholds = self.temperature, self.thresholds
        if heat is None:
            heat = calibration.temperature(calibration.pairs(logits), gold.ravel())
        if thresholds is None:
            chosen = multi_label.thresholds(gold, classification.sigmoid(logits, heat))
            thresholds = dict(zip(labels, chosen, strict=True))
        return self.model_copy(update={"temperature": heat, "thresholds": thresholds})

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Each row's own score is its Jaccard similarity: labels in both over labels in either."""
        gold, predicted, probabilities = _tables(predictions, rows, labels)
        measures: dict[str, Measure] = {"micro_f1": multi_label.micro_f1(gold, predicted)}
        if gold.any():
            measures["macro_f1"] = classification.macro_f1(multi_label.label_counts(gold, predicted))
            measures["micro_average_precision"] = multi_label.micro_average_precision(gold, probabilities)
        measures |= {
            "subset_accuracy": multi_label.subset_accuracy(gold, predicted),
            "hamming_loss": multi_label.hamming_loss(gold, predicted),
            "loss": multi_label.log_loss(gold, probabilities),
            **calibration.measures(calibration.of_labels(probabilities, gold)),
        }
        details = {"per_label": dict(zip(labels, multi_label.per_label(gold, predicted), strict=True))}
        return Score(measures, multi_label.jaccard(gold, predicted), details, support=gold.sum(axis=1))

    def claims(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str], heat: float = 1.0
    ) -> calibration.Claims:
        """Of each row, every label."""
        gold, _, probabilities = _tables(predictions, rows, labels)
        return calibration.of_labels(calibration.without_each(probabilities, heat), gold)

    def gold_labels(self, row: Row) -> list[str]:
        return list(row["label"])

    def agrees(self, prediction: Prediction, other: Prediction) -> bool:
        """In whatever order."""
        return set(prediction["labels"]) == set(other["labels"])

    def said(self, prediction: Prediction) -> str:
        return _listed(prediction["labels"])

    def expectation(self, value: Any, labels: Sequence[str]) -> Prediction:
        named = [value] if isinstance(value, str) else value
        if not isinstance(named, list):
            raise ValueError(f"is {value!r}. Expected a list of labels")
        check_labels(named, labels)
        return {"labels": named}

    def degree(self, prediction: Prediction, labels: Sequence[str], label: str | None) -> float:
        return float(prediction["probabilities"][str(label)])

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        """As sure as the surest of its decisions that is wrong."""
        gold, given = row["label"], prediction["labels"]
        chances = prediction["probabilities"]
        sureness = [chances[label] for label in given if label not in gold]
        sureness += [1 - chances[label] for label in gold if label not in given]
        return Mistake(self.input_text(row), _listed(gold), _listed(given), max(sureness))

    def label_errors(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[LabelError]:
        """Of each label by itself: rows that likely lack it, or have it, other than the gold says."""
        gold, _, probabilities = _tables(predictions, rows, labels)
        found = [
            (suspect, label)
            for label, has, chance in zip(labels, gold.T, probabilities.T, strict=True)
            for suspect in label_errors.suspects(has, np.stack([1 - chance, chance], axis=1))
        ]
        return [
            _label_error(suspect, label, rows[suspect.item], self.input_text(rows[suspect.item]))
            for suspect, label in sorted(found, key=lambda each: each[0].margin)
        ]

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The curves of each label against the rest, and how reliable the probabilities are."""
        gold, _, probabilities = _tables(predictions, rows, labels)
        curves = rate_tables(gold, probabilities, labels, range(len(labels)))
        return {**curves, "reliability": calibration.reliability(self.claims(predictions, rows, labels))}


def fitting(cells: Sequence[Any]) -> dict[str, Any]:
    """Options that cells of the label column call for; none where each holds one label."""
    if any(isinstance(cell, list) for cell in cells):
        return {"problem_type": "multi_label_classification"}
    texts = {cell for cell in cells if isinstance(cell, str)}
    separator = next((each for each in SEPARATORS if _separates(each, texts)), None)
    if separator is None:
        return {}
    other = {"label_separator": separator} if separator != SEPARATORS[0] else {}
    return {"problem_type": "multi_label_classification", **other}


def _separates(separator: str, cells: set[str]) -> bool:
    """Whether cells are lists with this separator: some part of one stands in another cell too."""
    parts = [{part.strip() for part in cell.split(separator)} for cell in cells if cell.strip()]
    shared = sum(map(len, parts)) > len(set().union(*parts))
    return shared and all(all(each) for each in parts) and any(len(each) > 1 for each in parts)


def _logits(outputs: Sequence[NDArray[Any]], labels: Sequence[str]) -> NDArray[Any]:
    return np.reshape(outputs, (len(outputs), len(labels)))


def _table(lists: Iterable[Sequence[str]], labels: Sequence[str]) -> multi_label.Table:
    """1 where a row has a label, (rows, labels)."""
    return np.array([[int(label in given) for label in labels] for given in map(set, lists)], dtype=np.int64)


def _tables(
    predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
) -> tuple[multi_label.Table, multi_label.Table, classification.Scores]:
    """Gold and predicted tables, and probabilities: (rows, labels) each."""
    gold, predicted = _table([row["label"] for row in rows], labels), _table([p["labels"] for p in predictions], labels)
    probabilities = [[prediction["probabilities"][label] for label in labels] for prediction in predictions]
    return gold, predicted, np.array(probabilities, dtype=np.float64)


def _label_error(found: label_errors.Suspect, label: str, row: Row, text: str) -> LabelError:
    gold = row["label"]
    suggested = [*gold, label] if found.suggested else [each for each in gold if each != label]
    return LabelError(found.item, text, _listed(gold), _listed(suggested), found.confidence)


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(labels) or NO_LABEL
