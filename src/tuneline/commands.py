"""Git, DVC and the like, run for what they print. A command ends with the process that started it."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tuneline.addresses import safe_text
from tuneline.errors import PipelineError, StorageError
from tuneline.leash import leashed

LAST_LINES = 8  # of what a command says when it fails
QUIET = {"DVC_NO_ANALYTICS": "1", "GIT_TERMINAL_PROMPT": "0"}
DISK = ("no space left", "quota exceeded", "[errno 13]")  # a bare "permission denied" may be what an SSH server says


def output(
    *command: str, error: type[PipelineError], folder: Path | None = None, env: Mapping[str, str] | None = None,
    aftermath: str = "",
) -> str:  # fmt: skip
    """What a command prints. Raises `error`, or StorageError where the disk is in the way, with the last lines it
    said. aftermath: what its failure means for the caller."""
    done = subprocess.run(
        leashed(*command), cwd=folder, env={**os.environ, **QUIET, **(env or {})}, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, errors="replace", check=False,
    )  # fmt: skip
    if done.returncode == 0:
        return done.stdout.strip()
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    kind = StorageError if any(sign in line.lower() for line in said for sign in DISK) else error
    name = " ".join([Path(command[0]).name, *command[1:]])
    lines = "".join(f"\n  {line}" for line in said[-LAST_LINES:]) or " nothing"
    where = f" in {folder}" if folder else ""
    raise kind(safe_text(f"{name}{where} ended with exit code {done.returncode}. {aftermath}It said:{lines}"))
