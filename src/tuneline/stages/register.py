"""register: the model folder → a version in the registry, and the champion alias when it passes the gate.

A side effect on something outside DVC: it runs at every `dvc repro`, changes nothing when there is nothing to
do, and has no DVC outs, so that version numbers of one registry never enter dvc.lock.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tuneline import card, curves, devices, evidence, gate, git, layout, promotion, record, registry, seeds, tracking
from tuneline.digests import digest, tree_digest
from tuneline.evidence import Evaluated
from tuneline.gate import Decision
from tuneline.layout import split_file, staged
from tuneline.ledger import Ledger
from tuneline.log import report
from tuneline.old_rows import OldRows
from tuneline.params import Sections
from tuneline.parquet import read_rows
from tuneline.performance import Performance
from tuneline.report_facts import ReportFacts, read
from tuneline.reporting import write_page

SECTIONS = ("data", "task", "model", "tokenize", "train", "evaluate", "register")
EXPERIMENT = "tuneline"
ORIGIN = {"flow_run": "TUNELINE_FLOW_RUN", "experiment": "TUNELINE_EXPERIMENT"}  # set by flows/


@tracking.answering()
def run(params: Sections) -> None:
    ours, facts = Evaluated.here(), read(layout.REPORT_FACTS)
    write_page(layout.REPORT, facts)  # says that nothing is decided yet, should the server be away
    client, name, device = tracking.connect(), params.register.name, params.train.device
    performance = _performance(registry.find_version(client, name, ours.digest), device)
    if _must_predict_again(registry.champion(client, name), ours):
        devices.lease("register", device)  # before the lock, or all who register wait for a device too
    with registry.registry_lock(name):
        experiment = tracking.experiment_id(client, EXPERIMENT)
        version, new = _version(client, experiment, params, ours, facts, performance)
        metric = params.register.metric or params.task.default_metric
        old_rows = evidence.measured_on_old_rows(client, version, metric, ours.evaluation["test_sha256"], device)
        grounds = ""

        def decide(champion: ModelVersion | None) -> Decision:
            nonlocal grounds
            if champion is not None and champion.version == version.version:
                return gate.standing(metric, ours.evaluation["metrics"], int(version.version))
            grounds = _grounds(params, version, champion, old_rows, ours, performance)
            return _known(grounds) or _decide(client, champion, ours, params, metric, performance, old_rows)

        decision = promotion.judge(client, version, decide)
        if decision.outcome == "champion":
            decision = _untold(client, version) or decision
        registered = {
            "name": name, "version": int(version.version), "experiment_id": experiment, "run_id": version.run_id,
            "performance": asdict(performance), "decision": decision.plain(), "grounds": grounds,
            "old_rows": asdict(old_rows) if old_rows else None,
        }  # fmt: skip
        with staged(layout.REGISTRATION) as [registration]:
            registration.write_text(json.dumps(registered, indent=2) + "\n", encoding="utf-8")
        write_page(layout.REPORT, facts, registered)
        if decision.outcome != "champion":  # then the version was told all of it, with the decision that made it so
            client.log_artifact(str(version.run_id), str(layout.REPORT))
            _tell(client, version, decision)
    report(
        "register",
        f"{name} version {version.version}{' (new)' if new else ''}: {decision.outcome}, {decision.reason}"
        + (f"; {old_rows.reason}" if old_rows else ""),
    )


def _version(
    client: MlflowClient, experiment: str, params: Sections, ours: Evaluated, facts: ReportFacts,
    performance: Performance,
) -> tuple[ModelVersion, bool]:  # fmt: skip
    """The version of this model folder, and whether it was made just now. All that belongs to it is logged before: no
    version is ever without. One that was evaluated on other rows since has its record made anew."""
    training, name, folder = _json(layout.TRAINING), params.register.name, ours.digest
    known = registry.find_version(client, name, folder)
    if known is not None and record.holds(known, layout.EVALUATION):
        return known, False
    if known is not None:
        tags = _recorded(client, str(known.run_id), params, ours, facts, performance)
        for tag, value in tags.items():
            client.set_model_version_tag(name, known.version, tag, value)
        return client.get_model_version(name, known.version), False
    sections = {part: params.dump()[part] for part in ("task", "model", "tokenize", "train")}
    curve, inputs = curves.read(layout.LEARNING_CURVE), training["inputs_digest"]
    taken = registry.runs_of_versions(client, inputs)
    run_id = tracking.ensure_run(client, experiment, inputs, sections, curve, taken)
    tags = _recorded(client, run_id, params, ours, facts, performance)
    written = card.complete(params, facts, training, tags, asdict(performance))
    return registry.ensure_version(client, name, run_id, layout.MODEL, folder, tags, written)


def _recorded(
    client: MlflowClient, run_id: str, params: Sections, ours: Evaluated, facts: ReportFacts, performance: Performance
) -> dict[str, str]:
    """Put scores, report, rows and record into the run of a version; the tags that the version gets."""
    training, evaluation = _json(layout.TRAINING), ours.evaluation
    recorded = record.log(client, run_id, params, training)
    tracking.log_scores(client, run_id, {**evaluation["metrics"], **tracking.bounds(facts.intervals)})
    tracking.log_scores(client, run_id, seeds.named_scores(training), prefix="")
    tracking.log_scores(client, run_id, evaluation["forgetting"]["metrics"], prefix="forgetting.")
    for file in (layout.REPORT, split_file(layout.VALIDATED, "test"), layout.REFERENCE):
        client.log_artifact(run_id, str(file))
    return {**_tags(params, training, evaluation), **performance.tags(), **recorded}


def _untold(client: MlflowClient, version: ModelVersion) -> Decision | None:
    """The decision that made a version the champion, where register was killed before it had told the version."""
    if gate.OUTCOME in version.tags:
        return None
    return promotion.made_champion(Ledger(client, version.name).read(), int(version.version))


def _tell(client: MlflowClient, version: ModelVersion, decision: Decision) -> None:
    """The decision as tags of the version, in place of an earlier one. The outcome comes last: with it, all is told."""
    tags = decision.tags()
    for tag in client.get_model_version(version.name, version.version).tags:
        if tag.startswith(gate.CRITERION) and tag not in tags:
            client.delete_model_version_tag(version.name, version.version, tag)
    for tag in sorted(tags, key=lambda tag: tag == gate.OUTCOME):
        client.set_model_version_tag(version.name, version.version, tag, tags[tag])


def _decide(
    client: MlflowClient, champion: ModelVersion | None, ours: Evaluated, params: Sections, metric: str,
    performance: Performance, old_rows: OldRows | None,
) -> Decision:  # fmt: skip
    rival = None if champion is None else evidence.against(client, champion, ours, params, metric, old_rows)
    return gate.decide(
        ours.challenger(performance), rival, register=params.register, metric=metric,
        better_when_higher=params.task.metrics,
    )  # fmt: skip


def _grounds(
    params: Sections, version: ModelVersion, champion: ModelVersion | None, old_rows: OldRows | None, ours: Evaluated,
    performance: Performance,
) -> str:  # fmt: skip
    """Digest of all that a decision rests on."""
    sides = [each and each.version for each in (version, champion)]
    measured = [ours.evaluation, asdict(performance), asdict(old_rows) if old_rows else None]
    return digest([params.dump(), sides, measured])


def _known(grounds: str) -> Decision | None:
    """The decision that stands in registration.json, where it was made on the same grounds: resampling takes time."""
    with suppress(FileNotFoundError):
        before = _json(layout.REGISTRATION)
        if before.get("grounds") == grounds:
            return Decision.from_plain(before["decision"])
    return None


def _tags(params: Sections, training: dict[str, Any], evaluation: Any) -> dict[str, str]:
    return {
        "tuneline.git_commit": git.described(),
        "tuneline.data_sha256": tree_digest(layout.RAW / params.data.name),
        "tuneline.params_digest": digest(params.dump()),
        tracking.DIGEST: training["inputs_digest"],
        "tuneline.checkpoint_sha256": training["checkpoint_sha256"],
        **registry.score_tags(evaluation["metrics"], evaluation["test_sha256"]),
        **registry.forgetting_tags(evaluation["forgetting"]["metrics"]),
        **{f"tuneline.{name}": os.environ[variable] for name, variable in ORIGIN.items() if variable in os.environ},
    }


def _performance(version: ModelVersion | None, device: str) -> Performance:
    """Speed and size of this model: as the tags of its version say, or measured now. Before the lock is taken."""
    known = Performance.from_tags(version.tags) if version else None
    if known is not None:
        return known
    devices.lease("register", device)
    measured: Performance = import_module("tuneline.speed").measure(
        layout.MODEL, read_rows(split_file(layout.VALIDATED, "test"))
    )
    return measured


def _must_predict_again(champion: ModelVersion | None, ours: Evaluated) -> bool:
    """Whether there is another champion, and its predictions of today's test rows are not known."""
    return (
        champion is not None
        and champion.tags.get(registry.MODEL_DIGEST) != ours.digest
        and not evidence.is_recorded(champion, ours.evaluation)
    )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
