"""What every task in the table must keep. A new task passes this before anything else."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray

from tuneline.checkpoints import load_tokenizer
from tuneline.parquet import schema_of
from tuneline.tasks import TASKS, task_class
from tuneline.tasks.base import Prediction, Task

# For each task: params, sound rows, outputs that say exactly the gold of these rows, and rows that are broken. perfect:
# the best value of the metric that decides, where that is not 1 (or 0, where lower is better).
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
    "token-classification": {
        "params": {"tag_names": ["O", "B-THING", "I-THING"]},  # codes B-THING 0, I-THING 1, O 2
        "rows": [
            {"tokens": ["the", "kettle", "was", "good"], "tags": ["O", "B-THING", "O", "O"]},
            {"tokens": ["lovely", "lamp"], "tags": ["B-THING", "I-THING"]},
        ],
        "outputs": [  # [CLS], the words, [SEP]
            [[0, 0, 9], [0, 0, 9], [9, 0, 0], [0, 0, 9], [0, 0, 9], [0, 0, 9]],
            [[0, 0, 9], [9, 0, 0], [0, 9, 0], [0, 0, 9]],
        ],
        "broken": [
            ({"tokens": ["a", "lamp"], "tags": ["O"]}, "tags has 1 tags for 2 tokens"),
            ({"tokens": ["lamp"], "tags": ["B-THNG"]}, "Did you mean 'B-THING'?"),
            ({"tokens": ["a", "lamp"], "tags": ["O", "I-THING"]}, "word 2 ('lamp') is I-THING, between O and the end"),
        ],
    },
    "question-answering": {
        "params": {"unanswerable": True},
        "rows": [
            {
                "question": "was it good",
                "context": "the kettle was not very good",
                "answers": [{"text": "very good", "answer_start": 19}],
            },
            {"question": "was it bad", "context": "it is a lamp", "answers": []},
        ],
        "outputs": [  # of [CLS], the question, [SEP], the context, [SEP]: scores as first token, then as last
            [[0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0]],
            [[9, 0, 0, 0, 0, 0, 0, 0, 0, 0], [9, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
        ],
        "broken": [
            (
                {"question": "who", "context": "a lamp", "answers": [{"text": "lamp", "answer_start": 1}]},
                "'lamp' should begin at character 1, where the context has ' lam'. It stands at 2",
            ),
            (
                {"question": "who", "context": "a lamp", "answers": [{"text": "kettle", "answer_start": 9}]},
                "which is outside the context (0 to 6). It stands nowhere in the context",
            ),
            ({"question": "who", "context": "a lamp", "answers": [{"text": " ", "answer_start": 1}]}, "is blank"),
        ],
    },
    "masked-lm": {
        "params": {"candidates": 1},
        "rows": [{"text": "the kettle was not good"}, {"text": "the lamp"}],
        "outputs": [
            [[0.0, 1.0, 0.0]],
            [[0.0, 1.0, 0.0]],
        ],  # of each masked word: no nats, the likeliest token, its nats
        "broken": [],
        "perfect": 1.0,
    },
    "causal-lm": {
        "params": {},
        "rows": [{"text": "the kettle was good"}, {"text": "lovely lamp"}],
        "outputs": [[[0.0, 1.0, 0.0]] * 5, [[0.0, 1.0, 0.0]] * 3],  # of each word and of the end
        "broken": [],
        "perfect": 1.0,
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
    if not task.gold:
        pytest.skip("a text is its own gold")
    rows = [{name: value for name, value in row.items() if name not in task.gold} for row in case["rows"]]
    features = task.encode(load_tokenizer(toy_checkpoint), rows, task.labels(case["rows"]))
    assert all("labels" not in feature for feature in features)


def predicted(case: dict[str, Any], checkpoint: Path) -> list[Prediction]:
    """The case's outputs, decoded for the features of its rows."""
    task, labels = case["task"], case["task"].labels(case["rows"])
    features = task.encode(load_tokenizer(checkpoint), case["rows"], labels)
    outputs: list[NDArray[Any]] = [task.condense(np.array([each], dtype=float))[0] for each in case["outputs"]]
    found: list[Prediction] = task.decode(outputs, features, case["rows"], labels)
    return found


def test_gold_as_prediction_scores_perfect(case: dict[str, Any], toy_checkpoint: Path) -> None:
    task = case["task"]
    score = task.score(predicted(case, toy_checkpoint), case["rows"], task.labels(case["rows"]))
    best = case.get("perfect", 1.0 if task.metrics[task.default_metric] else 0.0)
    assert score.metrics[task.default_metric] == best
    assert score.per_row.tolist() == [1.0] * len(case["rows"])


def test_every_score_is_declared(case: dict[str, Any], toy_checkpoint: Path) -> None:
    task = case["task"]
    scores = task.score(predicted(case, toy_checkpoint), case["rows"], task.labels(case["rows"])).metrics
    assert set(scores) <= set(task.metrics)
    assert task.default_metric in scores


def test_a_task_survives_its_own_dump(case: dict[str, Any]) -> None:
    task = case["task"]
    assert type(task).model_validate(task.model_dump(mode="json")) == task


def test_features_and_answers_have_the_types_that_the_task_declares(case: dict[str, Any], toy_checkpoint: Path) -> None:
    task = case["task"]
    features = task.encode(load_tokenizer(toy_checkpoint), case["rows"], task.labels(case["rows"]))
    assert pa.Table.from_pylist(features, schema_of(task.feature_types)).to_pylist() == features
    answers = schema_of(task.answer_types)
    assert len(pa.Table.from_pylist(predicted(case, toy_checkpoint), answers)) == len(case["rows"])
