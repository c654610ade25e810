"""The digest that ties a result to what it was made from."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tuneline import layout
from tuneline.digests import digest, tree_digest


def inputs_digest(stage: str, params: Mapping[str, Any]) -> str:
    """sha256 over all that DVC sees a stage depend on: the files named in dvc.yaml and the params sections.

    The same inputs give the same digest in any clone, so a checkpoint or an MLflow run found by it is the
    one of exactly these inputs.
    """
    pipeline = YAML(typ="safe").load(layout.PIPELINE.read_text(encoding="utf-8"))
    deps = [_filled(dep, params) for dep in pipeline["stages"][stage]["deps"]]
    return digest({"params": params, "deps": {dep: tree_digest(Path(dep)) for dep in sorted(deps)}})


def _filled(dep: str, params: Mapping[str, Any]) -> str:
    """`data/raw/${data.name}` → `data/raw/reviews`, as DVC fills in params."""

    def value(name: re.Match[str]) -> str:
        found: Any = params
        for part in name[1].split("."):
            found = found[part]
        return str(found)

    return re.sub(r"\$\{([\w.]+)\}", value, dep)
