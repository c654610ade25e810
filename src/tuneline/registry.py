"""The model registry: versions, and the aliases that point to them."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts, list_artifacts
from mlflow.entities.model_registry import ModelVersion, RegisteredModel
from mlflow.exceptions import MlflowException
from mlflow.store.entities import PagedList

from tuneline import layout
from tuneline.digests import CARD, model_digest
from tuneline.errors import TrackingError, did_you_mean
from tuneline.tracking import DIGEST, connect, safe_uri, tracking_uri

CHAMPION, CHALLENGER = "champion", "challenger"  # aliases: the version in use, and one that waits for approval
MODEL_DIGEST, TEST_DIGEST, SCORE = "tuneline.model_digest", "tuneline.test_sha256", "tuneline.score."
TEST_ROWS, REFERENCE_ROWS = "test.parquet", "reference.parquet"  # beside the model, in the run of a version
FORGETTING = "tuneline.forgetting."
RUNS_ASKED = 100  # at once
LOOKS = 8  # for the files of versions, at a time: an artifact store may be far away
REFERENCE = re.compile(r"(models:/)?(?P<name>[^/@:']+)([/@](?P<version>[0-9]+)|@(?P<alias>[^/@:']+))?")


@dataclass(frozen=True)
class Reference:
    """Which model is meant: one version, or the one that an alias points to."""

    name: str
    alias: str = CHAMPION
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """models:/NAME@ALIAS, models:/NAME/VERSION, NAME@VERSION, or NAME for its champion. TrackingError for
        anything else."""
        found = REFERENCE.fullmatch(text)
        if found is None:
            raise TrackingError(
                f"{text!r} names no model. Expected models:/NAME@{CHAMPION}, models:/NAME/7 or NAME, as in "
                f"models:/reviews@{CHAMPION}."
            )
        version = int(found["version"]) if found["version"] else None
        return cls(found["name"], found["alias"] or CHAMPION, version)

    def __str__(self) -> str:
        return f"models:/{self.name}@{self.alias}" if self.version is None else f"models:/{self.name}/{self.version}"


def registry_lock(name: str) -> AbstractContextManager[Any]:
    """One promotion at a time on this host, for one registry and one model."""
    key = hashlib.sha256(f"{tracking_uri()}\n{name}".encode()).hexdigest()[:32]
    return FileLock(Path(tempfile.gettempdir()) / f"tuneline-{key}.lock", mode=0o666)


def find_version(client: MlflowClient, name: str, digest: str) -> ModelVersion | None:
    """The version that holds exactly this model folder, or None."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{MODEL_DIGEST}` = '{digest}'")
    return min(found, key=lambda version: int(version.version)) if found else None


def runs_of_versions(client: MlflowClient, inputs_digest: str) -> set[str]:
    """The MLflow runs that versions of these training inputs have, of whatever model."""
    found = client.search_model_versions(f"tags.`{DIGEST}` = '{inputs_digest}'")
    return {str(version.run_id) for version in found}


def referenced_version(client: MlflowClient, reference: Reference) -> ModelVersion:
    """The version that is meant. TrackingError, with what the registry holds, when there is none."""
    try:
        if reference.version is None:
            return client.get_model_version_by_alias(reference.name, reference.alias)
        return client.get_model_version(reference.name, str(reference.version))
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise TrackingError(f"{reference}: {_why_not_found(client, reference)}") from error


def fetched(text: str) -> tuple[str, Path]:
    """models:/NAME/VERSION of the model that a text names, and the folder with its files, brought here if need be.
    TrackingError when there is no such model, or its files are not what was registered."""
    client = connect()
    version = referenced_version(client, Reference.parse(text))
    folder = layout.STATE / "registry" / version.name / str(version.version)
    wanted = version.tags.get(MODEL_DIGEST)
    if not folder.is_dir() or model_digest(folder) != wanted:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            found = download(client, version, place)
            if wanted and model_digest(found) != wanted:
                raise TrackingError(
                    f"{version.name} version {version.version}: the files at {version.source} are not those that were "
                    "registered (their digest differs). Bring them back, or use another version."
                )
            found.rename(folder)
    return f"models:/{version.name}/{version.version}", folder


def download(client: MlflowClient, version: ModelVersion, place: str) -> Path:
    """The files of a version under a folder. By a models:/ address MLflow would put one of its own among them.
    TrackingError where they are gone."""
    try:
        source = client.get_model_version_download_uri(version.name, version.version)
        return Path(download_artifacts(artifact_uri=source, dst_path=place))
    except Exception as error:  # MLflow and the artifact stores each have their own
        raise TrackingError(
            f"{version.name} version {version.version}: its files cannot be fetched from {version.source}: "
            f"{str(error).partition(chr(10))[0]}. Bring them back, or use another version."
        ) from error


def registered_models(client: MlflowClient) -> dict[str, RegisteredModel]:
    """Every registered model by its name."""
    return {model.name: model for model in _pages(client.search_registered_models)}


def versions(client: MlflowClient, name: str) -> list[ModelVersion]:
    """The versions of a model, oldest first."""
    found = _pages(partial(client.search_model_versions, f"name = '{name}'"))
    return sorted(found, key=lambda version: int(version.version))


