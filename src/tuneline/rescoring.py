"""A champion of earlier days, scored on the test rows of today."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion

from tuneline.inference import Predictor
from tuneline.log import warn
from tuneline.tasks.base import Row


def score_version(version: ModelVersion, rows: Sequence[Row], labels: Sequence[str], metric: str) -> float | None:
    """The version's score on these rows; None, with a warning, when its labels differ or its files are gone."""
    try:
        with tempfile.TemporaryDirectory() as folder:
            uri = f"models:/{version.name}/{version.version}"
            predictor = Predictor.load(Path(download_artifacts(artifact_uri=uri, dst_path=folder)))
    except Exception as error:
        warn("register", f"champion version {version.version} cannot be loaded: {str(error).splitlines()[0]}")
        return None
    if list(predictor.labels) != list(labels):
        warn("register", f"champion version {version.version} has other labels and cannot be compared")
        return None
    return predictor.task.score(predictor.predict(rows), rows, labels).metrics.get(metric)
