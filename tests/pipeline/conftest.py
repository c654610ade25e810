"""A project whose pipeline has ended, to copy: to run it takes half a minute."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import make_project, run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, toy_checkpoint: Path) -> Path:
    """A project after `dvc repro`, dvc.lock in git. For reading only."""
    project = make_project(tmp_path_factory.mktemp("finished") / "project", toy_checkpoint)
    run("dvc", "repro", cwd=project)
    run("git", "add", "-A", cwd=project)
    run("git", "commit", "-qm", "a lock", cwd=project)
    return project


@pytest.fixture
def copied(finished: Path) -> Callable[[Path], Path]:
    """Copies that project to a new folder. Its MLflow store still names the files of the one it came from."""

    def copy(place: Path) -> Path:
        return Path(shutil.copytree(finished, place, symlinks=True))

    return copy
