"""One HTML page that says what became of a model and why. It opens without a network; same facts, same bytes.

    facts + what register found → verdict, tables and Vega-Lite plots → report.html.jinja → one file

The page quotes raw data, and a server may show it as its own (MLflow shows artifacts). So every text is
escaped, and a content security policy lets only the page's own two scripts run and nothing be loaded.
"""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import vl_convert
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tuneline.charts import SHOWN_CURVES, SHOWN_SLICES, WRITTEN_CELLS, Spec, matrix_cells, score_dots, words
from tuneline.display import (
    confidence,
    difference,
    dotted,
    finding,
    interval,
    number,
    p_value,
    percent,
    plain,
    sentence,
    size,
)
from tuneline.report_facts import ReportFacts, plots, why_not_judged

PAGE, PARTS, DRAWING = "report.html.jinja", "report_parts.html.jinja", "report.js"
STYLE = "report.css"
SHOWN_CONFUSIONS = 15
SHOWN_CHARACTERS = 600
SHOWN_REASONS = 3
HEADLINES = {  # of a decision → what the page begins with, and its colour
    "promoted": ("Promoted: it is the champion now", "good"),
    "champion": ("It is the champion already", "good"),
    "waiting": ("Waiting for approval", "open"),
    "incomparable": ("Not comparable with the champion", "open"),
    "kept": ("Not promoted: the champion stays", "plain"),
    "refused": ("Refused: it fails what it is held to", "bad"),
    "undecided": ("Not decided yet", "plain"),
}
UNDECIDED = "register has not compared this model with the champion: run dvc repro."


@dataclass(frozen=True)
class Figure:
    """A number of the verdict."""

    title: str
    value: str
    note: str = ""  # its interval
    main: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the page begins with."""

    outcome: str
    headline: str
    tone: str  # good, bad, open, plain
    reason: str
    metric: str  # that decides
    figures: list[Figure]
    command: str = ""  # what a person may do about it


def write_page(path: Path, facts: ReportFacts, registration: Mapping[str, Any] | None = None) -> None:
    """Render the page into a file, whose folder is made if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(facts, registration), encoding="utf-8")


def render(facts: ReportFacts, registration: Mapping[str, Any] | None = None) -> str:
    """The whole page. registration: what register writes into registration.json; None before it has decided."""
    found = registration or {}
    decision = found.get("decision") or {}
    reached = verdict(facts, found)
    return (
        _environment()
        .get_template(PAGE)
        .render(
            facts=facts,
            verdict=reached,
            version=found.get("version"),
            criteria=sorted(decision.get("criteria") or [], key=lambda each: bool(each["passed"])),
            champion=decision.get("champion_scores") or {},
            performance=found.get("performance") or {},
            old_rows=found.get("old_rows") or {},
            lineage={**facts.lineage, **_registered(found)},
            baseline_sentence=against_baseline(facts),
            plots={**plots(facts), **_verdict_plot(facts, decision, reached.metric)},
            confusions=confusions(facts),
            slices=facts.worst_first(),
            calibration=facts.before_and_after(),
            bundle=Markup(_bundle()),  # noqa: S704 (a library's JavaScript, no text of ours)
            drawing=Markup(_drawing()),  # noqa: S704 (our own)
            written_tokens={split: tokens["labels"] for split, tokens in facts.tokens.items() if "labels" in tokens},
            cut_at=facts.params.get("tokenize", {}).get("max_length"),
            many_labels=len(facts.labels) > WRITTEN_CELLS,
            shown_characters=SHOWN_CHARACTERS,
            shown_curves=SHOWN_CURVES,
            shown_slices=SHOWN_SLICES,
        )
    )


def verdict(facts: ReportFacts, registration: Mapping[str, Any]) -> Verdict:
    """The decision in words and in the numbers that it rests on."""
    decision = registration.get("decision") or {}
    outcome = decision.get("outcome", "undecided")
    headline, tone = HEADLINES[outcome]
    metric = decision.get("metric", facts.metric)
    figures = [Figure("this model", number(facts.metrics[metric]), interval(facts.intervals.get(metric)), main=True)]
    figures += _rivals(facts, decision, metric)
    return Verdict(outcome, headline, tone, _reason(decision), metric, figures, _command(outcome, registration))


