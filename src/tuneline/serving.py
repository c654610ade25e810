"""The door that MLflow opens: a model folder as a pyfunc model.

This module and what it imports travel inside every model folder (`code/`), so a registered model predicts
without tuneline being installed.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from tuneline.errors import DataError
from tuneline.inference import Predictor
from tuneline.tasks.base import Row

SHOWN = 20  # problems


class TunelineModel:
    """Texts in, predictions out.

    predict takes a DataFrame with the task's input columns, or a list of texts where the task reads one, and returns a
    DataFrame with one line per row, in the words of the task: `label`, `score` (its probability) and `probabilities`;
    `labels`; `value`; `tags`; a generated `text`; `perplexity`.
    """

    def __init__(self, folder: Path) -> None:
        self.predictor = Predictor.load(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> pd.DataFrame:
        frame = model_input if isinstance(model_input, pd.DataFrame) else self._frame(list(model_input))
        rows = frame.astype(object).where(frame.notna(), None).to_dict("records")  # an empty cell is None, not NaN
        self._check(rows)
        return pd.DataFrame(self.predictor.predict(rows), index=frame.index)

    def _check(self, rows: Sequence[Row]) -> None:
        """DataError names every row, from 1, with a value that is no text. Missing columns are for the task to tell."""
        plain = [(name, column) for name, column in self.predictor.task.texts.items() if column.kind == "text"]
        problems = [
            f"row {number}: {name} {problem}"
            for number, row in enumerate(rows, start=1)
            for name, column in plain
            if name in row and (problem := _problem(row[name], required=column.required))
        ]
        if problems:
            more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
            raise DataError("\n  ".join(["nothing was predicted.", *problems[:SHOWN]]) + more)

    def _frame(self, texts: list[Any]) -> pd.DataFrame:
        """A list of texts as the one column that the task must have. DataError when it must have more."""
        task = self.predictor.task
        needed = [name for name, column in task.texts.items() if column.required]
        if len(needed) != 1:
            raise DataError(
                f"a plain list has one text a row, and {task.name} reads {', '.join(needed)}. Expected a DataFrame "
                "with these columns."
            )
        return pd.DataFrame({needed[0]: texts}, dtype=object)  # as they came: _check says what is none


def _problem(value: Any, *, required: bool) -> str | None:
    """What keeps a value from being read as text."""
    if value is None:
        return "is missing" if required else None
    if not isinstance(value, str):
        return f"is {value!r:.100}. Expected text"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"holds half of a character at place {error.start + 1}, {value[error.start]!a}. Expected Unicode text"
    return None


def _load_pyfunc(path: str) -> TunelineModel:
    """Called by mlflow.pyfunc.load_model with the folder of the model."""
    return TunelineModel(Path(path))
