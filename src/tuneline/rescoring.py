"""Models of the registry, loaded: to compare a champion of earlier days with the model of today, or to predict.

the champion on today's test rows       decides which of both is better
the model on the champion's test rows   shows what it unlearned
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tuneline.comparable import FACTS, Facts, facts_of, same_question
from tuneline.digests import file_digest
from tuneline.errors import ServerAway, TrackingError, Unscorable
from tuneline.inference import Predictor
from tuneline.parquet import read_rows
from tuneline.registry import TEST_DIGEST, TEST_ROWS
from tuneline.tasks.base import Prediction, Row, Score
from tuneline.tracking import answering


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


def predict_again(version: ModelVersion, rows: Sequence[Row], now: Facts) -> list[Prediction]:
    """The version's predictions of these rows. now: what today's model answers to. Unscorable when the version answers
    to something else, or its files are gone."""
    try:
        predictor = load_version(version)
    except ServerAway:
        raise
    except TrackingError as error:
        raise Unscorable(str(error)) from error
    same_question(Facts(predictor.task, predictor.labels), now)
    return _predicted(predictor, rows)


def score_on_rows_of(client: MlflowClient, champion: ModelVersion, folder: Path) -> dict[str, float]:
    """Scores of the model in the folder on the test rows that the champion was scored on.

    Unscorable when these rows or its files are gone, or the champion answers to something else.
    """
    with tempfile.TemporaryDirectory() as scratch:
        rows = _test_rows(client, champion, Path(scratch))
        held = _downloaded(f"models:/{champion.name}/{champion.version}/{FACTS}", Path(scratch))
        then = facts_of(held.parent)
    same_question(then, facts_of(folder))
    return score_rows(Predictor.load(folder), rows).metrics


def score_rows(predictor: Predictor, rows: Sequence[Row]) -> Score:
    """The score of a model on rows with gold."""
    return predictor.task.score(_predicted(predictor, rows), rows, predictor.labels)


def _predicted(predictor: Predictor, rows: Sequence[Row]) -> list[Prediction]:
    """In blocks where the task packs, as evaluate does."""
    return predictor.predict_features(predictor.encode(rows), rows)


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
        with answering():
            return Path(download_artifacts(artifact_uri=uri, dst_path=str(folder)))
    except ServerAway:
        raise
    except Exception as error:  # MLflow and each artifact store have their own
        raise Unscorable(f"{uri} cannot be fetched: {str(error).partition(chr(10))[0]}") from error
