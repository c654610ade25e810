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
from tests.conftest import WORDS
from tuneline import observations, packaging, predictions
from tuneline.augmentation import Editor
from tuneline.checkpoints import find_checkpoint, load_tokenizer
from tuneline.errors import ParamsError
from tuneline.inference import Predictor
from tuneline.modelling import initial_model, save_model
from tuneline.observations import REFERENCE_SCHEMA
from tuneline.params import Augmentation, Lora, Model, Sections, Train, check_params
from tuneline.parquet import read_rows, schema_of, write_rows
from tuneline.tasks import TASKS, task_class
from tuneline.tasks.base import Generated, Prediction, Row, Task
from tuneline.tasks.pushed import PushedTask
from tuneline.tasks.text_classification.multi_label import NO_LABEL
from tuneline.training import fine_tune

GOOD, BAD, THINGS = ("good", "great", "lovely", "fine"), ("bad", "awful", "poor", "broken"), ("kettle", "lamp", "phone")
EIGHT = [f"{word} {thing}" for word, thing in zip(GOOD + BAD, THINGS * 3, strict=False)]  # good kettle, great lamp, ...
SAID = ["good"] * 4 + ["bad"] * 4


def question(word: str, thing: str) -> dict[str, Any]:
    """What is it? is answered by the thing; of what is bad, nothing is said."""
    answers = [] if word in BAD else [{"text": thing, "answer_start": 7 + len(word)}]
    return {"question": "what is it", "context": f"it is {word} {thing} and it was", "answers": answers}


