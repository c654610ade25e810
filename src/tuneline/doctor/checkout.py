"""The checkout: git, DVC, params.yaml, and the checkpoint that it names."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuneline import replacing
from tuneline.addresses import safe_url
from tuneline.doctor.check import Check, complaint, run, some, standing
from tuneline.errors import PipelineError

if TYPE_CHECKING:
    from tuneline.params import Model


def git() -> Iterator[Check]:
    """The repository that flows clone."""
    inside = run("git", "rev-parse", "--show-toplevel")
    if inside.returncode:
        yield Check("git", "problem", complaint(inside), "install git, and work in a clone of the project")
        return
    head = run("git", "rev-parse", "--short", "--verify", "HEAD")
    if head.returncode:
        yield Check("git", "problem", "no commit yet", "git add -A && git commit -m 'Start'")
        return
    yield Check("git", "ok", f"commit {head.stdout.strip()}")
    yield _changes()
    yield _origin()


def _changes() -> Check:
    changed = [line[3:] for line in run("git", "status", "--porcelain").stdout.splitlines()]
    if changed:
        found = f"{some(changed)}: flows run commits, without these"
        return Check("uncommitted changes", "warning", found, "git add -A && git commit")
    return Check("uncommitted changes", "ok", "none")


def _origin() -> Check:
    origin = run("git", "remote", "get-url", "origin")
    if origin.returncode:
        return Check("origin", "warning", "none: flows clone from this folder", "git remote add origin URL")
    known = run("git", "branch", "--remotes", "--contains", "HEAD", "--list", "origin/*").stdout.strip()
    if not known:
        found = f"{safe_url(origin.stdout.strip())} lacks this commit, as far as is known here"
        return Check("origin", "warning", found, "git push (or git fetch, where it has been pushed)")
    return Check("origin", "ok", safe_url(origin.stdout.strip()))


def dvc() -> Iterator[Check]:
    """DVC's settings, merged from all its files."""
    if not Path(".dvc").is_dir():
        yield Check("DVC", "problem", f"not initialised in {Path.cwd()}", "cd to the root of the project, or: dvc init")
        return
    listed = run(sys.executable, "-m", "dvc", "config", "--list")
    folder = run(sys.executable, "-m", "dvc", "cache", "dir")
    for failed in (done for done in (listed, folder) if done.returncode):
        yield Check("DVC", "problem", complaint(failed), "correct .dvc/config and .dvc/config.local")
        return
    settings = {name: value for name, _, value in (line.partition("=") for line in listed.stdout.splitlines())}
    yield cache(Path(folder.stdout.strip()), settings.get("cache.type", "reflink,copy"))
    yield _remote(settings.get("core.remote"))
    yield _analytics(settings.get("core.analytics", "true"))


def cache(folder: Path, link_type: str) -> Check:
    """DVC's cache: whether files that come out of it are safe, and whether they take their room twice."""
    own = folder.is_relative_to(Path.cwd())
    shown = folder.relative_to(Path.cwd()) if own else folder
    relink = "dvc config --local cache.type symlink,copy && dvc checkout --relink"
    if "hardlink" in link_type and not own:
        found = (
            f"cache.type is {link_type} and {shown} can be shared: two checkouts that write the same file may "
            "truncate a finished model to 0 bytes, without an error"
        )
        return Check("DVC cache", "problem", found, relink)
    if "symlink" not in link_type and standing(folder).stat().st_dev != Path.cwd().stat().st_dev:
        found = f"{shown} is on another file system: every file is copied and takes its room twice"
        return Check("DVC cache", "warning", found, relink)
    return Check("DVC cache", "ok", f"{shown}, {link_type}")


def _remote(name: str | None) -> Check:
    if name:
        return Check("DVC remote", "ok", name)
    advice = "dvc remote add --default storage s3://BUCKET/PATH (or a folder, gs://, azure://, ssh://)"
    return Check("DVC remote", "warning", "no default one: other machines cannot fetch data and models", advice)


def _analytics(setting: str) -> Check:
    if setting.lower() == "false" or os.environ.get("DVC_NO_ANALYTICS"):
        return Check("telemetry of DVC", "ok", "off")
    return Check("telemetry of DVC", "warning", "on: DVC sends usage reports", "dvc config core.analytics false")


def data() -> Iterator[Check]:
    """Raw data that a killed `tuneline data add` was replacing."""
    for name in replacing.cut_short():
        found = f"tuneline data add {name} was killed; what it was replacing is in {replacing.holder(name)}"
        yield Check("raw data", "problem", found, f"run it again, and the old {name} is put back first")


def params() -> Iterator[Check]:
    """params.yaml, and the checkpoint that it names.

    What reads them is imported here, so that in a broken environment all other checks still speak.
    """
    try:
        from tuneline.params import read_params  # noqa: PLC0415

        params = read_params("model", "tokenize")
    except (PipelineError, ImportError) as error:
        yield Check("params.yaml", "problem", str(error), "see docs/params.md and recipes/")
        return
    yield Check("params.yaml", "ok", "valid")
    if params.tokenize.tokenizer is None:  # else nothing of a checkpoint is read
        yield checkpoint(params.model)


def checkpoint(model: "Model") -> Check:
    """Whether the checkpoint is on this disk, and whole. The hub is not asked."""
    offline = os.environ.get("HF_HUB_OFFLINE", "0") != "0"
    os.environ["HF_HUB_OFFLINE"] = "1"  # huggingface_hub reads it once, when it is loaded
    try:
        from tuneline.checkpoints import find_checkpoint  # noqa: PLC0415

        found = find_checkpoint(model)
    except (PipelineError, ImportError) as error:
        if "the hub could not give it" in str(error) and not offline:
            away = f"{model.checkpoint} is not on this disk: the first run asks the Hugging Face hub for it"
            return Check("checkpoint", "warning", away, "where there is no network, let model.checkpoint name a folder")
        return Check("checkpoint", "problem", str(error), "correct the section model of params.yaml")
    return Check("checkpoint", "ok", f"{found.name} ({found.origin})")
