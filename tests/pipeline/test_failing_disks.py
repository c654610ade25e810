"""Disks that are full, read-only or rotten, and a clock that jumps back: the right end, or an error that names the
cause, and nothing lost."""

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import change, run
from tests.kills.state import broken_objects
from tests.pipeline.test_failing_dependencies import assert_whole
from tests.pipeline.test_pipeline import registration, repro
from tests.servers import mlflow_server
from tuneline.digests import tree_digest

pytestmark = pytest.mark.slow
Copy = Callable[[Path], Path]
YEAR = 365 * 24 * 3600


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own. Skips the test where nothing may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    done = run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(place), cwd=tmp_path, check=False)
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield place
    run("umount", "--lazy", str(place), cwd=tmp_path)


def leave_room(disk: Path, kilobytes: int) -> None:
    """Give a disk so much free space and no more."""
    used = shutil.disk_usage(disk).used // 1024
    run("mount", "-o", f"remount,rw,size={used + kilobytes}k", str(disk), cwd=disk)


def stage(project: Path, name: str, **env: str) -> subprocess.CompletedProcess[str]:
    return run("tuneline", "stage", name, cwd=project, check=False, **env)


def flip_a_byte(file: Path) -> None:
    """As a disk that rots does: the file keeps its length and its mode."""
    content, mode = bytearray(file.read_bytes()), file.stat().st_mode
    content[len(content) // 2] ^= 1
    file.chmod(0o644)
    file.write_bytes(content)
    file.chmod(mode)


def cached(project: Path, file: str) -> Path:
    """The object of DVC's cache that holds a file's bytes."""
    md5 = run("md5sum", file, cwd=project).stdout[:32]
    return project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]


@pytest.mark.parametrize(
    ("name", "outs", "room"),
    [
        ("validate", ["data/validated"], [4]),
        ("tokenize", ["data/tokenized"], [4]),
        ("fine-tune", ["data/model", "data/reports/training.json", ".tuneline/checkpoints"], [4, 80]),
        ("evaluate", ["data/reports/evaluation.json", "data/reports/predictions.parquet"], [4]),
    ],
)
def test_a_full_disk_ends_a_stage_with_its_cause_and_room_again_gives_the_same_outs(
    finished: Path, copied: Copy, disk: Path, name: str, outs: list[str], room: list[int]
) -> None:
    project = copied(disk / "project")
    for out in outs:
        shutil.rmtree(project / out) if (project / out).is_dir() else (project / out).unlink()
    for kilobytes in room:
        leave_room(disk, kilobytes)
        done = stage(project, name)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "no space left on the device" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert not any((project / out).exists() for out in outs if out.startswith("data"))
        assert not list(project.glob(".tuneline/scratch/[!.]*"))
    leave_room(disk, 32_000)
    done = stage(project, name)
    assert done.returncode == 0, done.stderr
    assert [tree_digest(project / out) for out in outs if out.startswith("data")] == [
        tree_digest(finished / out) for out in outs if out.startswith("data")
    ]


@pytest.mark.parametrize("room", [8, 1700])
def test_a_store_without_room_is_named_and_gets_its_version_later(copied: Copy, disk: Path, room: int) -> None:
    project = copied(disk / "project")
    for path in (project / "mlflow.db", project / "data/reports/registration.json"):
        path.unlink()
    leave_room(disk, room)
    done = stage(project, "register")
    assert done.returncode in (2, 75), done.stdout + done.stderr
    assert "no space left" in done.stderr
    assert "error: " in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    leave_room(disk, 32_000)
    assert stage(project, "register").returncode == 0
    assert registration(project)["version"] == 1


@pytest.mark.parametrize("room", [8, 300])
def test_a_server_on_a_full_disk_is_told_of_and_gets_its_version_later(
    copied: Copy, disk: Path, tmp_path: Path, empty_store: Path, room: int
) -> None:
    """room, in kilobytes: none for a row of its store, or too little for the weights."""
    project = copied(tmp_path / "project")
    (project / "data/reports/registration.json").unlink()
    shutil.copy(empty_store, disk / "mlflow.db")
    with mlflow_server(disk) as address:
        leave_room(disk, room)
        done = run("dvc", "repro", cwd=project, check=False, MLFLOW_TRACKING_URI=address)
        assert f"MLflow at {address} answers with errors" in done.stderr
        assert "a full disk" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        leave_room(disk, 32_000)
        assert repro(project, MLFLOW_TRACKING_URI=address) == ["register"]
        assert registration(project)["version"] == 1
        assert_whole(address, project)


