"""One device for one process, with a make-believe pair."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tuneline.devices import devices, lease
from tuneline.errors import DeviceError

HOLD = "from tuneline.devices import lease; lease('x', 'auto'); import time; time.sleep(60)"


@pytest.fixture
def holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[str]]]:
    monkeypatch.setenv("TUNELINE_HOME", str(tmp_path))
    monkeypatch.setenv("TUNELINE_DEVICES", "0,1")
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def hold(holders: list[subprocess.Popen[str]]) -> str:
    """Start a process that takes a device; the first line it says."""
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    holders.append(process)
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_each_process_has_its_own_and_one_that_is_killed_frees_its(holders: list[subprocess.Popen[str]]) -> None:
    assert hold(holders) == "x: device 0, one of 2"
    assert hold(holders) == "x: device 1, one of 2"
    assert hold(holders) == "x: all 2 devices are in use; waiting for a free one"
    holders[1].send_signal(signal.SIGKILL)
    waiting = holders[2].stdout
    assert waiting is not None
    assert waiting.readline().strip() == "x: device 1, one of 2"


def test_a_host_without_devices_takes_the_cpu_unless_params_ask_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNELINE_DEVICES", "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    lease("x", "auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    with pytest.raises(DeviceError, match=r"train\.device"):
        lease("x", "gpu")


def test_devices_are_those_that_the_environment_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TUNELINE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", "")  # no nvidia-smi
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 3")
    assert devices() == ["2", "3"]


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        ("1", ["GPU-bb02"]), ("GPU-bb02", ["GPU-bb02"]), ("GPU-bb", ["GPU-bb02"]), ("1,0", ["GPU-bb02", "GPU-aa01"]),
        ("", []), ("-1", []), ("0,-1,1", ["GPU-aa01"]), ("MIG-cc03", ["MIG-cc03"]),
    ],
)  # fmt: skip
def test_a_gpu_has_one_name_however_it_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str, found: list[str]
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho GPU-aa01\necho GPU-bb02\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TUNELINE_DEVICES", raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices() == found


def test_a_process_that_holds_a_device_does_not_wait_for_itself(holders: list[subprocess.Popen[str]]) -> None:
    twice = "from tuneline.devices import lease; lease('x', 'auto'); lease('y', 'auto')"
    one = {**os.environ, "TUNELINE_DEVICES": "0"}
    said = subprocess.check_output([sys.executable, "-c", twice], env=one, text=True, timeout=30)
    assert said.splitlines() == ["x: device 0, one of 1"]
