"""What every task in the table must keep. A new task passes this before anything else."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from prefect.utilities.callables import parameter_schema
from prefect.utilities.schema_tools import validate
from prefect.utilities.schema_tools.validation import ValidationError

from flows.fine_tune import fine_tune as fine_tune_flow
from tuneline import packaging, predictions
from tuneline.augmentation import Editor
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.params import Augmentation, Model, Sections, Train, check_params
from tuneline.parquet import read_rows, schema_of
from tuneline.tasks import TASKS, task_class
from tuneline.tasks.base import Generated, Prediction, Task
from tuneline.training import fine_tune

# For each task: params, sound rows, outputs that say exactly the gold of these rows, and rows that are broken. A task
# with several problems has a case for each: the name goes on after a comma. perfect: the best value of the metric that
# decides, where that is not 1 (or 0, where lower is better). learned: the rows to overfit, where not all can be.
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
    "text-classification, one of several labels": {
        "params": {},
        "rows": [
            {"text": "the kettle was good", "label": "good"},
            {"text": "the lamp was bad", "label": "bad"},
            {"text": "it is fine", "label": "fine"},
        ],
        "outputs": [[0.0, 0.0, 9.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]],
        "broken": [],
    },
    "text-classification, any number of labels": {
        "params": {
            "problem_type": "multi_label_classification",
            "label_names": ["lamp", "phone"],
            "allow_empty": False,
        },
        "rows": [
            {"text": "the lamp and the phone", "label": ["lamp", "phone"]},
            {"text": "it was a lamp", "text_pair": "it was broken", "label": ["lamp"]},
        ],
        "outputs": [[9.0, 9.0], [9.0, -9.0]],
        "broken": [
            ({"text": "it is fine", "label": []}, "Expected a label, or task.allow_empty: true"),
            ({"text": "it is fine", "label": ["lamp", "fone"]}, "label is 'fone'. Known labels: lamp, phone. Did you"),
            ({"text": "it is fine", "label": ["lamp|phone"]}, "'lamp|phone' holds the separator '|'"),
            ({"text": "it is fine", "label": ["lamp", " "]}, "number 2 of the list is blank"),
            ({"text": "it is fine", "label": ["lamp", "lamp"]}, "'lamp' stands twice"),
        ],
    },
    "text-classification, a number": {
        "params": {"problem_type": "regression", "minimum": 0, "maximum": 5, "target_mean": 3, "target_deviation": 2},
        "rows": [
            {"text": "a lamp", "text_pair": "the lamp", "label": 5.0},
            {"text": "a lamp", "text_pair": "the kettle", "label": 2.0},
        ],
        "outputs": [[1.0], [-0.5]],
        "broken": [
            ({"text": "it is fine", "label": 7.5}, "label is 7.5. Expected a number of at least 0 and at most 5"),
            ({"text": "it is fine", "label": float("nan")}, "label is nan. Expected a finite number"),
            ({"text": "it is fine", "label": float("inf")}, "label is inf. Expected a finite number"),
        ],
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
        "learned": [{"text": "the kettle was good"}],  # which of two texts begins cannot be known
        "outputs": [[[0.0, 1.0, 0.0]] * 5, [[0.0, 1.0, 0.0]] * 3],  # of each word and of the end
        "broken": [],
        "perfect": 1.0,
    },
    "seq2seq": {
        "params": {"goal": "translation", "max_target_length": 16},
        "rows": [
            {"source": "the kettle was good", "target": ["it was the very good kettle"]},
            {"source": "a lamp", "target": ["lovely lamp it is", "the lamp is not bad"]},
        ],
        "outputs": [Generated("it was the very good kettle", 0.9), Generated("the lamp is not bad", 0.8)],
        "broken": [
            ({"source": "a lamp", "target": []}, "target is empty"),
            ({"source": "a lamp", "target": [" "]}, "target is blank"),
            ({"source": "a lamp", "target": ["it is", ""]}, "target: text 2 is blank"),
            ({"source": "a lamp", "target": ["it is", "a lamp "]}, "target is the same as source"),
        ],
    },
}


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    found = CASES[request.param]
    name = request.param.partition(",")[0]
    task: Task = task_class(name).model_validate({"name": name, **found["params"]})
    return {"task": task, **found}


@pytest.mark.parametrize("name", TASKS)
def test_each_form_of_a_task_has_a_case(name: str) -> None:
    cases = [(key.partition(",")[0], found["params"]) for key, found in CASES.items()]
    tried = {type(task_class(name).model_validate({"name": name, **params})) for key, params in cases if key == name}
    assert tried == set(task_class(name).forms()), f"add rows for {name} to CASES"


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
    outputs = [
        each if isinstance(each, Generated) else task.condense(np.array([each], dtype=float))[0]
        for each in case["outputs"]
    ]
    found: list[Prediction] = task.decode(outputs, features, case["rows"], labels)
    return found


def test_gold_as_prediction_scores_perfect(case: dict[str, Any], toy_checkpoint: Path) -> None:
    task = case["task"]
    score = task.score(predicted(case, toy_checkpoint), case["rows"], task.labels(case["rows"]))
    best = case.get("perfect", 1.0 if task.metrics[task.default_metric] else 0.0)
    assert score.metrics[task.default_metric] == best
    assert score.per_row.tolist() == [1.0] * len(case["rows"])


def some_right(case: dict[str, Any], checkpoint: Path) -> tuple[list[Prediction], list[dict[str, Any]]]:
    """Predictions of the case's rows, first those that say the gold, then those of an untrained model; and the rows."""
    start, rows = untrained(case, checkpoint), case["rows"]
    return [*predicted(case, checkpoint), *start.predict_features(start.encode(rows), rows)], [*rows, *rows]


