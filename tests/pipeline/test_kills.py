"""`dvc repro` is killed with SIGKILL, at any point of any stage, and run again: the end is as if nothing had happened.

TUNELINE_KILLS says how many kills the long form makes, TUNELINE_KILL_SEED which ones.
"""

import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import change, run, write_toy_rows
from tests.kills.driver import PATIENCE, Tally, Undisturbed, kill_until_done, start, undisturbed
from tests.kills.state import broken_objects, differences, end_state

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("TUNELINE_KILLS", "200"))
SEED = int(os.environ.get("TUNELINE_KILL_SEED", "0"))
PARTS = 8  # of the long form, so that several processes share it
KILLS_OF_A_PROJECT = 5


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Path:
    """A project with a dvc.lock in git, and work for every stage."""
    project = Path(shutil.copytree(finished, tmp_path_factory.mktemp("kills") / "fresh", symlinks=True))
    write_toy_rows(project / "data/sample/toy/rows.csv", rows=90)
    run("tuneline", "data", "add", "--force", "toy", "data/sample/toy", cwd=project)
    change(project / "params.yaml", "num_train_epochs: 8", "num_train_epochs: 12")
    change(project / "params.yaml", "early_stopping_patience: 8", "early_stopping_patience: 2")
    run("git", "add", "-A", cwd=project)
    run("git", "commit", "-qm", "a lock", cwd=project)
    run("git", "clean", "-fdxq", "--exclude", "data/raw", "--exclude", ".dvc", cwd=project)
    shutil.rmtree(project / ".dvc/cache/runs")  # or DVC would take the outs from there
    return project


@pytest.fixture(scope="module")
def expected(fresh: Path) -> tuple[Undisturbed, dict[str, Any]]:
    """How an undisturbed run goes, and what it ends with."""
    project = Path(shutil.copytree(fresh, fresh.parent / "whole", symlinks=True))
    return undisturbed(project), end_state(project)


def kill_and_compare(
    kills: int, seed: int, fresh: Path, tmp_path: Path, expected: tuple[Undisturbed, dict[str, Any]], *, at_times: bool
) -> None:
    (whole, state), tally, chance = expected, Tally(), random.Random(seed)
    while tally.kills.total() < kills:
        project = Path(shutil.copytree(fresh, tmp_path / f"killed-{tally.projects}", symlinks=True))
        left = min(KILLS_OF_A_PROJECT, kills - tally.kills.total())
        kill_until_done(project, whole, chance, tally, left, at_times=at_times)
        assert broken_objects(project) == []
        assert differences(end_state(project), state) == [], f"seed {seed}, project {tally.projects}: {tally}"
        shutil.rmtree(project)
    print(f"\nseed {seed}: {tally}", flush=True)


def test_killed_anywhere_the_same_command_ends_as_if_nothing_had_happened(
    fresh: Path, tmp_path: Path, expected: tuple[Undisturbed, dict[str, Any]]
) -> None:
    kill_and_compare(6, SEED, fresh, tmp_path, expected, at_times=False)


@pytest.mark.parametrize("part", [1, 3, 5])
def test_a_data_set_whose_replacement_was_killed_is_put_back_by_the_next_call(
    fresh: Path, tmp_path: Path, part: int
) -> None:
    """part: sixths of the points that it passes, before it is killed. After one nothing has moved yet, after five the
    new set is whole, and stays."""
    project, other = (Path(shutil.copytree(fresh, tmp_path / name, symlinks=True)) for name in ("killed", "whole"))
    for each in (project, other):
        write_toy_rows(each / "data/sample/toy/rows.csv", rows=95)
    add = ("tuneline", "data", "add", "toy", "data/sample/toy")
    old = raw_files(project)
    points = undisturbed(other, [*add, "--force"]).points["tuneline"]
    killed = start(project, [*add, "--force"], TUNELINE_KILL_AT=f"tuneline {part * points // 6}")
    assert killed.wait(PATIENCE) == -signal.SIGKILL
    told = run("tuneline", "doctor", cwd=project, check=False).stdout
    assert ("tuneline data add toy was killed" in told) == (part == 3)
    refused = run(*add, cwd=project, check=False)
    assert (refused.returncode, "there already is a data set 'toy'" in refused.stderr) == (2, True), refused.stderr
    assert raw_files(project) == (old if part < 5 else raw_files(other))
    run(*add, "--force", cwd=project)
    assert raw_files(project) == raw_files(other) != old
    assert list((project / ".tuneline").glob("replaced-*")) == []


def raw_files(project: Path) -> dict[str, str]:
    folder = project / "data/raw"
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.torture
@pytest.mark.parametrize("part", range(PARTS))
def test_killed_very_often_it_does_so_too(
    fresh: Path, tmp_path: Path, expected: tuple[Undisturbed, dict[str, Any]], part: int
) -> None:
    kill_and_compare(KILLS // PARTS, SEED + 1 + part, fresh, tmp_path, expected, at_times=True)