def _reason(decision: Mapping[str, Any]) -> str:
    """The reason of the decision; of many, the first."""
    failed = [each["sentence"] for each in decision.get("criteria") or [] if not each["passed"]]
    if decision.get("outcome") == "refused" and len(failed) > SHOWN_REASONS:
        more = len(failed) - SHOWN_REASONS
        return sentence("; ".join(failed[:SHOWN_REASONS])) + f" And {more} more, see the criteria."
    return sentence(decision.get("reason", UNDECIDED))


def _rivals(facts: ReportFacts, decision: Mapping[str, Any], metric: str) -> list[Figure]:
    """The champion and the gain over it; without one, the baseline."""
    held = decision.get("champion")
    if held is not None and decision["outcome"] != "champion":
        gain = decision["challenger"] - held if facts.higher_is_better(metric) else held - decision["challenger"]
        grounds: Mapping[str, Any] = next((c for c in decision.get("criteria") or [] if c["name"] == metric), {})
        notes = [interval(grounds.get("interval"), signed=True), p_value(grounds.get("p_value"))]
        return [
            Figure(f"champion, version {decision['champion_version']}", number(held)),
            Figure("gain", difference(gain), ", ".join(filter(None, notes))),
        ]
    against = (facts.baseline or {}).get(metric)
    return [] if against is None else [Figure(facts.baseline_name or "baseline", number(against))]


def _command(outcome: str, registration: Mapping[str, Any]) -> str:
    """What promotes a model that a person has still to say yes to."""
    options = {"waiting": "", "incomparable": " --accept-incomparable"}
    if outcome not in options:
        return ""
    return f'tuneline promote {registration["name"]} {registration["version"]}{options[outcome]} --reason "..."'


def _verdict_plot(facts: ReportFacts, decision: Mapping[str, Any], metric: str) -> dict[str, Spec]:
    """The model's score with its interval, above those that it is held against, if there are any."""
    low, high = facts.intervals.get(metric) or (None, None)
    if low is None:
        return {}
    rivals = {"champion": decision.get("champion"), facts.baseline_name: (facts.baseline or {}).get(metric)}
    if decision.get("outcome") == "champion":
        del rivals["champion"]  # it would stand beside itself
    scores = [{"name": "this model", "value": facts.metrics[metric], "low": low, "high": high}]
    scores += [{"name": name, "value": value} for name, value in rivals.items() if value is not None]
    spec = score_dots(scores, metric)
    return {"verdict": spec} if spec and len(scores) > 1 else {}


def _registered(registration: Mapping[str, Any]) -> dict[str, str]:
    """Where the version is found."""
    if "version" not in registration:
        return {}
    return {
        "model version": f"models:/{registration['name']}/{registration['version']}",
        "MLflow run": str(registration["run_id"]),
    }


def against_baseline(facts: ReportFacts) -> str:
    """`0.0413 better than bag-of-words.`"""
    against = (facts.baseline or {}).get(facts.metric)
    if against is None:
        return "No baseline was scored on the same rows."
    name, gain = facts.baseline_name or "the baseline", facts.metrics[facts.metric] - against
    if not facts.higher_is_better(facts.metric):
        gain = -gain
    if number(abs(gain)) == number(0.0):
        return f"No better than {name}."
    return f"{number(abs(gain))} {'better' if gain > 0 else 'worse'} than {name}."


def confusions(facts: ReportFacts) -> list[dict[str, Any]]:
    """The most frequent mistakes, as cells of the confusion matrix."""
    cells = matrix_cells(facts.labels, facts.details.get("confusion") or [])
    wrong = [cell for cell in cells if cell["rows"] and cell["gold"] != cell["predicted"]]
    return sorted(wrong, key=lambda cell: -cell["rows"])[:SHOWN_CONFUSIONS]


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
    groups = {name: dotted(value) for name, value in rest.items() if isinstance(value, Mapping) and value}
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


@cache
def _bundle() -> str:
    """Vega, Vega-Lite and vega-embed in one script."""
    bundle: str = vl_convert.javascript_bundle()  # type: ignore[call-arg]  # its stub forgets the default
    return bundle.replace("</script", r"<\/script")


@cache
def _drawing() -> str:
    """The script that draws the plots."""
    return (Path(__file__).parent / DRAWING).read_text(encoding="utf-8")


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
        "interval": interval,
        "percent": percent,
        "confidence": confidence,
        "size": size,
        "sentence": sentence,
        "arranged": arranged,
        "script_hash": _script_hash,
    }
    environment.globals |= {
        "plain": plain,
        "finding": finding,
        "why_not_judged": why_not_judged,
        "style": STYLE,
        "parts": PARTS,
    }
    return environment