def test_dvc_on_a_full_disk_says_so_and_goes_on_when_there_is_room(copied: Copy, disk: Path) -> None:
    project = copied(disk / "project")
    change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.006")
    for kilobytes in (4, 300):  # for nothing; for the training, and not for all that follows
        leave_room(disk, kilobytes)
        done = run("dvc", "repro", cwd=project, check=False)
        assert done.returncode != 0
        assert "no space left" in done.stderr.lower()
        assert "Traceback" not in done.stdout + done.stderr
        (project / ".dvc/tmp/rwlock").unlink(missing_ok=True)  # DVC writes it in place and then cannot read it
    leave_room(disk, 32_000)
    assert repro(project)[-1] == "register"
    assert broken_objects(project) == []
    assert registration(project)["version"] == 2


def test_a_read_only_checkout_is_named(copied: Copy, disk: Path) -> None:
    project = copied(disk / "project")
    run("mount", "-o", "remount,ro", str(disk), cwd=disk)
    done = stage(project, "validate")
    assert done.returncode == 2
    assert "the file system is read-only" in done.stderr
    again = run("dvc", "repro", cwd=project, check=False)
    assert again.returncode != 0
    assert "read-only" in again.stderr.lower()
    assert "Traceback" not in done.stdout + done.stderr + again.stdout + again.stderr
    assert "accuracy" in run("tuneline", "summary", cwd=project).stdout  # to read is all it allows
    run("mount", "-o", "remount,rw", str(disk), cwd=disk)
    assert repro(project) == ["register"]


@pytest.mark.parametrize(
    ("file", "gone"), [("data/model/model.safetensors", "data/model"), ("data/raw/toy/rows.csv", "data/raw/toy")]
)
def test_a_rotten_object_of_the_cache_is_never_used_and_comes_again(
    copied: Copy, tmp_path: Path, file: str, gone: str
) -> None:
    project = copied(tmp_path / "project")
    whole, lock = tree_digest(project / gone), (project / "dvc.lock").read_bytes()
    flip_a_byte(cached(project, file))
    shutil.rmtree(project / gone)
    done = run("dvc", "repro", cwd=project, check=False)  # DVC takes a read-only object for whole, unread
    assert done.returncode != 0
    assert f"{file}: DVC's cache holds other bytes than were put into it" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert registration(project)["version"] == 1
    assert repro(project)[-1] == "register"
    assert tree_digest(project / gone) == whole
    assert broken_objects(project) == []
    assert registration(project)["version"] == 1  # the very model that is registered
    assert (project / "dvc.lock").read_bytes() == lock


def test_a_clock_that_jumped_back_a_year_disturbs_nothing(copied: Copy, tmp_path: Path) -> None:
    project = copied(tmp_path / "project")
    later = time.time() + YEAR
    for path in [*project.rglob("*"), project]:
        if ".git" not in path.parts:
            os.utime(path, (later, later), follow_symlinks=False)
    with sqlite3.connect(project / "mlflow.db") as store:
        for table, column in (
            ("runs", "start_time"), ("runs", "end_time"), ("model_versions", "creation_time"), ("metrics", "timestamp"),
        ):  # fmt: skip
            store.execute(f"update {table} set {column} = {column} + {YEAR * 1000}")
    change(project / "params.yaml", "learning_rate: 0.005", "learning_rate: 0.0000002")
    assert repro(project) == ["fine-tune", "evaluate", "register"]
    assert (registration(project)["version"], registration(project)["decision"]["outcome"]) == (2, "kept")  # type: ignore[index]
    promoted = run("tuneline", "promote", "toy", "2", "--reason", "to see", cwd=project).stdout
    assert "toy version 2 is the champion (before: 1)" in promoted
    assert "toy version 1 is the champion" in run("tuneline", "rollback", "toy", "--reason", "seen", cwd=project).stdout
    history = run("tuneline", "history", "toy", cwd=project).stdout
    assert "The chain of 4 entries is whole." in history
