"""Where the benchmarks run: in a clone of the checkout, or in a bare folder with the code beside given raw rows."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
HERE = ROOT / "benchmarks"
DATA = Path(os.environ.get("TUNELINE_DATA", "../shared/data"))  # the public sets


def cloned(folder: Path) -> Path:
    """A fresh clone of what is committed."""
    project = folder / "project"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(project)], check=True)
    return project


def furnished(project: Path) -> Path:
    """What the stages read beside raw rows and params."""
    (project / "data").mkdir(exist_ok=True)
    for name in ("dvc.yaml", "data/expectations.json"):
        shutil.copyfile(ROOT / name, project / name)
    (project / "src").symlink_to(ROOT / "src")  # whose digests the stages record
    return project


def called(command: list[str], project: Path) -> tuple[str, float]:
    """What a command prints, and the most memory that it took, in GB. Its failure ends this process."""
    env = {
        **os.environ, "HF_HUB_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "DVC_NO_ANALYTICS": "1",
        "HF_HOME": str(project / "hf"), "PYTHONPATH": str(project / "src"),
    }  # fmt: skip
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=project, env=env, stdout=out, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        log.seek(0)
        if process.returncode:
            sys.exit(f"{' '.join(command)}\n{out.read().decode()}\n{log.read().decode()}")
        return out.read().decode(), usage.ru_maxrss / 1e6


def timed(function: Callable[..., Any], spent: list[float]) -> Callable[..., Any]:
    """The function, which adds its seconds to a list. Of calls within calls the outermost alone count."""
    depth = [0]

    def called(*args: Any, **options: Any) -> Any:
        depth[0] += 1
        started = time.perf_counter()
        try:
            return function(*args, **options)
        finally:
            depth[0] -= 1
            if not depth[0]:
                spent.append(time.perf_counter() - started)

    return called
