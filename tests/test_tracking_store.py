"""The store that tuneline makes for itself is whole or not there: MLflow cannot use one that it was killed over."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tuneline import layout, tracking

MAKES = "from tuneline import tracking; print('begins', flush=True); tracking.make_store()"


@pytest.mark.slow
def test_a_store_whose_making_was_cut_short_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    process = subprocess.Popen([sys.executable, "-c", MAKES], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    limit = time.monotonic() + 60
    while not any(file.stat().st_size > 100_000 for file in tmp_path.rglob("mlflow.db")):  # some tables
        assert time.monotonic() < limit
    process.kill()
    process.communicate()
    assert not layout.STORE.exists()
    assert [each.name for each in tracking.connect().search_experiments()] == ["Default"]
    assert [file.name for file in tmp_path.rglob("mlflow.db*")] == ["mlflow.db"]
