"""One run, and the same numbers wherever they are shown: DVC, MLflow, the registry, the report, the card, Prefect."""

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from mlflow import MlflowClient

from flows import artifacts
from tests.conftest import run
from tests.test_reporting import Page
from tuneline import layout
from tuneline.charts import words
from tuneline.digests import model_digest
from tuneline.display import interval, number

pytestmark = pytest.mark.slow


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_same_numbers_stand_in_every_place(in_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("dvc", "repro", cwd=in_project)
    evaluation, record = read(layout.EVALUATION), read(layout.REGISTRATION)
    metrics, intervals = evaluation["metrics"], evaluation.get("intervals") or {}
    shown = json.loads(run("dvc", "metrics", "show", "--json", cwd=in_project).stdout)
    assert shown[""]["data"][str(layout.EVALUATION)]["data"]["metrics"] == metrics

    uri = f"sqlite:///{in_project / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    client = MlflowClient(uri, uri)
    version = client.get_model_version_by_alias("toy", "champion")
    logged = client.get_run(record["run_id"]).data.metrics
    assert {name: logged[f"test_{name}"] for name in metrics} == metrics
    assert {name: json.loads(version.tags[f"tuneline.score.{name}"]) for name in metrics} == metrics
    for name, (low, high) in intervals.items():
        assert (logged[f"test_{name}_low"], logged[f"test_{name}_high"]) == (low, high)
    decision = record["decision"]
    assert decision["challenger"] == metrics[decision["metric"]]

    model = Path(client.download_artifacts(record["run_id"], "model"))
    assert version.tags["tuneline.model_digest"] == model_digest(model) == model_digest(layout.MODEL)
    card = (model / "README.md").read_text(encoding="utf-8")
    results = ModelCard(card).data.get("eval_results", [])
    assert {each.metric_type: each.metric_value for each in results} == metrics

    page = layout.REPORT.read_bytes()
    assert Path(client.download_artifacts(record["run_id"], "report.html")).read_bytes() == page
    assert read(layout.REPORT_FACTS)["metrics"] == metrics
    text = " ".join(Page(page.decode()).text.split())
    assert "Promoted: it is the champion now" in text

    prefect = {row["metric"]: row for row in artifacts.scores(evaluation, decision)}
    baseline = evaluation["baseline"]
    for name, value in metrics.items():
        found, against = number(value), number(baseline[name])
        bounds = interval(intervals.get(name))
        assert (prefect[name]["challenger"], prefect[name].get("interval", "")) == (found, bounds)
        assert prefect[name]["baseline"] == against
        in_card = bounds.replace("[", "\\[").replace("]", "\\]") or "–"
        written = name.replace("_", "\\_")
        assert f"| {written} | {found} | {in_card} | {against} |" in card
        arrow = " ↓" if f"{words(name)} ↓" in text else ""
        assert f"{words(name)}{arrow} {found} {f'{bounds} ' if intervals else ''}{against} " in text
