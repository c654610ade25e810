"""One GPU of this host for one process.

A process that trains takes a lock on its device and holds it until it ends, however it ends: the kernel frees
the lock with the process, never sooner. So N devices carry N runs, and one that is killed blocks nobody.
"""

import os
import subprocess
import time

from filelock import FileLock, Timeout

from tuneline import host
from tuneline.errors import DeviceError
from tuneline.log import report

POLL_SECONDS = 1.0
_held: list[FileLock] = []


def devices() -> list[str]:
    """The GPUs that this process may use, as CUDA names them: what TUNELINE_DEVICES or CUDA_VISIBLE_DEVICES
    lists, else all that nvidia-smi knows. Empty where there is none."""
    for name in ("TUNELINE_DEVICES", "CUDA_VISIBLE_DEVICES"):
        if name in os.environ:
            return [device.strip() for device in os.environ[name].split(",") if device.strip()]
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


def lease(stage: str, device: str) -> None:
    """Hold one free device until this process ends, and show CUDA no other. Waits while all are in use.

    device is `train.device`: "cpu" takes none, "auto" does without where the host has none, "gpu" raises
    DeviceError then. Call it before CUDA is first used.
    """
    known = [] if device == "cpu" else devices()
    if device == "gpu" and not known:
        raise DeviceError(
            "train.device is gpu, but this host shows no GPU (nvidia-smi). Check the driver and "
            "CUDA_VISIBLE_DEVICES, or set train.device: auto."
        )
    taken = _wait_for_one(stage, known) if known else ""
    os.environ["CUDA_VISIBLE_DEVICES"] = taken
    if known:
        report(stage, f"device {taken}, one of {len(known)}")


def _wait_for_one(stage: str, known: list[str]) -> str:
    told = False
    while True:
        for device in known:
            if _take(device):
                return device
        if not told:
            report(stage, f"all {len(known)} devices are in use; waiting for a free one")
            told = True
        time.sleep(POLL_SECONDS)


def _take(device: str) -> bool:
    lock = FileLock(host.lock_file("device", device.replace("/", "_")))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    _held.append(lock)
    return True
