"""A number per text.

{"text": "A plane takes off.", "text_pair": "A plane lands.", "label": 1.2}

The model learns numbers with mean 0 and deviation 1, so that the usual learning rates do for any unit. The mean and
the deviation of the training rows are kept with the model, and its predictions are in the unit of the gold.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from tuneline.metrics import regression
from tuneline.tasks.base import Answer, Feature, Head, Mistake, Prediction, Row, Score
from tuneline.tasks.text_classification.texts import TextTask

TOLERANCE = 0.1  # deviations of the training rows, within which two numbers are the same answer
SCATTERED = 2_000  # points drawn of gold against predicted


class TextRegression(TextTask):
    """A number per text."""

    problem_type: Literal["regression"] = Field(description="Each text has a number.")
    minimum: float | None = Field(
        None, allow_inf_nan=False, description="The lowest number that may occur. Predictions do not go below it."
    )
    maximum: float | None = Field(
        None, allow_inf_nan=False, description="The highest number that may occur. Predictions do not go above it."
    )
    target_mean: float | None = Field(
        None, allow_inf_nan=False, description="What the model learns as 0. null takes the mean of the training rows."
    )
    target_deviation: float | None = Field(
        None,
        gt=0,
        allow_inf_nan=False,
        description="What the model learns as a distance of 1. null takes the standard deviation of the training rows.",
    )

    columns: ClassVar = TextTask.columns | {"label": replace(TextTask.columns["label"], kind="number")}
    feature_types: ClassVar = {"input_ids": "list<int32>", "token_type_ids": "list<int8>", "labels": "double"}
    answer_types: ClassVar = {"value": "double"}
    metrics: ClassVar = {"rmse": False, "mae": False, "pearson": True, "spearman": True}
    loss_options: ClassVar = frozenset()
    baseline: ClassVar = "bag-of-words-ridge"
    answer: ClassVar = "value"
    pushed: ClassVar = "number"
    worst: ClassVar = "The largest errors. The score is how far off the prediction is, in the unit of the gold."

    @model_validator(mode="after")
    def _bounds_in_order(self) -> "TextRegression":
        if self.minimum is not None and self.maximum is not None and self.minimum >= self.maximum:
            raise ValueError(f"minimum: is {self.minimum:g}, which is not below maximum ({self.maximum:g})")
        return self

    def problem(self, row: Row) -> str | None:
        number = row["label"]
        if not math.isfinite(number):
            return f"label is {number}. Expected a finite number"
        if self._within(number) == number:
            return None
        bounds = {"at least": self.minimum, "at most": self.maximum}
        expected = " and ".join(f"{words} {bound:g}" for words, bound in bounds.items() if bound is not None)
        return f"label is {number:g}. Expected a number of {expected} (task.minimum, task.maximum)"

    def _within(self, number: float) -> float:
        """The nearest number within the bounds."""
        low = -math.inf if self.minimum is None else self.minimum
        return min(max(number, low), math.inf if self.maximum is None else self.maximum)

    def labels(self, rows: Iterable[Row]) -> list[str]:
        """None: a number is predicted, not a class."""
        return []

    def informed(self, rows: Iterable[Row]) -> "TextRegression":
        """With the mean and the deviation of the training rows, where params do not say others."""
        gold = np.array([row["label"] for row in rows], dtype=np.float64)
        found = {"target_mean": float(gold.mean()), "target_deviation": float(gold.std()) or 1.0}
        return self.model_copy(update={name: value for name, value in found.items() if getattr(self, name) is None})

    @property
    def _unit(self) -> tuple[float, float]:
        return self.target_mean or 0.0, self.target_deviation or 1.0

    def target(self, label: Any, code: dict[str, int]) -> float:
        mean, deviation = self._unit
        return float((label - mean) / deviation)

    def head(self, labels: Sequence[str]) -> Head:
        config = {"num_labels": 1, "problem_type": self.problem_type}
        return Head("AutoModelForSequenceClassification", config, loss="squared_error")

    def decode(
        self, outputs: Sequence[NDArray[Any]], features: Sequence[Feature], rows: Sequence[Row], labels: Sequence[str]
    ) -> list[Prediction]:
        """value, in the unit of the gold and within the bounds."""
        mean, deviation = self._unit
        return [{"value": self._within(float(mean + deviation * number))} for number in np.ravel(outputs)]

    def observed(self, prediction: Prediction) -> Answer:
        return Answer(number=prediction["value"])

    def score(self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]) -> Score:
        """Each row's own score is 1 / (1 + error), the error counted in deviations of the training rows: 1 where the
        prediction is right, 0.5 where it is one deviation off."""
        gold, predicted = _columns(predictions, rows)
        measures = {name: getattr(regression, name)(gold, predicted) for name in self.metrics}
        return Score(measures, 1 / (1 + np.abs(gold - predicted) / self._unit[1]))

    def agrees(self, prediction: Prediction, other: Prediction) -> bool:
        """Whether two numbers are at most TOLERANCE deviations of the training rows apart."""
        return abs(prediction["value"] - other["value"]) <= TOLERANCE * self._unit[1]

    def said(self, prediction: Prediction) -> str:
        return f"{prediction['value']:.4g}"

    def expectation(self, value: Any, labels: Sequence[str]) -> Prediction:
        if not isinstance(value, int | float):
            raise ValueError(f"is {value!r}. Expected a number")
        return {"value": float(value)}

    def degree(self, prediction: Prediction, labels: Sequence[str], label: str | None) -> float:
        return float(prediction["value"])

    def mistake(self, row: Row, prediction: Prediction) -> Mistake:
        gold, predicted = row["label"], prediction["value"]
        return Mistake(self.input_text(row), f"{gold:g}", f"{predicted:.4g}", abs(gold - predicted))

    def plots(
        self, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
    ) -> dict[str, list[dict[str, Any]]]:
        """Predicted beside gold, for SCATTERED rows at most, evenly chosen."""
        gold, predicted = _columns(predictions, rows)
        kept = np.unique(np.linspace(0, len(gold) - 1, SCATTERED).round().astype(int))
        return {"scatter": [{"gold": float(gold[i]), "predicted": float(predicted[i])} for i in kept]}


def fitting(cells: Sequence[Any]) -> dict[str, Any]:
    """Options that cells of the label column call for: numbers, some of them with decimals, are to be regressed.
    Whole numbers are more often classes."""
    told = [cell for cell in cells if cell not in (None, "")]
    numbers = bool(told) and all(_is_number(cell) for cell in told)
    return {"problem_type": "regression"} if numbers and any(not _is_whole(cell) for cell in told) else {}


def _is_number(cell: Any) -> bool:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return False
    try:
        return math.isfinite(float(cell))
    except (ValueError, OverflowError):
        return False


def _is_whole(cell: Any) -> bool:
    return isinstance(cell, int) or (isinstance(cell, str) and cell.strip().lstrip("+-").isdigit())


def _columns(predictions: Sequence[Prediction], rows: Sequence[Row]) -> tuple[regression.Numbers, regression.Numbers]:
    """Gold and predicted numbers, (rows,) each."""
    gold = np.array([row["label"] for row in rows], dtype=np.float64)
    return gold, np.array([prediction["value"] for prediction in predictions], dtype=np.float64)
