"""What the runs on one host share. TUNELINE_HOME moves it from ~/.tuneline.

    cache/         DVC's cache: every version of every out, once
    checkpoints/   of training that was cut short, by the digest of its inputs
    workspaces/    a clone per flow run
    locks/         a file for each thing that only one process may have in hand

A lock is held by the one process that commits to the cache, runs a stage on some inputs, works in a workspace, uses
a device or scores into a folder.
"""

import os
from pathlib import Path


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
