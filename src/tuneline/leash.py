"""Processes that do not outlive the one that started them, whatever ends that one.

    python -P leash.py COMMAND ARGUMENT...

runs a command that way, and lets SIGINT reach it.
"""

import ctypes
import os
import signal
import subprocess
import sys
import time

PR_SET_PDEATHSIG = 1  # linux/prctl.h
LAST_SECONDS = 10.0  # for the kernel to end what SIGKILL hit


def tie_to_parent() -> None:
    """Have the kernel end this process when its parent is gone, SIGKILL included. Call it first thing.

    Linux alone has this. Elsewhere a parent that ends in good order ends its children; one that is killed
    with SIGKILL leaves them.
    """
    if sys.platform != "linux":
        return
    parent = os.getppid()  # 1 in a container is a parent like any other
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it went just now
        sys.exit(f"{sys.argv[0]}: the process that started this one is gone")


def leashed(*command: str) -> list[str]:
    """The command line that runs a command on a leash."""
    return [sys.executable, "-P", __file__, *command]


def end_group(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End a process that leads a group, and all of the group: SIGTERM, then SIGKILL to what is left."""
    for number, seconds in ((int(signal.SIGTERM), grace_seconds), (int(signal.SIGKILL), LAST_SECONDS)):
        limit = time.monotonic() + seconds
        while _send(process, number) and time.monotonic() < limit:
            number = 0  # noqa: PLW2901  ask from now on whether anything is left
            time.sleep(0.05)
    process.wait()


def _send(process: subprocess.Popen[bytes], number: int) -> bool:
    """Signal the group; False when nobody is left in it. A leader that has ended is reaped first."""
    process.poll()
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    tie_to_parent()
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell's `&` leaves it ignored; a Prefect worker then never ends
    os.execvp(sys.argv[1], sys.argv[1:])  # noqa: S606  the command line of whoever called
