"""A run's own clone of the repository, at one commit, on the cache that all runs of this host share.

    ~/.tuneline/workspaces/gentle-otter/     params.yaml, data/, .dvc/config.local → ~/.tuneline/cache

It is removed when the run succeeds and kept when it fails; `tuneline clean` removes what was left.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from ruamel.yaml import YAML

from flows import ROOT
from tuneline import clones, git, host, layout
from tuneline.clones import WorkspaceError
from tuneline.errors import PipelineError

# Links into a shared cache: a hard link would let one run's write reach another run's model.
DVC_CONFIG = """[core]
    analytics = false
[cache]
    dir = {cache}
    type = "symlink,copy"
"""


@dataclass(frozen=True)
class Workspace:
    """Where one run works."""

    folder: Path
    commit: str
    experiment: str  # the DVC experiment that it will be saved as

    def env(self) -> dict[str, str]:
        """What its commands run with."""
        return clones.variables(self.folder)

    def run(self, *command: str) -> str:
        """Output of a command here. Raises WorkspaceError with the last thing it said."""
        return clones.run(*command, folder=self.folder, env=self.env())

    def ask(self, *command: str) -> str:
        """The same for a command that asks another machine. Raises RemoteAway after some tries."""
        return clones.patiently(*command, folder=self.folder, env=self.env())


def origin() -> str:
    """Where the clone that these flows were loaded from came from; that clone itself, when it has no origin."""
    return git.origin(ROOT) or str(ROOT)


def deployed_commit() -> str:
    return clones.run("git", "rev-parse", "HEAD", folder=ROOT)


@contextmanager
def workspace(name: str, revision: str | None) -> Iterator[Workspace]:
    """A clone at a revision (a commit, tag or branch of the origin; None is the deployed commit)."""
    name = safe_name(name)
    with clones.reserved(name) as folder:
        made = _prepare(name, folder, origin(), revision or deployed_commit())
        try:
            yield made
        except PipelineError as error:
            raise type(error)(f"{error}\nThe workspace is kept: {folder}") from error
        host.remove(folder)


def safe_name(name: str) -> str:
    """A flow run's name as a folder and an experiment can carry it."""
    return re.sub(r"[^A-Za-z0-9_]+", "-", name).strip("-")[:80] or "run"


def _prepare(name: str, folder: Path, source: str, revision: str) -> Workspace:
    commit = clones.clone(folder, source, revision)
    _identify(folder)
    for shared in (host.cache(), host.checkpoints()):
        shared.mkdir(parents=True, exist_ok=True)
    (folder / ".dvc/config.local").write_text(DVC_CONFIG.format(cache=host.cache()), encoding="utf-8")
    (folder / layout.STATE).mkdir(exist_ok=True)
    (folder / layout.STATE / "checkpoints").symlink_to(host.checkpoints())
    made = Workspace(folder, commit, _experiment_name(name, folder, commit))
    made.run("dvc", "checkout", "--quiet", "--allow-missing")
    return made


def _identify(folder: Path) -> None:
    """Experiments are commits, and a worker's git may not know who it is."""
    for key, value in (("user.name", "tuneline"), ("user.email", "tuneline@localhost")):
        try:
            clones.run("git", "config", key, folder=folder)
        except WorkspaceError:
            clones.run("git", "config", key, value, folder=folder)


def bring_raw_data(place: Workspace, name: str) -> None:
    """Have data/raw/NAME in the workspace: from the cache, from its source in the repository, or from the
    DVC remote."""
    pointer = layout.RAW / f"{name}.dvc"
    if not (place.folder / pointer).is_file():
        raise WorkspaceError(
            f"data.name: commit {place.commit[:12]} has no {pointer}. Run `tuneline data add {name} SOURCE`, commit "
            "the .dvc file and push it."
        )
    if _whole(place, pointer):
        return
    frozen = YAML(typ="safe").load(place.folder / pointer).get("frozen", False)
    with FileLock(host.lock_file("data", name)):  # a download may last, and other runs commit in the meantime
        if frozen:
            place.ask("dvc", "pull", "--quiet", str(pointer))
            return
        place.run("dvc", "repro", "--quiet", "--no-commit", "--single-item", str(pointer))
        with FileLock(host.lock_file("commit")):
            place.run("dvc", "commit", "--quiet", "--force", str(pointer))


def _whole(place: Workspace, pointer: Path) -> bool:
    """Whether everything that a .dvc file tracks is in place, as it was recorded."""
    return '"' not in place.run("dvc", "status", "--json", str(pointer))


def save_experiment(place: Workspace) -> None:
    """Save the workspace as a DVC experiment and push it to the origin. What was made goes to the DVC remote
    where one is set."""
    _unlink_shown_files(place.folder)
    place.run("dvc", "exp", "save", "--quiet", "--force", "--name", place.experiment)
    if place.run("dvc", "remote", "list"):
        place.ask("dvc", "push", "--quiet", "--run-cache")
    place.ask("dvc", "exp", "push", "--quiet", "--force", "--no-cache", "origin", place.experiment)


def _unlink_shown_files(folder: Path) -> None:
    """Make files of the metrics and plots that dvc.yaml lists at its top. DVC puts those into the experiment's
    commit, and a link into this host's cache would say nothing to another host."""
    pipeline = YAML(typ="safe").load(folder / layout.PIPELINE)
    for name in _strings([pipeline.get("metrics", []), pipeline.get("plots", [])]):
        shown = folder / name
        for path in shown.rglob("*") if shown.is_dir() else [shown]:
            if path.is_symlink() and path.is_file():
                content = path.read_bytes()
                path.unlink()
                path.write_bytes(content)


def _strings(node: Any) -> Iterator[str]:
    """Every string in nested YAML, keys too."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict | list):
        for item in node if isinstance(node, list) else [*node, *node.values()]:
            yield from _strings(item)


def _experiment_name(name: str, folder: Path, commit: str) -> str:
    """The run's name, with its commit when the origin holds an experiment of this name already."""
    taken = clones.patiently("git", "ls-remote", "origin", f"refs/exps/*/{name}", folder=folder)
    return f"{name}-{commit[:8]}" if taken else name