def test_under_weights_a_metric_is_that_of_rows_written_down_as_often(
    case: dict[str, Any], toy_checkpoint: Path
) -> None:
    task, labels = case["task"], case["task"].labels(case["rows"])
    predictions, rows = some_right(case, toy_checkpoint)
    measures = task.score(predictions, rows, labels).measures
    weights = np.random.default_rng(0).integers(0, 4, (40, len(rows))).astype(float)
    found = {name: measure(weights) for name, measure in measures.items()}
    for number, counts in enumerate(weights):
        at = np.repeat(np.arange(len(rows)), counts.astype(int))
        expected = task.score([predictions[i] for i in at], [rows[i] for i in at], labels).metrics
        for name, values in found.items():  # what these rows leave undefined is not among their metrics
            assert values[number] == pytest.approx(expected.get(name, np.nan), nan_ok=True), name
    assert len(set(found[task.default_metric].round(6))) > 1


def test_predictions_are_read_back_from_their_file(case: dict[str, Any], toy_checkpoint: Path, tmp_path: Path) -> None:
    task, labels = case["task"], case["task"].labels(case["rows"])
    given, rows = some_right(case, toy_checkpoint)
    numbered = [{"row": number, "id": None, **row} for number, row in enumerate(rows)]
    score = task.score(given, rows, labels)
    predictions.write(tmp_path / "predictions.parquet", task, given, numbered, score.per_row)
    found = predictions.read(tmp_path / "predictions.parquet", task)
    assert found == given
    assert task.score(found, rows, labels).metrics == score.metrics
    assert read_rows(tmp_path / "predictions.parquet", ["row_score"])[0] == {"row_score": 1.0}


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


MAX_LENGTH = 128  # tokens, far beyond those of the rows


def document(case: dict[str, Any], checkpoint: Path) -> dict[str, Any]:
    """A params document of the case's task."""
    return {
        "data": {"name": "toy"},
        "task": {"name": case["task"].name, **case["params"]},
        "model": {"checkpoint": str(checkpoint), "dropout": 0.0, "attention_dropout": 0.0},
        "tokenize": {"max_length": MAX_LENGTH},
        "train": {},
        "evaluate": {},
        "register": {"name": "toy"},
    }


