"""`dvc repro` is killed with SIGKILL, at any point of any stage, and run again: the end is as if nothing had happened.

TUNELINE_KILLS says how many kills, TUNELINE_KILL_SEED which ones; `make torture` asks for 200.
"""

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.conftest import change, make_project, run, write_toy_rows
from tests.kills.driver import Tally, kill_until_done, undisturbed
from tests.kills.state import broken_objects, differences, end_state

pytestmark = pytest.mark.slow
KILLS_OF_A_PROJECT = 5


def test_killed_anywhere_the_same_command_ends_as_if_nothing_had_happened(tmp_path: Path, toy_checkpoint: Path) -> None:
    kills, seed = int(os.environ.get("TUNELINE_KILLS", "6")), int(os.environ.get("TUNELINE_KILL_SEED", "0"))
    fresh = make_project(tmp_path / "fresh" / "project", toy_checkpoint)
    run("dvc", "repro", cwd=fresh)  # for a dvc.lock in git, as every project has
    write_toy_rows(fresh / "data/sample/toy/rows.csv", rows=90)  # so that every stage has work to do
    run("tuneline", "data", "add", "--force", "toy", "data/sample/toy", cwd=fresh)
    change(fresh / "params.yaml", "num_train_epochs: 8", "num_train_epochs: 12")
    change(fresh / "params.yaml", "early_stopping_patience: 8", "early_stopping_patience: 2")
    run("git", "add", "-A", cwd=fresh)
    run("git", "commit", "-qm", "a lock", cwd=fresh)
    run("git", "clean", "-fdxq", "--exclude", "data/raw", "--exclude", ".dvc", cwd=fresh)
    shutil.rmtree(fresh / ".dvc/cache/runs")  # or DVC would take the outs from there

    def copied(name: str) -> Path:
        place = tmp_path / name
        shutil.copytree(fresh, place, symlinks=True)
        return place

    whole = undisturbed(copied("whole"))
    expected = end_state(tmp_path / "whole")
    tally, chance, number = Tally(), random.Random(seed), 0
    while tally.kills.total() < kills:
        project = copied(f"killed-{number}")
        kill_until_done(project, whole, chance, tally, min(KILLS_OF_A_PROJECT, kills - tally.kills.total()))
        assert broken_objects(project) == []
        assert differences(end_state(project), expected) == [], f"seed {seed}, project {number}: {tally}"
        print(tally, flush=True)
        shutil.rmtree(project)
        number += 1
