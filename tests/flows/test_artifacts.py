"""What a run shows."""

import pytest

from flows.artifacts import criteria, links, scores
from tests.evidence import EVIDENCE, REGISTRATION


def test_links_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:s3cret@10.0.0.5:5000")
    shown = links({"experiment_id": "1", "run_id": "ab", "name": "reviews", "version": 7})
    assert {key: address for key, address, _ in shown} == {
        "mlflow-run": "http://10.0.0.5:5000/#/experiments/1/runs/ab",
        "model-version": "http://10.0.0.5:5000/#/models/reviews/versions/7",
        "report": "http://10.0.0.5:5000/#/experiments/1/runs/ab/artifacts/report.html",
    }


def test_scores_stand_with_their_intervals_beside_champion_and_baseline() -> None:
    evaluation = {
        "metrics": {"accuracy": 0.75, "loss": 0.5},
        "baseline": {"accuracy": 0.7},
        "intervals": EVIDENCE["intervals"],
    }
    assert scores(evaluation, REGISTRATION["decision"])[0] == {
        "metric": "accuracy",
        "challenger": "0.7500",
        "interval": "[0.7000, 0.8000]",
        "champion": "0.7100",
        "baseline": "0.7000",
    }


def test_a_decision_lists_what_the_model_was_held_to() -> None:
    lines = criteria(REGISTRATION["decision"]).splitlines()
    assert lines[2] == "| accuracy | pass | 0.7500 | 0.7100 | 0.0000 | \\[+0.0050, +0.0750\\] | 0.0120 |"
    assert lines[3] == "| behaviour typo | fail | 0.8000 | – | 0.9000 | – | – |"
    assert criteria({"criteria": []}) == criteria({}) == ""
