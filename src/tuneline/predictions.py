"""What a model predicted for the test rows, in a file that people and programs read.

    row  text            label     predicted_label  score  probabilities   row_score
    417  Broke at once.  negative  negative         0.987  [0.987, 0.013]          1

A part of a prediction whose name the row has already is called predicted_NAME. The file names its parts itself, so they
are found again whatever columns the rows had.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tuneline.errors import DataError
from tuneline.tasks.base import Prediction, Row, Task

PARTS = b"tuneline.predictions"  # in the metadata of the file: the task, and column → part of a prediction


def write(path: Path, task: Task, predictions: Sequence[Prediction], rows: Sequence[Row],
          row_scores: Iterable[float]) -> None:  # fmt: skip
    """One line per row: the row itself, what was predicted, and the row's score."""
    columns = {f"predicted_{name}" if name in rows[0] else name: name for name in predictions[0]}
    lines = [
        {**row, **{column: prediction[name] for column, name in columns.items()}, "row_score": float(points)}
        for row, prediction, points in zip(rows, predictions, row_scores, strict=True)
    ]
    parts = json.dumps({"task": task.name, "columns": columns}, ensure_ascii=False)
    table = pa.Table.from_pylist(lines).replace_schema_metadata({PARTS: parts})
    pq.write_table(table, path, compression="zstd")


def read(path: Path, task: Task) -> list[Prediction]:
    """The predictions as decode gave them, in order. DataError when the file does not hold any of this task."""
    with pq.ParquetFile(path) as file:
        metadata = file.schema_arrow.metadata or {}
        parts = json.loads(metadata.get(PARTS, b'{"task": null, "columns": {}}'))
        if parts["task"] != task.name:
            found = f"those of {parts['task']}" if parts["task"] else "no predictions of evaluate"
            raise DataError(f"{path} holds {found}. Expected predictions of {task.name}: evaluate the model again.")
        lines = file.read(columns=list(parts["columns"])).to_pylist()
    return [{name: line[column] for column, name in parts["columns"].items()} for line in lines]
