"""Digests: names that plain data, files and folders have by their bytes."""

import hashlib
import json
from pathlib import Path
from typing import Any


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
