"""register: the model folder → a version in the registry, and the champion alias when it is the better one.

A side effect on something outside DVC: it runs at every `dvc repro`, changes nothing when there is nothing to
do, and has no DVC outs, so that version numbers of one registry never enter dvc.lock.
"""

import json
import os
import subprocess
from dataclasses import asdict
from importlib import import_module
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tuneline import curves, devices, layout, registry, seeds, tracking
from tuneline.digests import digest, tree_digest
from tuneline.errors import TrackingError, Unscorable
from tuneline.layout import split_file, staged
from tuneline.log import report
from tuneline.params import Sections
from tuneline.parquet import read_rows

SECTIONS = ("data", "task", "model", "tokenize", "train", "evaluate", "register")
EXPERIMENT = "tuneline"
ORIGIN = {"flow_run": "TUNELINE_FLOW_RUN", "experiment": "TUNELINE_EXPERIMENT"}  # set by flows/


@tracking.answering()
def run(params: Sections) -> None:
    training, evaluation = _json(layout.TRAINING), _json(layout.EVALUATION)
    name, metric = params.register.name, params.register.metric or params.task.default_metric
    rule = registry.Rule(metric, params.task.metrics[metric], params.register.minimum_effect)
    score = _score(evaluation, metric)
    model_digest = tree_digest(layout.MODEL)
    client = tracking.connect()
    if _must_score_again(registry.champion(client, name), model_digest, evaluation):
        devices.lease("register", params.train.device)  # before the lock, or all who register wait for a device too
    with registry.registry_lock(name):
        experiment = tracking.experiment_id(client, EXPERIMENT)
        sections = {part: params.dump()[part] for part in ("task", "model", "tokenize", "train")}
        curve = curves.read(layout.LEARNING_CURVE)
        run_id = tracking.ensure_run(client, experiment, training["inputs_digest"], sections, curve)
        if registry.find_version(client, name, model_digest) is None:  # all of it first: no version is ever without
            tracking.log_scores(client, run_id, evaluation["metrics"])
            tracking.log_scores(client, run_id, seeds.named_scores(training), prefix="")
            tracking.log_scores(client, run_id, evaluation["forgetting"]["metrics"], prefix="forgetting.")
            client.log_artifact(run_id, str(layout.REPORT))
            client.log_artifact(run_id, str(split_file(layout.VALIDATED, "test")))
        version, new = registry.ensure_version(
            client, name, run_id, layout.MODEL, model_digest, _tags(params, training, evaluation)
        )
        old_rows = _on_old_rows(client, version, metric, evaluation["test_sha256"], params.train.device)

        def champion_scores(champion: ModelVersion) -> registry.Scores | None:
            known = registry.recorded_scores(champion, evaluation["test_sha256"])
            return known if known is not None else _score_again(champion, params.train.device)

        decision = registry.promote_if_better(client, name, version, score, rule, champion_scores)
        if decision.outcome != "champion":
            for key, value in decision.tags().items():
                client.set_model_version_tag(name, version.version, key, value)
    record = {
        "name": name, "version": int(version.version), "experiment_id": experiment, "run_id": run_id,
        "decision": asdict(decision), "old_rows": asdict(old_rows) if old_rows else None,
    }  # fmt: skip
    with staged(layout.REGISTRATION) as [registration]:
        registration.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    report(
        "register",
        f"{name} version {version.version}{' (new)' if new else ''}: {decision.outcome}, {decision.reason}"
        + (f"; {old_rows.reason}" if old_rows else ""),
    )


def _score(evaluation: dict[str, Any], metric: str) -> float:
    if metric not in evaluation["metrics"]:
        raise TrackingError(
            f"register.metric: {layout.EVALUATION} has no {metric}. Measured: {', '.join(evaluation['metrics'])}."
        )
    return float(evaluation["metrics"][metric])


def _tags(params: Sections, training: dict[str, Any], evaluation: dict[str, Any]) -> dict[str, str]:
    return {
        "tuneline.git_commit": _git_commit(),
        "tuneline.data_sha256": tree_digest(layout.RAW / params.data.name),
        "tuneline.params_digest": digest(params.dump()),
        tracking.DIGEST: training["inputs_digest"],
        "tuneline.checkpoint_sha256": training["checkpoint_sha256"],
        **registry.score_tags(evaluation["metrics"], evaluation["test_sha256"]),
        **registry.forgetting_tags(evaluation["forgetting"]["metrics"]),
        **{f"tuneline.{name}": os.environ[variable] for name, variable in ORIGIN.items() if variable in os.environ},
    }


def _git_commit() -> str:
    """The commit this ran at, marked when files differ from it; "none" outside git."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return "none"


def _must_score_again(champion: ModelVersion | None, model_digest: str, evaluation: dict[str, Any]) -> bool:
    """Whether there is another champion, and its scores on today's test rows are not known."""
    return (
        champion is not None
        and champion.tags.get(registry.MODEL_DIGEST) != model_digest
        and registry.recorded_scores(champion, evaluation["test_sha256"]) is None
    )


def _score_again(champion: ModelVersion, device: str) -> registry.Scores:
    """Score the champion on today's test rows."""
    rows = read_rows(split_file(layout.VALIDATED, "test"))
    labels = _json(layout.VOCABULARY / "labels.json")
    scored: registry.Scores = _rescoring(device).score_version(champion, rows, labels)
    return scored


def _on_old_rows(
    client: MlflowClient, version: ModelVersion, metric: str, test_digest: str, device: str
) -> registry.OldRows | None:
    """This version on the champion's own test rows. None where those are today's, or there is no champion.

    A score stands in the version's tags and is not computed again. It stays when the version becomes the champion
    itself.
    """
    champion, known = registry.champion(client, version.name), registry.recorded_old_rows(version)
    if champion is None or champion.version == version.version:
        return known
    if champion.tags.get(registry.TEST_DIGEST) == test_digest:
        return None
    if known and known.scored and (known.champion_version, known.metric) == (int(champion.version), metric):
        return known
    scores, problem = {}, ""
    try:
        scores = _rescoring(device).score_on_rows_of(client, champion, layout.MODEL)
    except Unscorable as error:
        problem = str(error)
    tracking.log_scores(client, str(version.run_id), scores, prefix="old_rows_")
    found = registry.old_rows(champion, metric, scores.get(metric), problem)
    for key, value in found.tags().items():
        client.set_model_version_tag(version.name, version.version, key, value)
    return found


def _rescoring(device: str) -> Any:
    """torch is loaded, and a device taken, only when it comes to this."""
    devices.lease("register", device)
    return import_module("tuneline.rescoring")


def _json(path: Any) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
