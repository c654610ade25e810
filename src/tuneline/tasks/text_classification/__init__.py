"""A text, or a pair of texts → a label, any number of labels, or a number. `problem_type` says which.

    {"text": "Broke after two days.", "label": "negative"}                  single_label_classification
    {"text": "Broke, and no refund.", "label": ["quality", "service"]}      multi_label_classification
    {"text": "A plane takes off.", "text_pair": "A plane lands.", "label": 1.2}      regression

Columns: `text`, optionally `text_pair` (a second text for sentence-pair tasks), and `label`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ModelWrapValidatorHandler, model_validator

from tuneline.errors import did_you_mean
from tuneline.tasks.base import Row, Task
from tuneline.tasks.text_classification.multi_label import MultiLabelClassification
from tuneline.tasks.text_classification.multi_label import fitting as fitting_labels
from tuneline.tasks.text_classification.regression import TextRegression
from tuneline.tasks.text_classification.regression import fitting as fitting_numbers
from tuneline.tasks.text_classification.single_label import SingleLabelClassification
from tuneline.tasks.text_classification.texts import TextTask

PROBLEMS: dict[str, type[TextTask]] = {  # by problem_type, as transformers spells them; the first one is the default
    "single_label_classification": SingleLabelClassification,
    "multi_label_classification": MultiLabelClassification,
    "regression": TextRegression,
}


class TextClassification(TextTask):
    """The section of params.yaml as it is read: into the class of its problem."""

    @classmethod
    def forms(cls) -> tuple[type[Task], ...]:
        return tuple(PROBLEMS.values())

    @classmethod
    def fitting(cls, rows: Sequence[Row]) -> dict[str, Any]:
        cells = [row["label"] for row in rows]
        return fitting_labels(cells) or fitting_numbers(cells)

    @model_validator(mode="wrap")
    @classmethod
    def _of_its_problem(cls, value: Any, read: ModelWrapValidatorHandler[Any]) -> Any:
        if not isinstance(value, Mapping):
            return read(value)
        problem = value.get("problem_type", next(iter(PROBLEMS)))
        if problem not in PROBLEMS:
            known = f"Known problem types: {', '.join(PROBLEMS)}"
            raise ValueError(f"problem_type: unknown {problem!r}.{did_you_mean(str(problem), PROBLEMS)} {known}")
        return PROBLEMS[problem].model_validate(value)


TASK = TextClassification
