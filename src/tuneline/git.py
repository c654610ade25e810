"""What git knows of this checkout, and of a commit."""

import tempfile
from contextlib import suppress
from pathlib import Path
from zipfile import ZipFile

from tuneline.commands import output
from tuneline.errors import PipelineError


class GitError(PipelineError):
    """Git did not give what was asked."""


def described() -> str:
    """The commit of this checkout, marked -dirty when files differ from it; "none" outside git."""
    try:
        return _git("describe", "--always", "--abbrev=40", "--dirty", "--exclude=*")
    except (GitError, OSError):
        return "none"


def origin(repository: Path = Path()) -> str | None:
    """The address of the remote `origin`, or None. It may hold a password."""
    with suppress(GitError, OSError):
        return _git("remote", "get-url", "origin", folder=repository)
    return None


def changed_files() -> list[str]:
    """Files that differ from the commit, and files that git neither tracks nor ignores, sorted. None outside git."""
    with suppress(GitError, OSError):
        listed = _git("status", "--porcelain", "-z", "--no-renames", "--untracked-files=all")
        return sorted(entry[2:].lstrip() for entry in listed.split("\0") if entry)
    return []


def holds(commit: str, repository: Path = Path()) -> bool:
    """Whether a repository on this disk has a commit."""
    with suppress(GitError, OSError):
        _git("cat-file", "-e", f"{commit}^{{commit}}", folder=repository)
        return True
    return False


def origin_holds(commit: str, address: str) -> bool:
    """Whether the repository at an address gives a commit. Nothing of it is kept."""
    with tempfile.TemporaryDirectory() as scratch, suppress(GitError, OSError):
        _git("init", "--quiet", "--bare", folder=Path(scratch))
        _git("fetch", "--quiet", "--depth=1", "--filter=blob:none", "--", address, commit, folder=Path(scratch))
        return True
    return False


def export(commit: str, path: str, folder: Path, repository: Path = Path()) -> Path | None:
    """A file or folder of a commit, written under `folder`; None where the commit has no such path."""
    archive = folder / "archive.zip"
    try:
        _git("archive", "--format=zip", f"--output={archive.absolute()}", commit, "--", path, folder=repository)
    except (GitError, OSError):
        return None
    with ZipFile(archive) as files:
        files.extractall(folder)  # which writes nothing outside of it
    archive.unlink()
    return folder / path


def _git(*arguments: str, folder: Path | None = None) -> str:
    return output("git", *arguments, error=GitError, folder=folder)
