"""One HTML page that says how good a model is. It opens without a network; same facts, same bytes.

    facts → verdict, tables and Vega-Lite plots → report.html.jinja → one file

The page quotes raw data, and a server may show it as its own (MLflow shows artifacts). So every text is
escaped, and a content security policy lets only the page's own two scripts run and nothing be loaded.
"""

import math
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tuneline.charts import (
    SHOWN_CURVES,
    WRITTEN_CELLS,
    Spec,
    confusion_matrix,
    drift,
    histogram,
    matrix_cells,
    over_steps,
    rate_curves,
    reliability,
    scatter,
    words,
)

SHOWN_CONFUSIONS = 15
SHOWN_CHARACTERS = 600


@dataclass(frozen=True)
class ReportFacts:
    """What the page shows. Scores are those of the test split; what a task does not have is empty."""

    title: str
    task_name: str
    params: dict[str, Any]
    metrics: dict[str, float]
    baseline: dict[str, float] | None
    baseline_name: str | None
    metric: str  # the metric that decides
    labels: list[str]  # of the table per label and the confusion
    details: dict[str, Any]  # per_label: label → precision, recall, f1, support; confusion: gold × predicted
    learning_curve: list[dict[str, Any]]  # step, epoch, train_loss, validation_loss, validation_<metric>, ...
    tables: dict[str, list[dict[str, Any]]]  # to plot: roc, precision_recall, reliability, scatter, written_length
    errors: list[dict[str, Any]]  # row, file, line, gold, predicted, score, text
    validation: dict[str, Any]
    tokens: dict[str, Any]  # split → what Lengths.report gives
    lineage: dict[str, str]
    higher_is_better: bool = True  # of the metric that decides
    counted: str = "rows"  # what the table per label counts
    compared: str = "rows"  # and the confusion matrix
    worst: str = ""  # what the list of errors begins with
    augmented: list[dict[str, str]] = field(default_factory=list)  # column, before, after: rows as training reads them
    forgetting: dict[str, Any] = field(default_factory=dict)  # what forgetting.measure gives


@dataclass(frozen=True)
class Verdict:
    """The metric that decides, against the baseline."""

    outcome: str  # "better", "worse", "equal", or "alone" without a baseline
    sentence: str


def render(facts: ReportFacts) -> str:
    """The whole page."""
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            facts=facts,
            verdict=verdict(facts),
            plots=plots(facts),
            confusions=confusions(facts),
            bundle=Markup(_bundle()),  # noqa: S704 (a library's JavaScript, no text of ours)
            written_tokens={split: tokens["labels"] for split, tokens in facts.tokens.items() if "labels" in tokens},
            cut_at=facts.params.get("tokenize", {}).get("max_length"),
            many_labels=len(facts.labels) > WRITTEN_CELLS,
            shown_characters=SHOWN_CHARACTERS,
            shown_curves=SHOWN_CURVES,
        )
    )


def verdict(facts: ReportFacts) -> Verdict:
    """`0.0413 better than bag-of-words`"""
    against = (facts.baseline or {}).get(facts.metric)
    if against is None:
        return Verdict("alone", "No baseline was scored on the same rows.")
    name, gain = facts.baseline_name or "the baseline", facts.metrics[facts.metric] - against
    if not facts.higher_is_better:
        gain = -gain
    if number(abs(gain)) == number(0.0):
        return Verdict("equal", f"No better than {name}.")
    outcome = "better" if gain > 0 else "worse"
    return Verdict(outcome, f"{number(abs(gain))} {outcome} than {name}.")


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
    }
    specs["cka"] = drift(facts.forgetting.get("cka", []))
    if facts.metric == "loss":
        del specs["validation_metric"]  # stands in the other plot already
    max_length = facts.params.get("tokenize", {}).get("max_length")
    specs |= {f"lengths_{split}": histogram(tokens, max_length) for split, tokens in facts.tokens.items()}
    return {name: spec for name, spec in specs.items() if spec}


def confusions(facts: ReportFacts) -> list[dict[str, Any]]:
    """The most frequent mistakes, as cells of the confusion matrix."""
    cells = matrix_cells(facts.labels, facts.details.get("confusion") or [])
    wrong = [cell for cell in cells if cell["rows"] and cell["gold"] != cell["predicted"]]
    return sorted(wrong, key=lambda cell: -cell["rows"])[:SHOWN_CONFUSIONS]


def number(value: float | int | None) -> str:
    """Three or four digits of a measurement, counts in full, an en dash for none."""
    if value is None:
        return "–"
    if isinstance(value, int) or not math.isfinite(value):
        return f"{value:,}"
    if value and abs(value) < 0.001:
        return f"{value:.2e}"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:,.{max(4 - whole, 0)}f}"


def difference(value: float) -> str:
    """A number with its sign."""
    return ("+" if value > 0 else "−" if value < 0 else "±") + number(abs(value))


def plain(value: Any) -> str:
    """A parameter or a finding as YAML would spell it; never rounded."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or "none"
    return str(value)


def finding(value: Any) -> str:
    """A finding of the data checks: measurements with a few digits, the rest as it stands."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return number(value) if is_number else plain(value)


@dataclass(frozen=True)
class Arranged:
    """A nested dictionary, laid out to be read."""

    values: dict[str, Any]
    groups: dict[str, dict[str, Any]]
    tables: dict[str, list[dict[str, Any]]]


def arranged(section: Mapping[str, Any]) -> Arranged:
    """Dictionaries become groups; lists of like lines, or dictionaries of like ones, become tables."""
    tables = {name: lines for name, value in section.items() if (lines := _lines(value))}
    rest = {name: value for name, value in section.items() if name not in tables}
    groups = {name: _dotted(value) for name, value in rest.items() if isinstance(value, Mapping) and value}
    return Arranged({name: value for name, value in rest.items() if name not in groups}, groups, tables)


def _lines(value: Any) -> list[dict[str, Any]]:
    """The lines of a table, all with the same columns; none when the value is something else."""
    named = isinstance(value, Mapping)
    lines = list(value.values()) if named else value
    if not isinstance(lines, list) or not all(isinstance(line, Mapping) and line for line in lines):
        return []
    if any(line.keys() != lines[0].keys() for line in lines):
        return []
    return [{"": name, **line} for name, line in value.items()] if named else lines


def _dotted(section: Mapping[str, Any]) -> dict[str, Any]:
    """`{"checks": {"min_length": 1}}` → `{"checks.min_length": 1}`"""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{name}.{inner}": item for inner, item in _dotted(value).items()}
        else:
            flat[name] = value
    return flat


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and vega-embed in one script."""
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub forgets the default
    return bundle.replace("</script", r"<\/script")


def _script_hash(script: str) -> str:
    """The name of a script in a content security policy."""
    return "sha256-" + b64encode(sha256(script.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "number": number,
        "difference": difference,
        "words": words,
        "arranged": arranged,
        "script_hash": _script_hash,
    }
    environment.globals |= {"plain": plain, "finding": finding}
    return environment
