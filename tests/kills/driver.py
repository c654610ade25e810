"""Runs `dvc repro` in a project again and again, and kills it: at a point that it passes, or after some time."""

import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.conftest import ROOT

HOOK = Path(__file__).parent / "hook"
COMMAND = ("dvc", "repro")
PATIENCE = 300.0  # seconds that one run may take
LAST_OUTS = {  # what a stage puts in place last; it has run where that is there
    "validate": "data/validated", "tokenize": "data/tokenized", "fine-tune": "data/reports/learning_curve.csv",
    "evaluate": "data/reports/evaluation.json", "register": "data/reports/registration.json",
}  # fmt: skip


@dataclass
class Undisturbed:
    """How long a run takes, and how many points each of its processes passes."""

    seconds: float
    points: dict[str, int]


@dataclass
class Tally:
    """What was done to the runs, and what came of it."""

    kills: Counter[str] = field(default_factory=Counter)
    projects: int = 0
    torn: int = 0  # files of DVC itself

    def __str__(self) -> str:
        each = ", ".join(f"{name} {count}" for name, count in sorted(self.kills.items()))
        return f"{self.kills.total()} kills ({each}); {self.projects} projects, {self.torn} torn files of DVC"


def undisturbed(project: Path, command: Sequence[str] = COMMAND) -> Undisturbed:
    """Run to the end."""
    counts = project.parent / "points.txt"
    counts.unlink(missing_ok=True)
    started = time.monotonic()
    done = start(project, command, TUNELINE_KILL_COUNTS=str(counts))
    out, _ = done.communicate(timeout=PATIENCE)
    assert done.returncode == 0, out
    points: Counter[str] = Counter()
    for line in counts.read_text(encoding="utf-8").splitlines():
        name, _, number = line.rpartition(" ")
        points[name] = max(points[name], int(number))
    return Undisturbed(time.monotonic() - started, dict(points))


def kill_until_done(
    project: Path, whole: Undisturbed, chance: random.Random, tally: Tally, kills: int, *, at_times: bool
) -> None:
    """Begin the run anew after each kill, then let it end. What is killed leaves no process behind. at_times: some
    kills come after a time, and not at a point, so that no seed brings them back."""
    for _ in range(kills):
        to_come = [stage for stage, out in LAST_OUTS.items() if not (project / out).exists()]
        by_point = not at_times or chance.random() < 0.6
        name = chance.choice(["dvc", *to_come])
        point = chance.randint(1, whole.points[name])
        run = start(project, **({"TUNELINE_KILL_AT": f"{name} {point}"} if by_point else {}))
        seconds = chance.uniform(0, whole.seconds * len(to_come) / len(LAST_OUTS))
        try:
            out, _ = run.communicate(timeout=PATIENCE if by_point else seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            out, _ = run.communicate()
        if run.returncode != -signal.SIGKILL:
            assert run.returncode == 0 or _mended(project, out, tally), out
            break  # it came to its end, or to a file that DVC tore
        tally.kills[f"{name} at a point" if by_point else "any at a time"] += 1
        _nothing_works_in(project)
    while True:
        run = start(project)
        out, _ = run.communicate(timeout=PATIENCE)
        if run.returncode == 0:
            break
        assert _mended(project, out, tally), out
    tally.projects += 1


def start(project: Path, command: Sequence[str] = COMMAND, **env: str) -> subprocess.Popen[str]:
    """A command in a process group of its own, in which every Python process counts its points."""
    path = f"{HOOK}{os.pathsep}{ROOT / 'src'}"
    return subprocess.Popen(
        command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": path, "TUNELINE_KILL_ROOT": str(project), **env},
    )  # fmt: skip


def _mended(project: Path, out: str, tally: Tally) -> bool:
    """DVC writes dvc.lock and its table of locks in place. Of one that a kill cut short, docs/reliability.md says what
    brings it back."""
    if "dvc.lock" in out and re.search("is invalid|corrupted|validation failed", out):
        subprocess.run(["git", "checkout", "--quiet", "dvc.lock"], cwd=project, check=True)
    elif "Unable to read RWLock-file" in out:
        (project / ".dvc/tmp/rwlock").unlink()
    else:
        return False
    tally.torn += 1
    return True


def _nothing_works_in(project: Path) -> None:
    limit = time.monotonic() + 20
    while left := [
        each.info for each in psutil.process_iter(["pid", "cwd", "cmdline"]) if each.info["cwd"] == str(project)
    ]:
        assert time.monotonic() < limit, left
        time.sleep(0.2)