def _pages(search: Callable[..., PagedList[Any]]) -> Iterator[Any]:
    token = None
    while True:
        page = search(page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def need_model(client: MlflowClient, name: str) -> RegisteredModel:
    """The model of this name. TrackingError when there is none."""
    models = registered_models(client)
    if name not in models:
        raise TrackingError(_no_such_model(name, models))
    return models[name]


def _no_such_model(name: str, models: Collection[str]) -> str:
    return (
        f"MLflow at {safe_uri()} has no model {name!r}.{did_you_mean(name, models)} Registered models: "
        f"{', '.join(sorted(models)) or 'none'}. Is it in another registry? Set MLFLOW_TRACKING_URI, or run from "
        "the root of its project."
    )


def missing(client: MlflowClient, versions: Sequence[ModelVersion]) -> dict[str, str]:
    """Of each version, by its number, whose run or files are not there any more: which of them."""
    runs = _active_runs(client, [str(version.run_id) for version in versions if version.run_id])
    with ThreadPoolExecutor(LOOKS) as looks:
        have_files = list(looks.map(_has_files, versions))
    without_run = {str(each.version): "its run is gone" for each in versions if each.run_id not in runs}
    pairs = zip(versions, have_files, strict=True)
    return {str(each.version): "its files are gone" for each, has_files in pairs if not has_files} | without_run


def _active_runs(client: MlflowClient, run_ids: Sequence[str]) -> set[str]:
    """Those that are not deleted."""
    experiments = [each.experiment_id for each in _pages(client.search_experiments)]
    found = set()
    for first in range(0, len(run_ids), RUNS_ASKED):
        asked = ", ".join(f"'{run_id}'" for run_id in run_ids[first : first + RUNS_ASKED])
        runs = client.search_runs(experiments, f"attributes.run_id IN ({asked})", max_results=RUNS_ASKED)
        found |= {run.info.run_id for run in runs}
    return found


def _has_files(version: ModelVersion) -> bool:
    try:
        return bool(list_artifacts(artifact_uri=version.source))
    except (MlflowException, OSError):  # each artifact store has its own way to say so
        return False


def _why_not_found(client: MlflowClient, reference: Reference) -> str:
    name, models = reference.name, registered_models(client)
    if name not in models:
        return _no_such_model(name, models)
    numbers = [int(version.version) for version in versions(client, name)]
    held = f"Its versions: {', '.join(map(str, numbers)) or 'none'}"
    if reference.version is not None:
        return f"{name} has no version {reference.version}. {held}."
    aliases = models[name].aliases
    return (
        f"{name} has no alias {reference.alias!r}.{did_you_mean(reference.alias, aliases)} Its aliases: "
        f"{', '.join(sorted(aliases)) or 'none'}. {held}: name one, as in models:/{name}/{max(numbers, default=1)}."
    )


def ensure_version(
    client: MlflowClient, name: str, run_id: str, folder: Path, digest: str, tags: Mapping[str, str],
    card: str | None = None,
) -> tuple[ModelVersion, bool]:  # fmt: skip
    """The version of this model folder, and whether it was made just now. The folder is copied to the
    tracking server, because the next training replaces the one in this checkout.

    card: the text of a model card that takes the place of the folder's own.
    """
    known = find_version(client, name, digest)
    if known is not None:
        return known, False
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise TrackingError(f"register.name '{name}': the registry refused it: {error.message}") from error
    with _with_card(folder, card) as whole:
        client.log_artifacts(run_id, str(whole), "model")
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    version = client.create_model_version(
        name, source, run_id, tags={MODEL_DIGEST: digest, **tags}, await_creation_for=0
    )
    return version, True


@contextmanager
def _with_card(folder: Path, card: str | None) -> Iterator[Path]:
    """The folder; or, where a card takes the place of its own, one of links to its other files. DVC's cache, which
    the folder may be links to, is never written to."""
    if card is None:
        yield folder
        return
    with tempfile.TemporaryDirectory() as holder:
        place = Path(holder) / "model"
        place.mkdir()
        for file in sorted(folder.rglob("*")):
            link = place / file.relative_to(folder)
            if file.is_dir():
                link.mkdir()
            elif link != place / CARD:
                link.symlink_to(file.resolve())
        (place / CARD).write_text(card, encoding="utf-8")
        yield place


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that the alias points to, or None."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def recorded_scores(version: ModelVersion, test_digest: str) -> dict[str, float] | None:
    """The scores a version carries, when they were measured on these very test rows."""
    if version.tags.get(TEST_DIGEST) != test_digest:
        return None
    return {name.removeprefix(SCORE): float(value) for name, value in version.tags.items() if name.startswith(SCORE)}


def score_tags(metrics: Mapping[str, float], test_digest: str) -> dict[str, str]:
    """Scores and the rows they were measured on, as tags; every digit is kept."""
    return {TEST_DIGEST: test_digest, **_numbers(SCORE, metrics)}


def forgetting_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """What the model kept of its base, as tags; apart from the scores of its task."""
    return _numbers(FORGETTING, metrics)


def _numbers(prefix: str, numbers: Mapping[str, float]) -> dict[str, str]:
    return {prefix + name: json.dumps(value) for name, value in numbers.items()}
