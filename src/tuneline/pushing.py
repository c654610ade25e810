"""`tuneline data push NAME`: a version of a data set, put where other machines find it."""

from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from tuneline import layout
from tuneline.commands import output
from tuneline.errors import DataError, did_you_mean


@dataclass(frozen=True)
class Pushed:
    """A version of a data set that others can get."""

    revision: str  # the commit that holds its .dvc file
    md5: str  # of the data, as DVC names it


def push(name: str) -> Pushed:
    """Push the data to the DVC remote, where one is set. Git is the owner's to commit and push: a version that
    the origin does not have is refused, for no run could get it. Raises DataError."""
    pointer = _pointer(name)
    if _git("status", "--porcelain", "--", str(pointer)):
        raise DataError(
            f"{pointer}: not committed as it stands. Runs work on commits: git add {pointer} && git commit, then "
            f"git push and tuneline data push {name}."
        )
    if _git("remote") and not _git("branch", "--remotes", "--contains", "HEAD"):
        raise DataError(f"The origin does not have this commit yet. git push, then tuneline data push {name}.")
    if output("dvc", "remote", "list", error=DataError):
        output("dvc", "push", str(pointer), error=DataError)
    content = YAML(typ="safe").load(pointer)
    return Pushed(_git("rev-parse", "HEAD"), content["outs"][0]["md5"])


def _pointer(name: str) -> Path:
    pointer = layout.RAW / f"{name}.dvc"
    known = [path.stem for path in sorted(layout.RAW.glob("*.dvc"))]
    if name not in known:
        raise DataError(
            f"{pointer}: there is no such data set.{did_you_mean(name, known)} Known: {', '.join(known) or 'none'}. "
            f"Add it with tuneline data add {name} SOURCE."
        )
    return pointer


def _git(*arguments: str) -> str:
    return output("git", *arguments, error=DataError)
