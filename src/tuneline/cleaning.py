"""`tuneline clean`: remove what runs that are gone have left under TUNELINE_HOME.

      1.3 GB      9.2 days  workspaces/fierce-otter     a clone, kept because its run failed
    272.1 MB     12.0 days  checkpoints/3fa92c51...     of training that was cut short and not resumed

A run holds the lock of its workspace as long as it lives, and the lock of a stage while that stage runs. The cache
is left alone: `dvc gc` knows which of its files a commit still needs.
"""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from rich.console import Console
from rich.filesize import decimal

from tuneline import host
from tuneline.errors import StorageError

DAY = 86_400  # seconds


@dataclass(frozen=True)
class Leftover:
    """A folder that a run had for itself."""

    path: Path
    size: int
    """Bytes that its removal frees."""
    age: float
    """Days since anything in it was written."""

    @property
    def doomed(self) -> bool:
        """Whether its removal has begun."""
        return self.path.name != host.whole_name(self.path)

    def __str__(self) -> str:
        return f"{decimal(self.size):>10}{self.age:>10.1f} days  {self.path.parent.name}/{host.whole_name(self.path)}"


def clean(console: Console, *, older_than: float, checkpoints: bool, dry_run: bool) -> None:
    """Remove, or with dry_run only list, what has been left for this many days. Raises StorageError at the end
    for all that the disk did not let go.

    While a run trains, all checkpoints stay: which of them it uses, its lock does not say.
    """
    gone: list[Leftover] = []
    refused: list[str] = []
    training = checkpoints and _training()
    for leftover in leftovers(older_than=older_than, checkpoints=checkpoints and not training):
        try:
            if not dry_run:
                host.remove(leftover.path)
        except OSError as error:
            refused.append(f"{error.filename}: cannot be removed: {error.strerror}.")
            continue
        gone.append(leftover)
        console.print(str(leftover), highlight=False, soft_wrap=True)
    size, verb = decimal(sum(leftover.size for leftover in gone)), "would be removed" if dry_run else "removed"
    console.print(f"{size:>10}  {verb} from {host.home()}", highlight=False, soft_wrap=True)
    if training:
        console.print("Checkpoints stay: a run is training. Try again when it is done.", soft_wrap=True)
    if refused:
        raise StorageError("\n".join([*refused, "Mend that, then run the same command again."]))


def leftovers(*, older_than: float, checkpoints: bool) -> Iterator[Leftover]:
    """What no living run uses and has not been written to for this many days, and what is left of a removal.

    A workspace is locked for as long as the caller has it in hand, so that no run can begin in it.
    """
    for path in _folders(host.workspaces()):
        with _free(host.lock_file("workspace", host.whole_name(path))) as free:
            if free and _due(leftover := measure(path), older_than):
                yield leftover
    if checkpoints:
        yield from (one for one in map(measure, _folders(host.checkpoints())) if _due(one, older_than))


def measure(folder: Path) -> Leftover:
    """Size and age of all that lies in a folder. A link counts as itself, and a file that has a second name
    elsewhere frees nothing."""
    entries = [folder.lstat()]
    for place, folders, files in os.walk(folder):  # enters no link
        entries += [Path(place, name).lstat() for name in (*folders, *files)]
    freed = sum(entry.st_size for entry in entries if stat.S_ISREG(entry.st_mode) and entry.st_nlink == 1)
    return Leftover(folder, freed, (time.time() - max(entry.st_mtime for entry in entries)) / DAY)


def _folders(home: Path) -> list[Path]:
    """The folders of runs. What is left of removals comes first: it would be in the way of another."""
    folders = [path for path in home.iterdir() if path.is_dir() and not path.is_symlink()] if home.is_dir() else []
    return sorted(folders, key=lambda path: (path.name == host.whole_name(path), path.name))


def _due(leftover: Leftover, older_than: float) -> bool:
    return leftover.doomed or leftover.age >= older_than


def _training() -> bool:
    """Whether a run of this host is at the stage fine-tune."""
    locks = host.lock_file("fine-tune", "*")
    return not all(_is_free(path) for path in locks.parent.glob(locks.name))


def _is_free(path: Path) -> bool:
    with _free(path) as free:
        return free


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Take a lock if it is free, for as long as the block lasts. Yields whether it was."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, PermissionError):  # held, or the lock of another user
        yield False
        return
    with lock:
        yield True
