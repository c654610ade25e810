"""One HTML page that says how good a model is. It opens without a network; same facts, same bytes.

    facts → verdict, tables and Vega-Lite plots → report.html.jinja → one file

The page quotes raw data, and a server may show it as its own (MLflow shows artifacts). So every text is
escaped, and a content security policy lets only the page's own two scripts run and nothing be loaded.
"""

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

Spec = dict[str, Any]

FRAME = {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
SHOWN_CURVES = 8  # more lines in one plot cannot be told apart
WRITTEN_CELLS = 10  # on a phone, a confusion matrix of more labels has no room for numbers
NAMED_COLUMNS = 25  # nor of more labels for names above its columns
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
    labels: list[str]
    details: dict[str, Any]  # per_label: label → precision, recall, f1, support; confusion: gold × predicted
    learning_curve: list[dict[str, Any]]  # step, epoch, train_loss, validation_loss, validation_<metric>, ...
    plots: dict[str, list[dict[str, Any]]]  # roc, precision_recall
    errors: list[dict[str, Any]]  # row, file, line, gold, predicted, score, text
    validation: dict[str, Any]
    tokens: dict[str, Any]  # split → what Lengths.report gives
    lineage: dict[str, str]
    higher_is_better: bool = True  # of the metric that decides


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
        "losses": _over_steps(facts.learning_curve, ("train_loss", "validation_loss"), "loss (nats)"),
        "validation_metric": _over_steps(facts.learning_curve, (f"validation_{facts.metric}",), facts.metric),
        "confusion": _confusion_matrix(facts.labels, facts.details.get("confusion") or []),
        "roc": _curves(facts.plots.get("roc", []), "false_positive_rate", "true_positive_rate"),
        "precision_recall": _curves(facts.plots.get("precision_recall", []), "recall", "precision"),
    }
    if facts.metric == "loss":
        del specs["validation_metric"]  # stands in the other plot already
    max_length = facts.params.get("tokenize", {}).get("max_length")
    specs |= {f"lengths_{split}": _histogram(tokens, max_length) for split, tokens in facts.tokens.items()}
    return {name: spec for name, spec in specs.items() if spec}


def confusions(facts: ReportFacts) -> list[dict[str, Any]]:
    """The most frequent mistakes, as cells of the confusion matrix."""
    cells = _cells(facts.labels, facts.details.get("confusion") or [])
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


def _over_steps(curve: Sequence[Mapping[str, Any]], names: Sequence[str], title: str) -> Spec | None:
    """One line for each name, over training steps."""
    values = [
        {"step": point["step"], "epoch": point.get("epoch"), "series": _words(name), "value": point[name]}
        for name in names
        for point in curve
        if point.get(name) is not None and math.isfinite(point[name])
    ]
    if not values:
        return None
    hidden = {
        "test": "datum.series === 'train loss'",
        "value": 0,
    }  # too many points to draw, enough to point at
    encoding = {
        "x": {"field": "step", "type": "quantitative", "scale": {"zero": True, "nice": False}},
        "y": {"field": "value", "type": "quantitative", "title": _words(title), "scale": {"zero": False}},
        "color": {
            "field": "series",
            "type": "nominal",
            "title": None,
            "sort": None,
            "legend": {"orient": "top"} if len(names) > 1 else None,
        },
    }
    points = {
        "mark": {"type": "point", "filled": True, "size": 40},
        "encoding": {
            "opacity": {"condition": hidden, "value": 1},
            "tooltip": _tooltip("series", "step", "epoch", "value"),
        },
    }
    return {
        "data": {"values": values},
        **FRAME,
        "height": 240,
        "encoding": encoding,
        "layer": [{"mark": "line"}, points],
    }


