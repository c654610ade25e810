"""What every task in the table must keep. A new task passes this before anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tuneline.checkpoints import load_tokenizer
from tuneline.tasks import TASKS, task_class
from tuneline.tasks.base import Task

# For each task: params, sound rows, and outputs that say exactly the gold of these rows.
CASES: dict[str, dict[str, Any]] = {
    "text-classification": {
        "params": {"label_names": ["bad", "good"]},
        "rows": [
            {"text": "the kettle was good", "label": "good"},
            {"text": "the lamp was bad", "label": "bad"},
            {"text": "it is not very good", "text_pair": "the phone is awful", "label": "bad"},
        ],
        "outputs": [[-9.0, 9.0], [9.0, -9.0], [9.0, -9.0]],
        "broken": [({"text": "it is fine", "label": "goood"}, "Did you mean 'good'?")],
    },
}


@pytest.fixture(params=list(TASKS))
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    assert request.param in CASES, f"add rows for {request.param} to CASES"
    task: Task = task_class(request.param).model_validate({"name": request.param, **CASES[request.param]["params"]})
    return {"task": task, **CASES[request.param]}


def test_a_sound_row_has_no_problem(case: dict[str, Any]) -> None:
    assert [case["task"].problem(row) for row in case["rows"]] == [None] * len(case["rows"])


def test_each_broken_row_is_told_what_is_wrong(case: dict[str, Any]) -> None:
    for row, said in case["broken"]:
        assert said in str(case["task"].problem(row))


def test_one_batch_or_many_encode_the_same(case: dict[str, Any], toy_checkpoint: Path) -> None:
    tokenizer, task = load_tokenizer(toy_checkpoint), case["task"]
    labels = task.labels(case["rows"])
    together = task.encode(tokenizer, case["rows"], labels)
    assert together == [task.encode(tokenizer, [row], labels)[0] for row in case["rows"]]


def test_rows_without_gold_encode_without_labels(case: dict[str, Any], toy_checkpoint: Path) -> None:
    task = case["task"]
    gold = [name for name, column in task.columns.items() if column.kind == "label"]
    rows = [{name: value for name, value in row.items() if name not in gold} for row in case["rows"]]
    features = task.encode(load_tokenizer(toy_checkpoint), rows, task.labels(case["rows"]))
    assert all("labels" not in feature for feature in features)


def test_gold_as_prediction_scores_perfect(case: dict[str, Any]) -> None:
    task = case["task"]
    labels = task.labels(case["rows"])
    predictions = task.decode(np.array(case["outputs"]), labels)
    score = task.score(predictions, case["rows"], labels)
    assert score.metrics[task.default_metric] == (1.0 if task.metrics[task.default_metric] else 0.0)
    assert score.per_row.tolist() == [1.0] * len(case["rows"])


def test_every_score_is_declared(case: dict[str, Any]) -> None:
    task = case["task"]
    labels = task.labels(case["rows"])
    scores = task.score(task.decode(np.array(case["outputs"]), labels), case["rows"], labels).metrics
    assert set(scores) <= set(task.metrics)
    assert task.default_metric in scores


def test_a_task_survives_its_own_dump(case: dict[str, Any]) -> None:
    task = case["task"]
    assert type(task).model_validate(task.model_dump(mode="json")) == task
