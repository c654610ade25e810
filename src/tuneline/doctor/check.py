"""What one look at the machine or the checkout tells, and the means that several looks share."""

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "warning", "problem"]

COMMAND_SECONDS = 20
SHOWN = 5  # names of a list


@dataclass(frozen=True)
class Check:
    """What was looked at, what was found, and what to do where it is not ok."""

    name: str
    state: State
    found: str
    advice: str = ""


def run(*command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that only reads. One that cannot start or does not end in time counts as failed."""
    quiet = {"LC_ALL": "C", "GIT_OPTIONAL_LOCKS": "0", "DVC_NO_ANALYTICS": "1"}
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS, env={**os.environ, **quiet}
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))


def complaint(done: subprocess.CompletedProcess[str]) -> str:
    """The first line that a failed command said."""
    return next(iter((done.stderr + done.stdout).strip().splitlines()), f"it ended with {done.returncode}")


def some(names: Sequence[str]) -> str:
    """`a, b, c, d, e and 3 more`"""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists already."""
    return next(place for place in (folder, *folder.parents) if place.exists())
