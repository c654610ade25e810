"""One stage, brought up to date in a workspace."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flows import repro
from tests.conftest import PARAMS, ROOT, run


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


@pytest.fixture
def remote(project: Path) -> Path:
    """The DVC remote of the toy project."""
    remote = project.parent / "remote"
    run("dvc", "remote", "add", "--default", "storage", str(remote), cwd=project)
    run("git", "commit", "-qam", "a remote", cwd=project)
    return remote


def host_of(project: Path, name: str) -> tuple[Path, dict[str, Any]]:
    """A clone with its raw data on a host of its own, and the environment there."""
    clone = project.parent / name
    run("git", "clone", "-q", str(project), str(clone), cwd=project.parent)
    run("dvc", "repro", "-q", "--single-item", "data/raw/toy.dvc", cwd=clone)
    return clone, {"TUNELINE_HOME": str(project.parent / f"{name}-home"), "PYTHONPATH": str(clone / "src")}


def validated(clone: Path, env: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    done = run(sys.executable, str(ROOT / "flows/repro.py"), "validate", cwd=clone, **env)
    assert (clone / "data/validated/train.parquet").is_file()
    return done


def test_what_one_host_has_done_the_others_take_from_the_remote(project: Path, remote: Path) -> None:
    here, env = host_of(project, "here")
    assert "> tuneline stage validate" in validated(here, env).stdout
    run("dvc", "push", "-q", "--run-cache", cwd=here)
    there, env = host_of(project, "there")
    assert "> tuneline stage validate" not in validated(there, env).stdout
    assert (there / "dvc.lock").read_bytes() == (here / "dvc.lock").read_bytes()


def test_a_remote_that_is_away_costs_a_warning_and_no_run(project: Path, remote: Path) -> None:
    run("dvc", "remote", "modify", "storage", "url", "http://127.0.0.1:9", cwd=project)
    run("git", "commit", "-qam", "a remote that is away", cwd=project)
    done = validated(*host_of(project, "here"))
    assert "> tuneline stage validate" in done.stdout
    assert "validate: warning: the DVC remote" in done.stderr
