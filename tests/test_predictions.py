"""The file of predictions: what its columns are called, and whose it is."""

from pathlib import Path
from typing import Any

import pytest

from tuneline import predictions
from tuneline.errors import DataError
from tuneline.parquet import read_rows, schema_of, write_rows
from tuneline.tasks import task_class
from tuneline.tasks.base import Task

ROWS: list[dict[str, Any]] = [{"row": 4, "text": "a lamp", "label": "good", "score": "mine"}]
FOUND = [{"label": "bad", "score": 0.75, "probabilities": [0.75, 0.25]}]


def task(name: str) -> Task:
    return task_class(name).model_validate({"name": name})


def test_a_part_whose_name_the_row_has_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "predictions.parquet"
    predictions.write(file, task("text-classification"), FOUND, ROWS, [0.0])
    assert read_rows(file) == [
        {"row": 4, "text": "a lamp", "label": "good", "score": "mine", "predicted_label": "bad",
         "predicted_score": 0.75, "probabilities": [0.75, 0.25], "row_score": 0.0}
    ]  # fmt: skip
    assert predictions.read(file, task("text-classification")) == FOUND


def test_the_same_predictions_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        predictions.write(tmp_path / name, task("text-classification"), FOUND, ROWS, [0.0])
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_predictions_of_another_task_or_of_none_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "predictions.parquet"
    predictions.write(file, task("text-classification"), FOUND, ROWS, [0.0])
    with pytest.raises(DataError, match=r"holds those of text-classification\. Expected predictions of causal-lm"):
        predictions.read(file, task("causal-lm"))
    write_rows(file, [{"text": "a lamp"}], schema_of({"text": "string"}))
    with pytest.raises(DataError, match="holds no predictions of evaluate"):
        predictions.read(file, task("causal-lm"))
