"""What a flow run shows in Prefect's UI: its params, the data checks, progress, scores, the decision, the plots.

Text from rows and params is escaped: the UI renders Markdown and HTML. What the server does not take is missing
there, with a warning in the log, and the run goes on.
"""

import base64
import html
import json
import os
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect import get_run_logger
from prefect.artifacts import (
    create_link_artifact,
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.exceptions import PrefectException

from flows.parameters import Chosen
from tuneline import layout
from tuneline.addresses import safe_url
from tuneline.display import interval, number, table

GROUNDS = ("outcome", "reason", "metric", "challenger", "champion", "champion_version")
CODE = " " * 4  # Markdown shows indented text as it stands
PICTURES = {  # artifact → its pictures among the plots that evaluate writes
    "learning-curve": ("losses", "validation_metric"),
    "confusion-matrix": ("confusion",),
}


@contextmanager
def _left_out_when_the_server_is_away(what: str) -> Iterator[None]:
    try:
        yield
    except (httpx.HTTPError, PrefectException) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        get_run_logger().warning("%s is not shown: the Prefect server did not take it (%s)", what, reason)


class Progress:
    """The progress bar of one stage, made with its first step and moved at most every few seconds."""

    SECONDS = 3.0

    def __init__(self) -> None:
        self.artifact: UUID | None = None
        self.shown, self.moved = -1, 0.0

    def show(self, percent: int, label: str) -> None:
        if percent == self.shown or (percent < 100 and time.monotonic() - self.moved < self.SECONDS):
            return
        with _left_out_when_the_server_is_away("progress"):
            self._tell(percent, label)
        self.shown, self.moved = percent, time.monotonic()

    def _tell(self, percent: int, label: str) -> None:
        if self.artifact is None:
            made = create_progress_artifact(float(percent), description=label or "training")
            self.artifact = made  # type: ignore[assignment]  # prefect types it for async callers too
        else:
            update_progress_artifact(self.artifact, float(percent))


def show_params(chosen: Chosen, *, commit: str, experiment: str) -> None:
    """The run's whole params file, and what it changes in the file it comes from."""
    changes = table(
        ("parameter", chosen.source.as_posix(), "this run"),
        ((change.name, plain(change.before), plain(change.after)) for change in chosen.changes),
    )
    changed = changes if chosen.changes else "Nothing is changed."
    origin = f"From `{chosen.source}` at commit `{commit[:12]}`, experiment `{experiment}`."
    text = f"{origin}\n\n{changed}\n\n{textwrap.indent(chosen.text, CODE)}"
    _markdown("parameters", text, "Parameters of the run, and what it changed")


def show_validation(folder: Path) -> None:
    """How many rows were kept, and why others were refused."""
    found = _json(folder / layout.VALIDATION)
    splits = table(("split", "rows"), ((split, f"{rows:,}") for split, rows in found["splits"].items()))
    counts = {name: value for name, value in found.items() if isinstance(value, int)}
    findings = table(("finding", "rows"), ((name.replace("_", " "), f"{n:,}") for name, n in counts.items()))
    unsound = table(("refused by itself for", "rows"), ((k, f"{n:,}") for k, n in found["unsound"].items() if n))
    _markdown("validation", f"{splits}\n\n{findings}\n\n{unsound}\n", "What validate found in the raw rows")


def show_plots(folder: Path) -> None:
    """The learning curve and the confusion matrix, as pictures. A task without one has no such artifact."""
    for key, names in PICTURES.items():
        files = [folder / layout.PLOTS / f"{name}.svg" for name in names]
        pictures = [_picture(file) for file in files if file.is_file()]
        if pictures:
            _markdown(key, "\n\n".join(pictures), key.replace("-", " ").capitalize())


def _picture(file: Path) -> str:
    encoded = base64.b64encode(file.read_bytes()).decode()
    return f"![{file.stem}](data:image/svg+xml;base64,{encoded})"


def show_scores(folder: Path) -> None:
    """The challenger, with its intervals, beside the champion it was compared with, and the baseline."""
    evaluation = _json(folder / layout.EVALUATION)
    decision = _json(folder / layout.REGISTRATION)["decision"]
    with _left_out_when_the_server_is_away("metrics"):
        create_table_artifact(
            scores(evaluation, decision),
            key="metrics",
            description=f"Scores on the {evaluation['test_rows']:,} rows of the test split",
        )


def scores(evaluation: Mapping[str, Any], decision: Mapping[str, Any]) -> list[dict[str, str]]:
    """A line for each metric, numbers as the report spells them."""
    intervals, baseline = evaluation.get("intervals") or {}, evaluation["baseline"]
    rows = []
    for name, value in evaluation["metrics"].items():
        row = {"metric": name, "challenger": number(value)}
        if intervals:
            row["interval"] = interval(intervals.get(name))
        row["champion"] = number(decision["champion_scores"].get(name))
        if baseline:
            row["baseline"] = number(baseline.get(name))
        rows.append(row)
    return rows


def show_decision(folder: Path, experiment: str) -> str:
    """What became of the challenger and why, with links; the sentence for the run's state."""
    record = _json(folder / layout.REGISTRATION)
    decision = record["decision"]
    sentence = f"{record['name']} version {record['version']}: {decision['outcome']}, {decision['reason']}"
    facts = table(("", ""), [(name.replace("_", " "), plain(decision[name])) for name in GROUNDS])
    held_to = criteria(decision)
    parts = [f"**{html.escape(sentence)}**", *([held_to] if held_to else []), facts, f"Experiment: `{experiment}`\n"]
    _markdown("decision", "\n\n".join(parts), "The promotion decision and its grounds")
    for key, address, text in links(record):
        with _left_out_when_the_server_is_away(key):
            create_link_artifact(address, link_text=text, key=key, description=text)
    return sentence


def criteria(decision: Mapping[str, Any]) -> str:
    """What the challenger was held to, as a table; nothing where it was held to nothing."""
    rows = [
        (each["name"], "pass" if each["passed"] else "fail", number(each["challenger"]), number(each["champion"]),
         number(each["limit"]), interval(each["interval"], signed=True) or "–", number(each["p_value"]))
        for each in decision.get("criteria") or ()
    ]  # fmt: skip
    header = ("criterion", "", "challenger", "champion", "limit", "gain, interval", "p-value")
    return table(header, rows) if rows else ""


def links(record: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """(artifact, address, text) of what the MLflow server shows of a run. Its reader logs in for himself."""
    server = safe_url(os.environ.get("MLFLOW_TRACKING_URI", "")).replace("***@", "")
    if not server.startswith("http"):
        return []
    run = f"{server}/#/experiments/{record['experiment_id']}/runs/{record['run_id']}"
    version = f"{server}/#/models/{record['name']}/versions/{record['version']}"
    return [
        ("mlflow-run", run, "The run in MLflow"),
        ("model-version", version, f"{record['name']} version {record['version']} in the registry"),
        ("report", f"{run}/artifacts/report.html", "The report"),
    ]


def _markdown(key: str, text: str, description: str) -> None:
    with _left_out_when_the_server_is_away(key):
        create_markdown_artifact(text, key=key, description=description)


def plain(value: Any) -> str:
    """A value as YAML would spell it in one line."""
    return json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
