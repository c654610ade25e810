"""One stage in a workspace, as `dvc repro` runs it, then committed to the cache that this host's runs share.

    python repro.py fine-tune

A process of its own, started by stage_runner.py, so that DVC, the stage and every lock go with it. Two runs
that come to the same stage with the same inputs meet at a lock: the first works, the second then finds the
result in DVC's run cache.
"""

import sys
from pathlib import Path
from typing import Any

from dvc.cli import main as dvc
from filelock import FileLock
from ruamel.yaml import YAML

from tuneline import host, layout
from tuneline.leash import tie_to_parent
from tuneline.lineage import inputs_digest
from tuneline.params import read_params

LOCK = Path("dvc.lock")


def repro(stage: str) -> int:
    """Exit code of `dvc repro`. The outs are committed apart, under a lock: two commits of one object at the
    same time can damage it."""
    with FileLock(host.lock_file(stage, _key(stage))):
        before = LOCK.read_bytes() if LOCK.exists() else b""
        code: int = dvc(["repro", "--no-commit", "--single-item", stage])
        if code == 0 and LOCK.read_bytes() != before:
            with FileLock(host.lock_file("commit")):
                code = dvc(["commit", "--quiet", "--force", stage])
    return code


def _key(stage: str) -> str:
    """The digest of the stage's inputs, the same that names the checkpoints of fine-tune."""
    pipeline: Any = YAML(typ="safe").load(layout.PIPELINE)
    sections = pipeline["stages"][stage]["params"]
    return inputs_digest(stage, read_params(*sections).dump())[:32]


if __name__ == "__main__":
    tie_to_parent()
    sys.exit(repro(sys.argv[1]))
