"""What a run shows."""

import pytest

from flows.artifacts import links


def test_links_hold_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ada:s3cret@10.0.0.5:5000")
    shown = links({"experiment_id": "1", "run_id": "ab", "name": "reviews", "version": 7})
    assert {key: address for key, address, _ in shown} == {
        "mlflow-run": "http://10.0.0.5:5000/#/experiments/1/runs/ab",
        "model-version": "http://10.0.0.5:5000/#/models/reviews/versions/7",
        "report": "http://10.0.0.5:5000/#/experiments/1/runs/ab/artifacts/report.html",
    }
