"""The model registry: versions, the champion alias, and the one rule that moves it."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock
from mlflow import MlflowClient
from mlflow.artifacts import download_artifacts
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from tuneline import layout
from tuneline.digests import tree_digest
from tuneline.errors import TrackingError, Unscorable, did_you_mean
from tuneline.tracking import connect, safe_uri, tracking_uri

CHAMPION = "champion"
MODEL_DIGEST, TEST_DIGEST, SCORE = "tuneline.model_digest", "tuneline.test_sha256", "tuneline.score."
TEST_ROWS, REFERENCE_ROWS = "test.parquet", "reference.parquet"  # beside the model, in the run of a version
FORGETTING, OLD_ROWS = "tuneline.forgetting.", "tuneline.decision.old_rows."
Scores = Mapping[str, float]
REFERENCE = re.compile(r"(models:/)?(?P<name>[^/@:']+)(@(?P<alias>[^/@:']+)|/(?P<version>[0-9]+))?")


@dataclass(frozen=True)
class Decision:
    """What became of a challenger, and on what grounds."""

    outcome: str  # "promoted", "kept" (the champion stays) or "champion" (it already was)
    reason: str
    metric: str
    challenger: float
    champion: float | None
    champion_version: int | None
    champion_scores: Scores = field(default_factory=dict)  # all that are known on the same rows

    def tags(self) -> dict[str, str]:
        """As tags of the model version."""
        facts = {name: value for name, value in asdict(self).items() if name != "champion_scores"}
        return {f"tuneline.decision.{name}": str(value) for name, value in facts.items()}


@dataclass(frozen=True)
class OldRows:
    """How a challenger does on the test rows of the champion, where its own are other ones."""

    champion_version: int
    reason: str  # the scores in a sentence, or why the challenger has none
    metric: str
    challenger: float | None
    champion: float | None  # what it was recorded with

    @property
    def scored(self) -> bool:
        return self.challenger is not None

    def tags(self) -> dict[str, str]:
        """As tags of the challenger's version; every digit is kept."""
        return {OLD_ROWS + name: json.dumps(value, ensure_ascii=False) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Rule:
    """The challenger must beat the champion by more than minimum_effect on this metric."""

    metric: str
    higher_is_better: bool
    minimum_effect: float

    def beats(self, challenger: float, champion: float) -> bool:
        gain = challenger - champion if self.higher_is_better else champion - challenger
        return gain > self.minimum_effect


@dataclass(frozen=True)
class Reference:
    """Which model is meant: one version, or the one that an alias points to."""

    name: str
    alias: str = CHAMPION
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """models:/NAME@ALIAS, models:/NAME/VERSION, or NAME for its champion. TrackingError for anything else."""
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


def find_version(client: MlflowClient, name: str, model_digest: str) -> ModelVersion | None:
    """The version that holds exactly this model folder, or None."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{MODEL_DIGEST}` = '{model_digest}'")
    return min(found, key=lambda version: int(version.version)) if found else None


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
    if not folder.is_dir() or tree_digest(folder) != wanted:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            found = _download(client, version, place)
            if wanted and tree_digest(found) != wanted:
                raise TrackingError(
                    f"{version.name} version {version.version}: the files at {version.source} are not those that were "
                    "registered (their digest differs). Bring them back, or use another version."
                )
            found.rename(folder)
    return f"models:/{version.name}/{version.version}", folder


def _download(client: MlflowClient, version: ModelVersion, place: str) -> Path:
    """The files of a version under a folder. By a models:/ address MLflow would put one of its own among them."""
    try:
        source = client.get_model_version_download_uri(version.name, version.version)
        return Path(download_artifacts(artifact_uri=source, dst_path=place))
    except Exception as error:  # MLflow and the artifact stores each have their own
        raise TrackingError(
            f"{version.name} version {version.version}: its files cannot be fetched from {version.source}: "
            f"{str(error).partition(chr(10))[0]}. Bring them back, or use another version."
        ) from error


def _why_not_found(client: MlflowClient, reference: Reference) -> str:
    name = reference.name
    models = {model.name: model for model in client.search_registered_models()}
    if name not in models:
        return (
            f"MLflow at {safe_uri()} has no model {name!r}.{did_you_mean(name, models)} Registered models: "
            f"{', '.join(sorted(models)) or 'none'}. Is it in another registry? Set MLFLOW_TRACKING_URI, or run from "
            "the root of its project."
        )
    versions = sorted(int(version.version) for version in client.search_model_versions(f"name = '{name}'"))
    held = f"Its versions: {', '.join(map(str, versions)) or 'none'}"
    if reference.version is not None:
        return f"{name} has no version {reference.version}. {held}."
    aliases = models[name].aliases
    return (
        f"{name} has no alias {reference.alias!r}.{did_you_mean(reference.alias, aliases)} Its aliases: "
        f"{', '.join(sorted(aliases)) or 'none'}. {held}: name one, as in models:/{name}/{max(versions, default=1)}."
    )


def ensure_version(
    client: MlflowClient, name: str, run_id: str, folder: Path, model_digest: str, tags: Mapping[str, str]
) -> tuple[ModelVersion, bool]:
    """The version of this model folder, and whether it was made just now. The folder is copied to the
    tracking server, because the next training replaces the one in this checkout."""
    known = find_version(client, name, model_digest)
    if known is not None:
        return known, False
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise TrackingError(f"register.name '{name}': the registry refused it: {error.message}") from error
    client.log_artifacts(run_id, str(folder), "model")
    source = f"{client.get_run(run_id).info.artifact_uri}/model"
    version = client.create_model_version(
        name, source, run_id, tags={MODEL_DIGEST: model_digest, **tags}, await_creation_for=0
    )
    return version, True


def champion(client: MlflowClient, name: str) -> ModelVersion | None:
    """The version that the alias points to, or None."""
    try:
        return client.get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def promote_if_better(
    client: MlflowClient, name: str, challenger: ModelVersion, score: float, rule: Rule,
    champion_scores: Callable[[ModelVersion], Scores | None],
) -> Decision:  # fmt: skip
    """Move the alias when the challenger is better on the same test rows. Call it under registry_lock.

    champion_scores gives the champion's scores on these rows; it gives None, or raises Unscorable with the reason,
    when they cannot be had. The lock holds on one host only, so the alias is read again after it was set, and the
    comparison is made anew when another host came between.
    """
    for _ in range(10):
        current = champion(client, name)
        decision = _decide(current, challenger, score, rule, champion_scores)
        if decision.outcome != "promoted":
            return decision
        latest = champion(client, name)
        if (latest and latest.version) != (current and current.version):
            continue
        client.set_registered_model_alias(name, CHAMPION, challenger.version)
        settled = champion(client, name)
        if settled is not None and settled.version == challenger.version:
            return decision
    raise TrackingError(
        f"{name}: the champion alias kept moving while version {challenger.version} was compared. Run dvc repro again."
    )


def _decide(
    current: ModelVersion | None, challenger: ModelVersion, score: float, rule: Rule,
    champion_scores: Callable[[ModelVersion], Scores | None],
) -> Decision:  # fmt: skip
    if current is None:
        return Decision("promoted", "there was no champion", rule.metric, score, None, None)
    if current.version == challenger.version:
        return Decision("champion", "it is the champion already", rule.metric, score, score, int(current.version))
    try:
        scores, why = champion_scores(current), ""
    except Unscorable as error:
        scores, why = None, f": {error}"
    if scores is None or rule.metric not in scores:
        reason = f"the champion, version {current.version}, cannot be scored on these test rows{why}"
        return Decision("kept", reason, rule.metric, score, None, int(current.version))
    held = scores[rule.metric]
    better = rule.beats(score, held)
    limit = f" by more than {rule.minimum_effect:g}" if rule.minimum_effect else ""
    reason = f"{rule.metric} {score:.4f} is {'' if better else 'not '}better than {held:.4f}{limit}"
    return Decision(
        "promoted" if better else "kept", reason, rule.metric, score, held, int(current.version), dict(scores)
    )


def recorded_scores(version: ModelVersion, test_digest: str) -> dict[str, float] | None:
    """The scores a version carries, when they were measured on these very test rows."""
    if version.tags.get(TEST_DIGEST) != test_digest:
        return None
    return {name.removeprefix(SCORE): float(value) for name, value in version.tags.items() if name.startswith(SCORE)}


def old_rows(champion: ModelVersion, metric: str, score: float | None, problem: str = "") -> OldRows:
    """A challenger's score on the champion's test rows, beside the champion's own. problem: why it has none."""
    number, tag = int(champion.version), champion.tags.get(SCORE + metric)
    held = None if tag is None else float(tag)
    if score is None:
        reason = f"not scored on the test rows of version {number}: {problem or f'{metric} is not defined on them'}"
    else:
        against = "" if held is None else f", where that has {held:.4f}"
        reason = f"{metric} {score:.4f} on the test rows of version {number}{against}"
    return OldRows(number, reason, metric, score, held)


def recorded_old_rows(version: ModelVersion) -> OldRows | None:
    """What OldRows.tags wrote, or None."""
    facts = {name.removeprefix(OLD_ROWS): value for name, value in version.tags.items() if name.startswith(OLD_ROWS)}
    return OldRows(**{name: json.loads(value) for name, value in facts.items()}) if facts else None


def score_tags(metrics: Mapping[str, float], test_digest: str) -> dict[str, str]:
    """Scores and the rows they were measured on, as tags; every digit is kept."""
    return {TEST_DIGEST: test_digest, **_numbers(SCORE, metrics)}


def forgetting_tags(metrics: Mapping[str, float]) -> dict[str, str]:
    """What the model kept of its base, as tags; apart from the scores of its task."""
    return _numbers(FORGETTING, metrics)


def _numbers(prefix: str, numbers: Mapping[str, float]) -> dict[str, str]:
    return {prefix + name: json.dumps(value) for name, value in numbers.items()}
