"""What the runs on one host share. TUNELINE_HOME moves it from ~/.tuneline.

    cache/         DVC's cache: every version of every out, once
    checkpoints/   of training, by the digest of its inputs; those of a finished one go when another begins
    workspaces/    a clone per flow run
    locks/         a file for each thing that only one process may have in hand

A lock is held by the one process that commits to the cache, runs a stage on some inputs, works in a workspace, uses
a device, scores into a folder or is `tuneline up`.
"""

import os
import re
import shutil
import stat
from pathlib import Path

DOOMED = re.compile(r"\.(.+)\.removed")  # the name of a folder whose removal has begun


def home() -> Path:
    """The folder that all runs on this host share."""
    return Path(os.environ.get("TUNELINE_HOME") or "~/.tuneline").expanduser().absolute()


def cache() -> Path:
    return home() / "cache"


def checkpoints() -> Path:
    return home() / "checkpoints"


def workspaces() -> Path:
    return home() / "workspaces"


def lock_file(*names: str) -> Path:
    """The lock with this name, its folder made: lock_file("device", "0") → locks/device-0.lock"""
    folder = home() / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{'-'.join(names)}.lock"


def stage_lock_file(stage: str, digest: str) -> Path:
    """The lock of a stage on the inputs with this digest. A flow holds it until the cache has the outs."""
    return lock_file(stage, digest[:32])


def remove(folder: Path) -> None:
    """Remove a folder, if it is there, whatever in it is read-only. Links are removed, never what they lead to.

    It is renamed first: a folder with its own name is whole, and a removal that was cut short can be told and ended.
    """
    doomed = folder.with_name(f".{whole_name(folder)}.removed")
    _delete(doomed)
    if folder.exists():
        folder.rename(doomed)
        _delete(doomed)


def whole_name(folder: Path) -> str:
    """The name of a folder before its removal began: .fierce-otter.removed → fierce-otter"""
    doomed = DOOMED.fullmatch(folder.name)
    return doomed[1] if doomed else folder.name


def _delete(folder: Path) -> None:
    for place, _, _ in os.walk(folder):
        Path(place).chmod(stat.S_IRWXU)  # nothing can be removed from a read-only folder
    if folder.exists():
        shutil.rmtree(folder)
