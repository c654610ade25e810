"""Digests that tie a result to what it was made from."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tuneline import layout


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(plain: Any) -> str:
    """sha256 of plain data, independent of key order."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def tree_digest(path: Path) -> str:
    """sha256 over a file, or over the names and bytes of all files in a folder."""
    if path.is_file():
        return file_digest(path)
    files = sorted(file for file in path.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return digest([(file.relative_to(path).as_posix(), file_digest(file)) for file in files])


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
