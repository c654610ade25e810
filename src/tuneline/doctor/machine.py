"""The machine: Python and its packages, room, memory, GPUs, and reports that would leave it."""

import os
import platform
import re
import shutil
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tuneline import host
from tuneline.doctor.check import Check, State, complaint, run, some, standing

CONSTRAINTS = Path("constraints.txt")
INSTALL = "pip install -c constraints.txt -e '.[sample]'"
GB = 10**9  # bytes

# What keeps usage reports on this machine. `tuneline` sets the first of each where the environment says nothing.
TELEMETRY_OFF = {
    "MLFLOW_DISABLE_TELEMETRY": ("true", "1"),
    "DO_NOT_TRACK": ("true", "1", "yes"),
    "PREFECT_SERVER_ANALYTICS_ENABLED": ("false", "0", "no", "off"),
}


def python() -> Iterator[Check]:
    needed, version = metadata.metadata("tuneline")["Requires-Python"], platform.python_version()
    if version in SpecifierSet(needed):
        yield Check("Python", "ok", version)
    else:
        advice = "install a newer one, then: rm -rf .venv && make PYTHON=python3.11 run"
        yield Check("Python", "problem", f"{version}, needed {needed}", advice)


def packages() -> Iterator[Check]:
    """What pyproject.toml asks for must be there; what constraints.txt pins was tested together."""
    yield required(metadata.requires("tuneline") or [])
    yield pinned(CONSTRAINTS)


def required(requirements: list[str]) -> Check:
    """Whether each requirement is met, such as `fastapi<0.140`. Extras are the user's choice."""
    parsed = [Requirement(text) for text in requirements]
    needed = [one for one in parsed if not one.marker or one.marker.evaluate({"extra": ""})]
    unmet = [
        f"{one.name} {version}, needed {one.specifier}" if version else f"{one.name} is missing"
        for one in needed
        if not (version := _version(one.name)) or not one.specifier.contains(version, prereleases=True)
    ]
    if unmet:
        return Check("required packages", "problem", "; ".join(unmet), INSTALL)
    return Check("required packages", "ok", f"{len(needed)}, each as pyproject.toml asks")


def pinned(constraints: Path) -> Check:
    """Whether what is installed has the versions of this file."""
    if not constraints.is_file():
        found = f"there is no {constraints} in {Path.cwd()}"
        return Check("pinned packages", "warning", found, "run tuneline doctor from the root of the project")
    pins = dict(pin.split("==") for pin in constraints.read_text(encoding="utf-8").split())
    versions = {package: _version(package) for package in pins}
    missing = [package for package, version in versions.items() if not version]
    other = [
        f"{package} {versions[package]} (pinned {pin})"
        for package, pin in pins.items()
        if versions[package].partition("+")[0] not in ("", pin)  # 2.13.0+cpu is 2.13.0
    ]
    absent = f"; {len(missing)} not installed: {some(missing)}" if missing else ""
    if other:
        return Check("pinned packages", "warning", f"{len(other)} differ: {some(other)}{absent}", INSTALL)
    return Check("pinned packages", "ok", f"{len(pins) - len(missing)} as in {constraints}{absent}")


def _version(package: str) -> str:
    """The installed version, or an empty string."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def disks() -> Iterator[Check]:
    yield disk("disk here", Path.cwd())
    yield disk("disk of TUNELINE_HOME", host.home())


def disk(name: str, folder: Path) -> Check:
    """Room for data, checkpoints and models in a folder that is there or will be made."""
    place = standing(folder)
    if not os.access(place, os.W_OK):
        return Check(name, "problem", f"{place} cannot be written", "correct its permissions, or set TUNELINE_HOME")
    free = shutil.disk_usage(place).free
    state: State = "problem" if free < 2 * GB else "warning" if free < 10 * GB else "ok"
    advice = "" if state == "ok" else "tuneline clean --checkpoints; dvc gc --all-commits --all-experiments"
    return Check(name, state, f"{free / GB:.1f} GB free at {folder}", advice)


def memory() -> Iterator[Check]:
    """What a process can still get, where the system tells it in a file (Linux)."""
    system, container = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")  # cgroup 2
    if not system.is_file():
        return
    available = int(re.findall(r"MemAvailable:\s+(\d+) kB", system.read_text(encoding="ascii"))[0]) * 1024
    limit = container.read_text(encoding="ascii").strip() if container.is_file() else "max"
    if limit != "max":
        available = min(available, int(limit))
    if available < 3 * GB:
        advice = "end other programs: training the sample takes about 2.5 GB"
        yield Check("memory", "warning", f"{available / GB:.1f} GB available", advice)
    else:
        yield Check("memory", "ok", f"{available / GB:.1f} GB available")


def gpus() -> Iterator[Check]:
    """The GPUs that nvidia-smi lists, and whether the installed torch can use them."""
    if shutil.which("nvidia-smi") is None:
        yield Check("GPU", "ok", "none: training uses the CPU")
        return
    listed = run("nvidia-smi", "--query-gpu=name,memory.total,memory.free", "--format=csv,noheader")
    if listed.returncode:
        yield Check("GPU", "warning", f"nvidia-smi: {complaint(listed)}", "mend the driver, or train on the CPU")
        return
    cells = [line.split(", ") for line in listed.stdout.splitlines()]
    found = "; ".join(f"{name}, {free} free of {total}" for name, total, free in cells)
    if "+cpu" in _version("torch"):
        advice = "install the CUDA build of the torch in constraints.txt"
        yield Check("GPU", "warning", f"{found}. The installed torch knows only the CPU", advice)
    else:
        yield Check("GPU", "ok", found or "none: training uses the CPU")


def telemetry() -> Iterator[Check]:
    """The reports of MLflow and Prefect. DVC's are a matter of its settings."""
    sending = [name for name, off in TELEMETRY_OFF.items() if os.environ.get(name, "").lower() not in off]
    if sending:
        found = ", ".join(f"{name}={os.environ.get(name, '')}" for name in sending)
        off = " ".join(f"{name}={TELEMETRY_OFF[name][0]}" for name in sending)
        yield Check("telemetry", "warning", f"on: {found}", f"export {off}")
    else:
        yield Check("telemetry", "ok", "off for MLflow and Prefect")
