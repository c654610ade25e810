"""Models of the registry, loaded: to compare a champion of earlier days with the model of today, or to predict.

the champion on today's test rows       decides which of both is better
the model on the champion's test rows   shows what it unlearned
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tuneline.digests import file_digest
from tuneline.errors import ServerAway, TrackingError, Unscorable
from tuneline.inference import Predictor
from tuneline.parquet import read_rows
from tuneline.registry import TEST_DIGEST, TEST_ROWS
from tuneline.tasks.base import Row, Score
from tuneline.tracking import answering

SHOWN_LABELS = 20


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


def score_version(version: ModelVersion, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float]:
    """The version's scores on these rows. Unscorable when its labels differ or its files are gone."""
    try:
        predictor = load_version(version)
    except ServerAway:
        raise
    except TrackingError as error:
        raise Unscorable(str(error)) from error
    _same_labels(predictor.labels, labels)
    return score_rows(predictor, rows).metrics


def score_on_rows_of(client: MlflowClient, champion: ModelVersion, folder: Path) -> dict[str, float]:
    """Scores of the model in the folder on the test rows that the champion was scored on.

    Unscorable when these rows or its files are gone, or the champion is of another task or has other labels.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = _test_rows(client, champion, Path(scratch))
        held = _downloaded(f"models:/{champion.name}/{champion.version}/tuneline.json", Path(scratch))
        then, now = (json.loads(path.read_text(encoding="utf-8")) for path in (held, folder / "tuneline.json"))
    if then["task"]["name"] != now["task"]["name"]:
        raise Unscorable(f"the champion's task is {then['task']['name']}, this model's is {now['task']['name']}")
    _same_labels(then["labels"], now["labels"])
    return score_rows(Predictor.load(folder), rows).metrics


def score_rows(predictor: Predictor, rows: Sequence[Row]) -> Score:
    """The score of a model on rows with gold; in blocks where the task packs, as evaluate does."""
    predictions = predictor.predict_features(predictor.encode(rows), rows)
    return predictor.task.score(predictions, rows, predictor.labels)


def _test_rows(client: MlflowClient, version: ModelVersion, scratch: Path) -> list[Row]:
    """The rows that the version was scored on, as register put them beside its model."""
    file = kept_file(client, version, TEST_ROWS, scratch)
    if file is None:
        raise Unscorable(f"its test rows are gone (there is no {TEST_ROWS} in MLflow run {version.run_id})")
    if file_digest(file) != version.tags.get(TEST_DIGEST):
        raise Unscorable(f"{TEST_ROWS} in MLflow run {version.run_id} holds other rows than it was scored on")
    return list(read_rows(file))


def kept_file(client: MlflowClient, version: ModelVersion, name: str, folder: Path) -> Path | None:
    """A file that register put beside the model of a version, brought into a folder; None when there is none."""
    run_id = str(version.run_id)
    try:
        kept = {file.path for file in client.list_artifacts(run_id)}
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    return _downloaded(f"runs:/{run_id}/{name}", folder) if name in kept else None


def _downloaded(uri: str, folder: Path) -> Path:
    try:
        return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except Exception as error:  # MLflow and each artifact store have their own
        raise Unscorable(f"{uri} cannot be fetched: {str(error).partition(chr(10))[0]}") from error


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
