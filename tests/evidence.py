"""What evaluate and register find beyond scores, in the shapes of evaluation.json and registration.json."""

from typing import Any

EVIDENCE: dict[str, Any] = {
    "test_rows": 120,
    "intervals": {"accuracy": [0.7, 0.8], "loss": [0.45, 0.56]},
    "confidence": 0.95,
    "calibration": {
        "temperature": 1.4,
        "fitted": True,
        "ece": 0.031,
        "brier": 0.17,
        "uncalibrated": {"ece": 0.09, "brier": 0.19},
    },
    "seeds": {
        "seeds": [
            {"seed": 1, "best": {"accuracy": 0.72, "loss": 0.55}},
            {"seed": 2, "best": {"accuracy": 0.76, "loss": 0.53}},
        ],
        "chosen": 2,
        "mean": {"accuracy": 0.74, "loss": 0.54},
        "standard_deviation": {"accuracy": 0.02828, "loss": 0.01414},
    },
    "slices": [
        {"name": "up to 10 words", "by": "length", "rows": 80, "value": 0.8, "interval": [0.7, 0.9], "judged": True},
        {"name": "over 40 words", "by": "length", "rows": 40, "value": 0.6, "interval": [0.45, 0.75], "judged": True},
        {"name": "label neutral", "by": "label", "rows": 3, "value": 0.0, "interval": None, "judged": False},
    ],
    "behaviour": [
        {
            "name": "typo",
            "kind": "invariance",
            "rows": 10,
            "passed": 8,
            "pass_rate": 0.8,
            "examples": [
                {"before": "a fine lamp", "after": "a fine lmap", "expected": "positive", "found": "negative"},
                {"before": None, "after": "It is not good.", "expected": "negative", "found": "positive"},
            ],
        },
        {"name": "no row has a name", "kind": "invariance", "rows": 0, "passed": 0, "pass_rate": None, "examples": []},
        {"name": "upper case", "kind": "invariance", "rows": 10, "passed": 10, "pass_rate": 1.0, "examples": []},
    ],
    "label_errors": [
        {
            "row": 12,
            "file": "data/raw/reviews/test.csv",
            "line": 14,
            "gold": "negative",
            "suggested": "positive",
            "confidence": 0.98,
            "text": "Best kettle I ever had.",
        }
    ],
}

REGISTRATION: dict[str, Any] = {
    "name": "reviews",
    "version": 7,
    "experiment_id": "1",
    "run_id": "ab12",
    "performance": {
        "latency_ms": {"p50": 4.2, "p95": 6.1, "p99": 9.0},
        "rows_per_second": 512.5,
        "size_bytes": 90_900_000,
        "peak_memory_bytes": 610_000_000,
        "device": "cpu, 2 threads",
    },
    "old_rows": {
        "champion_version": 6,
        "reason": "accuracy 0.7400 on the test rows of version 6, where that has 0.7300",
        "metric": "accuracy",
        "challenger": 0.74,
        "champion": 0.73,
    },
    "decision": {
        "outcome": "promoted",
        "reason": "accuracy 0.7500 is better than 0.7100 (95% sure: gain above +0.0100)",
        "metric": "accuracy",
        "challenger": 0.75,
        "champion": 0.71,
        "champion_version": 6,
        "champion_scores": {"accuracy": 0.71, "loss": 0.6},
        "criteria": [
            {
                "name": "accuracy",
                "passed": True,
                "sentence": "accuracy 0.7500 is better than 0.7100 (95% sure: gain above +0.0100)",
                "challenger": 0.75,
                "champion": 0.71,
                "limit": 0.0,
                "interval": [0.005, 0.075],
                "p_value": 0.012,
                "test": "McNemar, exact",
            },
            {
                "name": "behaviour typo",
                "passed": False,
                "sentence": "behaviour typo 0.8 < 0.9",
                "challenger": 0.8,
                "champion": None,
                "limit": 0.9,
                "interval": None,
                "p_value": None,
                "test": None,
            },
        ],
    },
}
