"""A clone of the repository at one commit, for a run or a rebuild to work in.

~/.tuneline/workspaces/gentle-otter/     the files of the commit, and no more
"""

import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from tuneline import host, layout
from tuneline.addresses import safe_url
from tuneline.commands import output
from tuneline.errors import PipelineError

PAUSES = (5.0, 25.0)  # seconds before another machine is asked again
SHA1 = r"[0-9a-f]{40}"


class WorkspaceError(PipelineError):
    """A revision that the repository does not have, data that it does not name."""


class RemoteAway(WorkspaceError):
    """The origin, the DVC remote or the source of the data did not give or take what it should. A retry may help."""


@contextmanager
def reserved(name: str) -> Iterator[Path]:
    """The workspace folder with this name, cleared, for as long as the block lasts. WorkspaceError while another
    process works there."""
    lock = FileLock(host.lock_file("workspace", name))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise WorkspaceError(f"{name}: another process works in this run's workspace.") from None
    with lock, layout.storage_errors():
        folder = host.workspaces() / name
        host.remove(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        yield folder


def clone(folder: Path, source: str, revision: str) -> str:
    """Clone a repository into a folder, at a commit, tag or branch; the commit. Raises WorkspaceError, or RemoteAway
    where the source does not answer."""
    patiently("git", "clone", "--quiet", "--no-checkout", "--", source, str(folder), folder=folder.parent)
    if re.fullmatch(SHA1, revision):  # such a commit may be on no branch, as those of DVC experiments are
        with suppress(WorkspaceError):
            run("git", "fetch", "--quiet", "origin", revision, folder=folder)
    commit = _commit(folder, source, revision)
    run("git", "checkout", "--quiet", "--detach", commit, folder=folder)
    return commit


def _commit(folder: Path, source: str, revision: str) -> str:
    """The commit that a revision names: as it stands, or as a branch of the origin."""
    for spelling in (f"origin/{revision}", revision):
        try:
            return run("git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{spelling}^{{commit}}",
                       folder=folder)  # fmt: skip
        except WorkspaceError:
            continue
    raise WorkspaceError(
        f"revision: {safe_url(source)} has no commit, tag or branch '{revision}'. Push it there, or name another one."
    )


def variables(folder: Path) -> dict[str, str]:
    """What commands in a clone run with: its own source, and the programs of this environment."""
    return {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": str(folder / "src"),
    }


def run(*command: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """Output of a command in a folder. Raises WorkspaceError with the last thing it said."""
    return output(*command, error=WorkspaceError, folder=folder, env=env)


def patiently(*command: str, folder: Path, env: Mapping[str, str] | None = None) -> str:
    """The same for a command that asks another machine, tried again after a while. RemoteAway when that does not
    help."""
    for seconds in PAUSES:
        with suppress(RemoteAway):
            return output(*command, error=RemoteAway, folder=folder, env=env)
        time.sleep(seconds)
    return output(*command, error=RemoteAway, folder=folder, env=env)
