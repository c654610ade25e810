"""One stage, brought up to date in a workspace."""

import shutil
from pathlib import Path

import pytest

from flows import repro
from tests.conftest import PARAMS, ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pipeline file and toy params, as the current folder."""
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS.format(checkpoint="checkpoint"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_default_that_is_spelled_out_and_one_that_is_left_out_meet_at_one_lock(folder: Path) -> None:
    params = folder / "params.yaml"
    text, digest = params.read_text(), repro.stage_digest("fine-tune")
    assert "threads: 1\n" in text
    params.write_text(text.replace("threads: 1\n", "threads: 1\n  lr_scheduler_type: linear\n  warmup_steps: 0.10\n"))
    assert repro.stage_digest("fine-tune") == digest
    params.write_text(text.replace("threads: 1", "threads: 2"))
    assert repro.stage_digest("fine-tune") != digest
