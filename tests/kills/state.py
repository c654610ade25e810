"""What a project holds when its pipeline has ended, as plain values that two projects can be compared by."""

import hashlib
import json
import re
import tempfile
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from ruamel.yaml import YAML

from tuneline import record
from tuneline.digests import file_digest

SIDE_EFFECTS = {"report.html", "registration.json"}  # hold ids and times
OF_THE_MOMENT = ("tuneline.performance.", "tuneline.ledger", "tuneline.decided", "mlflow.")
RUN_ID = re.compile(r"[0-9a-f]{32}")
LEFT = re.compile(  # of what DVC was linking and MLflow writing when they were killed, which is never read
    r"data/reports/\.[\w-]+\.tmp|mlartifacts/(.*/)?\.artifact\.uploading\.\w+"
)
NOT_COMPARED = (".git", ".dvc/tmp", ".dvc/cache", "mlflow.db", "src", "flows")


def end_state(project: Path) -> dict[str, Any]:
    """Outs by bytes, dvc.lock, the registry, and the names of all files."""
    return {
        "lock": (project / "dvc.lock").read_text(encoding="utf-8"),
        "outs": {path: file_digest(project / path) for path in _outs(project)},
        "files": dict.fromkeys(_files(project), "there"),
        "registry": _registry(project),
    }


def differences(found: Any, expected: Any, place: str = "") -> list[str]:
    """Where two states differ, one line each."""
    if isinstance(found, dict) and isinstance(expected, dict):
        keys = sorted(found.keys() | expected.keys())
        return [line for key in keys for line in differences(found.get(key), expected.get(key), f"{place}/{key}")]
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        pairs = enumerate(zip(found, expected, strict=True))
        return [line for number, (one, other) in pairs for line in differences(one, other, f"{place}/{number}")]
    return [] if found == expected else [f"{place}: {found} in place of {expected}"]


def broken_objects(project: Path) -> list[str]:
    """Objects of DVC's cache that are not what their name says. What it was writing has a name of another kind."""
    objects = (project / ".dvc/cache/files/md5").glob("*/[!.]*")
    return [str(each) for each in objects if each.is_file() and _md5(each) != (each.parent.name + each.name)[:32]]


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _outs(project: Path) -> list[str]:
    places = [project / "data" / name for name in ("validated", "tokenized", "model", "reports")]
    files = [file for place in places for file in place.rglob("*") if file.is_file()]
    names = (str(file.relative_to(project)) for file in files if file.name not in SIDE_EFFECTS)
    return sorted(name for name in names if not LEFT.fullmatch(name))


def _files(project: Path) -> set[str]:
    names = (str(file.relative_to(project)) for file in project.rglob("*") if file.is_file() or file.is_symlink())
    counted = (name for name in names if not name.startswith(NOT_COMPARED) and "__pycache__" not in name)
    return {RUN_ID.sub("ID", name) for name in counted if not LEFT.fullmatch(name)}


def _registry(project: Path) -> dict[str, Any]:
    """Runs that are not deleted with every point of their metrics, versions with their tags, and aliases."""
    uri = f"sqlite:///{project / 'mlflow.db'}"
    client = MlflowClient(uri, uri)
    experiments = [each.experiment_id for each in client.search_experiments()]
    runs = client.search_runs(experiments)
    model = client.get_registered_model("toy")
    return {
        "runs": [_run(client, run) for run in runs],
        "versions": [_version(client, version) for version in client.search_model_versions("name = 'toy'")],
        "aliases": model.aliases,
        "model tags": sorted(RUN_ID.sub("ID", name) for name in model.tags),
    }


def _version(client: MlflowClient, version: Any) -> dict[str, Any]:
    """Its tags, with the dvc.lock that it recorded in place of its digest, so that a difference is named."""
    tags = {name: value for name, value in version.tags.items() if not name.startswith(OF_THE_MOMENT)}
    with tempfile.TemporaryDirectory() as scratch:
        place = client.download_artifacts(version.run_id, record.LOCK, scratch)
        lock = YAML(typ="safe").load(Path(place))
    return {**tags, record.FILES: {**json.loads(tags[record.FILES]), record.LOCK: lock}}


def _run(client: MlflowClient, run: Any) -> dict[str, Any]:
    return {
        "status": run.info.status,
        "params": run.data.params,
        "points": {
            name: [(point.step, point.value) for point in client.get_metric_history(run.info.run_id, name)]
            for name in sorted(run.data.metrics)
        },
        "artifacts": sorted(each.path for each in client.list_artifacts(run.info.run_id)),
    }
