"""What the report of a model rests on: a file of facts that evaluate writes, and the plots that are drawn of them.

    evaluate → report.json → register, which adds its decision → report.html

The same inputs give the same bytes. What evaluate cannot know, the decision and the speed of this machine, is not here.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tuneline.charts import (
    Spec,
    confusion_matrix,
    drift,
    histogram,
    over_steps,
    rate_curves,
    reliability,
    scatter,
    slice_dots,
)
from tuneline.display import number

PLOTTED = ("roc", "precision_recall", "reliability", "scatter", "written_length")  # of the tables that a task gives


@dataclass(frozen=True)
class ReportFacts:
    """What evaluate says of a model. Scores are those of the test split; what a task does not have is empty."""

    title: str
    task_name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    baseline: dict[str, float] | None
    baseline_name: str | None
    metric: str  # the task's first one; the one that decides, unless params name another
    directions: dict[str, bool]  # metric → True when higher is better
    labels: list[str]  # of the table per label and the confusion
    details: dict[str, Any]  # per_label: label → precision, recall, f1, support; confusion: gold × predicted
    learning_curve: list[dict[str, Any]]  # step, epoch, train_loss, validation_loss, validation_<metric>, ...
    tables: dict[str, list[dict[str, Any]]]  # PLOTTED ones
    errors: list[dict[str, Any]]  # row, file, line, gold, predicted, score, text
    validation: dict[str, Any]
    tokens: dict[str, Any]  # split → what Lengths.report gives
    lineage: dict[str, str]
    counted: str = "rows"  # what the table per label counts
    compared: str = "rows"  # and the confusion matrix
    worst: str = ""  # what the list of errors begins with
    test_rows: int | None = None
    intervals: dict[str, list[float] | None] = field(default_factory=dict)  # metric → low, high
    confidence: float | None = None  # of the intervals
    augmented: list[dict[str, str]] = field(default_factory=list)  # column, before, after: rows as training reads them
    seeds: dict[str, Any] = field(default_factory=dict)  # of a training with several: what seeds.recorded gives
    forgetting: dict[str, Any] = field(default_factory=dict)  # what forgetting.measure gives
    calibration: dict[str, Any] | None = None  # temperature, fitted, ece, brier; uncalibrated: the same without it
    slices: list[dict[str, Any]] = field(default_factory=list)  # name, by, rows, value, interval, judged
    behaviour: list[dict[str, Any]] = field(default_factory=list)  # name, kind, rows, passed, pass_rate, examples
    label_errors: list[dict[str, Any]] = field(default_factory=list)  # file, line, gold, suggested, confidence, text

    def higher_is_better(self, metric: str) -> bool:
        return self.directions.get(metric, True)

    def worst_first(self) -> list[dict[str, Any]]:
        """The slices by value, those that are not judged after the others."""
        sign = 1 if self.higher_is_better(self.metric) else -1

        def place(each: dict[str, Any]) -> tuple[bool, float]:
            return not each["judged"], math.inf if each["value"] is None else sign * each["value"]

        return sorted(self.slices, key=place)

    def seed_scores(self) -> dict[str, dict[str, float]]:
        """The validation scores of each seed, then their mean and standard deviation."""
        if not self.seeds:
            return {}
        note = {self.seeds["chosen"]: ", kept"}
        each = {f"{one['seed']}{note.get(one['seed'], '')}": one["best"] for one in self.seeds["seeds"]}
        return {**each, "mean": self.seeds["mean"], "standard deviation": self.seeds["standard_deviation"]}

    def before_and_after(self) -> dict[str, tuple[float | None, float | None]]:
        """{"temperature": 1.4, "fitted": True, "ece": 0.02, "uncalibrated": {"ece": 0.05}} → {"ece": (0.05, 0.02)}"""
        found = self.calibration or {}
        before = found.get("uncalibrated") or {}
        told = ("temperature", "fitted", "uncalibrated")
        after = {name: value for name, value in found.items() if name not in told}
        return {name: (before.get(name), after.get(name)) for name in {**before, **after}}

    @property
    def is_calibrated(self) -> bool:
        """Whether probabilities were scaled, by whichever temperature."""
        return self.calibration is not None and self.calibration["temperature"] != 1

    def temperature(self) -> str:
        """What the probabilities were scaled by, and where that comes from, in a sentence; nothing where none are."""
        if not self.calibration:
            return ""
        heat = self.calibration["temperature"]
        if self.calibration["fitted"]:
            return f"Logits are divided by a temperature of {number(heat)}, fitted on validation."
        if self.params.get("task", {}).get("temperature") is not None:
            return f"Logits are divided by a temperature of {number(heat)}, which params name (task.temperature)."
        return "Probabilities are as training made them: no temperature could be fitted on validation."

    def weakest_checks(self) -> list[dict[str, Any]]:
        """The behavioural tests by pass rate, those that found no row after the others."""
        return sorted(self.behaviour, key=lambda each: 2 if each["pass_rate"] is None else each["pass_rate"])

    def worst_slice(self) -> dict[str, Any] | None:
        """The worst of the slices that are large enough to judge."""
        first = next(iter(self.worst_first()), None)
        return first if first and first["judged"] and first["value"] is not None else None


def why_not_judged(each: Mapping[str, Any]) -> str:
    """Why a slice is not judged; nothing where it is."""
    if each["judged"]:
        return ""
    return "too small to judge" if each["value"] is not None else "nothing to score"


def write(path: Path, facts: ReportFacts) -> None:
    path.write_text(json.dumps(asdict(facts), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read(path: Path) -> ReportFacts:
    return ReportFacts(**json.loads(path.read_text(encoding="utf-8")))


def plots(facts: ReportFacts) -> dict[str, Spec]:
    """Vega-Lite specs by name. A plot without data is left out."""
    specs = {
        "losses": over_steps(facts.learning_curve, ("train_loss", "validation_loss"), "loss (nats)"),
        "validation_metric": over_steps(facts.learning_curve, (f"validation_{facts.metric}",), facts.metric),
        "confusion": confusion_matrix(facts.labels, facts.details.get("confusion") or [], facts.compared),
        "roc": rate_curves(facts.tables.get("roc", []), "false_positive_rate", "true_positive_rate"),
        "precision_recall": rate_curves(facts.tables.get("precision_recall", []), "recall", "precision"),
        "reliability": reliability(facts.tables.get("reliability", [])),
        "scatter": scatter(facts.tables.get("scatter", []), "gold", "predicted"),
        "written_length": scatter(
            facts.tables.get("written_length", []), "target_words", "generated_words", "row_score"
        ),
        "slices": slice_dots(facts.worst_first(), facts.metric, facts.metrics.get(facts.metric)),
        "cka": drift(facts.forgetting.get("cka", [])),
    }
    if facts.metric == "loss":
        del specs["validation_metric"]  # stands in the other plot already
    max_length = facts.params.get("tokenize", {}).get("max_length")
    specs |= {f"lengths_{split}": histogram(tokens, max_length) for split, tokens in facts.tokens.items()}
    return {name: spec for name, spec in specs.items() if spec}
