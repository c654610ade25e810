"""What clean removes, and what it must never touch: real folders, links and locks."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.console import Console

from tests.conftest import run
from tuneline import host
from tuneline.cleaning import DAY, clean, leftovers, measure
from tuneline.errors import StorageError

KIB = 1024  # bytes


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNELINE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def hold() -> Iterator[Callable[[Path], subprocess.Popen[str]]]:
    """Hold a lock in a process of its own, as a run does. Returns that process."""
    holders: list[subprocess.Popen[str]] = []

    def start(lock: Path) -> subprocess.Popen[str]:
        script = (
            f"import time, filelock; lock = filelock.FileLock({str(lock)!r}); lock.acquire()\n"
            "print('held'); time.sleep(60)"
        )
        holder = subprocess.Popen([sys.executable, "-uc", script], stdout=subprocess.PIPE, text=True)
        holders.append(holder)
        assert holder.stdout and holder.stdout.readline() == "held\n"
        return holder

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()


def make(folder: Path, *, days: float, kib: int = 4) -> Path:
    """A folder with one file of a size, all last written so many days ago."""
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(os.urandom(kib * KIB))
    age(folder, days)
    return folder


def age(folder: Path, days: float) -> None:
    then = time.time() - days * DAY
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (then, then), follow_symlinks=False)


def cleaned(older_than: float = 7, *, checkpoints: bool = False, dry_run: bool = False) -> list[str]:
    """What clean prints."""
    console = Console(record=True, width=40)
    clean(console, older_than=older_than, checkpoints=checkpoints, dry_run=dry_run)
    return console.export_text().splitlines()


def test_a_workspace_that_is_old_and_unlocked_is_removed() -> None:
    old, young = make(host.workspaces() / "old", days=8), make(host.workspaces() / "young", days=6)
    cleaned()
    assert (old.exists(), young.exists()) == (False, True)
    assert list(host.workspaces().iterdir()) == [young]


def test_one_file_written_lately_keeps_the_workspace() -> None:
    workspace = make(host.workspaces() / "old", days=8)
    (workspace / "data/reports").mkdir(parents=True)
    (workspace / "data/reports/notes.txt").write_text("looked at today")
    age_of_folder = time.time() - 8 * DAY
    os.utime(workspace, (age_of_folder, age_of_folder))
    cleaned()
    assert workspace.exists()


def test_a_locked_workspace_is_never_touched_and_can_be_removed_when_its_run_was_killed(
    hold: Callable[[Path], subprocess.Popen[str]],
) -> None:
    workspace = make(host.workspaces() / "alive", days=400)
    holder = hold(host.lock_file("workspace", "alive"))
    cleaned(older_than=0)
    assert workspace.exists()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    cleaned(older_than=0)
    assert not workspace.exists()


def test_no_run_can_begin_in_a_workspace_that_is_being_removed() -> None:
    make(host.workspaces() / "old", days=8)
    lock = str(host.lock_file("workspace", "old"))
    script = f"import filelock; filelock.FileLock({lock!r}).acquire(timeout=0)"
    for _ in leftovers(older_than=7, checkpoints=False):
        refused = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert "Timeout" in refused.stderr
    run(sys.executable, "-c", script, cwd=host.home())


def test_links_are_removed_and_what_they_lead_to_stays(tmp_path: Path) -> None:
    workspace = make(host.workspaces() / "old", days=8)
    cache = make(host.cache() / "files", days=8)
    (cache / "weights").chmod(0o444)
    cache.chmod(0o555)
    (workspace / "model.safetensors").symlink_to(cache / "weights")
    (workspace / "checkpoints").symlink_to(cache, target_is_directory=True)
    (workspace / "gone").symlink_to(tmp_path / "nowhere")
    age(workspace, 8)
    before = (cache / "weights").read_bytes()
    cleaned()
    assert not workspace.exists()
    assert (cache / "weights").read_bytes() == before
    assert [path.stat().st_mode & 0o777 for path in (cache, cache / "weights")] == [0o555, 0o444]
    cache.chmod(0o755)


def test_a_link_in_place_of_a_workspace_is_left_alone(tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", days=8)
    host.workspaces().mkdir(parents=True)
    (host.workspaces() / "link").symlink_to(elsewhere, target_is_directory=True)
    cleaned(older_than=0)
    assert (elsewhere / "weights").exists()


def test_what_is_read_only_is_removed_all_the_same() -> None:
    workspace = make(host.workspaces() / "old", days=8)
    (workspace / "data/model").mkdir(parents=True)
    (workspace / "data/model/config.json").write_text("{}")
    (workspace / "data/model/config.json").chmod(0o444)
    (workspace / "data/model").chmod(0o555)
    (workspace / "data").chmod(0o555)
    age(workspace, 8)
    cleaned()
    assert not workspace.exists()


def test_a_removal_that_was_cut_short_is_ended_at_once() -> None:
    workspace = make(host.workspaces() / "otter", days=8)
    workspace.rename(host.workspaces() / ".otter.removed")  # and killed here
    make(host.workspaces() / "otter", days=8)  # a run of that name came again
    assert len(cleaned()) == 3
    assert list(host.workspaces().iterdir()) == []
    make(host.workspaces() / ".young.removed", days=0)
    cleaned()
    assert list(host.workspaces().iterdir()) == []


def test_what_the_disk_does_not_let_go_is_told_after_the_rest_was_removed() -> None:
    kept, gone = make(host.workspaces() / "a", days=8), make(host.workspaces() / "b", days=8)
    (host.workspaces() / ".a.removed").write_text("a file stands where the folder should go")
    with pytest.raises(StorageError, match=r"\.a\.removed: cannot be removed: Not a directory"):
        cleaned()
    assert (kept.exists(), gone.exists()) == (True, False)


def test_a_dry_run_lists_sizes_ages_and_their_sum_and_removes_nothing(home: Path) -> None:
    make(host.workspaces() / "a", days=8.04, kib=100)
    make(host.workspaces() / "b", days=30.04, kib=400)
    # 100 KiB = 102,400 bytes = 102.4 kB, 409.6 kB, 512.0 kB
    assert cleaned(dry_run=True) == [
        "  102.4 kB       8.0 days  workspaces/a",
        "  409.6 kB      30.0 days  workspaces/b",
        f"  512.0 kB  would be removed from {home}",
    ]
    assert len(list(host.workspaces().iterdir())) == 2


def test_a_size_is_what_removal_frees(tmp_path: Path) -> None:
    workspace = make(host.workspaces() / "a", days=8, kib=8)
    (tmp_path / "object").write_bytes(os.urandom(64 * KIB))
    (workspace / "second-name").hardlink_to(tmp_path / "object")
    (workspace / "link").symlink_to(tmp_path / "object")
    assert measure(workspace).size == 8 * KIB


def test_checkpoints_go_only_when_they_are_asked_for() -> None:
    old, young = make(host.checkpoints() / "3fa9", days=8), make(host.checkpoints() / "c77d", days=1)
    cleaned()
    assert old.exists()
    cleaned(checkpoints=True)
    assert (old.exists(), young.exists()) == (False, True)


def test_checkpoints_stay_while_a_run_trains(hold: Callable[[Path], subprocess.Popen[str]]) -> None:
    old = make(host.checkpoints() / "3fa9", days=8)
    holder = hold(host.lock_file("fine-tune", "0123abcd"))
    assert cleaned(checkpoints=True)[-1] == "Checkpoints stay: a run is training. Try again when it is done."
    assert old.exists()
    holder.kill()
    holder.wait()
    cleaned(checkpoints=True)
    assert not old.exists()


def test_the_cache_and_a_home_that_is_not_there_are_left_alone(home: Path) -> None:
    assert cleaned(older_than=0, checkpoints=True) == [f"   0 bytes  removed from {home}"]
    cache = make(host.cache() / "files", days=400)
    cleaned(older_than=0, checkpoints=True)
    assert (cache / "weights").exists()


def test_a_removal_that_another_hand_has_done_is_no_error() -> None:
    make(host.workspaces() / "old", days=8)
    [leftover] = leftovers(older_than=7, checkpoints=False)
    host.remove(leftover.path)
    host.remove(leftover.path)
    assert not list(host.workspaces().iterdir())


def test_the_command_takes_days_and_says_what_it_did(home: Path) -> None:
    make(host.workspaces() / "old", days=2)
    done = run("tuneline", "clean", "--older-than", "1.5", cwd=home)
    assert done.stdout.splitlines()[-1].endswith(f"removed from {home}")
    assert list(host.workspaces().iterdir()) == []
