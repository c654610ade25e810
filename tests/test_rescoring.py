"""A challenger on the test rows of the champion, from a real sqlite registry."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tests.conftest import ROOT
from tuneline import evidence, layout, registry, tracking
from tuneline.checkpoints import TOKENIZER_FILES, find_checkpoint
from tuneline.comparable import facts_of
from tuneline.digests import file_digest, model_digest
from tuneline.errors import Unscorable
from tuneline.evidence import Evaluated, against
from tuneline.gate import Incomparable
from tuneline.inference import Predictor
from tuneline.modelling import initial_model
from tuneline.params import Model, read_params
from tuneline.parquet import schema_of, write_rows
from tuneline.rescoring import predict_again, score_on_rows_of
from tuneline.tasks import task_class
from tuneline.tasks.base import Task


def task_of(name: str, **options: Any) -> Task:
    return task_class(name).model_validate({"name": name, **options})


TASK = task_of("text-classification")
ROWS = [{"text": f"the {word} {thing}", "label": label}
        for word, label in (("good", "good"), ("bad", "bad")) for thing in ("kettle", "lamp", "phone")]  # fmt: skip


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")  # MLflow sets it: restore it
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # a lease sets it
    return tracking.connect()


def model_folder(folder: Path, checkpoint: Path, labels: list[str], seed: int = 0, task: Task = TASK) -> Path:
    params = Model(checkpoint=str(checkpoint))
    initial_model(find_checkpoint(params), task.head(labels), params, seed).save_pretrained(folder)
    for name in TOKENIZER_FILES:
        if (checkpoint / name).is_file():
            shutil.copy(checkpoint / name, folder)
    facts = {"task": task.model_dump(mode="json"), "labels": labels, "max_length": 16}
    (folder / "tuneline.json").write_text(json.dumps(facts))
    return folder


def registered(client: MlflowClient, folder: Path, *, keep_rows: bool = True) -> ModelVersion:
    """A version as register makes it: scores, and the rows they were measured on beside the model."""
    file = Path("then/test.parquet")
    file.parent.mkdir(exist_ok=True)
    write_rows(file, ROWS, schema_of({"text": "string", "label": "string"}))
    run_id = tracking.ensure_run(client, tracking.experiment_id(client, "x"), model_digest(folder), {}, [])
    tags = registry.score_tags({"accuracy": 0.75}, file_digest(file))
    version, _ = registry.ensure_version(client, "m", run_id, folder, model_digest(folder), tags)
    if keep_rows:
        client.log_artifact(run_id, str(file))
    return client.get_model_version("m", version.version)


def test_the_rows_of_a_champion_are_read_back_and_scored(
    client: MlflowClient, toy_checkpoint: Path, tmp_path: Path
) -> None:
    champion = registered(client, model_folder(tmp_path / "a", toy_checkpoint, ["bad", "good"]))
    challenger = model_folder(tmp_path / "b", toy_checkpoint, ["bad", "good"], seed=1)
    predictor = Predictor.load(challenger)
    by_hand = TASK.score(predictor.predict(ROWS), ROWS, ["bad", "good"]).metrics
    assert score_on_rows_of(client, champion, challenger) == by_hand


def test_a_label_set_that_changed_is_told_with_what_came_and_went(
    client: MlflowClient, toy_checkpoint: Path, tmp_path: Path
) -> None:
    champion = registered(client, model_folder(tmp_path / "a", toy_checkpoint, ["bad", "good"]))
    challenger = model_folder(tmp_path / "b", toy_checkpoint, ["awful", "fine", "good"])
    said = r"label set changed since the champion \(new: awful, fine; gone: bad\)"
    with pytest.raises(Unscorable, match=said):
        score_on_rows_of(client, champion, challenger)
    with pytest.raises(Unscorable, match=said):
        predict_again(champion, ROWS, facts_of(challenger))


TAGS = ["B-THING", "O"]
MULTI = {"problem_type": "multi_label_classification"}
ASKED = {  # the champion's task and today's, the labels of both, and what is told
    "other name": (TASK, task_of("token-classification"), ["bad", "good"],
                   "the champion's task is text-classification, this model's is token-classification"),
    "other form": (TASK, task_of("text-classification", **MULTI), ["bad", "good"],
                   "task.problem_type changed since the champion (then single_label_classification, "
                   "now multi_label_classification)"),
    "other goal": (task_of("seq2seq", goal="translation"), task_of("seq2seq", goal="summarization"), [],
                   "task.goal changed since the champion (then translation, now summarization)"),
    "other scheme": (task_of("token-classification"), task_of("token-classification", scheme="plain"), TAGS,
                     "task.scheme changed since the champion (then BIO, now plain)"),
    "other words hidden": (task_of("masked-lm"), task_of("masked-lm", mlm_probability=0.3), [],
                           "task.mlm_probability changed since the champion (then 0.15, now 0.3)"),
}  # fmt: skip


@pytest.mark.parametrize("change", ASKED)
def test_a_task_that_asks_for_something_else_with_the_same_labels_is_told(
    change: str, client: MlflowClient, toy_checkpoint: Path, tmp_path: Path
) -> None:
    then, now, labels, said = ASKED[change]
    champion = registered(client, model_folder(tmp_path / "a", toy_checkpoint, labels, task=then))
    challenger = model_folder(tmp_path / "b", toy_checkpoint, labels, task=now)
    for score in (
        lambda: score_on_rows_of(client, champion, challenger),
        lambda: predict_again(champion, ROWS, facts_of(challenger)),
    ):
        with pytest.raises(Unscorable) as caught:
            score()
        assert str(caught.value) == said


def test_options_that_change_no_gold_leave_models_comparable(
    client: MlflowClient, toy_checkpoint: Path, tmp_path: Path
) -> None:
    then, now = task_of("token-classification", stride=2), task_of("token-classification", tag_names=TAGS)
    rows = [{"tokens": ["the", "lamp"], "tags": ["O", "B-THING"]}]
    champion = registered(client, model_folder(tmp_path / "a", toy_checkpoint, TAGS, task=then))
    challenger = model_folder(tmp_path / "b", toy_checkpoint, TAGS, task=now)
    [prediction] = predict_again(champion, rows, facts_of(challenger))
    assert len(prediction["tags"]) == 2


def test_rows_that_are_gone_or_other_ones_are_not_scored(
    client: MlflowClient, toy_checkpoint: Path, tmp_path: Path
) -> None:
    folder = model_folder(tmp_path / "a", toy_checkpoint, ["bad", "good"])
    champion = registered(client, folder, keep_rows=False)
    with pytest.raises(Unscorable, match=r"there is no test\.parquet in MLflow run"):
        score_on_rows_of(client, champion, folder)
    (tmp_path / "test.parquet").write_bytes(b"other rows")
    client.log_artifact(champion.run_id, str(tmp_path / "test.parquet"))
    with pytest.raises(Unscorable, match="holds other rows"):
        score_on_rows_of(client, champion, folder)


def test_a_champion_whose_files_are_gone_is_said(client: MlflowClient, toy_checkpoint: Path, tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "a", toy_checkpoint, ["bad", "good"])
    champion = registered(client, folder)
    shutil.rmtree(next((tmp_path / "mlartifacts").rglob("model")))
    with pytest.raises(Unscorable, match=r"tuneline\.json cannot be fetched"):
        score_on_rows_of(client, champion, folder)


def test_a_champion_with_other_labels_is_no_rival_and_the_reason_is_said(
    client: MlflowClient, toy_checkpoint: Path, tmp_path: Path
) -> None:
    champion = registered(client, model_folder(tmp_path / "a", toy_checkpoint, ["bad", "good"]))
    facts = facts_of(model_folder(tmp_path / "b", toy_checkpoint, ["bad", "poor"]))
    ours = Evaluated(facts, pa.Table.from_pylist(ROWS), [], {"test_sha256": "of today's rows"})
    sections = read_params("task", "train", "evaluate", "register", path=ROOT / "params.yaml")
    assert against(client, champion, ours, sections, "accuracy", None) == Incomparable(
        1, "cannot be scored on these test rows: label set changed since the champion (new: poor; gone: good)"
    )


def test_register_scores_a_challenger_on_old_rows_once(
    client: MlflowClient, toy_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    champion = registered(client, model_folder(tmp_path / "a", toy_checkpoint, ["bad", "good"]))
    client.set_registered_model_alias("m", registry.CHAMPION, champion.version)
    version = registered(client, model_folder(tmp_path / "b", toy_checkpoint, ["bad", "good"], seed=1))
    monkeypatch.setattr(layout, "MODEL", tmp_path / "b")
    old_digest = champion.tags[registry.TEST_DIGEST]
    assert evidence.measured_on_old_rows(client, version, "accuracy", old_digest, "cpu") is None

    first = evidence.measured_on_old_rows(client, version, "accuracy", "of today's rows", "cpu")
    assert first is not None
    expected = score_on_rows_of(client, champion, tmp_path / "b")
    assert (first.champion_version, first.challenger, first.champion) == (1, expected["accuracy"], 0.75)
    assert first.reason == f"accuracy {expected['accuracy']:.4f} on the test rows of version 1, where that has 0.7500"
    logged = client.get_run(str(version.run_id)).data.metrics
    assert {name: logged[f"old_rows_{name}"] for name in expected} == expected

    monkeypatch.setattr(evidence, "rescoring", lambda _: pytest.fail("scored again"))
    version = client.get_model_version("m", version.version)
    assert evidence.measured_on_old_rows(client, version, "accuracy", "of today's rows", "cpu") == first
    client.set_registered_model_alias("m", registry.CHAMPION, version.version)
    assert evidence.measured_on_old_rows(client, version, "accuracy", "of today's rows", "cpu") == first


def test_what_a_model_kept_stands_apart_from_its_scores(
    client: MlflowClient, toy_checkpoint: Path, tmp_path: Path
) -> None:
    version = registered(client, model_folder(tmp_path / "a", toy_checkpoint, ["bad", "good"]))
    for name, value in registry.forgetting_tags({"cka_last": 0.5}).items():
        client.set_model_version_tag("m", version.version, name, value)
    version = client.get_model_version("m", version.version)
    assert version.tags["tuneline.forgetting.cka_last"] == "0.5"
    assert registry.recorded_scores(version, version.tags[registry.TEST_DIGEST]) == {"accuracy": 0.75}