# For each task: params, sound rows, outputs that say exactly the gold of these rows, rows that are broken, and eight
# different ones to overfit. A task with several problems has a case for each: the name goes on after a comma. perfect:
# the best value of the metric that decides, where that is not 1 (or 0, where lower is better). at_most: the best score
# of a learned row, where that is not 1. epochs: where 200 do not do.
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
        "learned": [{"text": text, "label": label} for text, label in zip(EIGHT, SAID, strict=True)],
    },
    "text-classification, one of several labels": {
        "params": {"label_names": ["bad", "fine", "good"]},
        "rows": [
            {"text": "the kettle was good", "label": "good"},
            {"text": "the lamp was bad", "label": "bad"},
            {"text": "it is fine", "label": "fine"},
        ],
        "outputs": [[0.0, 0.0, 9.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]],
        "broken": [
            (
                {"text": "it is fine", "label": "fin"},
                "label is 'fin'. Known labels: bad, fine, good. Did you mean 'fine'?",
            )
        ],
        "learned": [
            {"text": text, "label": label}
            for text, label in zip(EIGHT, [*SAID[:3], "fine", *SAID[4:7], "fine"], strict=True)
        ],
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
        "learned": [
            {"text": f"{word} {' and '.join(label)}", "label": label}
            for word, label in zip(GOOD + BAD, [["lamp"], ["phone"], ["lamp", "phone"]] * 3, strict=False)
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
        "learned": [{"text": text, "label": 0.5 * number} for number, text in enumerate(EIGHT)],
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
        "learned": [
            {"tokens": ["the", word, thing, "was", "fine"], "tags": ["O", *tags, "O", "O"]}
            for word, thing in map(str.split, EIGHT)
            for tags in [("B-THING", "I-THING") if word in GOOD else ("O", "B-THING")]
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
        "learned": [question(*text.split()) for text in EIGHT],
    },
    "masked-lm": {
        "params": {"candidates": 1},
        "rows": [{"text": "the kettle was not good"}, {"text": "the lamp"}],
        "outputs": [
            [[0.0, 1.0, 0.0]],
            [[0.0, 1.0, 0.0]],
        ],  # of each masked word: no nats, the likeliest token, its nats
        "broken": [({"text": "the [MASK] was good"}, "text holds [MASK], which hides a word")],
        "learned": [{"text": f"{a} {b} {a} {b}"} for a, b in zip(WORDS[:8], WORDS[8:16], strict=True)],
        "epochs": 400,  # each hides other words
        "perfect": 1.0,
    },
    "causal-lm": {
        "params": {},
        "rows": [{"text": "the kettle was good"}, {"text": "lovely lamp"}],
        "outputs": [[[0.0, 1.0, 0.0]] * 5, [[0.0, 1.0, 0.0]] * 3],  # of each word and of the end
        "broken": [({"text": "it is fine<|endoftext|>a lamp"}, "text holds <|endoftext|>, which ends a text")],
        "learned": [{"text": f"{word} it was not"} for word in GOOD + BAD],
        "perfect": 1.0,
        "at_most": 8 ** (-1 / 5),  # of 5 tokens, which of eight words comes first cannot be known
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
        "learned": [
            {"source": text, "target": [f"the {thing} is {word}"]} for text in EIGHT for word, thing in [text.split()]
        ],
    },
}


def case_of(key: str) -> dict[str, Any]:
    name = key.partition(",")[0]
    task: Task = task_class(name).model_validate({"name": name, **CASES[key]["params"]})
    return {"task": task, **CASES[key]}


@pytest.fixture(params=list(CASES), scope="module")
def case(request: pytest.FixtureRequest) -> dict[str, Any]:
    return case_of(request.param)


@pytest.mark.parametrize("name", TASKS)
def test_each_form_of_a_task_has_a_case(name: str) -> None:
    cases = [(key.partition(",")[0], found["params"]) for key, found in CASES.items()]
    tried = {type(task_class(name).model_validate({"name": name, **params})) for key, params in cases if key == name}
    assert tried == set(task_class(name).forms()), f"add rows for {name} to CASES"


def test_a_sound_row_has_no_problem(case: dict[str, Any]) -> None:
    assert [case["task"].problem(row) for row in case["rows"]] == [None] * len(case["rows"])


def test_eight_different_rows_are_sound(case: dict[str, Any]) -> None:
    assert [case["task"].problem(row) for row in case["learned"]] == [None] * 8
    assert len({repr(row) for row in case["learned"]}) == 8


def test_each_broken_row_is_told_what_is_wrong(case: dict[str, Any]) -> None:
    assert case["broken"]
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


def test_what_behavioural_tests_look_at_is_part_of_the_answer(case: dict[str, Any], toy_checkpoint: Path) -> None:
    """Each prediction agrees with itself and reads as something; a task that edits rows has an answer to compare."""
    task, labels = case["task"], case["task"].labels(case["rows"])
    assert (task.answer is None) == (not task.edited)
    if task.answer is None:
        return
    assert task.answer in task.answer_types
    for prediction in predicted(case, toy_checkpoint):
        assert task.agrees(prediction, prediction)
        assert task.said(prediction)
        assert task.agrees(task.expectation(prediction[task.answer], labels), prediction)
        if not isinstance(task, PushedTask):
            continue
        if task.pushed == "label":
            observed = task.observed(prediction).labels
            assert observed is not None and set(observed) <= {*labels, NO_LABEL}
            assert all(0 <= task.degree(prediction, labels, label) <= 1 for label in labels)
        else:
            assert task.degree(prediction, labels, None) == prediction[task.answer]


def test_what_a_row_reads_as_and_its_labels_are_strings(case: dict[str, Any]) -> None:
    for row in case["rows"]:
        assert case["task"].input_text(row)
        assert all(isinstance(label, str) for label in case["task"].gold_labels(row))


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


def untrained(case: dict[str, Any], checkpoint: Path, lora: Lora | None = None) -> Predictor:
    """The toy checkpoint with a fresh head for the case's task, and an adapter where one is given."""
    task, labels, tokenizer = case["task"], case["task"].labels(case["rows"]), load_tokenizer(checkpoint)
    task.limit(tokenizer, MAX_LENGTH)
    params = Model.model_validate(document(case, checkpoint)["model"])
    model = initial_model(find_checkpoint(params), task.head(labels), params, 0, lora)
    return Predictor(task, labels, model, tokenizer)


def learned(start: Predictor, rows: list[Row], folder: Path, **params: Any) -> Predictor:
    """The model trained on rows, eight in a batch."""
    assert start.tokenizer is not None
    train = Train.model_validate({"per_device_train_batch_size": 8, "threads": 1, **params})
    trained = fine_tune(
        start.model, start.task, start.labels, start.tokenizer, train, (start.encode(rows), rows), ([], []),
        checkpoints=folder, callbacks=[],
    )  # fmt: skip
    return Predictor(trained.task, start.labels, trained.model, start.tokenizer)


@pytest.fixture(scope="module")
def overfitted(case: dict[str, Any], toy_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A tiny model, trained on the eight rows of a case."""
    checkpoints = tmp_path_factory.mktemp("checkpoints")
    return learned(untrained(case, toy_checkpoint), case["learned"], checkpoints,
                   learning_rate=0.005, num_train_epochs=case.get("epochs", 200))  # fmt: skip


def row_scores(predictor: Predictor, rows: list[Row]) -> list[float]:
    predictions = predictor.predict_features(predictor.encode(rows), rows)
    found: list[float] = predictor.task.score(predictions, rows, predictor.labels).per_row.tolist()
    return found


def test_a_tiny_model_overfits_eight_different_rows(case: dict[str, Any], overfitted: Predictor) -> None:
    best = case.get("at_most", 1.0)
    assert row_scores(overfitted, case["learned"]) == pytest.approx([best] * 8, abs=0.05)


def saved(predictor: Predictor, case: dict[str, Any], checkpoint: Path, folder: Path) -> Path:
    """A whole model folder, as fine-tune writes it."""
    params = Sections(check_params(document(case, checkpoint)), ("task", "model", "tokenize", "train"))
    found = find_checkpoint(params.model)
    record = {"best": {}, "train_rows": 8, "steps": 0, "inputs_digest": "0" * 64, "bf16": False}
    save_model(predictor.model, folder, found)
    packaging.complete(folder, params, predictor.task, predictor.labels, checkpoint, found, record)
    return folder


def served(folder: Path, rows: list[Row], predictor: Predictor) -> pd.DataFrame:
    """What the folder answers through pyfunc."""
    answer: pd.DataFrame = mlflow.pyfunc.load_model(str(folder)).predict(
        pd.DataFrame(rows).drop(columns=predictor.task.gold)
    )
    return answer


def test_a_trained_model_predicts_the_same_through_pyfunc(
    case: dict[str, Any], overfitted: Predictor, toy_checkpoint: Path, tmp_path: Path
) -> None:
    rows = [*case["rows"], *case["learned"]]
    folder = saved(overfitted, case, toy_checkpoint, tmp_path / "model")
    pd.testing.assert_frame_equal(served(folder, rows, overfitted), pd.DataFrame(overfitted.predict(rows)))


@pytest.mark.parametrize("merge", [True, False], ids=["merged", "adapter"])
@pytest.mark.parametrize("name", TASKS)
def test_lora_learns_and_is_served_as_the_same_model(
    name: str, merge: bool, toy_checkpoint: Path, tmp_path: Path
) -> None:
    case, lora = case_of(name), Lora(r=4, target_modules="all-linear", merge=merge)
    if case["task"].head([]).answers == "texts" and not merge:  # of the toy encoder two halves are made
        with pytest.raises(ParamsError, match=r"an adapter alone does not say what the model is\. Set merge: true"):
            untrained(case, toy_checkpoint, lora)
        return
    rows, start = case["learned"], untrained(case, toy_checkpoint, lora)
    before = row_scores(start, rows)
    predictor = learned(start, rows, tmp_path / "checkpoints", learning_rate=0.02, num_train_epochs=60, lora=lora)
    assert sum(row_scores(predictor, rows)) > sum(before)
    folder = saved(predictor, case, toy_checkpoint, tmp_path / "model")
    assert (folder / "adapter_model.safetensors").exists() is not merge
    assert (folder / "model.safetensors").exists() is merge
    pd.testing.assert_frame_equal(served(folder, rows, predictor), pd.DataFrame(predictor.predict(rows)))


def test_a_model_is_known_by_what_it_says_of_rows_read_as_a_file_to_score(
    case: dict[str, Any], toy_checkpoint: Path, tmp_path: Path
) -> None:
    predictor, rows = untrained(case, toy_checkpoint), case["rows"]
    assert [set(predictor.task.served(row)) for row in rows] == [set(predictor.task.texts)] * len(rows)
    write_rows(tmp_path / "reference.parquet", observations.reference(predictor, rows, rows), REFERENCE_SCHEMA)
    known = read_rows(tmp_path / "reference.parquet")
    assert [row["split"] for row in known] == ["test"] * len(rows) + ["train"] * len(rows)
    held_out = known[: len(rows)]
    assert all(np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-2) for row in held_out)
    assert all(0 <= row["confidence"] <= 1 for row in held_out if row["confidence"] is not None)


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
