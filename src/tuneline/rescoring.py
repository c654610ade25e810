"""Models of the registry, loaded: to score a champion of earlier days on the test rows of today, or new texts."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion

from tuneline.errors import ServerAway, TrackingError
from tuneline.inference import Predictor
from tuneline.log import warn
from tuneline.tasks.base import Row
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


def score_version(version: ModelVersion, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float] | None:
    """The version's scores on these rows; None, with a warning, when its labels differ or its files are gone."""
    try:
        predictor = load_version(version)
    except ServerAway:
        raise
    except TrackingError as error:
        warn("register", f"the champion, {error}")
        return None
    if list(predictor.labels) != list(labels):
        warn("register", f"champion version {version.version} has other labels and cannot be compared")
        return None
    features = predictor.encode(rows)
    predictions = predictor.predict_features(features, rows)  # in blocks where the task packs, as evaluate does
    return predictor.task.score(predictions, rows, labels).metrics
