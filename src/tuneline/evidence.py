"""What the gate is told of the model in this checkout: by itself, and beside the champion on the same test rows."""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion

from tuneline import devices, layout, old_rows, predictions, record, registry, slicing, tracking
from tuneline.comparable import Facts, facts_of, same_question
from tuneline.comparing import Comparison, compare
from tuneline.digests import model_digest
from tuneline.errors import ServerAway, TrackingError, Undefined, Unscorable
from tuneline.gate import Against, Challenger, Incomparable
from tuneline.layout import split_file
from tuneline.log import warn
from tuneline.metrics.resampling import SEED
from tuneline.old_rows import OldRows
from tuneline.params import Guardrails, Sections
from tuneline.performance import Performance
from tuneline.recorded import PRESENT, Recorded
from tuneline.tasks.base import Prediction, Row


@dataclass(frozen=True)
class Evaluated:
    """The model of this checkout, as evaluate left it."""

    facts: Facts
    test: pa.Table  # its rows, with what came along in them
    predictions: Sequence[Prediction]
    evaluation: Mapping[str, Any]

    @classmethod
    def here(cls) -> "Evaluated":
        facts = facts_of(layout.MODEL)
        evaluation = json.loads(layout.EVALUATION.read_text(encoding="utf-8"))
        answers = predictions.read(layout.PREDICTIONS, facts.task)
        return cls(facts, pq.read_table(split_file(layout.VALIDATED, "test")), answers, evaluation)

    @cached_property
    def rows(self) -> list[Row]:
        rows: list[Row] = self.test.to_pylist()
        return rows

    @cached_property
    def digest(self) -> str:
        """That of the model folder, which takes a while to read."""
        return model_digest(layout.MODEL)

    def challenger(self, performance: Performance) -> Challenger:
        """What is known of it by itself. A behavioural test that found no row has no number."""
        rates = {each["name"]: each["pass_rate"] for each in self.evaluation["behaviour"]}
        return Challenger(
            metrics=self.evaluation["metrics"],
            behaviour={name: float("nan") if rate is None else rate for name, rate in rates.items()},
            forgetting=self.evaluation["forgetting"]["metrics"],
            latency_p95_ms=performance.latency_ms["p95"],
            size_bytes=performance.size_bytes,
        )


def is_recorded(champion: ModelVersion, evaluation: Mapping[str, Any]) -> bool:
    """Whether a champion's predictions of these very test rows were recorded with it."""
    return champion.tags.get(registry.TEST_DIGEST) == evaluation["test_sha256"] and record.FILES in champion.tags


def against(
    client: MlflowClient, champion: ModelVersion, ours: Evaluated, params: Sections, metric: str,
    on_old_rows: OldRows | None,
) -> Against | Incomparable:  # fmt: skip
    """The model of this checkout beside the champion."""
    try:
        theirs = _predictions_of(client, champion, ours, params.train.device)
    except Unscorable as error:
        return Incomparable(int(champion.version), f"cannot be scored on these test rows: {error}")
    task, labels = ours.facts
    rows = ours.rows
    confidence = params.register.confidence or params.evaluate.confidence

    def compared(chosen: slicing.Mask | None = None) -> Comparison:
        return compare(
            task, labels, rows, ours.predictions, theirs, metric, task.metrics[metric],
            params.register.minimum_effect, confidence, params.evaluate.resamples, SEED, chosen,
        )  # fmt: skip

    return Against(
        version=int(champion.version),
        scores=task.score(theirs, rows, labels).metrics,
        whole=compared(),
        slices=dict(_each(compared, _judged(ours, params))),
        old_rows=_pair(champion, on_old_rows, params.register.guardrails),
    )


def _each(
    compared: Callable[[slicing.Mask], Comparison], masks: Mapping[str, slicing.Mask]
) -> Iterator[tuple[str, Comparison]]:
    """The comparison on each slice. One on whose rows the metric says nothing is left out with a warning."""
    for name, mask in masks.items():
        try:
            yield name, compared(mask)
        except Undefined as error:
            warn("register", f"slice {name} is left out: {error}")


def _predictions_of(client: MlflowClient, champion: ModelVersion, ours: Evaluated, device: str) -> Sequence[Prediction]:
    """The champion's predictions of our test rows: those recorded with it, where it was tested on these, else made
    anew. Unscorable when they cannot be had, or it answers to something else."""
    with tempfile.TemporaryDirectory() as scratch:
        recorded = Recorded(client, champion, Path(scratch))
        if is_recorded(champion, ours.evaluation) and recorded.state(record.PREDICTIONS) == PRESENT:
            try:
                theirs = recorded.task()
            except ServerAway:
                raise
            except TrackingError as error:
                raise Unscorable(str(error)) from error
            same_question(theirs, ours.facts)
            return predictions.read(recorded.need(record.PREDICTIONS), theirs.task)
    found: Sequence[Prediction] = rescoring(device).predict_again(champion, ours.rows, ours.facts)
    return found


def _judged(ours: Evaluated, params: Sections) -> dict[str, slicing.Mask]:
    """The slices that are large enough to judge, where a guardrail looks at them."""
    if params.register.guardrails.slice_drop is None:
        return {}
    large = {each["name"] for each in ours.evaluation["slices"] if each["judged"]}
    found = slicing.slices(ours.test, ours.facts.task, params.evaluate.slices)
    return {each.name: each.mask for each in found if each.name in large and not np.all(each.mask)}


def _pair(champion: ModelVersion, found: OldRows | None, guardrails: Guardrails) -> tuple[float, float] | None:
    """Both scores on the champion's test rows. Undefined where a guardrail asks for them and one is not known."""
    if found is None or found.champion_version != int(champion.version):
        return None
    if found.challenger is not None and found.champion is not None:
        return found.challenger, found.champion
    if guardrails.old_rows_drop is not None:
        raise Undefined(
            f"register.guardrails.old_rows_drop: {found.reason}. Bring them back, or leave the guardrail out. "
            "Nothing was promoted."
        )
    return None


def measured_on_old_rows(
    client: MlflowClient, version: ModelVersion, metric: str, test_digest: str, device: str
) -> OldRows | None:
    """This version on the champion's own test rows. None where those are today's, or there is no champion.

    A score stands in the version's tags and is not computed again. It stays when the version becomes the champion
    itself.
    """
    champion, known = registry.champion(client, version.name), old_rows.recorded(version)
    if champion is None or champion.version == version.version:
        return known
    if champion.tags.get(registry.TEST_DIGEST) == test_digest:
        return None
    if known and known.scored and (known.champion_version, known.metric) == (int(champion.version), metric):
        return known
    scores, problem = {}, ""
    try:
        scores = rescoring(device).score_on_rows_of(client, champion, layout.MODEL)
    except Unscorable as error:
        problem = str(error)
    tracking.log_scores(client, str(version.run_id), scores, prefix="old_rows_")
    found = old_rows.beside(champion, metric, scores.get(metric), problem)
    for key, value in found.tags().items():
        client.set_model_version_tag(version.name, version.version, key, value)
    return found


def rescoring(device: str) -> Any:
    """torch is loaded, and a device taken, only when it comes to this."""
    devices.lease("register", device)
    return import_module("tuneline.rescoring")
