"""evaluate: the model folder and the test split → scores, predictions, plots and the facts of the report."""

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tuneline import behaviour, charts, curves, devices, forgetting, layout, observations, report_facts, seeds, slicing
from tuneline.augmentation import Augmenter
from tuneline.baselines import BASELINES
from tuneline.checkpoints import load_tokenizer
from tuneline.digests import digest, file_digest
from tuneline.inference import Predictor
from tuneline.layout import split_file, staged
from tuneline.log import report
from tuneline.memory import keep_memory
from tuneline.metrics.resampling import intervals
from tuneline.params import Sections
from tuneline.parquet import read_batches, read_rows, write_rows
from tuneline.predictions import write as write_predictions
from tuneline.report_facts import PLOTTED, ReportFacts
from tuneline.tasks.base import Prediction, Row, Score, Task

SECTIONS = ("data", "task", "model", "tokenize", "train", "evaluate")
PLACE = ("row", "file", "line")  # where a row stands: its number, and its place in the raw files


def run(params: Sections) -> None:
    devices.lease("evaluate", params.train.device)
    keep_memory()
    predictor = Predictor.load(layout.MODEL)
    task, labels = predictor.task, predictor.labels
    behaviour.check(params.evaluate.behaviour, task, labels)
    started_from = _json(layout.TRAINING)["checkpoint_sha256"]
    kept = forgetting.measure(
        predictor, layout.MODEL, params.model, started_from, params.evaluate.forgetting, params.tokenize.max_length
    )
    features, table = (
        read_rows(split_file(layout.TOKENIZED, "test")),
        pq.read_table(split_file(layout.VALIDATED, "test")),
    )
    rows: list[Row] = table.to_pylist()
    predictions = predictor.predict_features(features, rows, params.evaluate.per_device_eval_batch_size)
    score = task.score(predictions, rows, labels)
    slices = slicing.measured(table, task, predictions, score, labels, params.evaluate)
    outcomes = behaviour.run(params.evaluate.behaviour, task, labels, table, predictions, predictor.predict)
    baseline = _baseline(task, rows, labels) if params.evaluate.baseline else None
    evaluation = {
        "test_rows": len(rows),
        "test_sha256": file_digest(split_file(layout.VALIDATED, "test")),
        "metrics": score.metrics,
        "intervals": intervals(
            score.measures, len(rows), confidence=params.evaluate.confidence, resamples=params.evaluate.resamples
        ),
        "baseline": baseline,
        "forgetting": kept,
        "calibration": calibration_of(params.task, task, predictions, rows, labels),
        **_label_errors(task, predictions, rows, labels, params.evaluate.worst_errors),
        "slices": [asdict(each) for each in slices],
        "behaviour": [asdict(each) for each in outcomes],
        **score.details,
    }
    tables = task.plots(predictions, rows, labels)
    errors = _worst_errors(task, predictions, rows, score, params.evaluate.worst_errors)
    outs = (
        layout.EVALUATION, layout.PREDICTIONS, layout.REFERENCE, layout.TABLES, layout.PLOTS, layout.REPORT_FACTS
    )  # fmt: skip
    with staged(*outs) as [evaluation_file, predictions_file, reference_file, tables_folder, plots_folder, facts_file]:
        evaluation_file.write_text(json.dumps(evaluation, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        write_predictions(predictions_file, task, predictions, rows, score.per_row)
        write_rows(
            reference_file, observations.reference(predictor, _training_rows(), rows), observations.REFERENCE_SCHEMA
        )
        tables_folder.mkdir()
        for name, lines in tables.items():
            _write_csv(tables_folder / f"{name}.csv", lines)
        plots_folder.mkdir()
        facts = _facts(params, score.classes or labels, evaluation, tables, errors)
        for name, spec in report_facts.plots(facts).items():
            (plots_folder / f"{name}.svg").write_text(charts.svg(spec), encoding="utf-8")
        report_facts.write(facts_file, facts)
    against = f", {task.baseline} {baseline[task.default_metric]:.4f}" if baseline else ""
    metric = task.default_metric
    agreement = kept["metrics"].get("similarity_agreement")
    drift = f"; agrees with its base by {agreement:.4f}" if agreement is not None else ""
    report("evaluate", f"{len(rows):,} test rows, {metric} {score.metrics[metric]:.4f}{against}{drift}")


def _baseline(task: Task, rows: Sequence[Row], labels: Sequence[str]) -> dict[str, float] | None:
    if task.baseline is None:
        return None
    return task.score(BASELINES[task.baseline](_training_rows(), rows, labels), rows, labels).metrics


def _training_rows() -> list[Row]:
    return list(read_rows(split_file(layout.VALIDATED, "train")))


def _worst_errors(
    task: Task, predictions: Sequence[Prediction], rows: Sequence[Row], score: Score, count: int
) -> list[dict[str, Any]]:
    """The worst first; of those equally wrong, the most confident ones."""
    wrong = [
        (points, {**{name: row[name] for name in PLACE}, **asdict(task.mistake(row, prediction))})
        for row, prediction, points in zip(rows, predictions, score.per_row, strict=True)
        if points < 1
    ]
    return [mistake for _, mistake in sorted(wrong, key=lambda each: (each[0], -each[1]["score"]))][:count]


def calibration_of(
    asked: Task, task: Task, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str]
) -> dict[str, Any] | None:
    """What the task says of it, and whether its temperature was fitted: it was where it is not the one that params ask
    for, which is 1 when they name none. asked: the task of params."""
    found = task.calibration(predictions, rows, labels)
    return found and {**found, "fitted": task.heat != asked.heat}


def _label_errors(
    task: Task, predictions: Sequence[Prediction], rows: Sequence[Row], labels: Sequence[str], count: int
) -> dict[str, Any]:
    """How many gold labels are likely wrong, and the likeliest of them with their places."""
    found = task.label_errors(predictions, rows, labels)
    shown = [
        {**{name: rows[each.position][name] for name in PLACE}, "gold": each.gold, "suggested": each.suggested,
         "confidence": each.confidence, "text": each.text}
        for each in found[:count]
    ]  # fmt: skip
    return {"likely_label_errors": len(found), "label_errors": shown}


def _write_csv(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)


def _facts(
    params: Sections,
    labels: list[str],
    evaluation: dict[str, Any],
    tables: dict[str, Any],
    errors: list[dict[str, Any]],
) -> ReportFacts:
    training = _json(layout.TRAINING)
    return ReportFacts(
        title=params.data.name,
        task_name=params.task.name,
        params=params.dump(),
        metrics=evaluation["metrics"],
        baseline=evaluation["baseline"],
        baseline_name=params.task.baseline,
        metric=params.task.default_metric,
        directions=dict(params.task.metrics),
        labels=labels,
        counted=params.task.counted,
        compared=params.task.compared,
        details={name: evaluation.get(name) for name in ("per_label", "confusion")},
        learning_curve=curves.read(layout.LEARNING_CURVE),
        tables={name: lines for name, lines in tables.items() if name in PLOTTED},
        errors=errors,
        worst=params.task.worst,
        test_rows=evaluation["test_rows"],
        intervals=evaluation.get("intervals", {}),
        confidence=params.evaluate.confidence,
        calibration=evaluation.get("calibration"),
        slices=evaluation.get("slices", []),
        behaviour=evaluation.get("behaviour", []),
        label_errors=evaluation.get("label_errors", []),
        augmented=_augmented(params),
        seeds=seeds.recorded(training),
        validation=_json(layout.VALIDATION),
        tokens=_json(layout.TOKENS),
        forgetting=evaluation["forgetting"],
        lineage={
            "training inputs": training["inputs_digest"],
            "base weights sha256": training["checkpoint_sha256"],
            "test rows sha256": evaluation["test_sha256"],
            "params sections": digest(params.dump()),
        },
    )


def _augmented(params: Sections) -> list[dict[str, str]]:
    """Training rows before and after, where training augments them."""
    if not params.train.augmentation.is_on:
        return []
    rows = next(read_batches(split_file(layout.VALIDATED, "train")))
    augmenter = Augmenter(params.train.augmentation, load_tokenizer(layout.VOCABULARY))
    return augmenter.examples(params.task, rows, params.train.seed)


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
