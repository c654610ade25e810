"""One stage in a workspace, as `dvc repro` runs it, then committed to the cache that this host's runs share.

    python repro.py fine-tune

A process of its own, started by stage_runner.py, so that DVC, the stage and every lock go with it. Two runs
that come to the same stage with the same inputs meet at a lock: the first works, the second then finds the
result in DVC's run cache. What a run on another host has made comes from the DVC remote, where one is set.
"""

import sys
from contextlib import suppress
from typing import Any

from dvc.cli import main as dvc
from dvc.repo import Repo
from dvc.stage.cache import RunCacheNotFoundError
from filelock import FileLock
from ruamel.yaml import YAML

from tuneline import host, layout
from tuneline.leash import tie_to_parent
from tuneline.lineage import inputs_digest
from tuneline.log import warn
from tuneline.params import read_params


def repro(stage: str) -> int:
    """Exit code of `dvc repro`. The outs are committed apart, under a lock: two commits of one object at the
    same time can damage it."""
    with FileLock(host.stage_lock_file(stage, stage_digest(stage))):
        bring_from_remote(stage)
        before = layout.LOCK.read_bytes() if layout.LOCK.exists() else b""
        code: int = dvc(["repro", "--no-commit", "--single-item", stage])
        if code == 0 and layout.LOCK.read_bytes() != before:
            with FileLock(host.lock_file("commit")):
                code = dvc(["commit", "--quiet", "--force", stage])
    return code


def bring_from_remote(stage: str) -> None:
    """Have in this host's cache what the default DVC remote knows of these inputs, for `dvc repro` to find.

    `dvc repro --pull --single-item` (3.67) does not do: it never asks the remote which runs there were, and it reports
    success with no outs on disk. A remote that is away is warned of: the stage can do its work without.
    """
    with Repo() as repo, repo.lock:
        if not repo.config["core"].get("remote"):
            return
        cache, found = repo.stage_cache, repo.stage.load_one(name=stage)
        with suppress(RunCacheNotFoundError):
            cache.restore(found)
            return
        try:
            cache.transfer(repo.cloud.get_remote().legacy_odb, repo.cache.legacy, force=False)
            with suppress(RunCacheNotFoundError):
                cache.restore(found, pull=True)
        except Exception as error:  # every kind of remote has its own
            warn(stage, f"the DVC remote was not asked for what other hosts have made: {error}")


def stage_digest(stage: str) -> str:
    """The digest of the stage's inputs, the same that names the checkpoints of fine-tune."""
    pipeline: Any = YAML(typ="safe").load(layout.PIPELINE)
    sections = pipeline["stages"][stage]["params"]
    return inputs_digest(stage, read_params(*sections).dump())


if __name__ == "__main__":
    tie_to_parent()
    sys.exit(repro(sys.argv[1]))
