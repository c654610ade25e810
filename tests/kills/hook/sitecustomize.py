"""Runs at the start of every Python process of a project under test: counts the points at which it touches something
that lasts, and kills its process group at one of them.

A point is a file opened for writing, renamed, linked or removed below TUNELINE_KILL_ROOT, and each call of MLflow's
client, before and after it. TUNELINE_KILL_AT, `fine-tune 37`, names one of a stage, or of dvc; TUNELINE_KILL_COUNTS a
file that gets, as each process ends, its name and the number of its points.
"""

import atexit
import functools
import os
import signal
import sys
from pathlib import Path

ROOT = os.environ.get("TUNELINE_KILL_ROOT", "")
WRITES = os.O_WRONLY | os.O_RDWR
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"}


def _name() -> str:
    """The stage of this process, or the program."""
    words = sys.orig_argv
    return words[words.index("stage") + 1] if "stage" in words[:-1] else Path(words[min(1, len(words) - 1)]).name


class Points:
    def __init__(self, at: int | None) -> None:
        self.at, self.count, self.wrapped = at, 0, False

    def pass_one(self) -> None:
        self.count += 1
        if self.count == self.at:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.wrapped and "mlflow.tracking.client" in sys.modules:
            self.wrap(sys.modules["mlflow.tracking.client"])
        if event == "open":
            path, _, flags = arguments
            lasting = isinstance(flags, int) and bool(flags & WRITES)
        else:
            path, lasting = (arguments or [""])[0], event in CHANGES
        if lasting and isinstance(path, str | os.PathLike) and _inside(os.fspath(path)):
            self.pass_one()

    def wrap(self, module: object) -> None:
        client = getattr(module, "MlflowClient", None)
        if client is None:  # still being imported
            return
        self.wrapped = True
        for name, method in list(vars(client).items()):
            if callable(method) and not name.startswith("_"):
                setattr(client, name, self.around(method))

    def around(self, method):
        @functools.wraps(method)
        def called(*arguments, **options):
            self.pass_one()
            answer = method(*arguments, **options)
            self.pass_one()
            return answer

        return called


def _inside(path: str | bytes) -> bool:
    whole = str(Path.cwd() / os.fsdecode(path))
    return whole.startswith(ROOT) and "__pycache__" not in whole


if ROOT:
    stage, _, number = os.environ.get("TUNELINE_KILL_AT", "").partition(" ")
    points = Points(int(number) if number and stage == _name() else None)
    sys.addaudithook(points.hear)
    if counts := os.environ.get("TUNELINE_KILL_COUNTS", ""):

        @atexit.register
        def tell() -> None:
            with Path(counts).open("a", encoding="utf-8") as file:
                file.write(f"{_name()} {points.count}\n")