def untrained(case: dict[str, Any], checkpoint: Path) -> Predictor:
    """The toy checkpoint with a fresh head for the case's task."""
    task, labels, tokenizer = case["task"], case["task"].labels(case["rows"]), load_tokenizer(checkpoint)
    task.limit(tokenizer, MAX_LENGTH)
    params = Model.model_validate(document(case, checkpoint)["model"])
    return Predictor(task, labels, initial_model(find_checkpoint(params), task.head(labels), params, 0), tokenizer)


def test_a_tiny_model_overfits_eight_rows(case: dict[str, Any], toy_checkpoint: Path, tmp_path: Path) -> None:
    start, rows = untrained(case, toy_checkpoint), (case.get("learned", case["rows"]) * 8)[:8]
    task, labels, tokenizer = start.task, start.labels, start.tokenizer
    assert tokenizer is not None
    params = Train(learning_rate=0.005, num_train_epochs=200, per_device_train_batch_size=8, threads=1)
    split = task.encode(tokenizer, rows, labels), rows
    trained = fine_tune(
        start.model, task, labels, tokenizer, params, split, ([], []), checkpoints=tmp_path / "c", callbacks=[]
    )
    predictor = Predictor(trained.task, labels, trained.model, tokenizer)
    score = task.score(predictor.predict_features(*split), rows, labels)
    assert score.per_row.tolist() == pytest.approx([1.0] * 8, abs=0.05), score.metrics


def test_a_saved_model_predicts_the_same_through_pyfunc(
    case: dict[str, Any], toy_checkpoint: Path, tmp_path: Path
) -> None:
    predictor = untrained(case, toy_checkpoint)
    params = Sections(check_params(document(case, toy_checkpoint)), ("task", "model", "tokenize", "train"))
    checkpoint = find_checkpoint(params.model)
    record = {"best": {}, "train_rows": 8, "steps": 0, "inputs_digest": "0" * 64}
    predictor.model.save_pretrained(tmp_path / "model")
    packaging.complete(tmp_path / "model", params, predictor.task, predictor.labels, toy_checkpoint, checkpoint, record)
    inputs = pd.DataFrame(case["rows"]).drop(columns=predictor.task.gold)
    served = mlflow.pyfunc.load_model(str(tmp_path / "model")).predict(inputs)
    pd.testing.assert_frame_equal(served, pd.DataFrame(predictor.predict(case["rows"])))


def test_the_form_of_the_flow_takes_the_task_and_no_unknown_key(case: dict[str, Any], toy_checkpoint: Path) -> None:
    schema = parameter_schema(fine_tune_flow).model_dump()
    params = document(case, toy_checkpoint)
    validate({"params": params}, schema, raise_on_error=True)
    for wrong in (
        {**params, "task": {**params["task"], "no_such_key": 1}},
        {**params, "task": {"name": "no-such-task"}},
    ):
        with pytest.raises(ValidationError):
            validate({"params": wrong}, schema, raise_on_error=True)


def test_augmented_rows_are_sound_and_the_row_itself_stays(case: dict[str, Any], toy_checkpoint: Path) -> None:
    task, rows, before = case["task"], case["rows"], deepcopy(case["rows"])
    edits = Augmentation(word_dropout=0.3, word_swap=0.3, masking=0.2, case=0.3, typos=0.3)
    read = [
        (row, task.augmented(row, Editor(edits, "[UNK]", np.random.default_rng((number, seed)))))
        for number, row in enumerate(rows)
        for seed in range(30)
    ]
    assert [task.problem(augmented) for _, augmented in read] == [None] * len(read)
    changed = {name for row, augmented in read for name in row if augmented[name] != row[name]}
    assert changed <= {*task.edited, *task.gold}
    assert bool(changed) == bool(task.edited)
    assert rows == before
    assert task.encode(load_tokenizer(toy_checkpoint), [augmented for _, augmented in read], task.labels(rows))
