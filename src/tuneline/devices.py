"""One GPU of this host for one process.

A process that trains takes a lock on its device and holds it until it ends, however it ends: the kernel frees
the lock with the process, never sooner. So N devices carry N runs, and one that is killed blocks nobody.
"""

import os
import subprocess
import time
from itertools import takewhile

from filelock import FileLock, Timeout

from tuneline import host
from tuneline.errors import DeviceError
from tuneline.log import report

POLL_SECONDS = 1.0
_held: list[FileLock] = []


def devices() -> list[str]:
    """The GPUs that this process may use: what TUNELINE_DEVICES lists, as it stands, else what CUDA_VISIBLE_DEVICES
    leaves of those that nvidia-smi knows, by their UUIDs. Empty where there is none.

    A UUID, because an index in one process and a UUID in another may be the same GPU, and it has one lock.
    """
    if "TUNELINE_DEVICES" in os.environ:
        return _listed(os.environ["TUNELINE_DEVICES"])
    gpus = _gpus()
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [_uuid(name, gpus) for name in _listed(os.environ["CUDA_VISIBLE_DEVICES"])]
    return gpus


def _listed(names: str) -> list[str]:
    """Names up to the first that is none, as CUDA reads them: "0, 1" → 0 and 1, "-1" → none."""
    return list(takewhile(lambda name: name not in ("", "-1"), (name.strip() for name in names.split(","))))


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout.split()
    except (OSError, subprocess.SubprocessError):
        return []


def _uuid(name: str, gpus: list[str]) -> str:
    """The UUID of a GPU by its index, counted as nvidia-smi does, or by the start of its UUID. Any other name stays."""
    if name.isdigit():
        return gpus[int(name)] if int(name) < len(gpus) else name
    return next((gpu for gpu in gpus if gpu.startswith(name)), name)


def lease(stage: str, device: str) -> None:
    """Hold one free device until this process ends, and show CUDA no other. Waits while all are in use. A process
    that holds one already keeps it.

    device is `train.device`: "cpu" takes none, "auto" does without where the host has none, "gpu" raises
    DeviceError then. Call it before CUDA is first used.
    """
    if _held:
        return
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