def _cells(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    """The cells of a confusion matrix; share is that of the gold label's rows."""
    return [
        {"gold": gold, "predicted": predicted, "rows": rows, "share": round(rows / (sum(line) or 1), 4)}
        for gold, line in zip(labels, matrix, strict=False)
        for predicted, rows in zip(labels, line, strict=True)
    ]


def _confusion_matrix(labels: Sequence[str], matrix: Sequence[Sequence[int]]) -> Spec | None:
    """Gold down, predicted across. Colour is the share of a gold label's rows, so that rare labels show."""
    cells = _cells(labels, matrix)
    if not cells:
        return None
    few, named = len(labels) <= WRITTEN_CELLS, len(labels) <= NAMED_COLUMNS
    axes = {
        "x": {
            "field": "predicted",
            "type": "nominal",
            "scale": {"domain": list(labels)},
            "title": "predicted" if named else "predicted, in the same order",
            "axis": {
                "orient": "top",
                "labels": named,
                "ticks": named,
                "labelAngle": 0 if len(labels) < 4 else -60,
            },
        },
        "y": {"field": "gold", "type": "nominal", "scale": {"domain": list(labels)}, "title": "gold"},
    }
    color = {"field": "share", "type": "quantitative", "scale": {"domain": [0, 1]}, "legend": None}
    tooltip = _tooltip("gold", "predicted", "rows", "share")
    squares = {"mark": "rect", "encoding": {"color": color, "tooltip": tooltip}}
    numbers = [
        {
            "transform": [{"filter": f"datum.share {comparison} 0.5"}],
            "mark": {"type": "text", "style": style},
            "encoding": {
                "text": {"field": "rows", "type": "quantitative", "format": ",d"},
                "tooltip": tooltip,
            },
        }
        for comparison, style in (("<", "on-weak"), (">=", "on-strong"))
    ]
    return {
        "data": {"values": cells if few else [cell for cell in cells if cell["rows"]]},
        **FRAME,
        "height": len(labels) * max(14, min(64, 400 // len(labels))),
        "encoding": axes,
        "layer": [squares, *numbers] if few else [squares],
    }


def _curves(points: Sequence[Mapping[str, Any]], x: str, y: str) -> Spec | None:
    """One line for each label; of many labels, the ones with the smallest area under the line."""
    lines: dict[str, list[dict[str, Any]]] = {}
    for point in points:
        lines.setdefault(point["label"], []).append(
            {"label": point["label"], x: round(point[x], 4), y: round(point[y], 4)}
        )
    weakest = sorted(lines, key=lambda label: _area(lines[label], x, y))[:SHOWN_CURVES]
    values = [point for label, line in lines.items() if label in weakest for point in line]
    if not values:
        return None
    axis = {"type": "quantitative", "scale": {"domain": [0, 1]}}
    return {
        "data": {"values": values},
        **FRAME,
        "height": 280,
        "mark": {"type": "line", "interpolate": "step-after" if x == "recall" else "linear"},
        "encoding": {
            "x": {"field": x, "title": _words(x), **axis},
            "y": {"field": y, "title": _words(y), **axis},
            "order": {"field": x, "type": "quantitative"},
            "color": {
                "field": "label",
                "type": "nominal",
                "title": None,
                "sort": None,
                "legend": {"orient": "bottom", "columns": 2},
            },
            "tooltip": _tooltip("label"),
        },
    }


def _area(line: Sequence[Mapping[str, Any]], x: str, y: str) -> float:
    """Area under a line by trapezoids."""
    return sum((b[x] - a[x]) * (a[y] + b[y]) / 2 for a, b in pairwise(line))


def _histogram(tokens: Mapping[str, Any], max_length: int | None) -> Spec | None:
    """Rows by length in tokens, with a line where longer rows are cut."""
    histogram = tokens.get("histogram")
    if not histogram:
        return None
    bars = [
        {"from": start, "to": end, "rows": rows}
        for (start, end), rows in zip(pairwise(histogram["edges"]), histogram["rows"], strict=True)
    ]
    length = {"type": "quantitative", "title": "tokens"}
    drawn: list[Spec] = [
        {
            "mark": "bar",
            "encoding": {
                "x": {"field": "from", "bin": "binned", **length},
                "x2": {"field": "to"},
                "y": {"field": "rows", "type": "quantitative", "title": "rows"},
                "tooltip": _tooltip("from", "to", "rows"),
            },
        }
    ]
    if max_length is not None and max_length <= bars[-1]["to"]:
        cut = {"mark": {"type": "rule", "style": "cut"}, "encoding": {"x": {"datum": max_length}}}
        drawn.append(cut)
    return {"data": {"values": bars}, **FRAME, "height": 160, "layer": drawn}


def _tooltip(*names: str) -> list[dict[str, str]]:
    return [{"field": name, "title": _words(name)} for name in names]


def _words(name: str) -> str:
    return name.replace("_", " ")


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
        "words": _words,
        "arranged": arranged,
        "script_hash": _script_hash,
    }
    environment.globals |= {"plain": plain, "finding": finding}
    return environment
