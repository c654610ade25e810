"""Models of the registry, loaded: to compare a champion of earlier days with the model of today, or to predict.

the champion on today's test rows       decides which of both is better
the model on the champion's test rows   shows what it unlearned
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tuneline.digests import file_digest
from tuneline.errors import ServerAway, TrackingError, Unscorable
from tuneline.inference import Predictor
from tuneline.parquet import read_rows
from tuneline.registry import TEST_DIGEST, TEST_ROWS
from tuneline.tasks import task_class
from tuneline.tasks.base import Row, Task
from tuneline.tracking import answering

SHOWN_LABELS = 20
FACTS = "tuneline.json"  # of a model folder


class Facts(NamedTuple):
    """What a model answers to."""

    task: Task
    labels: list[str]


def load_version(version: ModelVersion) -> Predictor:
    """A registered version, ready to predict. TrackingError when its files are gone, or not of our making; ServerAway
    when they may be had later."""
    uri = f"models:/{version.name}/{version.version}"
    try:
        with answering(), tempfile.TemporaryDirectory() as folder:
            return Predictor.load(Path(download_artifacts(artifact_uri=uri, dst_path=folder)))
    except ServerAway:
        raise
    except Exception as error:  # MLflow, the artifact store and transformers each have their own
        raise TrackingError(
            f"{version.name} version {version.version} cannot be loaded: {str(error).partition(chr(10))[0]}. Expected "
            f"a model folder of tuneline at {version.source}: bring its files back, or use another version."
        ) from error


def score_version(version: ModelVersion, rows: Sequence[Row], folder: Path) -> dict[str, float]:
    """The version's scores on the rows of the model in the folder. Unscorable when it answers to something else than
    that one does, or its files are gone."""
    try:
        predictor = load_version(version)
    except ServerAway:
        raise
    except TrackingError as error:
        raise Unscorable(str(error)) from error
    _same_question(Facts(predictor.task, predictor.labels), _facts(folder))
    return _scored(predictor, rows)


def score_on_rows_of(client: MlflowClient, champion: ModelVersion, folder: Path) -> dict[str, float]:
    """Scores of the model in the folder on the test rows that the champion was scored on.

    Unscorable when these rows or its files are gone, or the champion answers to something else.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = _test_rows(client, champion, Path(scratch))
        held = _downloaded(f"models:/{champion.name}/{champion.version}/{FACTS}", Path(scratch))
        then = _facts(held.parent)
    _same_question(then, _facts(folder))
    return _scored(Predictor.load(folder), rows)


def _scored(predictor: Predictor, rows: Sequence[Row]) -> dict[str, float]:
    """In blocks where the task packs, as evaluate does."""
    predictions = predictor.predict_features(predictor.encode(rows), rows)
    return predictor.task.score(predictions, rows, predictor.labels).metrics


def _test_rows(client: MlflowClient, version: ModelVersion, scratch: Path) -> list[Row]:
    """The rows that the version was scored on, as register put them beside its model."""
    run_id = str(version.run_id)
    try:
        kept = {file.path for file in client.list_artifacts(run_id)}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        kept = set()
    if TEST_ROWS not in kept:
        raise Unscorable(f"its test rows are gone (there is no {TEST_ROWS} in MLflow run {run_id})")
    file = _downloaded(f"runs:/{run_id}/{TEST_ROWS}", scratch)
    if file_digest(file) != version.tags.get(TEST_DIGEST):
        raise Unscorable(f"{TEST_ROWS} in MLflow run {run_id} holds other rows than it was scored on")
    return list(read_rows(file))


def _downloaded(uri: str, folder: Path) -> Path:
    try:
        return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except Exception as error:  # MLflow and each artifact store have their own
        raise Unscorable(f"{uri} cannot be fetched: {str(error).partition(chr(10))[0]}") from error


def _facts(folder: Path) -> Facts:
    facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    return Facts(task_class(facts["task"]["name"]).model_validate(facts["task"]), facts["labels"])


def _same_question(then: Facts, now: Facts) -> None:
    """Unscorable, with what changed, where gold means another thing to the champion than to the model of today."""
    if then.task.name != now.task.name:
        raise Unscorable(f"the champion's task is {then.task.name}, this model's is {now.task.name}")
    options = {name: (getattr(then.task, name), getattr(now.task, name)) for name in now.task.gold_options}
    changes = [
        f"task.{name} changed since the champion (then {theirs}, now {ours})"
        for name, (theirs, ours) in options.items()
        if theirs != ours
    ]
    if changes:
        raise Unscorable("; ".join(changes))
    _same_labels(then.labels, now.labels)


def _same_labels(then: Sequence[str], now: Sequence[str]) -> None:
    """Unscorable, with the labels that came and went, where the champion's label set is not today's."""
    if list(then) == list(now):
        return
    sides = {"new": sorted(set(now) - set(then)), "gone": sorted(set(then) - set(now))}
    changes = [f"{side}: {_some(labels)}" for side, labels in sides.items() if labels]
    raise Unscorable(f"label set changed since the champion ({'; '.join(changes) or 'its order'})")


def _some(labels: Sequence[str]) -> str:
    more = len(labels) - SHOWN_LABELS
    return ", ".join(labels[:SHOWN_LABELS]) + (f" and {more} more" if more > 0 else "")
